// The dump of MongoDB alone: ours, hashed and packed into an archive, beside what else reads every document.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createArchive } from '../../lib/backup/archive.ts'
import type { MongoRecord } from '../../lib/backup/manifest.ts'
import { writeMongo } from '../../lib/backup/mongodb.ts'
import { seconds, type Figure, type Order } from './figure.ts'
import { hasMongodump, mongodump, type Subject } from './older.ts'

interface Dumped {
  /** s */
  readonly ours: number
  readonly other: number
  readonly bytes: number
  readonly documents: number
}

/** Measures it, in turns, in this process; `folder` is for what is written and goes again. */
export async function dumps(
  subject: Subject,
  { folder, runs, say }: { folder: string } & Pick<Order, 'runs' | 'say'>,
): Promise<Figure[]> {
  const { stack, machine, client } = subject
  const there = await hasMongodump(stack, machine)
  const measured: Dumped[] = []
  for (let n = 1; n <= runs; n++) {
    say(`dump of MongoDB alone, ${n} of ${runs}`)
    const [archive, file] = [join(folder, 'dump.tar.gz'), join(folder, 'dump.archive')]
    const began = performance.now()
    const collections = await dump(subject, archive)
    const ours = (performance.now() - began) / 1000
    const other = await seconds(() =>
      there ? mongodump(stack, machine, file) : readAll(client, collections),
    )
    const sum = (of: 'bytes' | 'documents'): number => collections.reduce((total, c) => total + c[of], 0)
    measured.push({ ours, other, bytes: sum('bytes'), documents: sum('documents') })
    for (const path of [archive, file]) await rm(path, { force: true })
  }
  const figure = (unit: string, amount: (of: Dumped) => number): Figure => ({
    name: 'dump of MongoDB',
    unit,
    better: 'more',
    ours: measured.map((m) => amount(m) / m.ours),
    other: measured.map((m) => amount(m) / m.other),
    conditions: {
      what: 'read in a snapshot, every document hashed, packed into an archive on disk, fsynced',
      otherwise: there ? 'mongodump --archive into a file' : 'a cursor of the driver, read and forgotten',
    },
  })
  return [figure('MB/s', (m) => m.bytes / 1e6), figure('documents/s', (m) => m.documents)]
}

interface Read {
  readonly db: string
  readonly name: string
  readonly documents: number
  readonly bytes: number
}

async function dump({ client }: Subject, path: string): Promise<Read[]> {
  const archive = await createArchive(path, 'dump')
  try {
    const { record } = await writeMongo(client, archive, {
      stamp: 'bench',
      main: 'meeshy',
      report() {},
      count() {},
    })
    await archive.finish('{}\n')
    return collectionsOf(record)
  } finally {
    await archive.close()
  }
}

function collectionsOf({ databases }: MongoRecord): Read[] {
  return databases.flatMap(({ name: db, collections }) =>
    collections.filter((c) => c.type === 'collection').map((c) => ({ db, ...c })),
  )
}

async function readAll(client: Subject['client'], collections: readonly Read[]): Promise<void> {
  for (const { db, name, documents } of collections) {
    let read = 0
    for await (const _ of client.db(db).collection(name).find()) read++
    if (read !== documents)
      throw new Error(`${db}.${name}: ${read} documents were read instead of ${documents}.`)
  }
}
