// What depends on more than one document: references, unique keys, and which documents stay in the end. Works on one
// small row for each document, so that any number of them can be judged.
import { BSON } from 'mongodb'
import { usage } from '../lib/errors.ts'
import { optionalIn } from './indexes.ts'
import type { Reason } from './outcome.ts'
import type { Plan, Reference } from './plan-types.ts'
import type { Fields, IndexRule, ModelRules, Rules } from './rules.ts'
import { isNone, typeOf } from './values.ts'

/** Text that is equal for values that a unique index takes for equal, among those that a field of one type can have. */
export function keyText(value: unknown): string {
  switch (typeOf(value)) {
    case 'objectId':
      return String(value)
    case 'string':
      return `"${value as string}`
    case 'int':
    case 'double':
    case 'long':
      return `#${String(value)}`
    case 'date':
      return `@${(value as Date).getTime()}`
    default:
      return `:${Buffer.from(BSON.serialize({ v: value })).toString('base64')}`
  }
}

/** The references of a model with what happens where they lead nowhere: the plan's word, else the schema's. */
export function referencesOf(model: ModelRules, plan: Pick<Plan, 'references'>): Reference[] {
  const own = plan.references.filter((reference) => reference.model === model.name)
  const declared = model.references.map(({ field, to, toField, isRequired }) => ({
    model: model.name,
    field,
    to,
    toField,
    dangling: isRequired ? ('quarantine' as const) : ('list' as const),
  }))
  return [
    ...declared.map((d) => ({
      ...d,
      dangling: own.find(({ field }) => field === d.field)?.dangling ?? d.dangling,
    })),
    ...own
      .filter(({ field }) => !declared.some((d) => d.field === field))
      .map(({ field, to, dangling }) => ({ model: model.name, field, to, toField: '_id', dangling })),
  ]
}

/** What judging a loaded document needs of it. */
export interface Row {
  /** `keyText` of its `_id`. */
  readonly id: string
  /** For each reference of its model the `keyText` of what it names, or undefined. */
  readonly refs: readonly (string | undefined)[]
  /** For each unique key of its model its value as text, or undefined where the key does not hold for it. */
  readonly keys: readonly (string | undefined)[]
  /** ms, for the winner among equals; -Infinity where there is none. */
  readonly updated: number
  readonly created: number
}

const uniquesOf = (model: ModelRules): IndexRule[] => model.indexes.filter(({ isUnique }) => isUnique)

/** The row of a document that obeys the rules of its model. */
export function rowOf(model: ModelRules, references: readonly Reference[], doc: Fields): Row {
  const ms = (field: string): number => (doc[field] instanceof Date ? doc[field].getTime() : -Infinity)
  return {
    id: keyText(doc['_id']),
    refs: references.map(({ field }) => (isNone(doc[field]) ? undefined : keyText(doc[field]))),
    keys: uniquesOf(model).map((index) => {
      const isOutside = optionalIn(model, index).some(({ name }) => isNone(doc[name]))
      return isOutside
        ? undefined
        : JSON.stringify(index.fields.map(({ name }) => keyText(doc[name] ?? null)))
    }),
    updated: ms('updatedAt'),
    created: ms('createdAt'),
  }
}

/** Above 0 when `a` wins over `b`: the newest update, then the newest creation, then the greater `_id`. */
export function newer(a: Row, b: Row): number {
  if (a.updated !== b.updated) return a.updated > b.updated ? 1 : -1
  if (a.created !== b.created) return a.created > b.created ? 1 : -1
  return a.id === b.id ? 0 : a.id > b.id ? 1 : -1
}

/** The models of the plan so that each comes after those whose loss it does not survive. */
export function inOrder(plan: Plan, rules: Rules): ModelRules[] {
  const loaded = new Set(
    Object.values(plan.collections).flatMap((entry) => ('model' in entry ? entry.model : [])),
  )
  const done: ModelRules[] = []
  const visit = (name: string, path: readonly string[]): void => {
    const model = rules.get(name)
    if (!model || !loaded.has(name) || done.includes(model)) return
    if (path.includes(name))
      throw usage(`${[...path, name].join(' needs ')}: none of them could be judged first.`)
    for (const { to, dangling } of referencesOf(model, plan))
      if (dangling === 'quarantine' || dangling === 'drop') visit(to, [...path, name])
    done.push(model)
  }
  for (const name of loaded) visit(name, [])
  return done
}

/** What the rules say of documents; each by its model, then by the `id` of its row. */
export interface Settled {
  readonly quarantined: ReadonlyMap<string, ReadonlyMap<string, readonly Reason[]>>
  /** Left out because a reference leads nowhere and its policy says so. */
  readonly dropped: ReadonlyMap<string, ReadonlyMap<string, readonly Reason[]>>
  /** Fields that are null in the target. */
  readonly nulled: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>
  /** Loaded as they are, and named in the report. */
  readonly listed: ReadonlyMap<string, ReadonlyMap<string, readonly Reason[]>>
}

/**
 * Judges the rows of all models that are loaded. What is quarantined takes with it what requires it: models are judged
 * in the order of what they need, references before unique keys, so that a winner is always one that stays.
 */
export function settle(plan: Plan, rules: Rules, rows: ReadonlyMap<string, readonly Row[]>): Settled {
  const settled = { quarantined: new Map(), dropped: new Map(), nulled: new Map(), listed: new Map() }
  const add = <T>(map: Map<string, Map<string, T[]>>, model: string, id: string, what: T): void => {
    const ofModel = map.get(model) ?? new Map<string, T[]>()
    map.set(model, ofModel.set(id, [...(ofModel.get(id) ?? []), what]))
  }
  const staying = new Map<string, ReadonlySet<string>>()
  const order = inOrder(plan, rules)
  for (const model of order) {
    const references = referencesOf(model, plan)
    const all = rows.get(model.name) ?? []
    const isGone = ({ to }: Reference, ref: string | undefined): boolean =>
      ref !== undefined && !staying.get(to)?.has(ref)
    const standing = all.filter(({ id, refs }) => {
      const lost = references.filter((r, i) => ends(r) && isGone(r, refs[i]))
      for (const r of lost)
        add(r.dangling === 'drop' ? settled.dropped : settled.quarantined, model.name, id, gone(r))
      return lost.length === 0
    })
    const losers = losersOf(model, standing)
    for (const [id, reasons] of losers)
      for (const reason of reasons) add(settled.quarantined, model.name, id, reason)
    staying.set(model.name, new Set(standing.filter(({ id }) => !losers.has(id)).map(({ id }) => id)))
  }
  // References that break nothing may lead to any model, so they are looked at last.
  for (const model of order) {
    const references = referencesOf(model, plan)
    for (const { id, refs } of rows.get(model.name) ?? []) {
      if (!staying.get(model.name)?.has(id)) continue
      for (const [i, reference] of references.entries()) {
        const ref = refs[i]
        if (ends(reference) || ref === undefined || staying.get(reference.to)?.has(ref)) continue
        if (reference.dangling === 'null') add(settled.nulled, model.name, id, reference.field)
        add(settled.listed, model.name, id, gone(reference))
      }
    }
  }
  return settled
}

const ends = ({ dangling }: Reference): boolean => dangling === 'quarantine' || dangling === 'drop'

const gone = ({ model, field, to }: Reference): Reason => ({
  rule: `reference:${model}.${field}`,
  text: `${model}.${field} names a ${to} that is not loaded`,
})

/** The documents that share a unique key with one that wins. One that loses one key does not win another. */
function losersOf(model: ModelRules, rows: readonly Row[]): ReadonlyMap<string, Reason[]> {
  const losers = new Map<string, Reason[]>()
  const best = rows.toSorted((a, b) => newer(b, a))
  const taken = uniquesOf(model).map(() => new Map<string, string>())
  for (const { id, keys } of best) {
    const reasons = keys.flatMap((key, i) => {
      const winner = key === undefined ? undefined : taken[i]?.get(key)
      const fields = uniquesOf(model)[i]?.fields.map(({ name }) => name) ?? []
      if (winner === undefined) return []
      return [
        {
          rule: `unique:${model.name}.${fields.join(',')}`,
          text: `${model.name} ${winner} has the same ${fields.join(' and ')}, and is newer`,
        },
      ]
    })
    if (reasons.length > 0) losers.set(id, reasons)
    else for (const [i, key] of keys.entries()) if (key !== undefined) taken[i]?.set(key, id)
  }
  return losers
}
