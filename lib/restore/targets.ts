// Where each part of a set goes in this stack: into the volumes that it really mounts, found by their Compose keys.
import { hasVolume, type Parts } from './parts.ts'
import type { Manifest, VolumeRecord } from '../backup/manifest.ts'
import { keyOf, volumeMounts, type VolumeMount } from '../backup/mounts.ts'
import { placeOf, volumePlace } from '../place.ts'
import { withDependents, type Stack } from '../stack.ts'
import type { Target } from './record.ts'

/** A volume of the set that goes into one of the stack. */
export interface VolumeTarget extends Target {
  readonly record: VolumeRecord
}

export interface Targets {
  readonly volumes: readonly VolumeTarget[]
  readonly engines: readonly Target[]
  /** Volumes of the set that no service mounts now. */
  readonly homeless: readonly VolumeRecord[]
  /** Volumes that are mounted now and that the set does not have. */
  readonly others: readonly string[]
  /** Services that must be stopped while it is swapped, in start order. */
  readonly touched: readonly string[]
}

/** The folders in which the engines keep their files, in their containers. */
export interface EngineFolders {
  readonly mongodb: string
  readonly redis: string
}

/** @throws Error when an engine keeps its files on no volume */
export function findTargets(
  stack: Stack,
  { volumes }: Pick<Manifest, 'volumes'>,
  parts: Parts,
  dirs: EngineFolders,
): Targets {
  const mounts = volumeMounts(stack)
  const files = volumes.filter((v) => v.part !== undefined && v.coveredBy === undefined)
  const wanted = files.filter((v) => hasVolume(parts, v))
  const found = wanted.map((record) => ({ record, mount: mountOf(stack, mounts, record) }))
  const { database, redis } = stack.about
  const engine = (kind: 'mongodb' | 'redis', service: string): Target => ({
    what: kind,
    kind,
    place: placeOf(stack, service, dirs[kind]),
  })
  const known = new Set(volumes.map((v) => v.key))
  const keys = new Set(mounts.map((m) => keyOf(stack, m)))
  const engines = [
    ...(parts.mongodb ? [engine('mongodb', database.service)] : []),
    ...(parts.redis ? [engine('redis', redis.service)] : []),
  ]
  const names = [...found.flatMap(({ mount }) => mount?.name ?? []), ...engines.map((e) => e.place.source)]
  return {
    volumes: found.flatMap(({ record, mount }) =>
      mount ? [{ what: record.key, kind: 'volume', place: volumePlace(mount.name), record }] : [],
    ),
    engines,
    homeless: found.flatMap(({ record, mount }) => (mount ? [] : [record])),
    others: parts.volumes === 'all' ? [...keys].filter((key) => !known.has(key)) : [],
    touched: touchedBy(stack, parts, new Set(names)),
  }
}

/** The mount that is what the set's volume was: by its key, by who mounted it where, or by its name. */
function mountOf(
  stack: Stack,
  mounts: readonly VolumeMount[],
  { key, name, mounts: was }: VolumeRecord,
): VolumeMount | undefined {
  return (
    mounts.find((m) => keyOf(stack, m) === key) ??
    mounts.find((m) => was.some((w) => w.service === m.service && w.path === m.path)) ??
    mounts.find((m) => m.name === name)
  )
}

function touchedBy(stack: Stack, parts: Parts, volumes: ReadonlySet<string>): string[] {
  const { services, about } = stack
  if (parts.config || parts.images) return services.map((s) => s.name)
  const engines = [
    ...(parts.mongodb ? [about.database.service] : []),
    ...(parts.redis ? [about.redis.service] : []),
  ]
  // A writer may use an engine without saying that it depends on it.
  const writers = engines.length > 0 ? services.filter((s) => s.about.writer).map((s) => s.name) : []
  const mounting = volumeMounts(stack)
    .filter((m) => volumes.has(m.name))
    .map((m) => m.service)
  return withDependents(stack, [...engines, ...writers, ...mounting]).map((s) => s.name)
}
