// Everything that can be checked before a restore changes anything, and what it will do, in words.
import { dirname } from 'node:path'
import type { ConfigRecord, Manifest } from '../backup/manifest.ts'
import { liesIn } from '../backup/space.ts'
import { verifySet } from '../backup/verify.ts'
import { readManifest } from '../backup/manifest.ts'
import { inspectImage, inspectVolumes } from '../docker.ts'
import { refusal, sentence } from '../errors.ts'
import { checkService } from '../health.ts'
import type { Stack } from '../stack.ts'
import { older, versionOf } from '../update/doors.ts'
import { otherFiles } from './config.ts'
import { now, wordOf, type Course, type OpenSet } from './course.ts'
import { groundOf } from './ground.ts'
import { otherImages, type OtherImage } from './images.ts'
import { tooSmall } from './room.ts'
import { mongoSettings, redisSettings, type Found, type MongoFound } from './settings.ts'
import { findTargets, type Targets } from './targets.ts'
import type { RedisSettings } from './redis.ts'

export interface Checked extends OpenSet {
  /** Undefined on a new server, where there is no stack yet. */
  readonly stack?: Stack
  readonly targets?: Targets
  readonly mongo?: MongoFound
  readonly redis?: Found<RedisSettings>
  readonly files: readonly ConfigRecord[]
  readonly images: readonly OtherImage[]
  /** What could not be checked, and why. */
  readonly skipped: readonly string[]
  /** Services that must be healthy afterwards. */
  readonly healthy: readonly string[]
}

/** Reads the set in full, then looks at the stack; once for a run. @throws refusal (exit 3) with every reason */
export function checked(course: Course, say: (text: string) => void): Promise<Checked> {
  return (course.checking ??= check(course, say))
}

/** The set, read in full. @throws refusal naming the first damaged part */
export async function verified(course: Course, say: (text: string) => void): Promise<OpenSet> {
  const path = course.set?.path ?? course.record?.set ?? ''
  try {
    return { path, manifest: await verifySet(path, say) }
  } catch (error) {
    throw refusal(`${sentence(error)}\nNothing was changed.`)
  }
}

async function check(course: Course, say: (text: string) => void): Promise<Checked> {
  const { config } = course.context
  const set = await verified(course, say)
  const { manifest } = set
  if (manifest.stackId !== config.STACK_ID) {
    throw refusal(
      `${set.path} is a set of the stack '${manifest.stackId}', and this one is '${config.STACK_ID}'. Nothing was changed.`,
    )
  }
  const files = await otherFiles(manifest, config.STACK_DIR)
  if (course.fresh) {
    const skipped = ['versions and space: there is no stack here yet; they are checked when it is made']
    return { ...set, files, images: [], skipped, healthy: [] }
  }
  const stack = await now(course)
  return { ...set, files, ...(await checkStack(course, stack, manifest)) }
}

/** What must hold of the stack. To be called again when it was made on a new server. @throws refusal */
export async function checkStack(
  course: Course,
  stack: Stack,
  manifest: Manifest,
): Promise<Omit<Checked, 'path' | 'manifest' | 'files'>> {
  const { parts } = course
  const problems: string[] = []
  const skipped: string[] = []
  const [mongo, redis] = await Promise.all([mongoSettings(stack, manifest), redisSettings(stack, manifest)])
  const ground = await groundOf(stack, 'restore')
  const targets = findTargets(stack, manifest, parts, { mongodb: mongo.dir, redis: redis.dir })
  if (parts.mongodb) {
    if (mongo.members > 1)
      problems.push(
        `MongoDB is a replica set of ${mongo.members} members: this restores one. By hand, with the set's RESTORE.md: ` +
          'restore one member, and let the others take everything from it.',
      )
    problems.push(...(await newer('MongoDB', manifest.mongodb.version, ground.mongod.id)))
    if (mongo.unsure !== undefined)
      skipped.push(
        `whether the data has the same shape as what runs: MongoDB does not answer (${mongo.unsure})`,
      )
    else if (mongo.shape !== manifest.shape)
      problems.push(
        `The set holds data of another shape (${shapeText(manifest.shape)}) than what runs (${shapeText(mongo.shape ?? '')}). ` +
          'To go back to the production before a switch: task rollback',
      )
  }
  if (parts.redis) {
    problems.push(...(await newer('Redis', manifest.redis.version, ground.redis.id)))
    if (redis.unsure !== undefined)
      skipped.push(`Redis was not asked for its settings (${redis.unsure}): those of its command are taken`)
  }
  for (const { key, name } of parts.volumes === 'all' ? [] : targets.homeless)
    problems.push(`The volume ${key} (${name}) of the set is mounted by no service now.`)
  const unknown = parts.volumes === 'all' ? [] : parts.volumes.filter((v) => !hasNamed(manifest, v))
  for (const name of unknown)
    problems.push(`The set holds no volume ${name}. It holds: ${volumeKeys(manifest)}.`)
  problems.push(...(await inTheWay(course, targets)), ...(await tooSmall(ground, manifest, targets)))
  if (problems.length > 0)
    throw refusal(`The restore is refused. Nothing was changed.\n${problems.map((p) => `  ${p}`).join('\n')}`)
  const needed = stack.services.filter((s) => s.container?.State.Running && !s.about.optional)
  const verdicts = await Promise.all(needed.map((s) => checkService(stack, s.name)))
  const healthy = verdicts.filter((v) => v.ok).map((v) => v.service)
  return { stack, targets, mongo, redis, images: otherImages(stack, manifest), skipped, healthy }
}

const shapeText = (shape: string): string => (shape === 'legacy' ? 'legacy' : `schema ${shape.slice(0, 12)}`)

const volumeKeys = ({ volumes }: Manifest): string =>
  volumes
    .filter((v) => v.part !== undefined && !v.coveredBy)
    .map((v) => v.key)
    .join(', ')

const hasNamed = ({ volumes }: Manifest, name: string): boolean =>
  volumes.some((v) => v.part !== undefined && !v.coveredBy && (v.key === name || v.name === name))

/** Why an engine cannot take the set's data: it is older than the one that wrote it. */
async function newer(engine: 'MongoDB' | 'Redis', version: string, image: string): Promise<string[]> {
  const found = await inspectImage(image)
  const here = found ? await versionOf({ engine }, found) : ''
  return version !== '' && older(here, version)
    ? [
        `The set is of ${engine} ${version}; this stack's image holds ${here}, which is older and may not read it.`,
      ]
    : []
}

/** Backups and our own notes must not lie in what is replaced. */
async function inTheWay({ set, context }: Course, targets: Targets): Promise<string[]> {
  const { BACKUP_DIR, STATE_DIR } = context.config
  const all = [...targets.volumes, ...targets.engines]
  const names = all.filter((t) => t.place.type === 'volume').map((t) => t.place.source)
  const paths = new Map((await inspectVolumes([...new Set(names)])).map((v) => [v.Name, v.Mountpoint]))
  const folders: [string, string][] = [
    ['the backups', BACKUP_DIR],
    ['STATE_DIR', STATE_DIR],
  ]
  if (set) folders.push(['the set', dirname(set.path)])
  return all.flatMap(({ what, place }) => {
    const path = place.type === 'bind' ? place.source : (paths.get(place.source) ?? '/nowhere')
    return folders.flatMap(([name, folder]) =>
      liesIn(folder, path)
        ? [`${name} (${folder}) lie in ${what}, which would be replaced: move them first.`]
        : [],
    )
  })
}

/** The manifest alone, for what is said before the set was read. */
export const manifestOf = async ({ set, record }: Course): Promise<Manifest | undefined> =>
  set?.manifest ?? (record ? readManifest(record.set) : undefined)

export const confirmWords = ({ set, record }: Course): string[] => [
  ...(set && !set.sealed ? ['unverified'] : []),
  wordOf(set?.name ?? record?.name ?? ''),
]
