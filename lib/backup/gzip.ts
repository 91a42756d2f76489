// Gzip in members of at most 1 MiB, each with its own length in its header's extra field. To gzip, tar and Python it
// is one ordinary .gz; to us it can be packed, unpacked and checked in several threads, and one member of it can be
// rewritten in place.
import { promisify } from 'node:util'
import { crc32, deflateRaw, gunzip, type ZlibOptions } from 'node:zlib'
import { chunks, inOrder, reader, type Bytes } from './bytes.ts'

// One or two output buffers for each call: Node's default of 16 KiB would make it 64 calls per chunk.
const deflateAsync = promisify(deflateRaw) as (data: Buffer, options: ZlibOptions) => Promise<Buffer>
const deflated = (data: Buffer, level: number): Promise<Buffer> =>
  deflateAsync(data, { level, chunkSize: (data.length >> 1) + 1024 })
const gunzipAsync = promisify(gunzip) as (data: Buffer, options: ZlibOptions) => Promise<Buffer>
const inflated = (raw: Buffer): Promise<Buffer> => {
  const says = raw.readUInt32LE(raw.length - 4) // its length, by its own account
  return gunzipAsync(raw, { maxOutputLength: LARGEST, chunkSize: Math.min(says, LARGEST) + 1024 })
}

export const CHUNK = 2 ** 20 // bytes: what one thread works on at a time
const LARGEST = CHUNK + 2 ** 16 // bytes in a member: a chunk that is a member itself
const WIDTH = 4 // chunks at work at once: as many as Node has threads for it
const LEVEL = 1 // 2.4 times faster than 6 for 9 % more bytes
const WORTH = 0.97 // what does not shrink below this is stored
const SAMPLE = 2 ** 16 // bytes that tell whether a chunk is worth compressing

// magic, deflate, extra field follows, no time, no hint, no system; then the extra field's length and, as its first
// part, 'RB' with the length of the whole member.
const FIXED = Buffer.from('1f8b080400000000' + '00ff', 'hex')
const OWN = Buffer.from('52420400', 'hex')
const HEADER = 20
const FOOTER = 8 // checksum and length of the content
const BLOCK = 0xffff // bytes in one stored block at most
const NONE = Buffer.alloc(0)

/** Bytes of a member that stores 512 bytes: room for one tar header, whatever will be written there. */
export const SLOT = 545

/** One gzip member holding `content`, which may be empty; `extra` is further extra-field data. Level 0 stores. */
export async function member(content: Buffer, level: number, extra: Buffer = NONE): Promise<Buffer> {
  return level === 0 ? stored(content) : wrapped(content, await deflated(content, level), extra)
}

function wrapped(content: Buffer, packed: Buffer, extra: Buffer): Buffer {
  const total = HEADER + extra.length + packed.length + FOOTER
  return Buffer.concat([head(total, extra), extra, packed, foot(content)], total)
}

/** Stored blocks by hand: one buffer and one copy, where zlib would take another thread and two more. */
function stored(content: Buffer): Buffer {
  const blocks = Math.max(1, Math.ceil(content.length / BLOCK))
  const out = Buffer.allocUnsafe(HEADER + blocks * 5 + content.length + FOOTER)
  let at = head(out.length, NONE).copy(out)
  for (let block = 1, from = 0; block <= blocks; block++, from += BLOCK) {
    const length = Math.min(BLOCK, content.length - from)
    out[at] = block === blocks ? 1 : 0 // whether it is the last
    out.writeUInt16LE(length, at + 1)
    out.writeUInt16LE(0xffff ^ length, at + 3)
    at += 5 + content.copy(out, at + 5, from, from + length)
  }
  foot(content).copy(out, at)
  return out
}

function head(total: number, extra: Buffer): Buffer {
  const bytes = Buffer.alloc(HEADER)
  FIXED.copy(bytes)
  bytes.writeUInt16LE(8 + extra.length, 10)
  OWN.copy(bytes, 12)
  bytes.writeUInt32LE(total, 16)
  return bytes
}

function foot(content: Buffer): Buffer {
  const bytes = Buffer.alloc(FOOTER)
  bytes.writeUInt32LE(crc32(content), 0)
  bytes.writeUInt32LE(content.length, 4)
  return bytes
}

/** Whether a member is a slot: 512 bytes, stored. */
export const isSlot = (raw: Buffer): boolean => raw.length === SLOT && raw.readUInt32LE(SLOT - 4) === 512

/** Whether these bytes (at least 16) begin a member of ours. */
export const beginsAMember = (head: Buffer): boolean =>
  head.subarray(0, 10).equals(FIXED) && head.subarray(12, 16).equals(OWN)

/** bytes of a member's header, which tells its length. */
export const MEMBER_HEADER = HEADER

/** bytes of a member, by its header. @throws when it is none of ours */
export function memberLength(head: Buffer): number {
  const length = head.length < HEADER || !beginsAMember(head) ? 0 : head.readUInt32LE(16)
  if (length < HEADER + FOOTER || length > 2 * LARGEST) throw new Error('it does not begin as it should')
  return length
}

/** Packs a stream into members; a chunk that does not shrink is stored as it is. */
export function compress(source: Bytes): AsyncGenerator<Buffer> {
  return inOrder(chunks(source, CHUNK), WIDTH, packed)
}

/** The same for a stream that is compressed already: every piece, of at most LARGEST bytes, becomes a member. */
export async function* store(source: Bytes): Bytes {
  for await (const piece of source) {
    if (piece.length > LARGEST) throw new RangeError('a piece is too large to be stored')
    yield stored(piece)
  }
}

async function packed(chunk: Buffer): Promise<Buffer> {
  if (chunk.length > 4 * SAMPLE) {
    const middle = (chunk.length - SAMPLE) >> 1
    const sample = await deflated(chunk.subarray(middle, middle + SAMPLE), LEVEL)
    if (sample.length > SAMPLE * WORTH) return stored(chunk)
  }
  const small = await deflated(chunk, LEVEL)
  return small.length < chunk.length * WORTH ? wrapped(chunk, small, NONE) : stored(chunk)
}

export interface Member {
  /** As it lies in the file. */
  readonly raw: Buffer
  /** Unpacked; its CRC and length were checked. */
  readonly content: Buffer
  /** What follows our own length in the extra field. */
  readonly extra: Buffer
}

/**
 * Unpacks members in order.
 * @throws when a member is not as `member` writes it, its checksum is wrong, or the stream ends inside of it.
 */
export function members(source: Bytes): AsyncGenerator<Member> {
  return inOrder(split(source), WIDTH, async ({ raw, extra }) => {
    const content = await inflated(raw)
    return { raw, extra, content }
  })
}

/** The unpacked bytes alone. */
export async function* decompress(source: Bytes): Bytes {
  for await (const { content } of members(source)) yield content
}

async function* split(source: Bytes): AsyncGenerator<{ raw: Buffer; extra: Buffer }> {
  const from = reader(source)
  try {
    for (;;) {
      const head = await from.read(HEADER)
      if (head.length === 0) return
      if (head.length < HEADER || !beginsAMember(head)) throw new Error('a gzip header is damaged')
      const extraLength = head.readUInt16LE(10) - 8
      const rest = head.readUInt32LE(16) - HEADER
      if (extraLength < 0 || rest < extraLength || rest > 2 * LARGEST)
        throw new Error('a gzip header is damaged')
      const body = await from.read(rest)
      if (body.length < rest) throw new Error('it is cut short')
      yield { raw: Buffer.concat([head, body]), extra: body.subarray(0, extraLength) }
    }
  } finally {
    await from.close()
  }
}
