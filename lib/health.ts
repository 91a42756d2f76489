// Whether a service is healthy: by what it answers, not only by its running.
import { setTimeout as delay } from 'node:timers/promises'
import { containerIds, inspectContainers, type ContainerInspect } from './docker.ts'
import { sentence, usage } from './errors.ts'
import { askAddress, clipped, type Question } from './http.ts'
import { connectMongo } from './mongo.ts'
import { redisCli } from './redis.ts'
import { CommandFailed, exec, interruption, sh } from './shell.ts'
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
const PAUSE = 250 // ms between two looks
const LOG_LINES = 20

/**
 * Looks once at one service, as its container was when the stack was read: does it run, does it answer as
 * env/stack.ts says (the database: as a PRIMARY; Redis: PONG), and what does Docker's own health check say, where
 * there is one. A service that others await to complete is ok when it has ended with 0.
 * @throws usage (exit 2) when the stack has no such service. Whatever else goes wrong is the evidence.
 */
export async function checkService(stack: Stack, name: string): Promise<Verdict> {
  const began = performance.now()
  const { ok, evidence } = await look(stack, name)
  const optional = service(stack, name).about.optional ?? false
  return { service: name, ok, optional, evidence, ms: Math.round(performance.now() - began) }
}

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

  const answer = await ask(stack, name)
  if (!answer.ok || (Health?.Status !== 'starting' && Health?.Status !== 'unhealthy')) return answer
  const said = clipped(Health.Log?.at(-1)?.Output.trim() ?? '')
  const docker = `Docker's health check says ${Health.Status}${said === '' ? '' : `: ${said}`}`
  return { ok: false, evidence: `${answer.evidence}, but ${docker}` }
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
    interruption.getStore()?.throwIfAborted()
    const why =
      error instanceof CommandFailed && error.stderr.trim() !== '' ? error.stderr.trim() : sentence(error)
    return { ok: false, evidence: `no answer: ${clipped(why)}` }
  }
}

async function askDatabase(stack: Stack): Promise<Seen> {
  const client = await connectMongo(stack)
  try {
    const hello = await client.db('admin').command({ hello: 1 }, { timeoutMS: LONGEST_ANSWER })
    if (hello.isWritablePrimary === true) return { ok: true, evidence: 'it answers as a primary' }
    return {
      ok: false,
      evidence: `it answers, but is not a primary${hello.setName ? '' : ' (its replica set is not initiated)'}`,
    }
  } finally {
    await client.close()
  }
}

async function askRedis(stack: Stack): Promise<Seen> {
  const said = (await redisCli(stack, 'PING')).trim()
  return said === 'PONG'
    ? { ok: true, evidence: 'it answers PONG' }
    : { ok: false, evidence: `it answers: ${clipped(said)}` }
}

/**
 * The public addresses of the stack, to be asked: `{KEY}` stands for that key of the stack's own .env, and
 * PROXY_ADDRESS, when set, is where to ask.
 * @throws usage (exit 2) when a key is missing or does not make a host.
 */
export function publicAddresses(stack: Stack): (Question & { readonly service: string })[] {
  const via = stack.config.PROXY_ADDRESS
  return stack.about.public.map((about) => {
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

/** A stack whose containers are asked of Docker anew at each look; or a function that reads it anew. */
export type StackSource = Stack | (() => Promise<Stack>)

/**
 * Waits until every named service is healthy at one and the same look; optional ones are looked at once, at the end.
 * Each has its own deadline, counted from when this wait first saw its container running. One that has not started
 * because another that it depends on is not healthy yet is not charged for that.
 * @param onChange is called whenever what a look shows has changed. When a container ended or was restarted, the
 *   evidence holds the last lines of its log.
 * @returns the last verdict on each.
 * @throws Error when a service is out of time, or (at once) when its container has ended for good: which services,
 *   what each answered last, and the last lines of their logs.
 */
export async function waitHealthy(
  source: StackSource,
  names: readonly string[],
  { onChange = () => {} }: { onChange?: (verdict: Verdict) => void } = {},
): Promise<Verdict[]> {
  const watches = new Map<string, Watch>()
  let open: readonly string[] | undefined
  for (;;) {
    const stack = await readNow(source)
    const needed = names.filter((name) => !service(stack, name).about.optional)
    const looks = await Promise.all((open ?? needed).map((name) => observe(stack, name, watches, onChange)))
    const waiting = looks.filter((watch) => !watch.verdict.ok)
    if (waiting.some((watch) => watch.lost)) throw await notHealthy(waiting)
    if (waiting.length > 0) {
      open = waiting.map((watch) => watch.verdict.service)
      await pause(PAUSE)
    } else if (looks.length < needed.length) {
      open = undefined // those that were healthy earlier are asked once more, together with the others
    } else {
      const optional = names.filter((name) => !needed.includes(name))
      const others = await Promise.all(optional.map((name) => observe(stack, name, watches, onChange)))
      return [...looks, ...others].map((watch) => watch.verdict)
    }
  }
}

/** What a wait knows of one service after a look. */
interface Watch {
  readonly verdict: Verdict
  /** The container, once it has been started, and which of its starts this is. */
  readonly id: string
  readonly life: string
  /** The life whose end was told last. */
  readonly told: string
  /** From when its deadline counts: monotonic ms. */
  readonly since: number
  /** Why it is of no use to wait any longer. */
  readonly lost: string | undefined
}

async function observe(
  stack: Stack,
  name: string,
  watches: Map<string, Watch>,
  onChange: (verdict: Verdict) => void,
): Promise<Watch> {
  const { about, container, dependsOn } = service(stack, name)
  const began = performance.now()
  const verdict = await checkService(stack, name)
  const before = watches.get(name)

  const id = container && container.State.Status !== 'created' ? container.Id : ''
  const life = container && id !== '' ? lifeOf(container) : ''
  const held = id === '' && dependsOn.some((other) => watches.get(other)?.verdict.ok === false)
  const since = before?.id === id && !held ? before.since : began

  const over = container !== undefined && !verdict.ok && hasEnded(container)
  const restarted = id !== '' && before?.id === id && before.life !== life
  const ended = over ? life : restarted ? before.life : ''
  const told = before?.told ?? ''
  let lost: string | undefined
  const waited = performance.now() - since
  if (waited > about.deadline) lost = `in ${seconds(waited)}`
  else if (over && container.State.Status !== 'restarting' && told === life) lost = 'and will not by itself'

  if (ended !== '' && ended !== told) {
    const what = over ? verdict.evidence : `it was restarted by Docker; now ${verdict.evidence}`
    onChange({ ...verdict, evidence: `${what}\n${await lastLines(id)}` })
  } else if (before?.verdict.evidence !== verdict.evidence) onChange(verdict)

  const watch = { verdict, id, life, told: ended === '' ? told : ended, since, lost }
  watches.set(name, watch)
  return watch
}

async function notHealthy(waiting: readonly Watch[]): Promise<Error> {
  const lines: string[] = []
  for (const { verdict, id, lost } of waiting.toSorted((a, b) => Number(!a.lost) - Number(!b.lost))) {
    if (lost === undefined) lines.push(`${verdict.service} is not healthy yet: ${verdict.evidence}`)
    else {
      lines.push(`${verdict.service} did not become healthy ${lost}: ${verdict.evidence}`)
      if (id !== '') lines.push(await lastLines(id))
    }
  }
  return new Error(lines.join('\n'))
}

/**
 * Makes sure that every named service stays healthy for `windowMs`, optional ones excepted: neither unhealthy at any
 * look, nor restarted or replaced in between.
 * @throws Error at the first look at which that is not so: the service, what happened, and the last lines of its log.
 */
export async function waitStable(
  source: StackSource,
  names: readonly string[],
  windowMs: number,
): Promise<void> {
  const began = performance.now()
  const lives = new Map<string, string>()
  for (let elapsed = 0; ; elapsed = performance.now() - began) {
    const stack = await readNow(source)
    const needed = names.map((name) => service(stack, name)).filter((s) => !s.about.optional)
    const verdicts = await Promise.all(needed.map((s) => checkService(stack, s.name)))
    for (const [i, { name, container }] of needed.entries()) {
      const life = container ? lifeOf(container) : ''
      const first = lives.get(name) ?? life
      lives.set(name, first)
      const verdict = verdicts[i]
      if (first === life && verdict?.ok) continue
      const what =
        first === life
          ? verdict?.evidence
          : `its container was restarted or replaced; now ${verdict?.evidence}`
      const log = container ? `\n${await lastLines(container.Id)}` : ''
      throw new Error(
        `${name} did not stay healthy: after ${seconds(elapsed)} of ${seconds(windowMs)}, ${what}${log}`,
      )
    }
    if (elapsed >= windowMs) return
    await pause(Math.min(PAUSE, windowMs - elapsed))
  }
}

/** Its process is not running, whether Docker will start it again or not. */
function hasEnded({ State }: ContainerInspect): boolean {
  return ['exited', 'dead', 'restarting'].includes(State.Status)
}

/** One start of one container: another value after a restart and after a replacement. */
function lifeOf({ Id, State }: ContainerInspect): string {
  return `${Id} ${State.StartedAt}`
}

async function readNow(source: StackSource): Promise<Stack> {
  if (typeof source === 'function') return source()
  try {
    const ids = await containerIds(`com.docker.compose.project.working_dir=${source.dir}`)
    const containers = await inspectContainers(ids)
    const of = (name: string): ContainerInspect | undefined =>
      containers.find(
        ({ Config: { Labels } }) =>
          Labels['com.docker.compose.service'] === name && Labels['com.docker.compose.oneoff'] !== 'True',
      )
    return { ...source, services: source.services.map((s) => ({ ...s, container: of(s.name) })) }
  } catch (error) {
    // A container was replaced between the two questions.
    if (error instanceof CommandFailed && /no such container/i.test(error.stderr)) return readNow(source)
    throw error
  }
}

/** The last lines of a container's log, both of its streams in the order of time, indented. */
async function lastLines(id: string): Promise<string> {
  const asked = await exec(sh`docker logs --timestamps --tail ${LOG_LINES} -- ${id}`, { anyCode: true })
  if (asked.exitCode !== 0) return `  its log cannot be read: ${clipped(asked.stderr.trim())}`
  const lines = `${asked.stdout}${asked.stderr}`.split('\n').filter(Boolean).toSorted().slice(-LOG_LINES)
  if (lines.length === 0) return '  its log is empty'
  return ['  the last lines of its log:', ...lines.map((l) => `    ${clipped(l.replace(/^\S+ /, ''))}`)].join(
    '\n',
  )
}

async function pause(ms: number): Promise<void> {
  const signal = interruption.getStore()
  signal?.throwIfAborted()
  await delay(ms, undefined, signal && { signal }).catch(() => signal?.throwIfAborted())
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`
