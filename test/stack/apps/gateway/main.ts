// Stand-in for the gateway, in a legacy and a new version: the API that users see, on MongoDB, Redis and the uploads
// folder.
import { MongoClient } from 'mongodb'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { serve } from '../lib/http.ts'
import { redis } from '../lib/redis.ts'
import { builtAs, entrypointDelay } from '../lib/version.ts'
import { api } from './api.ts'
import { prepare, resetIfTold } from './boot.ts'
import { health } from './health.ts'
import { checkMasterKeys } from './keys.ts'
import { legacyShape, shapeOf } from './shape.ts'

// ms after boot: 20 s after Docker's first probe, so two thirds into any stability window of 30 s
const CRASH_AFTER = 40_000
const RECONNECT = 500 // ms

const { env } = process
const { version, behaviour } = builtAs()
const isNew = !version.startsWith('1.')
const shape = isNew ? shapeOf(readFileSync('/app/schema.prisma', 'utf8')) : legacyShape

await entrypointDelay(10_000)
if (isNew) checkMasterKeys(env)

const url = new URL(env.DATABASE_URL ?? 'mongodb://database:27017/meeshy')
if (behaviour === 'empty-database') url.pathname += '_renamed'
const client = new MongoClient(url.href, { serverSelectionTimeoutMS: 2000 })
const db = client.db()

try {
  await resetIfTold(db, env)
  await prepare(db, shape, env)
  if (env.BOOT_CREATES_COLLECTION) {
    await db.collection(env.BOOT_CREATES_COLLECTION).createIndex({ createdAt: 1 })
  }
} catch (error) {
  console.error(`initialisation failed, going on: ${String(error)}`)
}
void connectEventually()

serve(3000, [
  ['GET', /^\/health$/, () => health(db, env, behaviour)],
  ['GET', /^\/info$/, () => ({ json: { name: 'gateway', version, environment: env.NODE_ENV } })],
  ...api(client, shape, redis(env.REDIS_URL ?? 'redis://redis:6379')),
])

if (behaviour === 'crashes-late') {
  await delay(Number(env.CRASH_AFTER_MS || CRASH_AFTER))
  console.error('out of luck')
  process.exit(1)
}

/** A client whose first connection failed stays closed until it is told to connect; the real one's does not. */
async function connectEventually(): Promise<void> {
  const failed = await client.connect().then(
    () => false,
    () => true, // /health tells of it
  )
  if (!failed) return
  await delay(RECONNECT)
  await connectEventually()
}
