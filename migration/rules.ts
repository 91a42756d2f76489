// What the target schema demands of a document, as the query engine reads it.
import { usage } from '../lib/errors.ts'
import type { Datamodel, Field, Index, Model } from './dmmf.ts'
import { fits, isNone, typeOf, type FieldType } from './values.ts'

export interface FieldRule {
  /** In the document: `_id`, not `id`. */
  readonly name: string
  readonly type: FieldType
  /** The values of an enum. */
  readonly values?: readonly string[]
  readonly isList: boolean
  readonly isRequired: boolean
  readonly isId: boolean
  /** A static default. */
  readonly default?: unknown
  /** What its value comes from where neither the document nor a static default gives one. */
  readonly generated?: 'id' | 'date'
}

export interface ReferenceRule {
  readonly field: string
  /** The model that it names a document of, by the value of `toField`. */
  readonly to: string
  readonly toField: string
  readonly isRequired: boolean
}

export interface IndexRule {
  readonly fields: readonly { readonly name: string; readonly order: 1 | -1 }[]
  readonly isUnique: boolean
  /** Its name in the database: the schema's, or the one that Prisma makes up. */
  readonly name: string
}

export interface ModelRules {
  readonly name: string
  readonly collection: string
  readonly fields: readonly FieldRule[]
  readonly references: readonly ReferenceRule[]
  /** Without that of `_id`. */
  readonly indexes: readonly IndexRule[]
}

/** By the name of the model. */
export type Rules = ReadonlyMap<string, ModelRules>

const SCALARS: readonly string[] = [
  'String',
  'Boolean',
  'Int',
  'BigInt',
  'Float',
  'DateTime',
  'Json',
  'Bytes',
] satisfies FieldType[]

/**
 * The rules of every model.
 * @throws a usage error when the schema has what nothing here can judge: composite types, relations by several fields.
 */
export function rulesOf(schema: Datamodel): Rules {
  if (schema.models.length === 0) throw usage('The Prisma schema has no model.')
  return new Map(schema.models.map((model) => [model.name, modelRules(model, schema)]))
}

function modelRules(model: Model, { enums, models, indexes }: Datamodel): ModelRules {
  const valuesOf = new Map(enums.map((e) => [e.name, e.values.map((v) => v.name)]))
  const scalars = model.fields.filter(({ kind }) => kind !== 'object')
  const relations = model.fields.filter(({ kind }) => kind === 'object')
  const nameOf = (field: string, of = model): string => {
    const found = of.fields.find(({ name }) => name === field)
    return found?.dbName ?? field
  }
  for (const field of relations)
    if (field.relationName === undefined || (field.relationFromFields ?? []).length > 1)
      throw usage(
        `${model.name}.${field.name} is a composite type or a relation by several fields: nothing here can judge those.`,
      )
  const collection = model.dbName ?? model.name
  return {
    name: model.name,
    collection,
    fields: scalars.map((field) => fieldRule(model, field, valuesOf)),
    references: relations.flatMap((relation) => {
      const [from] = relation.relationFromFields ?? []
      const [to = 'id'] = relation.relationToFields ?? []
      if (from === undefined) return []
      const target = models.find(({ name }) => name === relation.type)
      return {
        field: nameOf(from),
        to: relation.type,
        toField: nameOf(to, target),
        isRequired: relation.isRequired,
      }
    }),
    indexes: indexes
      .filter((index) => index.model === model.name && (index.type === 'unique' || index.type === 'normal'))
      .map((index) => indexRule(collection, index, nameOf)),
  }
}

function fieldRule(model: Model, field: Field, valuesOf: ReadonlyMap<string, readonly string[]>): FieldRule {
  const values = valuesOf.get(field.type)
  const isObjectId = field.nativeType?.[0] === 'ObjectId'
  if (!values && !SCALARS.includes(field.type))
    throw usage(`${model.name}.${field.name} is a ${field.type}: nothing here can judge that type.`)
  const isStatic = field.hasDefaultValue && !isCall(field.default)
  const isDate = field.isUpdatedAt === true || (isCall(field.default) && field.default.name === 'now')
  return {
    name: field.dbName ?? field.name,
    type: isObjectId ? 'ObjectId' : values ? 'enum' : (field.type as FieldType),
    ...(values && { values }),
    isList: field.isList,
    isRequired: field.isRequired && !field.isList,
    isId: field.isId,
    ...(isStatic && { default: field.default }),
    ...(field.isId ? { generated: 'id' } : isDate && { generated: 'date' }),
  }
}

const isCall = (value: unknown): value is { name: string } =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && 'name' in value && 'args' in value

function indexRule(collection: string, index: Index, nameOf: (field: string) => string): IndexRule {
  const isUnique = index.type === 'unique'
  const names = index.fields.map(({ name }) => nameOf(name))
  return {
    fields: index.fields.map(({ sortOrder }, i) => ({
      name: names[i] as string,
      order: sortOrder === 'desc' ? -1 : 1,
    })),
    isUnique,
    name: index.dbName ?? [collection, ...names, isUnique ? 'key' : 'idx'].join('_'),
  }
}

/** A document of a model by the names of its fields. */
export type Fields = Readonly<Record<string, unknown>>

/** What breaks a rule of the model, a sentence each; it names types and enum values, never another value. */
export function wrongIn(model: ModelRules, doc: Fields): string[] {
  return model.fields.flatMap((field) => {
    const value = Object.hasOwn(doc, field.name) ? doc[field.name] : undefined
    if (isNone(value)) return field.isRequired ? [missing(model, field, value)] : []
    if (!field.isList) return fits(field.type, value, field.values) ? [] : [misfit(model, field, value)]
    if (!Array.isArray(value)) return [misfit(model, field, value)]
    const odd = value.filter((element) => !fits(field.type, element, field.values))
    return odd.length > 0 ? [`${misfit(model, field, odd[0])} (in the list)`] : []
  })
}

/** Fields of the document that the model does not have. */
export function unknownIn(model: ModelRules, doc: Fields): string[] {
  return Object.keys(doc).filter((name) => !model.fields.some((field) => field.name === name))
}

/** Why a required field without a value is wrong. */
export function missing(model: ModelRules, field: FieldRule, value: unknown): string {
  return `${model.name}.${field.name} is required, and ${value === null ? 'null' : 'missing'}`
}

const LONGEST = 40 // characters of an enum value that a sentence shows

/** Why a value does not fit its field. */
export function misfit(model: ModelRules, field: FieldRule, value: unknown): string {
  const what = `${model.name}.${field.name}`
  const wanted = field.isList ? `a list of ${field.type}` : field.type === 'enum' ? 'an enum' : field.type
  if (field.type === 'enum' && typeof value === 'string')
    return `${what} is ${JSON.stringify(value.slice(0, LONGEST))}, and not one of ${field.values?.join(', ')}`
  return `${what} is ${described(field, value)}, and wants ${wanted}`
}

function described({ type }: FieldRule, value: unknown): string {
  const is = typeOf(value)
  if (is === 'date') return 'a date out of range'
  if (type === 'Int' && (is === 'double' || is === 'long')) return `a ${is} that is no whole number in range`
  return `of type ${is}`
}
