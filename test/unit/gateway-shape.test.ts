// The stand-in gateway of the new stack reads and writes as strictly as Prisma's engine: one row for each rule.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { Decimal128, Long, ObjectId, Timestamp, type Document } from 'mongodb'
import { checkMasterKeys } from '../stack/apps/gateway/keys.ts'
import { shapeOf } from '../stack/apps/gateway/shape.ts'
import { HttpError } from '../stack/apps/lib/http.ts'
import { SCHEMA } from '../stack/apps/images.ts'

const shape = shapeOf(readFileSync(SCHEMA, 'utf8'))
const now = new Date()
const id = new ObjectId()
const message = shape.made('Message', { _id: id, conversationId: id, senderId: id, content: 'été' })
const attachment = shape.made('MessageAttachment', {
  fileName: 'a.jpg',
  originalName: 'a.jpg',
  mimeType: 'image/jpeg',
  fileSize: 1,
  filePath: 'a.jpg',
  fileUrl: '/a.jpg',
  uploadedBy: id,
})
const user = shape.made('User', {
  username: 'meeshy',
  firstName: 'Meeshy',
  lastName: 'Sama',
  email: 'meeshy@rehearsal.test',
  password: 'none',
})
const samples: Readonly<Record<string, Document>> = {
  Message: message,
  MessageAttachment: attachment,
  User: user,
}

const read = (model: string, changes: Document): Document =>
  shape.read(model, { ...samples[model], ...changes })

const takes: readonly [model: string, what: string, changes: Document, got: Document][] = [
  [
    'Message',
    'a static default where there is nothing',
    { deliveredCount: undefined },
    { deliveredCount: 0 },
  ],
  ['Message', 'a static default where there is null', { messageSource: null }, { messageSource: 'user' }],
  ['Message', 'nothing as null, where it is optional', { deletedAt: undefined }, { deletedAt: null }],
  ['Message', 'nothing as an empty list', { validatedMentions: null }, { validatedMentions: [] }],
  ['Message', 'an id as a string', { senderId: String(id) }, { senderId: String(id) }],
  ['Message', 'any Json', { reactionSummary: [1, { a: null }] }, { reactionSummary: [1, { a: null }] }],
  ['MessageAttachment', 'a fraction as Int, cut off', { fileSize: 1.5 }, { fileSize: 1 }],
  ['MessageAttachment', 'Int64 as Float', { fps: Long.fromNumber(30) }, { fps: Long.fromNumber(30) }],
  ['User', 'fields that it does not know, without them', { lastSeen: now }, { lastSeen: undefined }],
  ['User', 'a value of the enum', { role: 'AUDIT' }, { role: 'AUDIT' }],
]

const refuses: readonly [model: string, what: string, changes: Document, why: RegExp][] = [
  ['Message', 'a required field that is missing', { content: undefined }, /Message\.content: .* found null/],
  ['Message', 'null in it', { conversationId: null }, /Message\.conversationId: .* found null/],
  ['Message', 'a missing date, though its default is now()', { createdAt: undefined }, /createdAt: .* null/],
  ['Message', 'a missing updatedAt', { updatedAt: undefined }, /updatedAt: .* found null/],
  ['Message', 'a date as text', { createdAt: now.toISOString() }, /value of DateTime/],
  ['Message', 'a number as text', { content: 1 }, /value of String/],
  ['Message', 'text as a Boolean', { isDeleted: 'false' }, /value of Boolean/],
  ['Message', 'a number as a Boolean', { isDeleted: 0 }, /value of Boolean/],
  ['Message', 'null in a list', { validatedMentions: ['a', null] }, /value of String/],
  ['Message', 'one value where a list is', { validatedMentions: 'a' }, /expected a list/],
  ['MessageAttachment', 'Decimal128 as Float', { fps: Decimal128.fromString('1.5') }, /value of Float/],
  ['MessageAttachment', 'text as Int', { fileSize: '1' }, /value of Int/],
  ['User', 'an enum in small letters', { role: 'user' }, /User\.role/],
]

describe('reading', () => {
  for (const [model, what, changes, got] of takes) {
    test(`takes ${what}`, () => {
      const seen = read(model, changes)
      for (const [key, value] of Object.entries(got)) assert.deepEqual(seen[key], value)
    })
  }
  for (const [model, what, changes, why] of refuses) {
    test(`refuses ${what}`, () => {
      assert.throws(
        () => read(model, changes),
        (error) => error instanceof HttpError && error.status === 500 && why.test(error.message),
      )
    })
  }
  test('takes a Timestamp as a date', () => {
    const createdAt = new Timestamp({ t: 1, i: 1 })
    assert.equal(read('Message', { createdAt }).createdAt, createdAt)
  })
})

describe('writing', () => {
  test('adds every default, and an id', () => {
    const { _id, createdAt, ...rest } = shape.made('Message', { conversationId: id, content: 'x' })
    assert.ok(_id instanceof ObjectId && createdAt instanceof Date && rest.updatedAt instanceof Date)
    assert.equal(rest.reactionCount, 0)
    assert.equal(rest.originalLanguage, 'fr')
    assert.deepEqual(rest.validatedMentions, [])
  })
  test('refuses a field that the model does not have', () => {
    assert.throws(
      () => shape.made('Message', { conversationId: id, content: 'x', status: 'sent' }),
      /Unknown argument Message\.status/,
    )
  })
  test('refuses a value that could not be read', () => {
    assert.throws(() => shape.made('User', { ...user, role: 'user' }), /User\.role/)
    assert.throws(() => shape.made('Message', { conversationId: id }), /Message\.content/)
  })
  test('refuses a model that the schema does not have', () => {
    assert.throws(() => shape.made('MessageStatus', {}), /no model MessageStatus/)
  })
})

describe('master keys', () => {
  const key = Buffer.alloc(32, 7).toString('base64')
  const good = { NODE_ENV: 'staging', ATTACHMENT_MASTER_KEY: key, ENCRYPTION_MASTER_KEY: key }

  test('are 32 bytes in base64', () => {
    assert.doesNotThrow(() => checkMasterKeys(good))
    for (const name of ['ATTACHMENT_MASTER_KEY', 'ENCRYPTION_MASTER_KEY']) {
      for (const wrong of [Buffer.alloc(31).toString('base64'), key.replace('=', ''), 'a'.repeat(44)]) {
        assert.throws(() => checkMasterKeys({ ...good, [name]: wrong }), new RegExp(`${name} must be`))
      }
    }
  })
  test('may be missing for messages outside of production, and otherwise never', () => {
    const without = (name: string, env = 'staging') => ({ ...good, NODE_ENV: env, [name]: '' })
    assert.throws(() => checkMasterKeys(without('ATTACHMENT_MASTER_KEY')), /ATTACHMENT_MASTER_KEY is missing/)
    assert.throws(() => checkMasterKeys(without('ENCRYPTION_MASTER_KEY', 'production')), /is missing/)
    assert.doesNotThrow(() => checkMasterKeys(without('ENCRYPTION_MASTER_KEY')))
  })
})
