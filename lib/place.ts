// A folder inside a mount of the stack: where an engine or a service keeps its data, as a helper container reaches it.
import { binds, holding, volumeMounts } from './backup/mounts.ts'
import type { Stack } from './stack.ts'
import { field } from './throwaway.ts'

export interface Place {
  /** A volume's name, or a path on this machine. */
  readonly source: string
  readonly type: 'volume' | 'bind'
  /** Below the mount's root: `.` for the root itself. */
  readonly folder: string
}

/** Where a service's folder lies, or will lie when its container is made. @throws Error when that is in no mount */
export function placeOf(stack: Stack, service: string, dir: string): Place {
  const mount = holding([...volumeMounts(stack), ...binds(stack)], { by: 'mongodb', service, dir })
  if (!mount) throw new Error(`${service} keeps its data at ${dir}, on no volume.`)
  const folder = dir.slice(mount.path.replace(/\/$/, '').length).replace(/^\/+|\/+$/g, '') || '.'
  return 'name' in mount
    ? { type: 'volume', source: mount.name, folder }
    : { type: 'bind', source: mount.source, folder }
}

/** The root of a volume. */
export const volumePlace = (name: string): Place => ({ type: 'volume', source: name, folder: '.' })

/** The option that mounts the place's mount at `target`, to be written to. */
export const mountOf = ({ type, source }: Place, target: string): string =>
  `--mount=type=${type},${field(`src=${source}`)},dst=${target}${type === 'volume' ? ',volume-nocopy' : ''}`
