// What a MongoDB server takes and a careless copy would change: names, options, indexes, and documents made byte by
// byte.
import { randomBytes } from 'node:crypto'
import { BSON, ObjectId, type Db, type Document, type MongoClient } from 'mongodb'
import { insertRaw } from './load-dump.ts'

const { Decimal128, Double, Int32, Long, MaxKey, MinKey, Timestamp, UUID } = BSON

/** Names of collections and databases that the server takes. */
export const NAMES = {
  collections: [
    "it's",
    'say "hi"',
    'new\nline',
    '-rf',
    '%41%2F',
    'a/b/../c',
    'tab\t',
    ' ',
    'a\\b',
    '`id`',
    ';ls&|',
    ':~*?[x]',
    'a.metadata',
    'ends.bson',
    'dot.',
    '\u0001',
    '日本語 😀',
    'ü'.repeat(100),
    'n'.repeat(230),
    `${'n'.repeat(229)}o`,
  ],
  databases: ["it's", 'new\nline', '-rf', '%41%', '`id`', ';ls', '日本', 'n'.repeat(63), '*~|:'],
}

/** Fills a server that is the primary of a replica set. */
export async function fillHard(client: MongoClient): Promise<void> {
  for (const name of NAMES.databases) await client.db(name).collection('x').insertOne({ name })
  for (const name of NAMES.collections) await client.db('names').collection(name).insertOne({ name })
  await documents(client.db('documents'))
  await options(client.db('options'))
  await indexes(client.db('indexes'))
  await usersAndRoles(client)
}

async function documents(db: Db): Promise<void> {
  await insertRaw(db, 'types', [everyType(), duplicateKeys(), oddKeys(), deep(90)])
  const ids: unknown[] = [
    new Int32(1),
    new Double(2.5),
    new Double(-0),
    Long.fromString('1152921504606846976'),
    Decimal128.fromString('0.10'),
    'text',
    '',
    new ObjectId(),
    new Date(0),
    true,
    null,
    new UUID(),
    new Map([
      ['b', 1],
      ['10', 2],
      ['2', 3],
    ]),
    new MinKey(),
    new MaxKey(),
    new Timestamp({ t: 1, i: 1 }),
    new BSON.Code('f()'),
    Buffer.from('bytes'),
  ]
  await db.collection<{ _id: unknown }>('ids').insertMany(ids.map((_id) => ({ _id })))
  const large = (_id: number): Document => ({ _id, bytes: randomBytes(15 * 2 ** 20) })
  for (let i = 0; i < 2; i++) await db.collection('large').insertOne(large(i))
  const small = Array.from({ length: 30_000 }, (_, i) => ({ i, text: `${i} `.repeat(100) }))
  await db.collection('many').insertMany(small)
  await db.createCollection('empty')
}

// BSON by hand (https://bsonspec.org/spec.html).
const int32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(n)
  return bytes
}
const int64 = (n: bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(n)
  return bytes
}
const hex = (digits: string): Buffer => Buffer.from(digits, 'hex')
const zero = Buffer.alloc(1)
const string = (text: string | Buffer): Buffer =>
  Buffer.concat([int32(Buffer.byteLength(text) + 1), Buffer.from(text), zero])
const element = (type: number, name: string | Buffer, ...value: Buffer[]): Buffer =>
  Buffer.concat([Buffer.of(type), Buffer.from(name), zero, ...value])
const document = (...elements: Buffer[]): Buffer => {
  const body = Buffer.concat(elements)
  return Buffer.concat([int32(body.length + 5), body, zero])
}
const binary = (subtype: number, bytes: Buffer): Buffer =>
  Buffer.concat([int32(bytes.length), Buffer.of(subtype), bytes])

function everyType(): Buffer {
  const oid = hex('0123456789abcdef01234567')
  const numeric = document(
    element(0x10, 'b', int32(1)),
    element(0x10, '10', int32(2)),
    element(0x10, '2', int32(3)),
  )
  return document(
    element(0x10, '_id', int32(1)),
    element(0x01, 'five', hex('0000000000001440')),
    element(0x01, 'minus zero', hex('0000000000000080')),
    element(0x01, 'a NaN of its own', hex('010000000000f47f')),
    element(0x01, 'infinite', hex('000000000000f0ff')),
    element(0x02, 'text', string('zero\0inside')),
    element(0x02, 'not UTF-8', string(hex('ff00fec0'))),
    element(0x03, '10', numeric),
    element(0x04, '2', document(element(0x08, '0', zero), element(0x0a, '1'))),
    element(0x04, 'odd indexes', document(element(0x08, '7', zero), element(0x08, 'x', zero))),
    ...[0, 1, 3, 4, 5, 0x80].map((s) => element(0x05, `binary ${s}`, binary(s, randomBytes(16)))),
    element(0x05, 'binary 2', binary(2, Buffer.concat([int32(3), hex('010203')]))),
    element(0x06, 'undefined'),
    element(0x07, 'id', oid),
    element(0x08, 'true', Buffer.of(1)),
    element(0x09, 'date', int64(1_700_000_000_000n)),
    element(0x09, 'earliest', int64(-(2n ** 63n))),
    element(0x09, 'latest', int64(2n ** 63n - 1n)),
    element(0x0a, 'null'),
    element(0x0b, 'regex', Buffer.from('^a\\/\0imsx\0')),
    element(0x0c, 'pointer', string('meeshy.User'), oid),
    element(0x0d, 'code', string('function () {}')),
    element(0x0e, 'symbol', string('symbol')),
    element(0x0f, 'scoped', int32(4 + string('f').length + numeric.length), string('f'), numeric),
    element(0x10, 'int32', int32(-(2 ** 31))),
    element(0x03, 'nested', document(element(0x11, 'timestamp 0', int64(0n)))),
    element(0x11, 'timestamp', int64(2n ** 32n * 7n + 9n)),
    element(0x12, 'int64', int64(5n)),
    element(0x13, 'decimal', hex('01000000000000000000000000003e30')),
    element(0x13, 'decimal NaN', hex('ffffffffffffffffffffffffffffff7f')),
    element(0xff, 'least'),
    element(0x7f, 'most'),
    element(0x03, 'ref', document(element(0x07, '$id', oid), element(0x02, '$ref', string('User')))),
    element(0x03, 'dbref', document(element(0x02, '$ref', string('User')), element(0x07, '$id', oid))),
  )
}

const duplicateKeys = (): Buffer =>
  document(
    element(0x10, '_id', int32(2)),
    element(0x10, 'a', int32(1)),
    element(0x12, 'a', int64(1n)),
    element(0x03, 'sub', document(element(0x0a, 'n'), element(0x10, 'n', int32(2)))),
    element(0x02, 'a', string('three')),
  )

const oddKeys = (): Buffer =>
  document(
    element(0x10, '_id', int32(3)),
    ...['', 'a.b', '$set', '-', '10', '9', '__proto__', 'new\nline'].map((key) =>
      element(0x10, key, int32(1)),
    ),
    element(0x10, hex('fffe'), int32(1)),
  )

function deep(levels: number): Buffer {
  let inner = document(element(0x10, 'n', int32(0)))
  for (let i = 0; i < levels; i++) inner = document(element(0x03, 'd', inner))
  return document(element(0x10, '_id', int32(4)), element(0x03, 'd', inner))
}

async function options(db: Db): Promise<void> {
  const create = (name: string, more: Document): Promise<Document> => db.command({ create: name, ...more })
  await db.collection('plain').insertMany([{ a: 1 }, { a: 2 }])
  const bounds = new Map<string, unknown>([
    ['b', { $gte: new Double(5), $lt: Long.fromNumber(7) }],
    ['10', { $regex: new BSON.BSONRegExp('^a/"b', 'ix') }],
    ['2', { $in: [Decimal128.fromString('1.50'), new Date(0), new ObjectId(), new MinKey(), null, 'q"\\'] }],
  ])
  await create('validated', {
    validator: { $or: [{ $jsonSchema: { bsonType: 'object', required: ['name'] } }, bounds] },
    validationLevel: 'moderate',
    validationAction: 'error',
  })
  await insertRaw(db, 'validated', [document(element(0x10, '_id', int32(1)))]) // older than its rule
  await create('collated', { collation: { locale: 'fr', strength: 1, caseLevel: true } })
  await db.collection<{ _id: unknown }>('collated').insertMany([{ _id: 'é' }, { _id: 'z' }])
  await create('capped', { capped: true, size: 2 ** 16, max: 50 })
  await db.collection('capped').insertMany(Array.from({ length: 80 }, (_, i) => ({ i })))
  await create('clustered', { clusteredIndex: { key: { _id: 1 }, unique: true, name: 'by its own' } })
  await db.collection('clustered').insertMany([{ a: 1 }, { a: 2 }])
  await create('clustered_ttl', {
    clusteredIndex: { key: { _id: 1 }, unique: true },
    expireAfterSeconds: 10_000,
  })
  await create('images', { changeStreamPreAndPostImages: { enabled: true } })
  await db.collection('images').insertOne({ a: 1 })
  await db.collection('images').updateOne({ a: 1 }, { $set: { a: 2 } })
  await create('engine', {
    storageEngine: { wiredTiger: { configString: 'block_compressor=zlib' } },
    indexOptionDefaults: { storageEngine: { wiredTiger: { configString: 'prefix_compression=false' } } },
  })

  await create('series', { timeseries: { timeField: 't', metaField: 'm', granularity: 'minutes' } })
  const measured = Array.from({ length: 300 }, (_, i) => ({
    t: new Date(1_700_000_000_000 + i * 60_000),
    m: { sensor: i % 3 },
    value: i / 2,
  }))
  await db.collection('series').insertMany(measured)
  await db.collection('series').createIndex({ 'm.sensor': 1, t: -1 })
  await create('series_empty', { timeseries: { timeField: 't' }, expireAfterSeconds: 3_600 })

  const pipeline = [{ $match: bounds }, { $project: { name: 1, _id: 0 } }]
  const collation = { locale: 'de' }
  await create('view', { viewOn: 'plain', pipeline, collation })
  await create('view_on_view', { viewOn: 'view', pipeline: [{ $limit: 3 }], collation })
  await create('a_view_on_both', { viewOn: 'view_on_view', pipeline: [], collation })
  await create('a_view_of_nothing', { viewOn: 'not there', pipeline: [] })
  await db
    .collection<{ _id: string; value: unknown }>('system.js')
    .insertOne({ _id: 'f', value: new BSON.Code('() => 1') })
}

async function indexes(db: Db): Promise<void> {
  const all: Readonly<Record<string, readonly Document[]>> = {
    ordinary: [
      { key: { a: 1, b: new Double(-1) }, name: 'unique', unique: true, sparse: true },
      { key: new Map('b 10 2'.split(' ').map((k, i) => [k, i === 1 ? -1 : 1])), name: 'numbers' },
      {
        key: { p: 1 },
        name: 'partial',
        partialFilterExpression: { p: { $type: 'string' }, n: { $gt: Long.ONE } },
      },
      { key: { expires: 1 }, name: 'ttl', expireAfterSeconds: 3_600 },
      { key: { h: 1 }, name: 'hidden', hidden: true },
      { key: { c: 1 }, name: 'collation', collation: { locale: 'fr', strength: 2 } },
      { key: { later: 1 }, name: 'prepared', prepareUnique: true },
      { key: { x: 'hashed' }, name: 'hashed' },
      { key: { 'we"ird $x': 1, 'a.10.b': 1 }, name: 'it\'s "odd" \n $(x) %41' },
    ],
    text: [
      {
        key: { title: 'text', body: 'text', after: 1 },
        name: 'text',
        weights: { title: 10, body: 2 },
        default_language: 'french',
        language_override: 'lang',
      },
    ],
    places: [
      { key: { at: '2dsphere', kind: 1 }, name: 'sphere' },
      { key: { flat: '2d' }, name: 'flat', min: -500, max: 500, bits: 20 },
    ],
    wild: [
      { key: { '$**': 1 }, name: 'all', wildcardProjection: { a: 1, 'b.c': 1 } },
      { key: { 'sub.$**': 1 }, name: 'below' },
    ],
  }
  for (const [name, specs] of Object.entries(all)) {
    await db
      .collection(name)
      .insertMany([{ a: 1 }, { a: 2, p: 'x', at: { type: 'Point', coordinates: [1, 2] } }])
    await db.command({ createIndexes: name, indexes: specs })
  }
}

async function usersAndRoles(client: MongoClient): Promise<void> {
  const admin = client.db('admin')
  const privileges = [{ resource: { db: 'documents', collection: "it's" }, actions: ['find'] }]
  await admin.command({ createRole: 'auditor', privileges, roles: ['read'] })
  await client.db('meeshy').command({ createRole: 'own', privileges: [], roles: [] })
  await admin.command({ createUser: 'boss', pwd: 'a long password', roles: ['root', 'auditor'] })
  await client.db('meeshy').command({ createUser: "o'$(x)", pwd: 'another one', roles: ['own'] })
  await admin.collection('of_ours').insertOne({ a: 1 })
}
