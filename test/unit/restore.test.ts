// What a restore decides and says, without a stack.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BSON } from 'mongodb'
import { ejson, fromEjson } from '../../lib/backup/bson.ts'
import { batches } from '../../lib/backup/insert.ts'
import type { ConfigRecord } from '../../lib/backup/manifest.ts'
import { Stop } from '../../lib/errors.ts'
import { whereOf } from '../../lib/restore/config.ts'
import { hasVolume, partsOf, partsText } from '../../lib/restore/parts.ts'
import { halfText, isHalf, type Restore } from '../../lib/restore/record.ts'
import { unequalKeys } from '../../lib/restore/redis.ts'
import { nextOf } from '../../lib/restore/standing.ts'

describe('canonical extended JSON as a command takes it', () => {
  const again = (document: Buffer): Buffer => Buffer.from(BSON.serialize(fromEjson(ejson(document))))
  const same = (name: string, document: unknown): Promise<void> =>
    test(name, () => {
      const bytes = Buffer.from(BSON.serialize(document as Map<string, unknown>))
      assert.deepEqual(again(bytes), bytes)
    })

  void same(
    'keys that look like numbers stay in their order',
    new Map([
      ['b', new BSON.Int32(1)],
      ['10', new BSON.Int32(1)],
      ['2', new BSON.Int32(-1)],
    ]),
  )
  void same('numbers keep their types', {
    int: new BSON.Int32(5),
    long: BSON.Long.fromString('5'),
    double: new BSON.Double(5),
    zero: new BSON.Double(-0),
    decimal: BSON.Decimal128.fromString('5.00'),
  })
  void same('a pipeline, whose stages begin with $', {
    viewOn: 'User',
    pipeline: [
      { $match: { $expr: { $eq: ['$a', 'x": 1'] } } },
      {
        $project: new Map([
          ['2', new BSON.Int32(1)],
          ['1', new BSON.Int32(1)],
        ]),
      },
    ],
  })
  void same('texts that look like JSON', { a: '{"k": "v"}', 'quote" : key': 'x\\', '': '\u0000' })
  void same('dates, ids, binary, expressions', {
    at: new Date(0),
    id: new BSON.ObjectId('0123456789abcdef01234567'),
    bytes: new BSON.Binary(Buffer.from([1, 2]), 5),
    expression: new BSON.BSONRegExp('a', 'i'),
    min: new BSON.MinKey(),
    nothing: null,
    list: [true, [], new Map()],
  })
})

describe('batches of documents', () => {
  const document = (bytes: number): Buffer => Buffer.from(BSON.serialize({ x: Buffer.alloc(bytes) }))
  async function* inPieces(all: Buffer, size: number): AsyncGenerator<Buffer> {
    for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size)
  }

  test('whole documents, at most so many bytes, all of them in their order', async () => {
    const documents = [10, 5_000_000, 4_000_000, 10, 9_000_000, 3].map(document)
    const all = Buffer.concat(documents)
    for (const size of [1_000_003, 64_000, all.length]) {
      const found = []
      for await (const batch of batches(inPieces(all, size))) found.push(batch)
      assert.deepEqual(Buffer.concat(found.map((b) => b.bytes)), all)
      assert.deepEqual(
        found.map((b) => b.documents),
        [2, 2, 1, 1],
      )
    }
  })

  test('a stream that ends inside of a document is an error', async () => {
    const all = document(100)
    await assert.rejects(async () => {
      for await (const _ of batches(inPieces(all.subarray(0, 50), 7)));
    }, /cut short/)
  })
})

describe('--parts', () => {
  test('all data when nothing is said; data with more; single ones', () => {
    assert.equal(partsText(partsOf(undefined)), 'MongoDB, Redis, every volume')
    assert.equal(partsText(partsOf('data,config')), 'MongoDB, Redis, every volume, configuration')
    const some = partsOf('redis, volume:gateway_uploads')
    assert.equal(partsText(some), 'Redis, volume gateway_uploads')
    assert.equal(hasVolume(some, { key: 'gateway_uploads', name: 'x_gateway_uploads' }), true)
    assert.equal(hasVolume(some, { key: 'other', name: 'x_other' }), false)
  })
  for (const text of ['', 'mongo', 'volume:', 'redis,,mongodb', 'Redis'])
    test(`'${text}' is refused`, () =>
      assert.throws(
        () => partsOf(text),
        (e) => e instanceof Stop && e.code === 2,
      ))
})

describe('where configuration goes', () => {
  const record = (name: string, source = '/x'): ConfigRecord => ({
    name,
    source,
    mode: 0o600,
    uid: 0,
    gid: 0,
  })
  test('into STACK_DIR, wherever that is now; from elsewhere where it was', () => {
    assert.equal(whereOf(record('config/secrets/a', '/old/secrets/a'), '/new'), '/new/secrets/a')
    assert.equal(whereOf(record('config/_outside/etc/x.conf', '/etc/x.conf'), '/new'), '/etc/x.conf')
  })
  for (const [name, source] of [
    ['config/../x', '/x'],
    ['config/a/../../x', '/x'],
    ['config/_outside/etc/x', '/etc/passwd'],
    ['config/_outside/../etc/x', '/etc/x'],
    ['volumes/x', '/x'],
    ['config/', '/x'],
  ] as const)
    test(`${name} from ${source} is refused`, () =>
      assert.throws(() => whereOf(record(name, source), '/new'), /refused/))
})

describe('a restore that was killed', () => {
  const restore = (more: Partial<Restore>): Restore => ({
    stamp: '20270101_000001',
    set: '/b/pre-update-x.tar.gz',
    name: 'pre-update-x',
    parts: partsOf(undefined),
    phase: 'swapping',
    keepStopped: false,
    targets: [],
    touched: [],
    ran: [],
    healthy: [],
    volumes: [],
    made: [],
    files: [],
    images: [],
    ...more,
  })
  test('half: both ways; on its way back: only back; what was there given up: only forward', () => {
    const [resume, abort] = ['task restore -- --resume', 'task restore -- --abort']
    assert.deepEqual(nextOf(restore({})), [resume, abort])
    assert.deepEqual(nextOf(restore({ backwards: true })), [abort])
    assert.deepEqual(nextOf(restore({ room: { made: true } })), [resume])
    assert.deepEqual(nextOf(restore({ room: { made: true, scratch: '/s' } })), [resume, abort])
    assert.deepEqual(nextOf(restore({ phase: 'undoing' })), [resume, abort])
    for (const half of [restore({}), restore({ backwards: true }), restore({ room: { made: true } })])
      for (const line of nextOf(half)) assert.ok(halfText(half).includes(line), line)
  })
  test('what is at an end is not half', () => {
    assert.deepEqual(
      (['preparing', 'swapping', 'swapped', 'undoing', 'undone'] as const).map((phase) =>
        isHalf(restore({ phase })),
      ),
      [false, true, false, true, false],
    )
  })
})

test('keys of Redis: those that do not expire must all be there', () => {
  const was = {
    version: '7',
    rdbVersion: 10,
    keys: 10,
    expiring: 4,
    exact: true,
    appendOnly: false,
    dir: '',
    file: '',
    savedAt: '',
  }
  assert.equal(unequalKeys({ keys: 7, expiring: 1 }, was), undefined)
  assert.match(unequalKeys({ keys: 9, expiring: 4 }, was) ?? '', /5 keys that do not expire instead of 6/)
  assert.equal(unequalKeys({ keys: 0, expiring: 0 }, { ...was, exact: false }), undefined)
})
