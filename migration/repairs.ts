// Every rule by which a document is loaded otherwise than it was found. The report counts them by name, and lists the
// documents of those that somebody should look at.

interface Repair {
  readonly why: string
  /** Whether the report names each document. */
  readonly isListed?: true
}

export const REPAIRS = {
  default: {
    why: 'a required field or a list without a value takes the default of the schema: by a default that is not stored nothing is found',
  },
  'null-when-absent': { why: 'new code asks for null, and does not find a field that is missing' },
  'date-from-text': {
    why: 'ISO 8601 text with a time zone names exactly one moment; Prisma reads no text as a date',
  },
  'id-from-text': {
    why: '24 hexadecimal digits are one ObjectId; as text no filter and no relation finds it',
  },
  'int-from-int64': { why: 'a whole number in the range of an Int is the same as Int32' },
  'int-from-double': { why: 'a whole number in the range of an Int is the same as Int32' },
  'enum-case': { why: 'the value is one of the enum but for capitals' },
  'date-from-document': {
    why: 'a required date that is missing is another date of the document, never that of the run',
  },
  'date-from-id': { why: 'a document without any date has the second of its ObjectId' },
  'identifier-from-id': {
    why: 'without its identifier a conversation would be quarantined, and its messages with it',
    isListed: true,
  },
  'role-modo': { why: 'MODO is the older name of MODERATOR' },
  'name-from-parts': { why: 'the guide: a user without a display name is shown by first and last name' },
  'bio-empty': { why: 'the guide: a user without a bio has an empty one' },
  'active-from-seen': { why: 'lastSeen says when the user was last active' },
  'password-change-from-creation': {
    why: 'the guide: the password was last changed when the account was made',
  },
  'email-verified': {
    why: 'the older Boolean says that the address was verified; its date is not known',
    isListed: true,
  },
  'phone-verified': {
    why: 'the older Boolean says that the phone was verified; its date is not known',
    isListed: true,
  },
  'two-factor-enabled': {
    why: 'the older Boolean and a secret say that two-factor authentication is on; its date is not known',
    isListed: true,
  },
  'two-factor-without-secret': {
    why: 'the older Boolean says that two-factor authentication is on; without a secret it would lock the user out',
    isListed: true,
  },
  'avatar-from-image': { why: 'image is the older name of avatar' },
  'anonymous-renamed': { why: 'anonymousUserId is anonymousId in the target' },
  'guest-aside': {
    why: 'a guest that is no ObjectId can name nobody; the text is kept aside',
    isListed: true,
  },
} as const satisfies Readonly<Record<string, Repair>>

export type RepairName = keyof typeof REPAIRS

/** Whether the report names each document that the rule changed. */
export const isListed = (rule: RepairName): boolean => 'isListed' in REPAIRS[rule]
