// The configuration of a stack: its Compose files, its .env, what its description names, and every bind mount. Paths
// are byte strings (see tar.ts), so that a file is found again whatever its name is.
import { lstat, open, readdir, readlink, stat, type FileHandle } from 'node:fs/promises'
import { constants, existsSync, readdirSync, type BigIntStats, type Stats } from 'node:fs'
import { join, normalize } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Stack } from '../stack.ts'
import type { ArchiveWriter, Meta } from './archive.ts'
import { once, tap, type Bytes } from './bytes.ts'
import type { ConfigRecord, LeftOut } from './manifest.ts'
import { binds } from './mounts.ts'
import { show, toBytes } from './tar.ts'

/** Where configuration is found on the server. */
export interface ConfigRoots {
  /** Absolute; none lies in another. */
  readonly paths: readonly string[]
  /** Bind sources that the server does not have: reported, no error. */
  readonly missing: readonly string[]
  readonly leftOut: readonly LeftOut[]
}

// Of a bind mount, these belong to the machine and not to the stack.
const MACHINE = ['/proc', '/sys', '/dev', '/run', '/var/run', '/var/lib/docker']
// Files beside the Compose file that one may refer to (env_file, extends) without being mounted.
const BESIDE = /^\.env|^env\.|\.env$|compose.*\.ya?ml$/

/** Finds the configuration's files and folders. `covered` are bind sources that hold an engine's own data files. */
export async function configRoots(stack: Stack, covered: readonly LeftOut[]): Promise<ConfigRoots> {
  const { dir, files, about } = stack
  const missing: string[] = []
  const leftOut = [...covered]
  const found = new Set(files)
  for (const name of readdirSync(dir)) if (BESIDE.test(name)) found.add(join(dir, name))
  for (const path of about.config) if (existsSync(join(dir, path))) found.add(join(dir, path))
  for (const source of new Set(binds(stack).map((b) => b.source))) {
    if (covered.some((c) => c.what === source)) continue
    const info = await orNothing(stat(source))
    const why = info && notConfiguration(source, info)
    if (!info) missing.push(source)
    else if (why) leftOut.push({ what: source, why })
    else found.add(source)
  }
  const paths = [...found].map((p) => normalize(p).replace(/(.)\/$/, '$1'))
  const alone = paths.filter(
    (p, i) => !paths.some((q, j) => (i === j ? false : p === q ? j < i : p.startsWith(`${q}/`))),
  )
  return { paths: alone.toSorted().map(toBytes), missing, leftOut }
}

function notConfiguration(source: string, info: Stats): string | undefined {
  if (info.isSocket()) return 'a socket'
  if (source === '/' || MACHINE.some((m) => source === m || source.startsWith(`${m}/`))) {
    return "it is the machine's own"
  }
  return info.isFile() || info.isDirectory() ? undefined : 'neither a file nor a folder'
}

/** Why a file is not in the set that was there a moment ago. */
export const VANISHED = 'it vanished while the backup read'

/** One file, folder or link of the configuration. */
export interface ConfigItem {
  readonly type: 'file' | 'folder' | 'link'
  /** Where it is on the server, and below the set's folder. */
  readonly path: string
  readonly name: string
  readonly meta: Meta
  /** bytes of a file, otherwise 0 */
  readonly size: number
  /** Of a link: what it points to. */
  readonly target?: string
  /** It is a bind source itself, and may be a link: Docker mounts what that points to. */
  readonly root: boolean
}

/** Walks the configuration, sorted. What cannot be kept is told to `leave`. @throws as lstat and readdir do */
export async function* configItems(
  stack: Stack,
  { paths }: ConfigRoots,
  leave: (what: LeftOut) => void,
): AsyncGenerator<ConfigItem> {
  const own = [stack.config.BACKUP_DIR, stack.config.STATE_DIR].map(toBytes)
  for (const root of paths) yield* walk(root, root)

  async function* walk(path: string, root: string): AsyncGenerator<ConfigItem> {
    if (own.includes(path))
      return leave({ what: show(path), why: "the runbook's own: sets, runs and journals" })
    // A root may be a link itself: Docker mounts what it points to.
    const info = await orNothing((path === root ? stat : lstat)(bytes(path)))
    if (!info) return leave({ what: show(path), why: VANISHED })
    const name = archiveName(stack.dir, path)
    const item = { path, name, meta: metaOf(info), size: 0, root: path === root }
    if (info.isFile()) yield { ...item, type: 'file', size: info.size }
    else if (info.isDirectory()) {
      const names = await orNothing(readdir(bytes(path), { encoding: 'latin1' }))
      if (!names) return leave({ what: show(path), why: VANISHED })
      yield { ...item, type: 'folder' }
      for (const below of names.toSorted()) yield* walk(`${path}/${below}`, root)
    } else if (info.isSymbolicLink()) {
      const target = await orNothing(readlink(bytes(path), { encoding: 'latin1' }))
      if (target === undefined) return leave({ what: show(path), why: VANISHED })
      const inside = !target.startsWith('/') && join(path, '..', target).startsWith(`${root}/`)
      if (inside) yield { ...item, type: 'link', target }
      else leave({ what: show(path), why: `a link that leads out of its folder, to ${show(target)}` })
    } else leave({ what: show(path), why: 'neither a file nor a folder' })
  }
}

/** A byte string as the path that the file system knows. */
export const bytes = (path: string): Buffer => Buffer.from(path, 'latin1')

/** From the stack's folder with the path in it; from elsewhere with the whole path. */
function archiveName(dir: string, path: string): string {
  const base = `${toBytes(dir)}/`
  return path.startsWith(base) ? `config/${path.slice(base.length)}` : `config/_outside${path}`
}

const metaOf = ({ mode, uid, gid, mtimeMs }: Stats | BigIntStats): Meta => ({
  mode: Number(mode) & 0o7777,
  uid: Number(uid),
  gid: Number(gid),
  mtime: String(Math.floor(Number(mtimeMs) / 1000)),
})

const SMALL = 4 * 2 ** 20 // bytes: held in memory, so that it can be read again before anything is written
const ATTEMPTS = 3
const PAUSE = 100 // ms between them: whoever writes a file has it done by then
const TICK = 20 // ms: two changes that are nearer to each other than that may bear one time

/** Adds the configuration to the archive and tells what was added. What cannot be kept is added to `leftOut`. */
export async function writeConfig(
  stack: Stack,
  { config }: { readonly config: ConfigRoots },
  archive: Pick<ArchiveWriter, 'file' | 'folder' | 'link'>,
  { count, leftOut }: { count: (label: string, bytes: number) => void; leftOut: LeftOut[] },
): Promise<ConfigRecord[]> {
  const records: ConfigRecord[] = []
  const leave = (what: LeftOut): void => void leftOut.push(what)
  for await (const { type, path, name, meta, target, root } of configItems(stack, config, leave)) {
    const record = { name: show(name), source: show(path) }
    if (type === 'folder') {
      await archive.folder(name)
      records.push({ ...record, folder: true, ...owner(meta) })
      continue
    }
    if (target !== undefined) {
      await archive.link(name, target, meta)
      records.push({ ...record, target: show(target), ...owner(meta) })
      continue
    }
    const file = await openFile(path, root)
    if (typeof file === 'string') {
      leave({ what: show(path), why: file })
      continue
    }
    try {
      const found = await contentOf(file)
      const content = tap(found.bytes, (piece) => count('configuration', piece.length))
      await archive.file(name, content, { meta: found.meta })
      const changed = (await found.changed()) && { changed: true as const }
      records.push({ ...record, ...changed, ...owner(found.meta) })
    } finally {
      await file.close()
    }
  }
  return records
}

const owner = ({ mode, uid, gid }: Meta): Omit<Meta, 'mtime'> => ({ mode, uid, gid })

/**
 * Opens a file, or tells why there is none: between the look at it and now anything may have been put in its place, a
 * link into the machine or a pipe without an end.
 */
async function openFile(path: string, root: boolean): Promise<FileHandle | string> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | (root ? 0 : constants.O_NOFOLLOW)
  try {
    const file = await open(bytes(path), flags)
    if ((await file.stat()).isFile()) return file
    await file.close()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return VANISHED
    if (code !== 'ELOOP' && code !== 'ENXIO') throw error
  }
  return 'it was no file any more when the backup came to it'
}

interface Content {
  readonly bytes: Bytes
  readonly meta: Meta
  /** Whether the file was written to meanwhile. To be asked when all of it was read. */
  changed(): Promise<boolean>
}

/** A small file's content as it was at one moment, if there is one in three attempts; a large one's as a stream. */
async function contentOf(file: FileHandle): Promise<Content> {
  for (let attempt = 1; ; attempt++) {
    const before = await file.stat({ bigint: true })
    const changed = async (): Promise<boolean> => differs(before, await file.stat({ bigint: true }))
    const meta = metaOf(before)
    const size = Number(before.size)
    // No further than it reaches now: something may be writing faster than we read.
    if (size > SMALL) {
      const bytes = file.createReadStream({ start: 0, end: size - 1, autoClose: false }) as Bytes
      return { bytes, meta, changed }
    }
    const fresh = Math.abs(Date.now() - Number(before.ctimeMs)) < TICK // emptied just now, to be written anew?
    const bytes = await beginning(file, size)
    const torn = fresh || (await changed())
    if (!torn || attempt === ATTEMPTS) return { bytes: once(bytes), meta, changed: async () => torn }
    await delay(PAUSE)
  }
}

const differs = (a: BigIntStats, b: BigIntStats): boolean =>
  a.size !== b.size || a.mtimeNs !== b.mtimeNs || a.ctimeNs !== b.ctimeNs

/** At most that many bytes of a file. */
async function beginning(file: FileHandle, size: number): Promise<Buffer> {
  const buffer = Buffer.alloc(size)
  for (let filled = 0; filled < size;) {
    const { bytesRead } = await file.read(buffer, filled, size - filled, filled)
    if (bytesRead === 0) return buffer.subarray(0, filled)
    filled += bytesRead
  }
  return buffer
}

/** What a question about a file, folder or link answers; undefined when there is none, or none any more. */
async function orNothing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EINVAL'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return undefined
    throw error
  }
}
