// The sets in a folder: listed, found, rotated, and what dead runs left behind cleaned up.
import { existsSync, lstatSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { sentence } from '../errors.ts'
import { syncFolder } from '../files.ts'
import { isOurs } from './archive.ts'
import { readManifest, type Manifest } from './manifest.ts'
import { finalPath, PARTIAL, readSeal, SEAL, sha256Of } from './seal.ts'

/** How many good sets rotation keeps. */
export const KEPT = 5
const OURS = /^pre-update-(\d{8}_\d{6})\.tar\.gz/

export interface SetInfo {
  /** The file's name. */
  readonly name: string
  readonly path: string
  readonly bytes: number
  /** UTC, YYYYMMDD_HHMMSS; undefined for an archive without a manifest. */
  readonly stamp: string | undefined
  /** ISO 8601: when it was finished; for an archive without a manifest when the file was last written. */
  readonly date: string
  /** It was verified in full when it was made, and its seal is there. Only such a set is a backup. */
  readonly sealed: boolean
  /** Every component is in it. */
  readonly complete: boolean
  readonly stackId: string | undefined
  /** Why somebody should look before relying on it. */
  readonly suspect: readonly string[]
  /** An archive of the older procedure: it says nothing about itself. */
  readonly legacy: boolean
  /** What is visibly wrong with it, without reading it all. */
  readonly problem: string | undefined
  readonly manifest: Manifest | undefined
}

/**
 * The archives in a folder, newest first, without reading them as a whole. With `stackId`, those of that stack and
 * those that do not say whose they are. A folder that does not exist holds none.
 */
export async function listSets(dir: string, stackId?: string): Promise<SetInfo[]> {
  if (!existsSync(dir)) return []
  const names = readdirSync(dir).filter((n) => n.endsWith('.tar.gz') && lstatSync(join(dir, n)).isFile())
  const sets = await Promise.all(names.map((name) => look(dir, name)))
  return sets
    .filter((s) => stackId === undefined || s.stackId === undefined || s.stackId === stackId)
    .toSorted((a, b) => b.date.localeCompare(a.date) || b.name.localeCompare(a.name))
}

async function look(dir: string, name: string): Promise<SetInfo> {
  const path = join(dir, name)
  const { size: bytes, mtime } = lstatSync(path)
  let manifest: Manifest | undefined
  let problem: string | undefined
  let legacy = false
  try {
    manifest = await readManifest(path)
    legacy = manifest === undefined && !(await isOurs(path))
    if (!manifest && !legacy) problem = 'it is cut short'
  } catch (error) {
    problem = sentence(error)
  }
  const sealed = readSeal(path) !== undefined
  return {
    name,
    path,
    bytes,
    stamp: manifest?.stamp,
    date: manifest?.finished ?? mtime.toISOString(),
    sealed: sealed && manifest !== undefined,
    complete: manifest?.complete ?? false,
    stackId: manifest?.stackId,
    suspect: manifest?.suspect ?? [],
    legacy,
    problem,
    manifest,
  }
}

/** The newest sealed and complete set: of a stack, of a stamp, finished at most `maxAgeMs` ago, as given. */
export async function newestSealed(
  dir: string,
  { maxAgeMs, stamp, stackId }: { maxAgeMs?: number; stamp?: string; stackId?: string } = {},
): Promise<SetInfo | undefined> {
  const oldest = maxAgeMs === undefined ? '' : new Date(Date.now() - maxAgeMs).toISOString()
  return (await listSets(dir, stackId)).find(
    (s) => s.sealed && s.complete && s.date >= oldest && (stamp === undefined || s.stamp === stamp),
  )
}

/**
 * Which of the sets rotation removes: sealed, complete ones of this stack that are older than the fifth good one.
 * A suspect set does not count as good, so that it cannot push a good one out; the newest is never removed.
 */
export function tooOld(sets: readonly SetInfo[], stackId: string): SetInfo[] {
  const ours = sets
    .filter((s) => s.sealed && s.complete && s.stackId === stackId)
    .toSorted((a, b) => b.date.localeCompare(a.date))
  const lastKept = ours.filter((s) => s.suspect.length === 0)[KEPT - 1]
  return lastKept === undefined ? [] : ours.slice(1).filter((s) => s.date < lastKept.date)
}

/**
 * Removes the sets that are too old. To be called after a new one was sealed, under the stack's lock.
 * @returns the names of those removed.
 */
export async function rotate(dir: string, stackId: string): Promise<string[]> {
  const old = tooOld(await listSets(dir), stackId)
  for (const { path } of old) {
    rmSync(path)
    rmSync(path + SEAL) // after the archive: a seal alone is no set, and is cleaned up
  }
  if (old.length > 0) syncFolder(dir)
  return old.map((s) => s.name)
}

/** The files in a folder that only a run that is not alive any more can have left, with their bytes. */
export function leftovers(dir: string): { name: string; bytes: number }[] {
  if (!existsSync(dir)) return []
  const names = readdirSync(dir).filter((n) => OURS.test(n) && lstatSync(join(dir, n)).isFile())
  const lost = (n: string): boolean =>
    n.includes(`.tar.gz${PARTIAL}`) || (n.endsWith(SEAL) && !names.includes(n.slice(0, -SEAL.length)))
  return names.filter(lost).map((name) => ({ name, bytes: lstatSync(join(dir, name)).size }))
}

/**
 * Removes what dead runs left behind, and completes a set whose sealing was interrupted. The caller holds the
 * stack's lock, so that no run that writes here is alive.
 * @returns a sentence for each.
 */
export async function cleanPartials(dir: string): Promise<string[]> {
  const done: string[] = []
  const names = leftovers(dir).map((l) => l.name)
  for (const partial of names.filter((n) => n.endsWith(`.tar.gz${PARTIAL}`))) {
    const path = join(dir, partial)
    const final = finalPath(path)
    const sealed = existsSync(final) ? undefined : readSeal(final)
    if (sealed === undefined || (await sha256Of(path)) !== sealed) continue
    renameSync(path, final)
    done.push(`${finalPath(partial)}: its sealing was interrupted and is complete now`)
  }
  for (const { name } of leftovers(dir)) {
    rmSync(join(dir, name))
    done.push(`${name}: left by a run that did not end, removed`)
  }
  if (done.length > 0) syncFolder(dir)
  return done
}
