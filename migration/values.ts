// One value of a document: its BSON type, what a field of the schema accepts, and which conversions lose nothing.
import {
  BSONRegExp,
  BSONSymbol,
  Binary,
  Code,
  DBRef,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
} from 'mongodb'

/** The type of a value as MongoDB names it. */
export type BsonType =
  | 'double'
  | 'string'
  | 'object'
  | 'array'
  | 'binData'
  | 'undefined'
  | 'objectId'
  | 'bool'
  | 'date'
  | 'null'
  | 'regex'
  | 'dbPointer'
  | 'javascript'
  | 'symbol'
  | 'int'
  | 'timestamp'
  | 'long'
  | 'decimal'
  | 'minKey'
  | 'maxKey'
  | 'unknown'

/** The type of a field: Prisma's, with ObjectId and enum where the schema says so. */
export type FieldType =
  'String' | 'ObjectId' | 'Boolean' | 'Int' | 'BigInt' | 'Float' | 'DateTime' | 'Json' | 'Bytes' | 'enum'

// Timestamp before Long, which it extends.
const CLASSES = [
  [ObjectId, 'objectId'],
  [Int32, 'int'],
  [Double, 'double'],
  [Timestamp, 'timestamp'],
  [Long, 'long'],
  [Decimal128, 'decimal'],
  [Binary, 'binData'],
  [Uint8Array, 'binData'],
  [BSONRegExp, 'regex'],
  [RegExp, 'regex'],
  [BSONSymbol, 'symbol'],
  [Code, 'javascript'],
  [DBRef, 'dbPointer'],
  [MinKey, 'minKey'],
  [MaxKey, 'maxKey'],
] as const

const LOWEST_INT = -(2 ** 31)
const HIGHEST_INT = 2 ** 31 - 1
const isInt = (n: number): boolean => Number.isInteger(n) && n >= LOWEST_INT && n <= HIGHEST_INT

/** The type under which a value is stored. By class, never by a field of the value, which a document may have too. */
export function typeOf(value: unknown): BsonType {
  if (value === null) return 'null'
  switch (typeof value) {
    case 'string':
      return 'string'
    case 'boolean':
      return 'bool'
    case 'number':
      return isInt(value) && !Object.is(value, -0) ? 'int' : 'double'
    case 'bigint':
      return 'long'
    case 'undefined':
      return 'undefined'
    case 'object':
      break
    default:
      return 'unknown'
  }
  if (value instanceof Date) return 'date'
  if (Array.isArray(value)) return 'array'
  return CLASSES.find(([kind]) => value instanceof kind)?.[1] ?? 'object'
}

/** Whether a field with this value counts as one without: `false`, `0` and `''` are values. */
export function isNone(value: unknown): value is null | undefined {
  return value === null || value === undefined
}

/** The number of an Int32, or of an Int64 or a Double that is a whole number in its range; else undefined. */
export function intOf(value: unknown): number | undefined {
  const type = typeOf(value)
  if (type !== 'int' && type !== 'long' && type !== 'double') return undefined
  const number = Number(value instanceof Long ? value.toString() : value)
  return isInt(number) ? number + 0 : undefined // + 0: there is no -0 among the integers
}

const ISO = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,3})0*)?)?(?:Z|([+-])(\d\d):?(\d\d))$/

/**
 * The moment that an ISO 8601 text names. Undefined where it is not one: without a time zone it could be several, and
 * beyond the millisecond a Date cannot hold it.
 */
export function dateFromText(text: string): Date | undefined {
  const parts = ISO.exec(text)
  if (!parts) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts
    .slice(1, 7)
    .map((p) => Number(p ?? 0))
  const ms = Number((parts[7] ?? '').padEnd(3, '0'))
  const [zoneHour, zoneMinute] = [Number(parts[9] ?? 0), Number(parts[10] ?? 0)]
  if (hour > 23 || minute > 59 || second > 59 || zoneHour > 14 || zoneMinute > 59) return undefined
  // Date.UTC takes years below 100 for those of the last century.
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  date.setUTCHours(hour, minute, second, ms)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  const offset = (zoneHour * 60 + zoneMinute) * 60_000 // ms
  return new Date(date.getTime() + (parts[8] === '-' ? offset : -offset))
}

/** The second in which an ObjectId was made. */
export function dateOfId(id: ObjectId): Date {
  return new Date(Number.parseInt(id.toHexString().slice(0, 8), 16) * 1000)
}

/** Whether a text is an ObjectId written as 24 hexadecimal digits. */
export const isIdText = (text: unknown): text is string =>
  typeof text === 'string' && /^[0-9a-f]{24}$/i.test(text)

/** Whether the query engine reads a value, neither null nor a list, in a field of that type without loss. */
export function fits(type: FieldType, value: unknown, values: readonly string[] = []): boolean {
  const is = typeOf(value)
  switch (type) {
    case 'ObjectId':
      return is === 'objectId' // a text would be read, yet no filter and no relation would find it
    case 'String':
      return is === 'string' || is === 'objectId'
    case 'Boolean':
      return is === 'bool'
    case 'Int':
      return intOf(value) !== undefined // a Double with a fraction is read too: cut off, without a word
    case 'BigInt':
      return is === 'int' || is === 'long'
    case 'Float':
      return is === 'double' || is === 'int' || is === 'long'
    case 'DateTime':
      return is === 'timestamp' || (value instanceof Date && !Number.isNaN(value.getTime()))
    case 'Bytes':
      return is === 'binData' || is === 'objectId'
    case 'enum':
      return typeof value === 'string' && values.includes(value)
    case 'Json':
      return is !== 'undefined' && is !== 'unknown'
  }
}

/** The rules by which a value of another type is taken for one of the field's type. */
export type Conversion =
  'date-from-text' | 'id-from-text' | 'int-from-int64' | 'int-from-double' | 'enum-case'

/** A value as the schema types it, with the rule where it is not the one that was given; undefined when none holds. */
export function converted(
  type: FieldType,
  value: unknown,
  values: readonly string[] = [],
): { readonly value: unknown; readonly rule?: Conversion } | undefined {
  if (type === 'Int') {
    const number = intOf(value)
    if (number === undefined) return undefined
    const is = typeOf(value)
    if (is === 'int') return { value }
    return { value: new Int32(number), rule: is === 'long' ? 'int-from-int64' : 'int-from-double' }
  }
  if (fits(type, value, values)) return { value }
  if (typeof value !== 'string') return undefined
  if (type === 'ObjectId')
    return isIdText(value) ? { value: new ObjectId(value), rule: 'id-from-text' } : undefined
  if (type === 'DateTime') {
    const date = dateFromText(value)
    return date && { value: date, rule: 'date-from-text' }
  }
  if (type === 'enum') {
    const alike = values.filter((v) => v.toLowerCase() === value.toLowerCase())
    return alike.length === 1 ? { value: alike[0], rule: 'enum-case' } : undefined
  }
  return undefined
}
