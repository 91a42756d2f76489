// A volume as a tar stream: what is in it, counted and hashed as it passes, at backup and at verification alike.
import { createHash, type Hash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { interruption } from '../shell.ts'
import { unsafeName } from './archive.ts'
import type { Bytes } from './bytes.ts'
import { orderFree } from './digest.ts'
import type { LeftOut } from './manifest.ts'
import { END, padding, show } from './tar.ts'
import { entries, laidOut, wrongMap, type Entry } from './untar.ts'

/** What a volume holds. */
export interface Tally {
  /** Regular files. */
  readonly files: number
  /** bytes of their content, with the holes of sparse ones */
  readonly bytes: number
  /** bytes of it that are stored, without the holes */
  readonly stored: number
  /**
   * Order-free over every entry: type, path, mode, owner, group, time, link target, attributes, SHA-256 of the
   * content. A hole counts as its zeros: how a file lies on the disk makes no difference. Without the time of the
   * topmost folder, which changes whenever something is put beside its entries.
   */
  readonly digest: string
  /** Entries that cannot be restored and were left out. */
  readonly leftOut: readonly LeftOut[]
}

interface Counted extends Pick<Entry, 'type' | 'size' | 'stored'> {
  readonly line: string
}

const LONGEST = 4095 // bytes of a path, ./ included: tar cannot extract a longer one

/**
 * Passes a volume's tar stream on and tells at its end what an extraction of it yields. What cannot be extracted (a
 * device node, a path that is too long) is left out when `hostile` is `skip` (the archive is being made), and refused
 * when it is `refuse` (it is being read).
 * @param again names of entries that may come twice: only the last of each counts, as for an extraction.
 * @throws when an entry's name leads out of the volume, or through a link.
 */
export function survey(
  source: Bytes,
  hostile: 'skip' | 'refuse',
  tell: (tally: Tally) => void,
  again: readonly string[] = [],
): Bytes {
  return surveyEntries(entries(source, 'sparse'), hostile, tell, again)
}

/** The same for entries that were read already; passes on one stream of them. */
export async function* surveyEntries(
  source: AsyncIterable<Entry>,
  hostile: 'skip' | 'refuse',
  tell: (tally: Tally) => void,
  again: readonly string[] = [],
): Bytes {
  const digest = orderFree()
  const links = new Set<string>()
  const dropped = new Set<string>()
  const leftOut: LeftOut[] = []
  const sum = { files: 0, bytes: 0, stored: 0 }
  const count = ({ type, size, stored, line }: Counted): void => {
    digest.add(line)
    if (type === 'file') sum.files++
    sum.bytes += size
    sum.stored += stored
  }
  const twice = new Set(again)
  const last = new Map<string, Counted>()
  for await (const entry of source) {
    const name = plain(entry.name)
    const refuse = (why: string): Error => new Error(`the entry ${show(entry.name)} is refused: ${why}`)
    const wrong = unsafe(entry, name, links) ?? wrongMap(entry)
    if (wrong) throw refuse(wrong)
    const why = lost(entry, name, dropped)
    if (why) {
      if (hostile === 'refuse') throw refuse(why)
      leftOut.push({ what: show(name), why })
      dropped.add(name)
      continue
    }
    const { type, mode, uid, gid, size, stored, target, attributes } = entry
    if (type === 'link' || (type === 'hardlink' && links.has(plain(target)))) links.add(name)
    yield entry.raw
    const content = createHash('sha256')
    for await (const piece of laidOut(entry)) {
      if (typeof piece === 'number') await addZeros(content, piece)
      else {
        content.update(piece)
        yield piece
      }
    }
    yield padding(stored)
    const mtime = name === '' ? '' : entry.mtime
    // A further name has no mode, owner or time of its own.
    const about = type === 'hardlink' ? [] : [mode, uid, gid, mtime, size, attributes, content.digest('hex')]
    const line = JSON.stringify([type, name, target, ...about])
    const counted = { type, size, stored, line }
    if (twice.size === 0 || !twice.has(show(name))) {
      count(counted)
      continue
    }
    if (last.get(name)?.type === 'folder' && type !== 'folder') throw refuse('it was a folder before')
    last.set(name, counted)
  }
  last.forEach(count)
  yield END
  tell({ ...sum, digest: digest.hex(), leftOut })
}

const ZEROS = Buffer.alloc(2 ** 20)
const PAUSE_EVERY = 2 ** 6 // of them: signals and pipes have their turn

async function addZeros(sum: Hash, length: number): Promise<void> {
  let n = 0
  for (let left = length; left > 0; left -= ZEROS.length) {
    sum.update(ZEROS.subarray(0, left))
    if (++n % PAUSE_EVERY !== 0) continue
    await turn()
    interruption.getStore()?.throwIfAborted()
  }
}

/** `./a/b/` as `a/b`, the topmost folder as ``. */
export const plain = (name: string): string =>
  name
    .replace(/^(\.\/+)+/, '')
    .replace(/^\.$/, '')
    .replace(/\/+$/, '')

/** Why an entry cannot be extracted. */
function lost({ type, target }: Entry, name: string, dropped: ReadonlySet<string>): string | undefined {
  if (type === 'device') return 'a device node'
  if (name.length > LONGEST - './'.length) return `its path has more than ${LONGEST} bytes`
  return type === 'hardlink' && dropped.has(plain(target)) ? 'a hard link to what was left out' : undefined
}

/**
 * A symbolic link may point anywhere: inside its container that is where it points today. What must not be is an
 * entry that lies behind one, or a hard link that leads out or through one. (A hard link to a symbolic link is one
 * more symbolic link.) And each name must be read by tar as it is by us.
 */
function unsafe(entry: Entry, name: string, links: ReadonlySet<string>): string | undefined {
  const top = name === '' && !entry.name.startsWith('/')
  const wrong = top ? undefined : (unsafeName(name) ?? strange(name))
  if (wrong) return wrong
  if (entry.type !== 'folder' && (top || entry.name.endsWith('/'))) return 'named like a folder'
  if (throughLink(name, links)) return 'it lies behind a link'
  if (entry.type === 'link') return entry.target.includes('\0') ? 'a zero byte in its target' : undefined
  if (entry.type !== 'hardlink') return undefined
  const target = plain(entry.target)
  if (unsafeName(target) !== undefined || strange(target) !== undefined || throughLink(target, links)) {
    return 'a hard link that leads out'
  }
  return undefined
}

/** Two names for one path would hide a link from us; a zero byte ends a name for tar. */
function strange(name: string): string | undefined {
  if (name.includes('\0')) return 'a zero byte in its name'
  return /(^|\/)\.?(\/|$)/.test(name) ? "a path with '.' or '//'" : undefined
}

function throughLink(name: string, links: ReadonlySet<string>): boolean {
  if (links.size === 0) return false
  for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
    if (links.has(name.slice(0, slash))) return true
  }
  return false
}
