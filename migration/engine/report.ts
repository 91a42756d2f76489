// What a migration found and did, as data. Pure.
import type { Timestamp } from 'mongodb'
import type { Reason } from '../outcome.ts'
import { REPAIRS, isListed, type RepairName } from '../repairs.ts'
import { idWord, type Quarantined, type Weighed } from './accept.ts'
import type { AsideFile } from './aside.ts'
import type { MadeBy } from './hashes.ts'
import type { Judged } from './judge.ts'
import { noTally, type Tally } from './load.ts'
import type { Verification } from './verify.ts'

export type Mode = 'dry run' | 'run' | 'verification'

export interface CollectionReport extends Tally {
  readonly name: string
  readonly decision: string
  /** The collection of the target. */
  readonly into?: string
  readonly why: string
  /** The source has no such collection. */
  readonly isAbsent?: true
  /** How many documents a rule changed in a field. */
  readonly repairs: readonly { readonly rule: string; readonly field: string; readonly documents: number }[]
  /** Fields without a home, and in how many documents. */
  readonly aside: Readonly<Record<string, number>>
  readonly indexes: readonly { readonly name: string; readonly fate: string }[]
  /** Options that do not come along, as extended JSON. */
  readonly options?: string
}

export interface Named {
  readonly collection: string
  readonly rule: string
  readonly why: string
  readonly ids: readonly string[]
}

export interface Report extends MadeBy {
  readonly mode: Mode
  readonly source: { readonly address: string; readonly version: string; readonly at: string }
  readonly target?: string
  readonly started: string
  readonly ms: number
  readonly collections: readonly CollectionReport[]
  readonly totals: Tally
  /** Not true for a number: the sum of the parts is what was read, for every collection. */
  readonly isConserved: boolean
  readonly quarantined: readonly Quarantined[]
  /** Left out because a reference leads nowhere and its policy says so. */
  readonly leftOut: readonly Quarantined[]
  readonly weighed: Weighed
  /** Loaded as they are, and worth a look. */
  readonly listed: readonly Named[]
  /** Loaded after a repair that somebody should look at. */
  readonly repaired: readonly Named[]
  readonly unequal: readonly {
    readonly collection: string
    readonly field: string
    readonly ids: readonly string[]
  }[]
  readonly derived: readonly {
    readonly model: string
    readonly from: string
    readonly rows: number
    readonly used: number
    readonly unused: Readonly<Record<string, number>>
    readonly why: string
  }[]
  readonly computed: readonly { readonly field: string; readonly from: string; readonly why: string }[]
  readonly notComputed: readonly { readonly field: string; readonly why: string }[]
  /** Checks that were not made, a sentence each. */
  readonly skipped: readonly string[]
  readonly files?: readonly AsideFile[]
  readonly verification?: Verification
}

/** The instant of a reading: `2026-01-25T10:00:00.000Z (1769335200,1)`. */
export function instantText(at: Timestamp | undefined): string {
  if (!at) return 'no one instant: the server is no replica set'
  return `${new Date(at.getHighBitsUnsigned() * 1000).toISOString()} (${at.getHighBitsUnsigned()},${at.getLowBitsUnsigned()})`
}

/** All documents that cannot be loaded although their collection is, sorted. */
export const quarantinedIn = ({ refused, settled, loaded }: Judged): Quarantined[] =>
  loaded.flatMap(({ name, model }) =>
    namedOf(name, [...(refused.get(name) ?? []), ...(settled.quarantined.get(model.name) ?? [])]),
  )

const namedOf = (
  collection: string,
  some: (readonly [id: string, reasons: readonly Reason[]])[],
): Quarantined[] =>
  some
    .map(([id, reasons]) => ({ collection, id: idWord(id), reasons }))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1))

export const partsOf = (t: Tally): number =>
  t.transformed + t.carried + t.renamed + t.merged + t.archived + t.dropped + t.quarantined

export function totalsOf(tallies: Iterable<Tally>): Tally {
  const total = noTally()
  for (const tally of tallies)
    for (const key of Object.keys(total) as (keyof Tally)[]) total[key] += tally[key]
  return total
}

/** The collections with what was done to their documents. */
export function collectionReports(judged: Judged, tallies: ReadonlyMap<string, Tally>): CollectionReport[] {
  const { inventory, rules, store, kinds } = judged
  return inventory.sources.map(({ name, entry, found, indexes }) => {
    const model = 'model' in entry ? rules.get(entry.model) : undefined
    const counts = new Map<string, { rule: string; field: string; documents: number }>()
    const aside: Record<string, number> = {}
    for (const { kind } of (model && store.get(model.name))?.values() ?? []) {
      for (const { rule, field } of kinds[kind]?.repairs ?? []) {
        const count = counts.get(`${rule} ${field}`) ?? { rule, field, documents: 0 }
        count.documents++
        counts.set(`${rule} ${field}`, count)
      }
      for (const field of kinds[kind]?.aside ?? []) aside[field] = (aside[field] ?? 0) + 1
    }
    return {
      name,
      decision: entry.decision,
      ...(model && { into: model.collection }),
      why: entry.why,
      ...(!found && { isAbsent: true as const }),
      ...(tallies.get(name) ?? noTally()),
      repairs: [...counts.values()],
      aside,
      indexes: indexes.map(({ name: index, fate }) => ({
        name: index,
        fate:
          fate.fate === 'built'
            ? `built as ${fate.as}`
            : fate.fate === 'gone'
              ? `does not come along: ${fate.why}`
              : 'does not come along: nobody decided',
      })),
      ...(model && found && found.options !== '{}' && { options: found.options }),
    }
  })
}

/** Documents that are loaded and that somebody should look at: by a reference, or after a repair. */
export function namedIn(judged: Judged): Pick<Report, 'listed' | 'repaired'> {
  const listed = new Map<string, { collection: string; rule: string; why: string; ids: string[] }>()
  const repaired = new Map<string, { collection: string; rule: string; why: string; ids: string[] }>()
  const add = (to: typeof listed, collection: string, rule: string, why: string, id: string): void => {
    const key = `${collection} ${rule}`
    const named = to.get(key) ?? { collection, rule, why, ids: [] }
    named.ids.push(idWord(id))
    to.set(key, named)
  }
  for (const { name, model } of judged.loaded) {
    for (const [id, reasons] of judged.settled.listed.get(model.name) ?? [])
      for (const { rule, text } of reasons) add(listed, name, rule, text, id)
    for (const [id, { kind }] of judged.store.get(model.name) ?? [])
      for (const rule of new Set(judged.kinds[kind]?.repairs.map((r) => r.rule)))
        if (isListed(rule)) add(repaired, name, rule, whyOf(rule), id)
  }
  const sorted = (named: typeof listed): Named[] =>
    [...named.values()].map((one) => ({ ...one, ids: one.ids.toSorted() }))
  return { listed: sorted(listed), repaired: sorted(repaired) }
}

const whyOf = (rule: RepairName): string => REPAIRS[rule].why

/** Everything that is known before anything was written. */
export function findingsOf(
  judged: Judged,
): Pick<Report, 'leftOut' | 'listed' | 'repaired' | 'unequal' | 'derived' | 'computed' | 'notComputed'> {
  const { plan } = judged
  return {
    leftOut: judged.loaded.flatMap(({ name, model }) =>
      namedOf(name, [...(judged.settled.dropped.get(model.name) ?? [])]),
    ),
    ...namedIn(judged),
    unequal: judged.unequal
      .filter(({ ids }) => ids.length > 0)
      .map((one) => ({ ...one, ids: one.ids.map(idWord).toSorted() })),
    derived: judged.derived.map(({ derivation: { model, from, why }, docs, used, unused }) => ({
      model,
      from,
      rows: docs.length,
      used,
      unused,
      why,
    })),
    computed: plan.computed.map(({ model, field, from, why }) => ({ field: `${model}.${field}`, from, why })),
    notComputed: plan.notComputed.map(({ model, field, why }) => ({ field: `${model}.${field}`, why })),
  }
}
