// Who belongs to what, by arithmetic: nothing is remembered but the last message of each conversation.
import type { CollectionName } from './counts.ts'
import { fraction, mix } from './random.ts'

export interface World {
  readonly seed: number
  /** Documents by collection. */
  readonly size: Readonly<Record<CollectionName, number>>
  /** For each conversation the place of its newest message, or -1. */
  readonly newest: Int32Array
}

/**
 * The first documents of these collections are ones that no migration can keep, or that belong to another document
 * on purpose; ordinary documents never refer to them.
 */
export const ASIDE = { User: 1, Message: 3, call_sessions: 1 } as const
/** The conversation in which every user is, and one in which nobody ever wrote. */
export const GLOBAL = 0
export const SILENT = 14
/** Users that are counted as there from the first message on. */
const EARLY_USERS = 16

const LANGUAGES = ['fr', 'fr', 'fr', 'en', 'en', 'es', 'pt'] as const
export type Language = (typeof LANGUAGES)[number]

export function worldOf(seed: number, size: World['size']): World {
  const newest = new Int32Array(size.Conversation).fill(-1)
  for (let k = ASIDE.Message; k < size.Message; k++) newest[conversationOf({ seed, size }, k)] = k
  return { seed, size, newest }
}

/** Spreads `count` documents over the `total` of another collection behind its first `aside`: the i-th's place. */
export function spread(i: number, count: number, total: number, aside: number): number {
  return aside + Math.floor(((total - aside) * i) / count)
}

/** The i that `spread` sends to that place, or undefined. */
export function spreadTo(place: number, count: number, total: number, aside: number): number | undefined {
  const i = Math.ceil(((place - aside) * count) / (total - aside))
  return place >= aside && i < count && spread(i, count, total, aside) === place ? i : undefined
}

// Members. The first rows are the global conversation's, one for each user but the first; the others are dealt out
// evenly, two or three to a conversation.

/** The conversation and the user of a row of ConversationMember. */
export function memberRow(w: World, row: number): { conversation: number; user: number } {
  const conversation = conversationOfRow(w, row)
  return { conversation, user: memberOf(w, conversation, row - firstRow(w, conversation)) }
}

/** Members of a conversation. */
export function memberCount(w: World, conversation: number): number {
  return firstRow(w, conversation + 1) - firstRow(w, conversation)
}

/** The user that is the n-th member of a conversation, counted around. */
export function memberOf(w: World, conversation: number, n: number): number {
  const place = n % memberCount(w, conversation)
  if (conversation === GLOBAL) return ASIDE.User + place
  // Only users that were there when the conversation began, neighbours by place.
  const users =
    Math.max(EARLY_USERS, Math.floor((w.size.User * conversation) / w.size.Conversation)) - ASIDE.User
  return ASIDE.User + ((mix(w.seed, conversation) + place) % users)
}

function firstRow({ size }: World, conversation: number): number {
  if (conversation === GLOBAL) return 0
  const global = size.User - ASIDE.User
  const others = size.Conversation - 1
  return global + Math.ceil(((conversation - 1) * (size.ConversationMember - global)) / others)
}

function conversationOfRow({ size }: World, row: number): number {
  const global = size.User - ASIDE.User
  if (row < global) return GLOBAL
  return 1 + Math.floor(((row - global) * (size.Conversation - 1)) / (size.ConversationMember - global))
}

// Messages. Every third one is in the global conversation, the others favour older conversations.

/** The conversation of a message: one that was there already. */
export function conversationOf({ seed, size }: Pick<World, 'seed' | 'size'>, message: number): number {
  if ((message - ASIDE.Message) % 3 === 0) return GLOBAL
  const there = Math.floor((size.Conversation * message) / size.Message)
  const place = Math.floor(fraction(seed, message, 1) ** 2 * there)
  return place === SILENT ? GLOBAL : place
}

/** A member of a message's conversation: the writer is number 0, the next ones tell readers apart. */
export function participantOf(w: World, message: number, n = 0): number {
  const conversation = conversationOf(w, message)
  const members =
    conversation === GLOBAL
      ? Math.max(EARLY_USERS, Math.floor((w.size.User * message) / w.size.Message)) - ASIDE.User
      : memberCount(w, conversation)
  return memberOf(w, conversation, ((mix(w.seed, message, 2) % members) + n) % members)
}

/** The language and the sentence (any number) of a message. */
export function wordsOf({ seed }: World, message: number): { language: Language; sentence: number } {
  const h = mix(seed, message, 3)
  return { language: LANGUAGES[h % LANGUAGES.length] ?? 'fr', sentence: h >>> 8 }
}
