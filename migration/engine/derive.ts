// Rows of target collections that have no source of their own. Pure.
import { BSON, type ObjectId } from 'mongodb'
import { keyText } from '../cross.ts'
import type { Derivation } from '../plan-types.ts'
import { wrongIn, type Fields, type Rules } from '../rules.ts'
import { valueOf } from '../shape.ts'
import { converted } from '../values.ts'
import { grouped, type Store } from './facts.ts'

export interface Derived {
  readonly derivation: Derivation
  readonly docs: readonly Fields[]
  /** Legacy rows that made something. */
  readonly used: number
  /** How many made nothing, by the reason. */
  readonly unused: Readonly<Record<string, number>>
}

const idIn = (doc: Fields, field: string): ObjectId | undefined =>
  converted('ObjectId', valueOf(doc, field))?.value as ObjectId | undefined

/**
 * Makes the rows of one derivation, sorted by what they belong to.
 * @throws an error when one breaks a rule of its model or has the `_id` of another: the derivation is wrong, not the data
 */
export function derive(derivation: Derivation, rows: Iterable<Fields>, store: Store, rules: Rules): Derived {
  const { of, by, beside, needs, lookUp, make } = derivation
  const unused = new Map<string, number>()
  const groups = new Map<string, { id: ObjectId; rows: Fields[] }>()
  let used = 0
  for (const row of rows) {
    const { id, why } = placed(row)
    if (!id) {
      unused.set(why, (unused.get(why) ?? 0) + 1)
      continue
    }
    used++
    const group = groups.get(keyText(id)) ?? { id, rows: [] }
    group.rows.push(row)
    groups.set(keyText(id), group)
  }
  const near = grouped(store, beside.model, beside.by)
  const docs = [...groups]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key, { id, rows: own }]) => make({ id, rows: own, beside: near.get(key) ?? [] }))
  refuseWrong(derivation, docs, rules)
  return { derivation, docs, used, unused: Object.fromEntries(unused) }

  function placed(row: Fields): { id?: ObjectId; why: string } {
    const id = idIn(row, by) ?? lookedUp(row)
    if (!id) return { why: `has no ${by}, and nothing that has one` }
    if (!store.get(of)?.has(keyText(id))) return { why: `names a ${of} that is not loaded` }
    const lost = needs.find(({ field, model }) => {
      const other = idIn(row, field)
      return !other || !store.get(model)?.has(keyText(other))
    })
    return lost ? { why: `names a ${lost.model} that is not loaded` } : { id, why: '' }
  }

  function lookedUp(row: Fields): ObjectId | undefined {
    const other = lookUp && idIn(row, lookUp.by)
    const facts = other && store.get(lookUp.model)?.get(keyText(other))?.facts
    return facts && idIn(facts, by)
  }
}

function refuseWrong({ model, from }: Derivation, docs: readonly Fields[], rules: Rules): void {
  const target = rules.get(model)
  const ids = new Set(docs.map((doc) => keyText(doc['_id'])))
  const [wrong] = target ? docs.flatMap((doc) => wrongIn(target, doc)) : [`the schema has no model ${model}`]
  if (wrong !== undefined)
    throw new Error(`A row of ${model} that was derived from ${from} is wrong: ${wrong}.`)
  if (ids.size < docs.length)
    throw new Error(`Two rows of ${model} that were derived from ${from} have one _id.`)
}

export const bytesOf = (doc: Fields): Buffer => Buffer.from(BSON.serialize(doc))
