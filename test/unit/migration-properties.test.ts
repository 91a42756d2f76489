// Properties of T that hold for any document, tried on random ones, and that it can be a function of nothing else.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { after, before, describe, test } from 'node:test'
import {
  BSON,
  BSONRegExp,
  BSONSymbol,
  Binary,
  Code,
  DBRef,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
} from 'mongodb'
import { ROOT } from '../../lib/env.ts'
import { decode } from '../../migration/decode.ts'
import { PLAN } from '../../migration/plan.ts'
import { REPAIRS } from '../../migration/repairs.ts'
import { unknownIn, wrongIn, type FieldRule, type Fields } from '../../migration/rules.ts'
import { treat, type Treated } from '../../migration/treat.ts'
import { hardValues } from '../stack/data/hard-values.ts'
import { sequence } from '../stack/data/random.ts'
import { T, loaded, modelOf, oid } from './migration-fixture.ts'

const SEEDS = Number(process.env['MIGRATION_SEEDS'] ?? 150) // documents of each kind for each collection
const COLLECTIONS = Object.keys(PLAN.collections).filter((name) => loaded(name))

/** A value of each BSON type, and those that are nearly another one. */
const VALUES: readonly (() => unknown)[] = [
  () => null,
  () => '',
  () => 'x',
  () => 'MODO',
  () => 'hier',
  () => '2025-11-03T10:20:30.000Z',
  () => '2025-11-03',
  () => 'ABCDEF0123456789abcdef01',
  () => '__proto__',
  () => true,
  () => false,
  () => new Int32(0),
  () => new Int32(-7),
  () => new Double(5),
  () => new Double(2.5),
  () => new Double(-0),
  () => new Double(NaN),
  () => new Double(Infinity),
  () => Long.fromNumber(7),
  () => Long.fromString('9007199254740993'),
  () => Decimal128.fromString('1.10'),
  () => new Date(1_762_165_230_456),
  () => new Date(-62_135_596_800_000),
  () => new Timestamp({ t: 1, i: 1 }),
  () => new Timestamp({ t: 0, i: 0 }),
  () => oid(1_762_165_230),
  () => new Binary(Buffer.from('bytes')),
  () => new Binary(Buffer.from('old'), 2),
  () => new Binary(Buffer.alloc(16, 7), 4),
  () => new BSONRegExp('^a', 'ix'),
  () => new BSONSymbol('s'),
  () => new Code('f()'),
  () => new Code('f()', { a: 1 }),
  () => new DBRef('User', oid(1)),
  () => new MinKey(),
  () => new MaxKey(),
  () => [],
  () => [null],
  () => ['a', 5, [oid(2)]],
  () => ({}),
  () => ({ $where: 1, 'a.b': [{}] }),
  () =>
    new Map([
      ['_bsontype', 'ObjectId'],
      ['id', 'x'],
    ]),
  () => hardValues(),
  () =>
    new Map([
      ['10', 1],
      ['2', 2],
      ['b', 3],
    ]),
]

/** Legacy fields without a home, fields of relations, and names that are hard. */
const OTHERS = [
  'lastSeen lastSeenAt image isArchived anonymousUserId cacheKey sourceLanguage emailVerified phoneVerified'.split(
    ' ',
  ),
  'twoFactorEnabled encryptionPreference id sender user translations __proto__ constructor toString a.b $set'.split(
    ' ',
  ),
  ['', ' ', '10', '2', 'é', 'role ', 'Role'],
].flat()

type Next = () => number
const pick = <X>(next: Next, list: readonly X[]): X => list[Math.floor(next() * list.length)] as X

/** A value that the field can hold. */
function proper(next: Next, field: FieldRule): unknown {
  const one = (): unknown => {
    switch (field.type) {
      case 'ObjectId':
        return oid(1 + Math.floor(next() * 2 ** 30))
      case 'String':
        return pick(next, ['', 'x', 'fr', 'été 🫶', 'a'.repeat(200)])
      case 'Boolean':
        return next() < 0.5
      case 'Int':
        return new Int32(Math.floor(next() * 100))
      case 'BigInt':
        return Long.fromNumber(Math.floor(next() * 2 ** 40))
      case 'Float':
        return new Double(next())
      case 'DateTime':
        return new Date(Math.floor(next() * 1_800_000_000_000))
      case 'Bytes':
        return new Binary(Buffer.from('x'))
      case 'enum':
        return pick(next, field.values ?? [])
      case 'Json':
        return pick(next, [{ a: new Double(5) }, [1, 'x'], 'text'])
    }
  }
  return field.isList ? Array.from({ length: Math.floor(next() * 3) }, one) : one()
}

/** A document of a model in which each field is missing, odd or proper; `wild` is the share of odd ones. */
function randomDocument(next: Next, collection: string, wild: number): Map<string, unknown> {
  const model = modelOf(loaded(collection)?.model ?? '')
  const fields = new Map<string, unknown>()
  for (const field of model.fields) {
    const luck = next()
    if (field.isId) fields.set(field.name, luck < wild / 3 ? pick(next, VALUES)() : proper(next, field))
    else if (luck < wild) fields.set(field.name, pick(next, VALUES)())
    else if (luck < 0.7 + wild / 4) fields.set(field.name, proper(next, field))
  }
  for (let n = Math.floor(next() * 5); n > 0; n--) {
    const name = pick(next, OTHERS)
    if (!fields.has(name)) fields.set(name, pick(next, VALUES)())
  }
  const order = [...fields].map(([name, value]) => ({ name, value, at: next() }))
  return new Map(order.toSorted((a, b) => a.at - b.at).map(({ name, value }) => [name, value]))
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

/** A value as it is stored, as text. */
const stored = (value: unknown): string => base64(BSON.serialize(new Map([['v', value]])))

/** What T makes, as text. */
const shown = (treated: Treated): string =>
  'quarantine' in treated
    ? JSON.stringify(treated)
    : `${base64(treated.bytes)} ${stored(treated.sidecar)} ${JSON.stringify(treated.repairs)}`

const bytesOf = (fields: Map<string, unknown>): Uint8Array => BSON.serialize(fields)

describe('of any document', () => {
  for (const [kind, wild] of [
    ['nearly right', 0.01],
    ['half wrong', 0.15],
    ['wild', 0.7],
  ] as const)
    test(`${kind} ones: T is total and deterministic, obeys the rules, and loses no value`, () => {
      let loadedOnes = 0
      let refusedOnes = 0
      for (const [c, collection] of COLLECTIONS.entries()) {
        const entry = loaded(collection)
        assert.ok(entry)
        const model = modelOf(entry.model)
        const before = { loaded: loadedOnes, refused: refusedOnes }
        for (let seed = 0; seed < SEEDS; seed++) {
          const source = bytesOf(randomDocument(sequence(seed, c, wild * 100), collection, wild))
          const kept = Buffer.from(source)
          const treated = treat(entry.transform, model, source)
          const what = `${collection}, seed ${seed}`
          assert.equal(shown(treat(entry.transform, model, source)), shown(treated), what)
          assert.ok(kept.equals(source), `${what}: the source was changed`)
          if ('quarantine' in treated) {
            refusedOnes++
            assert.ok(treated.quarantine.length > 0, what)
            for (const { rule, text } of treated.quarantine) {
              assert.match(rule, /^(?:(?:type|missing|id):\w+\._?\w+|bytes:\w+)$/, what)
              assert.ok(text.length > 10 && text.length < 300, what)
            }
            continue
          }
          loadedOnes++
          assert.deepEqual(wrongIn(model, treated.doc), [], what)
          if (entry.decision === 'transform') {
            assert.deepEqual(unknownIn(model, treated.doc), [], what)
            assert.equal(treated.isCarried, false, what)
            // What has the shape of the target already is what T would make of it.
            const again = treat(entry.transform, model, treated.bytes)
            assert.ok('bytes' in again && Buffer.from(treated.bytes).equals(Buffer.from(again.bytes)), what)
          } else {
            assert.equal(treated.sidecar, undefined, what)
            if (treated.isCarried) assert.ok(kept.equals(treated.bytes), what)
          }
          conserved(source, treated, what)
        }
        assert.ok(refusedOnes > before.refused, `${collection}: none was refused`)
        assert.ok(wild > 0.1 || loadedOnes > before.loaded, `${collection}: none was loaded`)
      }
      assert.ok(wild > 0.5 || loadedOnes > SEEDS, String(loadedOnes))
    })
})

/** Rules that put a value in the place of another one; all others fill gaps. */
const CHANGING: readonly string[] = [
  'date-from-text',
  'id-from-text',
  'int-from-int64',
  'int-from-double',
  'enum-case',
  'role-modo',
]

/** Every value of the source is in the document under its name, or in the sidecar, or a rule tells why not. */
function conserved(
  source: Uint8Array,
  treated: Exclude<Treated, { quarantine: unknown }>,
  what: string,
): void {
  const before = fieldsOf(source)
  const written = fieldsOf(treated.bytes)
  for (const { rule } of treated.repairs) assert.ok(rule in REPAIRS, rule)
  const told = new Set(treated.repairs.flatMap(({ field, rule }) => (CHANGING.includes(rule) ? field : [])))
  for (const name of Object.keys(before)) {
    const home = name === 'anonymousUserId' && treated.bytes !== source ? 'anonymousId' : name
    const places = [treated.sidecar, written].flatMap((fields) =>
      [name, home].flatMap((n) => (fields && Object.hasOwn(fields, n) ? stored(fields[n]) : [])),
    )
    const isNone = before[name] === null
    assert.ok(isNone || places.includes(stored(before[name])) || told.has(home), `${what}: ${name}`)
  }
}

function fieldsOf(bytes: Uint8Array): Fields {
  const decoded = decode(bytes)
  assert.ok('doc' in decoded)
  return decoded.doc
}

describe('of what is no document', () => {
  test('a transform never throws', () => {
    const odd = [
      null,
      undefined,
      5,
      'x',
      [],
      [{}],
      new Map(),
      new Date(0),
      oid(1),
      () => 1,
      Object.create(null),
      {},
    ]
    for (const collection of COLLECTIONS) {
      const entry = loaded(collection)
      assert.ok(entry)
      for (const value of odd) {
        const outcome = entry.transform(value as Fields, modelOf(entry.model))
        assert.ok('quarantine' in outcome && outcome.quarantine.length > 0, `${collection} ${typeof value}`)
      }
    }
  })

  test('nor does T of bytes that are cut or changed', () => {
    const next = sequence(7)
    for (const collection of COLLECTIONS) {
      const whole = bytesOf(randomDocument(next, collection, 0.05))
      for (let n = 0; n < 40; n++) {
        const bytes = Buffer.from(n % 2 ? whole : whole.subarray(0, Math.floor(next() * whole.length)))
        if (bytes.length > 0) bytes[Math.floor(next() * bytes.length)] = Math.floor(next() * 256)
        const entry = loaded(collection)
        assert.ok(entry)
        const treated = treat(entry.transform, modelOf(entry.model), bytes)
        assert.ok('quarantine' in treated || treated.bytes.length > 4)
      }
    }
  })
})

describe('of nothing but the document', () => {
  const real = { Date, random: Math.random, now: performance.now.bind(performance), hrtime: process.hrtime }
  const forbidden = (what: string) => (): never => {
    throw new Error(`T asked for ${what}`)
  }
  before(() => {
    globalThis.Date = new Proxy(real.Date, {
      construct: (target, args: [], newTarget) =>
        args.length > 0 ? (Reflect.construct(target, args, newTarget) as object) : forbidden('the time')(),
      apply: forbidden('the time'),
      get: (target, name) =>
        name === 'now' ? forbidden('the time') : (Reflect.get(target, name) as unknown),
    })
    Math.random = forbidden('chance')
    performance.now = forbidden('the time')
    process.hrtime = Object.assign(forbidden('the time'), { bigint: forbidden('the time') })
  })
  after(() => {
    globalThis.Date = real.Date
    Math.random = real.random
    performance.now = real.now
    process.hrtime = real.hrtime
  })

  test('the traps hold', () => {
    assert.throws(() => Date.now(), /asked for the time/)
    assert.throws(() => new Date(), /asked for the time/)
    assert.throws(() => new ObjectId(), /asked for the time/)
    assert.throws(() => Math.random(), /asked for chance/)
    assert.equal(new Date(5).getTime(), 5)
    assert.ok(new real.Date(5) instanceof Date)
  })

  test('T runs without a clock and without chance, and makes the same', () => {
    for (const [c, collection] of COLLECTIONS.entries())
      for (let seed = 0; seed < 60; seed++) {
        const fields = randomDocument(sequence(seed, c), collection, seed % 2 ? 0.02 : 0.2)
        assert.equal(shown(T(collection, fields)), shown(T(collection, fields)), collection)
      }
  })
})

describe('the files of T', () => {
  const folder = join(ROOT, 'migration')
  const sourceOf = (file: string): string => readFileSync(file, 'utf8')
  /** What a file imports as values: the names, and from where. */
  const importsOf = (text: string): { names: string; from: string }[] =>
    [...text.matchAll(/^import\s+(?!type\b)([^'"]+?)\s+from\s+'([^']+)'/gm)].map(
      ([, names = '', from = '']) => ({ names, from }),
    )

  function closure(files: readonly string[]): string[] {
    const seen = new Set<string>()
    const look = (file: string): void => {
      if (seen.has(file)) return
      seen.add(file)
      for (const { from } of importsOf(sourceOf(file)))
        if (from.startsWith('.')) look(join(dirname(file), from))
    }
    for (const file of files) look(file)
    return [...seen].map((file) => relative(ROOT, file)).toSorted()
  }
  const transforms = readdirSync(join(folder, 'transforms')).map((name) => join(folder, 'transforms', name))

  test('import the classes of BSON and helpers of the migration alone', () => {
    const all = closure([...transforms, join(folder, 'treat.ts')])
    assert.ok(transforms.length >= 8)
    const helpers = ['decode', 'rules', 'shape', 'treat', 'values'].map((name) => `migration/${name}.ts`)
    const others = all.filter((file) => !file.startsWith('migration/transforms/'))
    assert.deepEqual(others, ['lib/errors.ts', ...helpers]) // errors.ts: for a schema that cannot be judged
    const classes =
      /^(?:BSON\w*|Binary|Code|DBRef|Decimal128|Double|Int32|Long|MaxKey|MinKey|ObjectId|Timestamp)$/
    for (const file of all)
      for (const { names, from } of importsOf(sourceOf(join(ROOT, file)))) {
        if (from.startsWith('.')) continue
        assert.equal(from, 'mongodb', file)
        for (const name of names
          .replace(/[{}]/g, '')
          .split(',')
          .map((n) => n.trim())
          .filter((n) => n && !n.startsWith('type ')))
          assert.match(name, classes, file)
      }
  })

  test('name no clock, no chance, no state', () => {
    const impure =
      /\b(?:Date\.now|new Date\(\)|Math\.random|performance|process|globalThis|require|fetch|setTimeout|random\w+)\b|new Date\(\)|new ObjectId\(\)|\bawait\b|\basync\b|\bimport\(|^(?:let|var)\b/m
    for (const file of closure([
      ...transforms,
      join(folder, 'treat.ts'),
      join(folder, 'derived', 'read-cursors.ts'),
    ])) {
      const code = sourceOf(join(ROOT, file)).replace(/\/\*[^]*?\*\/|\/\/.*$/gm, '')
      assert.doesNotMatch(code, impure, file)
    }
    for (const planted of ['const a = new Date()', 'let n = 0', 'Math.random()', 'new ObjectId()', 'await x'])
      assert.match(planted, impure)
  })

  test('a derivation has a hash, and nothing else of node', () => {
    const text = sourceOf(join(folder, 'derived', 'read-cursors.ts'))
    const outside = importsOf(text).filter(({ from }) => !from.startsWith('.'))
    assert.deepEqual(
      outside.map(({ names, from }) => `${names} ${from}`),
      ['{ createHash } node:crypto', '{ Int32, ObjectId } mongodb'],
    )
  })
})
