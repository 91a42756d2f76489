// What a document is made from: its place, its time, its own random numbers, and others to refer to.
import type { ObjectId } from 'mongodb'
import type { CollectionName } from './counts.ts'
import { CAPTURE, ORDINAL, idOf, timeOf } from './ids.ts'
import { sequence } from './random.ts'
import { ASIDE, type World } from './world.ts'

/** Fields in the order in which they are stored; one that is `undefined` is not in the document. */
export type Fields = Record<string, unknown>

export interface Draw {
  readonly world: World
  /** The document's place in its collection, from 0, and the collection's size. */
  readonly i: number
  readonly count: number
  readonly id: ObjectId
  /** When the document was made. */
  readonly at: Date
  /** A date up to so many hours after another one (its own when left out), before the capture. */
  after(hours: number, from?: Date): Date
  /** An integer from `low` to `high`, both included. */
  int(low: number, high: number): number
  chance(share: number): boolean
  pick<T>(list: readonly T[]): T
  /** The value in that share of documents, else undefined. */
  some<T>(share: number, value: T): T | undefined
  /** So many characters of the alphabet, hexadecimal digits when left out. */
  text(length: number, alphabet?: string): string
  /** Id of a document by its place. */
  idOf(name: CollectionName, place: number): ObjectId
  /** Creation time of a document by its place. */
  timeOf(name: CollectionName, place: number): Date
  /** Place of a document that was there before this one. */
  earlier(name: CollectionName): number
  /** Id of a document that was there before this one. */
  ref(name: CollectionName): ObjectId
}

const HOUR = 3_600_000 // ms

export function draw(world: World, name: CollectionName, i: number): Draw {
  const count = world.size[name]
  const next = sequence(world.seed, ORDINAL[name], i)
  const at = new Date(timeOf(name, i, count))
  const int = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1))
  const pick = <T>(list: readonly T[]): T => list[int(0, list.length - 1)] as T
  const id = (of: CollectionName, place: number): ObjectId => idOf(of, place, world.size[of])
  const earlier = (of: CollectionName): number => {
    const aside = (ASIDE as Partial<Record<CollectionName, number>>)[of] ?? 0
    const there = Math.max(1, Math.floor((world.size[of] * i) / count) - aside)
    return aside + int(0, there - 1)
  }
  return {
    world,
    i,
    count,
    id: id(name, i),
    at,
    after: (hours, from = at) =>
      new Date(Math.min(from.getTime() + Math.floor(next() * hours * HOUR), CAPTURE - 1)),
    int,
    chance: (share) => next() < share,
    pick,
    some: (share, value) => (next() < share ? value : undefined),
    text: (length, alphabet = '0123456789abcdef') =>
      Array.from({ length }, () => alphabet[int(0, alphabet.length - 1)]).join(''),
    idOf: id,
    timeOf: (of, place) => new Date(timeOf(of, place, world.size[of])),
    earlier,
    ref: (of) => id(of, earlier(of)),
  }
}
