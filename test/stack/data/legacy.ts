// The data of the legacy production, for the rehearsal: every document is a function of the seed, the scale, its
// collection and its place, so nothing is held in memory and any document can be made alone.
import type { Document, IndexDescription, ObjectId } from 'mongodb'
import { rulesOf } from './anomalies/all.ts'
import type { Fate, Rule } from './anomalies/rule.ts'
import { ORDINARY } from './collections/all.ts'
import { COLLECTION_NAMES, COUNTS, type CollectionName } from './counts.ts'
import { draw, type Draw, type Fields } from './draw.ts'
import { indexesOf } from './indexes.ts'
import { worldOf, type World } from './world.ts'

export { COUNTS, type CollectionName } from './counts.ts'

export interface Scope {
  /** Share of the true counts; 1 gives exactly them. */
  readonly scale?: number
  readonly seed?: number
}

export interface LegacyCollection {
  readonly name: CollectionName
  /** Documents. */
  readonly count: number
  /** Can be gone through any number of times. */
  readonly documents: Iterable<Document>
  /** Beside that of `_id`. */
  readonly indexes: IndexDescription[]
}

export interface Anomaly {
  /** `<collection>/<name>`. */
  readonly id: string
  readonly collection: CollectionName
  readonly what: string
  /** Why there is such a document. */
  readonly why: string
  /** What a migration makes of it. */
  readonly fate: Fate
  /** `_id`s of all documents that were made so; the same for every seed. */
  readonly ids: (scale?: number) => (ObjectId | string)[]
}

/** Documents that must be there at any scale, so that references have something to point at. */
const FEWEST: Partial<Record<CollectionName, number>> = {
  User: 32,
  Conversation: 18,
  ConversationMember: 80,
  Message: 100,
  MessageStatus: 280,
  MessageAttachment: 24,
  MessageTranslation: 40,
  Reaction: 30,
}

/**
 * The 31 collections, the empty ones too. At a small scale collections have at least as many documents as their
 * anomalies need.
 */
export function* legacyCollections({ scale = 1, seed = 1 }: Scope = {}): Generator<LegacyCollection> {
  const world = legacyWorld(seed, scale)
  for (const name of COLLECTION_NAMES) {
    const count = world.size[name]
    const documents = { [Symbol.iterator]: () => documentsOf(world, name) }
    yield { name, count, documents, indexes: indexesOf(name) }
  }
}

/** Every anomaly of the data. */
export const ANOMALIES: readonly Anomaly[] = COLLECTION_NAMES.flatMap((collection) =>
  rulesOf(collection).map((rule) => ({
    id: `${collection}/${rule.name}`,
    collection,
    what: rule.what,
    why: rule.why,
    fate: rule.fate,
    ids: (scale = 1) => {
      const world = legacyWorld(1, scale)
      const make = maker(world, collection)
      const places = Array.from({ length: world.size[collection] }, (_, place) => place)
      return places
        .filter((place) => holdsAt(world, rule, place))
        .map((place) => make(place)['_id'] as ObjectId)
    },
  })),
)

/** How much of everything there is. */
export function legacyWorld(seed: number, scale: number): World {
  const size = Object.fromEntries(COLLECTION_NAMES.map((name) => [name, sizeOf(name, scale)]))
  return worldOf(seed, size as World['size'])
}

/** Makes documents of a collection by their places. */
function maker(world: World, name: CollectionName): (place: number) => Document {
  const ordinary = (ORDINARY as Partial<Record<CollectionName, (d: Draw) => Fields>>)[name]
  const patching = rulesOf(name).filter(({ patch }) => patch)
  // Conditions first, so that a document named by its place is as it is described.
  const rules = patching.toSorted((a, b) => Number(Array.isArray(a.at)) - Number(Array.isArray(b.at)))
  return (place) => {
    const d = draw(world, name, place)
    const fields = ordinary?.(d) ?? {}
    for (const rule of rules) if (holdsAt(world, rule, place)) Object.assign(fields, rule.patch?.(d, fields))
    const document: Document = {}
    for (const key in fields) if (fields[key] !== undefined) document[key] = fields[key]
    return document
  }
}

function* documentsOf(world: World, name: CollectionName): Generator<Document> {
  const make = maker(world, name)
  for (let place = 0; place < world.size[name]; place++) yield make(place)
}

function holdsAt(world: World, { at }: Rule, place: number): boolean {
  return typeof at === 'function' ? at(world, place) : at.includes(place)
}

function sizeOf(name: CollectionName, scale: number): number {
  if (COUNTS[name] === 0) return 0
  const places = rulesOf(name).flatMap(({ at }) => (typeof at === 'function' ? [] : at))
  return Math.max(Math.round(COUNTS[name] * scale), FEWEST[name] ?? 1, Math.max(-1, ...places) + 1)
}
