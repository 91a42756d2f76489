// Whether the target is what the source and the plan make of it: every document by its bytes, nothing beside them,
// indexes and options, and the rules of the schema anew on what the target really holds.
import { hash } from 'node:crypto'
import { BSON } from 'mongodb'
import { orderFree, type OrderFree } from '../../lib/backup/digest.ts'
import { collectionsOf } from '../../lib/backup/catalogue.ts'
import { keyText, referencesOf, rowOf, settle, type Row } from '../cross.ts'
import { decode } from '../decode.ts'
import type { IndexSpec } from '../plan-types.ts'
import { wrongIn, type ModelRules } from '../rules.ts'
import { idWord } from './accept.ts'
import type { Connected } from './connect.ts'
import { bytesOf } from './derive.ts'
import { fateOf } from './fate.ts'
import { idOf, type Count, type Judged, type LoadedSource } from './judge.ts'
import { inLanes } from './lanes.ts'
import { ranges, rawId, read, type Range, type Reading } from './reading.ts'
import { MARKER, wantedIndexes } from './target.ts'

const LANES = 3 // collections at a time
const RANGE = 50_000 // documents whose digests are held at a time, for each lane
const SHOWN = 20 // differences of a collection that are named

export interface Verification {
  /** Documents that were compared. */
  readonly compared: number
  /** Sentences: none when the target is good. */
  readonly problems: readonly string[]
  /** Of each collection that the migration makes. */
  readonly digests: Readonly<Record<string, string>>
  readonly indexes: number
}

/** What is found wrong, the first of each collection by name, the rest by number. */
interface Findings {
  add(collection: string, text: string): void
  readonly all: () => string[]
}

function findings(): Findings {
  const by = new Map<string, { shown: string[]; more: number }>()
  return {
    add(collection, text) {
      const found = by.get(collection) ?? { shown: [], more: 0 }
      by.set(collection, found)
      if (found.shown.length < SHOWN) found.shown.push(text)
      else found.more++
    },
    all: () =>
      [...by]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .flatMap(([collection, { shown, more }]) => [
          ...shown.toSorted(),
          ...(more > 0 ? [`${collection}: ${more} more such differences.`] : []),
        ]),
  }
}

/** What the target's documents said of themselves. */
interface Seen {
  readonly rows: Map<string, Row[]>
  readonly digests: Map<string, OrderFree>
  compared: number
}

/** Compares everything. Reads only. @throws what reading throws */
export async function verify(judged: Judged, target: Connected, counted: Count): Promise<Verification> {
  const found = findings()
  const seen: Seen = { rows: new Map(), digests: new Map(), compared: 0 }
  const there: Reading = { from: target }
  await structure(judged, target, found)
  const sources = new Map(judged.loaded.map((source) => [source.model.name, source]))
  const derived = new Map(judged.derived.map(({ derivation, docs }) => [derivation.model, docs]))
  const present = new Set((await collectionsOf(target.db)).map(({ name }) => name))
  await inLanes([...judged.rules.values()], LANES, async (model) => {
    if (!present.has(model.collection)) return // told by `structure`
    const look = looker(judged, model, seen, found)
    const source = sources.get(model.name)
    if (source?.found) return compareAll(judged, source, there, look, counted)
    const expected = new Map((derived.get(model.name) ?? []).map((doc) => expectation(bytesOf(doc))))
    await compareOne(there, {}, expected, look)
  })
  acrossDocuments(judged, seen, found)
  const digests = [...seen.digests].map(([name, digest]) => [name, digest.hex()] as const)
  return {
    compared: seen.compared,
    problems: found.all(),
    digests: Object.fromEntries(digests.toSorted(([a], [b]) => (a < b ? -1 : 1))),
    indexes: [...wantedIndexes(judged.rules, judged.plan).values()].flat().length,
  }
}

const digestOf = (bytes: Uint8Array): string => hash('sha256', bytes, 'binary')
const expectation = (bytes: Buffer): [string, string] => [rawId(bytes), digestOf(bytes)]

interface Looker {
  readonly collection: string
  /** A document of the target; `expected` loses what is there. */
  document(bytes: Buffer, expected: Map<string, string>): void
  missing(rawIds: Iterable<string>): void
}

function looker({ plan }: Judged, model: ModelRules, seen: Seen, found: Findings): Looker {
  const { collection } = model
  const references = referencesOf(model, plan)
  const rows: Row[] = []
  const digest = orderFree()
  seen.rows.set(model.name, rows)
  seen.digests.set(collection, digest)
  return {
    collection,
    document(bytes, expected) {
      seen.compared++
      digest.add(bytes)
      const raw = rawId(bytes)
      const wanted = expected.get(raw)
      expected.delete(raw)
      if (wanted === undefined) {
        found.add(
          collection,
          `${collection} ${idWord(idOf(bytes))} is in the target and comes from nothing in the source.`,
        )
        return
      }
      if (wanted !== digestOf(bytes))
        found.add(collection, `${collection} ${idWord(idOf(bytes))} is not what its source becomes.`)
      const decoded = decode(bytes)
      if ('unreadable' in decoded) {
        found.add(collection, `${collection} ${idWord(idOf(bytes))}: ${decoded.unreadable}`)
        return
      }
      rows.push(rowOf(model, references, decoded.doc))
      for (const wrong of wrongIn(model, decoded.doc))
        found.add(collection, `${collection} ${idWord(keyText(decoded.doc['_id']))}: ${wrong}.`)
    },
    missing(rawIds) {
      for (const raw of rawIds)
        found.add(collection, `${collection} ${idWord(idOfRaw(raw))} is missing in the target.`)
    },
  }
}

/** `keyText` of an `_id` as `rawId` gives it. */
function idOfRaw(raw: string): string {
  const value = Buffer.from(raw.slice(1), 'latin1')
  const alone = Buffer.concat([
    Buffer.alloc(4),
    Buffer.from([raw.charCodeAt(0)]),
    Buffer.from('_id\0'),
    value,
    Buffer.alloc(1),
  ])
  alone.writeInt32LE(alone.length)
  return idOf(alone)
}

/** Range by range, so that only the digests of one range are held. */
async function compareAll(
  judged: Judged,
  source: LoadedSource,
  target: Reading,
  look: Looker,
  counted: Count,
): Promise<void> {
  const { reading } = judged.inventory
  const cut = source.count > RANGE ? await ranges(reading, source.name, RANGE) : [{}]
  for (const range of cut) {
    const expected = new Map<string, string>()
    for await (const batch of read(reading, source.name, range)) {
      for (const bytes of batch) {
        const fate = fateOf(judged, source, bytes)
        if ('bytes' in fate) expected.set(...expectation(Buffer.from(fate.bytes)))
      }
      counted(source.name, batch.length)
    }
    await compareOne(target, range, expected, look)
  }
}

async function compareOne(
  target: Reading,
  range: Range,
  expected: Map<string, string>,
  look: Looker,
): Promise<void> {
  for await (const batch of read(target, look.collection, range))
    for (const bytes of batch) look.document(bytes, expected)
  look.missing(expected.keys())
}

/** References and unique keys, of what the target itself holds. */
function acrossDocuments({ plan, rules, derived }: Judged, { rows }: Seen, found: Findings): void {
  const ids = new Map([...rows].map(([model, some]) => [model, new Set(some.map(({ id }) => id))]))
  const collectionOf = (model: string): string => rules.get(model)?.collection ?? model
  const settled = settle(plan, rules, rows)
  for (const lost of [settled.quarantined, settled.dropped])
    for (const [model, some] of lost)
      for (const [id, reasons] of some)
        for (const { text } of reasons)
          found.add(collectionOf(model), `${collectionOf(model)} ${idWord(id)}: ${text}.`)
  for (const { derivation } of derived) {
    const model = rules.get(derivation.model)
    if (!model) continue
    const references = referencesOf(model, plan)
    for (const { id, refs } of rows.get(model.name) ?? [])
      for (const [i, { field, to, dangling }] of references.entries()) {
        const ref = refs[i]
        if (dangling === 'list' || ref === undefined || ids.get(to)?.has(ref)) continue
        found.add(
          model.collection,
          `${model.collection} ${idWord(id)}: ${field} names a ${to} that is not in the target.`,
        )
      }
  }
}

const indexText = ({ name, key, unique, partialFilterExpression }: IndexSpec): string =>
  JSON.stringify({
    name,
    key: Object.entries(key),
    unique: unique === true,
    partial: partialFilterExpression ?? {},
  })

/** Collections, their options and their indexes. */
async function structure({ rules, plan }: Judged, { db }: Connected, found: Findings): Promise<void> {
  const there = new Map((await collectionsOf(db)).map((c) => [c.name, c]))
  for (const [collection, wanted] of wantedIndexes(rules, plan)) {
    const has = there.get(collection)
    there.delete(collection)
    if (!has) {
      found.add(collection, `${collection} is missing in the target.`)
      continue
    }
    if (has.type !== 'collection' || has.options !== '{}')
      found.add(collection, `${collection} has options that no plan gave it: ${has.options}.`)
    const indexes = new Map(
      has.indexes
        .map((text) => BSON.EJSON.parse(text) as unknown as IndexSpec)
        .filter(({ name }) => name !== '_id_')
        .map((index) => [index.name, index]),
    )
    for (const index of wanted) {
      const is = indexes.get(index.name)
      indexes.delete(index.name)
      if (!is) found.add(collection, `${collection}: the index ${index.name} is missing.`)
      else if (indexText(is) !== indexText(index) || strays(is).length > 0)
        found.add(collection, `${collection}: the index ${index.name} is another one than the plan says.`)
    }
    for (const name of indexes.keys())
      found.add(collection, `${collection}: nobody planned the index ${JSON.stringify(name)}.`)
  }
  there.delete(MARKER)
  for (const name of there.keys())
    found.add(name, `${JSON.stringify(name)} is in the target, and nobody planned it.`)
}

const KNOWN = new Set(['v', 'name', 'key', 'unique', 'partialFilterExpression'])
/** Options of an index that no plan gives: a collation, a lifetime. */
const strays = (index: object): string[] => Object.keys(index).filter((name) => !KNOWN.has(name))
