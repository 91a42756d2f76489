import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { BSON, type Document, type ObjectId } from 'mongodb'
import { keyText, referencesOf, rowOf, settle, type Row, type Settled } from '../../migration/cross.ts'
import { PLAN } from '../../migration/plan.ts'
import { isListed, type RepairName } from '../../migration/repairs.ts'
import { unknownIn, wrongIn } from '../../migration/rules.ts'
import { treat, type Treated } from '../../migration/treat.ts'
import { shapeOf } from '../stack/apps/gateway/shape.ts'
import { COUNTS } from '../stack/data/counts.ts'
import { ANOMALIES, legacyCollections, type Anomaly, type CollectionName } from '../stack/data/legacy.ts'
import { RULES, SCHEMA, ejson, loaded, modelOf } from './migration-fixture.ts'

/** The rule under which the documents of an anomaly are quarantined. */
const QUARANTINED: Readonly<Record<string, string>> = {
  'User/unknown-role': 'type:User.role',
  'UserStats/twin-older': 'unique:UserStats.userId',
  'UserStats/twin-created-before': 'unique:UserStats.userId',
  'UserStats/twin-lower-id': 'unique:UserStats.userId',
  'UserStats/int-fraction': 'type:UserStats.messagesSent',
  'FriendRequest/date-word': 'type:FriendRequest.createdAt',
  'ConversationMember/twin': 'unique:ConversationMember.conversationId,userId',
  'call_sessions/unknown-status': 'type:CallSession.status',
  'call_participants/taken': 'reference:CallParticipant.callSessionId',
  'Message/dangling-conversation': 'reference:Message.conversationId',
  'Message/no-content': 'missing:Message.content',
  'Message/date-word': 'type:Message.createdAt',
  'MessageAttachment/orphan': 'reference:MessageAttachment.messageId',
  'MessageTranslation/taken': 'reference:MessageTranslation.messageId',
  'MessageTranslation/no-text': 'missing:MessageTranslation.translatedContent',
  'Reaction/taken': 'reference:Reaction.messageId',
  'Reaction/dangling-message': 'reference:Reaction.messageId',
  'Mention/dangling-user': 'reference:Mention.mentionedUserId',
  'TrackingLinkClick/text-id': 'id:TrackingLinkClick._id',
}

/** The rule that repairs them, and the field where that is not plain. */
const REPAIRED: Readonly<Record<string, readonly [RepairName, string]>> = {
  'User/older': ['default', 'passwordResetAttempts'],
  'User/role-modo': ['role-modo', 'role'],
  'User/role-lower-case': ['enum-case', 'role'],
  'User/role-absent': ['default', 'role'],
  'User/booleans-true': ['two-factor-enabled', 'twoFactorEnabledAt'],
  'User/booleans-no-secret': ['two-factor-without-secret', 'twoFactorEnabledAt'],
  'User/oldest': ['date-from-id', 'createdAt'],
  'User/date-text': ['date-from-text', 'createdAt'],
  'User/int-double': ['int-from-double', 'failedLoginAttempts'],
  'User/int-long': ['int-from-int64', 'profileCompletionRate'],
  'User/id-text': ['id-from-text', 'deletedBy'],
  'Community/no-identifier': ['identifier-from-id', 'identifier'],
  'CommunityMember/no-role': ['default', 'role'],
  'Conversation/older': ['default', 'autoTranslateEnabled'],
  'Conversation/null-identifier': ['identifier-from-id', 'identifier'],
  'Conversation/no-identifier': ['identifier-from-id', 'identifier'],
  'Conversation/image': ['avatar-from-image', 'avatar'],
  'Conversation/oldest': ['date-from-document', 'updatedAt'],
  'Conversation/date-text': ['date-from-text', 'lastMessageAt'],
  'Conversation/silent': ['date-from-document', 'lastMessageAt'],
  'ConversationMember/no-flags': ['default', 'canSendVideos'],
  'ConversationMember/date-text': ['date-from-text', 'joinedAt'],
  'ConversationMember/no-role': ['default', 'role'],
  'ConversationShareLink/null-identifier': ['identifier-from-id', 'identifier'],
  'call_sessions/mode-case': ['enum-case', 'mode'],
  'call_participants/guest-name': ['guest-aside', 'anonymousId'],
  'user_conversation_preferences/all': ['default', 'isDeletedForUser'],
  'Message/before-mentions': ['default', 'validatedMentions'],
  'Message/before-encryption': ['default', 'isEncrypted'],
  'Message/oldest': ['date-from-id', 'createdAt'],
  'Message/date-text': ['date-from-text', 'createdAt'],
  'Message/id-text': ['id-from-text', 'conversationId'],
  'MessageAttachment/int-long': ['int-from-int64', 'fileSize'],
  'MessageAttachment/int-double': ['int-from-double', 'fileSize'],
  'MessageAttachment/oldest': ['date-from-id', 'createdAt'],
  'Mention/date-text': ['date-from-text', 'mentionedAt'],
  'UserStats/int-long': ['int-from-int64', 'messagesSent'],
  'FriendRequest/no-status': ['default', 'status'],
  'AffiliateToken/int-long': ['int-from-int64', 'currentUses'],
  'TrackingLink/int-double': ['int-from-double', 'totalClicks'],
}

/** The reference for which they are listed; or the field that is compared. */
const LISTED: Readonly<Record<string, string>> = {
  'User/dangling-deleter': 'reference:User.deletedBy',
  'Conversation/encrypted': 'reference:Conversation.serverEncryptionKeyId',
  'Conversation/dangling-community': 'reference:Conversation.communityId',
  'call_participants/guest-id': 'reference:CallParticipant.anonymousId',
  'Message/dangling-reply': 'reference:Message.replyToId',
  'Message/anonymous': 'reference:Message.anonymousSenderId',
  'Message/dangling-sender': 'reference:Message.senderId',
  'MessageTranslation/other-source': 'comparison',
  'Reaction/anonymous': 'reference:Reaction.anonymousId',
  'TrackingLinkClick/guest': 'reference:TrackingLinkClick.anonymousId',
  'TrackingLinkClick/dangling-user': 'reference:TrackingLinkClick.userId',
}

const RENAMED: Readonly<Record<string, string>> = { anonymousUserId: 'anonymousId' }
const CONVERSIONS: readonly string[] = ['default', 'null-when-absent', 'date-from-document']

interface Judged {
  readonly source: Document
  readonly treated: Treated
}
/** All documents of the collections that are loaded, by `keyText` of their `_id`. */
type Base = ReadonlyMap<CollectionName, ReadonlyMap<string, Judged>>

/** T of each document, then what the rules say across them. */
function judge(scale: number): { base: Base; settled: Settled } {
  const base = new Map<CollectionName, Map<string, Judged>>()
  const rows = new Map<string, Row[]>()
  for (const { name, documents } of legacyCollections({ scale })) {
    const entry = loaded(name)
    if (!entry) continue
    const model = modelOf(entry.model)
    const references = referencesOf(model, PLAN)
    const judged = new Map<string, Judged>()
    rows.set(model.name, [])
    base.set(name, judged)
    for (const source of documents) {
      const treated = treat(entry.transform, model, BSON.serialize(source))
      judged.set(keyText(source['_id']), { source, treated })
      if ('doc' in treated) rows.get(model.name)?.push(rowOf(model, references, treated.doc))
    }
  }
  return { base, settled: settle(PLAN, RULES, rows) }
}

for (const scale of [0.02, 1]) {
  describe(`the legacy data at scale ${scale}`, () => {
    let base: Base
    let settled: Settled
    before(() => {
      ;({ base, settled } = judge(scale))
    })
    const find = (collection: CollectionName, id: unknown): Judged => {
      const judged = base.get(collection)?.get(keyText(id))
      assert.ok(judged, `${collection} ${String(id)}`)
      return judged
    }
    const fate = (name: CollectionName, id: unknown): { loaded: boolean; rules: string[] } => {
      const { treated } = find(name, id)
      const model = loaded(name)?.model ?? ''
      const own = 'quarantine' in treated ? treated.quarantine : []
      const cross = settled.quarantined.get(model)?.get(keyText(id)) ?? []
      const rules = [...own, ...cross].map(({ rule }) => rule)
      return { loaded: rules.length === 0, rules }
    }
    const each = (wanted: Anomaly['fate'], look: (a: Anomaly, id: ObjectId | string) => void): void => {
      const some = ANOMALIES.filter((a) => a.fate === wanted && loaded(a.collection))
      assert.ok(some.length > 0)
      for (const a of some) for (const id of a.ids(scale)) look(a, id)
    }

    test('read = loaded + archived + dropped + quarantined, for each collection', () => {
      const sums = {
        read: 0,
        transformed: 0,
        carried: 0,
        renamed: 0,
        archived: 0,
        dropped: 0,
        quarantined: 0,
      }
      for (const { name, count } of legacyCollections({ scale })) {
        const entry = PLAN.collections[name]
        assert.ok(entry, name)
        sums.read += count
        if (!('model' in entry)) {
          sums[entry.decision === 'drop' ? 'dropped' : 'archived'] += count
          continue
        }
        const said = ANOMALIES.filter((a) => a.collection === name && a.fate === 'quarantined')
        const expected = new Set(said.flatMap((a) => a.ids(scale).map(String))).size
        const before = sums.quarantined
        for (const { source, treated } of base.get(name)?.values() ?? []) {
          const isLost = !fate(name, source['_id']).loaded
          const isCarried = 'isCarried' in treated && treated.isCarried
          if (entry.decision === 'transform') assert.ok(!isCarried, name)
          if (isLost) sums.quarantined++
          else if (!isCarried) sums.transformed++
          else if (entry.decision === 'rename') sums.renamed++
          else sums.carried++
        }
        assert.equal(sums.quarantined - before, expected, name)
      }
      const { read, ...parts } = sums
      assert.equal(
        Object.values(parts).reduce((sum, n) => sum + n),
        read,
      )
      if (scale === 1)
        assert.deepEqual(sums, {
          read: 125_635,
          transformed: 9916, // 9922 of the collections that are, less 16; and 10 that are carried but for a repair
          carried: 2024,
          renamed: 48,
          archived: 18_315,
          dropped: 95_311,
          quarantined: 21,
        })
      assert.equal(settled.dropped.size + settled.nulled.size, 0)
    })

    test('what is quarantined is exactly what is said to be, each for the reason that is documented', () => {
      const left = new Map<string, string[]>()
      for (const [name, all] of base)
        for (const id of all.keys()) {
          const { rules } = fate(name, all.get(id)?.source['_id'])
          if (rules.length > 0) left.set(`${name} ${id}`, rules)
        }
      each('quarantined', ({ id: anomaly, collection }, id) => {
        const key = `${collection} ${keyText(id)}`
        const rule = QUARANTINED[anomaly]
        assert.ok(rule !== undefined && left.get(key)?.includes(rule), `${anomaly}: ${left.get(key)?.join()}`)
      })
      each('quarantined', ({ collection }, id) => left.delete(`${collection} ${keyText(id)}`))
      assert.deepEqual([...left], [])
    })

    test('what is loaded obeys the rules, and the strict reader of the new gateway takes it', () => {
      const shape = shapeOf(SCHEMA)
      for (const [name, all] of base) {
        const entry = loaded(name)
        const model = modelOf(entry?.model ?? '')
        for (const [id, { treated }] of all) {
          if (!('doc' in treated)) continue
          assert.deepEqual(wrongIn(model, treated.doc), [], `${name} ${id}`)
          if (entry?.decision === 'transform')
            assert.deepEqual(unknownIn(model, treated.doc), [], `${name} ${id}`)
          shape.read(model.name, BSON.deserialize(treated.bytes))
        }
      }
    })

    test('every value with a home is in it, the rest is in the sidecar; what a rule changed is told', () => {
      for (const [name, all] of base) {
        const decision = loaded(name)?.decision
        for (const [id, { source, treated }] of all) {
          if (!('doc' in treated)) continue
          const repaired = new Set(treated.repairs.map(({ field }) => field))
          for (const [field, value] of Object.entries(source)) {
            const home = RENAMED[field] ?? field
            const isAside = treated.sidecar !== undefined && Object.hasOwn(treated.sidecar, field)
            const where: unknown = isAside ? treated.sidecar?.[field] : treated.doc[home]
            if (!repaired.has(home) || home !== field)
              assert.equal(ejson(where), ejson(value), `${name} ${id} ${field}`)
            else if (value !== null && value !== undefined)
              assert.ok(
                treated.repairs.some((r) => r.field === home && !CONVERSIONS.includes(r.rule)),
                `${name} ${id}: a value of ${field} was replaced`,
              )
          }
          if (treated.isCarried)
            assert.deepEqual(Buffer.from(treated.bytes), Buffer.from(BSON.serialize(source)))
          else if (decision !== 'transform')
            assert.deepEqual(
              Object.keys(treated.doc).slice(0, Object.keys(source).length),
              Object.keys(source),
            )
        }
      }
    })

    test('anomalies that are kept are loaded without a rule that changes a value', () => {
      const lost = new Set<string>()
      each('quarantined', ({ collection }, id) => lost.add(`${collection} ${keyText(id)}`))
      each('kept', ({ id: anomaly, collection }, id) => {
        if (lost.has(`${collection} ${keyText(id)}`)) return // for another anomaly
        assert.deepEqual(fate(collection, id), { loaded: true, rules: [] }, anomaly)
        const { treated } = find(collection, id)
        const decision = loaded(collection)?.decision
        if (decision === 'transform') return // compared field by field above
        const others = ANOMALIES.filter((a) => a.collection === collection && a.fate === 'repaired')
        const isAlsoRepaired = others.some((a) => a.ids(scale).some((other) => String(other) === String(id)))
        assert.equal('isCarried' in treated && treated.isCarried, !isAlsoRepaired, anomaly)
      })
    })

    test('anomalies that are repaired are loaded, and the rule is told', () => {
      each('repaired', ({ id: anomaly, collection }, id) => {
        const { treated } = find(collection, id)
        if ('quarantine' in treated) return // for another anomaly
        const [rule, field] = REPAIRED[anomaly] ?? []
        assert.ok(rule, anomaly)
        const isTold =
          'repairs' in treated && treated.repairs.some((r) => r.rule === rule && r.field === field)
        const isAbsent =
          anomaly === 'Message/before-encryption' && find(collection, id).source['isEncrypted'] !== undefined
        const isNewer =
          anomaly === 'User/older' && find(collection, id).source['passwordResetAttempts'] !== undefined
        assert.ok(isTold || isAbsent || isNewer, `${anomaly} ${String(id)}`)
      })
    })

    test('anomalies that are listed are loaded, and named with the reason', () => {
      const languages = new Map([...(base.get('Message') ?? [])].map(([id, { source }]) => [id, source]))
      each('listed', ({ id: anomaly, collection }, id) => {
        const { treated, source } = find(collection, id)
        assert.ok(fate(collection, id).loaded, anomaly)
        const rule = LISTED[anomaly]
        if (rule === 'comparison') {
          const [comparison] = PLAN.comparisons
          assert.ok(comparison?.collection === collection && 'sidecar' in treated)
          const other = languages.get(keyText(source[comparison.by]))
          assert.notEqual(treated.sidecar?.[comparison.field], other?.[comparison.withField])
          return
        }
        const named = settled.listed.get(loaded(collection)?.model ?? '')?.get(keyText(id))
        assert.ok(rule !== undefined && named?.some((reason) => reason.rule === rule), anomaly)
      })
      const said = ANOMALIES.filter((a) => a.fate === 'listed' && LISTED[a.id] !== 'comparison')
      const count = [...settled.listed.values()].reduce((sum, ids) => sum + ids.size, 0)
      const expected = new Set(said.flatMap((a) => a.ids(scale).map((id) => `${a.collection} ${String(id)}`)))
        .size
      assert.equal(count, expected)
    })

    test('the ids that the report lists for a repair are few', () => {
      const listed = [...base].flatMap(([name, all]) =>
        [...all.values()].flatMap(({ treated }) =>
          'repairs' in treated
            ? treated.repairs.filter(({ rule }) => isListed(rule)).map(({ rule }) => `${name} ${rule}`)
            : [],
        ),
      )
      const counts = Object.fromEntries(
        [...new Set(listed)].toSorted().map((key) => [key, listed.filter((l) => l === key).length]),
      )
      assert.deepEqual(counts, {
        'Community identifier-from-id': 1,
        'Conversation identifier-from-id': 3,
        'ConversationShareLink identifier-from-id': 2,
        'User email-verified': 2,
        'User phone-verified': 1,
        'User two-factor-enabled': 1,
        'User two-factor-without-secret': 1,
        'call_participants guest-aside': 1,
      })
    })
  })
}

test('every anomaly of a loaded collection is looked for', () => {
  const of = (wanted: Anomaly['fate']): string[] =>
    ANOMALIES.filter((a) => a.fate === wanted && loaded(a.collection))
      .map(({ id }) => id)
      .toSorted()
  assert.deepEqual(Object.keys(QUARANTINED).toSorted(), of('quarantined'))
  assert.deepEqual(Object.keys(LISTED).toSorted(), of('listed'))
  assert.deepEqual(Object.keys(REPAIRED).toSorted(), of('repaired'))
  assert.deepEqual(Object.keys(PLAN.collections).toSorted(), Object.keys(COUNTS).toSorted())
})
