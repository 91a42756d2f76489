// Everything that can be checked before a restore changes anything, and what it will do, in words.
import { rmSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { ConfigRecord, Manifest } from '../backup/manifest.ts'
import { liesIn } from '../backup/space.ts'
import { verifySet } from '../backup/verify.ts'
import { readManifest } from '../backup/manifest.ts'
import { docker, inspectContainers, inspectImage, inspectVolumes } from '../docker.ts'
import { refusal, sentence, usage } from '../errors.ts'
import { checkService } from '../health.ts'
import type { Stack } from '../stack.ts'
import { older, versionOf } from '../engines.ts'
import { otherFiles } from './config.ts'
import { now, type Course, type OpenSet } from './course.ts'
import { describe } from '../description.ts'
import { makeFolder } from '../files.ts'
import { groundOf } from './ground.ts'
import { adopt } from './older.ts'
import { adoptedPath, openRestore, type Target } from './record.ts'
import { otherImages, type OtherImage } from './images.ts'
import type { Room } from './given.ts'
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
  try {
    if (course.set?.legacy) return await adopted(course, course.set.path, say)
    const path = course.set?.path ?? course.record?.set ?? ''
    return { path, manifest: await verifySet(path, say) }
  } catch (error) {
    throw refusal(`${sentence(error)}\nNothing was changed.`)
  }
}

/** An archive of the older procedure, as one of ours in STATE_DIR. */
async function adopted(course: Course, path: string, say: (text: string) => void): Promise<OpenSet> {
  const { config, stamp } = course.context
  const { database } = await describe(config)
  const into = adoptedPath(config, stamp)
  say(`${path} says nothing about itself: what is in it is found out, and noted in ${into}`)
  makeFolder(config.STATE_DIR)
  // Without a restore that needs it, it goes with this process.
  process.once('exit', () => {
    if (openRestore(config)?.set !== into) rmSync(into, { force: true })
  })
  const manifest = await adopt(path, into, {
    stackId: config.STACK_ID,
    project: course.fresh ? '' : (await now(course)).project,
    stamp,
    dir: config.STACK_DIR,
    redis: { dir: '/data', file: 'dump.rdb' },
    main: database.name,
    report: say,
  })
  return { path: into, manifest }
}

/** Whether, and how, room is made first. */
export const roomOf = ({ context: { flags }, record }: Course): Room | undefined => {
  if (record?.room) return record.room
  if (flags['in-place'] === true) return { made: false }
  if (flags.scratch === '') throw usage('--scratch is an empty word. Nothing was changed.')
  return flags.scratch === undefined ? undefined : { made: false, scratch: resolve(String(flags.scratch)) }
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
  const lacking = leaveOut(course, manifest)
  const files = await otherFiles(manifest, config.STACK_DIR)
  if (course.fresh) {
    const skipped = ['versions and space: there is no stack here yet; they are checked when it is made']
    return { ...set, files, images: [], skipped: [...lacking, ...skipped], healthy: [] }
  }
  const stack = await now(course)
  const found = await checkStack(course, stack, manifest)
  return { ...set, files, ...found, skipped: [...lacking, ...found.skipped] }
}

/** Takes what the set does not hold out of the parts. @throws refusal when it was asked for by name */
function leaveOut(course: Course, { mongodb, redis }: Manifest): string[] {
  const missing = [
    ...(course.parts.mongodb && mongodb.databases.length === 0 ? ['MongoDB'] : []),
    ...(course.parts.redis && redis.rdbVersion === 0 ? ['Redis'] : []),
  ]
  if (missing.length > 0 && course.context.flags.parts !== undefined)
    throw refusal(`The set holds no ${missing.join(' and no ')}. Nothing was changed.`)
  course.parts = {
    ...course.parts,
    mongodb: course.parts.mongodb && mongodb.databases.length > 0,
    redis: course.parts.redis && redis.rdbVersion > 0,
  }
  return missing.map((what) => `${what}: the set holds none; it stays as it is`)
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
  problems.push(
    ...(await inTheWay(course, targets)),
    ...(await otherUsers(stack, {
      targets: [...targets.volumes, ...targets.engines],
      touched: targets.touched,
    })),
    ...(await tooSmall(ground, manifest, targets, roomOf(course))),
  )
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
export async function newer(engine: 'MongoDB' | 'Redis', version: string, image: string): Promise<string[]> {
  const found = await inspectImage(image)
  const here = found ? await versionOf({ engine }, found) : ''
  return version !== '' && older(here, version)
    ? [
        `The set is of ${engine} ${version}; this stack's image holds ${here}, which is older and may not read it.`,
      ]
    : []
}

/** Backups and our own notes must not lie in what is replaced. */
async function inTheWay(course: Course, targets: Targets): Promise<string[]> {
  const { set, context } = course
  const { BACKUP_DIR, STATE_DIR } = context.config
  const all = [...targets.volumes, ...targets.engines]
  const names = all.filter((t) => t.place.type === 'volume').map((t) => t.place.source)
  const here = new Set((await docker('volume', 'ls', '-q')).split('\n'))
  const there = [...new Set(names)].filter((name) => here.has(name))
  const paths = new Map((await inspectVolumes(there)).map((v) => [v.Name, v.Mountpoint]))
  const folders: [string, string][] = [
    ['the backups', BACKUP_DIR],
    ['STATE_DIR', STATE_DIR],
  ]
  if (set) folders.push(['the set', dirname(set.path)])
  const scratch = roomOf(course)?.scratch
  if (scratch !== undefined) folders.push(['--scratch', scratch])
  return all.flatMap(({ what, place }) => {
    const path = place.type === 'bind' ? place.source : (paths.get(place.source) ?? '/nowhere')
    return folders.flatMap(([name, folder]) =>
      liesIn(folder, path)
        ? [`${name} (${folder}) lie in ${what}, which would be replaced: move them first.`]
        : [],
    )
  })
}

/** Whatever else uses a volume would have its files taken away while it runs. */
export async function otherUsers(
  stack: Stack,
  { targets, touched }: { readonly targets: readonly Target[]; readonly touched: readonly string[] },
): Promise<string[]> {
  const stopped = new Set(
    stack.services.filter((s) => touched.includes(s.name)).flatMap((s) => s.containers.map((c) => c.Id)),
  )
  const names = targets.filter((t) => t.place.type === 'volume').map((t) => t.place.source)
  const found = await Promise.all(
    [...new Set(names)].map(async (volume) => {
      const ids = (await docker('ps', '-q', '--no-trunc', '--filter', `volume=${volume}`)).split('\n')
      const others = await inspectContainers(ids.filter((id) => id !== '' && !stopped.has(id)))
      // Docker finds a volume by any part of its name, and containers of ours end by themselves.
      const using = others.filter(
        (c) => c.Config.Labels.runbook === undefined && c.Mounts.some((m) => m.Name === volume),
      )
      return using.map(
        (c) => `${c.Name.slice(1)} uses ${volume} and is no service that would be stopped: stop it first.`,
      )
    }),
  )
  return found.flat()
}

/** The manifest alone, for what is said before the set was read. */
export const manifestOf = async ({ set, record }: Course): Promise<Manifest | undefined> =>
  record ? readManifest(record.set) : set?.manifest

/** Files of the set that would be written outside of the stack's folder. */
export const outsideOf = ({ parts }: Course, { files }: Pick<Checked, 'files'>): ConfigRecord[] =>
  parts.config ? files.filter((f) => f.name.startsWith('config/_outside/')) : []
