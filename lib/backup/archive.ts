// The archive of a set: an ordinary .tar.gz with one folder in it, written once from front to back. The header of
// each part is a gzip member of its own, reserved first and filled in when the part's size is known. At the very end
// a last, empty member says where the manifest begins and holds a checksum of everything before it.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { interruption } from '../shell.ts'
import { once, tap, type Bytes } from './bytes.ts'
import { beginsAMember, compress, decompress, isSlot, member, members, store } from './gzip.ts'
import { END, header, longNames, padding, show } from './tar.ts'
import { entries, type Entry } from './untar.ts'

/** One file of the archive. */
export interface Part {
  /** Its path below the set's folder. */
  readonly name: string
  /** bytes, as extracted */
  readonly bytes: number
  readonly sha256: string
  /** Where its first member begins in the archive file. */
  readonly at: number
}

/** Owner and times that a part keeps; otherwise it is root's, 0600. */
export interface Meta {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** s since 1970 */
  readonly mtime: string
}

export interface ArchiveWriter {
  /** What was written so far, in order. */
  readonly parts: readonly Part[]
  /** bytes in the file */
  size(): number
  /** Adds a file. Its name is a byte string. `packed`: it comes from `compress` already. */
  file(
    name: string,
    source: Bytes,
    options?: { readonly packed?: boolean; readonly meta?: Meta },
  ): Promise<Part>
  /** Adds a folder, 0700, unless it is there already. */
  folder(name: string): Promise<void>
  /** Adds a symbolic link. */
  link(name: string, target: string, meta: Meta): Promise<void>
  /** The content of a part that was written. */
  readBack(part: Part): Bytes
  /** Forgets everything: the archive begins anew. */
  restart(): Promise<void>
  /** Adds the manifest and the end, and makes the file durable. */
  finish(manifest: string): Promise<void>
  /** Closes the file, finished or not. */
  close(): Promise<void>
}

export const MANIFEST = 'manifest.json'
const LONGEST_MANIFEST = 2 ** 28 // bytes: a line for each of a million files
const INDEX = Buffer.from('52490c00', 'hex') // 'RI' and its length: where the manifest begins (8), CRC-32 (4)
const TRAILER = 46 // bytes of the last member

/** Creates the file (0600, never over another) with the folder `root` in it. @throws as open and write do. */
export async function createArchive(path: string, root: string): Promise<ArchiveWriter> {
  const file = await open(path, 'wx+', 0o600)
  await file.chmod(0o600) // whatever the umask
  let at = 0
  let crc = 0 // of all members but the slots, whose bytes follow from what they hold
  let parts: Part[] = []
  let folders = new Set<string>()
  const plain = { mode: 0o600, uid: 0, gid: 0, mtime: String(Math.floor(Date.now() / 1000)), target: '' }

  const write = async (bytes: Buffer, where = at): Promise<void> => {
    interruption.getStore()?.throwIfAborted()
    for (let done = 0; done < bytes.length;) {
      done += (await file.write(bytes, done, bytes.length - done, where + done)).bytesWritten
    }
    if (where < at) return
    at += bytes.length
    if (!isSlot(bytes)) crc = crc32(bytes, crc)
  }
  const names = async (name: string, target = ''): Promise<void> => {
    const blocks = longNames({ name, target })
    if (blocks.length > 0) await write(await member(blocks, 1))
  }
  const inside = (name: string): string => (name === '' ? `${root}/` : `${root}/${name}`)

  const writer: ArchiveWriter = {
    get parts() {
      return parts
    },
    size: () => at,
    async file(name, source, { packed: already = false, meta } = {}) {
      await folderOf(name)
      const described = { ...plain, ...meta, name: inside(name), type: 'file' as const }
      await names(described.name)
      const begins = at
      await write(await member(header({ ...described, size: 0 }), 0))
      const sum = createHash('sha256')
      let bytes = 0
      const seen = tap(source, (piece) => {
        sum.update(piece)
        bytes += piece.length
      })
      for await (const packed of already ? store(seen) : compress(seen)) await write(packed)
      if (bytes % 512 !== 0) await write(await member(padding(bytes), 1))
      await write(await member(header({ ...described, size: bytes }), 0), begins)
      const part = { name: show(name), bytes, sha256: sum.digest('hex'), at: begins }
      parts.push(part)
      return part
    },
    async folder(name) {
      if (folders.has(name)) return
      if (name !== '') await folderOf(name)
      folders.add(name)
      const described = {
        ...plain,
        mode: 0o700,
        name: name === '' ? inside('') : `${inside(name)}/`,
        size: 0,
      }
      await names(described.name)
      await write(await member(header({ ...described, type: 'folder' }), 0))
    },
    async link(name, target, meta) {
      await folderOf(name)
      const described = { ...plain, ...meta, name: inside(name), target, size: 0 }
      await names(described.name, target)
      await write(await member(header({ ...described, type: 'link' }), 0))
    },
    async *readBack(part) {
      const from = createReadStream(path, { start: part.at, end: at - 1 })
      for await (const entry of entries(decompress(from))) {
        yield* entry.body
        return
      }
    },
    async restart() {
      await file.truncate(0)
      at = 0
      crc = 0
      parts = []
      folders = new Set()
    },
    async finish(manifest) {
      const { at: begins } = await writer.file(MANIFEST, once(Buffer.from(manifest)))
      await write(await member(END, 1))
      const index = Buffer.alloc(16)
      INDEX.copy(index)
      index.writeBigUInt64LE(BigInt(begins), 4)
      index.writeUInt32LE(crc, 12)
      await write(await member(Buffer.alloc(0), 1, index))
      await file.sync()
    },
    close: () => file.close(),
  }
  const folderOf = (name: string): Promise<void> =>
    writer.folder(name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '')
  return writer
}

/** The name of the folder in the archive of a set, and of the set. */
export const rootOf = (stamp: string): string => `pre-update-${stamp}`

/** Whether a file begins as an archive of ours does. */
export const isOurs = async (path: string): Promise<boolean> => beginsAMember(await beginning(path))

/** Whether a file begins as any gzip archive does. */
export const isGzip = async (path: string): Promise<boolean> =>
  (await beginning(path)).subarray(0, 3).equals(Buffer.from([0x1f, 0x8b, 8]))

/** The first 16 bytes of a file, zeros behind its end. */
async function beginning(path: string): Promise<Buffer> {
  const file = await open(path, 'r')
  try {
    return (await file.read(Buffer.alloc(16), 0, 16, 0)).buffer
  } finally {
    await file.close()
  }
}

/** What the last member says; undefined when the file does not end as an archive of ours does. */
async function trailer(path: string): Promise<{ begins: number; bytes: number } | undefined> {
  const file = await open(path, 'r')
  try {
    const { size: bytes } = await file.stat()
    if (bytes < TRAILER) return undefined
    const last = Buffer.alloc(TRAILER)
    await file.read(last, 0, TRAILER, bytes - TRAILER)
    const begins = Number(last.readBigUInt64LE(24))
    const whole = await member(Buffer.alloc(0), 1, last.subarray(20, 36))
    return whole.equals(last) && last.subarray(20, 24).equals(INDEX) && begins < bytes
      ? { begins, bytes }
      : undefined
  } finally {
    await file.close()
  }
}

/**
 * The text of an archive's manifest, without reading the rest; undefined when there is none: an archive of the older
 * procedure, or one cut short.
 * @throws when its end is ours but the manifest is damaged.
 */
export async function readManifestText(path: string): Promise<string | undefined> {
  const end = await trailer(path)
  if (!end) return undefined
  const from = createReadStream(path, { start: end.begins, end: end.bytes - TRAILER - 1 })
  for await (const entry of entries(decompress(from))) {
    if (!entry.name.endsWith(`/${MANIFEST}`) || entry.size > LONGEST_MANIFEST) break
    const pieces: Buffer[] = []
    for await (const piece of entry.body) pieces.push(piece)
    return Buffer.concat(pieces).toString('utf8')
  }
  throw new Error('its manifest is not where its end says')
}

/**
 * Reads an archive from front to back, entry by entry; `look` sees every byte of the file.
 * @throws when any byte of it is not as it was written.
 */
export async function* readArchive(path: string, look: (piece: Buffer) => void): AsyncGenerator<Entry> {
  yield* entries(contents(tap(createReadStream(path, { highWaterMark: 2 ** 20 }) as Bytes, look)))
}

async function* contents(file: Bytes): Bytes {
  let crc = 0
  let ended = false
  for await (const { raw, content, extra } of members(file)) {
    interruption.getStore()?.throwIfAborted()
    if (ended) throw new Error('something follows its end')
    if (extra.length > 0) {
      ended = extra.length === 16 && extra.subarray(0, 4).equals(INDEX) && extra.readUInt32LE(12) === crc
      if (!ended || !(await member(content, 1, extra)).equals(raw)) throw new Error('its end is damaged')
    } else if (!isSlot(raw)) crc = crc32(raw, crc)
    else if (!(await member(content, 0)).equals(raw)) throw new Error('a header is damaged')
    if (content.length > 0) yield content
  }
  if (!ended) throw new Error('it is cut short')
}

/**
 * The content of one part, without reading what is before or behind it.
 * @throws at its end when its bytes are not those that were written
 */
export async function* readPart(path: string, { name, at, sha256 }: Part): Bytes {
  const sum = createHash('sha256')
  const from = createReadStream(path, { start: at, highWaterMark: 2 ** 20 })
  for await (const { body } of entries(decompress(from))) {
    yield* tap(body, (piece) => sum.update(piece))
    if (sum.digest('hex') === sha256) return
    throw new Error(`${path} is damaged: ${name}: its bytes are not those that were written`)
  }
}

/** Why a path in an archive is refused, or undefined. Names that lead out of the folder are. */
export function unsafeName(name: string): string | undefined {
  if (name === '' || name.startsWith('/')) return 'an absolute path'
  if (name.split('/').includes('..')) return "a path with '..'"
  return undefined
}
