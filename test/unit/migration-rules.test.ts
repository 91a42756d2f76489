import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  BSON,
  BSONSymbol,
  Binary,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  Timestamp,
  type Document,
} from 'mongodb'
import { decode, replacedByServer } from '../../migration/decode.ts'
import { parseSchema } from '../../migration/dmmf.ts'
import { rulesOf, unknownIn, wrongIn } from '../../migration/rules.ts'
import { dateFromText, intOf, typeOf } from '../../migration/values.ts'
import { hardValues } from '../stack/data/hard-values.ts'
import { RULES, SCHEMA, oid } from './migration-fixture.ts'

const HEAD = SCHEMA.slice(SCHEMA.indexOf('datasource'), SCHEMA.indexOf('generator'))
const SMALL = `${HEAD}
enum Color {
  red
  green
}
model Thing {
  id      String   @id @default(auto()) @map("_id") @db.ObjectId
  name    String   @map("title")
  status  String   @default("new")
  owner   String?  @db.ObjectId
  color   Color?
  count   Int?
  huge    BigInt?
  share   Float?
  done    Boolean?
  at      DateTime?
  made    DateTime @default(now())
  changed DateTime @updatedAt
  extra   Json?
  raw     Bytes?
  tags    String[]
  owners  String[] @db.ObjectId
}`
const thing = rulesOf(parseSchema(SMALL)).get('Thing')
const good = (): Document => ({
  _id: oid(1),
  title: 'x',
  status: 'new',
  made: new Date(0),
  changed: new Date(0),
})

function wrong(fields: Document): string[] {
  assert.ok(thing)
  return wrongIn(thing, { ...good(), ...fields })
}

describe('the rules of a schema', () => {
  test('a document that obeys them', () => {
    assert.deepEqual(wrong({}), [])
  })

  // The table of what the query engine demands when it reads, field by field.
  const FITTING: readonly [string, Document][] = [
    ['String: text, ObjectId', { title: oid(2) }],
    ['an optional field: missing or null', { owner: null, color: null, count: null, at: null }],
    ['a list: missing or null', { tags: null }],
    ['a list', { tags: ['a', ''], owners: [oid(3)] }],
    ['ObjectId', { owner: oid(4) }],
    ['enum', { color: 'green' }],
    ['Int: Int32', { count: new Int32(-5) }],
    ['Int: Int64 in range', { count: Long.fromNumber(2 ** 31 - 1) }],
    ['Int: a whole Double', { count: new Double(5) }],
    ['BigInt: Int32, Int64', { huge: Long.fromString('9007199254740993') }],
    ['Float: Double', { share: new Double(0.5) }],
    ['Float: Int32', { share: new Int32(1) }],
    ['Float: Int64', { share: Long.fromNumber(1) }],
    ['Boolean', { done: false }],
    ['DateTime: Date', { at: new Date(-1) }],
    ['DateTime: Timestamp', { at: new Timestamp({ t: 1, i: 1 }) }],
    ['Json: anything', { extra: { $a: [new MaxKey(), null] } }],
    ['Bytes: Binary', { raw: new Binary(Buffer.from('x')) }],
    ['Bytes: ObjectId', { raw: oid(5) }],
    ['a field that no model knows', { other: 1 }],
  ]
  for (const [what, fields] of FITTING) test(`fits: ${what}`, () => assert.deepEqual(wrong(fields), []))

  const BREAKING: readonly [string, Document, RegExp][] = [
    ['a required field that is missing', { title: undefined }, /^Thing\.title is required, and missing$/],
    ['a required field that is null', { title: null }, /^Thing\.title is required, and null$/],
    ['a static default that is not stored', { status: null }, /Thing\.status is required/],
    ['now() that is not stored', { made: undefined }, /Thing\.made is required/],
    ['@updatedAt that is not stored', { changed: null }, /Thing\.changed is required/],
    ['no _id', { _id: undefined }, /Thing\._id is required/],
    ['an _id of another type', { _id: 'click-1' }, /Thing\._id is of type string, and wants ObjectId/],
    ['an ObjectId as text', { owner: 'a'.repeat(24) }, /owner is of type string, and wants ObjectId/],
    [
      'Int: a Double with a fraction',
      { count: new Double(2.5) },
      /count is a double that is no whole number/,
    ],
    [
      'Int: out of range',
      { count: Long.fromNumber(2 ** 31) },
      /count is a long that is no whole number in range/,
    ],
    ['Int: NaN', { count: new Double(NaN) }, /count/],
    ['Int: Boolean', { count: true }, /count is of type bool/],
    ['Int: Decimal128', { count: Decimal128.fromString('5') }, /count is of type decimal/],
    ['BigInt: Double', { huge: new Double(5) }, /huge/],
    [
      'Float: Decimal128',
      { share: Decimal128.fromString('1.10') },
      /share is of type decimal, and wants Float/,
    ],
    ['Boolean: a number', { done: 1 }, /done is of type int, and wants Boolean/],
    ['DateTime: text', { at: '2025-11-03T10:20:30.000Z' }, /at is of type string, and wants DateTime/],
    ['DateTime: a date out of range', { at: new Date(NaN) }, /at is a date out of range/],
    ['String: a symbol', { title: new BSONSymbol('x') }, /title is of type symbol/],
    ['Bytes: text', { raw: 'x' }, /raw is of type string/],
    ['enum: outside', { color: 'blue' }, /color is "blue", and not one of red, green/],
    ['enum: other capitals', { color: 'RED' }, /color is "RED"/],
    ['a list: one value', { tags: 'a' }, /tags is of type string, and wants a list of String/],
    ['a list: null inside', { tags: ['a', null] }, /tags is of type null.*in the list/],
    ['a list: a list inside', { tags: [['a']] }, /tags is of type array/],
    ['a list of ObjectIds: text', { owners: ['a'.repeat(24)] }, /owners is of type string/],
  ]
  for (const [what, fields, sentence] of BREAKING)
    test(`breaks: ${what}`, () => {
      const said = wrong(fields)
      assert.equal(said.length, 1, said.join('; '))
      assert.match(said[0] ?? '', sentence)
    })

  test('a sentence shows no value but a part of an enum’s', () => {
    assert.ok(!wrong({ at: 'a secret' }).join().includes('secret'))
    assert.ok((wrong({ color: 'x'.repeat(1000) })[0]?.length ?? 0) < 150)
  })

  test('fields that the model lacks', () => {
    assert.ok(thing)
    assert.deepEqual(unknownIn(thing, { ...good(), name: 'x', id: 1 }), ['name', 'id'])
  })

  test('names, collections, references and keys', () => {
    assert.equal(RULES.get('UserPreference')?.collection, 'user_preference')
    assert.deepEqual(
      RULES.get('Message')?.references.map((r) => `${r.field} ${r.to}.${r.toField} ${r.isRequired}`),
      [
        'replyToId Message._id false',
        'anonymousSenderId AnonymousParticipant._id false',
        'senderId User._id false',
        'conversationId Conversation._id true',
      ],
    )
    assert.deepEqual(
      RULES.get('Reaction')
        ?.indexes.flatMap((i) => (i.isUnique ? i.name : []))
        .toSorted(),
      ['Reaction_messageId_anonymousId_emoji_key', 'Reaction_messageId_userId_emoji_key'],
    )
  })

  test('what cannot be judged is refused', () => {
    const model = (line: string): string => `${HEAD}\nmodel A {\n id String @id @map("_id")\n ${line}\n}\n`
    assert.throws(
      () => rulesOf(parseSchema(`${model('b B')}type B {\n x Int\n}`)),
      /A\.b is a composite type/,
    )
    assert.throws(() => rulesOf(parseSchema(HEAD)), /has no model/)
  })
})

describe('values', () => {
  test('the type is that of the class, never that of a field', () => {
    assert.equal(typeOf({ _bsontype: 'ObjectId', id: 'x' }), 'object')
    assert.equal(typeOf(new Timestamp({ t: 1, i: 1 })), 'timestamp')
    assert.equal(typeOf(-0), 'double')
    assert.equal(typeOf(new Map()), 'object')
    assert.equal(
      typeOf(() => 1),
      'unknown',
    )
  })

  test('whole numbers in the range of an Int', () => {
    const numbers = [new Double(5), Long.fromNumber(5), new Int32(5), 5, 5n]
    assert.deepEqual(numbers.map(intOf), [5, 5, 5, 5, 5])
    assert.ok(Object.is(intOf(new Double(-0)), 0))
    for (const other of [
      5.5,
      2 ** 31,
      -(2 ** 31) - 1,
      NaN,
      Infinity,
      Long.fromString('9007199254740993'),
      '5',
      true,
      null,
    ])
      assert.equal(intOf(other), undefined, String(other))
  })

  test('ISO 8601 text that names one moment', () => {
    const moment = '2025-11-03T10:20:30.456Z'
    assert.equal(dateFromText(moment)?.toISOString(), moment)
    assert.equal(dateFromText('2025-11-03T10:20:30Z')?.toISOString(), '2025-11-03T10:20:30.000Z')
    assert.equal(dateFromText('2025-11-03T12:20:30.456+02:00')?.toISOString(), moment)
    assert.equal(dateFromText('2025-11-03T04:50:30.456-05:30')?.toISOString(), moment)
    assert.equal(dateFromText('2025-11-03T10:20:30.456000Z')?.toISOString(), moment)
    assert.equal(dateFromText('2025-11-03T10:20:30.4Z')?.getUTCMilliseconds(), 400)
    assert.equal(dateFromText('0099-03-01T00:00:00Z')?.toISOString(), '0099-03-01T00:00:00.000Z')
    assert.equal(dateFromText('2024-02-29T00:00:00Z')?.getUTCDate(), 29)
  })

  test('text that names none, or several', () => {
    const others = [
      'hier',
      '',
      '2025-11-03',
      '2025-11-03T10:20:30',
      '2025-11-03 10:20:30Z',
      '1762165230',
      '03/11/2025',
      '2025-02-29T00:00:00Z',
      '2025-13-01T00:00:00Z',
      '2025-11-00T00:00:00Z',
      '2025-11-03T24:00:00Z',
      '2025-11-03T10:60:00Z',
      '2025-11-03T10:20:60Z',
      '2025-11-03T10:20:30.4567Z',
      '2025-11-03T10:20:30+15:00',
      ' 2025-11-03T10:20:30Z',
      '2025-11-03T10:20:30Z\n',
    ]
    for (const text of others) assert.equal(dateFromText(text), undefined, JSON.stringify(text))
  })
})

describe('decoding', () => {
  const read = (doc: Document | Map<string, unknown>) => decode(BSON.serialize(doc))

  test('hard values are faithful, in sub-documents and lists', () => {
    const bytes = BSON.serialize(
      new Map<string, unknown>([
        ['_id', 1],
        ['a', [hardValues()]],
        ['b', hardValues()],
      ]),
    )
    const decoded = decode(bytes)
    assert.ok('doc' in decoded && decoded.isFaithful)
    assert.deepEqual([...(decoded.doc['b'] as Map<string, unknown>).keys()].slice(0, 3), ['b', '10', '2'])
    assert.deepEqual(BSON.serialize(decoded.doc), bytes)
  })

  test('a sub-document that looks like a class of the driver is data', () => {
    const decoded = read(
      new Map<string, unknown>([
        [
          'a',
          new Map<string, unknown>([
            ['_bsontype', 'ObjectId'],
            ['id', 'x'],
          ]),
        ],
      ]),
    )
    assert.ok('doc' in decoded && decoded.isFaithful)
    assert.deepEqual(
      [...(decoded.doc['a'] as Map<string, unknown>)],
      [
        ['_bsontype', 'ObjectId'],
        ['id', 'x'],
      ],
    )
  })

  test('__proto__ is a field as any other', () => {
    const decoded = read(new Map<string, unknown>([['__proto__', new Map([['role', 'ADMIN']])]]))
    assert.ok('doc' in decoded && decoded.isFaithful)
    assert.deepEqual(Object.keys(decoded.doc), ['__proto__'])
    assert.equal((decoded.doc as { role?: string }).role, undefined)
  })

  test('what cannot be written back is known', () => {
    const twice = Buffer.from(BSON.serialize({ a: 1, b: 2 }))
    twice[twice.indexOf('b\0')] = 'a'.charCodeAt(0)
    const old = Buffer.from(BSON.serialize({ a: null }))
    old[4] = 6 // undefined
    const far = BSON.serialize({ a: Long.fromString('9000000000000000000') })
    far[4] = 9 // a date
    for (const bytes of [twice, old, far]) {
      const decoded = decode(bytes)
      assert.ok('doc' in decoded && !decoded.isFaithful)
    }
  })

  test('bytes that are no document are unreadable', () => {
    const words = Buffer.from(BSON.serialize({ a: 'x' }))
    words[words.indexOf('x')] = 0xff
    for (const bytes of [
      words,
      Buffer.alloc(0),
      Buffer.from('hello'),
      BSON.serialize({ a: 1 }).subarray(0, 8),
    ])
      assert.ok('unreadable' in decode(bytes))
  })

  test('what the server would replace', () => {
    const zero = new Timestamp({ t: 0, i: 0 })
    assert.deepEqual(replacedByServer({ a: zero, b: { c: zero }, d: new Timestamp({ t: 1, i: 0 }) }), ['a'])
  })
})
