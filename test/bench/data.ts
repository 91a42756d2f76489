// What a benchmark fills a stack with: files and documents that are functions of their seed alone.
import { createCipheriv, createHash } from 'node:crypto'
import { ObjectId, type Document } from 'mongodb'
import type { Volume } from '../stack/data/files.ts'
import { mix, sequence } from '../stack/data/random.ts'

const KIB = 2 ** 10
const MIB = 2 ** 20
const PIECE = MIB // bytes of a file that are made at once

/** What a file holds: noise cannot be compressed; prose shrinks to about a third, records to a half (gzip -6). */
type Kind = 'noise' | 'prose' | 'records'

interface Share {
  readonly volume: Volume
  readonly folder: string
  readonly ending: string
  readonly kind: Kind
  /** of all bytes */
  readonly share: number
  /** bytes of a file, from and to; their logarithms are spread evenly */
  readonly sizes: readonly [number, number]
}

/** A third of each kind; uploads are many and small, exports and models few and large. */
const SHARES: readonly Share[] = [
  {
    volume: 'gateway_uploads',
    folder: 'attachments/photos',
    ending: 'jpg',
    kind: 'noise',
    share: 0.2,
    sizes: [16 * KIB, 2 * MIB],
  },
  {
    volume: 'gateway_uploads',
    folder: 'attachments/documents',
    ending: 'txt',
    kind: 'prose',
    share: 0.15,
    sizes: [KIB, 256 * KIB],
  },
  {
    volume: 'gateway_uploads',
    folder: 'exports',
    ending: 'dat',
    kind: 'records',
    share: 0.15,
    sizes: [8 * MIB, 32 * MIB],
  },
  {
    volume: 'frontend_uploads',
    folder: 'i',
    ending: 'png',
    kind: 'noise',
    share: 0.08,
    sizes: [4 * KIB, 128 * KIB],
  },
  {
    volume: 'models_data',
    folder: 'models/quantized',
    ending: 'bin',
    kind: 'noise',
    share: 1 / 3 - 0.28,
    sizes: [32 * MIB, 64 * MIB],
  },
  {
    volume: 'models_data',
    folder: 'models/vocabulary',
    ending: 'txt',
    kind: 'prose',
    share: 1 / 3 - 0.15,
    sizes: [16 * MIB, 64 * MIB],
  },
  {
    volume: 'models_data',
    folder: 'models/weights',
    ending: 'bin',
    kind: 'records',
    share: 1 / 3 - 0.15,
    sizes: [32 * MIB, 96 * MIB],
  },
]

/** A file of a volume. */
export interface Made {
  readonly volume: Volume
  readonly path: string
  readonly bytes: number
  /** Its content, in pieces. */
  readonly content: () => Iterable<Buffer>
}

/** Files of so many bytes together, the same for the same seed. */
export function* files(bytes: number, seed: number): Generator<Made> {
  const pools = { prose: prose(8 * MIB, seed), records: records(4 * MIB, seed) }
  for (const [row, { volume, folder, ending, kind, share, sizes }] of SHARES.entries()) {
    const [from, to] = sizes
    const next = sequence(seed, row)
    let left = Math.round(bytes * share)
    for (let n = 0; left > 0; n++) {
      const size = Math.min(left, Math.round(from * (to / from) ** next()))
      left -= size
      const path = `${folder}/${2024 + (n % 2)}/${1 + (n % 12)}/${n}-${mix(seed, row, n)}.${ending}`
      const content = (): Iterable<Buffer> =>
        kind === 'noise' ? noise(path, size) : cuts(pools[kind], size, mix(seed, row, n))
      yield { volume, path, bytes: size, content }
    }
  }
}

function* noise(label: string, bytes: number): Generator<Buffer> {
  const key = createHash('sha256').update(label).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  const zeros = Buffer.alloc(PIECE)
  for (let left = bytes; left > 0; left -= PIECE) yield cipher.update(zeros.subarray(0, left))
}

/** Pieces of a pool from anywhere in it: what a compressor remembers, 32 KiB, hardly ever comes twice. */
function* cuts(pool: Buffer, bytes: number, seed: number): Generator<Buffer> {
  for (let left = bytes, n = 0; left > 0; left -= PIECE, n++) {
    const length = Math.min(left, PIECE)
    const at = mix(seed, n) % (pool.length - length)
    yield pool.subarray(at, at + length)
  }
}

const SYLLABLES = 'ba,ce,di,fo,gu,la,me,ni,po,ru,sa,te,vi,xo,zu,an,el,ir,on,us,tra,ple,qui,gno'.split(',')
const WORDS = 4_000

/** Words that never were, the first ones of the vocabulary far more often than the last ones, as in any language. */
function prose(bytes: number, seed: number): Buffer {
  const next = sequence(seed, WORDS)
  const pick = <T>(list: readonly T[], at: number): T => list[Math.floor(at * list.length)] as T
  const word = (): string =>
    Array.from({ length: 1 + Math.floor(next() * 4) }, () => pick(SYLLABLES, next())).join('')
  const vocabulary = Array.from({ length: WORDS }, word)
  let text = ''
  while (text.length < bytes) text += pick(vocabulary, next() ** 3) + (next() < 0.1 ? '.\n' : ' ')
  return Buffer.from(text.slice(0, bytes), 'latin1')
}

const RECORD = 32 // bytes

/** A table as a program writes it: numbers that count, times that grow, measured values, flags. */
function records(bytes: number, seed: number): Buffer {
  const next = sequence(seed, RECORD)
  const table = Buffer.alloc(bytes)
  for (let at = 0, n = 0; at < bytes; at += RECORD, n++) {
    table.writeUInt32LE(n, at)
    table.writeDoubleLE(1.76e12 + n * 137 + Math.floor(next() * 100), at + 4)
    table.writeFloatLE(next() - next(), at + 12)
    table.writeFloatLE(next() * next(), at + 16)
    table.writeUInt32LE(Math.floor(next() * 5_000), at + 20)
    table.writeUInt8(next() < 0.9 ? 1 : 0, at + 24)
  }
  return table
}

/** bytes of a document of `documents`, on average */
export const DOCUMENT = 800
const TEXT = [300, 720] as const // characters of a message

/** So many messages of about 800 bytes, the same for the same seed. */
export function* documents(count: number, seed: number): Generator<Document> {
  const pool = prose(8 * MIB, seed + 1).toString('latin1')
  const next = sequence(seed, DOCUMENT)
  const from = Date.parse('2024-01-01T00:00:00Z')
  const text = (length: number): string => {
    const at = Math.floor(next() * (pool.length - length))
    return pool.slice(at, at + length)
  }
  for (let n = 0; n < count; n++) {
    const at = new Date(from + n * 100_000)
    const length = TEXT[0] + Math.floor(next() * (TEXT[1] - TEXT[0]))
    yield {
      _id: objectId(seed, n, at),
      conversationId: objectId(seed, mix(n, 1) % 2_000, new Date(from)),
      senderId: objectId(seed, mix(n, 2) % 500, new Date(from)),
      content: text(length >> 1),
      originalLanguage: next() < 0.7 ? 'fr' : 'en',
      messageType: 'text',
      isEdited: next() < 0.05,
      isDeleted: next() < 0.02,
      translations: [{ language: 'en', content: text(length >> 1), model: 'basic', confidence: next() }],
      createdAt: at,
      updatedAt: at,
    }
  }
}

function objectId(seed: number, n: number, at: Date): ObjectId {
  const bytes = Buffer.alloc(12)
  bytes.writeUInt32BE(Math.floor(at.getTime() / 1000), 0)
  bytes.writeUInt32BE(mix(seed, n), 4)
  bytes.writeUInt32BE(n, 8)
  return new ObjectId(bytes)
}
