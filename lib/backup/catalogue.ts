// What a MongoDB server holds: databases, collections, views, their options and indexes. No documents.
import { createHash } from 'node:crypto'
import type { ClientSession, Db, Document, MongoClient } from 'mongodb'
import { ejson, field, fields, unwrap } from './bson.ts'

export interface Collection {
  readonly db: string
  readonly name: string
  readonly type: 'collection' | 'view' | 'timeseries'
  /** Hexadecimal; of a time series that of its buckets; empty for a view. */
  readonly uuid: string
  /** Canonical extended JSON. */
  readonly options: string
  readonly indexes: readonly string[]
  /** Capped: it cannot be read in a snapshot. */
  readonly capped: boolean
}

const INTERNAL = ['local', 'config'] // the server's own, as mongodump sees it
const EMPTY = Buffer.from([5, 0, 0, 0, 0]) // a document without fields
const BATCH = 50_000 // documents; the server ends a reply at 16 MiB anyway

/**
 * The replies of a command that opens a cursor, each as the bytes of its array of documents. The next one is already
 * on its way while one is at work.
 */
export async function* rawBatches(
  db: Db,
  command: Document,
  session?: ClientSession,
  onFirst?: (cursor: Buffer) => void,
): AsyncGenerator<Buffer> {
  const options = { raw: true, ...(session && { session }) }
  const ask = (what: Document): Promise<Buffer> => {
    const reply = db.command(what, options).then((r) => r.cursor as Buffer)
    reply.catch(() => {}) // told when it is awaited; until then it must not end the process
    return reply
  }
  let cursor = await ask(command)
  onFirst?.(cursor)
  for (;;) {
    const id = field(cursor, 'id')?.readBigInt64LE() ?? 0n
    const [, name] = split(field(cursor, 'ns'))
    const batch = field(cursor, 'firstBatch') ?? field(cursor, 'nextBatch')
    const next = id === 0n ? undefined : ask({ getMore: id, collection: name, batchSize: BATCH })
    if (batch) yield batch
    if (!next) return
    cursor = await next
  }
}

/** `database.collection` as the server sends it: a length, the text, a zero. */
function split(ns: Buffer | undefined): [string, string] {
  const text = ns?.toString('utf8', 4, ns.length - 1) ?? ''
  const dot = text.indexOf('.')
  return [text.slice(0, dot), text.slice(dot + 1)]
}

/** A find command over a whole collection. */
export const findAll = (collection: string): Document => ({ find: collection, batchSize: BATCH })

/**
 * The databases that a backup holds, sorted.
 * @throws when the user may not see all of them: unasked, the server would leave the others out without a word.
 */
export async function databaseNames(client: MongoClient): Promise<string[]> {
  const command = { listDatabases: 1, nameOnly: true, authorizedDatabases: false }
  const { databases } = await client.db('admin').command(command)
  return (databases as { name: string }[])
    .map((d) => d.name)
    .filter((name) => !INTERNAL.includes(name))
    .toSorted()
}

/** Everything that a backup of this server holds, sorted. Two catalogues are equal when nothing was changed. */
export async function catalogue(client: MongoClient): Promise<Collection[]> {
  const found: Collection[] = []
  for (const name of await databaseNames(client)) found.push(...(await collectionsOf(client.db(name))))
  return found
}

/** What one database holds, sorted. */
export async function collectionsOf(db: Db): Promise<Collection[]> {
  const found: Collection[] = []
  const infos: Buffer[] = []
  for await (const batch of rawBatches(db, { listCollections: 1, cursor: { batchSize: BATCH } })) {
    unwrap(batch, (info) => infos.push(info))
  }
  const uuids = new Map(infos.map((info) => [text(field(info, 'name')), uuidOf(info)]))
  for (const info of infos) {
    const name = text(field(info, 'name'))
    if (skipped(db.databaseName, name)) continue
    const type = text(field(info, 'type'))
    if (type !== 'collection' && type !== 'view' && type !== 'timeseries') {
      throw new Error(
        `MongoDB: ${db.databaseName}.${name} is of type '${type}', which a backup does not know.`,
      )
    }
    const options = field(info, 'options') ?? EMPTY
    const uuid = uuids.get(storedAs({ name, type })) ?? ''
    const indexes = type === 'view' ? [] : await indexesOf(db, name)
    const capped = [...fields(options)].some((f) => f.name === 'capped' && f.value[0] === 1)
    found.push({ db: db.databaseName, name, type, uuid, options: ejson(options), indexes, capped })
  }
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

async function indexesOf(db: Db, collection: string): Promise<string[]> {
  const found: string[] = []
  for await (const batch of rawBatches(db, { listIndexes: collection, cursor: { batchSize: BATCH } })) {
    unwrap(batch, (index) => found.push(ejson(index)))
  }
  return found.toSorted()
}

const text = (value: Buffer | undefined): string => value?.toString('utf8', 4, value.length - 1) ?? ''

// Its bytes stand behind their length (4) and subtype (1).
const uuidOf = (info: Buffer): string => field(field(info, 'info') ?? EMPTY, 'uuid')?.toString('hex', 5) ?? ''

/** The server's own collections, as mongodump leaves them out. Users, roles and the version in `admin` stay. */
function skipped(db: string, name: string): boolean {
  if (db === 'admin') return /^system\.(keys|profile|views|buckets\..*)$/s.test(name)
  return name.startsWith('system.') && name !== 'system.js'
}

/** The bytes of a collection are read under this name: a time series keeps them in its buckets. */
export const storedAs = ({ name, type }: Pick<Collection, 'name' | 'type'>): string =>
  type === 'timeseries' ? `system.buckets.${name}` : name

/** The file that holds a collection, without extension, as mongodump names it. */
export function fileName(collection: string): string {
  const escaped = encodeURIComponent(collection)
    .replaceAll(/%(24|26|2B|3A|3D|40)/g, (hex) => decodeURIComponent(hex)) // $ & + : = @ stay
    .replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  if (escaped.length <= 238) return escaped
  const sum = createHash('sha1').update(collection).digest('base64url')
  return `${escaped.slice(0, 208)}%24${sum}`
}

/** A collection's .metadata.json as mongodump writes it. */
export function metadataJson({ name, type, uuid, options, indexes }: Collection): string {
  const fields_ = [
    ...(options === '{}' ? [] : [`"options":${options}`]),
    `"indexes":[${indexes.join(',')}]`,
    ...(uuid === '' || type === 'timeseries' ? [] : [`"uuid":"${uuid}"`]),
    `"collectionName":${JSON.stringify(name)}`,
    `"type":"${type}"`,
  ]
  return `{${fields_.join(',')}}`
}
