import { Double } from 'mongodb'
import type { Draw, Fields } from '../draw.ts'
import { mix } from '../random.ts'
import {
  ASIDE,
  conversationOf,
  memberRow,
  participantOf,
  spread,
  spreadTo,
  wordsOf,
  type Language,
  type World,
} from '../world.ts'
import { EMOJI, sentence } from '../words.ts'

/** Kinds of attachments; sizes in bytes of those whose file is not made for the rehearsal. */
const KINDS = [
  { type: 'image', mime: 'image/jpeg', ending: 'jpg', size: 2_400_000 },
  { type: 'image', mime: 'image/png', ending: 'png', size: 900_000 },
  { type: 'audio', mime: 'audio/webm', ending: 'webm', size: 180_000 },
  { type: 'video', mime: 'video/mp4', ending: 'mp4', size: 18_000_000 },
  { type: 'file', mime: 'application/pdf', ending: 'pdf', size: 350_000 },
  { type: 'file', mime: 'text/plain', ending: 'txt', size: 4000 },
] as const
type Kind = (typeof KINDS)[number]

const MIB = 2 ** 20
const LATE_READER = 10 // above that of any row by message
const NAMES = ['photo de vacances', 'IMG_2041', 'compte rendu', 'note vocale', 'Résumé (final)']
const LANGUAGES: readonly Language[] = ['fr', 'en', 'es', 'pt']

interface Attachment {
  readonly kind: Kind
  /** Below the folder of attachments. */
  readonly path: string
  readonly thumbnail: string | undefined
  readonly bytes: number
  /** Whether its file is among the uploads of the rehearsal; those are small, a few have 1 MiB. */
  readonly isStored: boolean
  readonly message: number
}

/** The message of an attachment. */
function messageOf({ size }: World, attachment: number): number {
  return spread(attachment, size.MessageAttachment, size.Message, ASIDE.Message)
}

/** What an attachment's document and its file agree on. */
export function attachmentOf(d: Pick<Draw, 'world' | 'timeOf'>, i: number): Attachment {
  const { seed } = d.world
  const h = mix(seed, i, 6)
  const kind = KINDS[h % KINDS.length] as Kind
  const message = messageOf(d.world, i)
  const month = d.timeOf('Message', message).toISOString().slice(0, 7).replace('-', '/')
  const path = `${month}/${[6, 7, 8].map((n) => hex(mix(seed, i, n))).join('-')}.${kind.ending}`
  const isStored = i % 3 !== 2
  return {
    kind,
    path,
    isStored,
    message,
    thumbnail: kind.type === 'image' ? path.replace(/(\.\w+)$/, '_thumb$1') : undefined,
    bytes: isStored ? (i % 100 === 9 ? MIB : 400 + (h % 16_000)) : kind.size + (h % kind.size),
  }
}

function hex(n: number): string {
  return n.toString(16).padStart(8, '0')
}

// One row for each message and reader at first, then one for each member of a conversation.

/** Rows of MessageStatus that tell of one message each; they come first. */
export function rowsByMessage({ size }: World): number {
  return size.MessageStatus - size.ConversationMember
}

/** The message that a row of MessageStatus tells of, and whose reader. */
export function readingOf(w: World, row: number): { message: number; user: number } {
  const rows = rowsByMessage(w)
  const blocks = Math.floor((w.size.Message - ASIDE.Message) / 3)
  const reading = (message: number, reader: number) => ({ message, user: participantOf(w, message, reader) })
  if (row < rows) {
    // Three messages share a dozen rows: two each for those in small conversations, the others for the global one.
    const block = Math.floor((row * blocks) / rows)
    const n = row - Math.ceil((block * rows) / blocks)
    const first = ASIDE.Message + 3 * block
    return n < 4 ? reading(first + 1 + (n >> 1), n & 1) : reading(first, n - 4)
  }
  const n = row - rows
  const { conversation, user } = memberRow(w, n)
  const newest = w.newest[conversation] ?? -1
  if (newest >= 0) return { message: newest, user }
  // Where nobody wrote no cursor can stand: one more reader of a message in the global conversation.
  return reading(ASIDE.Message + 3 * (n % blocks), LATE_READER + Math.floor(n / blocks))
}

export const messages = {
  Message: (d: Draw): Fields => {
    const { world, i } = d
    const { language, sentence: number } = wordsOf(world, i)
    const attachment = spreadTo(i, world.size.MessageAttachment, world.size.Message, ASIDE.Message)
    const isMentioning = spreadTo(i, world.size.Mention, world.size.Message, ASIDE.Message) !== undefined
    const mentioned = d.idOf('User', participantOf(world, i, 1))
    const isEdited = d.chance(0.05)
    const isDeleted = d.chance(0.02)
    const editedAt = d.after(1)
    const deletedAt = d.after(20)
    const isReply = i > ASIDE.Message && d.chance(0.1)
    return {
      _id: d.id,
      conversationId: d.idOf('Conversation', conversationOf(world, i)),
      senderId: d.idOf('User', participantOf(world, i)),
      content: sentence(language, number),
      originalLanguage: language,
      messageType: attachment === undefined ? 'text' : attachmentOf(d, attachment).kind.type,
      isEdited,
      editedAt: isEdited ? editedAt : undefined,
      isDeleted,
      deletedAt: isDeleted ? deletedAt : undefined,
      replyToId: isReply ? d.idOf('Message', d.int(ASIDE.Message, i - 1)) : undefined,
      validatedMentions: isMentioning ? [mentioned.toHexString()] : [],
      createdAt: d.at,
      updatedAt: isDeleted ? deletedAt : isEdited ? editedAt : d.at,
      isEncrypted: false,
    }
  },

  MessageAttachment: (d: Draw): Fields => {
    const { kind, path, thumbnail, bytes, message } = attachmentOf(d, d.i)
    const isVisible = kind.type === 'image' || kind.type === 'video'
    const isPlayed = kind.type === 'audio' || kind.type === 'video'
    return {
      _id: d.id,
      messageId: d.idOf('Message', message),
      fileName: path.slice(path.lastIndexOf('/') + 1),
      originalName: `${d.pick(NAMES)}.${kind.ending}`,
      mimeType: kind.mime,
      fileSize: bytes,
      filePath: path,
      fileUrl: `/api/v1/attachments/${path}`,
      width: isVisible ? d.pick([640, 1080, 1920]) : undefined,
      height: isVisible ? d.pick([480, 720, 1080]) : undefined,
      thumbnailPath: thumbnail,
      thumbnailUrl: thumbnail && `/api/v1/attachments/${thumbnail}`,
      duration: isPlayed ? d.int(2, 300) : undefined,
      bitrate: isPlayed ? 48_000 : undefined,
      sampleRate: kind.type === 'audio' ? 48_000 : undefined,
      codec: kind.type === 'audio' ? 'opus' : undefined,
      channels: kind.type === 'audio' ? 1 : undefined,
      fps: kind.type === 'video' ? new Double(d.pick([25, 29.97, 30])) : undefined,
      videoCodec: kind.type === 'video' ? 'h264' : undefined,
      pageCount: kind.ending === 'pdf' ? d.int(1, 40) : undefined,
      lineCount: kind.ending === 'txt' ? d.int(1, 200) : undefined,
      uploadedBy: d.idOf('User', participantOf(d.world, message)),
      isAnonymous: false,
      createdAt: d.timeOf('Message', message),
      metadata: kind.type === 'audio' ? { audioEffectsTimeline: { version: '1.0', events: [] } } : undefined,
    }
  },

  // Two of each translated message, into two languages.
  MessageTranslation: (d: Draw): Fields => {
    const { size } = d.world
    const message = spread(d.i >> 1, Math.ceil(d.count / 2), size.Message, ASIDE.Message)
    const { language, sentence: number } = wordsOf(d.world, message)
    const others = LANGUAGES.filter((other) => other !== language)
    const target = others[(number + (d.i & 1)) % others.length] as Language
    const createdAt = d.after(0.01, d.timeOf('Message', message))
    return {
      _id: d.id,
      messageId: d.idOf('Message', message),
      sourceLanguage: language,
      targetLanguage: target,
      translatedContent: sentence(target, number),
      translationModel: d.pick(['basic', 'medium', 'premium']),
      cacheKey: `${d.idOf('Message', message).toHexString()}_${language}_${target}`,
      confidenceScore: d.int(60, 99) / 100,
      createdAt,
      updatedAt: createdAt,
    }
  },

  MessageStatus: (d: Draw): Fields => {
    const { message, user } = readingOf(d.world, d.i)
    const receivedAt = d.after(0.1, d.timeOf('Message', message))
    const readAt = d.some(0.8, d.after(30, receivedAt))
    return {
      _id: d.id,
      conversationId: d.idOf('Conversation', conversationOf(d.world, message)),
      messageId: d.idOf('Message', message),
      userId: d.idOf('User', user),
      receivedAt,
      readAt,
      updatedAt: readAt ?? receivedAt,
    }
  },

  MessageReadStatus: (d: Draw): Fields => {
    const message = spread(d.i, d.count, d.world.size.Message, ASIDE.Message)
    const readAt = d.after(48, d.timeOf('Message', message))
    return {
      _id: d.id,
      messageId: d.idOf('Message', message),
      userId: d.idOf('User', participantOf(d.world, message, 1)),
      readAt,
      createdAt: readAt,
    }
  },

  // Two for each message that has any, by two of its readers.
  Reaction: (d: Draw): Fields => {
    const message = spread(d.i >> 1, Math.ceil(d.count / 2), d.world.size.Message, ASIDE.Message)
    const createdAt = d.after(10, d.timeOf('Message', message))
    return {
      _id: d.id,
      messageId: d.idOf('Message', message),
      userId: d.idOf('User', participantOf(d.world, message, d.i & 1)),
      emoji: d.pick(EMOJI),
      createdAt,
      updatedAt: createdAt,
    }
  },

  Mention: (d: Draw): Fields => {
    const message = spread(d.i, d.count, d.world.size.Message, ASIDE.Message)
    return {
      _id: d.id,
      messageId: d.idOf('Message', message),
      mentionedUserId: d.idOf('User', participantOf(d.world, message, 1)),
      mentionedAt: d.timeOf('Message', message),
    }
  },
}
