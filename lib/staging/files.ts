// Staging's folder: its files are written as a whole, what stood there is noted before, and put back by the undo.
import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { makeFolder, writeWhole } from '../files.ts'
import { quote } from '../shell.ts'
import type { FileBefore, Staging } from './record.ts'
import { filesOf, type NewFile } from './source.ts'

export const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex')

/** What the folder has now under these paths. */
export function filesBefore(dir: string, paths: readonly string[]): FileBefore[] {
  return paths.flatMap((path) => {
    const file = join(dir, path)
    if (!existsSync(file)) return []
    return [{ path, mode: statSync(file).mode & 0o7777, base64: readFileSync(file).toString('base64') }]
  })
}

/** Those that differ from what is there. */
export const differing = (dir: string, files: readonly NewFile[]): NewFile[] =>
  files.filter(({ path, content, mode }) => {
    const file = join(dir, path)
    return !existsSync(file) || (statSync(file).mode & 0o7777) !== mode || !readFileSync(file).equals(content)
  })

/** Nothing below the folder may be a link: it would lead to somebody else's files. @throws a sentence */
function noLinks(dir: string, path: string): void {
  for (let part = path; part !== '.'; part = dirname(part)) {
    if (lstatSync(join(dir, part), { throwIfNoEntry: false })?.isSymbolicLink())
      throw new Error(
        `${join(dir, part)} is a link: it is not followed. Remove it: rm ${quote(join(dir, part))}`,
      )
  }
}

/** Writes them, each whole or not at all. Safe to repeat. @throws when one would lead out of the folder by a link */
export function writeFiles(dir: string, files: readonly NewFile[]): void {
  for (const { path } of files) noLinks(dir, path)
  for (const { path, content, mode } of files) {
    const file = join(dir, path)
    makeFolder(dirname(file))
    writeWhole(file, content)
    chmodSync(file, mode)
  }
}

/** Brings back what the folder had: files that came with a deploy go. Safe to repeat. */
export function putFilesBack(dir: string, written: readonly string[], before: readonly FileBefore[]): void {
  if (!existsSync(dir) && before.length === 0) return
  const kept = before.map((f) => f.path)
  for (const path of written.filter((p) => !kept.includes(p))) removeFile(dir, path)
  writeFiles(
    dir,
    before.map(({ path, mode, base64 }) => ({ path, mode, content: Buffer.from(base64, 'base64') })),
  )
}

/** Removes a file, and the folders above it that are empty then. */
function removeFile(dir: string, path: string): void {
  noLinks(dir, path)
  rmSync(join(dir, path), { force: true })
  rmSync(join(dir, `${path}.partial`), { force: true }) // of a write that was killed
  for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) {
    const whole = join(dir, folder)
    if (!existsSync(whole)) continue
    if (readdirSync(whole).length > 0) return
    rmdirSync(whole)
  }
}

/**
 * Removes what a deploy wrote and nobody has changed since, and the folder when nothing else is in it.
 * @returns the paths that stay
 */
export function removeWritten({ dir, files, before }: Pick<Staging, 'dir' | 'files' | 'before'>): string[] {
  if (!existsSync(dir)) return []
  // A deploy that was killed had perhaps not yet written it.
  const earlier = new Map((before?.files ?? []).map((f) => [f.path, sha256(Buffer.from(f.base64, 'base64'))]))
  const changed: string[] = []
  for (const [path, hash] of Object.entries(files)) {
    const file = join(dir, path)
    if (!existsSync(file)) continue
    if ([hash, earlier.get(path)].includes(sha256(readFileSync(file)))) removeFile(dir, path)
    else changed.push(path)
  }
  const others = readdirSync(dir)
  if (others.length === 0) rmdirSync(dir)
  return [...new Set([...changed, ...others])]
}

/** What a deploy writes, as it is in the folder now, where its note is lost: nothing, unless the Compose file is ours. */
export function writtenIn(dir: string): Record<string, string> {
  const files = filesOf('')
  const [compose] = files
  if (!compose || differing(dir, [compose]).length > 0) return {}
  return Object.fromEntries(
    filesBefore(
      dir,
      files.map((f) => f.path),
    ).map(({ path, base64 }) => [path, sha256(Buffer.from(base64, 'base64'))]),
  )
}
