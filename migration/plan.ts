// What becomes of each of the 31 legacy collections. A collection that is not here stops everything.
import { readCursors } from './derived/read-cursors.ts'
import type { ArchivedEntry, DroppedEntry, LoadedEntry, Plan } from './plan-types.ts'
import type { Transform } from './outcome.ts'
import { asItIs, asTheModel } from './shape.ts'
import { anonymousParticipant } from './transforms/anonymous-participant.ts'
import { callParticipant } from './transforms/call-participant.ts'
import { communityMember } from './transforms/community-member.ts'
import { community } from './transforms/community.ts'
import { conversationShareLink } from './transforms/conversation-share-link.ts'
import { conversation } from './transforms/conversation.ts'
import { reaction } from './transforms/reaction.ts'
import { user } from './transforms/user.ts'

const transform = (model: string, why: string, by: Transform = asTheModel): LoadedEntry => ({
  decision: 'transform',
  model,
  transform: by,
  why,
})
const carry = (model: string, why: string, by: Transform = asItIs): LoadedEntry => ({
  decision: 'carry',
  model,
  transform: by,
  why,
})
const rename = (model: string, why: string): LoadedEntry => ({
  decision: 'rename',
  model,
  transform: asItIs,
  why,
})
const archive = (why: string): ArchivedEntry => ({ decision: 'archive', why })
const drop = (why: string, min: number, max = min): DroppedEntry => ({
  decision: 'drop',
  why,
  bounds: { min, max },
})

const SAME = 'the same fields'

export const PLAN: Plan = {
  collections: {
    User: transform('User', 'the role becomes an enum, six fields lose their home, 22 are new', user),
    Message: transform('Message', 'all fields are kept, seven required ones are new, counters are computed'),
    Community: transform('Community', 'isActive is new, identifier is null in some', community),
    Conversation: transform(
      'Conversation',
      'image and isArchived lose their home, memberCount is computed, identifier is null in some',
      conversation,
    ),
    ConversationMember: carry('ConversationMember', 'the same fields; conversation and user become unique'),
    MessageAttachment: transform('MessageAttachment', 'all fields are kept, eight required ones are new'),
    MessageTranslation: transform('MessageTranslation', 'sourceLanguage and cacheKey lose their home'),
    Reaction: transform('Reaction', 'anonymousUserId becomes anonymousId', reaction),
    Mention: carry('Mention', SAME),
    FriendRequest: carry('FriendRequest', 'the same fields; respondedAt is new and optional'),
    CommunityMember: transform('CommunityMember', 'isActive and leftAt are new', communityMember),
    MessageStatus: archive('no model takes it; the read positions are derived from it'),
    MessageReadStatus: archive('no model takes it, and its fields are not known'),
    UserStats: transform('UserStats', 'lastActiveAt loses its home; one row for each user'),
    TrackingLink: carry('TrackingLink', SAME),
    TrackingLinkClick: carry('TrackingLinkClick', SAME),
    AffiliateToken: carry('AffiliateToken', SAME),
    AffiliateRelation: carry('AffiliateRelation', SAME),
    AdminAuditLog: carry('AdminAuditLog', SAME),
    ConversationShareLink: carry(
      'ConversationShareLink',
      'the same fields; identifier is null in some',
      conversationShareLink,
    ),
    call_sessions: rename('CallSession', 'the same fields in a collection of another name'),
    call_participants: transform('CallParticipant', 'anonymousId becomes an ObjectId', callParticipant),
    user_conversation_categories: rename('UserConversationCategory', 'the same fields under another name'),
    user_conversation_preferences: transform('UserConversationPreferences', 'isDeletedForUser is new'),
    AnonymousParticipant: transform(
      'AnonymousParticipant',
      'lastSeenAt loses its home, four canSend flags are new',
      anonymousParticipant,
    ),
    ConversationPreference: carry('ConversationPreference', SAME),
    UserPreference: rename(
      'UserPreference',
      'the same fields under another name; user and key become unique',
    ),
    Notification: drop('will be regenerated, and is not critical', 90_000, 110_000),
    MessageAttachment_backup_urls: drop('a leftover', 514),
    old_message_status: drop('a leftover', 7),
    TypingIndicator: drop('empty: one row contradicts that', 0),
  },

  derived: [
    {
      decision: 'derive',
      model: 'ConversationReadCursor',
      from: 'MessageStatus',
      by: 'conversationId',
      of: 'Conversation',
      lookUp: { model: 'Message', by: 'messageId' },
      beside: {
        model: 'Message',
        by: 'conversationId',
        fields: ['_id', 'senderId', 'createdAt', 'isDeleted'],
      },
      needs: [{ field: 'userId', model: 'User' }],
      make: readCursors,
      why: 'without read positions every conversation shows as unread',
    },
  ],

  computed: [
    {
      model: 'Conversation',
      field: 'memberCount',
      from: 'ConversationMember',
      by: 'conversationId',
      where: { isActive: true },
      value: { kind: 'count' },
      why: 'a new field; its default 0 would be false',
    },
    {
      model: 'Conversation',
      field: 'lastMessageAt',
      from: 'Message',
      by: 'conversationId',
      value: { kind: 'newest', of: 'createdAt' },
      onlyWhereAbsent: true,
      why: 'conversations are listed by it; the time of the run would order them anew',
    },
    {
      model: 'Message',
      field: 'reactionCount',
      from: 'Reaction',
      by: 'messageId',
      value: { kind: 'count' },
      why: 'a new field; its default 0 would be false',
    },
    {
      model: 'Message',
      field: 'reactionSummary',
      from: 'Reaction',
      by: 'messageId',
      value: { kind: 'tally', of: 'emoji' },
      why: 'a new field beside reactionCount',
    },
  ],

  notComputed: [
    {
      model: 'Message',
      field: 'deliveredCount',
      why: 'legacy rows by conversation do not tell of each message',
    },
    { model: 'Message', field: 'readCount', why: 'legacy rows by conversation do not tell of each message' },
  ],

  references: [
    {
      model: 'MessageAttachment',
      field: 'messageId',
      to: 'Message',
      dangling: 'quarantine',
      why: 'optional in the target only; an attachment of nothing is an orphan',
    },
    ...(
      [
        ['User', 'deletedBy', 'User'],
        ['Conversation', 'encryptionEnabledBy', 'User'],
        ['AdminAuditLog', 'userId', 'User'],
        ['AdminAuditLog', 'adminId', 'User'],
        ['TrackingLink', 'conversationId', 'Conversation'],
        ['TrackingLink', 'messageId', 'Message'],
      ] as const
    ).map(([model, field, to]) => ({
      model,
      field,
      to,
      dangling: 'list' as const,
      why: 'a reference that the schema does not declare: nothing breaks without it',
    })),
  ],

  comparisons: [
    {
      collection: 'MessageTranslation',
      field: 'sourceLanguage',
      by: 'messageId',
      with: 'Message',
      withField: 'originalLanguage',
      why: 'the target has the language of the message only',
    },
  ],

  // Said to bring the list of conversations from 6 to 11 s to below 1 s, and to be mandatory.
  indexes: [
    {
      model: 'ConversationMember',
      name: 'idx_member_user_active_conv',
      key: { userId: 1, isActive: 1, conversationId: 1 },
      why: 'performance',
    },
    {
      model: 'Message',
      name: 'idx_message_conv_notdeleted_created',
      key: { conversationId: 1, isDeleted: 1, createdAt: -1 },
      why: 'performance',
    },
    {
      model: 'Conversation',
      name: 'idx_conversation_active_lastmsg',
      key: { isActive: 1, lastMessageAt: -1 },
      why: 'performance',
    },
    {
      model: 'Conversation',
      name: 'idx_conversation_type_active_lastmsg',
      key: { type: 1, isActive: 1, lastMessageAt: -1 },
      why: 'performance',
    },
    {
      model: 'ConversationReadCursor',
      name: 'idx_cursor_user_conv',
      key: { userId: 1, conversationId: 1 },
      why: 'performance',
    },
    {
      model: 'UserConversationPreferences',
      name: 'idx_userprefs_user_conv',
      key: { userId: 1, conversationId: 1 },
      why: 'performance',
    },
    {
      model: 'ConversationMember',
      name: 'userId_isActive_compound',
      key: { userId: 1, isActive: 1 },
      why: 'made by hand in the legacy base',
    },
    { model: 'Conversation', name: 'type_1', key: { type: 1 }, why: 'made by hand in the legacy base' },
  ],

  staleIndexes: [
    {
      collection: 'MessageTranslation',
      fields: ['cacheKey'],
      why: 'unique, and new translations have no cacheKey: the second one would be refused',
    },
    {
      collection: 'Reaction',
      fields: ['anonymousUserId'],
      why: 'the field is anonymousId now, and has its own',
    },
  ],

  // Policy, to be adjusted: about ten times what is known.
  expected: [
    { rule: 'reference:MessageAttachment.messageId', atMost: 50, why: 'orphans are known' },
    { rule: 'unique:UserStats.userId', atMost: 20, why: 'duplicates are known' },
  ],
}
