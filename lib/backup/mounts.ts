// What the containers of a stack mount; of a service that has none, what its container would mount.
import type { Stack } from '../stack.ts'
import type { LeftOut } from './manifest.ts'

/** A bind mount: what of the server is mounted, and where. */
export interface Bind {
  readonly service: string
  readonly path: string
  readonly source: string
}

export interface VolumeMount {
  readonly service: string
  readonly path: string
  readonly name: string
  /** Only the Compose file says so: there is no container. */
  readonly declared: boolean
}

export function binds({ services, resolved }: Stack): Bind[] {
  return services.flatMap(({ name: service, container }): Bind[] => {
    if (container) {
      const mounts = container.Mounts.filter((m) => m.Type === 'bind')
      return mounts.map((m) => ({ service, path: m.Destination, source: m.Source }))
    }
    return (resolved.services[service]?.volumes ?? []).flatMap(({ type, source, target: path }) =>
      type === 'bind' && source !== undefined ? [{ service, path, source }] : [],
    )
  })
}

export function volumeMounts({ services, resolved }: Stack): VolumeMount[] {
  return services.flatMap(({ name: service, container }): VolumeMount[] => {
    if (container) {
      return container.Mounts.flatMap(({ Type, Name: name, Destination: path }) =>
        Type === 'volume' && name !== undefined ? [{ service, path, name, declared: false }] : [],
      )
    }
    return (resolved.services[service]?.volumes ?? []).flatMap(({ type, source = '', target: path }) => {
      const name = type === 'volume' ? resolved.volumes?.[source]?.name : undefined
      return name === undefined ? [] : [{ service, path, name, declared: true }]
    })
  })
}

/** An engine whose data files are covered by a logical part, and the folder where it keeps them. */
export interface Cover {
  readonly by: 'mongodb' | 'redis'
  readonly service: string
  readonly dir: string | undefined
}

/** The mount that holds an engine's folder: the one of its service with the longest path that leads there. */
export function holding(
  mounts: readonly (Bind | VolumeMount)[],
  { service, dir }: Cover,
): Bind | VolumeMount | undefined {
  if (dir === undefined) return undefined
  const above = mounts.filter(
    (m) => m.service === service && `${dir}/`.startsWith(`${m.path.replace(/\/$/, '')}/`),
  )
  return above.toSorted((a, b) => b.path.length - a.path.length)[0]
}

/** The bind sources that hold an engine's own data files. */
export function coveredBinds(stack: Stack, covers: readonly Cover[]): LeftOut[] {
  return covers.flatMap((cover) => {
    const mount = holding([...binds(stack), ...volumeMounts(stack)], cover)
    return mount && 'source' in mount ? [{ what: mount.source, why: `covered by the ${cover.by} part` }] : []
  })
}

/** A volume's key in the Compose file, or its name; for one without a name what mounts it. */
export function keyOf({ resolved }: Stack, { name, service, path }: VolumeMount): string {
  const key = Object.entries(resolved.volumes ?? {}).find(([, v]) => v.name === name)?.[0]
  if (key !== undefined) return key
  return /^[0-9a-f]{64}$/.test(name) ? `${service}${path.replaceAll(/[^\w.-]/g, '_')}` : name
}
