// What of a loaded document others need: for computed fields, derived rows and comparisons. Pure.
import { computedFrom } from '../computed.ts'
import { keyText, type Settled } from '../cross.ts'
import type { Computed, Plan } from '../plan-types.ts'
import type { Fields } from '../rules.ts'
import { isNone } from '../values.ts'

/** Of one loaded document. */
export interface Kept {
  /** What was done to it, by its place in the list of all that was done. */
  readonly kind: number
  readonly facts: Fields
}

/** By the model, then by `keyText` of the `_id`. */
export type Store = ReadonlyMap<string, ReadonlyMap<string, Kept>>

/** The fields of a model that others need. */
export function factFields(plan: Plan, model: string): readonly string[] {
  const names = [
    ...plan.computed.flatMap((c) =>
      c.from === model ? [c.by, ...Object.keys(c.where ?? {}), ...('of' in c.value ? [c.value.of] : [])] : [],
    ),
    ...plan.derived.flatMap((d) => [
      ...(d.lookUp?.model === model ? [d.by] : []),
      ...(d.beside.model === model ? [d.beside.by, ...d.beside.fields] : []),
    ]),
    ...plan.comparisons.flatMap((c) => (c.with === model ? [c.withField] : [])),
  ]
  return [...new Set(names)]
}

const NONE: Fields = {}

/** Only these fields. */
export function pick(doc: Fields, names: readonly string[]): Fields {
  if (names.length === 0) return NONE
  return Object.fromEntries(names.filter((name) => Object.hasOwn(doc, name)).map((name) => [name, doc[name]]))
}

/** Without the documents that do not stay, and with null where the rules put null. */
export function staying(store: Store, settled: Settled): Store {
  return new Map(
    [...store].map(([model, kept]) => {
      const [lost, left] = [settled.quarantined.get(model), settled.dropped.get(model)]
      const nulled = settled.nulled.get(model)
      const some = [...kept].filter(([id]) => !lost?.has(id) && !left?.has(id))
      if (!nulled) return [model, new Map(some)]
      return [
        model,
        new Map(
          some.map(([id, { kind, facts }]) => {
            const nulls = (nulled.get(id) ?? []).filter((name) => Object.hasOwn(facts, name))
            return [
              id,
              { kind, facts: { ...facts, ...Object.fromEntries(nulls.map((name) => [name, null])) } },
            ]
          }),
        ),
      ]
    }),
  )
}

/** The facts of a model's documents by the value of one field. */
export function grouped(store: Store, model: string, by: string): ReadonlyMap<string, readonly Fields[]> {
  const groups = new Map<string, Fields[]>()
  for (const { facts } of store.get(model)?.values() ?? []) {
    if (isNone(facts[by])) continue
    const key = keyText(facts[by])
    const group = groups.get(key)
    if (group) group.push(facts)
    else groups.set(key, [facts])
  }
  return groups
}

/** A computed field with the documents that it comes from, by the document that they name. */
export interface Grouped {
  readonly computed: Computed
  readonly others: ReadonlyMap<string, readonly Fields[]>
}

export const groupsOf = (plan: Plan, store: Store): Grouped[] =>
  plan.computed.map((computed) => ({ computed, others: grouped(store, computed.from, computed.by) }))

/**
 * The computed fields of one document with their values; `hasOwn` says whether the legacy document had a value in a
 * field.
 */
export function computedFields(
  groups: readonly Grouped[],
  model: string,
  id: string,
  hasOwn: (field: string) => boolean,
): (readonly [field: string, value: unknown])[] {
  return groups.flatMap(({ computed, others }) => {
    if (computed.model !== model || (computed.onlyWhereAbsent && hasOwn(computed.field))) return []
    const value = computedFrom(computed, others.get(id) ?? [])
    return value === undefined ? [] : [[computed.field, value] as const]
  })
}

/** A legacy value that is to be compared with one of another document, which may not have been read yet. */
export interface ToCompare {
  readonly id: string
  /** `keyText` of the document that it names. */
  readonly other: string
  readonly value: unknown
}

/** Those of the documents that stay whose value is another one. */
export function unequal(
  store: Store,
  { model, withModel, withField }: { model: string; withModel: string; withField: string },
  some: readonly ToCompare[],
): string[] {
  const others = store.get(withModel)
  return some.flatMap(({ id, other, value }) => {
    const there = others?.get(other)?.facts[withField]
    const isEqual = isNone(there) ? isNone(value) : !isNone(value) && keyText(value) === keyText(there)
    return store.get(model)?.has(id) && !isEqual ? [id] : []
  })
}
