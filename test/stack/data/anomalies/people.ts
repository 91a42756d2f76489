import { Double, Long } from 'mongodb'
import { statisticsOf } from '../collections/people.ts'
import type { Draw, Fields } from '../draw.ts'
import { hardValues } from '../hard-values.ts'
import { ghostOf } from '../ids.ts'
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

const SEPTEMBER = new Date('2025-09-15T08:00:00.000Z')
const NOVEMBER = new Date('2025-11-20T18:45:12.345Z')
const DECEMBER = new Date('2025-12-01T10:00:00.000Z')

/** Fields that came with the security features of November. */
const SECURITY = [
  'emailVerifiedAt',
  'failedLoginAttempts',
  'lastPasswordChange',
  'passwordResetAttempts',
  'lastLoginIp',
  'lastLoginLocation',
  'lastLoginDevice',
  'profileCompletionRate',
  'encryptionPreference',
]

/** An account that the gateway makes at boot, shaped like the live sample of a user. */
function account(username: string, role: string): Fields {
  return {
    ...without(...SECURITY),
    username,
    firstName: username.replace(/^./, (first) => first.toUpperCase()),
    lastName: 'Meeshy',
    displayName: username,
    email: `${username}@meeshy.me`,
    phoneNumber: null,
    customDestinationLanguage: null,
    role,
  }
}

/** The same user as in the row behind. */
const twin = (d: Draw): Fields => ({ userId: d.idOf('User', statisticsOf(d.world, d.i + 1)) })

export const peopleAnomalies = {
  User: {
    older: repaired(
      made('User', '2025-01-01', '2025-11-20'),
      'made before the security features',
      OLDER,
      without(...SECURITY),
    ),
    avatar: kept((_, i) => i % 2 === 1, 'an absolute URL on the static host', KNOWN),

    'unknown-role': quarantined([0], 'a role outside the enum; nothing refers to this user', RULED, {
      role: 'TESTER',
      isActive: false,
    }),
    meeshy: kept([1], 'the account meeshy', BOOT, account('meeshy', 'BIGBOSS')),
    admin: kept([2], 'the account admin', BOOT, account('admin', 'ADMIN')),
    atabeth: kept([3], 'the account atabeth', BOOT, account('atabeth', 'USER')),

    'role-modo': repaired([4], 'the role MODO', KNOWN, { role: 'MODO' }),
    'role-lower-case': repaired([5], 'a role in lower case', RULED, { role: 'user' }),
    'role-absent': repaired([6], 'no role', OLDER, without('role')),
    'name-space': kept([7], 'a user name with a space and capitals', KNOWN, { username: 'Jean Paul' }),
    'name-spaces': kept([8], 'a user name with outer spaces', KNOWN, { username: ' Marie-Claire  NGO ' }),
    'mail-capitals': kept([9], 'an e-mail address with capitals', KNOWN, {
      email: 'Sophie.MARTIN@Gmail.com',
    }),
    'mail-twin': kept([10], 'the same address without capitals: no collision', RULED, {
      email: 'sophie.martin@gmail.com',
    }),
    locked: kept([11], 'two-factor authentication and a lock', VALUE, {
      emailVerifiedAt: SEPTEMBER,
      phoneVerifiedAt: NOVEMBER,
      twoFactorEnabledAt: NOVEMBER,
      twoFactorSecret: 'JBSWY3DPEHPK3PXP',
      failedLoginAttempts: 5,
      lockedUntil: new Date('2026-02-01T00:00:00.000Z'),
      lockedReason: 'Trop de tentatives',
      lastPasswordChange: SEPTEMBER,
      passwordResetAttempts: 2,
      lastPasswordResetAttempt: NOVEMBER,
      lastLoginIp: '203.0.113.7',
      lastLoginLocation: 'Dakar, SN',
      lastLoginDevice: 'Android',
    }),
    'booleans-true': repaired([12], 'Booleans instead of dates, with a secret', KNOWN, {
      ...without('emailVerifiedAt', 'phoneVerifiedAt', 'twoFactorEnabledAt'),
      emailVerified: true,
      phoneVerified: true,
      twoFactorEnabled: true,
      twoFactorSecret: 'KRSXG5CTMVRXEZLU',
    }),
    'booleans-no-secret': repaired([13], 'twoFactorEnabled without a secret', KNOWN, {
      ...without('emailVerifiedAt'),
      emailVerified: true,
      twoFactorEnabled: true,
    }),
    'booleans-false': kept([15], 'Booleans that are false', KNOWN, {
      ...without('emailVerifiedAt'),
      emailVerified: false,
      phoneVerified: false,
      twoFactorEnabled: false,
    }),
    oldest: repaired([14], 'hardly more than a name, an address and a password', OLDER, ({ id }, o) => ({
      ...without(...Object.keys(o)),
      _id: id,
      username: o['username'],
      firstName: o['firstName'],
      lastName: o['lastName'],
      email: o['email'],
      password: o['password'],
      lastSeen: o['lastSeen'],
    })),
    deleted: kept([16], 'deleted by an administrator', VALUE, (d) => ({
      isActive: false,
      deletedAt: NOVEMBER,
      deletedBy: d.idOf('User', 2),
    })),
    deactivated: kept([17], 'deactivated at a date', VALUE, { isActive: false, deactivatedAt: NOVEMBER }),
    inactive: kept([18], 'inactive without a date', VALUE, { isActive: false, ...without('deactivatedAt') }),
    'date-text': repaired([19], 'a date as ISO 8601 text', RULED, (d) => ({ createdAt: d.at.toISOString() })),
    'int-double': repaired([20], 'Double 5.0 for an Int', RULED, { failedLoginAttempts: new Double(5) }),
    'int-long': repaired([21], 'Int64 for an Int', RULED, { profileCompletionRate: Long.fromNumber(80) }),
    keys: kept([22], 'Signal keys', VALUE, {
      signalIdentityKeyPublic: 'BUxv0l5hQk5tP0xw3m6v',
      signalIdentityKeyPrivate: 'kFh2yZ7mJqT4cW9sN1bX',
      signalRegistrationId: 12_345,
      signalPreKeyBundleVersion: 1,
      lastKeyRotation: DECEMBER,
      encryptionPreference: 'always',
    }),
    'id-text': repaired([23], 'an ObjectId as 24 hexadecimal digits', RULED, (d) => ({
      isActive: false,
      deletedAt: NOVEMBER,
      deletedBy: d.idOf('User', 2).toHexString(),
    })),
    'dangling-deleter': listed([24], 'deleted by somebody who is gone', RULED, {
      isActive: false,
      deletedAt: NOVEMBER,
      deletedBy: ghostOf('User', 0),
    }),
    'empty-name': kept([25], 'an empty last name, no display name', RULED, {
      lastName: '',
      ...without('displayName'),
    }),
    'extra-fields': kept([26], 'fields that no schema knows', OLDER, {
      theme: 'dark',
      preferences: { beta: true },
    }),
  },

  UserStats: {
    'twin-older': quarantined([0], 'one user twice: the older update', KNOWN, (d) => ({
      ...twin(d),
      updatedAt: SEPTEMBER,
    })),
    'twin-created-before': quarantined([2], 'one user twice: the same update, made before', KNOWN, (d) => ({
      ...twin(d),
      updatedAt: DECEMBER,
      createdAt: SEPTEMBER,
    })),
    'twin-lower-id': quarantined([4], 'one user twice: the same dates, the lower _id', KNOWN, (d) => ({
      ...twin(d),
      updatedAt: DECEMBER,
      createdAt: NOVEMBER,
    })),
    'twin-winner': kept([1, 3, 5], 'one user twice: the row that counts', KNOWN, {
      updatedAt: DECEMBER,
      createdAt: NOVEMBER,
    }),
    'int-long': repaired([6], 'Int64 for an Int', RULED, { messagesSent: Long.fromNumber(12) }),
    'int-fraction': quarantined([7], 'a broken number for an Int', RULED, { messagesSent: 2.5 }),
  },

  FriendRequest: {
    message: kept([0], 'a message and an answer', VALUE, {
      message: 'On se connaît ? 🙂',
      status: 'accepted',
    }),
    'no-status': repaired([1], 'no status', OLDER, without('status')),
    'date-word': quarantined([2], 'a word for a date', RULED, { createdAt: 'hier' }),
  },

  AffiliateToken: {
    'int-long': repaired([0], 'Int64 for an Int', RULED, { currentUses: Long.fromNumber(3) }),
  },

  AdminAuditLog: {
    'hard-values': kept(
      [0],
      'values that only their own bytes keep, in a field that no schema knows',
      RULED,
      () => ({
        context: hardValues(),
      }),
    ),
  },
}
