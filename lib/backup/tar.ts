// The tar format: GNU headers written, ustar, GNU and PAX read. Names are byte strings (one character per byte,
// 'latin1'), so that a name in any encoding, or in none, comes out as it went in.
import { reader, type Bytes, type Reader } from './bytes.ts'

export const BLOCK = 512
/** What ends an archive. */
export const END = Buffer.alloc(2 * BLOCK)

export type Type = 'file' | 'hardlink' | 'link' | 'device' | 'folder' | 'fifo'
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
const FLAGS = { file: '0', hardlink: '1', link: '2', folder: '5' } as const

/** What a header says. */
export interface Header {
  readonly name: string
  readonly type: Type
  /** bytes; 0 for everything but a file */
  readonly size: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Seconds since 1970, with the fraction where one was recorded. */
  readonly mtime: string
  /** What a link points to. */
  readonly target: string
}

export interface Entry extends Header {
  /** Extended attributes and access lists, as PAX records, sorted. */
  readonly attributes: readonly string[]
  /** The header's blocks as they were read. */
  readonly raw: Buffer
  /** The content; what is not read of it is skipped. */
  readonly body: Bytes
}

/** Zeros up to the next block. */
export const padding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK)

/** Text as a byte string, and back; bytes that are no UTF-8 are shown as \xff. */
export const toBytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')
export function show(name: string): string {
  const bytes = Buffer.from(name, 'latin1')
  const text = bytes.toString('utf8')
  if (Buffer.from(text, 'utf8').equals(bytes)) return text
  return name.replaceAll(/[^\x20-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

/** The blocks that come before the header when its name or target does not fit into it; empty otherwise. */
export function longNames({ name, target }: Pick<Header, 'name' | 'target'>): Buffer {
  const long = (flag: string, value: string): Buffer[] => {
    if (value.length <= 100) return []
    const content = Buffer.from(`${value}\0`, 'latin1')
    return [encode('././@LongLink', flag, content.length), content, padding(content.length)]
  }
  return Buffer.concat([...long('K', target), ...long('L', name)])
}

/** The header itself: always one block. */
export function header(h: Omit<Header, 'type'> & { readonly type: keyof typeof FLAGS }): Buffer {
  return encode(h.name, FLAGS[h.type], h.size, h)
}

function encode(
  name: string,
  flag: string,
  size: number,
  h?: Omit<Header, 'name' | 'type' | 'size'>,
): Buffer {
  const block = Buffer.alloc(BLOCK)
  block.write(name.slice(0, 100), 0, 'latin1')
  number(block, 100, 8, h?.mode ?? 0o600)
  number(block, 108, 8, h?.uid ?? 0)
  number(block, 116, 8, h?.gid ?? 0)
  number(block, 124, 12, size)
  number(block, 136, 12, Math.floor(Number(h?.mtime ?? 0)))
  block.write('        ', 148, 'latin1')
  block.write(flag, 156, 'latin1')
  block.write((h?.target ?? '').slice(0, 100), 157, 'latin1')
  block.write('ustar  \0', 257, 'latin1')
  block.write(`${checksum(block).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

/** Octal; where that does not fit (a file above 8 GiB), GNU's base 256. */
function number(block: Buffer, at: number, length: number, value: number): void {
  const octal = value.toString(8).padStart(length - 1, '0')
  if (value >= 0 && octal.length < length) {
    block.write(octal, at, 'latin1')
    return
  }
  let rest = BigInt(value)
  for (let i = at + length - 1; i >= at; i--) {
    block[i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  block[at] = value < 0 ? 0xff : 0x80
}

function checksum(block: Buffer): number {
  let sum = 0
  for (const byte of block) sum += byte
  return sum
}

/**
 * Reads an archive entry by entry, and to its very end.
 * @throws when a header is damaged or of a kind not understood, or the archive is cut short.
 */
export async function* entries(source: Bytes): AsyncGenerator<Entry> {
  const from = reader(source)
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
      if (h.size > 2 ** 20) throw new Error('a header is longer than 1 MiB')
      const value = await exactly(from, h.size)
      before.push(value, await exactly(from, padding(h.size).length))
      const text = value.toString('latin1').replace(/\0.*$/s, '')
      if (flag === 'L') long = { ...long, name: text }
      else if (flag === 'K') long = { ...long, target: text }
      else pax = records(value)
      continue
    }
    const type = TYPES[flag]
    if (type === undefined) throw new Error(`an entry is of type '${flag}', which is not understood`)
    const entry = extended(h, type, pax, long)
    const content = body(from, entry.size)
    yield { ...entry, raw: Buffer.concat(before), body: content.read() }
    await content.skip()
    await exactly(from, padding(entry.size).length)
    pax = new Map()
    long = {}
    before = []
  }
  for (let rest = await from.some(BLOCK); rest.length > 0; rest = await from.some(BLOCK)) {
    if (!rest.every((byte) => byte === 0)) throw new Error('something follows its end')
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

function extended(
  h: Omit<Header, 'type'>,
  type: Type,
  pax: ReadonlyMap<string, string>,
  long: { name?: string; target?: string },
): Header & { attributes: string[] } {
  const keys = [...pax.keys()]
  if (keys.some((k) => k.startsWith('GNU.sparse')))
    throw new Error('it holds a sparse file, which is not understood')
  const numeric = (key: string, otherwise: number): number => {
    const n = Number(pax.get(key) ?? otherwise)
    if (!Number.isSafeInteger(n)) throw new Error('a header is damaged')
    return n
  }
  return {
    name: pax.get('path') ?? long.name ?? h.name,
    type,
    size: type === 'file' ? numeric('size', h.size) : 0,
    mode: h.mode,
    uid: numeric('uid', h.uid),
    gid: numeric('gid', h.gid),
    mtime: pax.get('mtime') ?? h.mtime,
    target: pax.get('linkpath') ?? long.target ?? h.target,
    attributes: keys
      .filter((k) => /^SCHILY\.(xattr|acl)\./.test(k))
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
