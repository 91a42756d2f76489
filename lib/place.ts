// A folder inside a mount of the stack: where an engine or a service keeps its data, as a helper container reaches it.
import { holding } from './backup/mounts.ts'
import type { Mount } from './docker.ts'
import { service, type Stack } from './stack.ts'
import { field } from './throwaway.ts'

export interface Place {
  /** A volume's name, or a path on this machine. */
  readonly source: string
  readonly type: 'volume' | 'bind'
  /** Below the mount's root: `.` for the root itself. */
  readonly folder: string
}

/** Where a service's folder lies. @throws Error when the service has no container, or the folder lies in no mount */
export function placeOf(stack: Stack, name: string, dir: string): Place {
  const mounts = service(stack, name).container?.Mounts ?? []
  const all = mounts.map((m) => ({ service: name, path: m.Destination, source: m.Source }))
  const found = holding(all, { by: 'mongodb', service: name, dir })
  const mount = mounts.find((m) => m.Destination === found?.path)
  if (!mount) throw new Error(`${name} keeps its data at ${dir}, on no volume.`)
  return inMount(mount, dir)
}

function inMount(mount: Mount, dir: string): Place {
  const folder = dir.slice(mount.Destination.replace(/\/$/, '').length).replace(/^\/+|\/+$/g, '') || '.'
  return mount.Type === 'volume'
    ? { type: 'volume', source: mount.Name ?? '', folder }
    : { type: 'bind', source: mount.Source, folder }
}

/** The root of a volume. */
export const volumePlace = (name: string): Place => ({ type: 'volume', source: name, folder: '.' })

/** The option that mounts the place's mount at `target`, to be written to. */
export const mountOf = ({ type, source }: Place, target: string): string =>
  `--mount=type=${type},${field(`src=${source}`)},dst=${target}${type === 'volume' ? ',volume-nocopy' : ''}`
