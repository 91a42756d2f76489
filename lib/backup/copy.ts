// A copy of a sealed set somewhere else: the archive first, its seal last, each compared there before the next step.
// So whatever has a seal over there is whole. Nothing over there is ever replaced or removed.
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { sentence } from '../errors.ts'
import { writeWhole } from '../files.ts'
import { CommandFailed } from '../shell.ts'
import { explained } from './copy-failure.ts'
import { byRclone } from './copy-rclone.ts'
import { byRsync } from './copy-rsync.ts'
import type { Report } from './progress.ts'
import { checkSeal, readSeal } from './seal.ts'

/** Where copies go: what BACKUP_COPY_TO says, taken apart. */
export interface CopyTarget {
  readonly by: 'rsync' | 'rclone'
  /** As it was written. */
  readonly text: string
  /** `user@host`, `host`, or an alias of ~/.ssh/config; undefined for a folder of this machine, and for rclone. */
  readonly host: string | undefined
  /** The folder, without a last slash; for rclone with its remote. */
  readonly folder: string
}

const USER_HOST = /^(?:[A-Za-z0-9_][\w.+-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.%\w]+\])$/
const REMOTE = /^[A-Za-z0-9_][\w .+@-]*:/

/**
 * Takes `rsync:/folder`, `rsync:user@host:/folder`, `rclone:remote:path` or `rclone:/folder` apart.
 * @throws what is wrong with it, as words that follow its key; a password in it is not repeated.
 */
export function copyTarget(text: string): CopyTarget {
  const [, by, where = ''] = /^(rsync|rclone):(.*)$/s.exec(text) ?? []
  if (by !== 'rsync' && by !== 'rclone')
    throw new Error('must be like rsync:user@host:/folder or rclone:remote:folder')
  if (/\p{Cc}/u.test(where)) throw new Error('holds a control character')
  if (/^[^/]*:[^/]*@|:\/\/[^/]*:[^/]*@/.test(where))
    throw new Error(
      'holds a password: rsync uses an ssh key, rclone the credentials of its own configuration',
    )
  if (by === 'rclone') {
    if (!where.startsWith('/') && !REMOTE.test(where))
      throw new Error('must be like rclone:remote:folder, with a remote that `rclone listremotes` shows')
    return { by, text, host: undefined, folder: withoutLastSlash(where) }
  }
  if (where.startsWith('/')) return { by, text, host: undefined, folder: withoutLastSlash(where) }
  if (/^rsync:\/\/|^\/\/|::/.test(where) && !where.includes('['))
    throw new Error(
      'must go over ssh, like rsync:user@host:/folder: the protocol of rsync itself encrypts nothing',
    )
  const [, host = '', path = ''] = /^((?:[^:[\]]*@)?\[[^\]]*\]|[^:]*):(.*)$/s.exec(where) ?? []
  if (!USER_HOST.test(host)) throw new Error('must be like rsync:user@host:/folder or rsync:/folder')
  if (path === '') throw new Error('names no folder: it must be like rsync:user@host:/folder')
  if (path.startsWith('~'))
    throw new Error('needs no ~: rsync:user@host:folder is below the home folder there')
  // A name that begins with a hyphen would be an option to the rsync over there.
  return { by, text, host, folder: withoutLastSlash(path.startsWith('/') ? path : `./${path}`) }
}

/** What is wrong with a value of BACKUP_COPY_TO, as words that follow its key; undefined when it can be used. */
export function wrongTarget(value: string): string | undefined {
  try {
    copyTarget(value)
    return undefined
  } catch (error) {
    return sentence(error)
  }
}

const withoutLastSlash = (path: string): string => path.replace(/(?<=[^/:])\/+$/, '')

/** How a copy was compared: by hashes that the other side computed, or, where it has none, by its size alone. */
export type Verified = 'hash' | 'size'

/**
 * Copies a sealed set, archive and seal, and compares the copy over there with what is here. What is there already
 * is compared only; with rsync an interrupted copy goes on where it stopped.
 * @throws a sentence that says why, and what to type; a set that is not what was sealed is not copied at all.
 */
export async function copySet(
  path: string,
  target: CopyTarget,
  { report }: { report: Report },
): Promise<{ verified: Verified }> {
  const set = resolve(path)
  if (target.folder.startsWith('/') && target.host === undefined && isFolderOf(target.folder, set))
    throw new Error(`${target.text} is the folder of the sets itself: a copy there would be none.`)
  await checkSeal(set) // a damaged set must not be spread
  try {
    if (target.by === 'rclone') return { verified: await byRclone(set, target, { report }) }
    return { verified: await byRsync(set, target, { report, make: !copiedBefore(set, target) }) }
  } catch (error) {
    throw error instanceof CommandFailed ? explained(error, set, target) : error
  }
}

function isFolderOf(folder: string, set: string): boolean {
  return existsSync(folder) && realpathSync(folder) === realpathSync(dirname(set))
}

/** Whether sets were copied there. If that folder is gone its disk is not mounted: making it would fill another one. */
function copiedBefore(set: string, { text }: CopyTarget): boolean {
  const notes = readdirSync(dirname(set)).filter((n) => n.endsWith(NOTE))
  return notes.map((n) => parsed(join(dirname(set), n))).some((note) => note?.ok && note.to === text)
}

// ---- what became of it

const NOTE = '.tar.gz.copy'
const noteOf = (set: string): string => `${set}.copy`

/** How the last try to copy a set went. */
export interface Copy {
  /** The target, as BACKUP_COPY_TO named it then. */
  readonly to: string
  /** ISO 8601 */
  readonly at: string
  readonly ok: boolean
  readonly verified?: Verified
  /** Of a try that failed: one line. */
  readonly why?: string
  /** What the set's seal named then. */
  readonly sha256?: string
}

/** Notes durably beside a sealed set how its copying went. */
export function writeCopy(set: string, how: Pick<Copy, 'to' | 'ok' | 'verified' | 'why'>): void {
  const note: Copy = { at: new Date().toISOString(), ...how, sha256: readSeal(set) ?? '' }
  writeWhole(noteOf(set), `${JSON.stringify(note)}\n`)
}

/**
 * How copying this set went last; undefined when it was never tried, or the note is about another archive that had
 * this name. It says something only about the target that it names.
 */
export function readCopy(set: string): Copy | undefined {
  const note = parsed(noteOf(set))
  return note && note.sha256 === readSeal(set) ? note : undefined
}

function parsed(file: string): Copy | undefined {
  if (!existsSync(file)) return undefined
  try {
    const note = JSON.parse(readFileSync(file, 'utf8')) as Partial<Copy> | null
    return typeof note?.to === 'string' && typeof note.ok === 'boolean' ? (note as Copy) : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined // not written by us: as if it were not there
    throw error
  }
}
