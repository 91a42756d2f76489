// Loads the legacy data into a database.
import type { Db, Document, MongoClient } from 'mongodb'
import { legacyCollections, type LegacyCollection, type Scope } from './legacy.ts'

const BATCH = 2000 // documents: about 1.3 MB, far below the limit of a message

/**
 * Creates the 31 collections in `db`, inserts their documents and builds their indexes. Returns the number of
 * documents, all of them written by the client's write concern.
 * @throws MongoServerError when one of the collections exists already, or the server refuses something.
 */
export async function loadLegacy(
  client: MongoClient,
  { scale = 1, seed = 1, db = 'meeshy' }: Scope & { readonly db?: string } = {},
): Promise<number> {
  const collections = [...legacyCollections({ scale, seed })]
  const loaded = await Promise.all(collections.map((collection) => load(client.db(db), collection)))
  return loaded.reduce((sum, documents) => sum + documents, 0)
}

async function load(db: Db, { name, documents, indexes }: LegacyCollection): Promise<number> {
  const collection = await db.createCollection(name)
  let loaded = 0
  // The next batch is made while the server writes the one before.
  let writing: Promise<{ insertedCount: number }> | undefined
  for (const batch of batches(documents)) {
    loaded += (await writing)?.insertedCount ?? 0
    writing = collection.insertMany(batch, { ordered: false })
  }
  loaded += (await writing)?.insertedCount ?? 0
  if (indexes.length > 0) await collection.createIndexes(indexes)
  return loaded
}

function* batches(documents: Iterable<Document>): Generator<Document[]> {
  let batch: Document[] = []
  for (const document of documents) {
    if (batch.push(document) < BATCH) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
