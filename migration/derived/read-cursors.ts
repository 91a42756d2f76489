import { createHash } from 'node:crypto'
import { Int32, ObjectId } from 'mongodb'
import type { Group } from '../plan-types.ts'
import type { Fields } from '../rules.ts'
import { valueOf } from '../shape.ts'
import { converted, dateOfId } from '../values.ts'

/**
 * The read positions of a conversation, one for each user: what was read last by the newest `readAt`, what was delivered
 * last by the newest `receivedAt`. The older rows are one for each message and user, the newer ones one for each
 * conversation and user; the newest says the same in both. Unread is what others wrote after the read position and did
 * not delete.
 */
export function readCursors({ id, rows, beside }: Group): Fields[] {
  const all = messagesOf(beside)
  const users = new Map<string, Row[]>()
  for (const row of rows) {
    const user = converted('ObjectId', valueOf(row, 'userId'))?.value as ObjectId | undefined
    if (!user) continue
    const key = user.toHexString()
    const own = users.get(key)
    if (own) own.push(rowOf(row))
    else users.set(key, [rowOf(row)])
  }
  return [...users].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([user, own]) => cursor(id, user, own, all))
}

interface Row {
  readonly id: string
  readonly message?: ObjectId
  readonly received: number
  readonly read: number
  readonly updated: number
}

const NEVER = -Infinity

/** ms, or NEVER. */
function time(row: Fields, field: string): number {
  const date = converted('DateTime', valueOf(row, field))?.value
  return date instanceof Date ? date.getTime() : NEVER
}

function rowOf(row: Fields): Row {
  const message = converted('ObjectId', valueOf(row, 'messageId'))?.value as ObjectId | undefined
  return {
    id: String(valueOf(row, '_id')),
    ...(message && { message }),
    received: time(row, 'receivedAt'),
    read: time(row, 'readAt'),
    updated: time(row, 'updatedAt'),
  }
}

/** The row with the newest time; of equal ones the one that was updated last, then the greater `_id`. */
function newest(rows: readonly Row[], by: 'received' | 'read'): Row | undefined {
  return rows
    .filter((row) => row[by] !== NEVER)
    .reduce<Row | undefined>((best, row) => (best && order(best, row, by) > 0 ? best : row), undefined)
}

function order(a: Row, b: Row, by: 'received' | 'read'): number {
  if (a[by] !== b[by]) return a[by] - b[by]
  if (a.updated !== b.updated) return a.updated > b.updated ? 1 : -1
  return a.id < b.id ? -1 : 1
}

/** The messages that can be unread, by time; and where each message stands, deleted ones too. */
interface Messages {
  readonly times: readonly number[]
  readonly timesOf: ReadonlyMap<string, readonly number[]>
  readonly timeOf: ReadonlyMap<string, number>
}

function messagesOf(beside: readonly Fields[]): Messages {
  const timeOf = new Map<string, number>()
  const times: number[] = []
  const timesOf = new Map<string, number[]>()
  for (const message of beside) {
    const at = time(message, 'createdAt')
    timeOf.set(String(message['_id']), at)
    if (message['isDeleted'] === true) continue
    times.push(at)
    const sender = String(message['senderId'])
    const own = timesOf.get(sender)
    if (own) own.push(at)
    else timesOf.set(sender, [at])
  }
  const ascending = (a: number, b: number): number => a - b
  times.sort(ascending)
  for (const own of timesOf.values()) own.sort(ascending)
  return { times, timesOf, timeOf }
}

/** How many of the ascending times are later. */
function after(times: readonly number[], at: number): number {
  let [low, high] = [0, times.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((times[middle] as number) > at) high = middle
    else low = middle + 1
  }
  return times.length - low
}

function cursor(conversation: ObjectId, user: string, rows: readonly Row[], all: Messages): Fields {
  const read = newest(rows, 'read')
  const received = newest(rows, 'received')
  // A message that is gone has no place any more; then the moment of reading has to do.
  const position = read ? (all.timeOf.get(String(read.message)) ?? read.read) : NEVER
  const latest = Math.max(...rows.flatMap(({ updated, read: r, received: d }) => [updated, r, d]))
  const id = createHash('sha256')
    .update(`ConversationReadCursor ${conversation.toHexString()} ${user}`)
    .digest()
  return {
    _id: new ObjectId(id.subarray(0, 12)),
    conversationId: conversation,
    userId: new ObjectId(user),
    ...(read?.message && { lastReadMessageId: read.message }),
    ...(read && { lastReadAt: new Date(read.read) }),
    ...(received?.message && { lastDeliveredMessageId: received.message }),
    ...(received && { lastDeliveredAt: new Date(received.received) }),
    unreadCount: new Int32(after(all.times, position) - after(all.timesOf.get(user) ?? [], position)),
    version: new Int32(0),
    updatedAt: latest === NEVER ? dateOfId(conversation) : new Date(latest),
  }
}
