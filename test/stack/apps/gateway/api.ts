// The gateway's API, as far as users of the rehearsal need it. Everything that is answered with 201 is durable: a
// majority has the documents, the file is synced.
import { MongoClient, ObjectId, type Db } from 'mongodb'
import { randomUUID } from 'node:crypto'
import { HttpError, type Reply, type Request, type Route } from '../lib/http.ts'
import type { Redis } from '../lib/redis.ts'
import { existing, monthFolder, store } from '../lib/uploads.ts'
import type { Shape } from './shape.ts'

const UPLOADS = '/app/uploads/attachments'
const LARGEST_PAGE = 50 // documents

/** The routes of the API, for one database client, the shape of its documents, and one Redis. */
export function api(client: MongoClient, shape: Shape, cache: Redis): Route[] {
  const db = client.db(undefined, { writeConcern: { w: 'majority' } })
  return [
    ['GET', /^\/api\/v1\/conversations$/, () => conversations(db, shape)],
    ['POST', /^\/api\/v1\/messages$/, (request) => postMessage(client, db, shape, request)],
    ['GET', /^\/api\/v1\/messages\/([0-9a-f]{24})$/, (request) => getMessage(db, shape, request)],
    [
      'PUT',
      /^\/api\/v1\/cache\/([^/]+)$/,
      async ({ params, body }) => {
        await cache.command('SET', params[0] ?? '', await body())
        return { status: 201, json: { key: params[0] } }
      },
    ],
    [
      'GET',
      /^\/api\/v1\/cache\/([^/]+)$/,
      async ({ params }) => {
        const value = await cache.command('GET', params[0] ?? '')
        if (!Buffer.isBuffer(value)) throw new HttpError(404, 'no such key')
        return { text: value }
      },
    ],
    ['POST', /^\/api\/v1\/attachments$/, (request) => postAttachment(db, shape, request)],
    [
      'GET',
      /^\/api\/(?:v1\/)?attachments\/(.+)$/,
      async ({ params }) => ({ file: await existing(UPLOADS, params[0] ?? '') }),
    ],
  ]
}

async function conversations(db: Db, shape: Shape): Promise<Reply> {
  const page = await db
    .collection('Conversation')
    .find({ isActive: true })
    .sort({ lastMessageAt: -1 })
    .limit(LARGEST_PAGE)
    .map((conversation) => shape.read('Conversation', conversation))
    .toArray()
  const members = await db
    .collection('ConversationMember')
    .find({ conversationId: { $in: page.map(({ _id }) => _id) }, isActive: true })
    .map((member) => shape.read('ConversationMember', member))
    .toArray()
  return {
    json: page.map(({ _id, identifier, type, title }) => ({
      id: String(_id),
      identifier,
      type,
      title,
      members: members.filter((m) => String(m.conversationId) === String(_id)).map((m) => String(m.userId)),
    })),
  }
}

/** The message and its status are one transaction, so that no point in time has the one without the other. */
async function postMessage(client: MongoClient, db: Db, shape: Shape, { body }: Request): Promise<Reply> {
  const { conversationId, senderId, content } = JSON.parse((await body()).toString()) as Record<
    string,
    unknown
  >
  const ids = { conversationId: objectId(conversationId), senderId: objectId(senderId) }
  if (typeof content !== 'string' || content === '') throw new HttpError(400, 'content is missing')
  const now = new Date()
  const message = shape.made('Message', {
    _id: new ObjectId(),
    ...ids,
    content,
    originalLanguage: 'fr',
    messageType: 'text',
    isEdited: false,
    isDeleted: false,
    validatedMentions: [],
    isEncrypted: false,
    createdAt: now,
    updatedAt: now,
  })
  const status = shape.made(shape.statuses, {
    _id: new ObjectId(),
    conversationId: ids.conversationId,
    messageId: message._id,
    userId: ids.senderId,
    receivedAt: now,
    readAt: now,
    updatedAt: now,
  })
  await client.withSession((session) =>
    session.withTransaction(
      async () => {
        await db.collection('Message').insertOne(message, { session })
        await db.collection(shape.statuses).insertOne(status, { session })
      },
      { writeConcern: { w: 'majority' }, timeoutMS: 5000 },
    ),
  )
  await db.collection('Conversation').updateOne({ _id: ids.conversationId }, { $set: { lastMessageAt: now } })
  return { status: 201, json: { id: String(message._id), statusId: String(status._id) } }
}

async function getMessage(db: Db, shape: Shape, { params }: Request): Promise<Reply> {
  const _id = objectId(params[0])
  const found = await db.collection('Message').findOne({ _id })
  if (!found) throw new HttpError(404, 'no such message')
  const message = shape.read('Message', found)
  const status = await db
    .collection(shape.statuses)
    .find({ messageId: _id })
    .map((row) => shape.read(shape.statuses, row))
    .toArray()
  return {
    json: {
      id: _id.toString(),
      conversationId: String(message.conversationId),
      senderId: String(message.senderId),
      content: String(message.content),
      isDeleted: Boolean(message.isDeleted),
      status: status.map((row) => ({ id: String(row._id), userId: String(row.userId) })),
    },
  }
}

/** The file first, then the document: a file without a document harms nobody. */
async function postAttachment(db: Db, shape: Shape, { url, headers, body }: Request): Promise<Reply> {
  const messageId = objectId(url.searchParams.get('messageId'))
  const uploadedBy = objectId(url.searchParams.get('userId'))
  const originalName = url.searchParams.get('name') || 'file'
  const bytes = await body()
  const fileName = `${randomUUID()}_${originalName.replaceAll(/[^\w.-]/g, '_').slice(-80)}`
  const path = `${monthFolder()}/${fileName}`
  await store(UPLOADS, path, bytes)
  const { insertedId } = await db.collection('MessageAttachment').insertOne(
    shape.made('MessageAttachment', {
      messageId,
      fileName,
      originalName,
      mimeType: headers['content-type'] ?? 'application/octet-stream',
      fileSize: bytes.length,
      filePath: path,
      fileUrl: `/api/attachments/${path}`,
      uploadedBy,
      isAnonymous: false,
      createdAt: new Date(),
    }),
  )
  return { status: 201, json: { id: insertedId.toString(), fileUrl: `/api/attachments/${path}`, path } }
}

function objectId(value: unknown): ObjectId {
  if (typeof value === 'string' && ObjectId.isValid(value)) return new ObjectId(value)
  throw new HttpError(400, 'an id of 24 hexadecimal digits is missing')
}
