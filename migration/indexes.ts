// Which indexes the target has, and what becomes of those of the source.
import type { IndexSpec, Plan } from './plan-types.ts'
import type { IndexRule, ModelRules, Rules } from './rules.ts'
import type { FieldType } from './values.ts'

/** The type by which a partial index tells a value from none. */
const BSON_TYPES: Readonly<Partial<Record<FieldType, string>>> = {
  ObjectId: 'objectId',
  String: 'string',
  enum: 'string',
  Int: 'number',
  BigInt: 'number',
  Float: 'number',
  Boolean: 'bool',
  DateTime: 'date',
  Bytes: 'binData',
}

/** The fields of a unique key that may be without a value: the key holds only where all of them have one. */
export function optionalIn(model: ModelRules, index: IndexRule): { name: string; type: string }[] {
  return index.fields.flatMap(({ name }) => {
    const field = model.fields.find((f) => f.name === name)
    const type = field && BSON_TYPES[field.type]
    return field && type !== undefined && !field.isRequired && !field.isId && !field.isList
      ? [{ name, type }]
      : []
  })
}

/**
 * The indexes of a model's collection beside that of `_id`: those that the schema declares, then the plan's own.
 * MongoDB takes a missing field for null, so a unique index on an optional field is limited to documents that have a
 * value, by its type: by mere presence an explicit null would be in it.
 */
export function indexesOf(model: ModelRules, plan: Pick<Plan, 'indexes'>): IndexSpec[] {
  const declared = model.indexes.map((index) => {
    const optional = index.isUnique ? optionalIn(model, index) : []
    return {
      name: index.name,
      key: Object.fromEntries(index.fields.map(({ name, order }) => [name, order])),
      ...(index.isUnique && { unique: true as const }),
      ...(optional.length > 0 && {
        partialFilterExpression: Object.fromEntries(
          optional.map(({ name, type }) => [name, { $type: type }]),
        ),
      }),
    }
  })
  const own = plan.indexes.filter((index) => index.model === model.name)
  return [...declared, ...own.map(({ name, key }) => ({ name, key }))]
}

export type IndexFate =
  /** One with the same key is built. */
  | { readonly fate: 'built'; readonly as: string }
  /** It must not come along, or goes with its collection. */
  | { readonly fate: 'gone'; readonly why: string }
  /** Nobody decided: the report names it. */
  | { readonly fate: 'undecided' }

/** What becomes of an index of a legacy collection. */
export function fateOfIndex(
  plan: Plan,
  rules: Rules,
  collection: string,
  key: Readonly<Record<string, unknown>>,
): IndexFate {
  const fields = Object.keys(key)
  const isSame = (a: object, b: object): boolean =>
    JSON.stringify(Object.entries(a)) === JSON.stringify(Object.entries(b))
  const entry = plan.collections[collection]
  const model = entry && 'model' in entry ? rules.get(entry.model) : undefined
  if (!model) return { fate: 'gone', why: 'its collection is not loaded' }
  if (isSame(key, { _id: 1 })) return { fate: 'built', as: '_id_' }
  const stale = plan.staleIndexes.find(
    (s) => s.collection === collection && s.fields.some((f) => fields.includes(f)),
  )
  if (stale) return { fate: 'gone', why: stale.why }
  const alike = indexesOf(model, plan).find((index) => isSame(index.key, key))
  if (alike) return { fate: 'built', as: alike.name }
  const homeless = fields.find((name) => !model.fields.some((field) => field.name === name.split('.')[0]))
  if (homeless !== undefined) return { fate: 'gone', why: `${model.name} has no field ${homeless}` }
  return { fate: 'undecided' }
}
