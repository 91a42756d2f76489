// The MongoDB part of a set against real servers: that everything is in it and comes back, that it is one point in
// time or honest about it, and what stops it.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { BSON, type Db, type Document, type MongoClient, type MongoServerError } from 'mongodb'
import { createArchive, type ArchiveWriter } from '../../lib/backup/archive.ts'
import { field, unwrap } from '../../lib/backup/bson.ts'
import type { Bytes } from '../../lib/backup/bytes.ts'
import type { MongoRecord } from '../../lib/backup/manifest.ts'
import { mongoState, writeMongo } from '../../lib/backup/mongodb.ts'
import { inspectContainers } from '../../lib/docker.ts'
import type { Stack } from '../../lib/stack.ts'
import { fillHard, NAMES } from './hard-data.ts'
import { documentsOf, loadDump } from './load-dump.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'
import { startMongod } from './mongods.ts'
import { destroyStack } from './stack.ts'

const ID = 'mongodb'
const STAMP = '20260102_030405'
let machine: Machine
let dir: string
let set: MongoClient // of a replica set
let trapped: MongoClient // of another one, where things change meanwhile
const clients: MongoClient[] = []

async function server(id: string, replicaSet?: string): Promise<MongoClient> {
  const client = await startMongod(machine, {
    id: `${ID}-${id}`,
    label: ID,
    ...(replicaSet && { set: replicaSet }),
  })
  clients.push(client)
  return client
}

before(
  async () => {
    machine = await ensureMachine()
    Object.assign(process.env, machine.env)
    await destroyStack(machine, ID) // what a killed run has left
    dir = await mkdtemp(join(tmpdir(), 'rehearsal-mongodb-'))
    set = await server('set', 'rs0')
  },
  { timeout: 300_000 },
)
after(async () => {
  for (const client of clients) await client.close()
  await destroyStack(machine, ID)
  await rm(dir, { recursive: true, force: true })
  await machine.stop()
})

test('everything that a server holds is in the set, and an independent reader brings it back', async (t) => {
  await fillHard(set)
  const source = await contents(set)
  const { record, folder } = await dumped(set)

  await t.test('the record is the truth', () => {
    assert.deepEqual(counted(record), documentsIn(source))
    assert.match(record.clusterTime, /^\d{10},\d+$/)
    assert.deepEqual([record.version, record.fcv, record.replicaSet], ['6.0.5', '6.0', 'rs0'])
    const names = record.databases.map((d) => d.name)
    assert.deepEqual(
      NAMES.databases.filter((n) => !names.includes(n)),
      [],
    )
    assert.deepEqual(
      names.filter((n) => ['local', 'config'].includes(n)),
      [],
    )
  })

  await t.test('options, indexes and documents are equal', async () => {
    const other = await server('other', 'rs0')
    await loadDump(other, folder)
    assert.deepEqual(await contents(other), source)
  })
})

const DOCUMENTS = 100
const PAD = 34 // documents of 1 MiB: three answers of the server

/** A database whose first collection takes three answers of the server, with things after it that can be changed. */
async function prepared(): Promise<Db> {
  trapped ??= await server('trap', 'rs0')
  const db = trapped.db('meeshy')
  for (const { name } of await db.listCollections({}, { nameOnly: true }).toArray()) {
    if (name !== 'a_pad' && !name.startsWith('system.')) await db.collection(name).drop()
  }
  if ((await db.collection('a_pad').estimatedDocumentCount()) !== PAD) {
    const bytes = Buffer.alloc(2 ** 20 - 100)
    await db.collection('a_pad').insertMany(Array.from({ length: PAD }, () => ({ bytes })))
  }
  const some = Array.from({ length: DOCUMENTS }, (_, i) => ({ i }))
  await db.collection('victim').insertMany(some)
  await db.collection('victim').createIndex({ i: 1 })
  await db.createCollection('view', { viewOn: 'victim', pipeline: [] })
  await series(db)
  await db.collection('zz').insertOne({ last: true })
  return db
}

async function series(db: Db): Promise<void> {
  await db.createCollection('series', { timeseries: { timeField: 't' } })
  await db.collection('series').insertOne({ t: new Date(0) })
}

// What somebody does while the first collection is read, and what the backup says to it.
const changes: Readonly<Record<string, { act: (db: Db) => Promise<unknown>; said: RegExp }>> = {
  'a collection renamed': {
    act: (db) => db.renameCollection('victim', 'renamed'),
    said: /meeshy\.victim was dropped or renamed/,
  },
  'a collection dropped': {
    act: (db) => db.dropCollection('victim'),
    said: /meeshy\.victim was dropped or renamed/,
  },
  'a collection dropped and made again (error 246)': {
    act: async (db) => {
      await db.dropCollection('victim')
      await db.collection('victim').insertOne({ another: true })
    },
    said: /Unable to read from a snapshot due to pending collection catalog changes/,
  },
  'a collection made': { act: (db) => db.createCollection('new'), said: /meeshy\.new was created/ },
  'a rule changed': {
    act: (db) => db.command({ collMod: 'zz', validator: { last: true } }),
    said: /meeshy\.zz, its options or its indexes were changed/,
  },
  'a view changed': {
    act: (db) => db.command({ collMod: 'view', viewOn: 'victim', pipeline: [{ $limit: 1 }] }),
    said: /meeshy\.view, its options or its indexes were changed/,
  },
  'an index made': {
    act: (db) => db.collection('zz').createIndex({ a: 1 }),
    said: /meeshy\.zz, its options or its indexes were changed/,
  },
  'an index dropped': {
    act: (db) => db.collection('victim').dropIndex('i_1'),
    said: /meeshy\.victim, its options or its indexes were changed/,
  },
  'a database made': {
    act: (db) => trapped.db('other').collection(`${db.databaseName}`).insertOne({ a: 1 }),
    said: /other\.meeshy was created/,
  },
  'the collection that is being read, renamed (error 175)': {
    act: (db) => db.renameCollection('a_pad', 'a_pad_2'),
    said: /collection renamed from 'meeshy\.a_pad'/,
  },
}

for (const [what, { act, said: expected }] of Object.entries(changes)) {
  test(`meanwhile ${what}: everything is read again, and the set is the truth`, async () => {
    const db = await prepared()
    const { record, said } = await dumped(
      trapped,
      during(
        'a_pad',
        once(() => act(db)),
      ),
    )
    assert.match(said.join('\n'), expected)
    assert.match(said.join('\n'), /everything is read again \(1 of 3\)$/)
    assert.equal(said.length, 1)
    assert.deepEqual(counted(record), documentsIn(await contents(trapped)))
  })
}

test('a time series that was made again after it was read is noticed by its buckets', async () => {
  const db = await prepared()
  const again = async (): Promise<void> => {
    await db.dropCollection('series')
    await series(db)
    await db.collection('series').insertOne({ t: new Date(2 ** 40) })
  }
  const { record, said } = await dumped(trapped, during('zz', once(again)))
  assert.match(said.join('\n'), /meeshy\.series, its options or its indexes were changed/)
  assert.equal(counted(record)['meeshy.series'], 2)
})

test('a collection that was away just when its turn came is not taken for an empty one', async () => {
  const db = await prepared()
  const away = once(() => db.renameCollection('victim', 'away'))
  const back = once(() => db.renameCollection('away', 'victim'))
  const { record, said } = await dumped(trapped, (archive) =>
    during('zz', back)(during('a_pad', away)(archive)),
  )
  assert.equal(counted(record)['meeshy.victim'], DOCUMENTS)
  assert.equal(said.length, 2, said.join('\n'))
})

test('what never stops changing ends the backup with a sentence', async () => {
  const db = await prepared()
  let times = 0
  const act = async (): Promise<void> => void (await db.createCollection(`new ${times++}`))
  await assert.rejects(dumped(trapped, during('a_pad', act)), (error: Error) => {
    assert.match(
      error.message,
      /nor when it was read again 3 times: meeshy\.new 3 was created while the backup/,
    )
    assert.match(error.message, /Start again while nothing creates, renames, drops or alters collections\.$/)
    return true
  })
  assert.equal(times, 4)
})

test('a snapshot that became too old (error 239): once it is read again, always is a sentence', async () => {
  const db = await prepared()
  const window = (seconds: number): Promise<Document> =>
    trapped.db('admin').command({ setParameter: 1, minSnapshotHistoryWindowInSeconds: seconds })
  const grownOld = async (): Promise<void> => {
    await window(0)
    const session = trapped.startSession({ snapshot: true }) // younger than that of the backup
    const dead = (error: MongoServerError): boolean => error.code === 239
    for (const end = Date.now() + 30_000; Date.now() < end;) {
      await db.collection('zz').insertOne({ more: true })
      const read = db.collection('zz').findOne({}, { session })
      if (await read.then(() => false, dead)) break
    }
    await session.endSession()
    await window(300)
  }
  const { record, said } = await dumped(trapped, during('a_pad', once(grownOld)))
  assert.match(said.join('\n'), /the snapshot became older than the server keeps it/)
  assert.equal(said.length, 1)
  assert.equal(counted(record)['meeshy.victim'], DOCUMENTS)
  await assert.rejects(
    dumped(trapped, during('a_pad', grownOld)),
    /3 times: the snapshot became older .*setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600/,
  )
})

test('S4: pairs written in transactions meanwhile are whole; a capped collection is read outside and says so', async () => {
  const db = await prepared()
  await db.createCollection('z_capped', { capped: true, size: 2 ** 20 })
  await db.collection('z_capped').insertOne({ before: true })
  const halves = [db.collection('a_half'), db.collection('z_half')] // the pad lies between them
  for (const half of halves) await half.insertOne({ pair: 0 })
  let written = 1
  let ending = false
  const writer = trapped.withSession(async (session) => {
    while (!ending) {
      await session.withTransaction(async () => {
        for (const half of halves) await half.insertOne({ pair: written }, { session })
      })
      written++
    }
  })
  const more = async (): Promise<void> => {
    const enough = written + 20
    while (written < enough) await delay(1)
  }
  const meanwhile = async (): Promise<void> => {
    await more()
    await db.collection('z_capped').insertOne({ meanwhile: true })
  }
  try {
    await more()
    const { record, folder } = await dumped(trapped, during('a_pad', meanwhile))
    const pairs = async (name: string): Promise<string> =>
      documentsOf(await readFile(join(folder, 'meeshy', `${name}.bson`)))
        .map((d) => Number(BSON.deserialize(d).pair))
        .toSorted((x, y) => x - y)
        .join()
    assert.equal(await pairs('z_half'), await pairs('a_half'))
    const all = record.databases.find((d) => d.name === 'meeshy')?.collections ?? []
    const [saved = 0, capped] = ['a_half', 'z_capped'].map((n) => all.find((c) => c.name === n)?.documents)
    assert.ok(saved >= 20 && saved < written - 15, `${saved} of ${written} pairs are from before the instant`)
    assert.equal(capped, 2)
    assert.deepEqual(
      all.filter((c) => c.fuzzy).map((c) => c.name),
      ['z_capped'],
    )
  } finally {
    ending = true
    await writer
  }
})

test('a standalone server: all of it, and honest about not being one instant', async () => {
  const alone = await server('alone')
  const db = alone.db('meeshy')
  await db.collection('a').insertMany([{ a: 1 }, { a: 2 }])
  await db.createCollection('view', { viewOn: 'a', pipeline: [] })
  const change = once(() => db.createCollection('b'))
  const { record, said } = await dumped(alone, during('a', change))
  assert.match(said.join('\n'), /meeshy\.b was created while the backup read/)
  assert.deepEqual([record.replicaSet, record.clusterTime], ['', ''])
  assert.deepEqual(counted(record), documentsIn(await contents(alone)))
  const fuzzy = record.databases.flatMap((d) => d.collections).map((c) => [c.type, c.fuzzy])
  assert.deepEqual(
    fuzzy.filter(([type, is]) => is !== (type === 'collection')),
    [],
  )
  const [container] = await inspectContainers([`rehearsal-${ID}-alone`])
  const stack = {
    config: { MONGODB_USER: '', MONGODB_PASSWORD: '' },
    about: { database: { service: 'database', port: 27017 } },
    services: [{ name: 'database', container }],
  } as unknown as Stack
  const { folders, documents } = await mongoState(stack)
  assert.deepEqual(folders, [{ service: 'database', dir: '/data/db' }])
  assert.ok(documents >= 2) // the server counts its own about views too
})

/** Does something the first time that it is called. */
function once(act: () => Promise<unknown>): () => Promise<void> {
  let done: Promise<unknown> | undefined
  return async () => void (await (done ??= act()))
}

/** An archive that does something after the first bytes of a collection have come, before the next ones are read. */
function during(collection: string, act: () => Promise<void>): (archive: ArchiveWriter) => ArchiveWriter {
  async function* interrupted(source: Bytes): Bytes {
    let begun = false
    for await (const piece of source) {
      yield piece
      if (!begun) await act()
      begun = true
    }
  }
  return (archive) =>
    Object.create(archive, {
      file: {
        value: ((name, source, how) =>
          archive.file(
            name,
            name.endsWith(`/${collection}.bson`) ? interrupted(source) : source,
            how,
          )) satisfies ArchiveWriter['file'],
      },
    }) as ArchiveWriter
}

/** Documents by collection, as a set says. */
const counted = ({ databases }: MongoRecord): Record<string, number> =>
  Object.fromEntries(
    databases.flatMap(({ name, collections }) => collections.map((c) => [`${name}.${c.name}`, c.documents])),
  )

/** The same, as a server says. */
const documentsIn = (all: Record<string, Content>): Record<string, number> =>
  Object.fromEntries(Object.entries(all).map(([name, c]) => [name, c.documents]))

/** Reads everything into an archive, and extracts it with plain tar. */
async function dumped(
  client: MongoClient,
  through: (archive: ArchiveWriter) => ArchiveWriter = (a) => a,
): Promise<{ record: MongoRecord; folder: string; said: string[] }> {
  const here = await mkdtemp(join(dir, 'set-'))
  const path = join(here, 'set.tar.gz')
  const archive = await createArchive(path, 'set')
  const said: string[] = []
  const dump = { stamp: STAMP, main: 'meeshy', report: (l: string) => said.push(l), count: () => {} }
  try {
    const { record } = await writeMongo(client, through(archive), dump)
    await archive.finish('{}')
    execFileSync('tar', ['xzf', path, '-C', here])
    // Nothing of an attempt that was given up is left in it.
    const files = String(execFileSync('tar', ['tzf', path])).match(/(bson|metadata\.json)$/gm)
    const parts = record.databases.flatMap((d) =>
      d.collections.flatMap((c) => [c.metadata, c.part ?? []].flat()),
    )
    assert.equal(files?.length, parts.length)
    return { record, folder: join(here, 'set', 'database', `mongodb_${STAMP}`), said }
  } finally {
    await archive.close()
  }
}

interface Content {
  /** As the server sends them, hexadecimal; so that nothing is lost in decoding. */
  readonly options: string
  readonly indexes: readonly string[]
  readonly documents: number
  readonly hash: string
}

/** Everything in a server but `local` and `config`, in a form that can be compared. Not by the code under test. */
async function contents(client: MongoClient): Promise<Record<string, Content>> {
  const found: Record<string, Content> = {}
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true })
  for (const { name: db } of databases) {
    if (db === 'local' || db === 'config') continue
    for (const info of await first(client, db, { listCollections: 1, cursor: { batchSize: 1_000 } })) {
      const name = text(info, 'name')
      const type = text(info, 'type')
      if (/^system\.(buckets\..*|views|keys)$/s.test(name)) continue
      const stored = type === 'timeseries' ? `system.buckets.${name}` : name
      const hashes: string[] = []
      if (type !== 'view') {
        for await (const bytes of client.db(db).collection(stored).find({}, { raw: true })) {
          hashes.push(
            createHash('sha256')
              .update(bytes as unknown as Buffer)
              .digest('hex'),
          )
        }
      }
      const indexes = type === 'view' ? [] : await first(client, db, { listIndexes: name })
      found[`${db}.${name}`] = {
        options: `${type} ${field(info, 'options')?.toString('hex')}`,
        indexes: indexes.map((i) => i.toString('hex')).toSorted(),
        documents: hashes.length,
        hash: createHash('sha256').update(hashes.toSorted().join('')).digest('hex'),
      }
    }
  }
  return found
}

/** The first batch of a command's cursor, as bytes. */
async function first(client: MongoClient, db: string, command: Document): Promise<Buffer[]> {
  const { cursor } = await client.db(db).command(command, { raw: true })
  const found: Buffer[] = []
  unwrap(field(cursor as Buffer, 'firstBatch') as Buffer, (d) => found.push(d))
  return found
}

const text = (document: Buffer, name: string): string =>
  field(document, name)?.toString('utf8', 4).slice(0, -1) ?? ''
