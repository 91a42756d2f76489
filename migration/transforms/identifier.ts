import { ObjectId } from 'mongodb'
import type { Fields, ModelRules } from '../rules.ts'
import { valueOf, type Given } from '../shape.ts'

/** `identifier` is required and unique in the target, and null in some live documents: its place is taken by the id. */
export function identifier(doc: Fields, model: ModelRules): Record<string, readonly Given[]> {
  const id = valueOf(doc, '_id')
  if (!(id instanceof ObjectId)) return {}
  return { identifier: [['identifier-from-id', `${model.collection.toLowerCase()}-${id.toHexString()}`]] }
}
