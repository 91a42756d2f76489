import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BSON, Decimal128, Double, Int32, Long, ObjectId, Timestamp, type Document } from 'mongodb'
import { treat } from '../../migration/treat.ts'
import { asItIs } from '../../migration/shape.ts'
import { hardValues } from '../stack/data/hard-values.ts'
import { T, ejson, loads, modelOf, oid, refusals } from './migration-fixture.ts'

const MADE = new Date('2025-09-15T08:00:00.000Z')
const LATER = new Date('2025-11-20T18:45:12.345Z')
const SECOND = 1_762_165_230 // s: 2025-11-03T10:20:30Z
const ID = oid(SECOND)

/** What holds of the target's fields, told by type and value. */
function holds(actual: Document, expected: Document): void {
  for (const [field, value] of Object.entries(expected))
    assert.equal(ejson(actual[field]), ejson(value), field)
}
const has = (doc: Document, field: string): boolean => Object.hasOwn(doc, field)
const rules = (treated: { repairs: readonly { rule: string; field: string }[] }, field: string): string[] =>
  treated.repairs.filter((r) => r.field === field).map(({ rule }) => rule)

const user = (more: Document = {}): Document => ({
  _id: ID,
  username: 'Jean Paul',
  firstName: 'Jean',
  lastName: 'Paul',
  email: 'Jean.PAUL@Example.org',
  password: '$2b$10$abcdefghijklmnopqrstuv',
  role: 'USER',
  createdAt: MADE,
  updatedAt: LATER,
  ...more,
})

describe('User', () => {
  test('the guide’s new fields, where the document has no value', () => {
    const { doc } = loads('User', user())
    holds(doc, {
      phoneCountryCode: null,
      timezone: null,
      banner: null,
      emailVerifiedAt: null,
      phoneVerifiedAt: null,
      twoFactorSecret: null,
      twoFactorBackupCodes: [],
      failedLoginAttempts: new Int32(0),
      lockedUntil: null,
      lastPasswordChange: MADE,
      lastLoginIp: null,
      lastLoginLocation: null,
      registrationIp: null,
      blockedUserIds: [],
      bio: '',
      displayName: 'Jean Paul',
      username: 'Jean Paul',
      email: 'Jean.PAUL@Example.org',
      systemLanguage: 'en',
      isActive: true,
      isOnline: false,
    })
    for (const field of ['regionalLanguage', 'profileCompletionRate', 'deactivatedAt', 'deletedAt', 'avatar'])
      assert.ok(!has(doc, field), field)
  })

  test('two-factor authentication, a lock, verified addresses and a deletion stay', () => {
    const security = {
      emailVerifiedAt: MADE,
      phoneVerifiedAt: LATER,
      twoFactorEnabledAt: LATER,
      twoFactorSecret: 'JBSWY3DPEHPK3PXP',
      failedLoginAttempts: new Int32(5),
      lockedUntil: new Date('2026-02-01T00:00:00.000Z'),
      lockedReason: 'Trop de tentatives',
      lastPasswordChange: LATER,
      passwordResetAttempts: new Int32(2),
      lastPasswordResetAttempt: LATER,
      lastLoginIp: '203.0.113.7',
      lastLoginLocation: 'Dakar, SN',
      lastLoginDevice: 'Android',
      deactivatedAt: LATER,
      deletedAt: LATER,
      deletedBy: oid(2),
      profileCompletionRate: new Int32(0),
      signalIdentityKeyPublic: 'public',
      signalIdentityKeyPrivate: 'private',
      signalRegistrationId: new Int32(12_345),
      signalPreKeyBundleVersion: new Int32(1),
      lastKeyRotation: LATER,
      isActive: false,
      phoneNumber: '+221770000000',
      avatar: 'https://static.meeshy.me/u/a.jpg',
      bio: 'Bonjour',
      displayName: 'JP',
      systemLanguage: 'fr',
      regionalLanguage: 'wo',
      lastActiveAt: LATER,
    }
    const treated = loads('User', user(security))
    holds(treated.doc, security)
    for (const field of Object.keys(security)) assert.deepEqual(rules(treated, field), [], field)
  })

  test('false, 0 and empty text are values', () => {
    holds(loads('User', user({ displayName: '', bio: '', isActive: false, failedLoginAttempts: 0 })).doc, {
      displayName: '',
      bio: '',
      isActive: false,
      failedLoginAttempts: new Int32(0),
    })
  })

  test('roles', () => {
    const role = (value: unknown): unknown => loads('User', user({ role: value })).doc['role']
    assert.equal(role('MODO'), 'MODERATOR')
    assert.equal(role('modo'), 'MODERATOR')
    assert.equal(role('bigboss'), 'BIGBOSS')
    assert.equal(role('ANALYST'), 'ANALYST')
    assert.equal(role(null), 'USER')
    for (const other of ['TESTER', '', 'MODO ', 5])
      assert.deepEqual(refusals('User', user({ role: other })), ['type:User.role'])
    const told = T('User', user({ role: 'TESTER' }))
    assert.match('quarantine' in told ? (told.quarantine[0]?.text ?? '') : '', /"TESTER".*USER, ADMIN/)
  })

  test('a display name is built of the parts that there are', () => {
    const name = (more: Document): unknown => loads('User', user(more)).doc['displayName']
    assert.equal(name({ displayName: null }), 'Jean Paul')
    assert.equal(name({ lastName: '' }), 'Jean')
    assert.equal(name({ firstName: '' }), 'Paul')
    assert.equal(name({ firstName: '', lastName: '' }), undefined)
    assert.deepEqual(refusals('User', { ...user(), firstName: null }), ['missing:User.firstName'])
  })

  test('lastSeen fills an absent lastActiveAt, and is kept aside', () => {
    const absent = loads('User', user({ lastSeen: LATER }))
    holds(absent.doc, { lastActiveAt: LATER })
    holds(absent.sidecar ?? {}, { lastSeen: LATER })
    holds(loads('User', user({ lastSeen: LATER, lastActiveAt: MADE })).doc, { lastActiveAt: MADE })
    holds(loads('User', user({ lastSeen: 'hier' })).doc, { lastActiveAt: MADE })
  })

  test('older Booleans: the state is not lost, and the user is listed', () => {
    const on = { emailVerified: true, phoneVerified: true, twoFactorEnabled: true }
    const known = loads('User', user({ ...on, twoFactorSecret: 'KRSXG5CTMVRXEZLU' }))
    holds(known.doc, { emailVerifiedAt: MADE, phoneVerifiedAt: MADE, twoFactorEnabledAt: MADE })
    assert.deepEqual(rules(known, 'twoFactorEnabledAt'), ['two-factor-enabled'])
    holds(known.sidecar ?? {}, on)

    const lost = loads('User', user(on))
    assert.ok(!has(lost.doc, 'twoFactorEnabledAt'))
    assert.deepEqual(rules(lost, 'twoFactorEnabledAt'), ['two-factor-without-secret'])

    const off = loads('User', user({ emailVerified: false, phoneVerified: false, twoFactorEnabled: false }))
    holds(off.doc, { emailVerifiedAt: null, phoneVerifiedAt: null })
    assert.ok(!has(off.doc, 'twoFactorEnabledAt'))

    const dated = loads('User', user({ ...on, emailVerifiedAt: LATER, twoFactorEnabledAt: LATER }))
    holds(dated.doc, { emailVerifiedAt: LATER, twoFactorEnabledAt: LATER })
    assert.deepEqual(rules(dated, 'twoFactorEnabledAt'), [])
  })

  test('one hardly more than a name has all dates from its ObjectId', () => {
    const { doc } = loads('User', {
      _id: ID,
      username: 'a',
      firstName: 'A',
      lastName: 'B',
      email: 'a@b',
      password: 'x',
    })
    const date = new Date(SECOND * 1000)
    holds(doc, {
      createdAt: date,
      updatedAt: date,
      lastActiveAt: date,
      lastPasswordChange: date,
      role: 'USER',
    })
  })

  test('what has no home is kept aside: the five switches, and what no schema knows', () => {
    const homeless = {
      lastSeen: LATER,
      autoTranslateEnabled: true,
      translateToSystemLanguage: false,
      translateToRegionalLanguage: false,
      useCustomDestination: false,
      encryptionPreference: 'always',
      theme: 'dark',
      preferences: { beta: true },
      stats: null,
      id: 'x',
    }
    const { doc, sidecar } = loads('User', user(homeless))
    assert.equal(ejson(sidecar), ejson(homeless))
    for (const field of Object.keys(homeless)) assert.ok(!has(doc, field), field)
  })

  test('a document without a required value, or of a wrong type, is quarantined with each reason', () => {
    const { email: _, ...noEmail } = user({ password: 5, role: 'x', createdAt: 'hier' })
    assert.deepEqual(refusals('User', noEmail).toSorted(), [
      'missing:User.email',
      'type:User.createdAt',
      'type:User.password',
      'type:User.role',
    ])
  })
})

describe('lossless conversions', () => {
  test('dates as text, ids as text, whole numbers', () => {
    const treated = loads(
      'User',
      user({
        createdAt: '2025-09-15T10:00:00.000+02:00',
        deletedBy: 'ABCDEF0123456789abcdef01',
        failedLoginAttempts: new Double(5),
        profileCompletionRate: Long.fromNumber(80),
        blockedUserIds: ['abcdef0123456789abcdef01', oid(7)],
      }),
    )
    holds(treated.doc, {
      createdAt: MADE,
      lastPasswordChange: MADE,
      deletedBy: new ObjectId('abcdef0123456789abcdef01'),
      failedLoginAttempts: new Int32(5),
      profileCompletionRate: new Int32(80),
      blockedUserIds: [new ObjectId('abcdef0123456789abcdef01'), oid(7)],
    })
    assert.deepEqual(rules(treated, 'createdAt'), ['date-from-text'])
    assert.deepEqual(rules(treated, 'deletedBy'), ['id-from-text'])
    assert.deepEqual(rules(treated, 'failedLoginAttempts'), ['int-from-double'])
    assert.deepEqual(rules(treated, 'profileCompletionRate'), ['int-from-int64'])
    assert.deepEqual(rules(treated, 'blockedUserIds'), ['id-from-text'])
  })

  test('an _id is never converted', () => {
    for (const _id of ['abcdef0123456789abcdef01', 5, null, new Date(0)]) {
      assert.ok(
        refusals('User', user({ _id })).some((rule) => /^(id|missing):User\._id$/.test(rule)),
        String(_id),
      )
      assert.ok(
        refusals('Mention', { _id, messageId: oid(1), mentionedUserId: oid(2), mentionedAt: MADE }).length >
          0,
      )
    }
  })

  test('Json keeps every type and the order of its keys', () => {
    const message = { _id: ID, conversationId: oid(1), content: 'x', createdAt: MADE, updatedAt: MADE }
    const { bytes } = loads('Message', { ...message, encryptionMetadata: hardValues() })
    const inside = BSON.serialize({ encryptionMetadata: hardValues() }).subarray(4, -1)
    assert.ok(Buffer.from(bytes).includes(Buffer.from(inside)))
  })

  test('Float and Decimal128', () => {
    const row = {
      _id: ID,
      messageId: oid(1),
      targetLanguage: 'fr',
      translatedContent: 'x',
      translationModel: 'basic',
    }
    const dated = { ...row, createdAt: MADE, updatedAt: MADE }
    for (const confidenceScore of [new Double(1), new Double(0.87), new Int32(1)])
      holds(loads('MessageTranslation', { ...dated, confidenceScore }).doc, { confidenceScore })
    assert.deepEqual(
      refusals('MessageTranslation', { ...dated, confidenceScore: Decimal128.fromString('0.5') }),
      ['type:MessageTranslation.confidenceScore'],
    )
  })
})

describe('messages', () => {
  const message = {
    _id: ID,
    conversationId: oid(1),
    senderId: oid(2),
    content: 'Look',
    createdAt: MADE,
    updatedAt: LATER,
  }

  test('an English image, deleted on a known date', () => {
    const values = {
      ...message,
      originalLanguage: 'en',
      messageType: 'image',
      isEdited: true,
      editedAt: LATER,
      isDeleted: true,
      deletedAt: LATER,
      replyToId: oid(3),
      validatedMentions: ['abc'],
    }
    const { doc, sidecar } = loads('Message', values)
    holds(doc, {
      ...values,
      messageSource: 'user',
      isViewOnce: false,
      viewOnceCount: new Int32(0),
      isEncrypted: false,
    })
    holds(doc, { reactionCount: new Int32(0), deliveredCount: new Int32(0), readCount: new Int32(0) })
    assert.equal(sidecar, undefined)
    assert.ok(!has(doc, 'pinnedAt'))
  })

  test('the mark and the date of a deletion stay as they are, alone too', () => {
    const undated = loads('Message', { ...message, isDeleted: true }).doc
    assert.ok(undated['isDeleted'] === true && !has(undated, 'deletedAt'))
    holds(loads('Message', { ...message, isDeleted: false, deletedAt: LATER }).doc, {
      isDeleted: false,
      deletedAt: LATER,
    })
  })

  test('an encrypted one, by somebody anonymous', () => {
    const values = {
      content: '',
      anonymousSenderId: oid(9),
      encryptedContent: 'pQ0e',
      encryptionMode: 'server',
      encryptionMetadata: { iv: 'x', keyVersion: 1 },
      isEncrypted: true,
    }
    holds(loads('Message', { ...message, ...values }).doc, {
      ...values,
      encryptionMetadata: { iv: 'x', keyVersion: new Int32(1) },
    })
  })

  test('fields of names that the target uses for relations have no home', () => {
    const { sidecar } = loads('Message', { ...message, status: 'SENT', translations: [], sender: { a: 1 } })
    assert.deepEqual(Object.keys(sidecar ?? {}), ['status', 'translations', 'sender'])
  })

  test('an attachment', () => {
    const values = {
      messageId: oid(1),
      fileName: 'a.png',
      originalName: `-rf "l'été" $(id);\n.png`,
      mimeType: 'image/png',
      fileSize: new Int32(5),
      filePath: '2025/10/a.png',
      fileUrl: 'https://gate.meeshy.me/api/attachments/2025/10/a.png',
      thumbnailPath: 'a_thumb.png',
      thumbnailUrl: '/api/attachments/a_thumb.png',
      width: new Int32(1080),
      height: new Int32(720),
      fps: new Double(30),
      uploadedBy: oid(2),
      isAnonymous: true,
      createdAt: MADE,
      metadata: { exif: { orientation: new Double(1) } },
    }
    const { doc } = loads('MessageAttachment', { _id: ID, ...values })
    holds(doc, { ...values, isForwarded: false, isEncrypted: false, viewedCount: new Int32(0) })
    const { doc: older } = loads('MessageAttachment', {
      _id: ID,
      ...values,
      createdAt: null,
      isAnonymous: null,
    })
    holds(older, { isAnonymous: false, createdAt: new Date(SECOND * 1000) })
  })

  test('a translation: sourceLanguage and cacheKey have no home', () => {
    const row = {
      messageId: oid(1),
      targetLanguage: 'pt-BR',
      translatedContent: '',
      translationModel: 'basic',
    }
    const legacy = { _id: ID, ...row, sourceLanguage: 'fr', cacheKey: 'k', createdAt: MADE, updatedAt: LATER }
    const { doc, sidecar } = loads('MessageTranslation', legacy)
    holds(doc, { ...row, isEncrypted: false, createdAt: MADE, updatedAt: LATER })
    holds(sidecar ?? {}, { sourceLanguage: 'fr', cacheKey: 'k' })
    assert.ok(!has(doc, 'cacheKey') && !has(doc, 'confidenceScore'))
  })
})

describe('reactions', () => {
  const reaction = { _id: ID, messageId: oid(1), emoji: '🫶', createdAt: MADE, updatedAt: MADE }

  test('anonymousUserId becomes anonymousId', () => {
    const treated = loads('Reaction', { ...reaction, userId: null, anonymousUserId: oid(9) })
    holds(treated.doc, { anonymousId: oid(9), userId: null })
    assert.ok(!has(treated.doc, 'anonymousUserId') && treated.sidecar === undefined)
    assert.deepEqual(rules(treated, 'anonymousId'), ['anonymous-renamed'])
    holds(loads('Reaction', { ...reaction, anonymousUserId: oid(9).toHexString() }).doc, {
      anonymousId: oid(9),
    })
  })

  test('without one it stays absent, or null', () => {
    assert.ok(!has(loads('Reaction', { ...reaction, userId: oid(2) }).doc, 'anonymousId'))
    holds(loads('Reaction', { ...reaction, userId: oid(2), anonymousUserId: null }).doc, {
      anonymousId: null,
    })
    holds(loads('Reaction', { ...reaction, anonymousUserId: null, anonymousId: oid(8) }).doc, {
      anonymousId: oid(8),
    })
  })

  test('with both names the legacy one holds, the other is kept aside', () => {
    const { doc, sidecar } = loads('Reaction', { ...reaction, anonymousUserId: oid(9), anonymousId: oid(8) })
    holds(doc, { anonymousId: oid(9) })
    holds(sidecar ?? {}, { anonymousId: oid(8) })
  })
})

describe('communities and conversations', () => {
  const community = {
    _id: ID,
    identifier: 'c',
    name: 'C',
    createdBy: oid(1),
    createdAt: MADE,
    updatedAt: MADE,
  }
  const conversation = {
    _id: ID,
    identifier: 'x',
    type: 'group',
    lastMessageAt: LATER,
    createdAt: MADE,
    updatedAt: MADE,
  }

  test('a private community stays private, a public one public', () => {
    for (const isPrivate of [true, false])
      holds(loads('Community', { ...community, isPrivate }).doc, {
        isPrivate,
        isActive: true,
        deletedAt: null,
        banner: null,
      })
  })

  test('an identifier that is null or missing comes from the id, and is listed', () => {
    const { identifier: _, ...missing } = conversation
    for (const doc of [missing, { ...conversation, identifier: null }]) {
      const treated = loads('Conversation', doc)
      holds(treated.doc, { identifier: `conversation-${ID.toHexString()}` })
      assert.deepEqual(rules(treated, 'identifier'), ['identifier-from-id'])
    }
    holds(loads('Community', { ...community, identifier: null }).doc, {
      identifier: `community-${ID.toHexString()}`,
    })
    holds(loads('Conversation', { ...conversation, identifier: '' }).doc, { identifier: '' })
  })

  test('the encryption of a conversation stays', () => {
    const encryption = {
      encryptionMode: 'server',
      encryptionProtocol: 'aes-256-gcm',
      encryptionEnabledAt: LATER,
      encryptionEnabledBy: oid(1),
      serverEncryptionKeyId: 'key',
      autoTranslateEnabled: false,
    }
    holds(loads('Conversation', { ...conversation, ...encryption }).doc, encryption)
  })

  test('image fills an absent avatar, and is kept aside in any case; isArchived too', () => {
    const filled = loads('Conversation', { ...conversation, image: 'i', isArchived: true })
    holds(filled.doc, { avatar: 'i' })
    holds(filled.sidecar ?? {}, { image: 'i', isArchived: true })
    const both = loads('Conversation', { ...conversation, image: 'i', avatar: 'a' })
    holds(both.doc, { avatar: 'a' })
    holds(both.sidecar ?? {}, { image: 'i' })
    assert.ok(!has(loads('Conversation', { ...conversation, image: null }).doc, 'avatar'))
  })

  test('lastMessageAt is never the time of the run', () => {
    const { lastMessageAt: _, ...silent } = conversation
    holds(loads('Conversation', silent).doc, { lastMessageAt: MADE })
    holds(loads('Conversation', { _id: ID, type: 'group' }).doc, { lastMessageAt: new Date(SECOND * 1000) })
  })

  test('a member of a community', () => {
    const member = { _id: ID, communityId: oid(1), userId: oid(2), joinedAt: MADE, role: 'ADMIN' }
    holds(loads('CommunityMember', member).doc, { ...member, isActive: true, leftAt: null })
    holds(loads('CommunityMember', { ...member, role: null }).doc, { role: 'member' })
  })
})

describe('what is carried', () => {
  const member = {
    _id: ID,
    conversationId: oid(1),
    userId: oid(2),
    role: 'CREATOR',
    canSendMessage: false,
    canSendFiles: false,
    canSendImages: false,
    canSendVideos: false,
    canSendAudios: false,
    canSendLocations: false,
    canSendLinks: false,
    joinedAt: MADE,
    isActive: true,
  }

  test('a muted member stays muted, byte for byte', () => {
    const treated = loads('ConversationMember', member)
    assert.ok(treated.isCarried)
    assert.deepEqual(Buffer.from(treated.bytes), Buffer.from(BSON.serialize(member)))
    assert.deepEqual(treated.repairs, [])
  })

  test('hard values in a field that no model knows are carried', () => {
    const log = new Map<string, unknown>([
      ['_id', ID],
      ['userId', oid(1)],
      ['adminId', oid(2)],
      ['action', 'VIEW_USER'],
      ['entity', 'User'],
      ['entityId', 'x'],
      ['10', hardValues()],
      ['2', 1],
      ['createdAt', MADE],
    ])
    const treated = loads('AdminAuditLog', log)
    assert.ok(treated.isCarried)
    assert.deepEqual(Buffer.from(treated.bytes), Buffer.from(BSON.serialize(log)))
  })

  test('a repair changes that field alone: order, types and unknown fields stay', () => {
    const link = new Map<string, unknown>([
      ['extra', hardValues()],
      ['_id', ID],
      ['token', 't'],
      ['originalUrl', 'u'],
      ['shortUrl', 's'],
      ['createdBy', null],
      ['totalClicks', new Double(5)],
      ['uniqueClicks', new Int32(4)],
      ['createdAt', MADE],
      ['updatedAt', '2025-11-20T18:45:12.345Z'],
    ])
    const treated = loads('TrackingLink', link)
    const expected = new Map([
      ...link,
      ['totalClicks', new Int32(5)],
      ['updatedAt', LATER],
      ['isActive', true],
    ])
    assert.ok(!treated.isCarried)
    assert.deepEqual(Buffer.from(treated.bytes), Buffer.from(BSON.serialize(expected)))
    assert.deepEqual(treated.repairs, [
      { rule: 'int-from-double', field: 'totalClicks' },
      { rule: 'default', field: 'isActive' },
      { rule: 'date-from-text', field: 'updatedAt' },
    ])
  })

  test('a repair that would change the order of fields is refused', () => {
    const doc = { ...member, role: null, 10: 'x' }
    assert.deepEqual(refusals('ConversationMember', doc), ['bytes:ConversationMember'])
  })

  test('lists and optional fields that are missing are no reason to change it', () => {
    const link = { _id: ID, linkId: 'l', identifier: 'i', conversationId: oid(1), createdBy: oid(2) }
    const flags = ['Messages', 'Files', 'Images'].map((n) => [`allowAnonymous${n}`, true])
    const needs = [
      'requireAccount',
      'requireNickname',
      'requireEmail',
      'requireBirthday',
      'isActive',
      'allowViewHistory',
    ]
    const counts = ['currentUses', 'currentConcurrentUsers', 'currentUniqueSessions'].map((n) => [n, 0])
    const full = {
      ...link,
      ...Object.fromEntries([...flags, ...counts, ...needs.map((n) => [n, false])]),
      createdAt: MADE,
      updatedAt: MADE,
    }
    assert.ok(loads('ConversationShareLink', full).isCarried)
    const repaired = loads('ConversationShareLink', { ...full, identifier: null })
    assert.ok(!repaired.isCarried)
    holds(repaired.doc, {
      ...full,
      identifier: `conversationsharelink-${ID.toHexString()}`,
      currentUses: new Int32(0),
      currentConcurrentUsers: new Int32(0),
      currentUniqueSessions: new Int32(0),
    })
    assert.ok(!has(repaired.doc, 'allowedCountries'))
  })

  test('enums of a renamed collection', () => {
    const call = { _id: ID, conversationId: oid(1), initiatorId: oid(2), startedAt: MADE }
    const treated = loads('call_sessions', { ...call, mode: 'P2P', status: 'ended', metadata: hardValues() })
    holds(treated.doc, { mode: 'p2p', status: 'ended' })
    assert.deepEqual(rules(treated, 'mode'), ['enum-case'])
    assert.ok(loads('call_sessions', { ...call, mode: 'sfu', status: 'ended' }).isCarried)
    assert.deepEqual(refusals('call_sessions', { ...call, mode: 'p2p', status: 'failed' }), [
      'type:CallSession.status',
    ])
  })
})

describe('the others', () => {
  test('a guest of a call: 24 digits are an ObjectId, any other value is kept aside', () => {
    const call = { _id: ID, callSessionId: oid(1), joinedAt: MADE }
    const hex = 'abcdef0123456789abcdef01'
    holds(loads('call_participants', { ...call, anonymousId: hex }).doc, { anonymousId: new ObjectId(hex) })
    for (const guest of ['guest-7f3a', '', 5]) {
      const treated = loads('call_participants', { ...call, anonymousId: guest })
      assert.ok(!has(treated.doc, 'anonymousId'))
      assert.deepEqual(Object.keys(treated.sidecar ?? {}), ['anonymousId'])
      assert.deepEqual(rules(treated, 'anonymousId'), ['guest-aside'])
    }
    holds(loads('call_participants', { ...call, anonymousId: null }).doc, {
      anonymousId: null,
      role: 'participant',
    })
    assert.ok(!has(loads('call_participants', call).doc, 'anonymousId'))
  })

  test('preferences of a conversation', () => {
    const row = {
      _id: ID,
      userId: oid(1),
      conversationId: oid(2),
      isPinned: true,
      tags: ['à lire'],
      reaction: '🔥',
    }
    const { doc } = loads('user_conversation_preferences', { ...row, createdAt: MADE, updatedAt: LATER })
    holds(doc, { ...row, isDeletedForUser: false, isMuted: false, updatedAt: LATER })
    assert.ok(!has(doc, 'deletedForUserAt') && !has(doc, 'clearHistoryBefore'))
  })

  test('statistics', () => {
    const row = {
      _id: ID,
      userId: oid(1),
      messagesSent: Long.fromNumber(12),
      lastActiveAt: LATER,
      createdAt: MADE,
      updatedAt: MADE,
    }
    const { doc, sidecar } = loads('UserStats', row)
    holds(doc, { messagesSent: new Int32(12), sessionCount: new Int32(0) })
    holds(sidecar ?? {}, { lastActiveAt: LATER })
    assert.deepEqual(refusals('UserStats', { ...row, messagesSent: 2.5 }), ['type:UserStats.messagesSent'])
  })

  test('an anonymous participant', () => {
    const row = {
      _id: ID,
      conversationId: oid(1),
      shareLinkId: oid(2),
      firstName: 'A',
      lastName: 'B',
      username: 'ab',
      sessionToken: 's',
    }
    const { doc, sidecar } = loads('AnonymousParticipant', {
      ...row,
      joinedAt: MADE,
      lastSeenAt: LATER,
      canSendFiles: true,
    })
    holds(doc, {
      lastActiveAt: LATER,
      joinedAt: MADE,
      language: 'fr',
      canSendFiles: true,
      canSendVideos: false,
      canSendAudios: true,
    })
    holds(sidecar ?? {}, { lastSeenAt: LATER })
    holds(loads('AnonymousParticipant', { ...row, joinedAt: MADE }).doc, { lastActiveAt: MADE })
  })
})

describe('bytes', () => {
  const mention = { _id: ID, messageId: oid(1), mentionedUserId: oid(2), mentionedAt: MADE }

  test('what the server would replace is quarantined', () => {
    const zero = new Timestamp({ t: 0, i: 0 })
    assert.deepEqual(refusals('Mention', { ...mention, clock: zero }), ['bytes:Mention'])
    assert.ok(loads('Mention', { ...mention, clock: { at: zero } }).isCarried)
  })

  test('a document that cannot be read is quarantined', () => {
    const bytes = Buffer.from('this is no BSON')
    const treated = treat(asItIs, modelOf('Mention'), bytes)
    assert.deepEqual('quarantine' in treated && treated.quarantine.map(({ rule }) => rule), ['bytes:Mention'])
  })

  test('one with values that only its own bytes keep is carried, and not transformed', () => {
    const old = (doc: Document): Buffer => {
      const bytes = Buffer.from(BSON.serialize({ ...doc, zz: null }))
      bytes[bytes.indexOf('zz\0') - 1] = 6 // undefined
      return bytes
    }
    const carried = treat(asItIs, modelOf('Mention'), old(mention))
    assert.ok('bytes' in carried && carried.isCarried)
    const repaired = treat(
      asItIs,
      modelOf('Mention'),
      old({ ...mention, mentionedAt: '2025-11-20T18:45:12.345Z' }),
    )
    assert.ok('quarantine' in repaired)
  })

  test('16 MiB stay the limit', () => {
    const message = {
      _id: ID,
      conversationId: oid(1),
      createdAt: MADE,
      updatedAt: MADE,
      content: 'x'.repeat(2 ** 24 - 150),
    }
    assert.deepEqual(refusals('Message', message), ['bytes:Message'])
  })
})
