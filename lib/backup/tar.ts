// The tar format as it is written: GNU headers. (untar.ts reads.) Names are byte strings (one character per byte,
// 'latin1'), so that a name in any encoding, or in none, comes out as it went in.
export const BLOCK = 512
/** What ends an archive. */
export const END = Buffer.alloc(2 * BLOCK)

export type Type = 'file' | 'hardlink' | 'link' | 'device' | 'folder' | 'fifo'
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

/** The sum of a header's bytes. */
export function checksum(block: Buffer): number {
  let sum = 0
  for (const byte of block) sum += byte
  return sum
}
