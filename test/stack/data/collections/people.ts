import type { Draw, Fields } from '../draw.ts'
import { mix } from '../random.ts'
import { ASIDE, spread, type World } from '../world.ts'
import { COUNTRIES, LETTERS, SYSTEMS, ipOf, personOf } from '../words.ts'

const STATIC = 'https://static.meeshy.me/u/'
const OCTOBER = Date.UTC(2025, 9, 1)
const MONTH = 30 * 86_400_000 // ms

/** Path of a user's avatar below the volume of avatars; every second user has one. */
export function avatarPath({ seed }: World, place: number): string | undefined {
  if (place % 2 === 0) return
  const h = mix(seed, place, 5)
  return `i/2025/10/avatar_${OCTOBER + (h % MONTH)}_${h.toString(16).padStart(8, '0')}.jpg`
}

export function avatarUrl(world: World, place: number): string | undefined {
  const path = avatarPath(world, place)
  return path && STATIC + path
}

/** The user of a row of UserStats. */
export function statisticsOf({ size }: World, row: number): number {
  return spread(row, size.UserStats, size.User, ASIDE.User)
}

export const people = {
  User: (d: Draw): Fields => {
    const { firstName, lastName, username, email } = personOf(d.world.seed, d.i)
    const lastSeen = d.after(2000)
    return {
      _id: d.id,
      username,
      firstName,
      lastName,
      bio: d.pick(['', '', 'Étudiante en traduction', 'Coffee first ☕', 'Développeur à Douala']),
      email,
      phoneNumber: d.chance(0.3) ? `+336${d.text(8, '0123456789')}` : null,
      password: `$2b$10$${d.text(53, `./${LETTERS}`)}`,
      displayName: `${firstName} ${lastName}`,
      avatar: avatarUrl(d.world, d.i),
      isOnline: d.chance(0.1),
      lastSeen,
      lastActiveAt: lastSeen,
      systemLanguage: d.pick(['fr', 'fr', 'en', 'es', 'pt']),
      regionalLanguage: d.pick(['fr', 'en']),
      customDestinationLanguage: d.some(0.2, 'de') ?? null,
      autoTranslateEnabled: d.chance(0.8),
      translateToSystemLanguage: true,
      translateToRegionalLanguage: d.chance(0.2),
      useCustomDestination: false,
      role: d.pick(['USER', 'USER', 'USER', 'USER', 'USER', 'MODERATOR', 'ANALYST', 'AUDIT']),
      isActive: true,
      emailVerifiedAt: d.some(0.5, d.after(24)),
      failedLoginAttempts: d.pick([0, 0, 0, 1, 2]),
      lastPasswordChange: d.at,
      passwordResetAttempts: 0,
      lastLoginIp: d.some(0.7, ipOf(d.int(0, 255))),
      lastLoginLocation: d.some(0.4, `${d.pick(['Paris', 'Douala', 'Dakar'])}, ${d.pick(COUNTRIES)}`),
      lastLoginDevice: d.some(0.4, d.pick(SYSTEMS)),
      profileCompletionRate: d.int(2, 10) * 10,
      encryptionPreference: 'optional',
      createdAt: d.at,
      updatedAt: lastSeen,
    }
  },

  UserStats: (d: Draw): Fields => ({
    _id: d.id,
    userId: d.idOf('User', statisticsOf(d.world, d.i)),
    messagesSent: d.int(0, 400),
    messagesReceived: d.int(0, 3000),
    charactersTyped: d.int(0, 30_000),
    imageMessagesSent: d.int(0, 40),
    filesShared: d.int(0, 20),
    conversationsJoined: d.int(1, 12),
    communitiesCreated: 0,
    friendsAdded: d.int(0, 9),
    friendRequestsSent: d.int(0, 9),
    translationsUsed: d.int(0, 200),
    languagesDetected: d.int(1, 5),
    autoTranslateTimeMinutes: 0,
    totalOnlineTimeMinutes: d.int(0, 9000),
    sessionCount: d.int(1, 90),
    lastActiveAt: d.after(900),
    createdAt: d.at,
    updatedAt: d.after(900),
  }),

  FriendRequest: (d: Draw): Fields => ({
    _id: d.id,
    senderId: d.ref('User'),
    receiverId: d.ref('User'),
    message: d.some(0.4, d.pick(['Salut, on se connaît du lycée ?', 'Hi, it was nice to meet you!'])),
    status: d.pick(['pending', 'accepted', 'accepted', 'rejected']),
    createdAt: d.at,
    updatedAt: d.after(72),
  }),

  AffiliateToken: (d: Draw): Fields => ({
    _id: d.id,
    token: `aff_${d.at.getTime()}_${d.text(9, LETTERS)}`,
    name: d.pick(['Invitation', 'Campagne d’automne', 'Friends']),
    createdBy: d.ref('User'),
    maxUses: d.some(0.3, 10),
    currentUses: d.int(0, 5),
    expiresAt: d.some(0.3, d.after(2000)),
    isActive: d.chance(0.9),
    createdAt: d.at,
    updatedAt: d.after(500),
  }),

  AffiliateRelation: (d: Draw): Fields => {
    const isDone = d.chance(0.7)
    return {
      _id: d.id,
      affiliateTokenId: d.ref('AffiliateToken'),
      affiliateUserId: d.ref('User'),
      referredUserId: d.ref('User'),
      status: isDone ? 'completed' : 'pending',
      createdAt: d.at,
      completedAt: isDone ? d.after(48) : undefined,
    }
  },

  AdminAuditLog: (d: Draw): Fields => {
    const user = d.ref('User')
    return {
      _id: d.id,
      userId: user,
      adminId: d.idOf('User', d.pick([1, 2])),
      action: d.pick(['VIEW_USER', 'UPDATE_USER', 'UPDATE_ROLE', 'RESET_PASSWORD']),
      entity: 'User',
      entityId: user.toHexString(),
      changes: d.some(0.5, '{"role":{"before":"USER","after":"MODERATOR"}}'),
      metadata: d.some(0.3, '{"reason":"support"}'),
      ipAddress: ipOf(d.int(0, 255)),
      userAgent: 'Mozilla/5.0',
      createdAt: d.at,
    }
  },
}
