// Every document of every collection that is loaded is read and judged: T, the rules of the schema, and what depends on
// more than one document. Nothing is written anywhere; the dry run and the run do the same here.
import type { Document } from 'mongodb'
import { field } from '../../lib/backup/bson.ts'
import { keyText, referencesOf, rowOf, settle, type Row, type Settled } from '../cross.ts'
import { decode } from '../decode.ts'
import type { Reason } from '../outcome.ts'
import type { LoadedEntry, Plan } from '../plan-types.ts'
import type { Fields, ModelRules, Rules } from '../rules.ts'
import { treat } from '../treat.ts'
import { isNone } from '../values.ts'
import { derive, type Derived } from './derive.ts'
import {
  factFields,
  groupsOf,
  pick,
  staying,
  unequal,
  type Grouped,
  type Kept,
  type Store,
  type ToCompare,
} from './facts.ts'
import type { Inventory, Source } from './inventory.ts'
import { kindList, type Kind } from './kinds.ts'
import { inLanes } from './lanes.ts'
import { read } from './reading.ts'

const LANES = 3 // collections at a time: while one is judged, the next ones are on their way

export interface LoadedSource extends Source {
  readonly entry: LoadedEntry
  readonly model: ModelRules
}

export interface Judged {
  readonly plan: Plan
  readonly rules: Rules
  readonly inventory: Inventory
  readonly loaded: readonly LoadedSource[]
  /** Documents that were read, by collection. */
  readonly read: ReadonlyMap<string, number>
  /** What T itself refused, by collection, then by id. */
  readonly refused: ReadonlyMap<string, ReadonlyMap<string, readonly Reason[]>>
  readonly settled: Settled
  readonly kinds: readonly Kind[]
  /** The documents that stay. */
  readonly store: Store
  readonly groups: readonly Grouped[]
  readonly derived: readonly Derived[]
  /** Documents whose value differs from that of another, by collection and field. */
  readonly unequal: readonly {
    readonly collection: string
    readonly field: string
    readonly ids: readonly string[]
  }[]
}

/** Is told of every batch: the collection and its documents. */
export type Count = (collection: string, documents: number) => void

export function loadedOf(sources: readonly Source[], rules: Rules): LoadedSource[] {
  return sources.flatMap((source) => {
    const { entry } = source
    const model = 'model' in entry ? rules.get(entry.model) : undefined
    return 'model' in entry && model ? [{ ...source, entry, model }] : []
  })
}

/** The `_id` of a document as `keyText`; of one that cannot be decoded, its bytes. */
export function idOf(bytes: Buffer): string {
  const decoded = decode(bytes)
  if ('doc' in decoded) return keyText(decoded.doc['_id'])
  return `:${field(bytes, '_id')?.toString('base64') ?? ''}`
}

/** @throws what reading throws; an error when a derivation is wrong */
export async function judge(plan: Plan, rules: Rules, inventory: Inventory, counted: Count): Promise<Judged> {
  const loaded = loadedOf(inventory.sources, rules)
  const kinds = kindList()
  const rows = new Map<string, Row[]>()
  const store = new Map<string, Map<string, Kept>>()
  const refused = new Map<string, Map<string, readonly Reason[]>>()
  const seen = new Map<string, number>()
  const compare = plan.comparisons.map((comparison) => ({ comparison, some: [] as ToCompare[] }))

  const judgeAll = async ({ name, entry, model, found }: LoadedSource): Promise<void> => {
    const references = referencesOf(model, plan)
    const wanted = factFields(plan, model.name)
    const [own, kept, bad] = [[] as Row[], new Map<string, Kept>(), new Map<string, readonly Reason[]>()]
    rows.set(model.name, own)
    store.set(model.name, kept)
    refused.set(name, bad)
    seen.set(name, 0)
    const comparing = compare.filter(({ comparison }) => comparison.collection === name)
    if (!found) return
    for await (const batch of read(inventory.reading, name)) {
      for (const bytes of batch) {
        const treated = treat(entry.transform, model, bytes)
        if ('quarantine' in treated) {
          bad.set(idOf(bytes), treated.quarantine)
          continue
        }
        const { doc, isCarried, repairs, sidecar = {} } = treated
        const row = rowOf(model, references, doc)
        own.push(row)
        const kind = kinds.placeOf({ collection: name, isCarried, repairs, aside: Object.keys(sidecar) })
        kept.set(row.id, { kind, facts: pick(doc, wanted) })
        for (const { comparison, some } of comparing) {
          const other = doc[comparison.by]
          const value = Object.hasOwn(sidecar, comparison.field)
            ? sidecar[comparison.field]
            : doc[comparison.field]
          if (!isNone(other)) some.push({ id: row.id, other: keyText(other), value })
        }
      }
      seen.set(name, (seen.get(name) ?? 0) + batch.length)
      counted(name, batch.length)
    }
  }
  await inLanes(loaded, LANES, judgeAll)

  const settled = settle(plan, rules, rows)
  const stays = staying(store, settled)
  const derived: Derived[] = []
  for (const derivation of plan.derived) {
    const from = inventory.sources.find(({ name }) => name === derivation.from)
    const legacy = from?.found ? await legacyRows(inventory, derivation.from, counted) : []
    derived.push(derive(derivation, legacy, stays, rules))
  }
  return {
    plan,
    rules,
    inventory,
    loaded,
    read: seen,
    refused,
    settled,
    kinds: kinds.all,
    store: stays,
    groups: groupsOf(plan, stays),
    derived,
    unequal: compare.map(({ comparison: { collection, field: name, with: withModel, withField }, some }) => {
      const model = loaded.find((source) => source.name === collection)?.model.name ?? ''
      return { collection, field: name, ids: unequal(stays, { model, withModel, withField }, some) }
    }),
  }
}

/** Rows that cannot be decoded name nothing, and so make nothing. */
async function legacyRows({ reading }: Inventory, collection: string, counted: Count): Promise<Fields[]> {
  const rows: Document[] = []
  for await (const batch of read(reading, collection)) {
    for (const bytes of batch) {
      const decoded = decode(bytes)
      rows.push('doc' in decoded ? decoded.doc : {})
    }
    counted(collection, batch.length)
  }
  return rows
}
