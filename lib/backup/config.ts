// The configuration of a stack: its Compose files, its .env, what its description names, and every bind mount. Paths
// are byte strings (see tar.ts), so that a file is found again whatever its name is.
import { lstat, readdir, readlink, stat } from 'node:fs/promises'
import { existsSync, readdirSync, type Stats } from 'node:fs'
import { join, normalize } from 'node:path'
import type { Stack } from '../stack.ts'
import type { Meta } from './archive.ts'
import type { LeftOut } from './manifest.ts'
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

/** One file or link of the configuration. */
export interface ConfigItem {
  /** Where it is on the server, and below the set's folder. */
  readonly path: string
  readonly name: string
  readonly meta: Meta
  /** bytes */
  readonly size: number
  /** Of a link: what it points to. */
  readonly target?: string
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
    const item = { path, name: archiveName(stack.dir, path), meta: metaOf(info), size: info.size }
    if (info.isFile()) yield item
    else if (info.isDirectory()) {
      const names = await readdir(bytes(path), { encoding: 'latin1' })
      for (const name of names.toSorted()) yield* walk(`${path}/${name}`, root)
    } else if (info.isSymbolicLink()) {
      const target = await readlink(bytes(path), { encoding: 'latin1' })
      const inside = !target.startsWith('/') && join(path, '..', target).startsWith(`${root}/`)
      if (inside) yield { ...item, size: 0, target }
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

const metaOf = ({ mode, uid, gid, mtimeMs }: Stats): Meta => ({
  mode: mode & 0o7777,
  uid,
  gid,
  mtime: String(Math.floor(mtimeMs / 1000)),
})

/** What a question about a file answers; undefined when there is no such file. */
export async function orNothing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
