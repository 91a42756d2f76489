// What the source holds, and whether the plan knows what becomes of it. Only reads.
import { BSON, type Db } from 'mongodb'
import { collectionsOf, type Collection } from '../../lib/backup/catalogue.ts'
import { refusal } from '../../lib/errors.ts'
import { fateOfIndex, type IndexFate } from '../indexes.ts'
import { unplanned } from '../plan-check.ts'
import type { Entry, Plan } from '../plan-types.ts'
import type { Rules } from '../rules.ts'
import { count, pin, type Reading } from './reading.ts'
import type { Connected } from './connect.ts'

/** A collection of the source that the plan decides on. */
export interface Source {
  readonly name: string
  readonly entry: Entry
  /** Documents, at the instant of the reading. */
  readonly count: number
  /** None when the source has no such collection: it is taken for empty. */
  readonly found?: Collection
  /** What becomes of its indexes, by their names. */
  readonly indexes: readonly { readonly name: string; readonly fate: IndexFate }[]
}

export interface Inventory {
  readonly reading: Reading
  /** Every collection of the plan, in its order. */
  readonly sources: readonly Source[]
  /** All that the source has; to be compared with what it has in the end. */
  readonly found: readonly Collection[]
}

/** Options by which a collection is not what a copy of its documents would be. */
const KINDS: readonly { readonly is: (c: Collection, options: object) => boolean; readonly why: string }[] = [
  { is: ({ type }) => type === 'view', why: 'a view: it has no documents of its own' },
  {
    is: ({ type }) => type === 'timeseries',
    why: 'a time series: it keeps measurements in buckets, not documents',
  },
  { is: ({ capped }) => capped, why: 'capped: its oldest documents disappear while it is read' },
  {
    is: (_, options) => 'collation' in options,
    why: 'one with a collation: texts that are equal there are not in the target',
  },
  { is: (_, options) => 'clusteredIndex' in options, why: 'clustered: it has no index of _id to be read by' },
]

/** What no plan can decide on yet, a sentence each. */
export function strange(found: readonly Collection[]): string[] {
  const names = new Set(found.map(({ name }) => name))
  const kinds = found.flatMap((c) => {
    const options = JSON.parse(c.options) as object
    const kind = KINDS.find(({ is }) => is(c, options))
    return kind ? [`${JSON.stringify(c.name)} is ${kind.why}.`] : []
  })
  const gridFs = found.flatMap(({ name }) => {
    const bucket = name.endsWith('.chunks') ? name.slice(0, -'.chunks'.length) : undefined
    return bucket !== undefined && names.has(`${bucket}.files`)
      ? [
          `${JSON.stringify(bucket)} is a bucket of GridFS: its files are kept in pieces that belong together.`,
        ]
      : []
  })
  return [...kinds, ...gridFs]
}

/**
 * Looks at the source and pins the instant at which it is read. `plan` may be limited to some collections of `whole`.
 * @throws refusal (exit 3) when it is empty, has a collection that the plan does not name, with the lines to add, or
 *   one of a kind that nothing here can migrate
 */
export async function takeInventory(
  from: Connected,
  { plan, whole, rules }: { plan: Plan; whole: Plan; rules: Rules },
): Promise<Inventory> {
  const found = await collectionsOf(from.db)
  const [any] = found.filter(({ type }) => type === 'collection')
  if (!any) throw refusal(`The source ${from.db.databaseName} holds no collection: is it the right one?`)
  const odd = strange(found)
  if (odd.length > 0)
    throw refusal(`The source has what nothing here can migrate. Nothing was changed.\n${odd.join('\n')}`)
  const reading = await pin(from, any.name)
  await refuseUnplanned(reading, found, whole)
  const byName = new Map(found.map((c) => [c.name, c]))
  const sources: Source[] = []
  for (const [name, entry] of Object.entries(plan.collections)) {
    const collection = byName.get(name)
    sources.push({
      name,
      entry,
      count: collection ? await count(reading, name) : 0,
      ...(collection && { found: collection }),
      indexes: (collection?.indexes ?? []).map((text) => {
        const { name: index, key } = BSON.EJSON.parse(text) as { name: string; key: Record<string, unknown> }
        return { name: index, fate: fateOfIndex(plan, rules, name, key) }
      }),
    })
  }
  return { reading, sources, found }
}

async function refuseUnplanned(reading: Reading, found: readonly Collection[], plan: Plan): Promise<void> {
  const names = found.map(({ name }) => name).filter((name) => !Object.hasOwn(plan.collections, name))
  const counted = await Promise.all(names.map(async (name) => ({ name, count: await count(reading, name) })))
  const text = unplanned(plan, counted)
  if (text !== undefined) throw refusal(text)
}

/**
 * Whether the source still has the same collections at the end, with the same options and indexes.
 * @throws an error that names what was created, dropped or altered meanwhile
 */
export async function refuseMoved({ found }: Inventory, db: Db, plan: Plan): Promise<void> {
  const now = await collectionsOf(db)
  const text = (c: Collection): string => JSON.stringify(c)
  const [was, is] = [new Map(found.map((c) => [c.name, text(c)])), new Map(now.map((c) => [c.name, text(c)]))]
  const fresh = now.filter(({ name }) => !was.has(name))
  const changed = found.filter(({ name }) => is.get(name) !== was.get(name)).map(({ name }) => name)
  if (fresh.length + changed.length === 0) return
  const lines = unplanned(
    plan,
    await Promise.all(
      fresh.map(async ({ name }) => ({ name, count: await db.collection(name).estimatedDocumentCount() })),
    ),
  )
  const what = [...fresh.map(({ name }) => name), ...changed].map((name) => JSON.stringify(name)).join(', ')
  throw new Error(
    `While the source was read, somebody created, dropped or altered ${what} there. The target is not good. Start again.` +
      (lines === undefined ? '' : `\n${lines}`),
  )
}
