// The sets of a folder, for people and for programs: when, how big, what is in them, and how far each can be relied on.
import type { Config } from '../env.ts'
import { size } from './bytes.ts'
import { documents } from './manifest.ts'
import { copyState, type CopyState } from './offsite.ts'
import { listSets, type SetInfo } from './sets.ts'

/** What a list tells of one set. */
export interface SetLine {
  readonly name: string
  readonly path: string
  readonly date: string
  readonly bytes: number
  readonly sealed: boolean
  readonly complete: boolean
  readonly good: boolean
  readonly suspect: readonly string[]
  readonly problem: string | undefined
  /** It is an archive of another procedure, which says nothing about itself. */
  readonly legacy: boolean
  /** When a drill restored it with equal content; ISO 8601. */
  readonly proven: string | undefined
  /** When it was last read in full, at its making or later. */
  readonly verified: string | undefined
  /** Why it is kept whatever its age. */
  readonly pinned: string | undefined
  readonly copy: CopyState | undefined
  /** Undefined for an archive that does not say. */
  readonly holds: Holds | undefined
}

interface Holds {
  readonly documents: number
  readonly collections: number
  readonly keys: number
  readonly volumes: readonly { readonly key: string; readonly files: number; readonly bytes: number }[]
  readonly config: number
  readonly shape: string
  readonly leftOut: number
}

/** The sets of BACKUP_DIR, newest first: this stack's, and archives that do not say whose they are. */
export async function setList({ BACKUP_DIR, STACK_ID, BACKUP_COPY_TO }: Config): Promise<SetLine[]> {
  return (await listSets(BACKUP_DIR, STACK_ID)).map((s) => setLine(s, BACKUP_COPY_TO))
}

function setLine(s: SetInfo, target: string): SetLine {
  const { name, path, date, bytes, sealed, complete, good, suspect, problem, legacy, marks, manifest: m } = s
  return {
    name,
    path,
    date,
    bytes,
    sealed,
    complete,
    good,
    suspect,
    problem,
    legacy,
    proven: marks.proven?.at,
    verified: sealed && !marks.damaged ? (marks.verified?.at ?? date) : undefined,
    pinned: marks.pinned && (marks.pinned.why ?? ''),
    copy: target === '' || !good ? undefined : copyState(s, target),
    holds: m && {
      documents: documents(m),
      collections: m.mongodb.databases.reduce((sum, d) => sum + d.collections.length, 0),
      keys: m.redis.keys,
      volumes: m.volumes
        .filter((v) => !v.coveredBy)
        .map(({ key, files, bytes: content }) => ({ key, files, bytes: content })),
      config: m.config.filter((c) => !c.folder).length,
      shape: m.shape,
      leftOut: m.leftOut.length,
    },
  }
}

/** How long ago, for people. */
export function age(date: string): string {
  const minutes = (Date.now() - Date.parse(date)) / 60_000
  if (minutes < 0) return 'in the future'
  if (minutes < 120) return `${Math.round(minutes)} min ago`
  return minutes < 48 * 60 ? `${(minutes / 60).toFixed(1)} h ago` : `${Math.round(minutes / 1440)} days ago`
}

/** How far a set can be relied on, in a few words. Names in them come from outside and are quoted. */
export function standing(s: SetLine): string {
  const copied = { copied: 'copied', failed: 'COPY FAILED', none: 'not copied yet' } as const
  return [
    s.good ? `verified ${age(s.verified ?? s.date)}` : s.sealed ? 'sealed' : 'UNVERIFIED',
    ...(s.proven === undefined ? [] : [`proven by a drill ${age(s.proven)}`]),
    ...(s.complete || !s.holds ? [] : ['INCOMPLETE']),
    ...(s.pinned === undefined ? [] : [s.pinned === '' ? 'pinned' : `pinned: ${plain(s.pinned)}`]),
    ...(s.copy === undefined ? [] : [copied[s.copy]]),
    ...s.suspect.map((why) => `SUSPECT: ${plain(why)}`),
    ...(s.problem === undefined ? [] : [plain(s.problem)]),
  ].join(', ')
}

/** The list for people. */
export function listText(sets: readonly SetLine[], dir: string): string {
  if (sets.length === 0) return `${dir} holds no backup set. Make one: task auto-backup\n`
  return sets
    .flatMap((s) => [
      `${plain(s.name)}  ${size(s.bytes)}  ${age(s.date)}`,
      `    ${standing(s)}`,
      `    ${s.holds ? contents(s.holds) : s.legacy ? 'an archive of another procedure: it does not say what is in it' : 'what is in it cannot be read'}`,
    ])
    .map((l) => `${l}\n`)
    .join('')
}

function contents({ documents: n, collections, keys, volumes, config, shape, leftOut }: Holds): string {
  const files = volumes.reduce((sum, v) => sum + v.files, 0)
  const bytes = volumes.reduce((sum, v) => sum + v.bytes, 0)
  return [
    `MongoDB ${n} documents in ${collections} collections (${shape === 'legacy' ? 'legacy' : `schema ${shape.slice(0, 12)}`})`,
    `Redis ${keys} keys`,
    `${volumes.length} volumes with ${files} files, ${size(bytes)}`,
    `${config} configuration files`,
    ...(leftOut === 0 ? [] : [`left out: ${leftOut}, see backup-metadata.txt in it`]),
  ].join(', ')
}

/** A text from outside on one line of a terminal: no control character of it gets there. */
const plain = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}]/gu, (c) => JSON.stringify(c).slice(1, -1))
