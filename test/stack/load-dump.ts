// An independent reader of mongodump's layout, for tests: loads the files of a dump into an empty server, as
// mongorestore would. It shares nothing with what writes the dump.
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { BSON, type Db, type Document, type MongoClient } from 'mongodb'

const { EJSON } = BSON

// The driver encodes what it is given; documents that are encoded already go through its own type for a sequence of
// them, which it does not export.
const { DocumentSequence } = createRequire(import.meta.url)('mongodb/lib/cmap/commands.js') as {
  DocumentSequence: new (field: string) => { push(document: unknown, bytes: Buffer): number }
}

const MOST = 16 * 2 ** 20 // bytes in one insert, and a document
const DUPLICATE = 11_000
const METADATA = '.metadata.json'
const LONG = 238 // characters of a file's name that holds a part of the collection's name and a hash

/** Loads every database in the folder. Collections first, then their documents, then indexes, then views. */
export async function loadDump(client: MongoClient, folder: string): Promise<void> {
  for (const name of await readdir(folder)) await loadDatabase(client.db(name), join(folder, name))
}

interface Metadata {
  readonly options?: ReadonlyMap<string, unknown>
  readonly indexes: readonly ReadonlyMap<string, unknown>[]
  readonly collectionName: string
  readonly type: string
}

async function loadDatabase(db: Db, folder: string): Promise<void> {
  const files = await readdir(folder)
  const all: { file: string; about: Metadata }[] = []
  for (const file of files.filter((f) => f.endsWith(METADATA))) {
    const about = ordered(await readFile(join(folder, file), 'utf8')) as ReadonlyMap<string, unknown>
    all.push({ file, about: Object.fromEntries(about) as unknown as Metadata })
  }
  for (const { about } of all.toSorted(
    (a, b) => Number(a.about.type === 'view') - Number(b.about.type === 'view'),
  )) {
    const { collectionName: name, options = new Map<string, unknown>() } = about
    if (!name.startsWith('system.')) await db.command({ create: name, ...Object.fromEntries(options) })
  }
  for (const { file, about } of all) {
    if (about.type === 'view') continue
    const { collectionName: name, indexes } = about
    const base = file.slice(0, -METADATA.length)
    const named = base.length === LONG && base.includes('%24') ? name : decodeURIComponent(base)
    if (named !== name)
      throw new Error(`The file ${file} is of '${named}', and says that it is of '${name}'.`)
    const prefix = about.type === 'timeseries' ? 'system.buckets.' : ''
    const stored = `${prefix}${name}`
    const bson = await readFile(join(folder, `${prefix}${base}.bson`))
    await insertRaw(db, stored, documentsOf(bson))
    const wanted = indexes.filter((i) => i.get('name') !== '_id_' && i.get('clustered') !== true)
    if (wanted.length > 0) await db.command({ createIndexes: name, indexes: wanted })
  }
}

/** The documents of a .bson file. */
export function documentsOf(bson: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at < bson.length; at += bson.readInt32LE(at)) {
    found.push(bson.subarray(at, at + bson.readInt32LE(at)))
  }
  return found
}

/** Inserts documents by their bytes. What is there already under its _id stays. */
export async function insertRaw(db: Db, collection: string, documents: readonly Buffer[]): Promise<void> {
  for (let next = 0; next < documents.length;) {
    const sequence = new DocumentSequence('documents')
    for (let bytes = 0; next < documents.length && bytes < MOST; next++) {
      const document = documents[next] as Buffer
      bytes += document.length
      sequence.push({}, document)
    }
    const command = {
      insert: collection,
      documents: sequence,
      ordered: false,
      bypassDocumentValidation: true,
    }
    const { writeErrors = [] } = await db.command(command as Document)
    const errors = (writeErrors as { code: number; errmsg: string }[]).filter((e) => e.code !== DUPLICATE)
    if (errors[0]) throw new Error(`${db.databaseName}.${collection}: ${errors[0].errmsg}`)
  }
}

const WRAPPERS = new Set(
  (
    '$numberInt $numberLong $numberDouble $numberDecimal $oid $date $binary $timestamp $regularExpression $code ' +
    '$symbol $minKey $maxKey $dbPointer'
  ).split(' '),
)

/** Canonical extended JSON with its keys in their order: as maps, since objects put keys like `10` first. */
function ordered(json: string): unknown {
  const marked = json.replaceAll(/"(?:[^"\\]|\\.)*"(?=(\s*:)?)/g, (text, isKey) =>
    isKey === undefined ? text : `"k${text.slice(1)}`,
  )
  return typed(JSON.parse(marked))
}

function typed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(typed)
  if (typeof value !== 'object' || value === null) return value
  const [first] = Object.keys(value)
  if (first !== undefined && WRAPPERS.has(first.slice(1)))
    return EJSON.deserialize(plain(value), { relaxed: false })
  return new Map(Object.entries(value).map(([key, v]) => [key.slice(1), typed(v)]))
}

function plain(value: unknown): Document {
  if (typeof value !== 'object' || value === null) return value as Document
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key.slice(1), plain(v)]))
}
