// The database that is written: whose it is, how it is emptied, and the marker that says what is in it.
import type { Db } from 'mongodb'
import { refusal } from '../../lib/errors.ts'
import { indexesOf } from '../indexes.ts'
import type { IndexSpec, Plan } from '../plan-types.ts'
import type { Rules } from '../rules.ts'
import type { Connected } from './connect.ts'
import { databaseDigest } from './digests.ts'

export const MARKER = '_runbook'
const ID = 'migration'

/** What the marker says. Only a database that was verified has a `schemaHash`. */
export interface Marker {
  readonly _id: typeof ID
  readonly state: 'loading' | 'verified' | 'partial'
  /** Of the run that wrote it: another one may have taken the database meanwhile. */
  readonly run: string
  readonly planHash: string
  readonly schemaHash?: string
  readonly tool: string
  readonly source: { readonly database: string; readonly at: string }
  /** Everything that the run makes. */
  readonly collections: readonly string[]
  /** Of the documents of each collection when the run ended. */
  readonly digests?: Readonly<Record<string, string>>
}

export const markers = (db: Db): ReturnType<typeof db.collection<Marker>> => db.collection<Marker>(MARKER)

/** The marker of a migration; undefined in any other database. */
export async function markerOf(db: Db): Promise<Marker | undefined> {
  return (await markers(db).findOne({ _id: ID })) ?? undefined
}

/**
 * Whether a migration may take a database: it is empty, or holds what an earlier one left and nobody has changed since.
 * @returns the collections that go
 * @throws refusal (exit 3) saying what is in it
 */
export async function mayTake({ db }: Connected, replace: boolean): Promise<readonly string[]> {
  const listed = await db.listCollections({}, { nameOnly: true }).toArray()
  const names = listed
    .map(({ name }) => name)
    .filter((name) => !name.startsWith('system.') && name !== MARKER)
    .toSorted()
  const marker = await markerOf(db)
  const shown = (some: readonly string[]): string => some.map((name) => JSON.stringify(name)).join(', ')
  if (!marker) {
    if (names.length === 0) return []
    throw refusal(
      `The target ${db.databaseName} holds ${shown(names)} and was not made by a migration. Nothing was changed. ` +
        `Name an empty database.`,
    )
  }
  const foreign = names.filter((name) => !marker.collections.includes(name))
  if (foreign.length > 0)
    throw refusal(
      `The target ${db.databaseName} holds ${shown(foreign)} beside what an earlier migration made. Nothing was changed. ` +
        `Drop that by hand, or name an empty database.`,
    )
  if (marker.digests && !replace) {
    const now = await databaseDigest(db, names)
    const changed = names.filter((name) => now[name] !== marker.digests?.[name])
    if (changed.length > 0)
      throw refusal(
        `The target ${db.databaseName} was changed since it was migrated: ${shown(changed)}. Nothing was changed now. ` +
          `To lose those changes and migrate anew, add --replace.`,
      )
  }
  return names
}

/** Empties the database and puts the marker of this run into it: from here on, whoever comes next may start over. */
export async function take(
  { db }: Connected,
  left: readonly string[],
  marker: Omit<Marker, '_id' | 'state'>,
): Promise<void> {
  const all = [...new Set([...left, ...marker.collections])]
  await markers(db).replaceOne(
    { _id: ID },
    { ...marker, collections: all, state: 'loading' },
    { upsert: true, writeConcern: { w: 'majority', j: true } },
  )
  for (const name of left) await db.dropCollection(name)
  for (const name of marker.collections) await db.createCollection(name)
}

/** Says that it is done. @throws an error when another run has taken the database meanwhile */
export async function finish({ db }: Connected, marker: Omit<Marker, '_id'>): Promise<void> {
  const { matchedCount } = await markers(db).replaceOne({ _id: ID, run: marker.run }, marker, {
    writeConcern: { w: 'majority', j: true },
  })
  if (matchedCount === 0)
    throw new Error(
      `Another migration took the target ${db.databaseName} meanwhile. Wait until it has ended.`,
    )
}

/** The indexes of each collection of the target: of every model, also of those that nothing is loaded into. */
export function wantedIndexes(rules: Rules, plan: Plan): ReadonlyMap<string, readonly IndexSpec[]> {
  return new Map([...rules.values()].map((model) => [model.collection, indexesOf(model, plan)]))
}

/** Builds them, one collection after the other. @throws a sentence naming the collection and what the server said */
export async function buildIndexes(
  { db }: Connected,
  wanted: ReadonlyMap<string, readonly IndexSpec[]>,
  told: (collection: string) => void,
): Promise<number> {
  let built = 0
  for (const [collection, indexes] of wanted) {
    if (indexes.length === 0) continue
    told(collection)
    await db.command({ createIndexes: collection, indexes })
    built += indexes.length
  }
  return built
}
