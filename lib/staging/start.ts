// Starting staging: its engines, whose replica set of one member has to be initiated once, before anything connects to
// it; then the rest, each service when what it depends on is healthy. The containers were made by Compose; they are
// started one by one, because Compose gives up on a service when its health check does, whatever its deadline here.
import { setTimeout as delay } from 'node:timers/promises'
import { MongoServerError, type MongoClient } from 'mongodb'
import { docker } from '../docker.ts'
import type { Verdict } from '../health.ts'
import { connectMongo } from '../mongo.ts'
import { interruption } from '../shell.ts'
import { readContainers, service, type Service, type Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { waitHealthy } from '../wait.ts'

/**
 * Waits until the stack's MongoDB can be asked: while its image makes the user, it listens to nobody else.
 * @throws what it answered last, when its deadline is over; at once, when it refuses the password
 */
export async function listening(stack: Stack): Promise<void> {
  const { service: database } = stack.about.database
  const deadline = stack.about.services[database]?.deadline ?? LISTENING
  for (const end = performance.now() + deadline; ; await delay(POLL)) {
    interruption.getStore()?.throwIfAborted()
    try {
      return await (await connectMongo(await readContainers(stack))).close()
    } catch (error) {
      const { cause } = error as Error
      const refused = cause instanceof MongoServerError && cause.code === AUTHENTICATION_FAILED
      if (refused || performance.now() > end) throw error
    }
  }
}

const AUTHENTICATION_FAILED = 18
const LISTENING = 120_000 // ms
const NOT_YET_INITIALIZED = 94
const PRIMARY = 60_000 // ms until the one member is PRIMARY
const POLL = 200 // ms

/**
 * Has the stack's MongoDB be the PRIMARY of a replica set whose one member is the service's name. One that is
 * initiated already stays as it is. @returns whether it was initiated now
 * @throws Error when it is a member under another name, or does not become PRIMARY within a minute
 */
export async function initiate(stack: Stack): Promise<boolean> {
  const { service: database, port } = stack.about.database
  const client = await connectMongo(stack)
  try {
    const host = `${database}:${port}`
    const known = await memberOf(client)
    if (known === undefined) {
      const { parsed } = await client.db('admin').command({ getCmdLineOpts: 1 })
      const _id = (parsed as { replication?: { replSetName?: string; replSet?: string } }).replication
      const name = _id?.replSetName ?? _id?.replSet ?? 'rs0'
      await client.db('admin').command({ replSetInitiate: { _id: name, members: [{ _id: 0, host }] } })
    } else if (known !== host) {
      throw new Error(
        `MongoDB is a member of its replica set as ${known}, not as ${host}: these are another stack's files.`,
      )
    }
    await primary(client)
    return known === undefined
  } finally {
    await client.close()
  }
}

/** The host under which its replica set knows it; undefined while there is none. */
async function memberOf(client: MongoClient): Promise<string | undefined> {
  try {
    const { config } = (await client.db('admin').command({ replSetGetConfig: 1 })) as {
      config: { members: { host: string }[] }
    }
    return config.members[0]?.host
  } catch (error) {
    if (error instanceof MongoServerError && error.code === NOT_YET_INITIALIZED) return undefined
    throw error
  }
}

async function primary(client: MongoClient): Promise<void> {
  for (const end = performance.now() + PRIMARY; ; await delay(POLL)) {
    interruption.getStore()?.throwIfAborted()
    if ((await client.db('admin').command({ hello: 1 })).isWritablePrimary === true) return
    if (performance.now() > end) throw new Error(`MongoDB did not become PRIMARY within ${PRIMARY / 1000} s.`)
  }
}

/**
 * Starts the containers of these services that do not run, each as soon as what it depends on is healthy: a service may
 * need more than it waits for.
 * @throws as waitHealthy does
 */
export async function startInOrder(
  stack: Stack,
  names: readonly string[],
  doing: Pick<Doing, 'effect' | 'progress'>,
): Promise<void> {
  const onChange = (v: Verdict): void => doing.progress(`${v.service}: ${v.evidence}`)
  const healthy = new Set<string>()
  let waiting = stack.services.filter((s) => names.includes(s.name))
  while (waiting.length > 0) {
    const lacks = (s: Service): string[] => s.dependsOn.filter((d) => !healthy.has(d))
    const now = await readContainers(stack)
    for (const { name } of waiting.filter((s) => lacks(s).length === 0)) await start(now, name, doing)
    waiting = waiting.filter((s) => lacks(s).length > 0)
    // What still waits has its own dependencies among what was started.
    const next = waiting.flatMap(lacks).filter((d) => !waiting.some((s) => s.name === d))
    await waitHealthy(stack, [...new Set(next)], { onChange })
    for (const d of next) healthy.add(d)
  }
}

async function start(stack: Stack, name: string, doing: Pick<Doing, 'effect'>): Promise<void> {
  const { container } = service(stack, name)
  if (!container) throw new Error(`${name} has no container.`)
  if (container.State.Running) return
  await doing.effect('Start', { service: name }, () => docker('start', '--', container.Id))
}
