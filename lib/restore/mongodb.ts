// MongoDB of a set, prepared beside the files of the live one: loaded by a helper mongod, compared with the manifest,
// and initiated as the replica set that the applications expect.
import { MongoClient, MongoServerError } from 'mongodb'
import { readPart } from '../backup/archive.ts'
import { catalogue, findAll, rawBatches, storedAs, type Collection } from '../backup/catalogue.ts'
import { field, fromEjson, unwrap } from '../backup/bson.ts'
import { orderFree } from '../backup/digest.ts'
import { insertAll, type Batch } from '../backup/insert.ts'
import type { CollectionRecord, Manifest, MongoRecord } from '../backup/manifest.ts'
import type { Bytes } from '../backup/bytes.ts'
import type { Place } from '../place.ts'
import { rank } from '../engines.ts'
import { interruption } from '../shell.ts'
import { answers, dataIn, SOCKET, startAside, type Aside } from './engine.ts'
import type { Ground } from './ground.ts'
import { keep, makeEmpty } from './volume.ts'

const CACHE = 0.5 // GB
const PRIMARY = 60_000 // ms
const VERSIONS = 'system.version' // of admin: the server writes its feature compatibility version there itself

/** How the server runs that will use the files. */
export interface MongoSettings {
  /** Empty for a standalone server. */
  readonly replicaSet: string
  /** This member's own name, `host:port`. */
  readonly member: string
  /** Words that decide how files lie in its folder. */
  readonly layout: readonly string[]
}

/** What is loaded, and from where. */
export interface MongoSource {
  readonly path: string
  readonly manifest: Pick<Manifest, 'mongodb' | 'parts'>
  /** Told of every batch. */
  readonly count: (label: string, batch: Batch) => void
  readonly say: (text: string) => void
}

/**
 * Prepares the database of a set at a place. @throws a sentence when it does not become what was saved
 */
export async function prepareMongo(
  ground: Ground,
  stamp: string,
  place: Place,
  settings: MongoSettings,
  source: MongoSource,
): Promise<void> {
  const user = await makeEmpty(ground, stamp, place)
  const start = (words: readonly string[], options: readonly string[] = []): Promise<Aside> =>
    startAside(ground, {
      image: ground.mongod,
      place,
      stamp,
      user,
      options,
      words: ['mongod', ...mongodWords(place, stamp, settings), ...words],
    })

  await withMongod(await start([]), async (client) => {
    await load(client, source)
    source.say('MongoDB: loaded; every document is read back')
    const wrong = await unequal(client, source.manifest.mongodb, 'digests')
    if (wrong.length > 0) throw new Error(`MongoDB is not as it was saved:\n${wrong.join('\n')}`)
  })
  if (settings.replicaSet !== '') {
    const [host, port] = hostAndPort(settings.member)
    const words = ['--replSet', settings.replicaSet, '--bind_ip', '127.0.0.1', '--port', port]
    const known = host === 'localhost' ? [] : [`--add-host=${host}:127.0.0.1`]
    await withMongod(await start(words, known), (client) => initiate(client, settings))
  }
  await keep(ground, stamp, place)
}

function mongodWords(place: Place, stamp: string, { layout }: MongoSettings): string[] {
  const options = {
    dbpath: dataIn(place, stamp),
    unixSocketPrefix: SOCKET,
    logpath: `${SOCKET}/log`,
    filePermissions: '0777',
    wiredTigerCacheSizeGB: String(CACHE),
  }
  // What has expired since is removed by the live server, not while it is compared.
  const settings = ['ttlMonitorEnabled=false', 'diagnosticDataCollectionEnabled=false']
  return [
    ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]),
    ...settings.flatMap((s) => ['--setParameter', s]),
    ...layout,
  ]
}

/** `host:port`, where the host may be an IPv6 address in brackets. */
function hostAndPort(member: string): [string, string] {
  const colon = member.lastIndexOf(':')
  return [member.slice(0, colon), member.slice(colon + 1)]
}

/** Works with a helper mongod, and ends it cleanly: its files are whole when this returns. */
async function withMongod(aside: Aside, work: (client: MongoClient) => Promise<void>): Promise<void> {
  try {
    const socket = encodeURIComponent(`${aside.sockets}/mongodb-27017.sock`)
    const client = await answers(aside, async () => {
      const opening = new MongoClient(`mongodb://${socket}/?directConnection=true&appName=runbook`, {
        serverSelectionTimeoutMS: 1_000,
        connectTimeoutMS: 1_000,
      })
      return opening.connect().catch(async (error: unknown) => {
        await opening.close()
        throw error
      })
    })
    try {
      await work(client)
      await shutDown(client)
    } finally {
      await client.close()
    }
    const code = await aside.ended
    if (code !== 0)
      throw new Error(`The mongod that prepares the data ended with code ${code}:\n${aside.log()}`)
  } finally {
    await aside.end()
  }
}

/** Its answer is the end of the connection. */
async function shutDown(client: MongoClient): Promise<void> {
  try {
    await client.db('admin').command({ shutdown: 1, force: true })
  } catch (error) {
    if (error instanceof MongoServerError) throw error
  }
}

async function load(client: MongoClient, { path, manifest, count }: MongoSource): Promise<void> {
  const parts = new Map(manifest.parts.map((part) => [part.name, part]))
  await setFcv(client, manifest.mongodb)
  for (const { name: dbName, collections } of manifest.mongodb.databases) {
    const db = client.db(dbName)
    // Views last: what they look at is there then.
    for (const record of collections.toSorted(
      (a, b) => Number(a.type === 'view') - Number(b.type === 'view'),
    )) {
      const { name } = record
      // The server makes its own ones itself.
      if (!name.startsWith('system.'))
        await db.command({ create: name, ...Object.fromEntries(fromEjson(record.options)) })
      const part = record.part === undefined ? undefined : parts.get(record.part)
      if (!part) continue
      const bson = readPart(path, part)
      const documents = dbName === 'admin' && name === VERSIONS ? withoutFcv(bson) : bson
      await insertAll(db, storedAs(record), documents, (batch) => count(`${dbName}.${name}`, batch))
      const specs = record.indexes.map(fromEjson)
      const wanted = specs.filter((i) => i.get('name') !== '_id_' && i.get('clustered') !== true)
      if (wanted.length > 0) await db.command({ createIndexes: name, indexes: wanted })
    }
  }
}

/** The documents of admin.system.version without the server's own. There are a few at most. */
async function* withoutFcv(bson: Bytes): Bytes {
  const pieces: Buffer[] = []
  for await (const piece of bson) pieces.push(piece)
  const all = Buffer.concat(pieces)
  for (let at = 0; at < all.length; at += all.readInt32LE(at)) {
    const document = all.subarray(at, at + all.readInt32LE(at))
    if (!isFcv(document)) yield document
  }
}

const isFcv = (document: Buffer): boolean =>
  field(document, '_id')?.toString('utf8', 4).startsWith('featureCompatibilityVersion') ?? false

/** Gives the server the feature compatibility version of the set, where it can have it. */
async function setFcv(client: MongoClient, { fcv }: MongoRecord): Promise<void> {
  const admin = client.db('admin')
  const { version } = await admin.command({ buildInfo: 1 })
  const now = await admin.command({ getParameter: 1, featureCompatibilityVersion: 1 })
  if (fcv === '' || now.featureCompatibilityVersion.version === fcv) return
  // A server knows its own and the one before it; a set that is older becomes its own.
  if (rank(fcv) < rank(String(version)) - 1) return
  const confirm = Number(String(version).split('.')[0]) >= 7 && { confirm: true }
  await admin.command({ setFeatureCompatibilityVersion: fcv, ...confirm })
}

/** Initiates the replica set with this one member, and waits until it is PRIMARY. */
async function initiate(client: MongoClient, { replicaSet, member }: MongoSettings): Promise<void> {
  const admin = client.db('admin')
  const config = { _id: replicaSet, members: [{ _id: 0, host: member }] }
  await admin.command({ replSetInitiate: config })
  for (const deadline = performance.now() + PRIMARY; ;) {
    interruption.getStore()?.throwIfAborted()
    const hello = await admin.command({ hello: 1 }, { promoteLongs: false }) // its counter must go back as a long
    if (hello.isWritablePrimary) return
    if (performance.now() > deadline)
      throw new Error(`MongoDB did not become PRIMARY as ${member} in ${PRIMARY / 1000} s`)
    const { topologyVersion } = hello
    // It answers when something has changed, or after a second.
    await admin.command({ hello: 1, topologyVersion, maxAwaitTimeMS: 1_000 })
  }
}

/**
 * What a server holds otherwise than a set, one sentence each. `counts`: names, types, options, indexes and numbers
 * of documents, which cost the same at any size. `digests`: every document is read, too.
 */
export async function unequal(
  client: MongoClient,
  { databases }: MongoRecord,
  how: 'counts' | 'digests',
): Promise<string[]> {
  const saved = databases.flatMap((d) => d.collections.map((c) => ({ db: d.name, record: c })))
  const found = new Map((await catalogue(client)).map((c) => [`${c.db}.${c.name}`, c]))
  const wrong: string[] = []
  for (const { db, record } of saved) {
    const name = `${db}.${record.name}`
    const is = found.get(name)
    found.delete(name)
    const what = is ? await difference(client, is, record, how) : 'it is missing'
    if (what !== undefined) wrong.push(`${name}: ${what}`)
  }
  for (const name of found.keys()) if (!isOwn(name)) wrong.push(`${name}: it was not in the set`)
  return wrong
}

/** What every server makes by itself. */
const isOwn = (name: string): boolean => name === `admin.${VERSIONS}`

async function difference(
  client: MongoClient,
  is: Collection,
  was: CollectionRecord,
  how: 'counts' | 'digests',
): Promise<string | undefined> {
  if (is.type !== was.type) return `it is a ${is.type} instead of a ${was.type}`
  if (is.options !== was.options) return `its options are ${is.options} instead of ${was.options}`
  const indexes = JSON.stringify(is.indexes)
  if (indexes !== JSON.stringify(was.indexes))
    return `its indexes are ${indexes} instead of ${JSON.stringify(was.indexes)}`
  if (is.type === 'view' || isOwn(`${is.db}.${is.name}`)) return undefined
  const db = client.db(is.db)
  if (how === 'counts') {
    const { n } = await db.command({ count: storedAs(is) })
    return n === was.documents ? undefined : `it has ${n} documents instead of ${was.documents}`
  }
  const digest = orderFree()
  let documents = 0
  for await (const batch of rawBatches(db, findAll(storedAs(is)))) {
    interruption.getStore()?.throwIfAborted()
    unwrap(batch, (document) => {
      digest.add(document)
      documents++
    })
  }
  if (documents !== was.documents) return `it has ${documents} documents instead of ${was.documents}`
  return digest.hex() === was.digest ? undefined : 'its documents are not those that were saved'
}
