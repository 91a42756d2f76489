// What documents look like: the same API runs on the legacy shape, which anything may have, and on the new one, which is
// read and written by Prisma's schema, as strictly as its engine does.
import { Binary, Long, ObjectId, Timestamp, type Document } from 'mongodb'
import { HttpError } from '../lib/http.ts'
import { modelsOf, type Field } from './schema.ts'

export interface Shape {
  /** The collection of who has read which message. */
  readonly statuses: string
  /** A new document of these fields; `legacy` are those that only the legacy code writes. Throws when it is none. */
  made(model: string, fields: Document, legacy?: Document): Document
  /** A document as the code gets it. Throws HttpError 500 when it is of another shape. */
  read<T extends Document>(model: string, document: T): T
}

export const legacyShape: Shape = {
  statuses: 'MessageStatus',
  made: (_model, fields, legacy = {}) => ({ ...fields, ...legacy }),
  read: (_model, document) => document,
}

/** The shape that a Prisma schema describes. */
export function shapeOf(schema: string): Shape {
  const models = modelsOf(schema)
  const fieldsOf = (model: string): readonly Field[] => {
    const fields = models.get(model)
    if (!fields) throw new Error(`The schema has no model ${model}.`)
    return fields
  }
  const read: Shape['read'] = (model, document) => {
    const values = fieldsOf(model).map((field) => [field.key, valueOf(model, field, document[field.key])])
    return Object.fromEntries(values) as typeof document
  }
  return {
    statuses: 'MessageStatusEntry',
    read,
    made(model, fields) {
      const known = fieldsOf(model)
      const unknown = Object.keys(fields).find((key) => !known.some((field) => field.key === key))
      if (unknown !== undefined) throw new Error(`Unknown argument ${model}.${unknown}`)
      const initial = known.flatMap(({ key, initial: value }) => (value ? [[key, value()]] : []))
      const document = { ...(Object.fromEntries(initial) as Document), ...fields }
      read(model, document)
      return document
    },
  }
}

function valueOf(model: string, field: Field, value: unknown): unknown {
  const { key, isList, isOptional, isStatic, initial } = field
  const misfit = (why: string): HttpError =>
    new HttpError(500, `Error converting field ${model}.${key}: ${why}`)
  if (value === undefined || value === null) {
    if (isList) return []
    if (isStatic) return initial?.()
    if (isOptional) return null
    throw misfit('expected non-nullable type, found null')
  }
  if (isList && !Array.isArray(value)) throw misfit('expected a list')
  for (const one of isList ? (value as unknown[]) : [value]) {
    if (!fits(field.type, one)) throw misfit(`found an incompatible value of ${String(field.type)}`)
  }
  return field.type === 'Int' && typeof value === 'number' ? Math.trunc(value) : value
}

/** As Prisma's engine takes what BSON has. */
function fits(type: Field['type'], value: unknown): boolean {
  if (typeof type !== 'string') return typeof value === 'string' && type.includes(value)
  const isWhole = typeof value === 'bigint' || value instanceof Long
  switch (type) {
    case 'String':
      return typeof value === 'string' || value instanceof ObjectId
    case 'Int':
      return typeof value === 'number' || typeof value === 'boolean' || isWhole
    case 'BigInt':
      return Number.isInteger(value) || isWhole
    case 'Float':
      return typeof value === 'number' || isWhole
    case 'Boolean':
      return typeof value === 'boolean'
    case 'DateTime':
      return value instanceof Date || value instanceof Timestamp
    case 'Bytes':
      return value instanceof Binary || value instanceof ObjectId
    default:
      return type === 'Json'
  }
}
