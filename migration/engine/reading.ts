// Reading the documents of a database as they were at one instant, by their bytes, in the order of `_id`.
import { MongoServerError, type ClientSession, type Document, Timestamp } from 'mongodb'
import { field, fields, unwrap } from '../../lib/backup/bson.ts'
import { rawBatches } from '../../lib/backup/catalogue.ts'
import { interruption } from '../../lib/shell.ts'
import { typeOf } from '../values.ts'
import type { Connected } from './connect.ts'

const BATCH = 20_000 // documents in a reply; the server ends it at 16 MiB anyway
const TOO_OLD = 239

/** A database at one instant. Without an instant (a server that is no replica set) as it is at each read. */
export interface Reading {
  readonly from: Connected
  readonly at?: Timestamp
}

/** A part of a collection by `_id`: from `min`, below `max`, in the order of the index, whatever types are mixed. */
export interface Range {
  readonly min?: unknown
  readonly max?: unknown
}

/** Pins the instant of a source by a look at one of its collections. @throws what the server says */
export async function pin(from: Connected, collection: string): Promise<Reading> {
  if (from.set === undefined) return { from }
  const session = from.client.startSession({ causalConsistency: false })
  try {
    const command = { find: collection, limit: 1, singleBatch: true, readConcern: { level: 'snapshot' } }
    const { cursor } = await from.db.command(command, { session, raw: true })
    const at = field(cursor as Buffer, 'atClusterTime')
    if (!at) throw moved(from.db.databaseName, collection)
    return { from, at: Timestamp.fromBits(at.readInt32LE(0), at.readInt32LE(4)) }
  } finally {
    await session.endSession()
  }
}

const instant = ({ at }: Reading): Document =>
  at ? { readConcern: { level: 'snapshot', atClusterTime: at } } : {}

/** How many documents a collection had. */
export async function count(reading: Reading, collection: string): Promise<number> {
  return asking(reading, async (session) => {
    const pipeline = [{ $group: { _id: null, n: { $sum: 1 } } }]
    const command = { aggregate: collection, pipeline, cursor: {}, ...instant(reading) }
    const { cursor } = await reading.from.db.command(command, { session })
    return Number(cursor.firstBatch[0]?.n ?? 0)
  })
}

/**
 * The documents of a collection, some at a time, each as its bytes.
 * @throws when the collection was dropped or renamed since the instant, which the server would answer with nothing; or
 *   the instant is older than the server keeps it
 */
export async function* read(
  reading: Reading,
  collection: string,
  { min, max }: Range = {},
): AsyncGenerator<Buffer[]> {
  const { client, db } = reading.from
  const session = client.startSession({ causalConsistency: false })
  const command = {
    find: collection,
    hint: { _id: 1 },
    ...(min !== undefined && { min: { _id: min } }),
    ...(max !== undefined && { max: { _id: max } }),
    batchSize: BATCH,
    ...instant(reading),
  }
  const first = (cursor: Buffer): void => {
    if (reading.at && !field(cursor, 'atClusterTime')) throw moved(db.databaseName, collection)
  }
  try {
    for await (const batch of rawBatches(db, command, session, first)) {
      interruption.getStore()?.throwIfAborted()
      const documents: Buffer[] = []
      unwrap(batch, (document) => documents.push(document))
      yield documents
    }
  } catch (error) {
    throw explained(error)
  } finally {
    await session.endSession()
  }
}

const moved = (db: string, collection: string): Error =>
  new Error(`${db}.${collection} was dropped or renamed while it was read. Start again.`)

/**
 * Cuts a collection into ranges of about `size` documents. Borders are of types that are written back as they were
 * read; where another one would be, two ranges stay one.
 */
export async function ranges(reading: Reading, collection: string, size: number): Promise<Range[]> {
  const borders: unknown[] = []
  let from: unknown
  for (;;) {
    const next = await border(reading, collection, from, size)
    if (next === undefined) break
    borders.push((from = next))
  }
  return [undefined, ...borders].map((min, i) => ({
    ...(min !== undefined && { min }),
    ...(borders[i] !== undefined && { max: borders[i] }),
  }))
}

const PLAIN: readonly string[] = ['objectId', 'string', 'int', 'long', 'double', 'date']

async function border(reading: Reading, collection: string, min: unknown, skip: number): Promise<unknown> {
  return asking(reading, async (session) => {
    for (let step = skip; ; step += skip) {
      const command = {
        find: collection,
        hint: { _id: 1 },
        ...(min !== undefined && { min: { _id: min } }),
        skip: step,
        limit: 1,
        projection: { _id: 1 },
        ...instant(reading),
      }
      const { cursor } = await reading.from.db.command(command, { session, promoteValues: false })
      const [found] = cursor.firstBatch as Document[]
      if (!found) return undefined
      if (PLAIN.includes(typeOf(found['_id']))) return found['_id']
    }
  })
}

async function asking<T>({ from }: Reading, ask: (session: ClientSession) => Promise<T>): Promise<T> {
  const session = from.client.startSession({ causalConsistency: false })
  try {
    return await ask(session)
  } catch (error) {
    throw explained(error)
  } finally {
    await session.endSession()
  }
}

function explained(error: unknown): unknown {
  if (!(error instanceof MongoServerError) || error.code !== TOO_OLD) return error
  return new Error(
    'The source was read for longer than its server keeps an instant (minSnapshotHistoryWindowInSeconds). ' +
      'In mongosh there: db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600}), then start again.',
    { cause: error },
  )
}

/** The `_id` of a document with its type, as BSON writes it. */
export function rawId(document: Buffer): string {
  for (const { name, type, value } of fields(document))
    if (name === '_id') return String.fromCharCode(type) + value.toString('latin1')
  return ''
}
