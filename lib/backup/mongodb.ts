// The MongoDB part of a set: every database at one instant, in mongodump's layout.
//
// One snapshot session reads everything. The trap: a collection that is renamed or dropped after the snapshot was
// pinned reads as empty, without an error. So the catalogue is taken before the first read and again after the last
// one, and any difference makes the part start over.
import { MongoServerError, type ClientSession, type MongoClient } from 'mongodb'
import { interruption } from '../shell.ts'
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

const TRIES = 3

// Errors that say: what was listed is not what is there any more. NamespaceNotFound, CappedPositionLost,
// QueryPlanKilled, SnapshotTooOld, SnapshotUnavailable (https://github.com/mongodb/mongo error_codes.yml).
const MOVED = new Set([26, 136, 175, 239, 246])
const TOO_OLD = 239

/** Something was created, renamed, dropped or altered while it was read. */
class Moved extends Error {}

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
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptOnce(client, archive, dump)
    } catch (error) {
      const why = movedBecause(error)
      if (why === undefined) throw error
      if (attempt === TRIES) {
        throw new Error(`MongoDB could not be read at one point in time, ${TRIES} times: ${why}`, {
          cause: error,
        })
      }
      dump.report(`MongoDB: ${why}; it is read again (${attempt + 1} of ${TRIES})`)
      await archive.restart()
    }
  }
}

function movedBecause(error: unknown): string | undefined {
  if (error instanceof Moved) return error.message
  if (!(error instanceof MongoServerError) || !MOVED.has(Number(error.code))) return undefined
  if (error.code !== TOO_OLD) return `a collection was changed while it was read (${error.message})`
  return (
    'the snapshot became older than the server keeps it (minSnapshotHistoryWindowInSeconds, 300 by default; ' +
    'it can be raised while it runs: db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600}))'
  )
}

async function attemptOnce(
  client: MongoClient,
  archive: ArchiveWriter,
  dump: Dump,
): Promise<{ record: MongoRecord; shape: string }> {
  const admin = client.db('admin')
  const { setName } = await admin.command({ hello: 1 })
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
    const found = new Map<string, CollectionRecord[]>()
    for (const collection of before) {
      const record = await save(collection, { client, archive, dump, session }, (at) => (clusterTime ||= at))
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
}

/** Writes one collection's documents, options and indexes. */
async function save(
  collection: Collection,
  { client, archive, dump, session }: Reading,
  onInstant: (clusterTime: string) => void,
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
      const at = field(cursor, 'atClusterTime')
      if (at) onInstant(`${at.readUInt32LE(4)},${at.readUInt32LE(0)}`)
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
