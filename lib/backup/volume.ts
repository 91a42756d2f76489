// A volume as a tar stream: what is in it, counted and hashed as it passes, at backup and at verification alike.
import { createHash } from 'node:crypto'
import { unsafeName } from './archive.ts'
import type { Bytes } from './bytes.ts'
import { orderFree } from './digest.ts'
import type { LeftOut } from './manifest.ts'
import { END, padding, show } from './tar.ts'
import { entries, type Entry } from './untar.ts'

/** What a volume holds. */
export interface Tally {
  /** Regular files. */
  readonly files: number
  /** bytes of their content */
  readonly bytes: number
  /**
   * Order-free over every entry: type, path, mode, owner, group, time, link target, attributes, SHA-256 of the
   * content. Without the time of the topmost folder, which changes whenever something is put beside its entries.
   */
  readonly digest: string
  /** Entries that cannot be restored and were left out. */
  readonly leftOut: readonly LeftOut[]
}

/**
 * Passes a volume's tar stream on and tells at its end what was in it. Device nodes are left out when `hostile` is
 * `skip` (the archive is being made), and refused when it is `refuse` (it is being read).
 * @throws when an entry's name leads out of the volume, or through a link.
 */
export async function* survey(
  source: Bytes,
  hostile: 'skip' | 'refuse',
  tell: (tally: Tally) => void,
): Bytes {
  const digest = orderFree()
  const links = new Set<string>()
  const leftOut: LeftOut[] = []
  let files = 0
  let bytes = 0
  for await (const entry of entries(source)) {
    const name = plain(entry.name)
    const wrong = unsafe(entry, name, links)
    if (wrong) throw new Error(`the entry ${show(entry.name)} is refused: ${wrong}`)
    if (entry.type === 'device') {
      if (hostile === 'refuse') throw new Error(`the entry ${show(entry.name)} is refused: a device node`)
      leftOut.push({ what: show(name), why: 'a device node' })
      continue
    }
    if (entry.type === 'link') links.add(name)
    yield entry.raw
    const sum = createHash('sha256')
    for await (const piece of entry.body) {
      sum.update(piece)
      yield piece
    }
    yield padding(entry.size)
    if (entry.type === 'file') files++
    bytes += entry.size
    const { type, mode, uid, gid, size, target, attributes } = entry
    const mtime = name === '' ? '' : entry.mtime
    digest.add(
      JSON.stringify([type, name, mode, uid, gid, mtime, size, target, attributes, sum.digest('hex')]),
    )
  }
  yield END
  tell({ files, bytes, digest: digest.hex(), leftOut })
}

/** `./a/b/` as `a/b`, the topmost folder as ``. */
const plain = (name: string): string =>
  name
    .replace(/^(\.\/+)+/, '')
    .replace(/^\.$/, '')
    .replace(/\/+$/, '')

/**
 * A symbolic link may point anywhere: inside its container that is where it points today. What must not be is an
 * entry that lies behind one, or a hard link that leads out or through one.
 */
function unsafe(entry: Entry, name: string, links: ReadonlySet<string>): string | undefined {
  const wrong = name === '' && !entry.name.startsWith('/') ? undefined : unsafeName(name)
  if (wrong) return wrong
  if (throughLink(name, links)) return 'it lies behind a link'
  if (entry.type !== 'hardlink') return undefined
  const target = plain(entry.target)
  if (unsafeName(target) !== undefined || links.has(target) || throughLink(target, links)) {
    return 'a hard link that leads out'
  }
  return undefined
}

function throughLink(name: string, links: ReadonlySet<string>): boolean {
  if (links.size === 0) return false
  for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
    if (links.has(name.slice(0, slash))) return true
  }
  return false
}
