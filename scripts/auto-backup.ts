#!/usr/bin/env -S node --import tsx
// Backs up everything that the stack keeps, as one sealed set: MongoDB at one point in time, a fresh Redis snapshot,
// every mounted volume, the configuration. Its steps are check, write aside, read back, seal, rotate.
// Changes: adds pre-update-<stamp>.tar.gz and its seal to BACKUP_DIR; the oldest sets beyond the five newest go.
// Undo:    nothing of the stack was touched; a set that was not sealed is removed.
import { resolve } from 'node:path'
import { setPath, setSteps } from '../lib/backup/make.ts'
import { script, type Context } from '../lib/script.ts'
import type { Stack } from '../lib/stack.ts'
import type { Step } from '../lib/steps.ts'

/** The stack, its sets in the folder that was named, as the guide's usage has it. */
function here({ stack, words: [folder] }: Context): Stack {
  return folder === undefined ? stack : { ...stack, config: { ...stack.config, BACKUP_DIR: resolve(folder) } }
}

export function steps(context: Context): Step[] {
  return setSteps(here(context), context.stamp)
}

await script(import.meta, {
  about: 'Backs up everything that the stack keeps into one sealed set.',
  changes:
    'adds pre-update-<stamp>.tar.gz and its seal to the backups; the oldest beyond the five newest go.',
  undo: 'a set that was not sealed is removed; nothing of the stack was touched.',
  usage: ['[FOLDER]       where the set goes (default: BACKUP_DIR)'],
  takesWords: 1,
  examples: ['task auto-backup', 'node --import tsx scripts/auto-backup.ts /mnt/backups'],
  steps,
  done: (context) =>
    context.flags.only !== undefined || context.flags.from !== undefined
      ? 'Done: these steps alone.\n'
      : `Sealed: ${setPath(here(context).config, context.stamp)}\n`,
})
