// A restore on its way: what its steps hand on to each other. What a later command needs is on disk (record.ts).
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Manifest } from '../backup/manifest.ts'
import { findSet, type SetInfo } from '../backup/sets.ts'
import { refusal, usage } from '../errors.ts'
import type { Context } from '../script.ts'
import { readContainers, readStack, type Stack } from '../stack.ts'
import type { Downtime, Watch } from '../downtime.ts'
import type { Checked } from './check.ts'
import { groundOf, type Ground } from './ground.ts'
import { partsOf, type Parts } from './parts.ts'
import { halfText, isGivenUp, isHalf, noteRestore, openRestore, type Restore } from './record.ts'

export type Mode = 'restore' | 'resume' | 'abort' | 'undo' | 'commit'

export interface Course {
  readonly context: Context
  readonly mode: Mode
  /** Names the hidden folders: the run's, or of the restore that is gone on with. */
  readonly stamp: string
  parts: Parts
  /** Undefined where what is open is enough. */
  readonly set?: SetInfo
  /** The stack has no Compose file on this server: the set's is put there first. */
  readonly fresh: boolean
  record?: Restore
  /** Everything that can be checked, once. */
  checking?: Promise<Checked>
  stack?: Stack
  /** The set is restored; services that were not healthy before are not so now. */
  stays?: true
  watch?: Watch
  downtimes?: readonly Downtime[] | string
  /** The way back, once begun. */
  back?: Promise<void>
}

/** The word that confirms a restore: the set's name as it is listed, without what every set's name ends with. */
export const wordOf = (name: string): string => name.replace(/\.tar\.gz$/, '')

/** What was asked for. @throws usage (exit 2), or refusal (exit 3) when it does not fit what is open here */
export async function begin(context: Context): Promise<Course> {
  const { flags, words, config, stamp } = context
  const mode = (['resume', 'abort', 'undo', 'commit'] as const).find((m) => flags[m] === true) ?? 'restore'
  const open = openRestore(config)
  const fresh = !hasComposeFile(config.STACK_DIR)
  if (mode !== 'restore') {
    const record = fitting(mode, open)
    return { context, mode, stamp: record.stamp, parts: record.parts, fresh, record }
  }
  if (open && isHalf(open)) throw refusal(`${halfText(open)}\nNothing was changed now.`)
  if (open && open.phase !== 'preparing') {
    const undone = open.phase === 'undone'
    throw refusal(
      `${undone ? 'What had been restored' : 'What was there before the restore'} from ${open.name} is still kept aside, and there is room for one. Nothing was changed.\n` +
        '  task restore -- --commit     removes what is kept aside' +
        (undone || open.phase === 'committing' ? '' : '\n  task restore -- --undo       brings it back'),
    )
  }
  const [word] = words
  if (word === undefined)
    throw usage(
      'Which set? task restore -- SET, or latest. To see them: task restore -- --list. Nothing was changed.',
    )
  const set = await findSet(config.BACKUP_DIR, config.STACK_ID, word)
  const parts = partsOf(flags.parts as string | undefined)
  if (fresh && !parts.config) {
    throw refusal(
      `There is no Compose file in ${config.STACK_DIR}. Nothing was changed. Is STACK_DIR right? On a new server the ` +
        `set's own configuration is restored, too:\n  task restore -- ${word} --parts data,config`,
    )
  }
  return { context, mode, stamp, parts, set, fresh }
}

function hasComposeFile(dir: string): boolean {
  const names = ['compose.yaml', 'compose.yml', 'docker-compose.yml', 'docker-compose.yaml']
  return names.some((name) => existsSync(join(dir, name)))
}

/** The open restore, when it is one that this can be done with. */
function fitting(mode: Exclude<Mode, 'restore'>, open: Restore | undefined): Restore {
  if (!open) throw refusal(`There is no restore to ${mode}: none is open here. Nothing was changed.`)
  const { phase, name } = open
  if (mode === 'resume' || mode === 'abort') {
    if (phase === 'swapped' || phase === 'undone' || phase === 'committing')
      throw refusal(`The restore of ${name} has come to its end. Nothing was changed.`)
    if (mode === 'abort' && isGivenUp(open)) throw refusal(`${halfText(open)}\nNothing was changed now.`)
    if (mode === 'resume' && open.backwards && !isGivenUp(open))
      throw refusal(`${halfText(open)}\nNothing was changed now.`)
    return open
  }
  if (isHalf(open)) throw refusal(`${halfText(open)}\nNothing was changed now.`)
  if (mode === 'undo' && phase === 'committing')
    throw refusal(
      `What was kept aside by the restore of ${name} is being removed, and not whole any more. Nothing was changed.\n` +
        '  task restore -- --commit     removes the rest',
    )
  if (phase === 'preparing')
    throw refusal(
      `The restore of ${name} did not get to its swap: there is nothing to ${mode}. Nothing was changed.`,
    )
  if (mode === 'undo' && phase === 'undone') {
    throw refusal(
      `The restore of ${name} was undone already; what had been restored is kept aside. Nothing was changed.\n` +
        '  task restore -- --commit     removes what is kept aside',
    )
  }
  return open
}

/** The stack with its containers as they are now. */
export async function now(course: Course): Promise<Stack> {
  course.stack = course.stack ? await readContainers(course.stack) : await readStack(course.context.config)
  return course.stack
}

export const ground = async (course: Course): Promise<Ground> => groundOf(await now(course), 'restore')

/** The record of this restore. @throws refusal when a step that needs it is run before the one that writes it */
export function recorded(course: Course): Restore {
  const record = course.record ?? openRestore(course.context.config)
  if (!record) throw refusal('No restore is open here: its first steps write what this one needs.')
  if (record.stamp !== course.stamp)
    throw refusal(`The restore that is open here is another one, with --stamp ${record.stamp}.`)
  return (course.record = record)
}

/** Changes the record, in memory and on disk. */
export function note(course: Course, more: Partial<Restore>): Restore {
  const record = { ...recorded(course), ...more }
  course.record = record
  noteRestore(course.context.config, record)
  return record
}

/** The set's path and manifest, as they were checked. */
export interface OpenSet {
  readonly path: string
  readonly manifest: Manifest
}
