// BSON by its bytes: what is backed up is never decoded, so nothing of it can change on the way.
import { BSON, type Document } from 'mongodb'

const { EJSON, deserialize } = BSON
const [DOCUMENT, ARRAY, UNDEFINED] = [3, 4, 6]
const LONGEST = 48 * 2 ** 20 // bytes: far above the server's own limit of 16 MiB and a little

/** One field of a document: its type, name, and the bytes of its value. */
export interface Field {
  readonly type: number
  readonly name: string
  readonly value: Buffer
}

/** The fields of a document, in their order, duplicates and all. @throws when its structure is damaged. */
export function* fields(document: Buffer): Generator<Field> {
  for (const [type, nameAt, nameLength, at, length] of BSON.onDemand.parseToElements(document)) {
    const name = document.toString('utf8', nameAt, nameAt + nameLength)
    yield { type, name, value: document.subarray(at, at + length) }
  }
}

/** The value of a field by its name, or undefined. */
export function field(document: Buffer, name: string): Buffer | undefined {
  for (const f of fields(document)) if (f.name === name) return f.value
  return undefined
}

/**
 * A document as canonical extended JSON, as mongodump writes it. Keys stay in their order: an index on {b, 10, 2} is
 * another one than on {2, 10, b}, which is what a JavaScript object would make of it.
 */
export function ejson(document: Buffer): string {
  return `{${[...fields(document)].map((f) => `${JSON.stringify(f.name)}:${value(f)}`).join(',')}}`
}

function value({ type, value: bytes }: Field): string {
  if (type === DOCUMENT) return ejson(bytes)
  if (type === ARRAY) return `[${[...fields(bytes)].map(value).join(',')}]`
  if (type === UNDEFINED) return '{"$undefined":true}' // the only type that does not survive decoding
  const alone = Buffer.concat([Buffer.alloc(4), Buffer.from([type, 0x76, 0]), bytes, Buffer.alloc(1)])
  alone.writeInt32LE(alone.length)
  const decoded = deserialize(alone, { promoteValues: false, bsonRegExp: true })
  return EJSON.stringify(decoded, { relaxed: false }).slice('{"v":'.length, -1)
}

// What canonical extended JSON writes as an object with one of these keys is a value.
const WRAPPERS = new Set(
  (
    '$numberInt $numberLong $numberDouble $numberDecimal $oid $date $binary $timestamp $regularExpression $code ' +
    '$symbol $minKey $maxKey $dbPointer $undefined'
  ).split(' '),
)

/**
 * Canonical extended JSON, as `ejson` writes it, for a command. Documents are maps, which keep their keys in order;
 * an object would put the key `10` first.
 */
export function fromEjson(json: string): ReadonlyMap<string, unknown> {
  // Marked, so that no key looks like a number while it is parsed. (Every string is matched, so that none in a string counts.)
  const marked = json.replaceAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g, (all, colon) =>
    colon === undefined ? all : `"k${all.slice(1)}`,
  )
  return ordered(JSON.parse(marked)) as ReadonlyMap<string, unknown>
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered)
  if (typeof value !== 'object' || value === null) return value
  const [first] = Object.keys(value)
  if (first !== undefined && WRAPPERS.has(first.slice(1)))
    return EJSON.deserialize(unmarked(value) as Document, { relaxed: false })
  return new Map(Object.entries(value).map(([key, v]) => [key.slice(1), ordered(v)]))
}

function unmarked(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key.slice(1), unmarked(v)]))
}

/**
 * The documents of an array of documents, one after the other as a .bson file holds them; `each` sees every one.
 * This runs once per document of the whole database: it makes no objects but the slices.
 */
export function unwrap(array: Buffer, each: (document: Buffer) => void): Buffer {
  const out = Buffer.allocUnsafe(array.length)
  let filled = 0
  for (let at = 4; at < array.length - 1;) {
    if (array[at] !== DOCUMENT) throw new Error('the server sent something else than documents')
    let begins = at + 2 // after the type and the number in the array, which ends in a zero
    while (array[begins - 1] !== 0) begins++
    const ends = begins + array.readInt32LE(begins)
    each(array.subarray(begins, ends))
    filled += array.copy(out, filled, begins, ends)
    at = ends
  }
  return out.subarray(0, filled)
}

/**
 * Splits a .bson stream that comes in pieces into its documents.
 * @returns a function that takes the next piece, and with none says that the stream has ended.
 * @throws (the function) when the bytes are not whole documents.
 */
export function documentsIn(each: (document: Buffer) => void): (piece?: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (piece) => {
    if (piece === undefined) {
      if (rest.length > 0) throw new Error('its last document is cut short')
      return
    }
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece])
    let at = 0
    while (bytes.length - at >= 4) {
      const length = bytes.readInt32LE(at)
      if (length < 5 || length > LONGEST) throw new Error('its documents are damaged')
      if (at + length > bytes.length) break
      if (bytes[at + length - 1] !== 0) throw new Error('its documents are damaged')
      each(bytes.subarray(at, at + length))
      at += length
    }
    rest = bytes.subarray(at)
  }
}
