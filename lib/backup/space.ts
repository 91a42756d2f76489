// Room for a set: estimated before anything is written, on every file system concerned, and watched while it is.
import { constants, existsSync, lstatSync, readlinkSync, realpathSync, statfsSync, statSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { inspectVolumes } from '../docker.ts'
import type { Stack } from '../stack.ts'
import { size } from './bytes.ts'
import { leftovers, newestGood } from './sets.ts'

const HEADROOM = 64 * 2 ** 20 // bytes that stay free: a full disk stops more than a backup
const MARGIN = 1.1 // what an estimate may be wrong by
const INODES = 16 // a set, its seal, its marks
const LOOK_EVERY = 64 * 2 ** 20 // bytes read between two looks at the free space

/**
 * Whether BACKUP_DIR has room for a set of that many bytes before compression. What dead runs left there is removed
 * before one is written, and counts as free.
 * @returns bytes that the set may need, and bytes that are free for it.
 * @throws a sentence with the numbers when it has not, or cannot be written
 */
export async function checkSpace(stack: Stack, estimate: number): Promise<{ needed: number; free: number }> {
  const { BACKUP_DIR, STACK_ID } = stack.config
  let existing = BACKUP_DIR
  for (; !existsSync(existing); existing = dirname(existing)) {
    if (lstatSync(existing, { throwIfNoEntry: false })) {
      throw new Error(`${existing} is a link to ${readlinkSync(existing)}, which does not exist`)
    }
  }
  if (!statSync(existing).isDirectory()) throw new Error(`${existing} is not a folder`)
  await access(existing, constants.W_OK | constants.X_OK)
  const { ffree, files } = statfsSync(existing)
  // Some file systems (btrfs) have no fixed number of files, and say 0.
  if (files > 0 && ffree < INODES) throw new Error(`its file system has room for ${ffree} more files only`)
  const left = leftovers(BACKUP_DIR, STACK_ID).reduce((sum, l) => sum + l.bytes, 0)
  const free = freeBytes(existing) + left
  const needed = Math.ceil(estimate * (await ratio(stack)) * MARGIN) + HEADROOM
  if (needed <= free) return { needed, free }
  throw new Error(
    `too little space: the set may need ${size(needed)} (${size(estimate)} before compression, ` +
      `${size(HEADROOM)} of it to spare), free are ${size(free)}`,
  )
}

/**
 * Whether BACKUP_DIR lies in what is saved: sets would hold sets, and a restore of that place would empty it.
 * @param saved what is saved, by the path where it is on this machine
 * @throws a sentence that names it
 */
export function checkPlace(dir: string, saved: ReadonlyMap<string, string>): void {
  for (const [path, what] of saved) {
    if (liesIn(dir, path)) {
      throw new Error(
        `it lies in ${what}, which is saved: sets would hold sets, and a restore would remove them`,
      )
    }
  }
}

/** Whether a folder is another one or lies in it, wherever links lead. */
export function liesIn(dir: string, other: string): boolean {
  const way = relative(realPath(other), realPath(dir))
  return way !== '..' && !way.startsWith('../')
}

/** Where a path leads, as far as it exists. */
const realPath = (path: string): string =>
  existsSync(path) ? realpathSync(path) : join(realPath(dirname(path)), relative(dirname(path), path))

/**
 * Whether Redis has room for a snapshot of that many bytes beside the one that it keeps. Where Docker's volumes are on
 * another machine this cannot be seen; the save itself then says so.
 * @throws a sentence with the numbers
 */
export async function checkSnapshotSpace(volume: string, bytes: number): Promise<void> {
  const [found] = await inspectVolumes([volume])
  if (!found || !existsSync(found.Mountpoint)) return
  const free = freeBytes(found.Mountpoint)
  if (free < bytes) {
    throw new Error(`its volume ${volume} has ${size(free)} free; a snapshot may need ${size(bytes)}`)
  }
}

/**
 * Watches the free space while bytes are read. To be called with each number of bytes.
 * @throws (the function) an error with the code ENOSPC before the disk is full: the stack may keep its data there too
 */
export function spaceGuard(dir: string): (bytes: number) => void {
  let since = 0
  return (bytes) => {
    since += bytes
    if (since < LOOK_EVERY) return
    since = 0
    if (freeBytes(dir) < HEADROOM) throw Object.assign(new Error('the last free space'), { code: 'ENOSPC' })
  }
}

const freeBytes = (dir: string): number => {
  const { bavail, bsize } = statfsSync(dir)
  return bavail * bsize
}

/** What was left of the bytes read when the last set was made; 1 when there is none. */
async function ratio(stack: Stack): Promise<number> {
  const { BACKUP_DIR, STACK_ID } = stack.config
  const last = await newestGood(BACKUP_DIR, { stackId: STACK_ID, suspectToo: true })
  return last?.manifest?.read ? Math.min(1, last.bytes / last.manifest.read) : 1
}
