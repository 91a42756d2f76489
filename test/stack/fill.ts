// What a new stack holds before its applications boot for the first time: documents, keys and files.
import { MongoClient } from 'mongodb'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { bundle } from './apps/bundle.ts'
import { redis } from './apps/lib/redis.ts'
import type { Volume } from './data/files.ts'
import { loadLegacy } from './data/load.ts'
import { redisCommands } from './data/redis.ts'
import type { Machine } from './machine/machine.ts'
import type { Stack } from './stack.ts'

/** The volumes that hold files. */
const VOLUMES: readonly Volume[] = [
  'gateway_uploads',
  'frontend_uploads',
  'models_data',
  'traefik_certs',
  'redis-ui-data',
]
/** Volumes of an older Compose file, mounted by nobody. */
const ORPHANS = ['translator_models', 'translator_cache', 'translator_generated']
const DEADLINE = 30_000 // ms for the database to become a primary: it takes about 3 s
const POLL = 50 // ms

export interface Amount {
  readonly scale: number
  readonly seed: number
}

/** Makes the running database a replica set of one, and loads the legacy data. */
export async function fillDatabase(stack: Stack, amount: Amount): Promise<void> {
  const client = await initiated(await stack.mongoUrl())
  try {
    await loadLegacy(client, { ...amount, db: 'meeshy' })
  } finally {
    await client.close()
  }
}

/** A client of the database, once it is the primary of its own replica set. */
async function initiated(url: string): Promise<MongoClient> {
  const end = performance.now() + DEADLINE
  let seen: unknown
  while (performance.now() < end) {
    const client = new MongoClient(url, { serverSelectionTimeoutMS: 500 })
    try {
      const admin = client.db('admin')
      const hello = await admin.command({ hello: 1 })
      if (hello.isWritablePrimary === true) return client
      const members = [{ _id: 0, host: 'database:27017' }]
      if (!hello.setName) await admin.command({ replSetInitiate: { _id: 'rs0', members } })
      seen = hello
    } catch (error) {
      seen = error
    }
    await client.close()
    await delay(POLL)
  }
  throw new Error('The database of the stack did not become a primary.', { cause: seen })
}

/** Fills the running Redis and lets it save. */
export async function fillRedis(stack: Stack, amount: Amount): Promise<void> {
  const { command, close } = await answering(`redis://${await stack.address('redis')}`)
  try {
    await Promise.all(Array.from(redisCommands(amount), (words) => command(...words)))
    await command('SAVE')
  } finally {
    close()
  }
}

/** A connection to Redis, once it listens: Compose says that a container is up before its server is. */
async function answering(url: string): Promise<ReturnType<typeof redis>> {
  for (const end = performance.now() + DEADLINE; ; await delay(POLL)) {
    const connection = redis(url)
    try {
      await connection.command('PING')
      return connection
    } catch (error) {
      connection.close()
      if (performance.now() > end) throw error
    }
  }
}

/**
 * Writes the files into the volumes that Compose has made, and makes the orphans. A container does it, so that owners
 * are right whoever we are.
 */
export async function fillVolumes(stack: Stack, { scale, seed }: Amount, machine: Machine): Promise<void> {
  const labels = ['--label', `rehearsal=${stack.id}`]
  for (const orphan of ORPHANS) {
    const compose = { project: stack.project, volume: orphan }
    const asCompose = Object.entries(compose).flatMap(([k, v]) => ['--label', `com.docker.compose.${k}=${v}`])
    await stack.docker('volume', 'create', ...labels, ...asCompose, `${stack.project}_${orphan}`)
  }
  const volumes = [...VOLUMES, ...ORPHANS].flatMap((key) => [
    '--volume',
    `${stack.project}_${key}:/volumes/${key}`,
  ])
  const program = await bundle(join(import.meta.dirname, 'write-files.ts'))
  const node = ['node', '--input-type=module', '-', String(scale), String(seed)]
  const words = [
    'run',
    '--rm',
    '--interactive',
    '--network',
    'none',
    ...labels,
    ...volumes,
    machine.base,
    ...node,
  ]
  const child = spawn(machine.docker, words, { env: stack.env, stdio: ['pipe', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const ended = once(child, 'close')
  await pipeline(Readable.from([program]), child.stdin).catch((error: unknown) => (stderr += String(error)))
  const [code] = (await ended) as [number | null]
  if (code !== 0) throw new Error(`The volumes could not be filled (exit code ${code}).\n${stderr}`)
}
