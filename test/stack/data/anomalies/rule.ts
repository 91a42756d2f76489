import type { CollectionName } from '../counts.ts'
import type { Draw, Fields } from '../draw.ts'
import { timeOf } from '../ids.ts'
import type { World } from '../world.ts'

/**
 * What becomes of the documents in a migration: `kept` as they are, `repaired` by a rule that its report counts,
 * loaded and `listed`, `quarantined`; or `archived` together with their whole collection.
 */
export type Fate = 'kept' | 'repaired' | 'listed' | 'quarantined' | 'archived'

/** Places of documents in their collection, or a condition on the place. */
type At = readonly number[] | ((world: World, place: number) => boolean)
/** What differs from the ordinary document; `undefined` takes a field away. */
type Patch = (d: Draw, ordinary: Fields) => Fields

export interface Rule {
  readonly fate: Fate
  readonly at: At
  readonly what: string
  /** Why there is such a document. */
  readonly why: string
  readonly patch?: Patch
}

/** Anomalies by collection, then by a name that is unique in it. */
export type Rules = { readonly [N in CollectionName]?: Readonly<Record<string, Rule>> }

type Make = (at: At, what: string, why: string, patch?: Patch | Fields) => Rule
const ending =
  (fate: Fate): Make =>
  (at, what, why, patch) => ({
    fate,
    at,
    what,
    why,
    ...(patch && { patch: typeof patch === 'function' ? (patch as Patch) : () => patch }),
  })

export const kept = ending('kept')
export const repaired = ending('repaired')
export const listed = ending('listed')
export const quarantined = ending('quarantined')
export const archived = ending('archived')

export const KNOWN = 'known in the live data'
export const OLDER = 'live documents can be older than the legacy schema of December 2025'
export const RULED = 'migrations have a rule for it, which only such a document shows'
export const VALUE = 'a value that an earlier migration would have lost'
export const BOOT = 'where it is missing, the gateway creates defaults at boot'

/** Takes fields away. */
export function without(...fields: readonly string[]): Fields {
  return Object.fromEntries(fields.map((field) => [field, undefined]))
}

/** The condition that a document was made in a span of days, the second one not included. */
export function made(collection: CollectionName, from: string, to: string): At {
  const [start, end] = [Date.parse(from), Date.parse(to)]
  return ({ size }, place) => {
    const time = timeOf(collection, place, size[collection])
    return start <= time && time < end
  }
}
