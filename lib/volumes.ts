// The identity of volumes: an update may change what runs, never what holds the data.
import { volumesWithFiles } from './backup/helper.ts'
import { inspectVolumes } from './docker.ts'
import type { Stack } from './stack.ts'

/** A volume as one service mounts it. The same name with another creation time is another, empty volume. */
export interface MountedVolume {
  readonly service: string
  readonly destination: string
  readonly name: string
  readonly driver: string
  readonly created: string
}

/** Every volume that the stack's containers mount, running or stopped. Docker's own order changes from call to call. */
export async function mountedVolumes(stack: Stack): Promise<MountedVolume[]> {
  const mounts = stack.services.flatMap(({ name, containers }) => {
    const all = containers
      .flatMap((c) => c.Mounts)
      .flatMap((m) =>
        m.Type === 'volume' && m.Name !== undefined
          ? [{ service: name, destination: m.Destination, name: m.Name }]
          : [],
      )
    // The containers of a scaled service mount the same ones, but for the anonymous.
    return [...new Map(all.map((m) => [`${m.destination} ${m.name}`, m])).values()]
  })
  const volumes = await inspectVolumes([...new Set(mounts.map((m) => m.name))])
  return mounts
    .map((mount) => {
      const volume = volumes.find((v) => v.Name === mount.name)
      return { ...mount, driver: volume?.Driver ?? '', created: volume?.CreatedAt ?? '' }
    })
    .toSorted((a, b) => `${a.service} ${a.destination}`.localeCompare(`${b.service} ${b.destination}`))
}

/** Docker made it up for a path without a named volume; a new container gets another one. */
export const isAnonymous = ({ name }: MountedVolume): boolean => /^[0-9a-f]{64}$/.test(name)

/** Anonymous volumes that hold something: what removing their containers would leave behind, one sentence each. */
export async function anonymousWithData(stack: Stack, volumes: readonly MountedVolume[]): Promise<string[]> {
  const anonymous = volumes.filter(isAnonymous)
  const full = await volumesWithFiles(stack, [...new Set(anonymous.map((v) => v.name))])
  return anonymous
    .filter((v) => full.has(v.name))
    .map(
      ({ service, destination, name }) =>
        `${service} keeps data at ${destination} in an anonymous volume (${name.slice(0, 12)}…), which its next ` +
        `container would not have. Mount a named volume there in the Compose file, and copy the data into it.`,
    )
}

/** Where the Compose file says another volume than the container mounts, one sentence each: it would start empty. */
export function otherVolumes(stack: Stack, mounted: readonly MountedVolume[]): string[] {
  return stack.services.flatMap(({ name, container }) => {
    if (!container) return []
    const declared = new Map(
      (stack.resolved.services[name]?.volumes ?? []).flatMap((v) =>
        v.type === 'volume' && v.source !== undefined
          ? [[v.target, stack.resolved.volumes?.[v.source]?.name ?? v.source] as const]
          : [],
      ),
    )
    const mine = mounted.filter((m) => m.service === name && !isAnonymous(m))
    const changed = mine
      .filter((m) => declared.get(m.destination) !== m.name)
      .map(
        (m) =>
          `${name} mounts ${m.name} at ${m.destination}, but its Compose file says ${declared.get(m.destination) ?? 'none'}`,
      )
    const added = [...declared]
      .filter(([target]) => !mine.some((m) => m.destination === target))
      .map(([target, volume]) => `${name} mounts nothing at ${target}, but its Compose file says ${volume}`)
    const way =
      'An update would start it without its data. Put the Compose file right, or move the data and `up` it by hand first.'
    return [...changed, ...added].map((text) => `${text}. ${way}`)
  })
}

/** What is not as it was, one sentence each: a volume that is gone, replaced, or newly mounted. (Not the anonymous ones.) */
export function changedVolumes(before: readonly MountedVolume[], after: readonly MountedVolume[]): string[] {
  const key = (v: MountedVolume): string => `${v.service}:${v.destination}`
  const named = (all: readonly MountedVolume[]): MountedVolume[] => all.filter((v) => !isAnonymous(v))
  const now = new Map(named(after).map((v) => [key(v), v]))
  const lost = named(before).flatMap((was) => {
    const is = now.get(key(was))
    if (!is) return [`${was.service} no longer mounts ${was.name} at ${was.destination}`]
    if (is.name !== was.name)
      return [`${was.service} mounts ${is.name} at ${was.destination} instead of ${was.name}`]
    if (is.driver !== was.driver || is.created !== was.created) {
      return [`${was.name} was replaced: it was made ${was.created}, this one ${is.created}`]
    }
    return []
  })
  const known = new Set(before.map(key))
  const had = new Set(before.map((v) => v.service)) // a service that had no container had no mounts to compare
  const added = named(after).filter((v) => !known.has(key(v)) && had.has(v.service))
  return [
    ...lost,
    ...added.map((v) => `${v.service} now mounts ${v.name} at ${v.destination}, as it did not before`),
  ]
}
