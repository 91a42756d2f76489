// The configuration of a set, compared with what is on the server, and put in its place. What it replaces is kept in
// STATE_DIR until the restore is committed.
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  lchownSync,
  lstatSync,
  openSync,
  closeSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { readPart } from '../backup/archive.ts'
import type { ConfigRecord, Manifest } from '../backup/manifest.ts'
import { makeFolder, privateFolder } from '../files.ts'
import type { Config } from '../env.ts'

/** A file or link that was replaced; without `saved` there was none. */
export interface FileBefore {
  readonly path: string
  /** Where the one that was there is kept. */
  readonly saved?: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/**
 * A path of the set's configuration on this server: STACK_DIR may be another one than it was.
 * @throws when it would lead elsewhere than where its name in the set says
 */
export function whereOf({ name, source }: ConfigRecord, dir: string): string {
  const below = name.startsWith('config/') ? name.slice('config/'.length) : ''
  const outside = below.startsWith('_outside/')
  const strange =
    below === '' || below.split('/').includes('..') || (outside && below !== `_outside${source}`)
  if (strange) throw new Error(`The set is refused: its configuration ${name} would go to ${source}.`)
  return outside ? source : join(dir, below)
}

/** What of the set's configuration is not as it is on the server, in the set's order. Reads every file. */
export async function otherFiles(manifest: Manifest, dir: string): Promise<ConfigRecord[]> {
  const sums = new Map(manifest.parts.map((p) => [p.name, p.sha256]))
  const other: ConfigRecord[] = []
  for (const record of manifest.config) if (await differs(record, dir, sums)) other.push(record)
  return other
}

async function differs(
  record: ConfigRecord,
  dir: string,
  sums: ReadonlyMap<string, string>,
): Promise<boolean> {
  const path = whereOf(record, dir)
  const info = lstatSync(path, { throwIfNoEntry: false })
  if (!info) return true
  if (record.folder) return !info.isDirectory()
  if (record.target !== undefined) return !info.isSymbolicLink() || readlinkSync(path) !== record.target
  return !info.isFile() || (await sumOf(path)) !== sums.get(record.name)
}

async function sumOf(path: string): Promise<string> {
  const file = await open(path)
  try {
    const sum = createHash('sha256')
    for await (const piece of file.createReadStream({ autoClose: false })) sum.update(piece as Buffer)
    return sum.digest('hex')
  } finally {
    await file.close()
  }
}

const keptIn = ({ STATE_DIR }: Pick<Config, 'STATE_DIR'>, stamp: string): string =>
  join(STATE_DIR, 'replaced', stamp)

/**
 * Keeps files and links that will be replaced: those from before the restore, or from after it.
 * @returns what is needed to put them back @throws when something else lies there
 */
export function keepFiles(
  config: Config,
  stamp: string,
  kept: 'before' | 'after',
  paths: readonly string[],
): FileBefore[] {
  const folder = privateFolder(join(keptIn(config, stamp), kept), 'STATE_DIR')
  return paths.map((path, i) => {
    const info = lstatSync(path, { throwIfNoEntry: false })
    if (!info) return { path, mode: 0, uid: 0, gid: 0 }
    if (!info.isFile() && !info.isSymbolicLink())
      throw new Error(`${path} is a file in the set, and something else here: move it away first.`)
    const saved = join(folder, String(i))
    if (info.isSymbolicLink()) replaceLink(saved, readlinkSync(path))
    else {
      copyFileSync(path, saved)
      chmodSync(saved, 0o600)
    }
    return { path, saved, mode: info.mode & 0o7777, uid: info.uid, gid: info.gid }
  })
}

/** The paths of files and links, as `keepFiles` takes them. */
export const pathsOf = (records: readonly ConfigRecord[], dir: string): string[] =>
  records.filter((r) => !r.folder).map((r) => whereOf(r, dir))

/** Removes what was kept. */
export function forgetFiles(config: Config, stamp: string): void {
  const folder = keptIn(config, stamp)
  rmSync(folder, { recursive: true, force: true })
  const all = dirname(folder)
  if (existsSync(all) && readdirSync(all).length === 0) rmdirSync(all)
}

/** Writes the set's files, links and folders where they were, each whole, with their owner and mode. Safe to repeat. */
export async function writeFiles(
  set: { readonly path: string; readonly manifest: Manifest },
  config: Config,
  records: readonly ConfigRecord[],
): Promise<void> {
  const parts = new Map(set.manifest.parts.map((p) => [p.name, p]))
  for (const record of records) {
    const path = whereOf(record, config.STACK_DIR)
    if (record.folder) {
      if (!existsSync(path)) makeFolder(path)
      own(path, record)
      continue
    }
    makeFolder(dirname(path))
    if (record.target !== undefined) {
      replaceLink(path, record.target)
      lchownSync(path, record.uid, record.gid)
      continue
    }
    const part = parts.get(record.name)
    if (!part) throw new Error(`The set does not hold ${record.name}.`)
    const aside = `${path}.runbook`
    const file = await open(aside, 'w', 0o600)
    try {
      for await (const piece of readPart(set.path, part)) await file.writeFile(piece)
      await file.sync()
    } finally {
      await file.close()
    }
    own(aside, record)
    renameSync(aside, path)
    syncPath(dirname(path))
  }
}

function own(path: string, { mode, uid, gid }: Pick<ConfigRecord, 'mode' | 'uid' | 'gid'>): void {
  lchownSync(path, uid, gid)
  chmodSync(path, mode)
}

/** A link, in the place of whatever is there. */
function replaceLink(path: string, target: string): void {
  const aside = `${path}.runbook`
  rmSync(aside, { force: true })
  symlinkSync(target, aside)
  renameSync(aside, path)
}

/** Puts back what was replaced, and takes away what was not there. Safe to repeat. */
export function filesBack(files: readonly FileBefore[]): void {
  for (const { path, saved, mode, uid, gid } of files) {
    if (saved === undefined) {
      rmSync(path, { force: true })
      continue
    }
    if (lstatSync(saved).isSymbolicLink()) {
      replaceLink(path, readlinkSync(saved))
      lchownSync(path, uid, gid)
      continue
    }
    const aside = `${path}.runbook`
    copyFileSync(saved, aside)
    own(aside, { mode, uid, gid })
    syncPath(aside)
    renameSync(aside, path)
  }
}

function syncPath(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
