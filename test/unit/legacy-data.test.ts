import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { before, describe, test } from 'node:test'
import { BSON, Double, Long, ObjectId, type Document } from 'mongodb'
import { uploads, type Upload } from '../stack/data/files.ts'
import { ANOMALIES, COUNTS, legacyCollections, type CollectionName } from '../stack/data/legacy.ts'
import { redisCommands } from '../stack/data/redis.ts'

const SMALL = 0.02
/** Of all documents at that scale with seed 1, one after the other. Changes with the generator, and with nothing else. */
const SMALL_SHA256 = 'dcd08c73bff65e55bc1a90915d9eeede10a0c5bdff9a55989dc3d9727b9477d6'

/** Fields that name a document of another collection; with `?` where the target schema can do without it. */
const REFERENCES: Partial<Record<CollectionName, string>> = {
  User: 'deletedBy:User?',
  Community: 'createdBy:User',
  CommunityMember: 'communityId:Community userId:User',
  Conversation: 'communityId:Community? encryptionEnabledBy:User?',
  ConversationMember: 'conversationId:Conversation userId:User',
  Message:
    'conversationId:Conversation senderId:User? anonymousSenderId:AnonymousParticipant? replyToId:Message?',
  MessageAttachment: 'messageId:Message uploadedBy:User',
  MessageTranslation: 'messageId:Message',
  MessageStatus: 'conversationId:Conversation? messageId:Message? userId:User?',
  MessageReadStatus: 'messageId:Message? userId:User?',
  Reaction: 'messageId:Message userId:User? anonymousUserId:AnonymousParticipant?',
  Mention: 'messageId:Message mentionedUserId:User',
  FriendRequest: 'senderId:User receiverId:User',
  UserStats: 'userId:User',
  AffiliateToken: 'createdBy:User',
  AffiliateRelation: 'affiliateTokenId:AffiliateToken affiliateUserId:User referredUserId:User',
  AdminAuditLog: 'userId:User? adminId:User?',
  ConversationShareLink: 'conversationId:Conversation createdBy:User',
  TrackingLink: 'createdBy:User? conversationId:Conversation? messageId:Message?',
  TrackingLinkClick: 'trackingLinkId:TrackingLink userId:User? anonymousId:AnonymousParticipant?',
  call_sessions: 'conversationId:Conversation initiatorId:User',
  call_participants: 'callSessionId:call_sessions userId:User?',
  user_conversation_categories: 'userId:User',
  user_conversation_preferences:
    'userId:User conversationId:Conversation categoryId:user_conversation_categories?',
  Notification:
    'userId:User? senderId:User? conversationId:Conversation? messageId:Message? callSessionId:call_sessions?',
  MessageAttachment_backup_urls: '_id:MessageAttachment?',
  old_message_status: 'messageId:Message? userId:User?',
}

/** Keys that are unique in the target where all their fields have a value. */
const KEYS: Partial<Record<CollectionName, string[]>> = {
  User: ['username', 'email'],
  Community: ['identifier'],
  Conversation: ['identifier'],
  ConversationMember: ['conversationId userId'],
  ConversationShareLink: ['linkId', 'identifier'],
  MessageTranslation: ['messageId targetLanguage'],
  Reaction: ['messageId userId emoji', 'messageId anonymousUserId emoji'],
  Mention: ['messageId mentionedUserId'],
  UserStats: ['userId'],
  AffiliateToken: ['token'],
  TrackingLink: ['token'],
  user_conversation_preferences: ['userId conversationId'],
}

const ROLES = ['USER', 'ADMIN', 'MODERATOR', 'BIGBOSS', 'AUDIT', 'ANALYST', 'MODO']
const STATUSES = ['initiated', 'ringing', 'active', 'ended', 'missed', 'rejected']

/** What no rule can repair in a document taken alone, beside a wrong _id and a wrong date. */
const BROKEN: Partial<Record<CollectionName, (d: Document) => boolean>> = {
  User: ({ role }) => typeof role === 'string' && !ROLES.includes(role.toUpperCase()),
  Message: ({ content }) => content === undefined,
  MessageTranslation: ({ translatedContent }) => translatedContent === undefined,
  UserStats: ({ messagesSent }) => Number(messagesSent) % 1 !== 0,
  call_sessions: ({ status }) => !STATUSES.includes(status),
}

const isText = (value: unknown): boolean => typeof value === 'string'
const isDate = (value: unknown): boolean => value instanceof Date
const isIsoText = (value: unknown): boolean =>
  typeof value === 'string' && Date.parse(value) > 0 && new Date(value).toISOString() === value
const isIdText = (value: unknown): boolean => typeof value === 'string' && /^[0-9a-f]{24}$/.test(value)
const lacks =
  (...fields: string[]) =>
  (d: Document): boolean =>
    fields.every((field) => !(field in d))
const ALL_FLAGS = ['Message', 'Files', 'Images', 'Videos', 'Audios', 'Locations', 'Links'].map(
  (w) => `canSend${w}`,
)

/** Does a document show the anomaly? What depends on others (twins, what is gone) is looked at elsewhere. */
const SHOWS: Record<string, (d: Document, i: number) => boolean> = {
  'User/older': (d) => d.createdAt === undefined || new Date(d.createdAt) < new Date('2025-11-20'),
  'User/avatar': (d) => /^https:\/\/static\.meeshy\.me\/u\/i\/2025\/10\/avatar_\w+\.jpg$/.test(d.avatar),
  'User/unknown-role': (d) => d.role === 'TESTER',
  'User/meeshy': (d) => d.username === 'meeshy' && d.role === 'BIGBOSS' && d.phoneNumber === null,
  'User/admin': (d) => d.username === 'admin' && d.isActive,
  'User/atabeth': (d) => d.username === 'atabeth' && d.isActive,
  'User/role-modo': (d) => d.role === 'MODO',
  'User/role-lower-case': (d) => d.role === 'user',
  'User/role-absent': lacks('role'),
  'User/name-space': (d) => /[A-Z]/.test(d.username) && d.username.includes(' '),
  'User/name-spaces': (d) => d.username.trim() !== d.username,
  'User/mail-capitals': (d) => /[A-Z]/.test(d.email),
  'User/mail-twin': (d) => d.email === 'sophie.martin@gmail.com',
  'User/locked': (d) =>
    d.twoFactorSecret && isDate(d.twoFactorEnabledAt) && isDate(d.lockedUntil) && d.lockedReason,
  'User/booleans-true': (d) =>
    d.emailVerified &&
    d.phoneVerified &&
    d.twoFactorEnabled &&
    d.twoFactorSecret &&
    lacks('twoFactorEnabledAt')(d),
  'User/booleans-no-secret': (d) => d.twoFactorEnabled && lacks('twoFactorSecret')(d),
  'User/booleans-false': (d) => d.emailVerified === false && d.twoFactorEnabled === false,
  'User/oldest': lacks(
    'createdAt',
    'updatedAt',
    'role',
    'bio',
    'lastActiveAt',
    'displayName',
    'systemLanguage',
  ),
  'User/deleted': (d) => isDate(d.deletedAt) && d.deletedBy instanceof ObjectId,
  'User/deactivated': (d) => d.isActive === false && isDate(d.deactivatedAt),
  'User/inactive': (d) => d.isActive === false && lacks('deactivatedAt')(d),
  'User/date-text': (d) => isIsoText(d.createdAt),
  'User/int-double': (d) => d.failedLoginAttempts instanceof Double,
  'User/int-long': (d) => d.profileCompletionRate instanceof Long,
  'User/keys': (d) => d.signalIdentityKeyPublic && d.signalRegistrationId > 0 && isDate(d.lastKeyRotation),
  'User/id-text': (d) => isIdText(d.deletedBy),
  'User/empty-name': (d) => d.lastName === '' && lacks('displayName')(d),
  'User/extra-fields': (d) => d.theme === 'dark',

  'Community/private': (d) => d.isPrivate === true,
  'Community/no-identifier': (d) => d.identifier === null,
  'Community/public': (d) => d.isPrivate === false,
  'CommunityMember/role-case': (d, i) => d.role === ['ADMIN', 'member'][i],
  'CommunityMember/no-role': lacks('role'),
  'Conversation/older': lacks('autoTranslateEnabled'),
  'Conversation/global': (d) => d.identifier === 'meeshy' && d.isActive,
  'Conversation/null-identifier': (d) => d.identifier === null,
  'Conversation/no-identifier': lacks('identifier'),
  'Conversation/encrypted': (d) => d.encryptionMode === 'server' && isIdText(d.serverEncryptionKeyId),
  'Conversation/image': (d) => isText(d.image) && lacks('avatar')(d),
  'Conversation/image-and-avatar': (d) => isText(d.image) && isText(d.avatar),
  'Conversation/archived': (d) => d.isArchived === true,
  'Conversation/oldest': lacks('lastMessageAt', 'isActive', 'updatedAt'),
  'Conversation/inactive': (d) => d.isActive === false,
  'Conversation/date-text': (d) => isIsoText(d.lastMessageAt),
  'Conversation/silent': lacks('lastMessageAt'),
  'ConversationMember/role-case': (d, i) => d.role === ['CREATOR', 'ADMIN', 'MEMBER', 'member'][i],
  'ConversationMember/muted': (d) => ALL_FLAGS.every((flag) => d[flag] === false),
  'ConversationMember/half-muted': (d) => d.canSendMessage && d.canSendFiles === false,
  'ConversationMember/no-flags': lacks('canSendVideos', 'canSendLinks'),
  'ConversationMember/left': (d) => d.isActive === false && isDate(d.leftAt),
  'ConversationMember/date-text': (d) => isIsoText(d.joinedAt),
  'ConversationMember/no-role': lacks('role'),
  'ConversationShareLink/null-identifier': (d) => d.identifier === null,
  'ConversationShareLink/no-lists': lacks('allowedCountries', 'allowedLanguages', 'allowedIpRanges'),
  'call_sessions/unknown-status': (d) => d.status === 'failed',
  'call_sessions/mode-case': (d) => d.mode === 'P2P',
  'call_sessions/hard-values': (d) => [...d.metadata.keys()].join().startsWith('b,10,2'),
  'call_participants/guest-id': (d) => isIdText(d.anonymousId),
  'call_participants/guest-name': (d) => isText(d.anonymousId) && !isIdText(d.anonymousId),
  'user_conversation_preferences/all': lacks('isDeletedForUser'),

  'Message/before-mentions': lacks('validatedMentions'),
  'Message/before-encryption': (d) => d.encryptionMode === 'server' || lacks('isEncrypted')(d),
  'Message/no-content': lacks('content'),
  'Message/date-word': (d) => isText(d.createdAt) && !isIsoText(d.createdAt),
  'Message/deleted-image': (d) =>
    d.originalLanguage === 'en' && d.messageType === 'image' && d.isDeleted && isDate(d.deletedAt),
  'Message/sample': (d) => d.isDeleted && isDate(d.deletedAt) && lacks('validatedMentions', 'isEncrypted')(d),
  'Message/oldest': lacks('originalLanguage', 'messageType', 'isDeleted', 'createdAt', 'updatedAt'),
  'Message/encrypted': (d) =>
    d.isEncrypted && isText(d.encryptedContent) && d.encryptionMetadata.keyVersion === 1,
  'Message/edited': (d) => d.isEdited && isDate(d.editedAt),
  'Message/extra-fields': (d) => d.status === 'SENT',
  'Message/anonymous': (d) => d.anonymousSenderId instanceof ObjectId && lacks('senderId')(d),
  'Message/date-text': (d) => isIsoText(d.createdAt),
  'Message/id-text': (d) => isIdText(d.conversationId),
  'Message/deleted-undated': (d) => d.isDeleted && lacks('deletedAt')(d),
  'Message/dated-undeleted': (d) => d.isDeleted === false && isDate(d.deletedAt),
  'MessageAttachment/absolute': (d) => d.fileUrl === `https://gate.meeshy.me/api/attachments/${d.filePath}`,
  'MessageAttachment/relative': (d) => d.fileUrl === `/api/attachments/${d.filePath}`,
  'MessageAttachment/version1': (d) => d.fileUrl === `/api/v1/attachments/${d.filePath}`,
  'MessageAttachment/complete': (d) => d.mimeType === 'image/png' && d.width > 0 && d.height > 0,
  'MessageAttachment/int-long': (d) => d.fileSize instanceof Long,
  'MessageAttachment/int-double': (d) => d.fileSize instanceof Double,
  'MessageAttachment/oldest': lacks('isAnonymous', 'createdAt'),
  'MessageAttachment/hard-name': (d) => d.originalName.startsWith('-rf') && d.originalName.includes('\n'),
  'MessageTranslation/other-source': (d) => d.sourceLanguage === 'de',
  'MessageTranslation/float-whole': (d) => d.confidenceScore instanceof Double,
  'MessageTranslation/no-score': lacks('confidenceScore'),
  'MessageTranslation/region': (d) => d.targetLanguage === 'pt-BR',
  'MessageTranslation/no-text': lacks('translatedContent'),
  'MessageStatus/by-message': (d) => d.messageId instanceof ObjectId,
  'MessageStatus/no-conversation': lacks('conversationId'),
  'Reaction/same-emoji': (d) => d.emoji === '🫶',
  'Reaction/anonymous': (d) => d.userId === null && d.anonymousUserId instanceof ObjectId,
  'Mention/complete': (d) => d.mentionedUserId instanceof ObjectId && isDate(d.mentionedAt),
  'Mention/date-text': (d) => isIsoText(d.mentionedAt),

  'UserStats/int-long': (d) => d.messagesSent instanceof Long,
  'UserStats/int-fraction': (d) => d.messagesSent === 2.5,
  'FriendRequest/message': (d) => isText(d.message) && d.status === 'accepted',
  'FriendRequest/no-status': lacks('status'),
  'FriendRequest/date-word': (d) => isText(d.createdAt) && !isIsoText(d.createdAt),
  'AffiliateToken/int-long': (d) => d.currentUses instanceof Long,
  'AdminAuditLog/hard-values': (d) => [...d.context.keys()].join().startsWith('b,10,2'),
  'TrackingLink/no-maker': (d) => d.createdBy === null,
  'TrackingLink/int-double': (d) => d.totalClicks instanceof Double,
  'TrackingLinkClick/text-id': (d) => isText(d._id),
}

/** Anomalies that name something that is gone. */
const GONE = [
  'User/dangling-deleter',
  'Conversation/dangling-community',
  'MessageAttachment/orphan',
  'Message/anonymous',
  'Message/dangling-conversation',
  'Message/dangling-reply',
  'Message/dangling-sender',
  'Reaction/anonymous',
  'Reaction/dangling-message',
  'Mention/dangling-user',
  'TrackingLinkClick/guest',
  'TrackingLinkClick/dangling-user',
]
/** Those that need what is quarantined. */
const TAKEN = ['MessageTranslation/taken', 'Reaction/taken', 'call_participants/taken']
/** Those that share a unique key with a document that wins. */
const TWINS = [
  'UserStats/twin-older',
  'UserStats/twin-created-before',
  'UserStats/twin-lower-id',
  'ConversationMember/twin',
]
/** What a look at the document alone cannot show. */
const ELSEWHERE = [...GONE, ...TAKEN, ...TWINS, 'UserStats/twin-winner', 'MessageStatus/twin']

const sha256 = (parts: Iterable<Uint8Array>): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}
function* bson(scale: number, seed: number): Generator<Uint8Array> {
  for (const { documents } of legacyCollections({ scale, seed })) {
    for (const document of documents) yield BSON.serialize(document)
  }
}
/** `_id`s as text, with the collection, of the anomalies with these names. */
function idsOf(names: readonly string[], scale: number): string[] {
  return ANOMALIES.filter(({ id }) => names.includes(id))
    .flatMap(({ collection, ids }) => ids(scale).map((id) => `${collection} ${String(id)}`))
    .toSorted()
}

/** All documents by collection, then by `_id` as text. */
type Base = Map<CollectionName, Map<string, Document>>

function baseOf(scale: number): Base {
  return new Map(
    [...legacyCollections({ scale })].map(({ name, documents }) => [
      name,
      new Map([...documents].map((document) => [String(document['_id']), document])),
    ]),
  )
}

/** `<collection> <_id>` of documents with a reference to what is not in the base, optional ones counted or not. */
function dangling(
  base: Base,
  isGone: (target: CollectionName, id: string) => boolean,
  withOptional: boolean,
): string[] {
  return [...base].flatMap(([name, documents]) => {
    const references = (REFERENCES[name] ?? '')
      .split(' ')
      .filter((r) => r && (withOptional || !r.endsWith('?')))
    const fields = references.map((r) => r.replace('?', '').split(':') as [string, CollectionName])
    return [...documents].flatMap(([id, d]) =>
      fields.some(([field, target]) => (d[field] ?? null) !== null && isGone(target, String(d[field])))
        ? [`${name} ${id}`]
        : [],
    )
  })
}

for (const scale of [SMALL, 1]) {
  describe(`the legacy data at scale ${scale}`, () => {
    let base: Base
    const all = (name: CollectionName): [string, Document][] => [...(base.get(name) ?? [])]
    before(() => {
      base = baseOf(scale)
    })

    test('every _id is there once, and no field is undefined', () => {
      for (const { name, count } of legacyCollections({ scale })) {
        assert.equal(base.get(name)?.size, count, name)
        for (const [id, d] of all(name))
          assert.ok(
            Object.values(d).every((v) => v !== undefined),
            `${name} ${id}`,
          )
      }
    })

    test('every anomaly is where it is said to be', () => {
      for (const { id: name, collection, ids } of ANOMALIES) {
        const there = ids(scale)
        assert.ok(there.length > 0, `${name} is nowhere`)
        const shows = SHOWS[name]
        assert.ok(shows ?? ELSEWHERE.includes(name), `nothing tests ${name}`)
        for (const [i, id] of there.entries()) {
          const document = base.get(collection)?.get(String(id))
          assert.ok(document, `${name}: no document ${String(id)}`)
          assert.ok(shows?.(document, i) ?? true, `${name}: ${JSON.stringify(document)}`)
        }
      }
    })

    test('all references are valid but those that are said to be gone', () => {
      const gone = dangling(base, (target, id) => !base.get(target)?.has(id), true)
      assert.deepEqual(gone.toSorted(), idsOf(GONE, scale))
    })

    test('what is quarantined is exactly what breaks a rule or needs what does', () => {
      const isWordForDate = ({ createdAt }: Document): boolean => isText(createdAt) && !isIsoText(createdAt)
      const bad = new Set(idsOf(TWINS, scale))
      for (const [name] of base) {
        for (const [id, d] of all(name)) {
          const isBroken = !(d['_id'] instanceof ObjectId) || isWordForDate(d) || BROKEN[name]?.(d)
          if (isBroken) bad.add(`${name} ${id}`)
        }
      }
      for (let before = -1; before < bad.size;) {
        before = bad.size
        const isGone = (target: CollectionName, id: string): boolean =>
          !base.get(target)?.has(id) || bad.has(`${target} ${id}`)
        for (const id of dangling(base, isGone, false)) bad.add(id)
      }
      const said = ANOMALIES.filter(({ fate }) => fate === 'quarantined').map(({ id }) => id)
      assert.deepEqual([...bad].toSorted(), idsOf(said, scale))
    })

    test('keys are unique in the target but for the twins', () => {
      const twice: string[] = []
      for (const [name, keys] of Object.entries(KEYS) as [CollectionName, string[]][]) {
        for (const key of keys) {
          const last = new Map<string, string>()
          for (const [id, d] of all(name)) {
            const values = key.split(' ').map((field) => d[field])
            if (values.some((value) => value === undefined || value === null)) continue
            const other = last.get(values.join())
            if (other) twice.push(`${name} ${other}`)
            last.set(values.join(), id)
          }
        }
      }
      assert.deepEqual(twice.toSorted(), idsOf(TWINS, scale))
    })

    test('the unique indexes can be built', () => {
      for (const { name, indexes } of legacyCollections({ scale })) {
        for (const index of indexes.filter(({ unique }) => unique)) {
          const keys = all(name).map(([, d]) =>
            Object.keys(index.key)
              .map((field) => d[field] ?? null)
              .join(),
          )
          assert.equal(new Set(keys).size, keys.length, index.name)
        }
      }
    })

    test('two rows of MessageStatus tell of one message and user', () => {
      const rows = all('MessageStatus').map(([id, d]) => ({ id, pair: `${d['messageId']} ${d['userId']}` }))
      for (const id of idsOf(['MessageStatus/twin'], scale)) {
        const pair = rows.find((row) => id.endsWith(row.id))?.pair
        assert.equal(rows.filter((row) => row.pair === pair).length, 2)
      }
    })

    test('the boot of the gateway finds its accounts in the global conversation', () => {
      const global = all('Conversation').find(([, d]) => d['identifier'] === 'meeshy')?.[0]
      for (const username of ['meeshy', 'admin', 'atabeth']) {
        const user = all('User').find(([, d]) => d['username'] === username)?.[0]
        const member = all('ConversationMember').find(
          ([, d]) => String(d['conversationId']) === global && String(d['userId']) === user,
        )
        assert.ok(member, username)
      }
    })
  })
}

describe('the legacy data', () => {
  test('has the true counts at scale 1', () => {
    const collections = [...legacyCollections()]
    assert.equal(collections.length, 31)
    assert.deepEqual(Object.fromEntries(collections.map(({ name, count }) => [name, count])), COUNTS)
    assert.equal(
      Object.values(COUNTS).reduce((sum: number, count) => sum + count, 0),
      125_635,
    )
  })

  test('grows and shrinks with the scale', () => {
    const total = (scale: number): number =>
      [...legacyCollections({ scale })].reduce((sum, c) => sum + c.count, 0)
    assert.ok(Math.abs(total(0.05) / 125_635 - 0.05) < 0.002)
    assert.equal(total(8), 8 * 125_635)
    for (const { name, count } of legacyCollections({ scale: 0.001 }))
      assert.equal(count === 0, COUNTS[name] === 0)
  })

  test('is the same bytes for the same seed and scale, others for another seed', () => {
    assert.equal(sha256(bson(SMALL, 1)), SMALL_SHA256)
    assert.notEqual(sha256(bson(SMALL, 2)), SMALL_SHA256)
    const [users] = [...legacyCollections({ scale: SMALL })]
    assert.ok(users)
    assert.deepEqual([...users.documents], [...users.documents])
  })

  test('anomalies stand at the same ids for every seed', () => {
    for (const { name, documents } of legacyCollections({ scale: SMALL, seed: 7 })) {
      const base = new Map([...documents].map((d) => [String(d['_id']), d]))
      for (const { id, ids } of ANOMALIES.filter(({ collection }) => collection === name)) {
        for (const [i, _id] of ids(SMALL).entries()) {
          const document = base.get(String(_id))
          assert.ok(document && (SHOWS[id]?.(document, i) ?? true), id)
        }
      }
    }
  })
})

describe('the uploads', () => {
  const key = ({ volume, path }: Upload): string => `${volume} ${path}`
  const files = new Map([...uploads({ scale: SMALL })].map((file) => [key(file), file]))

  test('are the same for the same seed, each path once', () => {
    const again = [...uploads({ scale: SMALL })]
    assert.deepEqual(again.map(key), [...files.keys()])
    const contents = (list: Iterable<Upload>): string => sha256([...list].map((file) => file.bytes()))
    assert.equal(contents(again), contents(files.values()))
    assert.notEqual(contents(uploads({ scale: SMALL, seed: 2 })), contents(again))
  })

  test('hold most attachments, in their size, with their thumbnails', () => {
    const [attachments = []] = [...legacyCollections({ scale: SMALL })].flatMap(({ name, documents }) =>
      name === 'MessageAttachment' ? [[...documents]] : [],
    )
    const stored = attachments.filter(({ filePath }) => files.has(`gateway_uploads attachments/${filePath}`))
    assert.ok(stored.length > attachments.length / 2 && stored.length < attachments.length)
    for (const { filePath, fileSize, thumbnailPath } of stored) {
      assert.equal(files.get(`gateway_uploads attachments/${filePath}`)?.bytes().length, Number(fileSize))
      if (thumbnailPath) assert.ok(files.has(`gateway_uploads attachments/${thumbnailPath}`))
    }
    assert.ok(stored.some(({ fileSize }) => Number(fileSize) === 2 ** 20))
  })

  test('hold the avatar of every user that has one', () => {
    const [users] = [...legacyCollections({ scale: SMALL })]
    const avatars = [...(users?.documents ?? [])].flatMap(({ avatar }) => (avatar ? [String(avatar)] : []))
    assert.ok(avatars.length > 10)
    for (const avatar of avatars) {
      assert.ok(files.has(avatar.replace('https://static.meeshy.me/u/', 'frontend_uploads ')), avatar)
    }
  })

  test('hold what is hard to copy; links lead to what is there', () => {
    const paths = [...files.values()].map(({ path }) => posix.basename(path))
    for (const mark of [' ', '"', "'", '\n', '$(', '`', 'é'])
      assert.ok(
        paths.some((p) => p.includes(mark)),
        mark,
      )
    assert.ok(paths.some((path) => path.startsWith('-')))
    const list = [...files.values()]
    assert.ok(list.some(({ mode, uid }) => mode === 0o600 && uid !== 0 && uid !== 1001))
    assert.ok(list.some(({ hole = 0 }) => hole > 2 ** 20))
    for (const { volume, path, link } of list) {
      if (!link) continue
      const target = link.kind === 'hard' ? link.to : posix.join(posix.dirname(path), link.to)
      assert.ok(files.has(`${volume} ${target}`), `${path} leads to ${target}`)
    }
  })

  test('hold models of the wanted size', () => {
    const models = [...uploads({ scale: SMALL, modelBytes: 100_000 })].filter(
      (f) => f.volume === 'models_data',
    )
    assert.equal(
      models.reduce((sum, file) => sum + file.bytes().length, 0),
      100_000,
    )
  })
})

describe('the keys of Redis', () => {
  test('are the same for the same seed, of every type, some with an expiry', () => {
    const commands = [...redisCommands({ scale: SMALL })]
    assert.deepEqual([...redisCommands({ scale: SMALL })], commands)
    assert.notDeepEqual([...redisCommands({ scale: SMALL, seed: 2 })], commands)
    const names = new Set(commands.map(([name]) => name))
    assert.deepEqual([...names].toSorted(), ['HSET', 'RPUSH', 'SADD', 'SET', 'ZADD'])
    assert.ok(commands.some((c) => c[0] === 'SET' && c[3] === 'EX'))
  })
})
