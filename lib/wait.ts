// Waiting for health, each service with its own deadline, and for its lasting.
import { setTimeout as delay } from 'node:timers/promises'
import type { ContainerInspect } from './docker.ts'
import { checkService, hasEnded, type Verdict } from './health.ts'
import { clipped } from './http.ts'
import { exec, interruption, sh } from './shell.ts'
import { readContainers, service, type Stack } from './stack.ts'

const PAUSE = 250 // ms between two looks at first; later a twentieth of what was waited, a second at most
const LOG_LINES = 20

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
  const began = performance.now()
  const watches = new Map<string, Watch>()
  const watch = async (stack: Stack, name: string): Promise<Watch> => {
    const seen = await observe(stack, name, watches, onChange)
    watches.set(name, seen)
    return seen
  }
  for (let everyOne = true; ;) {
    const stack = await readNow(source)
    const needed = names.filter((name) => !service(stack, name).about.optional)
    const asked = needed.filter(
      (name) => everyOne || !stillHealthy(watches.get(name), service(stack, name).container),
    )
    const waiting = (await Promise.all(asked.map((name) => watch(stack, name)))).filter((w) => !w.verdict.ok)
    if (waiting.some((w) => w.lost)) throw await notHealthy(waiting)
    if (waiting.length > 0) await pause(Math.min(Math.max(PAUSE, (performance.now() - began) / 20), 1_000))
    else if (everyOne) {
      await Promise.all(names.filter((name) => !needed.includes(name)).map((name) => watch(stack, name)))
      return names.flatMap((name) => watches.get(name)?.verdict ?? [])
    }
    everyOne = waiting.length === 0 // those that were healthy earlier are asked again, together with the last one
  }
}

/** What a wait knows of one service after a look. */
interface Watch {
  readonly verdict: Verdict
  readonly container: ContainerInspect | undefined
  /** The start whose end was told last. */
  readonly told: string
  /** From when its deadline counts: monotonic ms. */
  readonly since: number
  /** Why it is of no use to wait any longer. */
  readonly lost: string | undefined
}

/** It was healthy at the last look, and its container has neither ended nor been started anew since. */
function stillHealthy(last: Watch | undefined, container: ContainerInspect | undefined): boolean {
  if (!last?.verdict.ok || !last.container || !container) return false
  return (
    startOf(last.container) === startOf(container) && last.container.State.Status === container.State.Status
  )
}

async function observe(
  stack: Stack,
  name: string,
  watches: ReadonlyMap<string, Watch>,
  onChange: (verdict: Verdict) => void,
): Promise<Watch> {
  const { about, container, dependsOn } = service(stack, name)
  const began = performance.now()
  const verdict = await checkService(stack, name)
  const before = watches.get(name)
  const [start, last] = [startOf(container), startOf(before?.container)]
  const same = start !== '' && last !== '' && container?.Id === before?.container?.Id

  const held = start === '' && dependsOn.some((other) => watches.get(other)?.verdict.ok === false)
  const goesOn = same || (start === last && !held)
  const since = before && goesOn ? before.since : began
  const waited = performance.now() - since

  const over = container !== undefined && !verdict.ok && hasEnded(container)
  const ended = over ? start : same && start !== last ? last : ''
  const told = before?.told ?? ''
  if (ended !== '' && ended !== told) {
    const what = over ? verdict.evidence : `it was restarted; now ${verdict.evidence}`
    onChange({ ...verdict, evidence: `${what}\n${await lastLines(container)}` })
  } else if (before?.verdict.evidence !== verdict.evidence) onChange(verdict)

  // Seen twice, since Compose lets an old container end just before it puts a new one in its place.
  const forGood = over && container.State.Status !== 'restarting' && told === start
  const lost = forGood ? 'and has ended' : waited > about.deadline ? `in ${seconds(waited)}` : undefined
  return { verdict, container, told: ended === '' ? told : ended, since, lost }
}

async function notHealthy(waiting: readonly Watch[]): Promise<Error> {
  const texts = waiting.map(async ({ verdict: { service: name, evidence }, container, lost }) =>
    lost === undefined
      ? `${name} is not healthy yet: ${evidence}`
      : `${name} did not become healthy ${lost}: ${evidence}\n${await lastLines(container)}`,
  )
  return new Error((await Promise.all(texts)).join('\n'))
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
  const starts = new Map<string, string>()
  for (let elapsed = 0; ; elapsed = performance.now() - began) {
    const stack = await readNow(source)
    const needed = names.map((name) => service(stack, name)).filter(({ about }) => !about.optional)
    const looks = needed.map(async ({ name, container }) => {
      const { ok, evidence } = await checkService(stack, name)
      const start = startOf(container)
      const first = starts.get(name) ?? start
      starts.set(name, first)
      if (ok && start === first) return
      const what = start === first ? evidence : `its container was restarted or replaced; now ${evidence}`
      const when = `after ${seconds(elapsed)} of ${seconds(windowMs)}`
      throw new Error(`${name} did not stay healthy: ${when}, ${what}\n${await lastLines(container)}`)
    })
    await Promise.all(looks)
    if (elapsed >= windowMs) return
    await pause(Math.min(2 * PAUSE, windowMs - elapsed))
  }
}

/** One start of one container, another after a restart or a replacement; empty when there was none yet. */
function startOf(container: ContainerInspect | undefined): string {
  return container && container.State.Status !== 'created'
    ? `${container.Id} ${container.State.StartedAt}`
    : ''
}

async function readNow(source: StackSource): Promise<Stack> {
  return typeof source === 'function' ? source() : readContainers(source)
}

/** The last lines of a container's log, both of its streams in the order of time, indented. */
export async function lastLines(container: ContainerInspect | undefined): Promise<string> {
  if (!container) return '  there is no log'
  const command = sh`docker logs --timestamps --tail ${LOG_LINES} -- ${container.Id}`
  const { stdout, stderr, exitCode } = await exec(command, { anyCode: true })
  if (exitCode !== 0) return `  its log cannot be read: ${clipped(stderr.trim())}`
  const lines = `${stdout}${stderr}`.split('\n').filter(Boolean).toSorted().slice(-LOG_LINES)
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
