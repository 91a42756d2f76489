import { Double, Long } from 'mongodb'
import { readingOf, rowsByMessage } from '../collections/messages.ts'
import type { Draw, Fields } from '../draw.ts'
import { ghostOf } from '../ids.ts'
import { GLOBAL, memberOf } from '../world.ts'
import {
  KNOWN,
  OLDER,
  RULED,
  VALUE,
  archived,
  kept,
  listed,
  made,
  quarantined,
  repaired,
  without,
} from './rule.ts'

const EDITED_AT = new Date('2025-11-12T21:10:00.000Z')
const DELETED_AT = new Date('2025-11-03T10:20:30.456Z')
const WRITTEN_AT = new Date('2025-11-03T10:15:00.000Z')

/** Place of a message in the global conversation, on which two users put one emoji. */
const LIKED = 18

const urls =
  (prefix: string) =>
  (_: Draw, { filePath, thumbnailPath }: Fields): Fields => ({
    fileUrl: `${prefix}${String(filePath)}`,
    ...(typeof thumbnailPath === 'string' && { thumbnailUrl: `${prefix}${thumbnailPath}` }),
  })

export const messageAnomalies = {
  Message: {
    'before-mentions': repaired(
      made('Message', '2025-01-01', '2025-11-01'),
      'no validatedMentions',
      OLDER,
      without('validatedMentions'),
    ),
    'before-encryption': repaired(
      made('Message', '2025-01-01', '2025-12-01'),
      'no isEncrypted, unless it is encrypted',
      OLDER,
      without('isEncrypted'),
    ),
    'dangling-conversation': quarantined([0], 'in a conversation that is gone', RULED, {
      conversationId: ghostOf('Conversation', 0),
    }),
    'no-content': quarantined([1], 'no content', RULED, without('content')),
    'date-word': quarantined([2], 'a word for a date', RULED, { createdAt: 'hier' }),

    'deleted-image': kept([3], 'an English image, deleted on a known date', VALUE, {
      content: 'Look at this picture',
      originalLanguage: 'en',
      messageType: 'image',
      isDeleted: true,
      deletedAt: DELETED_AT,
      createdAt: WRITTEN_AT,
      updatedAt: DELETED_AT,
    }),
    sample: kept([4], 'deleted, with the fields of the live sample', KNOWN, {
      isDeleted: true,
      deletedAt: DELETED_AT,
      ...without('validatedMentions', 'isEncrypted', 'editedAt', 'replyToId'),
    }),
    oldest: repaired([5], 'hardly more than its content', OLDER, {
      ...without('originalLanguage', 'messageType', 'isEdited', 'isDeleted', 'createdAt', 'updatedAt'),
      ...without('validatedMentions', 'isEncrypted', 'editedAt', 'deletedAt', 'replyToId'),
    }),
    encrypted: kept([6], 'encrypted', VALUE, {
      content: '',
      encryptedContent: 'pQ0e7vJk2m0=',
      encryptionMode: 'server',
      encryptionMetadata: { iv: 'b3p1bWFraQ==', authTag: 'c2VjcmV0', keyVersion: 1 },
      isEncrypted: true,
    }),
    edited: kept([7], 'edited', VALUE, { isEdited: true, editedAt: EDITED_AT, updatedAt: EDITED_AT }),
    'extra-fields': kept([8], 'fields that no schema knows', OLDER, { status: 'SENT', translations: [] }),
    'dangling-reply': listed([9], 'an answer to a message that is gone', RULED, {
      replyToId: ghostOf('Message', 1),
    }),
    anonymous: listed([10], 'by an anonymous participant who is gone', VALUE, {
      anonymousSenderId: ghostOf('AnonymousParticipant', 0),
      ...without('senderId'),
    }),
    'date-text': repaired([11], 'a date as ISO 8601 text', RULED, (d) => ({ createdAt: d.at.toISOString() })),
    'id-text': repaired([12], 'an ObjectId as 24 hexadecimal digits', RULED, (_, { conversationId }) => ({
      conversationId: String(conversationId),
    })),
    'dangling-sender': listed([13], 'by a user who is gone', RULED, { senderId: ghostOf('User', 1) }),
    'deleted-undated': kept([14], 'deleted without a date', VALUE, {
      isDeleted: true,
      ...without('deletedAt'),
    }),
    'dated-undeleted': kept([15], 'a date of deletion, yet not deleted', VALUE, {
      isDeleted: false,
      deletedAt: DELETED_AT,
    }),
  },

  MessageAttachment: {
    absolute: kept(
      made('MessageAttachment', '2025-01-01', '2025-10-20'),
      'an absolute fileUrl',
      KNOWN,
      urls('https://gate.meeshy.me/api/attachments/'),
    ),
    relative: kept(
      made('MessageAttachment', '2025-10-20', '2025-12-10'),
      'a relative fileUrl',
      KNOWN,
      urls('/api/attachments/'),
    ),
    version1: kept(
      made('MessageAttachment', '2025-12-10', '2027-01-01'),
      'a relative fileUrl below v1',
      KNOWN,
    ),
    orphan: quarantined([0, 1, 2], 'the message is gone', KNOWN, ({ i }) => ({
      messageId: ghostOf('Message', 10 + i),
    })),
    complete: kept([3], 'an image with all that is known of images', VALUE, {
      mimeType: 'image/png',
      width: 1080,
      height: 720,
      metadata: { exif: { orientation: 1 } },
    }),
    'int-long': repaired([4], 'Int64 for an Int', RULED, (_, { fileSize }) => ({
      fileSize: Long.fromNumber(fileSize as number),
    })),
    'int-double': repaired([5], 'Double for an Int', RULED, (_, { fileSize }) => ({
      fileSize: new Double(fileSize as number),
    })),
    oldest: repaired([6], 'no isAnonymous, no createdAt', OLDER, without('isAnonymous', 'createdAt')),
    'hard-name': kept([7], 'a name that a shell would take apart', VALUE, {
      originalName: `-rf "l'été" $(id) \`id\`;\n%s.pdf`,
    }),
  },

  MessageTranslation: {
    taken: quarantined([0], 'of a message that is quarantined', RULED, (d) => ({
      messageId: d.idOf('Message', 0),
    })),
    'other-source': listed([1], 'a source language that is not the message’s', RULED, {
      sourceLanguage: 'de',
    }),
    'float-whole': kept([2], 'Double 1.0 for a Float', VALUE, { confidenceScore: new Double(1) }),
    'no-score': kept([3], 'no confidence score', OLDER, without('confidenceScore')),
    region: kept([4], 'a language with a region', VALUE, { targetLanguage: 'pt-BR' }),
    'no-text': quarantined([5], 'no translated content', RULED, without('translatedContent')),
  },

  MessageStatus: {
    'by-message': archived(
      (world, i) => i < rowsByMessage(world),
      'one row for each message and user, as it was before cursors',
      KNOWN,
    ),
    'no-conversation': archived(
      made('MessageStatus', '2025-01-01', '2025-10-10'),
      'no conversationId',
      OLDER,
      without('conversationId'),
    ),
    twin: archived([1, 3], 'the message and the user of the row before', KNOWN, (d) => {
      const { message, user } = readingOf(d.world, d.i - 1)
      return { messageId: d.idOf('Message', message), userId: d.idOf('User', user) }
    }),
  },

  Reaction: {
    'same-emoji': kept([0, 1], 'one emoji by two users on one message', RULED, (d) => ({
      messageId: d.idOf('Message', LIKED),
      userId: d.idOf('User', memberOf(d.world, GLOBAL, 3 + d.i)),
      emoji: '🫶',
    })),
    anonymous: listed([2], 'by an anonymous participant who is gone', VALUE, {
      userId: null,
      anonymousUserId: ghostOf('AnonymousParticipant', 0),
    }),
    taken: quarantined([3], 'on a message that is quarantined', RULED, (d) => ({
      messageId: d.idOf('Message', 0),
    })),
    'dangling-message': quarantined([4], 'on a message that is gone', RULED, {
      messageId: ghostOf('Message', 2),
    }),
  },

  Mention: {
    complete: kept([0], 'a mention', VALUE),
    'dangling-user': quarantined([1], 'of a user who is gone', RULED, {
      mentionedUserId: ghostOf('User', 2),
    }),
    'date-text': repaired([2], 'a date as ISO 8601 text', RULED, (_, { mentionedAt }) => ({
      mentionedAt: (mentionedAt as Date).toISOString(),
    })),
  },

  TrackingLink: {
    'no-maker': kept([0], 'made by nobody', VALUE, { createdBy: null }),
    'int-double': repaired([1], 'Double 5.0 for an Int', RULED, {
      totalClicks: new Double(5),
      uniqueClicks: 4,
    }),
  },

  TrackingLinkClick: {
    'text-id': quarantined([0], 'a text as _id among ObjectIds', RULED, (d) => ({
      _id: `click-${d.id.toHexString()}`,
    })),
    guest: listed([1], 'by an anonymous participant who is gone', RULED, {
      anonymousId: ghostOf('AnonymousParticipant', 0),
      ...without('userId'),
    }),
    'dangling-user': listed([2], 'by a user who is gone', RULED, { userId: ghostOf('User', 3) }),
  },
}
