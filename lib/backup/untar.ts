// Reads tar: ustar, GNU and PAX headers, sparse files as GNU tar writes them in PAX (format 1.0). What is not
// understood is an error, never a guess: whoever extracts the archive must not see another one than we did.
import { reader, type Bytes, type Reader } from './bytes.ts'
import { BLOCK, checksum, padding, show, type Header, type Type } from './tar.ts'

const TYPES: Readonly<Record<string, Type>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'hardlink',
  '2': 'link',
  '3': 'device',
  '4': 'device',
  '5': 'folder',
  '6': 'fifo',
}

const LONGEST = 2 ** 20 // bytes of an extended header
const MOST_REGIONS = 2 ** 20 // of a sparse file: its map is held in memory

const ATTRIBUTE = /^SCHILY\.(xattr|acl)\./
// What a record may be about besides attributes and sparse files; the last five are not restored.
const KNOWN = 'path linkpath size uid gid mtime atime ctime uname gname comment'.split(' ')

export interface Entry extends Header {
  /** Extended attributes and access lists, as PAX records, sorted. */
  readonly attributes: readonly string[]
  /** The header's blocks as they were read; of a sparse file also the blocks of its map. */
  readonly raw: Buffer
  /** What is stored of the content; what is not read of it is skipped. */
  readonly body: Bytes
  /** bytes of that; fewer than `size` where a sparse file has holes */
  readonly stored: number
  /** Of a sparse file: where in it the stored bytes belong, an offset and a length in turn. */
  readonly map?: readonly number[]
}

/**
 * Reads an archive entry by entry, and to its very end. `sparse`: sparse files may be in it; whoever allows them must
 * look at `wrongMap` and read them by `laidOut`.
 * @throws when a header is damaged or of a kind not understood, or the archive is cut short.
 */
export async function* entries(source: Bytes, sparse?: 'sparse'): AsyncGenerator<Entry> {
  const from = reader(source)
  try {
    let pax: ReadonlyMap<string, string> = new Map()
    let long: { name?: string; target?: string } = {}
    let before: Buffer[] = []
    for (;;) {
      const block = await exactly(from, BLOCK)
      if (block.every((byte) => byte === 0)) break
      const { flag, ...h } = decode(block)
      before.push(block)
      if ('LKxg'.includes(flag)) {
        if (flag === 'g') throw new Error('it has a global header, which is not understood')
        if (h.size > LONGEST) throw new Error('a header is longer than 1 MiB')
        const value = await exactly(from, h.size)
        before.push(value, await exactly(from, padding(h.size).length))
        const text = value.toString('latin1').replace(/\0.*$/s, '')
        if (flag === 'L') long = { ...long, name: text }
        else if (flag === 'K') long = { ...long, target: text }
        else if (pax.size > 0) throw new Error('an entry has two extended headers')
        else pax = records(value)
        continue
      }
      const type = TYPES[flag]
      if (type === undefined) throw new Error(`an entry is of type '${flag}', which is not understood`)
      const entry = extended(h, type, pax, long)
      const holed = sparseFile(pax)
      if (holed && (!sparse || type !== 'file')) {
        throw new Error(`${show(holed.name)} is a sparse file, which does not belong there`)
      }
      const { map, bytes } = holed ? await readMap(from, holed.name, entry.size, before) : { bytes: 0 }
      const stored = entry.size - bytes
      const content = body(from, stored)
      yield {
        ...entry,
        ...holed,
        ...(map && { map }),
        stored,
        raw: Buffer.concat(before),
        body: content.read(),
      }
      await content.skip()
      await exactly(from, padding(stored).length)
      pax = new Map()
      long = {}
      before = []
    }
    for (let rest = await from.some(BLOCK); rest.length > 0; rest = await from.some(BLOCK)) {
      if (!rest.every((byte) => byte === 0)) throw new Error('something follows its end')
    }
  } finally {
    await from.close()
  }
}

function body(from: Reader, size: number): { read(): Bytes; skip(): Promise<void> } {
  let left = size
  const next = async (): Promise<Buffer> => {
    const piece = await from.some(left)
    if (piece.length === 0) throw new Error('it is cut short')
    left -= piece.length
    return piece
  }
  return {
    async *read() {
      while (left > 0) yield await next()
    },
    async skip() {
      while (left > 0) await next()
    },
  }
}

async function exactly(from: Reader, length: number): Promise<Buffer> {
  const block = await from.read(length)
  if (block.length < length) throw new Error('it is cut short')
  return block
}

function decode(block: Buffer): Omit<Header, 'type'> & { flag: string } {
  const text = (at: number, length: number): string =>
    block.toString('latin1', at, at + length).replace(/\0.*$/s, '')
  const value = (at: number, length: number): number => {
    const first = block[at] as number
    if (first < 0x80) return Number.parseInt(text(at, length).trim() || '0', 8)
    let n = first === 0xff ? -1n : BigInt(first & 0x7f)
    for (let i = at + 1; i < at + length; i++) n = (n << 8n) | BigInt(block[i] as number)
    return Number(n)
  }
  const blank = Buffer.from(block)
  blank.fill(' ', 148, 156)
  if (checksum(blank) !== value(148, 8)) throw new Error('a header is damaged')
  const size = value(124, 12)
  if (!Number.isSafeInteger(size) || size < 0) throw new Error('a header is damaged')
  // Only POSIX headers have a prefix; GNU's keep other things there.
  const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? text(345, 155) : ''
  return {
    flag: block.toString('latin1', 156, 157),
    name: prefix ? `${prefix}/${text(0, 100)}` : text(0, 100),
    size,
    mode: value(100, 8) & 0o7777,
    uid: value(108, 8),
    gid: value(116, 8),
    mtime: String(value(136, 12)),
    target: text(157, 100),
  }
}

/** A whole number in a record or a map. */
function whole(text: string): number {
  const n = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(n)) throw new Error('a header is damaged')
  return n
}

function extended(
  h: Omit<Header, 'type'>,
  type: Type,
  pax: ReadonlyMap<string, string>,
  long: { name?: string; target?: string },
): Header & { attributes: string[] } {
  const keys = [...pax.keys()]
  const strange = keys.find((k) => !KNOWN.includes(k) && !ATTRIBUTE.test(k) && !k.startsWith(SPARSE))
  if (strange !== undefined) throw new Error(`a header holds '${show(strange)}', which is not understood`)
  const numeric = (key: string, otherwise: number): number => {
    const text = pax.get(key)
    return text === undefined ? otherwise : whole(text)
  }
  const size = numeric('size', h.size)
  if (type !== 'file' && size !== 0) throw new Error('a header is damaged: only files have content')
  return {
    name: pax.get('path') ?? long.name ?? h.name,
    type,
    size,
    mode: h.mode,
    uid: numeric('uid', h.uid),
    gid: numeric('gid', h.gid),
    mtime: pax.get('mtime') ?? h.mtime,
    target: pax.get('linkpath') ?? long.target ?? h.target,
    attributes: keys
      .filter((k) => ATTRIBUTE.test(k))
      .toSorted()
      .map((k) => `${k}=${pax.get(k)}`),
  }
}

/** PAX records: `length key=value\n`, the length counting itself. */
function records(content: Buffer): Map<string, string> {
  const found = new Map<string, string>()
  const text = content.toString('latin1')
  for (let at = 0; at < text.length;) {
    const [, length, key] = /^(\d+) ([^=]+)=/.exec(text.slice(at, at + 300)) ?? []
    const end = at + Number(length)
    if (length === undefined || key === undefined || text[end - 1] !== '\n')
      throw new Error('a header is damaged')
    found.set(key, text.slice(at + length.length + key.length + 2, end - 1))
    at = end
  }
  return found
}

// ---- Sparse files: the content begins with a map of what is stored, as decimal lines, filled up to a block.

const SPARSE = 'GNU.sparse.'

/** The name of a sparse file and its bytes with the holes; undefined when the entry is none. */
function sparseFile(pax: ReadonlyMap<string, string>): { name: string; size: number } | undefined {
  const keys = [...pax.keys()].filter((k) => k.startsWith(SPARSE)).toSorted()
  if (keys.length === 0) return undefined
  const said = keys.map((k) => k.slice(SPARSE.length)).join()
  const version = `${pax.get(`${SPARSE}major`)}.${pax.get(`${SPARSE}minor`)}`
  if (said !== 'major,minor,name,realsize' || version !== '1.0') {
    throw new Error('it holds a sparse file of a format that is not understood')
  }
  return { name: pax.get(`${SPARSE}name`) ?? '', size: whole(pax.get(`${SPARSE}realsize`) ?? '') }
}

/** Reads a map, which is at most `size` bytes, adds its blocks to `before`, and tells how many bytes it took. */
async function readMap(
  from: Reader,
  name: string,
  size: number,
  before: Buffer[],
): Promise<{ map: number[]; bytes: number }> {
  const wrong = (why: string): Error => new Error(`the sparse file ${show(name)} is refused: ${why}`)
  const map: number[] = []
  let bytes = 0
  let expected: number | undefined // numbers that follow
  let digits = ''
  for (;;) {
    if (bytes + BLOCK > size) throw wrong('its map has no end')
    const block = await exactly(from, BLOCK)
    before.push(block)
    bytes += BLOCK
    for (const [at, byte] of block.entries()) {
      if (byte >= 0x30 && byte <= 0x39 && digits.length < 16) {
        digits += String.fromCharCode(byte)
        continue
      }
      if (byte !== 0x0a || digits === '') throw wrong('its map is no list of numbers')
      if (expected === undefined) {
        if (Number(digits) > MOST_REGIONS) throw wrong(`it has ${digits} pieces, more than ${MOST_REGIONS}`)
        expected = 2 * Number(digits)
      } else map.push(whole(digits))
      digits = ''
      if (map.length < expected) continue
      if (block.subarray(at + 1).some((b) => b !== 0)) throw wrong('something follows its map')
      return { map, bytes }
    }
  }
}

/** What is wrong with a sparse file's map: every stored byte must have one place, inside of the file. */
export function wrongMap({ map, size, stored }: Pick<Entry, 'map' | 'size' | 'stored'>): string | undefined {
  if (!map) return undefined
  let end = 0
  let sum = 0
  for (let i = 0; i < map.length; i += 2) {
    const offset = map[i] as number
    const length = map[i + 1] as number
    if (offset < end) return 'its pieces overlap, or are not in their order'
    end = offset + length
    sum += length
    if (end > size) return 'a piece of it lies behind its end'
  }
  return sum === stored ? undefined : `${stored} bytes are stored of it, and its map places ${sum}`
}

/** The content of a file as it will be: what is stored, and each hole as its number of zeros. */
export const laidOut = (entry: Entry): AsyncIterable<Buffer | number> =>
  entry.map ? spread(entry, entry.map) : entry.body

async function* spread({ body, size }: Entry, map: readonly number[]): AsyncGenerator<Buffer | number> {
  let at = 0 // in the file
  let next = 0 // in the map
  let left = 0 // of the piece
  for await (let bytes of body) {
    while (bytes.length > 0) {
      while (left === 0) {
        if (next >= map.length) throw new Error('its map places fewer bytes than are stored')
        const offset = map[next] as number
        if (offset > at) yield offset - at
        at = offset
        left = map[next + 1] as number
        next += 2
      }
      const piece = bytes.subarray(0, left)
      yield piece
      at += piece.length
      left -= piece.length
      bytes = bytes.subarray(piece.length)
    }
  }
  if (size > at) yield size - at
}
