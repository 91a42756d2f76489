// What a new stack holds before its applications boot for the first time: documents, keys and files.
import { MongoClient } from 'mongodb'
import { setTimeout as delay } from 'node:timers/promises'
import type { Stack } from './stack.ts'

/** Volumes of an older Compose file, mounted by nobody. */
const ORPHANS = ['translator_models', 'translator_cache', 'translator_generated']
const DEADLINE = 30_000 // ms for the database to become a primary: it takes about 3 s
const POLL = 50 // ms

export interface Amount {
  readonly scale: number
  readonly seed: number
}

/** Starts the database alone, makes it a replica set of one, and loads the legacy data. */
export async function fillDatabase(stack: Stack, { scale, seed }: Amount): Promise<void> {
  await stack.compose('up', '--detach', 'database')
  const client = await initiated(await stack.mongoUrl())
  try {
    // loadLegacy
    void scale, seed
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

/** Writes Redis's keys. */
export async function fillRedis(stack: Stack, { scale, seed }: Amount): Promise<void> {
  await stack.compose('up', '--detach', 'redis')
  void scale, seed
}

/** Fills the volumes that hold files, and makes the orphans. */
export async function fillVolumes(stack: Stack, { scale, seed }: Amount, image: string): Promise<void> {
  void scale, seed
  for (const name of ORPHANS) {
    const labels = { rehearsal: stack.id, 'com.docker.compose.project': stack.project, 'com.docker.compose.volume': name }
    const words = Object.entries(labels).flatMap(([key, value]) => ['--label', `${key}=${value}`])
    await stack.docker('volume', 'create', ...words, `${stack.project}_${name}`)
  }
  void image
}
