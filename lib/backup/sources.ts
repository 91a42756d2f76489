// What a set will hold, found before anything is written. Everything that is missing is named at once.
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { docker, inspectVolumes } from '../docker.ts'
import { refusal, sentence } from '../errors.ts'
import { redisInfo } from '../redis.ts'
import type { Stack } from '../stack.ts'
import { bytes as asPath, configItems, configRoots, type ConfigRoots } from './config.ts'
import { volumeSizes } from './helper.ts'
import type { LeftOut, VolumeRecord } from './manifest.ts'
import { mongoState, type MongoState } from './mongodb.ts'
import { binds, coveredBinds, holding, keyOf, volumeMounts, type Cover, type VolumeMount } from './mounts.ts'
import { redisState, type RedisState } from './redis.ts'
import { checkPlace, checkSnapshotSpace, checkSpace } from './space.ts'
import { show } from './tar.ts'

/** A volume that the stack mounts. */
export type VolumeIdentity = Pick<VolumeRecord, 'key' | 'name' | 'driver' | 'mounts' | 'coveredBy'>
export interface VolumeSource extends VolumeIdentity {
  /** bytes of its files, roughly; 0 when it is covered by a logical part */
  readonly bytes: number
}

export interface Sources {
  readonly mongodb: MongoState
  readonly redis: RedisState
  /** Those that will be in the set, and those that a logical part covers. */
  readonly volumes: readonly VolumeSource[]
  readonly config: ConfigRoots
  readonly leftOut: readonly LeftOut[]
  /** bytes before compression, roughly */
  readonly bytes: number
  /** bytes that the set may need, and bytes that are free for it */
  readonly needed: number
  readonly free: number
}

/**
 * Finds everything that a set of this stack must hold. Only reads.
 * @throws refusal (exit 3) with one line for each component that is missing, not running, empty or unreadable, and
 *   for a backup folder that cannot be written or has too little space.
 */
export async function checkSources(stack: Stack): Promise<Sources> {
  const problems: string[] = []
  const tried = async <T>(what: string, act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act()
    } catch (error) {
      const said = sentence(error)
      problems.push(said.startsWith(what) ? said : `${what}: ${said}`)
      return undefined
    }
  }
  const mongodb = await tried('MongoDB', () => mongoState(stack))
  const redis = await tried('Redis', async () => {
    const { loading, async_loading: also } = await redisInfo(stack, 'persistence')
    if (loading === '1' || also === '1') throw new Error('it is still loading its data')
    return redisState(stack)
  })
  const covers = [
    ...(mongodb?.folders ?? []).map((folder) => ({ by: 'mongodb' as const, ...folder })),
    { by: 'redis' as const, service: stack.about.redis.service, dir: redis?.dir },
  ]
  const { volumes, leftOut } = (await tried('Volumes', () => findVolumes(stack, covers))) ?? {
    volumes: [],
    leftOut: [],
  }
  const config = await tried('Configuration', () => configRoots(stack, coveredBinds(stack, covers)))
  const configBytes = config ? await readable(stack, config, problems) : 0
  const memory = await tried('Redis', async () =>
    redis ? Number((await redisInfo(stack, 'memory')).used_memory_dataset ?? 0) : 0,
  )
  // The snapshot is in the set twice: as the guide shows it, and as the volume's one file.
  const estimate =
    (mongodb?.bytes ?? 0) + 2 * (memory ?? 0) + volumes.reduce((sum, v) => sum + v.bytes, 0) + configBytes
  await tried(`BACKUP_DIR ${stack.config.BACKUP_DIR}`, async () =>
    checkPlace(stack.config.BACKUP_DIR, await savedPlaces(stack, volumes, config)),
  )
  const space = await tried(`BACKUP_DIR ${stack.config.BACKUP_DIR}`, () => checkSpace(stack, estimate))
  const snapshot = volumes.find((v) => v.coveredBy === 'redis')
  if (snapshot && memory) await tried('Redis', () => checkSnapshotSpace(snapshot.name, memory))
  if (problems.length > 0 || !mongodb || !redis || !config || !space) {
    throw refusal(
      `A backup would not be complete. Nothing was changed.\n${[...new Set(problems)].map((p) => `  ${p}`).join('\n')}`,
    )
  }
  return { mongodb, redis, volumes, config, leftOut, bytes: estimate, ...space }
}

/**
 * The volumes and folders that are saved, by their paths on this machine. A bind mount of the stack's own folder, or of
 * one above it, does not count: the sets in it are left out.
 */
async function savedPlaces(
  stack: Stack,
  volumes: readonly VolumeSource[],
  config: ConfigRoots | undefined,
): Promise<Map<string, string>> {
  const inspected = await inspectVolumes(volumes.map((v) => v.name))
  const places = new Map(inspected.map((v) => [v.Mountpoint, `the volume ${v.Name}`]))
  for (const path of (config?.paths ?? []).map(show)) {
    if (!`${stack.dir}/`.startsWith(`${path}/`)) places.set(path, path)
  }
  return places
}

async function findVolumes(
  stack: Stack,
  covers: readonly Cover[],
): Promise<{ volumes: VolumeSource[]; leftOut: LeftOut[] }> {
  const existing = new Set((await docker('volume', 'ls', '-q')).split('\n'))
  // A volume that a service would get and that does not exist yet holds nothing.
  const mounts = volumeMounts(stack).filter((m) => !m.declared || existing.has(m.name))
  const everything = [...mounts, ...binds(stack)]
  const names = [...new Set(mounts.map((m) => m.name))].toSorted()
  const inspected = new Map((await inspectVolumes(names)).map((v) => [v.Name, v]))
  const leftOut: LeftOut[] = []
  const found = names.flatMap((name): VolumeIdentity[] => {
    const of = mounts.filter((m) => m.name === name)
    const key = keyOf(stack, of[0] as VolumeMount)
    const why = stack.about.leaveOut[key] ?? stack.about.leaveOut[name]
    if (why !== undefined) {
      leftOut.push({ what: `volume ${name}`, why })
      return []
    }
    const covered = covers.find((c) => {
      const mount = holding(everything, c)
      return mount && 'name' in mount && mount.name === name
    })
    const driver = inspected.get(name)?.Driver ?? ''
    const by = covered && { coveredBy: covered.by }
    return [{ key, name, driver, mounts: of.map((m) => ({ service: m.service, path: m.path })), ...by }]
  })
  const sizes = await volumeSizes(
    stack,
    found.filter((v) => !v.coveredBy).map((v) => v.name),
  )
  return { volumes: found.map((v) => ({ ...v, bytes: sizes.get(v.name) ?? 0 })), leftOut }
}

/** The bytes of the configuration. Adds a problem for each file that cannot be read. */
async function readable(stack: Stack, roots: ConfigRoots, problems: string[]): Promise<number> {
  let sum = 0
  try {
    for await (const { path, size: of, target } of configItems(stack, roots, () => {})) {
      sum += of
      if (target !== undefined) continue
      await access(asPath(path), constants.R_OK).catch((error: unknown) =>
        problems.push(`Configuration: ${show(path)} cannot be read: ${sentence(error)}`),
      )
    }
  } catch (error) {
    problems.push(`Configuration: ${sentence(error)}`)
  }
  return sum
}
