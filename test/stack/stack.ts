// A whole throw-away stack: the old production's folder, its volumes full of data, its nine containers, reached
// through its proxy on loopback.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ensureImages, VERSIONS, type Versioned } from './apps/images.ts'
import { mutableTag, release } from './apps/release.ts'
import { removeMissing, writeFolder } from './compose/folder.ts'
import { fillDatabase, fillRedis, fillVolumes } from './fill.ts'
import { run } from './machine/command.ts'
import { dockerEnv, imageRef } from './machine/images.ts'
import type { Machine } from './machine/machine.ts'
import { removeProject, stagingName } from './project.ts'

export interface StackOptions {
  /** Tells the stacks on one machine apart: a letter, then letters, digits and hyphens, at most 20. */
  readonly id: string
  /** Share of the true number of documents and files; 1 is production's size. */
  readonly scale?: number
  readonly seed?: number
  /** `true`: boot delays and health check intervals as in production; `fast`: divided by 20. */
  readonly timing?: 'true' | 'fast'
  /** The proxy's port on 127.0.0.1; a free one when left out. */
  readonly port?: number
  /** Of apps/images.ts; 1.0 when left out. */
  readonly versions?: Partial<Readonly<Record<Versioned, string>>>
  /** A folder that does not exist, to hold the stack's; `stacks/<id>` in the machine's cache when left out. */
  readonly root?: string
}

export interface Stack {
  readonly id: string
  /** Name of the Compose project: the folder's. */
  readonly project: string
  readonly dir: string
  /** Real name of the network. */
  readonly network: string
  readonly domain: string
  readonly timing: 'true' | 'fast'
  readonly proxyPort: number
  readonly hosts: Readonly<
    Record<'gate' | 'ml' | 'static' | 'site' | 'www' | 'traefik' | 'mongo' | 'redis', string>
  >
  /** Environment of a command that talks to this stack's Docker. */
  readonly env: NodeJS.ProcessEnv
  /** Names of the nine services, in the order of the file. */
  readonly services: readonly string[]
  /** Name of a service's container. */
  readonly container: (service: string) => string
  /** Present address of a service's container. Throws when it is not running. */
  readonly address: (service: string) => Promise<string>
  /** URL of the database at its container's present address. */
  readonly mongoUrl: () => Promise<string>
  /** Runs docker, or Compose on this stack's files, and gives the standard output. */
  readonly docker: (...args: readonly string[]) => Promise<string>
  readonly compose: (...args: readonly string[]) => Promise<string>
  /** Moves the stack's mutable tag of that service in the registry; nothing local moves. Gives the digest. */
  readonly release: (service: Versioned, version: string) => Promise<string>
  /**
   * Waits until every service but the one that never is healthy is so, and the proxy routes to all; throws what is
   * missing after the deadline.
   */
  readonly ready: () => Promise<void>
  /** Removes everything that carries the stack's label, and its folder. */
  readonly destroy: () => Promise<void>
}

// One that ends so would be taken for the staging of another.
const STACK_ID = /^(?!.*-staging$)[a-z][a-z0-9-]{0,19}$/
const DOMAIN = 'rehearsal.test'
/** In the order of the Compose file. */
const SERVICES =
  'traefik database nosqlclient redis p3x-redis-ui translator gateway static-files frontend'.split(' ')
/** Unhealthy for ever, as in production. */
const NEVER_HEALTHY = 'p3x-redis-ui'
const SPEED_UP = { true: 1, fast: 20 } as const
const READY_DEADLINE = { true: 240_000, fast: 90_000 } as const // ms: about four times what it takes
const POLL = 100 // ms
const PORTS = { first: 20_000, count: 5_000 }

/**
 * Makes a stack from nothing and returns when all of it answers: images, folder, volumes, data (loaded before the
 * gateway boots for the first time), containers.
 * @throws Error when something with one of its names exists, saying what; or when a step fails, after everything that
 *   was made for it has been removed again.
 */
export async function createStack(machine: Machine, options: StackOptions): Promise<Stack> {
  const { id, timing = 'fast', scale = 0.02, seed = 1 } = options
  if (!STACK_ID.test(id)) throw new Error(`'${id}' is no stack id: a letter, then a-z, 0-9, -, not -staging.`)
  const root = rootOf(machine, id, options.root)
  const project = `rehearsal-${id}`
  const port = options.port ?? (await freePort(id))
  const stack = describe(machine, { id, project, root, port, timing })

  await refuseCollisions(stack, root)
  await ensureImages(machine)
  await mkdir(dirname(root), { recursive: true, mode: 0o700 })
  await mkdir(root, { mode: 0o700 })
  try {
    for (const service of Object.keys(VERSIONS) as Versioned[]) {
      await stack.release(service, options.versions?.[service] ?? '1.0')
    }
    const { registry, socket } = machine
    const values = { id, project, domain: DOMAIN, registry, socket, port, speedUp: SPEED_UP[timing] }
    await writeFolder(stack.dir, values)

    await stack.compose('create', '--quiet-pull')
    await stack.compose('up', '--detach', 'database', 'redis')
    const amount = { scale, seed }
    // All of them end before a failure is told: what one still does would be in the way of the removal.
    const filled = await Promise.allSettled([
      fillDatabase(stack, amount),
      fillRedis(stack, amount),
      fillVolumes(stack, amount, machine),
    ])
    for (const end of filled) if (end.status === 'rejected') throw end.reason
    await stack.compose('up', '--detach')
    await removeMissing(stack.dir)
    await stack.ready()
  } catch (error) {
    await stack.destroy()
    throw error
  }
  return stack
}

/** Removes what is left of a stack, for example after the process that made it was killed. */
export async function destroyStack(machine: Machine, id: string, root?: string): Promise<void> {
  await remove(machine, id, rootOf(machine, id, root))
}

function rootOf({ cache }: Machine, id: string, root: string | undefined): string {
  return root ?? join(cache, 'stacks', id)
}

interface Place {
  readonly id: string
  readonly project: string
  readonly root: string
  readonly port: number
  readonly timing: 'true' | 'fast'
}

function describe(machine: Machine, { id, project, root, port, timing }: Place): Stack {
  const env = dockerEnv(machine)
  const dir = join(root, project)
  const docker = (...args: readonly string[]): Promise<string> => run(machine.docker, args, { env })
  const network = `${project}_meeshy-network`
  const container = (service: string): string => `${project}-${service}`
  const address = async (service: string): Promise<string> => {
    const format = `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`
    const found = (await docker('inspect', '--format', format, container(service))).trim()
    if (!found) throw new Error(`${container(service)} is not running: it has no address.`)
    return found
  }
  const hosts = {
    gate: `gate.${DOMAIN}`,
    ml: `ml.${DOMAIN}`,
    static: `static.${DOMAIN}`,
    site: DOMAIN,
    www: `www.${DOMAIN}`,
    traefik: `traefik.${DOMAIN}`,
    mongo: `mongo.${DOMAIN}`,
    redis: `redis.${DOMAIN}`,
  }
  const stack: Stack = {
    id,
    project,
    dir,
    network,
    domain: DOMAIN,
    timing,
    proxyPort: port,
    hosts,
    env,
    services: SERVICES,
    container,
    docker,
    compose: (...args) => docker('compose', '--project-directory', dir, '--ansi', 'never', ...args),
    address,
    mongoUrl: async () => `mongodb://${await address('database')}:27017/?directConnection=true`,
    release: (service, version) => release(machine, id, service, version),
    ready: () => ready(stack, READY_DEADLINE[timing]),
    destroy: () => remove(machine, id, root),
  }
  return stack
}

/** @throws Error naming what is in the way, and how to remove it when it is ours. */
async function refuseCollisions(stack: Stack, root: string): Promise<void> {
  const { id, project, network, docker } = stack
  const format = '{{.Label "rehearsal"}}\t'
  const lists = await Promise.all([
    docker('ps', '--all', '--format', `${format}{{.Names}}`),
    docker('network', 'ls', '--format', `${format}{{.Name}}`),
    docker('volume', 'ls', '--format', `${format}{{.Name}}`),
  ])
  const containers = SERVICES.map((service) => `${project}-${service}`)
  const taken = lists
    .flatMap((list) => list.split('\n').map((line) => line.split('\t')))
    .filter(
      ([, name = '']) => containers.includes(name) || name === network || name.startsWith(`${project}_`),
    )
  if (existsSync(root)) taken.push([id, root])
  if (taken.length === 0) return
  const names = taken.map(([, name]) => name).join(', ')
  throw new Error(
    taken.every(([label]) => label === id)
      ? `The stack '${id}' is there already (${names}). Next: destroyStack(machine, '${id}'), or take another id.`
      : `These are not ours and carry our names: ${names}. Nothing was changed. Next: take another id than '${id}'.`,
  )
}

/**
 * Removes exactly what carries the stack's label or is its staging, by id or name, its mutable image tags, and its
 * folder.
 */
async function remove(machine: Machine, id: string, root: string): Promise<void> {
  const env = dockerEnv(machine)
  const docker = (...args: readonly string[]): Promise<string> => run(machine.docker, args, { env })
  const list = async (...what: readonly string[]): Promise<string[]> =>
    (await docker(...what, '--quiet', '--filter', `label=rehearsal=${id}`)).split('\n').filter(Boolean)

  await removeProject(machine, stagingName(`rehearsal-${id}`), join(root, 'staging'))
  const containers = await list('ps', '--all', '--no-trunc')
  if (containers.length > 0) await docker('rm', '--force', ...containers)
  const networks = await list('network', 'ls', '--no-trunc')
  if (networks.length > 0) await docker('network', 'rm', ...networks)
  const volumes = await list('volume', 'ls')
  if (volumes.length > 0) await docker('volume', 'rm', ...volumes)

  const tags = (Object.keys(VERSIONS) as Versioned[]).map((s) => imageRef(machine, s, mutableTag(s, id)))
  const here = (await docker('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}')).split('\n')
  const kept = await keptByTheTool(id, root)
  const ours = here.filter((ref) => tags.includes(ref) || kept.has(ref.split(':')[0] ?? ''))
  if (ours.length > 0) await docker('image', 'rm', ...ours)
  await rm(root, { recursive: true, force: true })
}

async function ready({ docker, container, hosts, proxyPort }: Stack, deadline: number): Promise<void> {
  const end = performance.now() + deadline
  const names = SERVICES.filter((service) => service !== NEVER_HEALTHY).map(container)
  const format = '{{.Name}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}'
  const addresses: [host: string, path: string, status: number][] = [
    [hosts.gate, '/health', 200],
    [hosts.ml, '/health', 200],
    [hosts.static, '/health', 200],
    [hosts.site, '/', 200],
    [hosts.www, '/', 200],
    [hosts.traefik, '/', 401],
    [hosts.mongo, '/', 401],
  ]
  for (;;) {
    const states = (await docker('inspect', '--format', format, ...names)).trim().split('\n')
    let waiting = states.filter((state) => !/ running (healthy)?$/.test(state))
    if (waiting.length === 0) {
      const answers = await Promise.all(addresses.map(([host, path]) => statusOf(proxyPort, host, path)))
      waiting = addresses.flatMap(([host, path, status], i) =>
        answers[i] === status ? [] : [`http://${host}${path} answers ${answers[i]} instead of ${status}`],
      )
      if (waiting.length === 0) return
    }
    if (performance.now() > end)
      throw new Error(`Not ready after ${deadline / 1000} s: ${waiting.join('; ')}`)
    await delay(POLL)
  }
}

/** The status of the answer through the proxy; 0 when there is none. */
function statusOf(port: number, host: string, path: string): Promise<number> {
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(5000)
    get({ host: '127.0.0.1', port, path, headers: { host }, agent: false, signal }, (answer) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    }).on('error', () => resolve(0))
  })
}

/** A port where nothing listens, below those that the kernel gives to outgoing connections: nobody gets it by chance. */
async function freePort(id: string): Promise<number> {
  const first = createHash('sha256').update(id).digest().readUInt16LE(0)
  for (let n = 0; n < PORTS.count; n++) {
    const port = PORTS.first + ((first + n) % PORTS.count)
    const server = createServer().listen(port, '127.0.0.1')
    const free = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    server.close()
    if (free) return port
  }
  throw new Error('No port is free on 127.0.0.1.')
}

/** The names under which updates of this stack have kept images: what ran before them, and what failed. */
async function keptByTheTool(id: string, root: string): Promise<Set<string>> {
  const folder = join(root, 'runbook', 'state', 'runs')
  const runs = existsSync(folder) ? await readdir(folder) : []
  const failed = runs.map((run) => `runbook/failed-${run.slice(0, 'YYYYMMDD_HHMMSS'.length)}`)
  return new Set([`runbook/previous-rehearsal-${id}`, ...failed])
}
