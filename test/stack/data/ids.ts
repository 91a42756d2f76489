// When a document was made, and its ObjectId: both follow from its place in its collection.
import { ObjectId } from 'mongodb'
import { COLLECTION_NAMES, type CollectionName } from './counts.ts'
import { fraction } from './random.ts'

/** The life of the base in ms: its first document, and the moment at which it was counted. */
export const BIRTH = Date.UTC(2025, 8, 1, 6)
export const CAPTURE = Date.UTC(2026, 0, 25, 12)

/** A number for each collection. */
export const ORDINAL = Object.fromEntries(COLLECTION_NAMES.map((name, i) => [name, i])) as Record<
  CollectionName,
  number
>
const PROCESS = 0x6d736879 // in place of the random number that a process has; the collection's is its last byte
const GHOST = 0xffffff // highest counter of an ObjectId: far above that of any document

/** The creation time in ms of the i-th of `count` documents: later than that of the one before. */
export function timeOf(name: CollectionName, i: number, count: number): number {
  const place = (i + fraction(ORDINAL[name], i)) / count
  return Math.floor(BIRTH + (CAPTURE - BIRTH) * place)
}

/** The `_id` of the i-th of `count` documents. It carries the second of `timeOf`. */
export function idOf(name: CollectionName, i: number, count: number): ObjectId {
  return objectId(name, timeOf(name, i, count), i)
}

/** The n-th id that looks like one of the collection and that no document has. */
export function ghostOf(name: CollectionName, n: number): ObjectId {
  return objectId(name, BIRTH, GHOST - n)
}

function objectId(name: CollectionName, ms: number, counter: number): ObjectId {
  const bytes = Buffer.allocUnsafe(12)
  bytes.writeUInt32BE(Math.floor(ms / 1000), 0)
  bytes.writeUInt32BE(PROCESS, 4)
  bytes.writeUInt32BE(counter, 8)
  bytes[8] = ORDINAL[name]
  return new ObjectId(bytes)
}
