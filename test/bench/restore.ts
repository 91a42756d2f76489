// A restore: documents loaded by their bytes beside the driver's ordinary insertMany, and the downtime with little and
// with much data.
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { BSON, MongoClient, type Collection, type Document } from 'mongodb'
import type { Bytes } from '../../lib/backup/bytes.ts'
import { batches, insertAll } from '../../lib/backup/insert.ts'
import type { Downtime } from '../../lib/downtime.ts'
import { startMongod } from '../stack/mongods.ts'
import type { Stack } from '../stack/stack.ts'
import { runScript, toolFor } from '../stack/tool.ts'
import { documents } from './data.ts'
import { seconds, type Figure, type Order } from './figure.ts'
import { fillDatabase, fillVolumes } from './fill.ts'

const DOCUMENTS = 1_000_000
const INSERTED = 1_000 // documents in one insertMany: what most programs do
const AT_MOST = 0.7 // of the time that insertMany takes
const GROWN = 1.3 // times the downtime with at least 20 times the data
const MONGOD = 'bench-load'
const INDEXES: Document[] = [{ conversationId: 1, createdAt: -1 }, { senderId: 1 }]
const MIB = 2 ** 20

/** Measures restores. */
export async function restore(order: Order): Promise<Figure[]> {
  return [await loading(order), await downtimes(order)]
}

async function loading({ machine, stack, runs, say }: Order): Promise<Figure> {
  const folder = join(dirname(stack.dir), 'bench')
  await mkdir(folder, { recursive: true })
  const file = join(folder, 'documents.bson')
  say(`writing ${DOCUMENTS.toLocaleString('en')} documents`)
  await pipeline(Readable.from(encoded(), { objectMode: false }), createWriteStream(file))
  const client = await startMongod(machine, { id: MONGOD, label: stack.id })
  const ours: number[] = []
  const other: number[] = []
  try {
    for (let n = 1; n <= runs; n++) {
      say(`by their bytes, ${n} of ${runs}`)
      const raw = await fresh(client)
      const source = createReadStream(file, { highWaterMark: MIB }) as Bytes
      ours.push(
        await seconds(async () => {
          await insertAll(client.db('bench'), raw.collectionName, source, () => {})
          await index(raw)
        }),
      )
      await complete(raw)
      say(`by insertMany, ${n} of ${runs}`)
      const plain = await fresh(client)
      other.push((await insertMany(plain, file)) + (await seconds(() => index(plain))))
      await complete(plain)
    }
  } finally {
    await client.close()
    await stack.docker('rm', '--force', `rehearsal-${MONGOD}`)
  }
  const conditions = {
    documents: DOCUMENTS,
    indexes: INDEXES,
    otherwise: `insertMany of ${INSERTED} at a time, unordered`,
  }
  return {
    name: `load and index ${DOCUMENTS.toLocaleString('en')} documents`,
    unit: 's',
    better: 'less',
    ours,
    other,
    atLeast: 1 / AT_MOST,
    conditions,
  }
}

function* encoded(): Generator<Buffer> {
  for (const document of documents(DOCUMENTS, 1)) yield Buffer.from(BSON.serialize(document))
}

async function fresh(client: MongoClient): Promise<Collection> {
  await client.db('bench').dropDatabase()
  return client.db('bench').createCollection('messages')
}

async function index(collection: Collection): Promise<void> {
  for (const key of INDEXES) await collection.createIndex(key as Record<string, 1 | -1>)
}

async function complete(collection: Collection): Promise<void> {
  const found = await collection.estimatedDocumentCount()
  if (found !== DOCUMENTS) throw new Error(`${found} documents were loaded instead of ${DOCUMENTS}.`)
}

/** The seconds that the inserts take; making objects of the documents does not count. */
async function insertMany(collection: Collection, file: string): Promise<number> {
  let took = 0
  for await (const { bytes } of batches(createReadStream(file, { highWaterMark: MIB }) as Bytes)) {
    const all: Document[] = []
    for (let at = 0; at < bytes.length; at += bytes.readInt32LE(at))
      all.push(BSON.deserialize(bytes.subarray(at, at + bytes.readInt32LE(at))))
    for (let i = 0; i < all.length; i += INSERTED) {
      const some = all.slice(i, i + INSERTED)
      took += await seconds(() => collection.insertMany(some, { ordered: false }))
    }
  }
  return took
}

async function downtimes({ machine, stack, runs, megabytes, say }: Order): Promise<Figure> {
  toolFor(stack)
  const small: number[] = []
  const large: number[] = []
  const sizes: unknown[] = []
  const measure = async (what: string, into: number[]): Promise<void> => {
    const set = await sealed(stack)
    sizes.push(set.holds)
    for (let n = 1; n <= runs; n++) {
      say(`downtime of a restore, ${what} data, ${n} of ${runs}`)
      into.push(await downtime(stack, set.name))
    }
  }
  await measure('little', small)
  say('filling the stack')
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  await fillDatabase(client, (megabytes / 4) * MIB)
  await client.close()
  await fillVolumes(stack, machine, megabytes * MIB)
  await measure('much', large)
  return {
    name: 'downtime of a restore, much data beside little',
    unit: 's',
    better: 'less',
    ours: large,
    other: small,
    atLeast: 1 / GROWN,
    conditions: { timing: stack.timing, address: 'gateway', sizes },
  }
}

interface Sealed {
  readonly name: string
  readonly holds: unknown
}

async function sealed(stack: Stack): Promise<Sealed> {
  await ended(stack, 'auto-backup')
  const [newest] = JSON.parse(await ended(stack, 'restore', '--list', '--json')) as Sealed[]
  if (!newest) throw new Error('No set was made.')
  return { name: newest.name.replace(/\.tar\.gz$/, ''), holds: newest.holds }
}

/** s that a visitor of the gateway was not served. */
async function downtime(stack: Stack, set: string): Promise<number> {
  await stack.ready()
  const report = JSON.parse(await ended(stack, 'restore', set, '--json', '--confirm', set)) as {
    facts: { downtime: readonly Downtime[] }
  }
  await ended(stack, 'restore', '--commit', '--confirm', set)
  const gateway = report.facts.downtime.find((d) => d.service === 'gateway')
  if (!gateway || gateway.still) throw new Error('The downtime of the gateway was not measured.')
  return gateway.ms / 1000
}

async function ended(stack: Stack, name: string, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await runScript(stack, name, words)
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${stderr}`)
  return stdout
}
