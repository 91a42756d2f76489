// What Docker has of staging: containers, volumes and a network, found by the label of its Compose project.
import {
  docker,
  inspectContainers,
  inspectVolumes,
  containerIds,
  type ContainerInspect,
  type VolumeInspect,
} from '../docker.ts'

/** The label that names the project of whatever Compose makes. */
export const PROJECT = 'com.docker.compose.project'
/** What compose.yml puts on everything that is always the stack's own. */
export const ROLE = 'runbook.role'

const names = (text: string): string[] => text.split('\n').filter(Boolean)

/** The containers of a project, running or not. */
export const containersOf = async (project: string): Promise<ContainerInspect[]> =>
  inspectContainers(await containerIds(`${PROJECT}=${project}`))

/** The service that a container is of. */
export const serviceOf = ({ Config }: ContainerInspect): string =>
  Config.Labels['com.docker.compose.service'] ?? ''

/** The volumes that Compose made for a project. */
export async function volumesOf(project: string): Promise<VolumeInspect[]> {
  const out = await docker('volume', 'ls', '-q', '--filter', `label=${PROJECT}=${project}`)
  return inspectVolumes(names(out))
}

/** What is used of `docker network inspect`. */
export interface NetworkInspect {
  readonly Id: string
  readonly Name: string
  readonly Internal: boolean
  readonly Labels: Readonly<Record<string, string>> | null
  readonly IPAM: { readonly Config: readonly { readonly Gateway?: string }[] | null }
  /** By container id: those that run. */
  readonly Containers: Readonly<Record<string, { readonly Name: string }>>
}

/** The network of that name; undefined when there is none. (Docker takes a part of a name for a name.) */
export async function networkNamed(name: string): Promise<NetworkInspect | undefined> {
  const all = names(await docker('network', 'ls', '--no-trunc', '--format', '{{.ID}} {{.Name}}'))
  const id = all.map((l) => l.split(' ')).find(([, n]) => n === name)?.[0]
  if (id === undefined) return undefined
  return (JSON.parse(await docker('network', 'inspect', '--', id)) as NetworkInspect[])[0]
}

/** The project that Docker's labels name as an object's owner; empty: nobody. */
export const ownerOf = ({ Labels }: { readonly Labels: Readonly<Record<string, string>> | null }): string =>
  Labels?.[PROJECT] ?? ''

/** A volume by name; undefined when there is none. */
export async function volumeNamed(name: string): Promise<VolumeInspect | undefined> {
  const all = names(await docker('volume', 'ls', '-q'))
  return all.includes(name) ? (await inspectVolumes([name]))[0] : undefined
}

/** Stops and removes containers, with `seconds` for each to finish. They are named by id: nothing else is touched. */
export async function removeContainersOf(
  containers: readonly ContainerInspect[],
  seconds: number,
): Promise<void> {
  const ids = containers.map((c) => c.Id)
  if (ids.length === 0) return
  await docker('stop', '-t', String(seconds), '--', ...ids)
  await docker('rm', '--', ...ids)
}
