import type { Applied, Transform } from '../outcome.ts'
import { dateOf, shaped, valueOf, type Given } from '../shape.ts'
import type { Fields } from '../rules.ts'
import { isNone } from '../values.ts'

/**
 * The guide's rules for users. Its "new fields" are in large part fields that the legacy base has, so its defaults hold
 * only where a document has no value: a second factor, a lock, a verified address and a deleted account stay what they
 * are. `lastSeen`, the switches of translation and `encryptionPreference` have no home.
 */
export const user: Transform = (doc, model) => {
  const made = dateOf(doc)
  return shaped(doc, model, {
    replaced: role(doc),
    fallbacks: {
      displayName: [['name-from-parts', fullName(doc)]],
      bio: [['bio-empty', '']],
      lastActiveAt: [['active-from-seen', valueOf(doc, 'lastSeen')]],
      lastPasswordChange: made ? [['password-change-from-creation', made[1]]] : [],
      ...verified(doc, made),
    },
    nulls: [
      'phoneCountryCode',
      'timezone',
      'banner',
      'emailVerifiedAt',
      'phoneVerifiedAt',
      'twoFactorSecret',
      'lockedUntil',
      'lastLoginIp',
      'lastLoginLocation',
      'registrationIp',
    ],
    noted: lostFactor(doc),
  })
}

/** Capitals are the schema's to judge; what is then no role is quarantined. */
function role(doc: Fields): Record<string, Given> {
  const found = valueOf(doc, 'role')
  const isOlder = typeof found === 'string' && found.toUpperCase() === 'MODO'
  return isOlder ? { role: ['role-modo', 'MODERATOR'] } : {}
}

/** Of the parts that there are. */
function fullName(doc: Fields): string | undefined {
  const parts = [valueOf(doc, 'firstName'), valueOf(doc, 'lastName')]
  const name = parts.filter((part) => typeof part === 'string' && part !== '').join(' ')
  return name === '' ? undefined : name
}

const isTrue = (doc: Fields, field: string): boolean => valueOf(doc, field) === true
const hasSecret = (doc: Fields): boolean =>
  ![undefined, null, ''].includes(valueOf(doc, 'twoFactorSecret') as string)

/** The older Booleans say what is true, but not since when. */
function verified(doc: Fields, made: Given | undefined): Record<string, readonly Given[]> {
  const date = made?.[1]
  return {
    ...(isTrue(doc, 'emailVerified') && { emailVerifiedAt: [['email-verified', date]] }),
    ...(isTrue(doc, 'phoneVerified') && { phoneVerifiedAt: [['phone-verified', date]] }),
    ...(isTrue(doc, 'twoFactorEnabled') &&
      hasSecret(doc) && { twoFactorEnabledAt: [['two-factor-enabled', date]] }),
  }
}

function lostFactor(doc: Fields): Applied[] {
  const isLost =
    isTrue(doc, 'twoFactorEnabled') && !hasSecret(doc) && isNone(valueOf(doc, 'twoFactorEnabledAt'))
  return isLost ? [{ rule: 'two-factor-without-secret', field: 'twoFactorEnabledAt' }] : []
}
