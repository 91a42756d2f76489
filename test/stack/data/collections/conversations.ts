import type { Draw, Fields } from '../draw.ts'
import { ASIDE, GLOBAL, memberCount, memberRow, spread } from '../world.ts'
import { EMOJI, LETTERS } from '../words.ts'

const TOPICS = ['Équipe produit', 'Famille', 'Book club', 'Voyage à Lisbonne', 'Support', 'Cours de français']

function slug(text: string): string {
  return text
    .normalize('NFD')
    .replace(/\P{ASCII}/gu, '')
    .toLowerCase()
    .replaceAll(' ', '-')
}

/** A date as names carry it: YYYYMMDDHHMMSS. */
function stamp(date: Date): string {
  return date.toISOString().replaceAll(/\D/g, '').slice(0, 14)
}

export const conversations = {
  Community: (d: Draw): Fields => {
    const name = d.pick(TOPICS)
    return {
      _id: d.id,
      identifier: `mshy_${slug(name)}-${stamp(d.at)}`,
      name,
      description: d.some(0.7, 'Un lieu pour échanger'),
      avatar: d.some(0.4, 'https://static.meeshy.me/u/i/2025/10/group_1.jpg'),
      isPrivate: d.i % 2 === 0,
      createdBy: d.ref('User'),
      createdAt: d.at,
      updatedAt: d.after(300),
    }
  },

  CommunityMember: (d: Draw): Fields => ({
    _id: d.id,
    communityId: d.idOf('Community', d.i % d.world.size.Community),
    userId: d.idOf('User', spread(d.i, d.count, d.world.size.User, ASIDE.User)),
    joinedAt: d.at,
    role: d.pick(['member', 'member', 'moderator', 'ADMIN']),
  }),

  Conversation: (d: Draw): Fields => {
    const topic = d.pick(TOPICS)
    const isDirect = memberCount(d.world, d.i) === 2
    const newest = d.world.newest[d.i] ?? -1
    const lastMessageAt = newest < 0 ? d.at : d.timeOf('Message', newest)
    return {
      _id: d.id,
      identifier: `mshy_${isDirect ? 'direct' : slug(topic)}-${d.i}-${stamp(d.at)}`,
      type: isDirect ? 'direct' : d.pick(['group', 'group', 'public']),
      title: isDirect ? undefined : topic,
      description: d.some(0.2, 'Pour parler de tout'),
      communityId: d.some(0.1, d.ref('Community')),
      isActive: true,
      isArchived: false,
      lastMessageAt,
      createdAt: d.at,
      updatedAt: lastMessageAt,
      autoTranslateEnabled: d.chance(0.9),
    }
  },

  ConversationMember: (d: Draw): Fields => {
    const { conversation, user } = memberRow(d.world, d.i)
    return {
      _id: d.id,
      conversationId: d.idOf('Conversation', conversation),
      userId: d.idOf('User', user),
      role: d.pick(['member', 'member', 'MEMBER', 'ADMIN']),
      canSendMessage: true,
      canSendFiles: true,
      canSendImages: true,
      canSendVideos: true,
      canSendAudios: true,
      canSendLocations: true,
      canSendLinks: true,
      joinedAt: conversation === GLOBAL ? d.timeOf('User', user) : d.timeOf('Conversation', conversation),
      isActive: true,
    }
  },

  ConversationShareLink: (d: Draw): Fields => ({
    _id: d.id,
    linkId: `mshy_${d.id.toHexString()}.${d.text(10, LETTERS)}`,
    identifier: `mshy_lien-${stamp(d.at)}`,
    conversationId: d.ref('Conversation'),
    createdBy: d.ref('User'),
    name: d.some(0.6, 'Invitation'),
    description: d.some(0.3, 'Valable jusqu’à Noël'),
    maxUses: d.some(0.3, 50),
    currentUses: d.int(0, 9),
    maxConcurrentUsers: d.some(0.2, 20),
    currentConcurrentUsers: 0,
    maxUniqueSessions: d.some(0.2, 30),
    currentUniqueSessions: d.int(0, 9),
    expiresAt: d.some(0.5, d.after(2000)),
    isActive: d.chance(0.8),
    allowAnonymousMessages: true,
    allowAnonymousFiles: false,
    allowAnonymousImages: true,
    allowViewHistory: d.chance(0.7),
    requireAccount: false,
    requireNickname: true,
    requireEmail: d.chance(0.3),
    requireBirthday: false,
    allowedCountries: [],
    allowedLanguages: d.chance(0.3) ? ['fr', 'en'] : [],
    allowedIpRanges: [],
    createdAt: d.at,
    updatedAt: d.after(300),
  }),

  call_sessions: (d: Draw): Fields => {
    const wasAnswered = d.chance(0.8)
    const seconds = d.int(5, 3600)
    const answeredAt = wasAnswered ? new Date(d.at.getTime() + 8000) : undefined
    return {
      _id: d.id,
      conversationId: d.ref('Conversation'),
      mode: 'p2p',
      status: wasAnswered ? 'ended' : d.pick(['missed', 'rejected', 'initiated']),
      initiatorId: d.ref('User'),
      startedAt: d.at,
      answeredAt,
      endedAt: answeredAt && new Date(answeredAt.getTime() + seconds * 1000),
      duration: wasAnswered ? seconds : undefined,
      metadata: d.some(0.6, { type: d.pick(['video', 'audio']), turn: false }),
    }
  },

  call_participants: (d: Draw): Fields => ({
    _id: d.id,
    callSessionId: d.ref('call_sessions'),
    userId: d.ref('User'),
    anonymousId: d.chance(0.5) ? null : undefined,
    role: d.i % 2 === 0 ? 'initiator' : 'participant',
    joinedAt: d.at,
    leftAt: d.some(0.8, d.after(1)),
    isAudioEnabled: true,
    isVideoEnabled: d.chance(0.6),
    connectionQuality: d.some(0.3, { level: 'good', packetLoss: 0.01, rtt: d.int(20, 200) }),
  }),

  user_conversation_categories: (d: Draw): Fields => ({
    _id: d.id,
    userId: d.idOf('User', ASIDE.User + (d.i % 3)),
    name: d.pick(['Travail', 'Famille', 'Friends']),
    color: d.some(0.5, '#3b82f6'),
    icon: d.some(0.5, '📁'),
    order: d.i,
    isExpanded: d.chance(0.7),
    createdAt: d.at,
    updatedAt: d.after(100),
  }),

  user_conversation_preferences: (d: Draw): Fields => {
    const row = memberRow(d.world, spread(d.i, d.count, d.world.size.ConversationMember, 0))
    return {
      _id: d.id,
      userId: d.idOf('User', row.user),
      conversationId: d.idOf('Conversation', row.conversation),
      isPinned: d.chance(0.4),
      isMuted: d.chance(0.2),
      isArchived: d.chance(0.1),
      tags: d.chance(0.3) ? ['important', 'à lire'] : [],
      categoryId: d.some(0.3, d.ref('user_conversation_categories')),
      orderInCategory: d.some(0.3, d.int(0, 5)),
      customName: d.some(0.2, 'Ma famille ❤️'),
      reaction: d.some(0.2, d.pick(EMOJI)),
      createdAt: d.at,
      updatedAt: d.after(100),
    }
  },
}
