// The restore that is open on this server, in STATE_DIR/restore.json: written before its first change, there until what
// it replaced is committed or it was taken back. Whatever is killed, the next command knows from it how to go on.
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../env.ts'
import { privateFolder, syncFolder, writeWhole } from '../files.ts'
import type { Place } from '../place.ts'
import type { MountedVolume } from '../volumes.ts'
import type { FileBefore } from './config.ts'
import type { Room } from './given.ts'
import type { ImageBefore } from './images.ts'
import type { Parts } from './parts.ts'

export interface Target {
  /** `mongodb`, `redis`, or the volume's key. */
  readonly what: string
  readonly kind: 'mongodb' | 'redis' | 'volume'
  readonly place: Place
}

export interface Restore {
  /** Names the hidden folders. */
  readonly stamp: string
  /** Path of the set, and what a person types for it. */
  readonly set: string
  readonly name: string
  readonly parts: Parts
  /**
   * `preparing`: nothing of the stack was touched. `swapping`: it is down. `swapped`: the set's data is in place, what
   * was there before is aside. `undoing`, `undone`: the same the other way round. `committing`: what is aside is being
   * removed, and perhaps not whole any more.
   */
  readonly phase: 'preparing' | 'swapping' | 'swapped' | 'undoing' | 'undone' | 'committing'
  /** It has failed and is on its way back: it must not go forward. */
  readonly backwards?: true
  readonly keepStopped: boolean
  readonly targets: readonly Target[]
  /** Services that are stopped while it is swapped. */
  readonly touched: readonly string[]
  /** Of those, the ones that ran, by their container. */
  readonly ran: readonly { readonly service: string; readonly container: string }[]
  /** There was no room to prepare beside what was there. */
  readonly room?: Room
  /** Services that must be healthy afterwards: those that were. */
  readonly healthy: readonly string[]
  /** What the stack mounts, to be compared at the end; nothing on a new server. */
  readonly volumes: readonly MountedVolume[]
  /** Containers that were made for it. */
  readonly made: readonly string[]
  readonly files: readonly FileBefore[]
  readonly images: readonly ImageBefore[]
  /** While it is undone: what its own failure must bring back. */
  readonly after?: After
}

/** How things were when the undo of a restore began. */
export interface After extends Pick<Restore, 'ran' | 'healthy'> {
  readonly files: readonly FileBefore[]
  readonly images: readonly ImageBefore[]
}

const fileOf = ({ STATE_DIR }: Pick<Config, 'STATE_DIR'>): string => join(STATE_DIR, 'restore.json')

/** Where an archive of the older procedure is kept as one of ours while its restore is open. */
export const adoptedPath = ({ STATE_DIR }: Pick<Config, 'STATE_DIR'>, stamp: string): string =>
  join(STATE_DIR, `adopted-${stamp}.tar.gz`)

/** The open restore; undefined when there is none. Only reads. */
export function openRestore(config: Pick<Config, 'STATE_DIR'>): Restore | undefined {
  const file = fileOf(config)
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Restore) : undefined
}

/** Notes it durably, in the place of what was noted before. */
export function noteRestore(config: Config, restore: Restore): void {
  privateFolder(config.STATE_DIR, 'STATE_DIR')
  writeWhole(fileOf(config), `${JSON.stringify(restore)}\n`)
}

/** It is at its end: nothing of it is left. */
export function forgetRestore(config: Config): void {
  const stamp = openRestore(config)?.stamp
  rmSync(fileOf(config), { force: true })
  if (stamp !== undefined) rmSync(adoptedPath(config, stamp), { force: true })
  syncFolder(config.STATE_DIR)
}

/** It was killed while the stack was down: until it is ended one way or the other, nothing else may change the stack. */
export const isHalf = ({ phase }: Restore): boolean => phase === 'swapping' || phase === 'undoing'

/** What was there is gone, and nowhere else: only forward, or another set. */
export const isGivenUp = ({ room }: { readonly room?: Room | undefined }): boolean =>
  room !== undefined && room.made && room.scratch === undefined

/** What a person reads and types about a restore that was killed in its middle. */
export const halfText = ({ name, phase, backwards, room }: Restore): string =>
  isGivenUp({ room })
    ? `The restore of ${name} did not end: the stack is down, and what was there was given up to make room.\n` +
      '  task restore -- --resume     goes on with it'
    : phase === 'undoing'
      ? `The undo of the restore of ${name} did not end: the stack is down, and part of the data is swapped.\n` +
        '  task restore -- --resume     goes on with the undo\n  task restore -- --abort      brings the restored data back'
      : `The restore of ${name} did not end: the stack is down, and part of the data is swapped.\n` +
        (backwards ? '' : '  task restore -- --resume     goes on with it\n') +
        '  task restore -- --abort      brings back what was there before'
