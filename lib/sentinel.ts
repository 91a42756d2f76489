// The data sentinel: counts before and after, so that a version that starts on an empty database is noticed.
import { databaseNames } from './backup/catalogue.ts'
import { volumeEntries } from './backup/helper.ts'
import { askAddress } from './http.ts'
import { connectMongo } from './mongo.ts'
import { redisInfo } from './redis.ts'
import { address, type Stack } from './stack.ts'
import { isAnonymous, mountedVolumes } from './volumes.ts'

/** Counts by what they count: `meeshy.User` in documents, or `gateway services.database.userCount`. */
export type Counts = Readonly<Record<string, number>>

/** How much there is of everything. */
export interface Tally {
  /** Documents by collection. */
  readonly documents: Counts
  /** Keys of Redis that do not expire by themselves. */
  readonly keys: Counts
  /** Files and folders by volume. */
  readonly files: Counts
  /** What the services themselves tell. */
  readonly told: Counts
}

const TOLERATED = 0.01 // of a count: users delete things while an update runs

/** Documents by collection, from the collections' metadata: instant at any size. */
export async function countDocuments(stack: Stack): Promise<Counts> {
  const client = await connectMongo(stack)
  try {
    const counts: Record<string, number> = {}
    for (const name of await databaseNames(client)) {
      if (name === 'admin') continue
      const db = client.db(name)
      for (const collection of await db
        .listCollections({ type: 'collection' }, { nameOnly: true })
        .toArray()) {
        if (collection.name.startsWith('system.')) continue
        counts[`${name}.${collection.name}`] = await db.collection(collection.name).estimatedDocumentCount()
      }
    }
    return counts
  } finally {
    await client.close()
  }
}

/** Redis's keys that do not expire by themselves: what expires is a cache's business. */
export async function countKeys(stack: Stack): Promise<Counts> {
  const databases = Object.entries(await redisInfo(stack, 'keyspace')).filter(([name]) =>
    name.startsWith('db'),
  )
  const counts = databases.map(([, text]) => {
    const { keys = 0, expires = 0 } = Object.fromEntries(
      text.split(',').map((pair) => [pair.split('=')[0], Number(pair.split('=')[1])]),
    ) as { keys?: number; expires?: number }
    return keys - expires
  })
  return { 'Redis keys that do not expire': counts.reduce((sum, n) => sum + n, 0) }
}

/** Files and folders of each volume, those of the engines excepted: they are theirs. Walks them: not for a downtime. */
export async function countFiles(stack: Stack): Promise<Counts> {
  const { database, redis } = stack.about
  const mounts = await mountedVolumes(stack)
  const engines = mounts.filter((m) => m.service === database.service || m.service === redis.service)
  const names = mounts
    .filter((m) => !isAnonymous(m) && !engines.some((e) => e.name === m.name))
    .map((m) => m.name)
  const entries = await volumeEntries(stack, [...new Set(names)])
  return Object.fromEntries([...entries].map(([name, count]) => [`files in ${name}`, count]))
}

/** The numbers that the services tell of their data in their own health answers (`steady` in env/stack.ts). */
export async function countsTold(stack: Stack): Promise<Counts> {
  const counts: Record<string, number> = {}
  for (const { name, about, container } of stack.services) {
    if (!about.health?.steady || container?.State.Status !== 'running') continue
    const { body } = await askAddress(
      { ...about.health, url: `http://${address(stack, name)}:${about.health.port}${about.health.path}` },
      5_000,
    )
    for (const path of about.health.steady) {
      const value = path
        .split('.')
        .reduce<unknown>((v, key) => (v as Record<string, unknown> | null | undefined)?.[key], body)
      if (typeof value === 'number') counts[`${name} ${path}`] = value
    }
  }
  return counts
}

/** Something that there was, and that there is less of. */
export interface Loss {
  /** By the name under which it can be accepted. */
  readonly what: string
  readonly text: string
}

/** What became empty or lost more than 1 %. */
export function losses(before: Counts, after: Counts): Loss[] {
  return Object.entries(before).flatMap(([what, was]) => {
    const is = after[what]
    if (is === undefined)
      return was > 0 ? [{ what, text: `${what} is gone: it held ${was.toLocaleString('en')}` }] : []
    const text = `${what}: ${was.toLocaleString('en')} before, ${is.toLocaleString('en')} after`
    return is < was * (1 - TOLERATED) ? [{ what, text }] : []
  })
}

/** What a new version has written into databases that were not there before, one sentence each. */
export function newDatabases(before: Counts, after: Counts): string[] {
  const databaseOf = (what: string): string => what.split('.')[0] ?? ''
  const known = new Set(Object.keys(before).map(databaseOf))
  const made = new Map<string, number>()
  for (const [what, count] of Object.entries(after)) {
    const name = databaseOf(what)
    if (!known.has(name)) made.set(name, (made.get(name) ?? 0) + count)
  }
  return [...made].map(
    ([name, count]) =>
      `The new version has made the database '${name}' and written ${count.toLocaleString('en')} documents into it. They are kept there.`,
  )
}
