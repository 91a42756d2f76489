import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Int32, type Document } from 'mongodb'
import { computedFrom } from '../../migration/computed.ts'
import { inOrder, newer, referencesOf, rowOf, settle, type Row, type Settled } from '../../migration/cross.ts'
import { readCursors } from '../../migration/derived/read-cursors.ts'
import { parseSchema } from '../../migration/dmmf.ts'
import { fateOfIndex, indexesOf } from '../../migration/indexes.ts'
import { planProblems, unplanned } from '../../migration/plan-check.ts'
import type { Computed, Plan } from '../../migration/plan-types.ts'
import { PLAN } from '../../migration/plan.ts'
import { isListed, REPAIRS } from '../../migration/repairs.ts'
import { rulesOf, unknownIn, wrongIn, type Fields } from '../../migration/rules.ts'
import { COUNTS, type CollectionName } from '../stack/data/counts.ts'
import { legacyCollections } from '../stack/data/legacy.ts'
import { RULES, SCHEMA, ejson, modelOf, oid } from './migration-fixture.ts'

const DECISIONS = {
  transform:
    'User Message Community Conversation MessageAttachment MessageTranslation Reaction CommunityMember UserStats ' +
    'AnonymousParticipant call_participants user_conversation_preferences',
  carry:
    'ConversationMember Mention FriendRequest TrackingLink TrackingLinkClick AffiliateToken AffiliateRelation ' +
    'AdminAuditLog ConversationShareLink ConversationPreference',
  rename: 'call_sessions user_conversation_categories UserPreference',
  archive: 'MessageStatus MessageReadStatus',
  drop: 'Notification MessageAttachment_backup_urls old_message_status TypingIndicator',
}

describe('the decisions', () => {
  test('are those of the 31 collections, with their documents', () => {
    const decided = Object.entries(PLAN.collections)
    for (const [decision, names] of Object.entries(DECISIONS)) {
      const found = decided.filter(([, entry]) => entry.decision === decision).map(([name]) => name)
      assert.deepEqual(found.toSorted(), names.split(' ').toSorted(), decision)
    }
    const documents = (decision: string): number =>
      decided.reduce(
        (sum, [name, e]) => sum + (e.decision === decision ? COUNTS[name as CollectionName] : 0),
        0,
      )
    assert.deepEqual(Object.keys(DECISIONS).map(documents), [9922, 2037, 50, 18_315, 95_311])
    assert.ok(decided.every(([, { why }]) => why.length > 3))
  })

  test('collections of another name', () => {
    const moved = Object.entries(PLAN.collections).flatMap(([name, entry]) => {
      const to = 'model' in entry ? modelOf(entry.model).collection : name
      return to === name ? [] : [`${name} ${to}`]
    })
    assert.deepEqual(moved, [
      'call_sessions CallSession',
      'call_participants CallParticipant',
      'user_conversation_categories UserConversationCategory',
      'user_conversation_preferences UserConversationPreferences',
      'UserPreference user_preference',
    ])
  })

  test('the true counts are within the bounds of what is dropped', () => {
    const bounds = Object.entries(PLAN.collections).flatMap(([name, e]) =>
      e.decision === 'drop' ? [[name, e.bounds.min, e.bounds.max] as const] : [],
    )
    assert.deepEqual(bounds, [
      ['Notification', 90_000, 110_000],
      ['MessageAttachment_backup_urls', 514, 514],
      ['old_message_status', 7, 7],
      ['TypingIndicator', 0, 0],
    ])
    for (const [name, min, max] of bounds)
      assert.ok(COUNTS[name as CollectionName] >= min && COUNTS[name as CollectionName] <= max)
  })

  test('a collection that the plan does not name stops it, with the lines to add', () => {
    const found = Object.entries(COUNTS).map(([name, count]) => ({ name, count }))
    assert.equal(unplanned(PLAN, found), undefined)
    assert.equal(unplanned(PLAN, [...found, { name: 'system.views', count: 1 }]), undefined)
    const said =
      unplanned(PLAN, [...found, { name: 'Poll', count: 12 }, { name: `a'b\n"$(id)`, count: 1 }]) ?? ''
    assert.match(said, /does not say what becomes of "Poll", "a'b\\n\\"\$\(id\)"\. Nothing was changed\./)
    assert.match(said, /^ {4}"Poll": archive\('…why it is not loaded'\), \/\/ 12 documents$/m)
    assert.match(said, /^ {4}"a'b\\n\\"\$\(id\)": archive/m)
    assert.ok(unplanned(PLAN, [{ name: 'toString', count: 0 }]), 'a name that every object has')
  })
})

describe('the plan and the schema', () => {
  test('belong together', () => assert.deepEqual(planProblems(PLAN, RULES), []))

  const without = (from: RegExp, to = ''): string[] => {
    const changed = SCHEMA.replace(from, to)
    assert.notEqual(changed, SCHEMA)
    return planProblems(PLAN, rulesOf(parseSchema(changed)))
  }

  test('a field that the plan computes is gone', () => {
    assert.deepEqual(without(/^ {2}memberCount .*\n/m), [
      'computed Conversation.memberCount: Conversation has no field memberCount in the schema.',
    ])
    assert.match(
      without(/^ {2}originalLanguage .*\n/m).join(),
      /comparison of MessageTranslation\.sourceLanguage/,
    )
  })

  test('a later schema without MessageTranslation', () => {
    const changed = SCHEMA.replace(/^model MessageTranslation \{[^]*?^\}\n/m, '').replace(
      /^.* MessageTranslation\[\].*\n/m,
      '',
    )
    assert.deepEqual(planProblems(PLAN, rulesOf(parseSchema(changed))), [
      'MessageTranslation: the schema has no model MessageTranslation.',
    ])
  })

  test('a model is stored elsewhere', () => {
    assert.deepEqual(without(/^model Mention \{/m, 'model Mention {\n  @@map("mentions")'), [
      'Mention: it is carried, and Mention is stored in mentions; that is a rename.',
    ])
    assert.match(
      without(/@@map\("user_preference"\)/).join(),
      /UserPreference: it is renamed.*that is a carry/,
    )
  })

  test('two collections for one model, a derivation without its source', () => {
    const { MessageStatus: _, ...rest } = PLAN.collections
    const { call_sessions: calls } = PLAN.collections
    assert.ok(calls)
    const problems = planProblems({ ...PLAN, collections: { ...rest, calls } }, RULES)
    assert.deepEqual(problems, [
      'calls: CallSession takes call_sessions already.',
      'derive ConversationReadCursor: its source MessageStatus is not in the plan.',
    ])
  })

  test('each model is judged after those that it needs', () => {
    const order = inOrder(PLAN, RULES).map(({ name }) => name)
    assert.equal(order.length, 25)
    for (const name of order)
      for (const { to, dangling } of referencesOf(modelOf(name), PLAN))
        if (dangling === 'quarantine')
          assert.ok(order.indexOf(to) < order.indexOf(name), `${name} needs ${to}`)
    const cycle = {
      model: 'User',
      field: 'deletedBy',
      to: 'Conversation',
      dangling: 'quarantine' as const,
      why: '',
    }
    const back = {
      model: 'Conversation',
      field: 'encryptionEnabledBy',
      to: 'User',
      dangling: 'drop' as const,
      why: '',
    }
    assert.throws(
      () => inOrder({ ...PLAN, references: [cycle, back] }, RULES),
      /User needs Conversation needs User/,
    )
  })

  test('references: the schema’s, and the plan’s word where it differs', () => {
    const policy = (model: string): string[] =>
      referencesOf(modelOf(model), PLAN).map((r) => `${r.field} ${r.to} ${r.dangling}`)
    assert.deepEqual(policy('MessageAttachment'), ['messageId Message quarantine'])
    assert.deepEqual(policy('User'), ['deletedBy User list'])
    assert.deepEqual(policy('ConversationMember'), [
      'userId User quarantine',
      'conversationId Conversation quarantine',
    ])
    assert.deepEqual(policy('TrackingLink'), [
      'createdBy User list',
      'conversationId Conversation list',
      'messageId Message list',
    ])
  })

  test('every rule of repair has its reason', () => {
    for (const { why } of Object.values(REPAIRS)) assert.ok(why.length > 20)
    assert.ok(isListed('identifier-from-id') && !isListed('default'))
  })
})

describe('indexes', () => {
  const of = (model: string) => indexesOf(modelOf(model), PLAN)

  test('all that the schema declares, and the plan’s own, by name', () => {
    const all = [...RULES.values()].flatMap((model) =>
      indexesOf(model, PLAN).map(({ name }) => `${model.name} ${name}`),
    )
    assert.equal(all.length, 210 - 52 + 8)
    assert.equal(new Set(all).size, all.length)
    for (const wanted of [
      'ConversationMember idx_member_user_active_conv',
      'Message idx_message_conv_notdeleted_created',
      'Conversation idx_conversation_active_lastmsg',
      'Conversation idx_conversation_type_active_lastmsg',
      'ConversationReadCursor idx_cursor_user_conv',
      'UserConversationPreferences idx_userprefs_user_conv',
      'User User_username_key',
      'ConversationMember ConversationMember_conversationId_userId_key',
      'Notification Notification_userId_isRead_idx',
      'UserPreference user_preference_userId_key_key',
    ])
      assert.ok(all.includes(wanted), wanted)
    const message = of('Message').find(({ name }) => name === 'idx_message_conv_notdeleted_created')
    assert.deepEqual(Object.entries(message?.key ?? {}), [
      ['conversationId', 1],
      ['isDeleted', 1],
      ['createdAt', -1],
    ])
  })

  test('unique ones are partial where null would collide, by type', () => {
    const partial = [...RULES.values()].flatMap((model) =>
      indexesOf(model, PLAN).flatMap((i) =>
        i.partialFilterExpression ? [`${i.name} ${JSON.stringify(i.partialFilterExpression)}`] : [],
      ),
    )
    const one = (field: string, type = 'objectId'): string => `{"${field}":{"$type":"${type}"}}`
    assert.deepEqual(partial.toSorted(), [
      `AttachmentReaction_attachmentId_anonymousId_emoji_key ${one('anonymousId')}`,
      `AttachmentReaction_attachmentId_userId_emoji_key ${one('userId')}`,
      `AttachmentStatusEntry_attachmentId_anonymousId_key ${one('anonymousId')}`,
      `AttachmentStatusEntry_attachmentId_userId_key ${one('userId')}`,
      `ConversationReadCursor_conversationId_anonymousId_key ${one('anonymousId')}`,
      `ConversationReadCursor_conversationId_userId_key ${one('userId')}`,
      `MessageStatusEntry_messageId_anonymousId_key ${one('anonymousId')}`,
      `MessageStatusEntry_messageId_userId_key ${one('userId')}`,
      `Reaction_messageId_anonymousId_emoji_key ${one('anonymousId')}`,
      `Reaction_messageId_userId_emoji_key ${one('userId')}`,
      `UserSession_refreshToken_key ${one('refreshToken', 'string')}`,
      `UserVoiceModel_profileId_key ${one('profileId', 'string')}`,
    ])
  })

  test('those of the legacy base: the unique cacheKey one is gone, none is undecided', () => {
    const fates = [...legacyCollections({ scale: 0.001 })].flatMap(({ name, indexes }) =>
      indexes.map((index) => ({
        name: index.name,
        ...fateOfIndex(PLAN, RULES, name, index.key as Record<string, unknown>),
      })),
    )
    const gone = fates.filter(({ fate }) => fate === 'gone').map(({ name }) => name)
    assert.deepEqual(gone, [
      'MessageTranslation_cacheKey_key',
      'Reaction_anonymousUserId_idx',
      'MessageStatus_conversationId_idx',
      'MessageStatus_messageId_idx',
      'MessageStatus_updatedAt_idx',
      'Notification_userId_isRead_idx',
      'Notification_userId_type_idx',
      'Notification_createdAt_idx',
      'Notification_messageId_idx',
    ])
    assert.deepEqual(
      fates.filter(({ fate }) => fate === 'undecided'),
      [],
    )
    const fate = (collection: string, key: Record<string, unknown>) =>
      fateOfIndex(PLAN, RULES, collection, key)
    assert.deepEqual(fate('User', { _id: 1 }), { fate: 'built', as: '_id_' })
    assert.deepEqual(fate('Conversation', { type: 1 }), { fate: 'built', as: 'type_1' })
    assert.deepEqual(fate('call_sessions', { status: 1 }), { fate: 'built', as: 'CallSession_status_idx' })
    const stale = fate('MessageTranslation', { cacheKey: 1 })
    assert.match('why' in stale ? stale.why : '', /the second one would be refused/)
    assert.deepEqual(fate('User', { lastSeen: 1 }), { fate: 'gone', why: 'User has no field lastSeen' })
    assert.deepEqual(fate('User', { firstName: 1 }), { fate: 'undecided' })
    assert.deepEqual(fate('User', { username: 'text' }), { fate: 'undecided' })
    for (const model of RULES.values())
      assert.ok(!indexesOf(model, PLAN).some(({ key }) => 'cacheKey' in key), model.name)
  })
})

/** Settles documents of some models; those of the others are there as far as they are named. */
function settled(docs: Readonly<Record<string, readonly Document[]>>, plan: Plan = PLAN): Settled {
  const rows = Object.entries(docs).map(([name, all]): [string, Row[]] => {
    const model = modelOf(name)
    return [name, all.map((doc) => rowOf(model, referencesOf(model, plan), doc))]
  })
  return settle(plan, RULES, new Map(rows))
}
const ids = (map: Settled['quarantined'], model: string): Record<string, string[]> =>
  Object.fromEntries(
    [...(map.get(model) ?? [])].map(([id, reasons]) => [id, reasons.map(({ rule }) => rule)]),
  )

describe('across documents', () => {
  const D1 = new Date('2025-11-01T00:00:00Z')
  const D2 = new Date('2025-12-01T00:00:00Z')
  const user = (n: number): Document => ({ _id: oid(n), username: `u${n}`, email: `e${n}` })
  const stats = (n: number, updatedAt: Date, createdAt: Date): Document => ({
    _id: oid(n),
    userId: oid(1),
    updatedAt,
    createdAt,
  })

  test('the winner: newest update, then newest creation, then the greater id; in any order', () => {
    const cases: [Document[], number][] = [
      [[stats(10, D2, D1), stats(11, D1, D2)], 11],
      [[stats(10, D2, D2), stats(11, D2, D1)], 11],
      [[stats(10, D2, D1), stats(11, D2, D1)], 10],
    ]
    for (const [docs, loser] of cases)
      for (const order of [docs, docs.toReversed()]) {
        const found = settled({ User: [user(1)], UserStats: order }).quarantined
        assert.deepEqual(ids(found, 'UserStats'), { [String(oid(loser))]: ['unique:UserStats.userId'] })
      }
    const row = rowOf(modelOf('UserStats'), [], stats(10, D1, D1))
    assert.equal(newer(row, row), 0)
  })

  test('a winner is one that stays: the newer one names a user who is gone', () => {
    const members = [
      { _id: oid(10), conversationId: oid(5), userId: oid(1) },
      { _id: oid(11), conversationId: oid(5), userId: oid(1) },
      { _id: oid(12), conversationId: oid(5), userId: oid(9) },
    ]
    const conversation = { _id: oid(5), identifier: 'c' }
    const found = settled({
      User: [user(1)],
      Conversation: [conversation],
      ConversationMember: members,
    }).quarantined
    assert.deepEqual(ids(found, 'ConversationMember'), {
      [String(oid(12))]: ['reference:ConversationMember.userId'],
      [String(oid(10))]: ['unique:ConversationMember.conversationId,userId'],
    })
  })

  test('nor does one win whose conversation is gone', () => {
    const link = (n: number, more: Document): Document => ({
      _id: oid(n),
      linkId: 'l',
      createdBy: oid(1),
      ...more,
    })
    const found = settled({
      User: [user(1)],
      Conversation: [{ _id: oid(5), identifier: 'c' }],
      ConversationShareLink: [
        link(10, { identifier: 'a', conversationId: oid(5), updatedAt: D1 }),
        link(11, { identifier: 'b', conversationId: oid(6), updatedAt: D2 }),
      ],
    }).quarantined
    assert.deepEqual(ids(found, 'ConversationShareLink'), {
      [String(oid(11))]: ['reference:ConversationShareLink.conversationId'],
    })
  })

  test('one that loses one key does not take another', () => {
    const users = [
      { ...user(1), updatedAt: D2, username: 'a', email: 'x' },
      { ...user(2), updatedAt: D1, username: 'a', email: 'y' },
      { ...user(3), updatedAt: new Date(0), username: 'b', email: 'y' },
    ]
    assert.deepEqual(ids(settled({ User: users }).quarantined, 'User'), {
      [String(oid(2))]: ['unique:User.username'],
    })
  })

  test('two users, and nobody, may put one emoji on one message; one user may not twice', () => {
    const message = { _id: oid(20), conversationId: oid(5) }
    const reaction = (n: number, more: Document): Document => ({
      _id: oid(n),
      messageId: oid(20),
      emoji: '🫶',
      ...more,
    })
    const found = settled({
      User: [user(1), user(2)],
      Conversation: [{ _id: oid(5), identifier: 'c' }],
      Message: [message],
      Reaction: [
        reaction(30, { userId: oid(1) }),
        reaction(31, { userId: oid(2), anonymousId: null }),
        reaction(32, { userId: null }),
        reaction(33, {}),
        reaction(34, { userId: oid(1) }),
      ],
    })
    assert.deepEqual(ids(found.quarantined, 'Reaction'), {
      [String(oid(30))]: ['unique:Reaction.messageId,userId,emoji'],
    })
  })

  test('what is quarantined takes with it what requires it, all the way', () => {
    const found = settled({
      Conversation: [],
      Message: [{ _id: oid(20), conversationId: oid(5) }],
      MessageAttachment: [{ _id: oid(21), messageId: oid(20) }, { _id: oid(22) }],
      Reaction: [{ _id: oid(23), messageId: oid(20), emoji: 'x' }],
    })
    assert.deepEqual([...found.quarantined.keys()].toSorted(), ['Message', 'MessageAttachment', 'Reaction'])
    assert.deepEqual(Object.keys(ids(found.quarantined, 'MessageAttachment')), [String(oid(21))])
  })

  test('an optional reference that leads nowhere is listed, whatever is judged first', () => {
    const conversation = { _id: oid(5), identifier: 'c' }
    const message = (n: number, more: Document): Document => ({
      _id: oid(n),
      conversationId: oid(5),
      ...more,
    })
    const found = settled({
      Conversation: [conversation],
      Message: [
        message(20, { replyToId: oid(21) }),
        message(21, { conversationId: oid(6) }),
        message(22, { replyToId: oid(20) }),
      ],
    })
    assert.deepEqual(ids(found.listed, 'Message'), { [String(oid(20))]: ['reference:Message.replyToId'] })
  })

  test('the other policies: null and drop', () => {
    const references = (dangling: 'null' | 'drop') => [
      { model: 'Message', field: 'senderId', to: 'User', dangling, why: '' },
    ]
    const docs = {
      Conversation: [{ _id: oid(5), identifier: 'c' }],
      Message: [{ _id: oid(20), conversationId: oid(5), senderId: oid(1) }],
      Reaction: [{ _id: oid(30), messageId: oid(20), emoji: 'x' }],
    }
    const nulled = settled(docs, { ...PLAN, references: references('null') })
    assert.deepEqual([...(nulled.nulled.get('Message') ?? [])], [[String(oid(20)), ['senderId']]])
    assert.deepEqual(ids(nulled.listed, 'Message'), { [String(oid(20))]: ['reference:Message.senderId'] })
    assert.equal(nulled.quarantined.size, 0)
    const dropped = settled(docs, { ...PLAN, references: references('drop') })
    assert.deepEqual(ids(dropped.dropped, 'Message'), { [String(oid(20))]: ['reference:Message.senderId'] })
    assert.deepEqual(Object.keys(ids(dropped.quarantined, 'Reaction')), [String(oid(30))])
  })
})

describe('computed fields', () => {
  const find = (model: string, field: string): Computed => {
    const found = PLAN.computed.find((c) => c.model === model && c.field === field)
    assert.ok(found, field)
    return found
  }
  const value = (computed: Computed, others: Document[]): string => ejson(computedFrom(computed, others))

  test('members that are active, and reactions', () => {
    const members = [{ isActive: true }, { isActive: false }, { isActive: true }]
    assert.equal(value(find('Conversation', 'memberCount'), members), ejson(new Int32(2)))
    assert.equal(value(find('Conversation', 'memberCount'), []), ejson(new Int32(0)))
    assert.equal(value(find('Message', 'reactionCount'), [{}, {}]), ejson(new Int32(2)))
  })

  test('the summary counts each emoji, in an order that no reading changes', () => {
    const reactions = ['🔥', '1', '🫶', '🔥'].map((emoji) => ({ emoji }))
    const summary = find('Message', 'reactionSummary')
    const found = computedFrom(summary, reactions) as Map<string, Int32>
    assert.deepEqual(
      [...found].map(([emoji, n]) => [emoji, n.value]),
      [
        ['1', 1],
        ['🔥', 2],
        ['🫶', 1],
      ],
    )
    assert.deepEqual(
      [...(computedFrom(summary, reactions.toReversed()) as Map<string, Int32>)].map(String),
      [...found].map(String),
    )
    assert.equal(computedFrom(summary, []), undefined)
  })

  test('the newest message, only where the legacy document has no date', () => {
    const computed = find('Conversation', 'lastMessageAt')
    assert.ok(computed.onlyWhereAbsent)
    const messages = [5, 9, 7].map((s) => ({ createdAt: new Date(s) }))
    assert.equal(value(computed, messages), ejson(new Date(9)))
    assert.equal(computedFrom(computed, []), undefined)
  })
})

describe('read positions', () => {
  const conversation = oid(5)
  const [ann, bob] = [oid(1), oid(2)]
  const at = (minute: number): Date => new Date(Date.UTC(2025, 10, 1, 0, minute))
  const message = (minute: number, senderId: unknown, isDeleted = false): Fields => ({
    _id: oid(1000 + minute),
    senderId,
    createdAt: at(minute),
    isDeleted,
  })
  const messages = [
    message(1, ann),
    message(2, bob),
    message(3, ann),
    message(4, bob, true),
    message(5, bob),
    message(6, ann),
  ]
  const row = (n: number, userId: unknown, minute: number, times: Fields): Fields => ({
    _id: oid(2000 + n),
    messageId: oid(1000 + minute),
    userId,
    ...times,
  })
  const make = (rows: readonly Fields[], beside: readonly Fields[] = messages): Fields[] =>
    readCursors({ id: conversation, rows, beside })

  test('the newest row counts, for reading and for delivery apart', () => {
    const rows = [
      row(1, ann, 2, { receivedAt: at(10), readAt: at(12), updatedAt: at(12) }),
      row(2, ann, 1, { receivedAt: at(9), readAt: at(30), updatedAt: at(30) }),
      row(3, ann, 5, { receivedAt: at(20), updatedAt: at(20) }),
    ]
    const [cursor, ...more] = make(rows)
    assert.equal(more.length, 0)
    const { _id, ...fields } = cursor ?? {}
    assert.equal(
      ejson(fields),
      ejson({
        conversationId: conversation,
        userId: ann,
        lastReadMessageId: oid(1001),
        lastReadAt: at(30),
        lastDeliveredMessageId: oid(1005),
        lastDeliveredAt: at(20),
        unreadCount: new Int32(2), // the second and the fifth; not her own, not the deleted one
        version: new Int32(0),
        updatedAt: at(30),
      }),
    )
    assert.ok(_id)
  })

  test('never read: all that others wrote and did not delete', () => {
    const [cursor] = make([row(1, bob, 3, { receivedAt: at(9), updatedAt: at(9) })])
    assert.equal(ejson(cursor?.['unreadCount']), ejson(new Int32(3)))
    assert.ok(
      cursor && !('lastReadAt' in cursor) && !('lastReadMessageId' in cursor) && !('anonymousId' in cursor),
    )
  })

  test('a message that is gone has its place at the moment of reading', () => {
    const [cursor] = make([row(1, bob, 99, { readAt: at(3), updatedAt: at(3) })])
    assert.equal(ejson(cursor?.['unreadCount']), ejson(new Int32(1)))
    assert.equal(ejson(cursor?.['lastReadMessageId']), ejson(oid(1099)))
  })

  test('of rows read at one time the one that was updated last counts, then the greater id', () => {
    const rows = [
      row(3, ann, 1, { readAt: at(12), updatedAt: at(12) }),
      row(2, ann, 2, { readAt: at(12), updatedAt: at(14) }),
      row(1, ann, 3, { readAt: at(12), updatedAt: at(14) }),
    ]
    for (const order of [rows, rows.toReversed()])
      assert.equal(ejson(make(order)[0]?.['lastReadMessageId']), ejson(oid(1002)))
  })

  test('duplicate rows and rows in any order make the same; each user one, with an id of its own', () => {
    const rows = [
      row(1, ann, 2, { readAt: at(12), updatedAt: at(12) }),
      row(2, ann, 2, { readAt: at(12), updatedAt: at(12) }),
      row(3, bob.toHexString(), 5, { readAt: at(13), updatedAt: at(13) }),
      row(4, 'nobody', 5, { readAt: at(14) }),
      row(5, null, 5, { readAt: at(14) }),
    ]
    const cursors = make(rows)
    assert.equal(cursors.length, 2)
    assert.equal(ejson(make(rows.toReversed(), messages.toReversed())), ejson(cursors))
    assert.notEqual(String(cursors[0]?.['_id']), String(cursors[1]?.['_id']))
    const elsewhere = readCursors({ id: oid(6), rows, beside: [] })
    assert.notEqual(String(elsewhere[0]?.['_id']), String(cursors[0]?.['_id']))
  })

  test('rows that say nothing still make a cursor, dated by the conversation', () => {
    const [cursor] = make([{ _id: 1, userId: ann }], [])
    assert.equal(ejson(cursor?.['updatedAt']), ejson(conversation.getTimestamp()))
    assert.equal(ejson(cursor?.['unreadCount']), ejson(new Int32(0)))
  })

  test('obey the rules of their model', () => {
    const model = modelOf('ConversationReadCursor')
    for (const cursor of make([
      row(1, ann, 2, { receivedAt: at(1), readAt: at(12), updatedAt: at(12) }),
      { userId: bob },
    ])) {
      assert.deepEqual(wrongIn(model, cursor), [])
      assert.deepEqual(unknownIn(model, cursor), [])
    }
  })
})
