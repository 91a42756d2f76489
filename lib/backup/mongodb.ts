// The MongoDB part of a set: every database at one instant, in mongodump's layout.
//
// One snapshot session reads everything. The trap: a collection that is renamed or dropped after the snapshot was
// pinned reads as empty, without an error. So every answer must name the instant that it was read at, which that one
// does not; and the catalogue is taken before the first read and again after the last one: any difference makes the
// part start over.
import { MongoServerError, type ClientSession, type MongoClient } from 'mongodb'
import { connectMongo, dataFolders, type DataFolder } from '../mongo.ts'
import { interruption } from '../shell.ts'
import type { Stack } from '../stack.ts'
import type { ArchiveWriter } from './archive.ts'
import { field, unwrap } from './bson.ts'
import { once, type Bytes } from './bytes.ts'
import {
  catalogue,
  fileName,
  findAll,
  metadataJson,
  rawBatches,
  storedAs,
  type Collection,
} from './catalogue.ts'
import { orderFree } from './digest.ts'
import type { CollectionRecord, MongoRecord } from './manifest.ts'
import type { Report } from './progress.ts'
import { toBytes } from './tar.ts'

const AGAIN = 3 // times that everything is read anew before the backup gives up

// Errors that say: what was listed is not what is there any more. NamespaceNotFound, CappedPositionLost,
// QueryPlanKilled, SnapshotTooOld, SnapshotUnavailable (https://github.com/mongodb/mongo error_codes.yml).
const MOVED = new Set([26, 136, 175, 239, 246])
const TOO_OLD = 239
const UNAUTHORIZED = 13

/** Something was created, renamed, dropped or altered while it was read. */
class Moved extends Error {}

export interface MongoState {
  /** Where its members keep their files. */
  readonly folders: readonly DataFolder[]
  /** bytes of BSON, roughly */
  readonly bytes: number
  /** Documents, roughly. */
  readonly documents: number
}

/**
 * What the database holds, looked at with everything that a backup asks of it but the documents.
 * @throws a sentence when it is not PRIMARY, holds nothing, or the user may not see all of it.
 */
export async function mongoState(stack: Stack): Promise<MongoState> {
  const client = await connectMongo(stack)
  try {
    const hello = await client.db('admin').command({ hello: 1 })
    if (!hello.isWritablePrimary) {
      throw new Error(`it is not PRIMARY${hello.secondary ? ' but SECONDARY' : ''}: what it holds may be old`)
    }
    const names = [...new Set((await catalogue(client)).map((c) => c.db))]
    const all = await Promise.all(names.map((name) => client.db(name).command({ dbStats: 1 })))
    const documents = all.reduce((sum, s, i) => sum + (names[i] === 'admin' ? 0 : Number(s.objects)), 0)
    if (documents === 0) throw new Error('it holds no documents: is it the right one?')
    const folders = await dataFolders(stack, client)
    return { folders, documents, bytes: all.reduce((sum, s) => sum + Number(s.dataSize), 0) }
  } catch (error) {
    if (!(error instanceof MongoServerError) || error.code !== UNAUTHORIZED) throw error
    const { MONGODB_USER: user } = stack.config
    const what =
      user === ''
        ? 'it asks for a user, and MONGODB_USER is not set'
        : `MONGODB_USER '${user}' may not read all of it`
    throw new Error(`${what}. The user needs the roles backup and clusterMonitor.`, { cause: error })
  } finally {
    await client.close()
  }
}

/** What the part needs to know, and tells. */
export interface Dump {
  readonly stamp: string
  /** The database that the applications use: its marker says which shape the data has. */
  readonly main: string
  readonly report: Report
  /** Told of every batch: which collection, how many bytes. */
  readonly count: (label: string, bytes: number) => void
}

/**
 * Writes all databases but `local` and `config` as the archive's first part. When the catalogue changes meanwhile,
 * the archive restarts and everything is read again, three times at most.
 * @throws a sentence when it kept changing, the snapshot became too old, or the server failed.
 */
export async function writeMongo(
  client: MongoClient,
  archive: ArchiveWriter,
  dump: Dump,
): Promise<{ record: MongoRecord; shape: string }> {
  for (let again = 1; ; again++) {
    try {
      return await attemptOnce(client, archive, dump)
    } catch (error) {
      const moved = movedBecause(error)
      if (!moved) throw error
      const { why, next } = moved
      if (again > AGAIN) {
        throw new Error(
          `MongoDB could not be read at one point in time, nor when it was read again ${AGAIN} times: ${why}. ${next}`,
          { cause: error },
        )
      }
      dump.report(`MongoDB: ${why}; everything is read again (${again} of ${AGAIN})`)
      await archive.restart()
    }
  }
}

/** Why everything must be read again, and what a person does when that does not help. */
function movedBecause(error: unknown): { why: string; next: string } | undefined {
  const next = 'Start again while nothing creates, renames, drops or alters collections.'
  if (error instanceof Moved) return { why: error.message, next }
  if (!(error instanceof MongoServerError) || !MOVED.has(Number(error.code))) return undefined
  if (error.code !== TOO_OLD) {
    return { why: `a collection was changed while it was read (${error.message})`, next }
  }
  return {
    why: 'the snapshot became older than the server keeps it (minSnapshotHistoryWindowInSeconds)',
    next: 'In mongosh: db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600}), then start again.',
  }
}

async function attemptOnce(
  client: MongoClient,
  archive: ArchiveWriter,
  dump: Dump,
): Promise<{ record: MongoRecord; shape: string }> {
  const admin = client.db('admin')
  const { setName, me } = await admin.command({ hello: 1 })
  const { version } = await admin.command({ buildInfo: 1 })
  const { featureCompatibilityVersion: fcv } = await admin.command({
    getParameter: 1,
    featureCompatibilityVersion: 1,
  })
  const before = await catalogue(client)
  // Only a replica set has snapshots; what a standalone server gives is not one instant, and the set says so.
  const session = setName === undefined ? undefined : client.startSession({ snapshot: true })
  try {
    let clusterTime = ''
    const atOneInstant = (name: string, at: Buffer | undefined): void => {
      if (!at) throw new Moved(`${name} was dropped or renamed while the backup read`)
      const time = `${at.readUInt32LE(4)},${at.readUInt32LE(0)}`
      if (clusterTime !== '' && time !== clusterTime) {
        throw new Error(
          `MongoDB answered from two instants in one snapshot: ${clusterTime} and ${time} (${name})`,
        )
      }
      clusterTime = time
    }
    const found = new Map<string, CollectionRecord[]>()
    for (const collection of before) {
      const record = await save(collection, { client, archive, dump, session, atOneInstant })
      found.set(collection.db, [...(found.get(collection.db) ?? []), record])
    }
    const marker = await client
      .db(dump.main)
      .collection('_runbook')
      .findOne({ schemaHash: { $type: 'string' } }, session && { session })
    const change = difference(before, await catalogue(client))
    if (change) throw new Moved(change)
    const record = {
      version: String(version),
      fcv: String(fcv?.version),
      replicaSet: String(setName ?? ''),
      ...(typeof me === 'string' && { me }),
      clusterTime,
      databases: [...found].map(([name, collections]) => ({ name, collections })),
    }
    return { record, shape: marker === null ? 'legacy' : String(marker.schemaHash) }
  } finally {
    await session?.endSession()
  }
}

interface Reading {
  readonly client: MongoClient
  readonly archive: ArchiveWriter
  readonly dump: Dump
  readonly session: ClientSession | undefined
  /** To be called with the time in the first answer of each read in the session. */
  readonly atOneInstant: (name: string, at: Buffer | undefined) => void
}

/** Writes one collection's documents, options and indexes. */
async function save(
  collection: Collection,
  { client, archive, dump, session, atOneInstant }: Reading,
): Promise<CollectionRecord> {
  const { db, name, type, uuid, options, indexes, capped } = collection
  const folder = toBytes(`database/mongodb_${dump.stamp}/${db}`)
  const fuzzy = type !== 'view' && (capped || session === undefined)
  const digest = orderFree()
  let documents = 0
  let bytes = 0
  async function* content(): Bytes {
    const find = findAll(storedAs(collection))
    for await (const batch of rawBatches(client.db(db), find, fuzzy ? undefined : session, (cursor) => {
      if (!fuzzy) atOneInstant(`${db}.${name}`, field(cursor, 'atClusterTime'))
    })) {
      interruption.getStore()?.throwIfAborted()
      const read = unwrap(batch, (document) => {
        digest.add(document)
        documents++
      })
      bytes += read.length
      dump.count(`${db}.${name}`, read.length)
      yield read
    }
  }
  const part =
    type === 'view'
      ? undefined
      : await archive.file(`${folder}/${fileName(storedAs(collection))}.bson`, content())
  const json = once(Buffer.from(metadataJson(collection)))
  const metadata = await archive.file(`${folder}/${fileName(name)}.metadata.json`, json)
  return {
    name,
    type,
    documents,
    bytes,
    digest: digest.hex(),
    uuid,
    options,
    indexes,
    fuzzy,
    ...(part && { part: part.name }),
    metadata: metadata.name,
  }
}

/** The first thing that is not in both catalogues as it was, as words; undefined when they are equal. */
export function difference(before: readonly Collection[], after: readonly Collection[]): string | undefined {
  const keyed = (all: readonly Collection[]): Map<string, string> =>
    new Map(all.map((c) => [`${c.db}.${c.name}`, JSON.stringify(c)]))
  const [was, is] = [keyed(before), keyed(after)]
  for (const [name, what] of was) {
    if (!is.has(name)) return `${name} was dropped or renamed while the backup read`
    if (is.get(name) !== what) return `${name}, its options or its indexes were changed while the backup read`
  }
  for (const name of is.keys()) if (!was.has(name)) return `${name} was created while the backup read`
  return undefined
}
