// Reads tar: ustar, GNU and PAX headers. What is not understood is an error, never a guess.
import { reader, type Bytes, type Reader } from './bytes.ts'
import { BLOCK, checksum, padding, type Header, type Type } from './tar.ts'

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

export interface Entry extends Header {
  /** Extended attributes and access lists, as PAX records, sorted. */
  readonly attributes: readonly string[]
  /** The header's blocks as they were read. */
  readonly raw: Buffer
  /** The content; what is not read of it is skipped. */
  readonly body: Bytes
}

/**
 * Reads an archive entry by entry, and to its very end.
 * @throws when a header is damaged or of a kind not understood, or the archive is cut short.
 */
export async function* entries(source: Bytes): AsyncGenerator<Entry> {
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
