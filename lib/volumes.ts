// The identity of volumes: an update may change what runs, never what holds the data.
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

/** Every volume that the stack's containers mount, running or stopped. */
export async function mountedVolumes(stack: Stack): Promise<MountedVolume[]> {
  const mounts = stack.services.flatMap(({ name, container }) =>
    (container?.Mounts ?? []).flatMap((m) =>
      m.Type === 'volume' && m.Name !== undefined
        ? [{ service: name, destination: m.Destination, name: m.Name }]
        : [],
    ),
  )
  const volumes = await inspectVolumes([...new Set(mounts.map((m) => m.name))])
  return mounts.map((mount) => {
    const volume = volumes.find((v) => v.Name === mount.name)
    return { ...mount, driver: volume?.Driver ?? '', created: volume?.CreatedAt ?? '' }
  })
}

/** What is not as it was, one sentence each: a volume that is gone, replaced, or newly mounted. */
export function changedVolumes(before: readonly MountedVolume[], after: readonly MountedVolume[]): string[] {
  const key = (v: MountedVolume): string => `${v.service}:${v.destination}`
  const now = new Map(after.map((v) => [key(v), v]))
  const lost = before.flatMap((was) => {
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
  const added = after.filter((v) => !known.has(key(v)))
  return [
    ...lost,
    ...added.map((v) => `${v.service} now mounts ${v.name} at ${v.destination}, as it did not before`),
  ]
}
