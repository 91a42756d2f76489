// The documents on their way: each to its place in the target, or aside. A dry run goes the same way with neither a
// target nor files, and only counts.
import { BSON, type Db } from 'mongodb'
import { metadataJson } from '../../lib/backup/catalogue.ts'
import { insertBatch } from '../../lib/backup/insert.ts'
import type { Reason } from '../outcome.ts'
import { idWord } from './accept.ts'
import type { Aside } from './aside.ts'
import { bytesOf } from './derive.ts'
import { fateOf } from './fate.ts'
import { idOf, type Count, type Judged, type LoadedSource } from './judge.ts'
import { inLanes } from './lanes.ts'
import { read } from './reading.ts'

const LANES = 3 // collections at a time
const MOST = 4 * 2 ** 20 // bytes in one insert
const MOST_DOCUMENTS = 10_000 // in one insert
const WIDTH = 2 // inserts of one collection on their way at a time

/** read = transformed + carried + renamed + merged + archived + dropped + quarantined */
export interface Tally {
  read: number
  transformed: number
  carried: number
  renamed: number
  /** Into another document; no plan does that yet. */
  merged: number
  archived: number
  dropped: number
  quarantined: number
}

export const noTally = (): Tally => ({
  read: 0,
  transformed: 0,
  carried: 0,
  renamed: 0,
  merged: 0,
  archived: 0,
  dropped: 0,
  quarantined: 0,
})

/** Where documents go; without it they are only counted. */
export interface Destination {
  readonly db: Db
  readonly aside: Aside
}

/** Takes all collections of the plan on their way. @returns how many documents went where, by collection */
export async function load(
  judged: Judged,
  destination: Destination | undefined,
  counted: Count,
): Promise<ReadonlyMap<string, Tally>> {
  const { sources } = judged.inventory
  const tallies = new Map(sources.map(({ name }) => [name, noTally()]))
  const byName = new Map(judged.loaded.map((source) => [source.name, source]))
  await inLanes(sources, LANES, async ({ name, entry, found, count }) => {
    const tally = tallies.get(name) ?? noTally()
    const source = byName.get(name)
    if (!found) return
    if (source) return loadOne(judged, source, destination, tally, counted)
    const kind = entry.decision === 'drop' ? 'dropped' : 'archived'
    if (!destination) {
      tally.read = count
      tally[kind] = count
      return
    }
    destination.aside.touch('archive', name) // an empty collection comes back too
    await destination.aside.add('metadata', name, Buffer.from(metadataJson(found)))
    for await (const batch of read(judged.inventory.reading, name)) {
      for (const bytes of batch) await destination.aside.add('archive', name, bytes)
      tally.read += batch.length
      tally[kind] += batch.length
      counted(name, batch.length)
    }
  })
  if (destination) await loadDerived(judged, destination.db)
  return tallies
}

async function loadOne(
  judged: Judged,
  source: LoadedSource,
  destination: Destination | undefined,
  tally: Tally,
  counted: Count,
): Promise<void> {
  const { name, model } = source
  const out = destination && inserter(destination.db, model.collection)
  const setAside = async (
    kind: 'quarantine' | 'dropped',
    bytes: Buffer,
    reasons: readonly Reason[],
  ): Promise<void> => {
    await destination?.aside.add(kind, name, bytes)
    const line = `${JSON.stringify({ id: idWord(idOf(bytes)), reasons })}\n`
    await destination?.aside.add(
      kind === 'quarantine' ? 'reasons' : 'dropped-reasons',
      name,
      Buffer.from(line),
    )
  }
  try {
    for await (const batch of read(judged.inventory.reading, name)) {
      for (const bytes of batch) {
        const fate = fateOf(judged, source, bytes)
        tally.read++
        if ('quarantined' in fate) {
          tally.quarantined++
          await setAside('quarantine', bytes, fate.quarantined)
        } else if ('dropped' in fate) {
          tally.dropped++
          await setAside('dropped', bytes, fate.dropped)
        } else {
          tally[fate.how]++
          if (fate.sidecar) {
            const sidecar = BSON.serialize({ _id: fate.id, ...fate.sidecar })
            await destination?.aside.add('sidecar', name, sidecar)
          }
          await out?.add(fate.bytes)
        }
      }
      counted(name, batch.length)
    }
    await out?.end()
  } finally {
    await out?.settled()
  }
}

async function loadDerived({ derived, rules }: Judged, db: Db): Promise<void> {
  for (const { derivation, docs } of derived) {
    const out = inserter(db, rules.get(derivation.model)?.collection ?? derivation.model)
    try {
      for (const doc of docs) await out.add(bytesOf(doc))
      await out.end()
    } finally {
      await out.settled()
    }
  }
}

interface Inserter {
  add(bytes: Uint8Array): Promise<void>
  /** Inserts what is left and waits for all. @throws the first error of the server */
  end(): Promise<void>
  /** When nothing is on its way any more. */
  settled(): Promise<void>
}

/** Inserts into one collection, which was empty: a document that is there already is an error. */
function inserter(db: Db, collection: string): Inserter {
  const underway = new Set<Promise<void>>()
  let held: Uint8Array[] = []
  let size = 0
  const flush = async (): Promise<void> => {
    if (held.length === 0) return
    const batch = { bytes: Buffer.concat(held, size), documents: held.length }
    held = []
    size = 0
    const one: Promise<void> = insertBatch(db, collection, batch).then(() => void underway.delete(one))
    one.catch(() => {}) // told when it is awaited
    underway.add(one)
    if (underway.size >= WIDTH) await Promise.race(underway)
  }
  return {
    async add(bytes) {
      if (size + bytes.length > MOST || held.length === MOST_DOCUMENTS) await flush()
      held.push(bytes)
      size += bytes.length
    },
    async end() {
      await flush()
      await Promise.all(underway)
    },
    async settled() {
      await Promise.allSettled(underway)
    },
  }
}
