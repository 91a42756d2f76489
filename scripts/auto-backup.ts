#!/usr/bin/env -S node --import tsx
// Backs up everything that the stack keeps, as one sealed set: MongoDB at one point in time, a fresh Redis snapshot,
// every mounted volume, the configuration. Its steps are check, write aside, read back, seal, rotate, copy.
// Changes: adds pre-update-<stamp>.tar.gz and its seal to BACKUP_DIR; the oldest sets beyond the five newest go.
// Undo:    nothing of the stack was touched (with --quiesce its writers are started again); a set that was not
//          sealed is removed.
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { listText, setList } from '../lib/backup/list.ts'
import { setSteps, writersServe } from '../lib/backup/make.ts'
import { setPath } from '../lib/backup/seal.ts'
import { findSet, listSets, type SetInfo } from '../lib/backup/sets.ts'
import { tendingStep, verifyingSteps } from '../lib/backup/tend.ts'
import { refusal, usage } from '../lib/errors.ts'
import { script, type Context } from '../lib/script.ts'
import type { Stack } from '../lib/stack.ts'
import type { Step } from '../lib/steps.ts'

const PARTNERS = [
  ['all', 'verify'],
  ['sample', 'verify'],
  ['why', 'pin', 'accept'],
] as const
const TENDING = ['list', 'verify', 'pin', 'unpin', 'accept'] as const // what is done with sets that are there

/** The stack, its sets in the folder that was named, as the guide's usage has it. */
function here({ stack, words: [folder] }: Context): Stack {
  return folder === undefined ? stack : { ...stack, config: { ...stack.config, BACKUP_DIR: resolve(folder) } }
}

export async function steps(context: Context): Promise<Step[]> {
  const { flags, stamp, stack, words } = context
  const { BACKUP_DIR, STACK_ID } = stack.config
  const what = tending(flags)
  if (what === 'verify') return verifyingSteps(await toVerify(context), flags.sample === true)
  if (what === 'pin' || what === 'unpin' || what === 'accept') {
    const [word] = words
    if (word === undefined) throw usage(`Which set? --${what} SET, or latest. Nothing was changed.`)
    const set = await findSet(BACKUP_DIR, STACK_ID, word)
    return [tendingStep(set, what, flags.why as string | undefined)]
  }
  return setSteps(here(context), stamp, { quiesce: flags.quiesce === true, copy: true })
}

/** Which of them was asked for. @throws usage when it is more than one */
function tending(flags: Context['flags']): (typeof TENDING)[number] | undefined {
  const asked = TENDING.filter((name) => flags[name] !== undefined)
  if (asked.length > 1) throw usage(`--${asked.join(' and --')} exclude each other. Nothing was changed.`)
  for (const [flag, ...needed] of PARTNERS) {
    if (flags[flag] === undefined || needed.some((name) => flags[name])) continue
    throw usage(`--${flag} goes with --${needed.join(' or --')}. Nothing was changed.`)
  }
  if (asked[0] && flags.quiesce) throw usage(`--quiesce does not go with --${asked[0]}. Nothing was changed.`)
  return asked[0]
}

/** The set that was named, or the newest; with --all or --sample every one of the folder. */
async function toVerify(context: Context): Promise<SetInfo[]> {
  const { flags, words, stack } = context
  if (!flags.all && !flags.sample) {
    return [await findSet(stack.config.BACKUP_DIR, stack.config.STACK_ID, words[0] ?? 'latest')]
  }
  const { BACKUP_DIR, STACK_ID } = here(context).config
  const sets = (await listSets(BACKUP_DIR, STACK_ID)).filter((s) => !s.legacy)
  if (sets.length === 0) throw refusal(`${BACKUP_DIR} holds no set that could be verified.`)
  return sets
}

await script(import.meta, {
  about: 'Backs up everything that the stack keeps into one sealed set; lists, verifies and pins sets.',
  changes:
    'adds pre-update-<stamp>.tar.gz and its seal to the backups; the oldest beyond the five newest go.',
  undo: 'a set that was not sealed is removed; nothing of the stack was touched.',
  usage: [
    '[FOLDER]       where the set goes (default: BACKUP_DIR)',
    '--quiesce      stop the services that write while the set is written',
    '--list [FOLDER]                      the sets, and how far each can be relied on',
    '--verify [SET]                       read a set again (default: the newest)',
    '--verify --all [FOLDER]              every set; with --sample instead: pieces of every set',
    '--pin SET [--why TEXT], --unpin SET  keep a set whatever its age, or no longer',
    '--accept SET [--why TEXT]            what made it suspect was looked at, and is right',
  ],
  options: {
    quiesce: { type: 'boolean' },
    list: { type: 'boolean' },
    verify: { type: 'boolean' },
    all: { type: 'boolean' },
    sample: { type: 'boolean' },
    pin: { type: 'boolean' },
    unpin: { type: 'boolean' },
    accept: { type: 'boolean' },
    why: { type: 'string' },
  },
  takesWords: 1,
  examples: [
    'task auto-backup',
    'node --import tsx scripts/auto-backup.ts /mnt/backups',
    'task auto-backup -- --verify --all',
  ],
  typed({ flags, words }) {
    tending(flags)
    if (words[0] === '') throw usage('The folder is an empty word. Nothing was changed.')
  },
  heartbeat: true,
  stackless: TENDING,
  asks: ['verify'],
  answers: ['list'],
  async answer(context) {
    const { config } = here(context)
    if (context.words.length > 0 && !existsSync(config.BACKUP_DIR))
      throw usage(`There is no folder ${config.BACKUP_DIR}.`)
    const sets = await setList(config)
    process.stdout.write(context.flags.json ? `${JSON.stringify(sets)}\n` : listText(sets, config.BACKUP_DIR))
    return 0
  },
  steps,
  done(context, outcome) {
    const { flags, stamp } = context
    if (flags.verify && flags.json) return `${JSON.stringify(outcome.steps)}\n`
    if (flags.verify) return ''
    if (tending(flags)) return 'Noted.\n'
    if (flags.only !== undefined || flags.from !== undefined) return 'Done: these steps alone.\n'
    return `Sealed: ${setPath(here(context).config.BACKUP_DIR, stamp)}\n`
  },
  afterFailure: async ({ stack, flags }) => writersServe(stack, flags.quiesce === true),
})
