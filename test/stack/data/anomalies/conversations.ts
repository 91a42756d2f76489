import { hardValues } from '../hard-values.ts'
import { ghostOf } from '../ids.ts'
import { GLOBAL, SILENT, memberRow } from '../world.ts'
import {
  BOOT,
  KNOWN,
  OLDER,
  RULED,
  VALUE,
  kept,
  listed,
  made,
  quarantined,
  repaired,
  without,
} from './rule.ts'

const NOVEMBER = new Date('2025-11-12T21:10:00.000Z')

const flags = (value: boolean, ...names: readonly string[]): Record<string, boolean> =>
  Object.fromEntries(names.map((name) => [`canSend${name}`, value]))

export const conversationAnomalies = {
  Community: {
    private: kept([0], 'private', VALUE, { isPrivate: true, description: 'Sur invitation' }),
    // Only one, so that the unique index on the identifier can stand.
    'no-identifier': repaired([1], 'null for the identifier', KNOWN, { identifier: null }),
    public: kept([3], 'public', VALUE, { isPrivate: false }),
  },

  CommunityMember: {
    'role-case': kept([0, 1], 'roles in mixed case', KNOWN, ({ i }) => ({ role: ['ADMIN', 'member'][i] })),
    'no-role': repaired([2], 'no role', OLDER, without('role')),
  },

  Conversation: {
    older: repaired(
      made('Conversation', '2025-01-01', '2025-12-01'),
      'no autoTranslateEnabled',
      OLDER,
      without('autoTranslateEnabled'),
    ),
    global: kept([GLOBAL], 'the global conversation', BOOT, {
      identifier: 'meeshy',
      type: 'global',
      title: 'Meeshy',
      description: 'La conversation de tout le monde',
      ...without('communityId'),
    }),
    'null-identifier': repaired([1, 3], 'null for the identifier', KNOWN, { identifier: null }),
    'no-identifier': repaired([2], 'no identifier', KNOWN, without('identifier')),
    encrypted: listed([4], 'encrypted, with a key that no collection holds', VALUE, (d) => ({
      encryptionMode: 'server',
      encryptionProtocol: 'aes-256-gcm',
      encryptionEnabledAt: NOVEMBER,
      encryptionEnabledBy: d.idOf('User', 1),
      serverEncryptionKeyId: ghostOf('Conversation', 1).toHexString(),
    })),
    image: repaired([5], 'an image and no avatar', VALUE, {
      image: 'https://static.meeshy.me/u/i/2025/10/group_1.jpg',
      ...without('avatar'),
    }),
    'image-and-avatar': kept([6], 'an image and an avatar', VALUE, {
      image: 'https://static.meeshy.me/u/i/2025/10/group_2.jpg',
      avatar: 'https://static.meeshy.me/u/i/2025/10/group_3.jpg',
    }),
    archived: kept([7], 'archived', VALUE, { isArchived: true }),
    oldest: repaired(
      [8],
      'no lastMessageAt, isActive or updatedAt',
      OLDER,
      without('lastMessageAt', 'isActive', 'updatedAt'),
    ),
    inactive: kept([9], 'inactive', VALUE, { isActive: false }),
    'dangling-community': listed([10], 'a community that is gone', RULED, {
      communityId: ghostOf('Community', 0),
    }),
    'date-text': repaired([11], 'a date as ISO 8601 text', RULED, (_, { lastMessageAt }) => ({
      lastMessageAt: (lastMessageAt as Date).toISOString(),
    })),
    silent: repaired([SILENT], 'no message ever, and no lastMessageAt', OLDER, without('lastMessageAt')),
  },

  ConversationMember: {
    'role-case': kept(
      [0, 1, 2, 3],
      'roles in mixed case; the first three are those of the boot',
      BOOT,
      ({ i }) => ({
        role: ['CREATOR', 'ADMIN', 'MEMBER', 'member'][i],
      }),
    ),
    muted: kept([5], 'may send nothing', VALUE, {
      ...flags(false, 'Message', 'Files', 'Images', 'Videos', 'Audios', 'Locations', 'Links'),
    }),
    'half-muted': kept(
      [6],
      'may send words only',
      VALUE,
      flags(false, 'Files', 'Images', 'Videos', 'Audios', 'Links'),
    ),
    'no-flags': repaired([7], 'the newer flags are missing', OLDER, {
      ...without('canSendVideos', 'canSendAudios', 'canSendLocations', 'canSendLinks'),
    }),
    left: kept([8], 'left', VALUE, { isActive: false, leftAt: NOVEMBER }),
    'date-text': repaired([9], 'a date as ISO 8601 text', RULED, (d) => ({ joinedAt: d.at.toISOString() })),
    twin: quarantined([10], 'the member in the next row, once more', RULED, (d) => ({
      userId: d.idOf('User', memberRow(d.world, d.i + 1).user),
    })),
    'no-role': repaired([12], 'no role', OLDER, without('role')),
  },

  ConversationShareLink: {
    'null-identifier': repaired([0, 1], 'null for the identifier', KNOWN, { identifier: null }),
    'no-lists': kept(
      [2],
      'no lists',
      OLDER,
      without('allowedCountries', 'allowedLanguages', 'allowedIpRanges'),
    ),
  },

  call_sessions: {
    'unknown-status': quarantined([0], 'a status outside the enum', RULED, { status: 'failed' }),
    'mode-case': repaired([1], 'an enum in capitals', RULED, { mode: 'P2P' }),
    'hard-values': kept([2], 'values that only their own bytes keep, in a Json field', RULED, () => ({
      metadata: hardValues(),
    })),
  },

  call_participants: {
    taken: quarantined([0], 'in a call that is quarantined', RULED, (d) => ({
      callSessionId: d.idOf('call_sessions', 0),
    })),
    'guest-id': listed([1], 'a guest as 24 hexadecimal digits, who is gone', RULED, {
      anonymousId: ghostOf('AnonymousParticipant', 1).toHexString(),
      ...without('userId'),
    }),
    'guest-name': repaired([2], 'a guest as any text', RULED, {
      anonymousId: 'guest-7f3a',
      ...without('userId'),
    }),
  },

  user_conversation_preferences: {
    all: repaired(() => true, 'no isDeletedForUser, deletedForUserAt, clearHistoryBefore', OLDER),
  },
}
