// The indexes of the legacy base as far as they are known: those that Prisma once made, under its names, and two made
// by hand. Unique ones that cannot stand beside the data are absent: those of UserStats.userId, of MessageStatus, of
// the identifiers of Conversation and ConversationShareLink, and of anonymous reactions. Some that the schema declares
// were never made.
import type { IndexDescription } from 'mongodb'
import type { CollectionName } from './counts.ts'

const UNIQUE: Partial<Record<CollectionName, string[]>> = {
  User: ['username', 'email'],
  Community: ['identifier'],
  MessageTranslation: ['cacheKey', 'messageId targetLanguage'],
  Reaction: ['messageId userId emoji'],
  Mention: ['messageId mentionedUserId'],
  ConversationShareLink: ['linkId'],
  AnonymousParticipant: ['sessionToken'],
  AffiliateToken: ['token'],
  TrackingLink: ['token'],
  user_conversation_preferences: ['userId conversationId'],
}

const PLAIN: Partial<Record<CollectionName, string[]>> = {
  MessageAttachment: ['messageId', 'uploadedBy'],
  MessageTranslation: ['messageId', 'targetLanguage', 'translationModel'],
  MessageStatus: ['conversationId', 'messageId', 'updatedAt'],
  Reaction: ['messageId', 'userId', 'anonymousUserId', 'emoji'],
  Mention: ['messageId', 'mentionedUserId'],
  Notification: ['userId isRead', 'userId type', 'createdAt', 'messageId'],
  AdminAuditLog: ['adminId', 'createdAt'],
  call_sessions: ['conversationId', 'status', 'startedAt'],
  call_participants: ['callSessionId', 'userId'],
  user_conversation_preferences: ['userId', 'conversationId'],
  user_conversation_categories: ['userId', 'userId order'],
}

const BY_HAND: Partial<Record<CollectionName, IndexDescription[]>> = {
  Conversation: [{ name: 'type_1', key: { type: 1 } }],
  ConversationMember: [{ name: 'userId_isActive_compound', key: { userId: 1, isActive: 1 } }],
}

/** The indexes of a collection beside that of `_id`. */
export function indexesOf(collection: CollectionName): IndexDescription[] {
  const named = (fields: string, ending: string): IndexDescription => ({
    name: `${collection}_${fields.replaceAll(' ', '_')}_${ending}`,
    key: Object.fromEntries(fields.split(' ').map((field) => [field, 1])),
  })
  return [
    ...(UNIQUE[collection] ?? []).map((fields) => ({ ...named(fields, 'key'), unique: true })),
    ...(PLAIN[collection] ?? []).map((fields) => named(fields, 'idx')),
    ...(BY_HAND[collection] ?? []),
  ]
}
