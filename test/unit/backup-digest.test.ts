import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { BSON, Long, ObjectId } from 'mongodb'
import { documentsIn, ejson, unwrap } from '../../lib/backup/bson.ts'
import { fileName, metadataJson, type Collection } from '../../lib/backup/catalogue.ts'
import { orderFree } from '../../lib/backup/digest.ts'
import { difference } from '../../lib/backup/mongodb.ts'
import { rdbCheck } from '../../lib/backup/rdb.ts'
import { RDB } from './backup-fixture.ts'

const bson = (document: object): Buffer => Buffer.from(BSON.serialize(document))

test('the digest is the sum of the hashes modulo 2^256, whatever the order', () => {
  const things = Array.from({ length: 1_000 }, () => randomBytes(20))
  const [forward, backward] = [orderFree(), orderFree()]
  for (const t of things) forward.add(t)
  for (const t of things.toReversed()) backward.add(t)
  const sum = things.reduce((n, t) => n + BigInt(`0x${createHash('sha256').update(t).digest('hex')}`), 0n)
  assert.equal(forward.hex(), (sum % 2n ** 256n).toString(16).padStart(64, '0'))
  assert.equal(backward.hex(), forward.hex())
})

test('the digest counts each thing as often as it is, and notices a changed one', () => {
  const of = (...things: string[]): string => {
    const digest = orderFree()
    for (const t of things) digest.add(t)
    return digest.hex()
  }
  assert.equal(of(), '0'.repeat(64))
  assert.notEqual(of('a', 'a'), of('a'))
  assert.notEqual(of('a', 'a'), of())
  assert.notEqual(of('a', 'b'), of('a', 'c'))
})

test('canonical extended JSON keeps types, order and keys that look like numbers', () => {
  const document = bson(
    new Map<string, unknown>([
      ['b', new BSON.Int32(1)],
      ['10', new BSON.Double(5)],
      ['2', Long.fromNumber(7)],
      ['nested', new Map([['9', [true, null, 'q"']]])],
      ['id', new ObjectId('0123456789abcdef01234567')],
      ['re', new BSON.BSONRegExp('^a', 'ix')],
    ]),
  )
  assert.equal(
    ejson(document),
    '{"b":{"$numberInt":"1"},"10":{"$numberDouble":"5.0"},"2":{"$numberLong":"7"},' +
      '"nested":{"9":[true,null,"q\\""]},"id":{"$oid":"0123456789abcdef01234567"},' +
      '"re":{"$regularExpression":{"pattern":"^a","options":"ix"}}}',
  )
})

test('documents come out of a reply as they lie in it, and out of a file however it is cut', () => {
  const documents = Array.from({ length: 200 }, (_, i) => bson({ i, text: 'x'.repeat(i) }))
  const array = bson({ array: documents.map((d) => BSON.deserialize(d)) }).subarray(4 + 1 + 6, -1)
  const seen: Buffer[] = []
  const file = unwrap(array, (d) => seen.push(Buffer.from(d)))
  assert.deepEqual(seen, documents)
  assert.ok(file.equals(Buffer.concat(documents)))
  for (const step of [1, 3, 7, 1_000, file.length]) {
    const found: Buffer[] = []
    const next = documentsIn((d) => found.push(Buffer.from(d)))
    for (let at = 0; at < file.length; at += step) next(file.subarray(at, at + step))
    next()
    assert.deepEqual(found, documents)
  }
})

test('broken framing of documents is noticed', () => {
  const next = (): ReturnType<typeof documentsIn> => documentsIn(() => {})
  const cut = next()
  cut(bson({ a: 1 }).subarray(0, 9))
  assert.throws(() => cut(), /cut short/)
  assert.throws(() => next()(Buffer.from([3, 0, 0, 0, 0])), /damaged/)
  const wrongEnd = bson({ a: 1 })
  wrongEnd[wrongEnd.length - 1] = 1
  assert.throws(() => next()(wrongEnd), /damaged/)
})

test('files are named as mongodump names them', () => {
  assert.equal(fileName('User'), 'User')
  assert.equal(fileName('a/b c:$&+=@x'), 'a%2Fb%20c:$&+=@x')
  assert.equal(fileName("it's!(1)*~"), 'it%27s%21%281%29%2A~')
  assert.equal(fileName('\u00e9'), '%C3%A9')
  const long = fileName('\u00e9'.repeat(60))
  assert.equal(long.length, 238)
  assert.match(long, /%24[\w-]{27}$/)
})

const collection: Collection = {
  db: 'meeshy',
  name: 'User',
  type: 'collection',
  uuid: 'ab',
  options: '{}',
  indexes: ['{"v":1}'],
  capped: false,
}

test('metadata is what mongorestore reads', () => {
  assert.equal(
    metadataJson(collection),
    '{"indexes":[{"v":1}],"uuid":"ab","collectionName":"User","type":"collection"}',
  )
  const view = { ...collection, type: 'view' as const, uuid: '', indexes: [], options: '{"viewOn":"x"}' }
  assert.equal(
    metadataJson(view),
    '{"options":{"viewOn":"x"},"indexes":[],"collectionName":"User","type":"view"}',
  )
})

test('any difference between two catalogues is named', () => {
  assert.equal(difference([collection], [{ ...collection }]), undefined)
  assert.match(difference([collection], []) ?? '', /meeshy.User was dropped or renamed/)
  assert.match(difference([], [collection]) ?? '', /meeshy.User was created/)
  for (const change of [{ uuid: 'cd' }, { options: '{"a":1}' }, { indexes: [] }]) {
    assert.match(difference([collection], [{ ...collection, ...change }]) ?? '', /were changed/)
  }
})

test('a Redis snapshot is checked by its own checksum and tells its keys', () => {
  const check = (bytes: Buffer, step = bytes.length): ReturnType<ReturnType<typeof rdbCheck>['end']> => {
    const rdb = rdbCheck()
    for (let at = 0; at < bytes.length; at += step) rdb.see(bytes.subarray(at, at + step))
    return rdb.end()
  }
  for (const step of [1, 8, 9, 10, 1_000]) {
    assert.deepEqual(check(RDB, step), { version: 10, first: { keys: 2, expiring: 1 } })
  }
  for (let at = 0; at < RDB.length - 8; at++) {
    const flipped = Buffer.from(RDB)
    flipped[at] = (flipped[at] as number) ^ 4
    assert.throws(() => check(flipped), /Redis snapshot/, `byte ${at}`)
  }
  assert.throws(() => check(RDB.subarray(0, -1)), /cut short/)
  assert.throws(() => check(Buffer.alloc(0)), /no Redis snapshot/)
  const unchecked = Buffer.concat([RDB.subarray(0, -8), Buffer.alloc(8)]) // rdbchecksum no
  assert.equal(check(unchecked).version, 10)
})
