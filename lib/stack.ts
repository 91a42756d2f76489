// What the stack is: asked of Docker and Compose, never assumed. What they cannot know is in env/stack.ts.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { describe, type ServiceDescription, type StackDescription } from './description.ts'
import {
  compose,
  containerIds,
  inspectContainers,
  inspectImage,
  type ContainerInspect,
  type Project,
} from './docker.ts'
import type { Config } from './env.ts'
import { refusal, usage } from './errors.ts'
import { CommandFailed, exec } from './shell.ts'

/** One service of the Compose file, with the container that runs it. */
export interface Service {
  readonly name: string
  readonly about: ServiceDescription
  /** The image as the Compose file names it. */
  readonly image: string
  /** The id of the image that this name means on this server now; undefined before it was ever pulled. */
  readonly imageId: string | undefined
  /** Compose's hash of the service's configuration, to compare with the label of the running container. */
  readonly configHash: string
  readonly dependsOn: readonly string[]
  /** Running or stopped; undefined when there is none. Of a scaled service the first. */
  readonly container: ContainerInspect | undefined
  readonly containers: readonly ContainerInspect[]
}

export interface Stack extends Project {
  readonly config: Config
  readonly about: StackDescription
  /** In the order in which they start: after what they depend on. */
  readonly services: readonly Service[]
  /** The Compose configuration with every variable resolved. It holds secrets. */
  readonly resolved: ComposeConfig
  /** The stack's own .env, parsed as data. */
  readonly env: Readonly<Record<string, string>>
}

/** What is used of `docker compose config --format json`. */
export interface ComposeConfig {
  readonly name: string
  readonly services: Readonly<
    Record<
      string,
      {
        readonly image?: string
        readonly build?: unknown
        readonly pull_policy?: string
        /** Words, or null: the image's own. */
        readonly command?: readonly string[] | null
        /** With `$$` for every `$`; null where the value would come from the operator's shell. */
        readonly environment?: Readonly<Record<string, string | null>> | null
        readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
        readonly labels?: Readonly<Record<string, string>> | null
        readonly ports?: readonly unknown[]
        readonly cpus?: number | string
        readonly volumes?: readonly {
          readonly type: string
          readonly source?: string
          readonly target: string
        }[]
      }
    >
  >
  readonly volumes?: Readonly<Record<string, { readonly name: string; readonly external?: boolean }>>
  readonly networks?: Readonly<Record<string, { readonly name: string; readonly internal?: boolean }>>
}

const LABEL = 'com.docker.compose'
/** The label with the hash of the configuration that a container was made from. */
export const CONFIG_HASH = `${LABEL}.config-hash`

/**
 * Asks Docker and Compose what the stack is now. Only reads.
 * @throws refusal (exit 3) when Docker does not answer, the folder or its Compose file is missing, or the file
 *   does not parse; usage (exit 2) when STACK_FILE is not a stack description.
 */
export async function readStack(config: Config): Promise<Stack> {
  const about = await describe(config)
  const containers = await dockerAnswers(() => containersIn(config.STACK_DIR))
  const project = await findProject(config, containers)

  const resolved = await composeConfig(project)
  // The proxy may be another stack's.
  for (const { service: name } of [about.database, about.redis]) {
    if (name in resolved.services) continue
    throw usage(
      `${config.STACK_FILE} names the service '${name}', which the Compose file in ${config.STACK_DIR} does not have ` +
        `(it has ${Object.keys(resolved.services).join(', ')}). Nothing was changed. Is STACK_DIR right?`,
    )
  }
  const hashes = await configHashes(project)
  const images = [...new Set(Object.values(resolved.services).flatMap((s) => s.image ?? []))]
  const ids = new Map(
    await Promise.all(images.map(async (ref) => [ref, (await inspectImage(ref))?.Id] as const)),
  )
  const env = existsSync(join(config.STACK_DIR, '.env'))
    ? parse(readFileSync(join(config.STACK_DIR, '.env')))
    : {}

  const services = startOrder(resolved).map((name): Service => {
    const image = resolved.services[name]?.image ?? ''
    return {
      name,
      about: about.services[name] ?? { deadline: 120_000 },
      image,
      imageId: ids.get(image),
      configHash: hashes.get(name) ?? '',
      dependsOn: Object.keys(resolved.services[name]?.depends_on ?? {}),
      ...containersOf(containers, name),
    }
  })
  return { ...project, config, about, services, resolved, env }
}

/** The same stack with its containers as they are now. Cheaper than reading it anew: the Compose file is not. */
export async function readContainers(stack: Stack): Promise<Stack> {
  try {
    const containers = await containersIn(stack.dir)
    const services = stack.services.map((s) => ({ ...s, ...containersOf(containers, s.name) }))
    return { ...stack, services }
  } catch (error) {
    // A container was replaced between two questions.
    if (error instanceof CommandFailed && /no such container/i.test(error.stderr))
      return readContainers(stack)
    throw error
  }
}

async function containersIn(dir: string): Promise<ContainerInspect[]> {
  const all = await inspectContainers(await containerIds(`${LABEL}.project.working_dir=${dir}`))
  return all.filter((c) => c.Config.Labels[`${LABEL}.oneoff`] !== 'True')
}

function containersOf(
  all: readonly ContainerInspect[],
  name: string,
): Pick<Service, 'container' | 'containers'> {
  const number = (c: ContainerInspect): number => Number(c.Config.Labels[`${LABEL}.container-number`] ?? 0)
  const containers = all
    .filter((c) => c.Config.Labels[`${LABEL}.service`] === name)
    .toSorted((a, b) => number(a) - number(b))
  return { container: containers[0], containers }
}

/** Containers of the project whose service the Compose file does not have. */
export async function orphans(stack: Stack): Promise<ContainerInspect[]> {
  const known = stack.services.map((s) => s.name)
  const all = await containersIn(stack.dir)
  return all.filter((c) => !known.includes(c.Config.Labels[`${LABEL}.service`] ?? ''))
}

/** The stack as a plan prints it while Docker cannot be asked: what is not known stands as ‹…›. */
export async function unknownStack(config: Config): Promise<Stack> {
  const resolved = { name: '‹project›', services: {} }
  const project = { project: '‹project›', dir: config.STACK_DIR, files: ['‹compose file›'] }
  return { ...project, config, about: await describe(config), services: [], resolved, env: {} }
}

/** The service of that name. @throws usage (exit 2) naming those that exist. */
export function service(stack: Stack, name: string): Service {
  const found = stack.services.find((s) => s.name === name)
  if (found) return found
  const known = stack.services.map((s) => s.name).join(', ')
  throw usage(`The stack has no service '${name}'. It has: ${known}.`)
}

/** The services that write users' data and run now. */
export const runningWriters = ({ services }: Stack): Service[] =>
  services.filter(({ about, container }) => about.writer && container?.State.Status === 'running')

/** The address of a service's container on the stack's network. @throws refusal when it does not run. */
export function address(stack: Stack, name: string): string {
  const { container } = service(stack, name)
  const ip = Object.values(container?.NetworkSettings.Networks ?? {}).find(
    (n) => n.IPAddress !== '',
  )?.IPAddress
  if (!container?.State.Running || !ip) {
    throw refusal(
      `The service '${name}' is not running (${container?.State.Status ?? 'it has no container'}).`,
    )
  }
  return ip
}

/**
 * The services that an `up` would touch: those without a container, or whose image or configuration is not what their
 * container runs. When some are named, of those and of what they depend on (Compose brings that up as well). In start
 * order, with what depends on them.
 */
export function changedServices(stack: Stack, named: readonly string[] = []): Service[] {
  const asked = new Set(named.length === 0 ? stack.services.map((s) => s.name) : named)
  for (const s of stack.services.toReversed()) if (asked.has(s.name)) s.dependsOn.forEach((d) => asked.add(d))
  const changed = stack.services.filter(
    ({ name, container, imageId, configHash }) =>
      asked.has(name) &&
      (container?.Image !== imageId || container?.Config.Labels[CONFIG_HASH] !== configHash),
  )
  return withDependents(
    stack,
    changed.map((s) => s.name),
  )
}

/** The services whose container was made from another configuration than the Compose file and .env have now. */
export function reconfigured({ services }: Stack): string[] {
  return services
    .filter((s) => s.container && s.container.Config.Labels[CONFIG_HASH] !== s.configHash)
    .map((s) => s.name)
}

/** The services with everything that depends on them, in start order. */
export function withDependents(stack: Stack, names: readonly string[]): Service[] {
  const all = new Set(names)
  for (const s of stack.services) if (s.dependsOn.some((d) => all.has(d))) all.add(s.name)
  return stack.services.filter((s) => all.has(s.name))
}

/** What Docker answers. @throws refusal (exit 3) when it cannot be asked */
export async function dockerAnswers<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error
    const { stderr, exitCode } = error
    if (exitCode === 127) throw refusal('There is no docker command on this machine. Nothing was changed.')
    if (/permission denied/i.test(stderr)) {
      throw refusal(
        'You may not use Docker on this machine. Nothing was changed.\n' +
          'Run it as root, or as a member of the group docker (sudo usermod -aG docker "$USER", then log in again).',
      )
    }
    if (/cannot connect|is the docker daemon running|error during connect|no such host/i.test(stderr)) {
      throw refusal(
        `Docker does not answer. Nothing was changed.\n${stderr.trim()}\n  systemctl start docker`,
      )
    }
    throw error
  }
}

/** The project as its containers' labels tell it; without containers, as Compose would name it. */
async function findProject({ STACK_DIR }: Config, containers: readonly ContainerInspect[]): Promise<Project> {
  const projects = new Set(containers.map((c) => c.Config.Labels[`${LABEL}.project`] ?? ''))
  if (projects.size > 1) {
    throw refusal(
      `The containers of ${STACK_DIR} belong to ${projects.size} projects: ${[...projects].join(', ')}.`,
    )
  }
  const newest = containers.toSorted((a, b) => b.Created.localeCompare(a.Created))[0]
  const files = (newest?.Config.Labels[`${LABEL}.project.config_files`] ?? '').split(',').filter(Boolean)
  const standard = ['compose.yaml', 'compose.yml', 'docker-compose.yml', 'docker-compose.yaml']
    .map((f) => join(STACK_DIR, f))
    .find((f) => existsSync(f))
  if (files.length === 0 && standard === undefined) {
    throw refusal(`There is no Compose file in ${STACK_DIR}. Nothing was changed. Is STACK_DIR right?`)
  }
  const missing = files.filter((f) => !existsSync(f))
  if (missing.length > 0) {
    throw refusal(`The running stack was created from ${missing.join(', ')}, which is not there any more.`)
  }
  const [project] = projects
  if (project !== undefined) return { project, dir: STACK_DIR, files }
  const named = { project: '', dir: STACK_DIR, files: standard === undefined ? [] : [standard] }
  return { ...named, project: (await composeConfig(named)).name }
}

async function composeConfig(project: Project): Promise<ComposeConfig> {
  try {
    return JSON.parse((await exec(compose(project, 'config', '--format', 'json'))).stdout) as ComposeConfig
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error
    throw refusal(`The Compose file does not parse. Nothing was changed.\n${error.stderr.trim()}`)
  }
}

async function configHashes(project: Project): Promise<Map<string, string>> {
  const { stdout } = await exec(compose(project, 'config', '--hash', '*'))
  return new Map(stdout.split('\n').flatMap((l) => (l ? [l.split(' ') as [string, string]] : [])))
}

/** Services after everything they depend on; those at one level in the file's order. */
function startOrder({ services }: ComposeConfig): string[] {
  const order: string[] = []
  const visit = (name: string): void => {
    if (order.includes(name)) return
    for (const before of Object.keys(services[name]?.depends_on ?? {})) visit(before)
    order.push(name)
  }
  Object.keys(services).forEach(visit)
  return order
}
