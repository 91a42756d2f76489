// Whether a service is healthy: by what it answers, not only by its running.
import { connect } from 'node:net'
import type { MongoClient } from 'mongodb'
import type { ContainerInspect } from './docker.ts'
import { sentence, usage } from './errors.ts'
import { askAddress, clipped, type Question } from './http.ts'
import { connectMongo } from './mongo.ts'
import { address, service, type Stack } from './stack.ts'

/** What one look at a service, or at one of its public addresses, has shown. */
export interface Verdict {
  readonly service: string
  /** The public address that was asked; absent when the service's container was looked at. */
  readonly address?: string
  readonly ok: boolean
  /** Its not being ok is told, and fails nothing. */
  readonly optional: boolean
  /** What was seen, and what is wrong with it. */
  readonly evidence: string
  readonly ms: number
}

const LONGEST_ANSWER = 5_000 // ms: a health check of the slowest service, on a busy server

/**
 * Looks once at one service, as its container was when the stack was read: does it run, does it answer as
 * env/stack.ts says (the database: as a PRIMARY; Redis: PONG), and what does Docker's own health check say, where
 * there is one. A service that others await to complete is ok when it has ended with 0.
 * @throws usage (exit 2) when the stack has no such service. Whatever else goes wrong is the evidence.
 */
export async function checkService(stack: Stack, name: string): Promise<Verdict> {
  const began = performance.now()
  const { about, containers } = service(stack, name)
  // Of a scaled service every one is asked, as if it were the only one.
  const looks = await Promise.all(
    containers.length < 2
      ? [look(stack, name)]
      : containers.map(async (container) => look(withContainer(stack, name, container), name)),
  )
  const ok = looks.every((l) => l.ok)
  const evidence = looks
    .map((l, i) =>
      looks.length > 1 ? `${containers[i]?.Name.replace(/^\//, '')}: ${l.evidence}` : l.evidence,
    )
    .join('; ')
  const optional = about.optional ?? false
  return { service: name, ok, optional, evidence, ms: Math.round(performance.now() - began) }
}

const withContainer = (stack: Stack, name: string, container: ContainerInspect): Stack => ({
  ...stack,
  services: stack.services.map((s) => (s.name === name ? { ...s, container } : s)),
})

type Seen = Pick<Verdict, 'ok' | 'evidence'>

async function look(stack: Stack, name: string): Promise<Seen> {
  const { container } = service(stack, name)
  if (!container) return { ok: false, evidence: 'it has no container' }
  const { Status, ExitCode, Health } = container.State
  const runsOnce = Object.values(stack.resolved.services).some(
    (other) => other.depends_on?.[name]?.condition === 'service_completed_successfully',
  )
  if (runsOnce && Status === 'exited' && ExitCode === 0) return { ok: true, evidence: 'it has completed' }
  if (hasEnded(container)) return { ok: false, evidence: `it is ${Status} (exit code ${ExitCode})` }
  if (Status !== 'running') return { ok: false, evidence: `it is ${Status}` }
  if (runsOnce) return { ok: false, evidence: 'it has not completed yet' }

  const asked = await ask(stack, name)
  const answer = { ...asked, evidence: `${asked.evidence}${restarts(container)}` }
  if (!answer.ok || (Health?.Status !== 'starting' && Health?.Status !== 'unhealthy')) return answer
  const said = clipped(Health.Log?.at(-1)?.Output.trim() ?? '')
  const docker = `Docker's health check says ${Health.Status}${said === '' ? '' : `: ${said}`}`
  return { ok: false, evidence: `${answer.evidence}, but ${docker}` }
}

const LATELY = 10 * 60_000 // ms

/** That Docker has had to start it again, when that was a moment ago. */
function restarts({ RestartCount, State }: ContainerInspect): string {
  const ago = Date.now() - Date.parse(State.StartedAt)
  return RestartCount > 0 && ago < LATELY
    ? `; restarted ${RestartCount} times, last ${Math.round(ago / 60_000)} min ago`
    : ''
}

async function ask(stack: Stack, name: string): Promise<Seen> {
  const { database, redis, services } = stack.about
  const health = services[name]?.health
  try {
    if (name === database.service) return await askDatabase(stack)
    if (name === redis.service) return await askRedis(stack)
    if (!health) return { ok: true, evidence: 'it runs' }
    const url = `http://${address(stack, name)}:${health.port}${health.path}`
    const { ok, evidence } = await askAddress({ ...health, url }, LONGEST_ANSWER)
    return { ok, evidence: `${url}: ${evidence}` }
  } catch (error) {
    return { ok: false, evidence: clipped(sentence(error)) }
  }
}

async function askDatabase(stack: Stack): Promise<Seen> {
  const client = await connectMongo(stack)
  try {
    const hello = await client.db('admin').command({ hello: 1 }, { timeoutMS: LONGEST_ANSWER })
    if (hello.isWritablePrimary === true) {
      // Where the service itself is SECONDARY, the connection went on to the PRIMARY.
      const own = client.options.hosts.some((h) => h.host === address(stack, stack.about.database.service))
      const how = own
        ? 'it answers as a primary'
        : `it is SECONDARY, ${clipped(String(hello.me))} is the primary`
      return { ok: true, evidence: `${how}${hello.setName ? await members(client) : ''}` }
    }
    const why = hello.setName ? '' : ' (its replica set is not initiated)'
    return { ok: false, evidence: `it answers, but is not a primary${why}` }
  } finally {
    await client.close()
  }
}

/** The replica set in words, where the user may ask for it. A member that is down is told, and fails nothing. */
async function members(client: MongoClient): Promise<string> {
  try {
    const { set, members: all } = (await client.db('admin').command({ replSetGetStatus: 1 })) as {
      set: string
      members: { name: string; stateStr: string; self?: boolean }[]
    }
    const others = all.filter((m) => !m.self).map((m) => `${m.name} ${m.stateStr}`)
    return ` of ${clipped(set)}${others.length > 0 ? `; ${others.map(clipped).join(', ')}` : ', its only member'}`
  } catch (error) {
    return ` (its members could not be asked for: ${clipped(sentence(error))})`
  }
}

// Over the network, as the applications ask it: `docker exec` takes half a second, and for ever when Redis hangs.
async function askRedis(stack: Stack): Promise<Seen> {
  const { service: name, port } = stack.about.redis
  const { REDIS_PASSWORD: password } = stack.config
  const questions = [...(password === '' ? [] : [['AUTH', password]]), ['PING']]
  const socket = connect({ host: address(stack, name), port })
  const tooLate = new Error(`no answer within ${LONGEST_ANSWER} ms`)
  const late = setTimeout(() => socket.destroy(tooLate), LONGEST_ANSWER)
  try {
    socket.setEncoding('utf8').write(questions.map(toRedis).join(''))
    let said = ''
    for await (const text of socket) {
      said += String(text)
      const reply = said.split('\r\n').slice(0, -1)[questions.length - 1]
      if (reply !== undefined)
        return { ok: reply === '+PONG', evidence: `it answers ${clipped(reply.slice(1))}` }
      if (said.length > 1024) break
    }
    return { ok: false, evidence: `it answers ${clipped(said) || 'nothing'}` }
  } finally {
    clearTimeout(late)
  }
}

function toRedis(words: readonly string[]): string {
  return [`*${words.length}`, ...words.flatMap((w) => [`$${Buffer.byteLength(w)}`, w]), ''].join('\r\n')
}

/**
 * The public addresses of the stack, to be asked: `{KEY}` stands for that key of the stack's own .env, and
 * PROXY_ADDRESS, when set, is where to ask.
 * @throws usage (exit 2) when a key is missing or does not make a host.
 */
export function publicAddresses(stack: Stack): (Question & { readonly service: string })[] {
  const via = stack.config.PROXY_ADDRESS
  const role = stack.env.STACK_ROLE ?? 'production'
  const asked = stack.about.public.filter((about) => (about.role ?? role) === role)
  return asked.map((about) => {
    const url = about.url.replace(/\{(\w+)\}/g, (_, key: string) => {
      const value = stack.env[key] ?? ''
      if (/^[a-z0-9.-]+(:\d+)?$/i.test(value)) return value
      throw usage(
        `The public address ${about.url} needs ${key} in ${stack.dir}/.env, as a host name; it is '${clipped(value)}'.`,
      )
    })
    return { ...about, url, ...(via === '' ? {} : { via }) }
  })
}

/** Asks each public address of the stack once, all at the same time. @throws like publicAddresses */
export function checkPublic(stack: Stack): Promise<Verdict[]> {
  return Promise.all(
    publicAddresses(stack).map(async (question) => {
      const { ok, evidence, ms } = await askAddress(question, LONGEST_ANSWER)
      const optional = stack.about.services[question.service]?.optional ?? false
      return { service: question.service, address: question.url, ok, optional, evidence, ms }
    }),
  )
}

/** Its process is not running, whether Docker will start it again or not. */
export function hasEnded({ State }: ContainerInspect): boolean {
  return ['exited', 'dead', 'restarting'].includes(State.Status)
}
