// What a boot of the gateway does to its database.
import { hash } from 'bcryptjs'
import { ObjectId, type Db, type WithId } from 'mongodb'
import type { Shape } from './shape.ts'

type Env = NodeJS.ProcessEnv
type User = WithId<{ username: string }>

/** The accounts that every boot wants, with the weak passwords that they get when no variable says better. */
const ACCOUNTS = [
  { username: 'meeshy', prefix: 'MEESHY', role: 'BIGBOSS', member: 'CREATOR', password: 'bigboss123' },
  { username: 'admin', prefix: 'ADMIN', role: 'ADMIN', member: 'ADMIN', password: 'admin123' },
  { username: 'atabeth', prefix: 'ATABETH', role: 'USER', member: 'MEMBER', password: 'atabeth123' },
] as const
type Account = (typeof ACCOUNTS)[number]

const GLOBAL = { identifier: 'meeshy', type: 'global', title: 'Meeshy' }
const RESET = ['User', 'Conversation', 'ConversationMember', 'Message', 'MessageTranslation', 'MessageStatus']

/** FORCE_DB_RESET=true drops six collections, unless NODE_ENV is exactly `production`. */
export async function resetIfTold(db: Db, env: Env): Promise<void> {
  if (env.FORCE_DB_RESET !== 'true' || env.NODE_ENV === 'production') return
  console.error('FORCE_DB_RESET: dropping collections')
  for (const name of RESET) await db.collection(name).drop()
}

/**
 * When the global conversation, one of the accounts or its membership is missing: creates the accounts, one global,
 * one direct and one group conversation, adds every active user to the global one, and rewrites admin's role and
 * languages from the environment. Otherwise it changes nothing.
 */
export async function prepare(db: Db, shape: Shape, env: Env): Promise<void> {
  if (await isComplete(db, shape)) return
  console.log('default data is missing, creating it')

  const users = await Promise.all(ACCOUNTS.map((account) => ensureUser(db, shape, account, env)))
  const [meeshy, admin, atabeth] = users.map((user) => user._id)
  await db
    .collection('User')
    .updateOne(
      { username: 'admin' },
      { $set: { role: env.ADMIN_ROLE || 'ADMIN', ...languages(env, 'ADMIN') } },
    )

  const global = await ensureConversation(db, shape, GLOBAL)
  const direct = await ensureConversation(db, shape, {
    identifier: 'admin-atabeth',
    type: 'direct',
    title: '',
  })
  const group = await ensureConversation(db, shape, {
    identifier: 'meeshy-team',
    type: 'group',
    title: 'Team',
  })
  for (const [i, user] of users.entries()) {
    await ensureMember(db, shape, global, user._id, ACCOUNTS[i]?.member ?? 'MEMBER')
  }
  const active = db.collection('User').find({ isActive: true }, { projection: { _id: 1 } })
  for await (const { _id } of active) await ensureMember(db, shape, global, _id, 'MEMBER')
  for (const id of [admin, atabeth]) if (id) await ensureMember(db, shape, direct, id, 'MEMBER')
  for (const id of [meeshy, admin, atabeth]) if (id) await ensureMember(db, shape, group, id, 'MEMBER')
}

async function isComplete(db: Db, shape: Shape): Promise<boolean> {
  const found = await db.collection('Conversation').findOne({ identifier: GLOBAL.identifier })
  if (!found) return false
  const global = shape.read('Conversation', found)
  const users = await db
    .collection('User')
    .find({ username: { $in: ACCOUNTS.map(({ username }) => username) } })
    .map((user) => shape.read('User', user))
    .toArray()
  const members = await db.collection('ConversationMember').countDocuments({
    conversationId: global._id,
    userId: { $in: users.map(({ _id }) => _id) },
  })
  return users.length === ACCOUNTS.length && members >= ACCOUNTS.length
}

function languages(env: Env, prefix: string): Record<string, string> {
  return {
    systemLanguage: env[`${prefix}_SYSTEM_LANGUAGE`] || 'en',
    regionalLanguage: env[`${prefix}_REGIONAL_LANGUAGE`] || 'fr',
    customDestinationLanguage: env[`${prefix}_CUSTOM_DESTINATION_LANGUAGE`] || 'pt',
  }
}

async function ensureUser(
  db: Db,
  shape: Shape,
  { username, prefix, role, password }: Account,
  env: Env,
): Promise<User> {
  const users = db.collection<User>('User')
  const existing = await users.findOne({ username })
  if (existing) return shape.read('User', existing)
  const now = new Date()
  const fields = {
    _id: new ObjectId(),
    username,
    firstName: env[`${prefix}_FIRST_NAME`] || username,
    lastName: env[`${prefix}_LAST_NAME`] || 'Meeshy',
    bio: '',
    email: env[`${prefix}_EMAIL`] || `${username}@meeshy.me`,
    password: await hash(env[`${prefix}_PASSWORD`] || password, 4),
    displayName: username,
    isOnline: false,
    lastActiveAt: now,
    ...languages(env, prefix),
    role: env[`${prefix}_ROLE`] || role,
    isActive: true,
    createdAt: now,
    updatedAt: now,
  }
  const legacy = {
    lastSeen: now,
    autoTranslateEnabled: true,
    translateToSystemLanguage: true,
    translateToRegionalLanguage: false,
    useCustomDestination: false,
  }
  const user = shape.made('User', fields, legacy) as User
  await users.insertOne(user)
  return user
}

async function ensureConversation(
  db: Db,
  shape: Shape,
  about: { identifier: string; type: string; title: string },
): Promise<ObjectId> {
  const existing = await db.collection('Conversation').findOne({ identifier: about.identifier })
  if (existing) return shape.read('Conversation', existing)._id
  const now = new Date()
  const fields = {
    ...about,
    isActive: true,
    lastMessageAt: now,
    createdAt: now,
    updatedAt: now,
    autoTranslateEnabled: true,
  }
  const conversation = shape.made('Conversation', fields, { isArchived: false })
  const { insertedId } = await db.collection('Conversation').insertOne(conversation)
  return insertedId
}

async function ensureMember(
  db: Db,
  shape: Shape,
  conversationId: ObjectId,
  userId: ObjectId,
  role: string,
): Promise<void> {
  const key = { conversationId, userId }
  const member = shape.made('ConversationMember', {
    ...key,
    role,
    canSendMessage: true,
    canSendFiles: true,
    canSendImages: true,
    canSendVideos: true,
    canSendAudios: true,
    canSendLocations: true,
    canSendLinks: true,
    joinedAt: new Date(),
    isActive: true,
  })
  await db.collection('ConversationMember').updateOne(key, { $setOnInsert: member }, { upsert: true })
}
