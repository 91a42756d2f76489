#!/usr/bin/env -S node --import tsx
// Backs up everything that the stack keeps, as one sealed set: MongoDB at one point in time, a fresh Redis snapshot,
// every mounted volume, the configuration.
// Changes: adds pre-update-<stamp>.tar.gz and its seal to BACKUP_DIR; the oldest sets beyond the five newest go.
// Undo:    nothing of the stack was touched; a set that was not sealed is removed.
import { rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { checkSources } from '../lib/backup/sources.ts'
import { sealSet } from '../lib/backup/seal.ts'
import { cleanPartials, rotate } from '../lib/backup/sets.ts'
import { verifySet } from '../lib/backup/verify.ts'
import { writeSet } from '../lib/backup/write.ts'
import { script, type Context } from '../lib/script.ts'
import type { Stack } from '../lib/stack.ts'
import type { Step } from '../lib/steps.ts'

const MINUTE = 60_000 // ms
const DAY = 24 * 60 * MINUTE // ms: as long as the data needs

/** The stack, its sets in the folder that was named, as the guide's usage has it. */
function here({ stack, words: [folder] }: Context): Stack {
  return folder === undefined ? stack : { ...stack, config: { ...stack.config, BACKUP_DIR: resolve(folder) } }
}

export function steps(context: Context): Step[] {
  const stack = here(context)
  const { stamp } = context
  const { BACKUP_DIR, STACK_ID } = stack.config
  const set = join(BACKUP_DIR, `pre-update-${stamp}.tar.gz`)
  const partial = `${set}.partial`
  return [
    {
      title: 'Check what will be saved',
      read: true,
      limit: 5 * MINUTE,
      run: async (doing) => {
        const { volumes, bytes } = await checkSources(stack)
        doing.say(`MongoDB, Redis, ${volumes.length} volumes, configuration: about ${mib(bytes)}`)
      },
    },
    {
      title: 'Write the set aside',
      limit: DAY,
      run: async (doing) => {
        await cleanPartials(BACKUP_DIR)
        await writeSet(stack, await checkSources(stack), { stamp, report: (text) => doing.progress(text) })
      },
      undo: { says: `rm -f ${partial}`, run: async () => rmSync(partial, { force: true }) },
    },
    {
      // Nothing is believed that was not read back.
      title: 'Read it back and verify',
      limit: DAY,
      run: async (doing) => void (await verifySet(partial, (text) => doing.progress(text))),
    },
    { title: 'Seal it', limit: 10 * MINUTE, run: async () => void (await sealSet(partial)) },
    {
      // Last: nothing old goes before the new one is good.
      title: 'Rotate',
      limit: 10 * MINUTE,
      run: async (doing) => {
        const removed = await rotate(BACKUP_DIR, STACK_ID)
        doing.say(removed.length === 0 ? 'nothing to remove' : `removed: ${removed.join(', ')}`)
      },
    },
  ]
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

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
    `Sealed: ${join(here(context).config.BACKUP_DIR, `pre-update-${context.stamp}.tar.gz`)}\n`,
})
