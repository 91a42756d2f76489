// Order-free digests of all documents of collections.
import type { Db } from 'mongodb'
import { orderFree } from '../../lib/backup/digest.ts'
import { findAll, rawBatches } from '../../lib/backup/catalogue.ts'
import { unwrap } from '../../lib/backup/bson.ts'

/** The digest of each collection, by its name. */
export async function databaseDigest(
  db: Db,
  collections: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const digests: [string, string][] = []
  for (const name of collections.toSorted()) {
    const digest = orderFree()
    const session = db.client.startSession()
    try {
      for await (const batch of rawBatches(db, findAll(name), session))
        unwrap(batch, (document) => digest.add(document))
    } finally {
      await session.endSession()
    }
    digests.push([name, digest.hex()])
  }
  return Object.fromEntries(digests)
}
