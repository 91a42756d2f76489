// From the bytes of a document to its fields, and whether they can be written back as the same bytes.
import { BSON, Timestamp, type BSONSerializeOptions } from 'mongodb'
import type { Fields } from './rules.ts'

// Doubles, Int64 and the options of regular expressions would else be changed in passing.
const OPTIONS = { promoteValues: false, bsonRegExp: true } as const satisfies BSONSerializeOptions

export type Decoded =
  | {
      readonly doc: Fields
      /** Whether its fields, written again, are the same bytes. */
      readonly isFaithful: boolean
    }
  /** Nothing can be said about what it holds. */
  | { readonly unreadable: string }

/**
 * The fields of a document. JavaScript orders keys such as `10` and `2` by their number, so where that changed the
 * bytes, sub-documents come as Maps.
 */
export function decode(bytes: Uint8Array): Decoded {
  try {
    const doc = BSON.deserialize(bytes, OPTIONS)
    if (isSame(bytes, doc)) return { doc, isFaithful: true }
    const map = mapOf(bytes, 0)
    return { doc: Object.fromEntries(map), isFaithful: isSame(bytes, map) }
  } catch (error) {
    return { unreadable: `Its bytes cannot be read: ${(error as Error).message}.` }
  }
}

/** Top-level fields that the server itself would replace when the document is inserted. */
export function replacedByServer(doc: Fields): string[] {
  return Object.keys(doc).filter((name) => doc[name] instanceof Timestamp && doc[name].isZero())
}

function isSame(bytes: Uint8Array, doc: object): boolean {
  try {
    return Buffer.compare(bytes, BSON.serialize(doc)) === 0
  } catch {
    return false // a sub-document that looks like one of the driver's own classes
  }
}

const OBJECT = 3
const ARRAY = 4

function mapOf(bytes: Uint8Array, at: number): Map<string, unknown> {
  return new Map(elementsOf(bytes, at))
}

function elementsOf(bytes: Uint8Array, at: number): [string, unknown][] {
  return Array.from(
    BSON.onDemand.parseToElements(bytes, at),
    ([type, nameAt, nameLength, valueAt, length]) => {
      const name = Buffer.from(bytes.subarray(nameAt, nameAt + nameLength)).toString()
      if (type === OBJECT) return [name, mapOf(bytes, valueAt)]
      if (type === ARRAY) return [name, elementsOf(bytes, valueAt).map(([, element]) => element)]
      return [name, leafOf(type, bytes.subarray(valueAt, valueAt + length))]
    },
  )
}

/** A value read as the only field of a document of its own. */
function leafOf(type: number, value: Uint8Array): unknown {
  const one = Buffer.alloc(4 + 3 + value.length + 1)
  one.writeInt32LE(one.length)
  one[4] = type
  one.write('v', 5)
  one.set(value, 7)
  return BSON.deserialize(one, OPTIONS)['v']
}
