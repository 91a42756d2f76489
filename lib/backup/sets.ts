// The sets in a folder: listed, found, rotated, and what dead runs left behind cleaned up.
import { existsSync, lstatSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { sentence, usage } from '../errors.ts'
import { syncFolder } from '../files.ts'
import { isGzip, isOurs } from './archive.ts'
import { readManifest, type Manifest } from './manifest.ts'
import { readMarks, setOfMark, unmarkAll, type Mark, type MarkName } from './marks.ts'
import { finalPath, PARTIAL, partialOf, readSeal, SEAL, sealProblem, sha256Of } from './seal.ts'

/** How many good sets rotation keeps. */
export const KEPT = 5
const OURS = /^pre-update-(\d{8}_\d{6})\.tar\.gz/
const SKEW = 5 * 60_000 // ms: two machines' clocks may differ by this much; what is dated later is no new set

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
  /** Why somebody should look before relying on it; empty when somebody has. */
  readonly suspect: readonly string[]
  /** Sealed, complete, not suspect, not found damaged since, not dated in the future: it counts. */
  readonly good: boolean
  /** What became of it since. A proof of another archive under the same name is none. */
  readonly marks: Partial<Readonly<Record<MarkName, Mark>>>
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
    if (!manifest) problem = legacy ? undefined : 'it is cut short'
    if (legacy && !(await isGzip(path))) [legacy, problem] = [false, 'it is empty, or no archive at all']
  } catch (error) {
    problem = sentence(error)
  }
  const seal = readSeal(path)
  const { proven, ...marks } = readMarks(path)
  const sealed = seal !== undefined && manifest !== undefined
  const complete = manifest?.complete ?? false
  const date = manifest?.finished ?? mtime.toISOString()
  const suspect = marks.accepted ? [] : (manifest?.suspect ?? [])
  if (isFuture(date)) problem ??= 'its date lies in the future: is the clock right?'
  if (manifest) problem ??= sealProblem(path)
  if (marks.damaged) problem = `DAMAGED: ${marks.damaged.why ?? 'found so when it was read'}`
  return {
    name,
    path,
    bytes,
    stamp: manifest?.stamp,
    date,
    sealed,
    complete,
    stackId: manifest?.stackId,
    suspect,
    good: sealed && complete && suspect.length === 0 && problem === undefined,
    marks: proven && proven.sha256 === seal ? { ...marks, proven } : marks,
    legacy,
    problem,
    manifest,
  }
}

const isFuture = (date: string): boolean => Date.parse(date) > Date.now() + SKEW

/** Which sets somebody wants. */
export interface Wanted {
  /** ms since it was finished, at most */
  readonly maxAgeMs?: number
  readonly stamp?: string
  readonly stackId?: string
  /** Suspect ones too: they are true copies of something that somebody should look at. */
  readonly suspectToo?: boolean
}

/** The newest good set of those wanted: sealed, complete, not damaged, and not suspect unless that is wanted. */
export async function newestGood(
  dir: string,
  { maxAgeMs, stamp, stackId, suspectToo = false }: Wanted = {},
): Promise<SetInfo | undefined> {
  const oldest = maxAgeMs === undefined ? '' : new Date(Date.now() - maxAgeMs).toISOString()
  return (await listSets(dir, stackId)).find(
    (s) =>
      (s.good || (suspectToo && s.sealed && s.complete && s.problem === undefined)) &&
      s.date >= oldest &&
      (stamp === undefined || s.stamp === stamp),
  )
}

/**
 * The set that a word on the command line means: its name, its stamp, its path, or `latest`, the newest sealed one.
 * @throws usage (exit 2) that lists what there is.
 */
export async function findSet(dir: string, stackId: string, word: string): Promise<SetInfo> {
  if (word.includes('/')) {
    if (existsSync(word) && lstatSync(word).isFile()) return look(dirname(word), basename(word))
    throw usage(`There is no set ${word}. Nothing was changed.`)
  }
  const sets = await listSets(dir, stackId)
  const found =
    word === 'latest'
      ? sets.find((s) => s.sealed)
      : sets.find((s) => [s.name, s.name.replace(/\.tar\.gz$/, ''), s.stamp].includes(word))
  if (found) return found
  const known =
    sets.length === 0 ? 'It holds none.' : `It holds:\n${sets.map((s) => `  ${s.name}`).join('\n')}`
  throw usage(`There is no set '${word}' in ${dir}. Nothing was changed. ${known}`)
}

/**
 * Which of the sets rotation removes: sealed, complete ones of this stack that are older than the fifth good one.
 * Never the newest, a pinned one, or the last that a drill has proven. What is not good does not count, so that it
 * cannot push a good one out; it goes with the good ones of its time.
 */
export function tooOld(sets: readonly SetInfo[], stackId: string): SetInfo[] {
  const ours = sets
    .filter((s) => s.sealed && s.complete && s.stackId === stackId)
    .toSorted((a, b) => b.date.localeCompare(a.date))
  const lastKept = ours.filter((s) => s.good)[KEPT - 1]
  const lastProven = ours.find((s) => s.marks.proven && !s.marks.damaged)
  if (lastKept === undefined) return []
  return ours.filter((s) => s.date < lastKept.date && s !== lastProven && !s.marks.pinned)
}

/**
 * Removes the sets that are too old. To be called after a new one was sealed, under the stack's lock.
 * @returns the names of those removed.
 */
export async function rotate(dir: string, stackId: string): Promise<string[]> {
  const old = tooOld(await listSets(dir), stackId)
  for (const { path } of old) {
    rmSync(path)
    rmSync(path + SEAL) // after the archive: a seal or a mark alone is no set, and is cleaned up
    unmarkAll(path)
  }
  if (old.length > 0) syncFolder(dir)
  return old.map((s) => s.name)
}

/**
 * The files in a folder that only a run of this stack that is not alive any more can have left, with their bytes.
 * Another stack's unfinished set in the same folder is not touched, nor the seal that belongs to it.
 */
export function leftovers(dir: string, stackId: string): { name: string; bytes: number }[] {
  if (!existsSync(dir)) return []
  const names = readdirSync(dir).filter((n) => OURS.test(n) && lstatSync(join(dir, n)).isFile())
  const partials = names.flatMap((n) => partialOf(n) ?? [])
  const lost = (n: string): boolean => {
    const partial = partialOf(n)
    if (partial) return partial.stackId === stackId
    const set = n.endsWith(SEAL) ? n.slice(0, -SEAL.length) : setOfMark(n)
    return (
      set !== undefined &&
      !names.includes(set) &&
      !partials.some((p) => p.set === set && p.stackId !== stackId)
    )
  }
  return names.filter(lost).map((name) => ({ name, bytes: lstatSync(join(dir, name)).size }))
}

/**
 * Removes what dead runs of this stack left behind, and completes a set whose sealing was interrupted. The caller
 * holds the stack's lock, so that no run that writes them is alive.
 * @returns a sentence for each.
 */
export async function cleanPartials(dir: string, stackId: string): Promise<string[]> {
  const done: string[] = []
  const names = leftovers(dir, stackId).map((l) => l.name)
  for (const partial of names.filter((n) => n.endsWith(PARTIAL))) {
    const path = join(dir, partial)
    const final = finalPath(path)
    const sealed = existsSync(final) ? undefined : readSeal(final)
    if (sealed === undefined || (await sha256Of(path)) !== sealed) continue
    renameSync(path, final)
    done.push(`${finalPath(partial)}: its sealing was interrupted and is complete now`)
  }
  for (const { name } of leftovers(dir, stackId)) {
    rmSync(join(dir, name))
    done.push(`${name}: left by a run that did not end, removed`)
  }
  if (done.length > 0) syncFolder(dir)
  return done
}
