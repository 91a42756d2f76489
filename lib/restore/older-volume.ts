// A volume's tar of the older procedure, made the tar that a backup of ours would have written of the same files. Only
// then is what it extracts to, read back, the same entry by entry. Other ways of packing differ in three things:
//
// - The names lie below the folder that the volume was mounted at: `tar czf x /data` writes `data/a`.
// - Folders have no entry of their own, above all the topmost one: `cd /data && tar czf x *`.
// - Of a file with several names, tar writes the content under the one that it meets first; ours goes by their order.
import { unsafeName } from '../backup/archive.ts'
import { once } from '../backup/bytes.ts'
import { header, longNames, show, type Header } from '../backup/tar.ts'
import type { Entry } from '../backup/untar.ts'
import { plain } from '../backup/volume.ts'

type Owner = Pick<Header, 'uid' | 'gid' | 'mtime'>

/** How a tar's entries must change. Names are byte strings, without `./`, below the prefix. */
export interface Shape {
  /** The folder that stands for the volume itself; empty: the names are those in the volume. */
  readonly prefix: string
  /** The one folder that everything lies in and that is kept, if there is one. */
  readonly kept: string | undefined
  /** Folders that have no entry, and whose they are to be: those of the first entry in them. */
  readonly missing: ReadonlyMap<string, Owner>
  /** Of each further name, the name that the content came under. */
  readonly origins: ReadonlyMap<string, string>
  /** Of those names, the one that is to have the content instead. */
  readonly first: ReadonlyMap<string, string>
}

/**
 * Looks through a volume's tar. Of all names, those of folders and of files with several names are held in memory.
 *
 * The first entry tells what a prefix is: a folder, and all others lie in it. That could also be the only folder in a
 * volume. It stands for the volume when it is a path of several steps (nobody packs `app/uploads` without `app` from
 * inside of a volume), the usual place to mount one (`data`, Docker's own `_data`), or bears the volume's own name.
 * Any other one is kept.
 * @param names of the volume
 */
export async function shapeOf(source: AsyncIterable<Entry>, names: readonly string[]): Promise<Shape> {
  const given = new Set<string>()
  const needed = new Map<string, Owner>()
  const origins = new Map<string, string>()
  let common: string | undefined // the folder that is the first entry, while all others lie in it; '' when not
  for await (const entry of source) {
    const name = plain(entry.name)
    const target = entry.type === 'hardlink' ? plain(entry.target) : undefined
    if (entry.type === 'folder') given.add(name)
    if (target !== undefined) origins.set(name, origins.get(target) ?? target)
    if (common === undefined) common = entry.type === 'folder' ? name : ''
    else if (!within(name, common) || (target !== undefined && !within(target, common))) common = ''
    for (let folder = name; folder !== '';) {
      folder = parent(folder)
      if (given.has(folder) || needed.has(folder)) break
      needed.set(folder, { uid: entry.uid, gid: entry.gid, mtime: entry.mtime })
    }
  }
  if (common === undefined) needed.set('', { uid: 0, gid: 0, mtime: '0' }) // no entries at all
  const folder = common ?? ''
  const prefix = isMount(folder, names) ? folder : ''
  const missing = [...needed].filter(
    ([name]) => !given.has(name) && within(name, prefix) && !leadsOut(strip(name, prefix)),
  )
  const below = new Map([...origins].map(([name, origin]) => [strip(name, prefix), strip(origin, prefix)]))
  return {
    prefix,
    kept: folder === prefix ? undefined : folder,
    missing: new Map(missing.map(([name, owner]) => [strip(name, prefix), owner])),
    origins: below,
    first: firstNames(below),
  }
}

const isMount = (folder: string, names: readonly string[]): boolean =>
  unsafeName(folder) === undefined && (folder.includes('/') || ['data', '_data', ...names].includes(folder))

const leadsOut = (name: string): boolean => name !== '' && unsafeName(name) !== undefined

const parent = (name: string): string => name.slice(0, Math.max(0, name.lastIndexOf('/')))

const within = (name: string, folder: string): boolean =>
  folder === '' || name === folder || name.startsWith(`${folder}/`)

const strip = (name: string, prefix: string): string => (prefix === '' ? name : name.slice(prefix.length + 1))

/** As `tar --sort=name` meets them: folder by folder, byte by byte. */
const order = (name: string): string => name.replaceAll('/', '\0')

function firstNames(origins: ReadonlyMap<string, string>): Map<string, string> {
  const first = new Map<string, string>()
  for (const [name, origin] of origins) {
    if (order(name) < order(first.get(origin) ?? origin)) first.set(origin, name)
  }
  return first
}

/** The entries as they are to be. A name that leads out stays as it is: whoever reads on refuses it. @throws a sentence */
export async function* reshaped(source: AsyncIterable<Entry>, shape: Shape): AsyncGenerator<Entry> {
  const { prefix, missing, origins, first } = shape
  for (const [name, owner] of [...missing].toSorted(([a], [b]) => (a < b ? -1 : 1)))
    yield folderEntry(name, owner)
  for await (const entry of source) {
    const name = strip(plain(entry.name), prefix)
    const origin = entry.type === 'hardlink' ? origins.get(name) : undefined
    if (leadsOut(name)) yield entry
    else if (entry.type !== 'hardlink') {
      const now = first.get(name) ?? name
      yield prefix === '' && now === name ? entry : renamed(entry, now, entry.target)
    } else if (origin === undefined || origin === '' || leadsOut(origin)) yield entry
    else {
      const content = first.get(origin) ?? origin
      yield renamed(entry, name === content ? origin : name, `./${content}`)
    }
  }
}

function renamed(entry: Entry, name: string, target: string): Entry {
  const { type, map, attributes, mtime } = entry
  if (type === 'device') return { ...entry, name } // left out by whoever reads on
  if (type === 'fifo' || map || (type !== 'hardlink' && attributes.length > 0)) {
    const what = type === 'fifo' ? 'a pipe' : map ? 'a sparse file' : 'a file with extended attributes'
    throw new Error(
      `${show(entry.name)} is ${what}, which cannot be given its name in the volume: extract this tar, and pack it ` +
        `anew with tar czf … -C FOLDER .`,
    )
  }
  const fields = {
    ...entry,
    type,
    target,
    name: type === 'folder' ? asFolder(name) : `./${name}`,
    mtime: String(Math.floor(Number(mtime))),
  }
  return { ...fields, attributes: [], raw: Buffer.concat([longNames(fields), header(fields)]) }
}

const asFolder = (name: string): string => (name === '' ? './' : `./${name}/`)

function folderEntry(name: string, { uid, gid, mtime }: Owner): Entry {
  const seconds = String(Math.floor(Number(mtime)))
  const size = { size: 0, stored: 0 }
  const fields = {
    ...size,
    name: asFolder(name),
    type: 'folder' as const,
    mode: 0o755,
    uid,
    gid,
    mtime: seconds,
    target: '',
  }
  return {
    ...fields,
    attributes: [],
    body: once(),
    raw: Buffer.concat([longNames(fields), header(fields)]),
  }
}
