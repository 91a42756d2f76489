// Reads an archive of the older procedure from front to back: a .tar.gz that a shell script made. It says nothing
// about itself, so what is not as it must be is refused, with a sentence that names the place.
import { createReadStream, statSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { unsafeName } from '../backup/archive.ts'
import { tap, type Bytes } from '../backup/bytes.ts'
import { progress, type Report } from '../backup/progress.ts'
import { show, type Type } from '../backup/tar.ts'
import { entries, type Entry } from '../backup/untar.ts'
import { plain } from '../backup/volume.ts'
import { sentence } from '../errors.ts'
import { interruption } from '../shell.ts'

const PIECE = 2 ** 18 // bytes that are unpacked at a time

/** The content of anybody's gzip file. @throws a sentence when it is damaged, cut short, or followed by something */
export async function* gunzipped(source: Bytes): Bytes {
  const unzip = createGunzip({ chunkSize: PIECE })
  let taken = 0
  const feeding = pipeline(
    tap(source, (piece) => (taken += piece.length)),
    unzip,
  )
  feeding.catch(() => {}) // awaited below, or not at all when the reader stops early
  try {
    yield* unzip as AsyncIterable<Buffer>
    await feeding
  } catch (error) {
    throw understood(error)
  } finally {
    unzip.destroy()
    await Promise.allSettled([feeding])
  }
  // zlib ignores what follows behind a zero byte, be it the rest of the content.
  if (unzip.bytesWritten !== taken) throw new Error('something follows its end')
}

function understood(error: unknown): unknown {
  const code = String((error as NodeJS.ErrnoException).code)
  if (code === 'ERR_STREAM_PREMATURE_CLOSE') return new Error('something follows its end', { cause: error })
  if (!code.startsWith('Z_')) return error
  const what = code === 'Z_BUF_ERROR' ? 'it is cut short' : `it is damaged (${sentence(error)})`
  return new Error(what, { cause: error })
}

/** Why an archive cannot be used. A name in it is quoted where it is no plain one. */
export function unusable(path: string, where: string, error: unknown): Error {
  const place = /^[\w@.:/+ -]+$/.test(where) ? where : JSON.stringify(where)
  return new Error(
    `${path} cannot be restored from: ${place}: ${sentence(error)}\nNothing was changed. What else there is: task restore -- --list`,
    { cause: error },
  )
}

/**
 * Shows every entry to `see`, by its name below the archive's one folder, which is a byte string; in their order, one
 * after the other.
 * @throws a sentence that names the entry: it leads out, is no plain file, is damaged, or `see` says no
 */
export async function eachEntry(
  path: string,
  { report, verb }: { readonly report: Report; readonly verb: string },
  see: (name: string, entry: Entry) => Promise<void>,
): Promise<void> {
  const count = progress(report, verb, statSync(path).size)
  const nameOf = harmless()
  let current = 'its beginning'
  const file = createReadStream(path, { highWaterMark: 2 ** 20 }) as Bytes
  const watched = tap(file, (piece) => {
    interruption.getStore()?.throwIfAborted()
    count(current, piece.length)
  })
  try {
    for await (const entry of entries(gunzipped(watched))) {
      current = show(entry.name)
      const name = nameOf(entry)
      if (name !== '') await see(name, entry)
    }
  } catch (error) {
    const own = interruption.getStore()?.aborted || (error as NodeJS.ErrnoException).code === 'ENOSPC'
    throw own ? error : unusable(path, current, error)
  }
}

/**
 * Tells an entry's name below the archive's folder; empty for that folder itself.
 * @throws (the function) a sentence when an extraction would put something elsewhere, or over something else
 */
function harmless(): (entry: Entry) => string {
  let root: string | undefined
  const seen = new Map<string, Type>()
  return (entry) => {
    const refused = (why: string): Error => new Error(`it is refused: ${why}`)
    const { type } = entry
    const whole = entry.name.startsWith('/') ? entry.name : plain(entry.name)
    if (whole === '' && type === 'folder') return '' // `./`, above the archive's folder
    const wrong = unsafeName(whole) ?? strange(whole)
    if (wrong !== undefined) throw refused(wrong)
    const [first, ...below] = whole.split('/')
    root ??= first as string
    const name = below.join('/')
    if (first !== root || (name === '' && type !== 'folder'))
      throw refused(`it lies beside the folder ${JSON.stringify(show(root))}, and a backup is one folder`)
    if (name === '') return ''
    const not = notPlain(entry, name) ?? occupied(name, type, seen)
    if (not !== undefined) throw refused(not)
    return name
  }
}

function strange(name: string): string | undefined {
  if (name.includes('\0')) return 'a zero byte in its name'
  return /(^|\/)\.?(\/|$)/.test(name) ? "a path with '.' or '//'" : undefined
}

function notPlain({ type, name: whole, target }: Entry, name: string): string | undefined {
  if (type === 'file') return whole.endsWith('/') ? 'a file that is named like a folder' : undefined
  if (type === 'folder') return undefined
  if (type === 'device') return 'a device node'
  if (type === 'fifo') return 'a pipe'
  const out = type === 'link' ? leadsOut(name, target) : unsafeName(plain(target)) !== undefined
  if (out) return `a link that leads out, to ${JSON.stringify(show(target))}`
  if (type === 'link') return name.startsWith('config/') ? undefined : 'a link where a file belongs'
  return 'a second name of a file: extract the archive, and pack it anew with tar --hard-dereference'
}

/** A symbolic link must stay below its topmost folder. (`..` behind a step down may be anywhere: that may be a link.) */
function leadsOut(name: string, target: string): boolean {
  const steps = target.split('/').filter((step) => step !== '' && step !== '.')
  const down = steps.findIndex((step) => step !== '..')
  const ups = down < 0 ? steps.length : down
  const depth = name.split('/').length - 1
  return target === '' || target.startsWith('/') || ups >= depth || steps.slice(ups).includes('..')
}

/** Two entries for one path, or one path through another entry. */
function occupied(name: string, type: Type, seen: Map<string, Type>): string | undefined {
  const before = seen.get(name)
  if (before !== undefined && !(before === 'folder' && type === 'folder')) return 'it is in it twice'
  seen.set(name, type)
  for (let slash = name.lastIndexOf('/'); slash > 0; slash = name.lastIndexOf('/', slash - 1)) {
    const above = name.slice(0, slash)
    const kind = seen.get(above)
    if (kind !== undefined && kind !== 'folder') return 'it lies behind a link or a file'
    seen.set(above, 'folder')
  }
  return undefined
}
