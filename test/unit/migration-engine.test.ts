// The pure parts of the engine: addresses, what is accepted, what is left out, fates, and what a person reads.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BSON, Int32, ObjectId } from 'mongodb'
import type { Collection } from '../../lib/backup/catalogue.ts'
import { acceptedFrom, idWord, weigh, type Quarantined } from '../../migration/engine/accept.ts'
import { addressFrom, secretsIn } from '../../migration/engine/addresses.ts'
import { derive } from '../../migration/engine/derive.ts'
import {
  computedFields,
  grouped,
  staying,
  unequal,
  type Kept,
  type Store,
} from '../../migration/engine/facts.ts'
import { fateOf } from '../../migration/engine/fate.ts'
import { decidingFiles, madeBy } from '../../migration/engine/hashes.ts'
import { strange, type Source } from '../../migration/engine/inventory.ts'
import type { Judged, LoadedSource } from '../../migration/engine/judge.ts'
import { inLanes } from '../../migration/engine/lanes.ts'
import { limit } from '../../migration/engine/limit.ts'
import { plain } from '../../migration/engine/markdown.ts'
import { counter } from '../../migration/engine/progress.ts'
import { keyText, settle, type Settled } from '../../migration/cross.ts'
import { planProblems } from '../../migration/plan-check.ts'
import type { Derivation } from '../../migration/plan-types.ts'
import { PLAN } from '../../migration/plan.ts'
import { RULES, SCHEMA, loaded, modelOf, oid } from './migration-fixture.ts'

const NOTHING: Settled = { quarantined: new Map(), dropped: new Map(), nulled: new Map(), listed: new Map() }

describe('addresses', () => {
  const from = (set: string | undefined, given?: string) =>
    addressFrom({ flag: '--source', given, key: 'SOURCE_URL', set })

  test('of the environment may hold a password, which is never shown', () => {
    const address = from('mongodb://me:hunter22@a:1,b:2/my%20base?replicaSet=rs0')
    assert.equal(address?.database, 'my base')
    assert.equal(address?.shown, 'a:1,b:2/my%20base')
    assert.ok(secretsIn([address]).includes('hunter22'))
    assert.ok(secretsIn([from('mongodb://h/d?proxyPassword=geheimnis')]).includes('geheimnis'))
  })
  test('of a flag win, and must not', () => {
    assert.equal(from('mongodb://a/x', 'mongodb://me@b/y')?.shown, 'b/y')
    for (const url of ['mongodb://me:pw@h/d', 'mongodb://h/d?proxyPassword=x', 'mongodb://:@h/d'])
      assert.throws(() => from(undefined, url), { code: 2, message: /--source holds a password/ })
  })
  test('that are none, or name no database, are refused; the text does not repeat them', () => {
    for (const url of [
      'localhost',
      'http://u:secret@h/d',
      'mongodb://',
      'mongodb://h:1',
      'mongodb://u:secret@h/',
      'mongodb://h/%zz',
    ])
      assert.throws(
        () => from(url),
        (error: Error & { code?: number }) => error.code === 2 && !error.message.includes('secret'),
        url,
      )
    assert.equal(from(undefined), undefined)
    assert.equal(from(''), undefined)
  })
})

describe('what is accepted', () => {
  test('is a rule and its ids', () => {
    const words = ['type:User.role:aa,bb', 'unique:A.b,c:cc', 'type:User.role:dd', 'bounds:N:1-5']
    assert.deepEqual(
      [...acceptedFrom(words)].map(([rule, ids]) => [rule, [...ids]]),
      [
        ['type:User.role', ['aa', 'bb', 'dd']],
        ['unique:A.b,c', ['cc']],
        ['bounds:N', ['1-5']],
      ],
    )
    for (const word of ['', 'type:User.role', 'type:User.role:', 'x'])
      assert.throws(() => acceptedFrom([word]), { code: 2 })
  })
  test('ids are typed without anything that a shell or the list would take apart', () => {
    const hex = '0123456789abcdef01234567'
    assert.equal(idWord(keyText(new ObjectId(hex))), hex)
    for (const id of [hex, 'a,b', `'"$(id)\n!*~`, '', 'é', new Int32(7), { a: 1 }]) {
      const word = idWord(keyText(id))
      assert.match(word, /^[\w%.-]+$/)
      assert.notEqual(word, hex)
    }
  })

  const q = (rule: string, ...ids: string[]): Quarantined[] =>
    ids.map((id) => ({ collection: 'User', id, reasons: [{ rule, text: 'no' }] }))
  const source = (count: number): Source => ({
    name: 'Notification',
    entry: { decision: 'drop', why: 'old', bounds: { min: 10, max: 20 } },
    count,
    indexes: [],
  })
  const plan = { ...PLAN, expected: [{ rule: 'r:known', atMost: 2, why: 'known' }] }

  test('what is foreseen goes up to its bound, all else by id', () => {
    const all = [...q('r:known', 'a', 'b'), ...q('r:other', 'c', 'd')]
    const weighed = weigh(plan, all, [source(15)], acceptedFrom(['r:other:c']))
    assert.deepEqual(
      weighed.rules.map(({ by, open }) => [by, open]),
      [
        ['expected', ['a', 'b']],
        ['nobody', ['d']],
      ],
    )
    assert.deepEqual(weighed.words, ['r:other:d'])
    assert.equal(weighed.problems.length, 1)
    assert.equal(weigh(plan, all, [], acceptedFrom(['r:other:c,d'])).problems.length, 0)
    const more = q('r:known', 'a', 'b', 'c')
    assert.match(weigh(plan, more, [], new Map()).problems.join(), /3 documents .* 2 are expected at most/)
    assert.equal(weigh(plan, more, [], acceptedFrom(['r:known:c'])).problems.length, 0)
    assert.deepEqual(weigh(plan, [], [], acceptedFrom(['r:gone:x'])).needless, ['r:gone:x'])
  })
  test('every reason of a document has to be accepted', () => {
    const both = [
      {
        collection: 'User',
        id: 'a',
        reasons: [
          { rule: 'r:one', text: '' },
          { rule: 'r:two', text: '' },
        ],
      },
    ]
    assert.deepEqual(weigh(plan, both, [], acceptedFrom(['r:one:a'])).words, ['r:two:a'])
  })
  test('bounds of what is dropped, and the count that is accepted', () => {
    for (const [count, words, problems] of [
      [10, [], 0],
      [20, [], 0],
      [9, [], 1],
      [21, [], 1],
      [21, ['bounds:Notification:21'], 0],
      [22, ['bounds:Notification:21'], 1],
      [22, ['bounds:Notification:20-30'], 0],
      [22, ['bounds:Notification:x22'], 1],
    ] as const) {
      const weighed = weigh(plan, [], [source(count)], acceptedFrom(words))
      assert.equal(weighed.problems.length, problems, `${count} ${words.join()}`)
      assert.deepEqual(weighed.words, problems > 0 ? [`bounds:Notification:${count}`] : [])
    }
  })
})

test('kinds of collections that nothing can migrate', () => {
  const collection = (name: string, more: Partial<Collection> = {}): Collection => ({
    db: 'd',
    name,
    type: 'collection',
    uuid: '',
    options: '{}',
    indexes: [],
    capped: false,
    ...more,
  })
  assert.deepEqual(
    strange([
      collection('User', { options: '{"validator":{}}' }),
      collection('a.chunks'),
      collection('b.files'),
    ]),
    [],
  )
  const odd = strange([
    collection('v', { type: 'view' }),
    collection('t', { type: 'timeseries' }),
    collection('c', { capped: true }),
    collection('f', { options: '{"collation":{"locale":"fr"}}' }),
    collection('k', { options: '{"clusteredIndex":true}' }),
    collection('x.files'),
    collection('x.chunks'),
    collection('$(id)\n"', { type: 'view' }),
  ])
  assert.equal(odd.length, 7)
  assert.ok(odd.some((text) => text.startsWith('"$(id)\\n\\"" is a view')))
})

describe('some collections alone', () => {
  test('none named: everything, nothing skipped', () => {
    assert.deepEqual(limit(PLAN, RULES, undefined), { plan: PLAN, rules: RULES, skipped: [] })
    assert.throws(() => limit(PLAN, RULES, ['User', 'Nobody']), { code: 2, message: /"Nobody"/ })
    const all = limit(PLAN, RULES, Object.keys(PLAN.collections))
    assert.deepEqual(all.plan, PLAN)
  })
  test('what leads to others is told, and judges nothing', () => {
    const { plan, rules, skipped } = limit(PLAN, RULES, ['Message', 'Reaction'])
    assert.deepEqual(Object.keys(plan.collections), ['Message', 'Reaction'])
    assert.deepEqual(planProblems(plan, rules), [])
    assert.deepEqual(
      plan.computed.map(({ field }) => field),
      ['reactionCount', 'reactionSummary'],
    )
    assert.deepEqual(plan.derived, [])
    for (const text of [
      /Message\.conversationId: skipped, because of Conversation/,
      /Rows derived from MessageStatus: skipped/,
    ])
      assert.ok(
        skipped.some((s) => text.test(s)),
        skipped.join('\n'),
      )
    const row = { id: 'm', refs: [], keys: [undefined], updated: 0, created: 0 }
    assert.equal(settle(plan, rules, new Map([['Message', [row]]])).quarantined.size, 0)
    const lost = { id: 'r', refs: ['gone'], keys: [undefined, undefined], updated: 0, created: 0 }
    assert.deepEqual(
      [...(settle(plan, rules, new Map([['Reaction', [lost]]])).quarantined.get('Reaction') ?? [])].length,
      1,
    )
  })
})

describe('what others need of a document', () => {
  const store: Store = new Map([
    [
      'Reaction',
      new Map<string, Kept>([
        ['1', { kind: 0, facts: { messageId: oid(1), emoji: 'a' } }],
        ['2', { kind: 0, facts: { messageId: oid(1), emoji: 'b' } }],
        ['3', { kind: 0, facts: { messageId: null, emoji: 'c' } }],
      ]),
    ],
    ['Message', new Map<string, Kept>([['m', { kind: 0, facts: { originalLanguage: 'fr' } }]])],
  ])
  test('documents that do not stay are not counted, nulled fields name nothing', () => {
    const some = staying(store, { ...NOTHING, quarantined: new Map([['Reaction', new Map([['1', []]])]]) })
    assert.deepEqual([...(some.get('Reaction')?.keys() ?? [])], ['2', '3'])
    assert.equal(grouped(some, 'Reaction', 'messageId').get(keyText(oid(1)))?.length, 1)
    const nulled = staying(store, {
      ...NOTHING,
      nulled: new Map([['Reaction', new Map([['1', ['messageId', 'x']]])]]),
    })
    assert.deepEqual(nulled.get('Reaction')?.get('1')?.facts, { messageId: null, emoji: 'a' })
  })
  test('a computed field keeps a legacy value where the plan says so', () => {
    const [newest] = PLAN.computed.filter(({ field }) => field === 'lastMessageAt')
    assert.ok(newest)
    const groups = [{ computed: newest, others: new Map([['c', [{ createdAt: new Date(7) }]]]) }]
    assert.deepEqual(
      computedFields(groups, 'Conversation', 'c', () => false),
      [['lastMessageAt', new Date(7)]],
    )
    assert.deepEqual(
      computedFields(groups, 'Conversation', 'c', () => true),
      [],
    )
    assert.deepEqual(
      computedFields(groups, 'Conversation', 'other', () => false),
      [],
    )
    assert.deepEqual(
      computedFields(groups, 'Message', 'c', () => false),
      [],
    )
  })
  test('values that differ', () => {
    const some = (value: unknown) => [{ id: '1', other: 'm', value }]
    const where = { model: 'Reaction', withModel: 'Message', withField: 'originalLanguage' }
    assert.deepEqual(unequal(store, where, some('fr')), [])
    assert.deepEqual(unequal(store, where, some('de')), ['1'])
    assert.deepEqual(unequal(store, where, some(null)), ['1'])
    assert.deepEqual(unequal(store, where, [{ id: 'gone', other: 'm', value: 'de' }]), [])
  })
})

describe('derived rows', () => {
  const [derivation] = PLAN.derived as readonly [Derivation]
  const kept = (facts: object) => ({ kind: 0, facts: facts as Record<string, unknown> })
  const store: Store = new Map([
    ['Conversation', new Map([[keyText(oid(1)), kept({})]])],
    ['User', new Map([[keyText(oid(2)), kept({})]])],
    [
      'Message',
      new Map([
        [
          keyText(oid(3)),
          kept({ _id: oid(3), conversationId: oid(1), senderId: oid(9), createdAt: new Date(5) }),
        ],
      ]),
    ],
  ])
  const row = { _id: oid(4), userId: oid(2), messageId: oid(3), updatedAt: new Date(1) }
  test('find what a row lacks, and tell why one makes nothing', () => {
    const rows = [
      row,
      { ...row, conversationId: oid(8) },
      { ...row, conversationId: String(oid(1)), userId: oid(7) },
      { ...row, messageId: oid(6) },
      {},
    ]
    const { docs, used, unused } = derive(derivation, rows, store, RULES)
    assert.equal(used, 1)
    assert.equal(String(docs[0]?.['conversationId']), String(oid(1)))
    assert.equal(Number(docs[0]?.['unreadCount']), 1)
    assert.deepEqual(unused, {
      'names a Conversation that is not loaded': 1,
      'names a User that is not loaded': 1,
      'has no conversationId, and nothing that has one': 2,
    })
  })
  test('that break a rule, or are twice there, are an error', () => {
    const wrong = { ...derivation, make: () => [{ _id: oid(1) }] }
    assert.throws(
      () => derive(wrong, [row], store, RULES),
      /is wrong: ConversationReadCursor\.conversationId is required/,
    )
    const twice: Derivation = { ...derivation, make: (g) => [...derivation.make(g), ...derivation.make(g)] }
    assert.throws(() => derive(twice, [row], store, RULES), /have one _id/)
  })
})

describe('the fate of a document', () => {
  const sourceOf = (name: string): LoadedSource => {
    const entry = loaded(name)
    assert.ok(entry)
    return { name, entry, model: modelOf(entry.model), count: 1, indexes: [] }
  }
  const judged = (settled: Partial<Settled> = {}, groups: Judged['groups'] = []): Judged =>
    ({ settled: { ...NOTHING, ...settled }, groups }) as unknown as Judged
  const mention = { _id: oid(1), messageId: oid(2), mentionedUserId: oid(3), mentionedAt: new Date(0) }
  const bytes = Buffer.from(BSON.serialize(mention))
  const id = keyText(oid(1))
  const one = <T>(value: T) => new Map([['Mention', new Map([[id, value]])]])

  test('carried byte for byte, quarantined, dropped', () => {
    const fate = fateOf(judged(), sourceOf('Mention'), bytes)
    assert.ok('bytes' in fate && fate.how === 'carried' && Buffer.compare(fate.bytes, bytes) === 0)
    const reasons = [{ rule: 'r:x', text: '' }]
    assert.deepEqual(fateOf(judged({ quarantined: one(reasons) }), sourceOf('Mention'), bytes), {
      quarantined: reasons,
    })
    assert.deepEqual(fateOf(judged({ dropped: one(reasons) }), sourceOf('Mention'), bytes), {
      dropped: reasons,
    })
  })
  test('a carried document with a reference that becomes null is a transformed one', () => {
    const fate = fateOf(judged({ nulled: one(['messageId']) }), sourceOf('Mention'), bytes)
    assert.ok('bytes' in fate && fate.how === 'transformed')
    assert.deepEqual(Object.keys(BSON.deserialize(fate.bytes)), Object.keys(mention))
    assert.equal(BSON.deserialize(fate.bytes)['messageId'], null)
  })
  test('and never loses what only its bytes keep', () => {
    const hard = Buffer.from(
      BSON.serialize(new Map<string, unknown>([...Object.entries(mention), ['10', 1], ['2', 1]])),
    )
    const fate = fateOf(judged(), sourceOf('Mention'), hard)
    assert.ok('bytes' in fate && Buffer.compare(fate.bytes, hard) === 0)
    assert.throws(
      () => fateOf(judged({ nulled: one(['messageId']) }), sourceOf('Mention'), hard),
      /only its own bytes keep/,
    )
  })
})

test('what decides is hashed: transforms and derivations, and nothing of the engine', () => {
  const files = decidingFiles()
  for (const file of ['plan.ts', 'shape.ts', 'derived/read-cursors.ts', 'transforms/user.ts'])
    assert.ok(files.includes(file))
  assert.ok(!files.some((file) => file.startsWith('engine') || file === 'migrate.ts'))
  const made = madeBy(SCHEMA)
  assert.match(made.planHash + made.schemaHash, /^[0-9a-f]{128}$/)
  assert.notEqual(madeBy(`${SCHEMA}\n`).schemaHash, made.schemaHash)
  assert.equal(madeBy(`${SCHEMA}\n`).planHash, made.planHash)
})

test('names in the report stay one cell of one line', () => {
  assert.equal(plain('User_x.y-1'), 'User_x.y-1')
  for (const name of ['a|b', 'new\nline', '`id`', '<b>', '[x](y)', '*']) {
    const text = plain(name)
    assert.doesNotMatch(text, /\n|(?<!\\)[|`<>*[\]]/)
  }
})

test('progress: documents, rate and time left of a collection', () => {
  let now = 1000
  const said: string[] = []
  const count = counter(
    new Map([['User', 300]]),
    (text) => said.push(text),
    () => now,
  )
  now += 1000
  count('User', 100)
  now += 1000
  count('User', 200)
  assert.deepEqual(said, ['User 100 of 300, 100 documents/s, 2 s left', 'User 300 of 300, 150 documents/s'])
})

test('lanes: each thing once, the first error ends it after what was begun', async () => {
  const done: number[] = []
  await inLanes([1, 2, 3, 4, 5], 2, async (n) => void done.push(n))
  assert.deepEqual(new Set(done), new Set([1, 2, 3, 4, 5]))
  assert.equal(done.length, 5)
  const begun: number[] = []
  const failing = inLanes([1, 2, 3, 4, 5, 6], 2, async (n) => {
    begun.push(n)
    await Promise.resolve()
    if (n === 2) throw new Error('two')
  })
  await assert.rejects(failing, /two/)
  assert.ok(begun.length < 6)
})
