// Documents into MongoDB by their bytes: what is written is what was read, whatever types and keys it holds.
import { createRequire } from 'node:module'
import type { Db, Document } from 'mongodb'
import type { Bytes } from './bytes.ts'
import { documentsIn } from './bson.ts'

// A sequence of documents that are encoded already. The driver has a type for it and does not export it; the exact
// version of the driver is pinned, and a unit test says so when it has gone.
const { DocumentSequence } = createRequire(import.meta.url)('mongodb/lib/cmap/commands.js') as {
  DocumentSequence: new (field: string) => { push(document: unknown, bytes: Buffer): number }
}

const MOST = 8 * 2 ** 20 // bytes in one insert; the server takes 48 MB
const MOST_DOCUMENTS = 50_000 // in one insert; the server takes 100,000
const WIDTH = 3 // inserts on their way at a time

/** Some documents, as their bytes one after the other. */
export interface Batch {
  readonly bytes: Buffer
  readonly documents: number
}

/** Cuts a .bson stream into batches of whole documents. @throws when it is not whole documents */
export async function* batches(source: Bytes): AsyncGenerator<Batch> {
  let held: Buffer[] = []
  let bytes = 0
  const full: Batch[] = []
  const flush = (): void => {
    if (held.length > 0) full.push({ bytes: Buffer.concat(held, bytes), documents: held.length })
    held = []
    bytes = 0
  }
  const next = documentsIn((document) => {
    if (bytes + document.length > MOST || held.length === MOST_DOCUMENTS) flush()
    held.push(document)
    bytes += document.length
  })
  for await (const piece of source) {
    next(piece)
    yield* full.splice(0)
  }
  next()
  flush()
  yield* full
}

/**
 * Inserts one batch. A rule of the collection (a validator) is not asked: the documents were there before.
 * @throws the first error, naming the collection; a document that is there already is one
 */
export async function insertBatch(db: Db, collection: string, { bytes, documents }: Batch): Promise<void> {
  const sequence = new DocumentSequence('documents')
  sequence.push({}, bytes)
  const command = {
    insert: collection,
    documents: sequence,
    ordered: false,
    bypassDocumentValidation: true,
  }
  const reply = await db.command(command as unknown as Document)
  const [error] = (reply.writeErrors ?? []) as { errmsg: string }[]
  if (error) throw new Error(`${db.databaseName}.${collection}: ${error.errmsg}`)
  if (reply.n !== documents)
    throw new Error(`${db.databaseName}.${collection}: ${reply.n} of ${documents} documents were taken`)
}

/** Inserts a .bson stream, several batches at a time; `count` is told the documents and bytes of each. */
export async function insertAll(
  db: Db,
  collection: string,
  source: Bytes,
  count: (batch: Batch) => void,
): Promise<void> {
  const underway = new Set<Promise<void>>()
  try {
    for await (const batch of batches(source)) {
      const one: Promise<void> = insertBatch(db, collection, batch).then(() => {
        underway.delete(one)
        count(batch)
      })
      one.catch(() => {}) // told when it is awaited
      underway.add(one)
      if (underway.size >= WIDTH) await Promise.race(underway)
    }
    await Promise.all(underway)
  } finally {
    await Promise.allSettled(underway)
  }
}
