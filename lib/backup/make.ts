// A backup from the first check to the seal: the steps of auto-backup, and what an update needs done before it.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../env.ts'
import { quote } from '../shell.ts'
import type { Stack } from '../stack.ts'
import type { Doing, Step } from '../steps.ts'
import { size } from './bytes.ts'
import { sealSet } from './seal.ts'
import { cleanPartials, newestSealed, rotate } from './sets.ts'
import { checkSources } from './sources.ts'
import { verifySet } from './verify.ts'
import { writeSet } from './write.ts'

const FRESH = 10 * 60_000 // ms: a set this old is still the one that was made for this update
const DAY = 24 * 60 * 60_000 // ms

const MINUTE = 60_000 // ms

/**
 * The steps that make one sealed set. All that they hand on is on disk, under the stamp: each can be run alone.
 * Whatever fails leaves nothing that looks like a backup.
 */
export function setSteps(stack: Stack, stamp: string): Step[] {
  const { BACKUP_DIR, STACK_ID } = stack.config
  const partial = `${setPath(stack.config, stamp)}.partial`
  return [
    {
      title: 'Check what will be saved',
      read: true,
      limit: 5 * MINUTE,
      run: async (doing) => {
        const { volumes, bytes } = await checkSources(stack)
        doing.say(`MongoDB, Redis, ${volumes.length} volumes, configuration: about ${size(bytes)}`)
      },
    },
    {
      title: 'Write the set aside',
      limit: DAY,
      run: async (doing) => {
        await cleanPartials(BACKUP_DIR)
        await writeSet(stack, await checkSources(stack), { stamp, report: (text) => doing.progress(text) })
      },
      undo: {
        says: `rm -f -- ${quote(partial)}`,
        run: async () => rmSync(partial, { force: true }),
      },
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

/** Where the set of that stamp is, once it is sealed. */
export const setPath = ({ BACKUP_DIR }: Pick<Config, 'BACKUP_DIR'>, stamp: string): string =>
  join(BACKUP_DIR, `pre-update-${stamp}.tar.gz`)

/** Makes a sealed set within a step of another script. @throws refusal (exit 3) when something is missing. */
async function makeSet(stack: Stack, stamp: string, doing: Doing): Promise<string> {
  const begun: Step[] = []
  try {
    for (const step of setSteps(stack, stamp)) {
      const act = async (): Promise<void> => step.run?.(doing, '')
      if (!step.read) begun.push(step)
      await (step.read ? act() : doing.effect(step.title, { stamp }, act))
    }
  } catch (error) {
    for (const step of begun.toReversed()) await step.undo?.run(doing)
    throw error
  }
  doing.say(`sealed: ${setPath(stack.config, stamp)}`)
  return setPath(stack.config, stamp)
}

/** The set of this pipeline's stamp, or one sealed less than 10 minutes ago, or a new one. @throws like that of a step */
export async function findOrMakeSet(stack: Stack, stamp: string, doing: Doing): Promise<string> {
  const { BACKUP_DIR, STACK_ID } = stack.config
  const found =
    (await newestSealed(BACKUP_DIR, { stackId: STACK_ID, stamp })) ??
    (await newestSealed(BACKUP_DIR, { stackId: STACK_ID, maxAgeMs: FRESH }))
  if (!found) return makeSet(stack, stamp, doing)
  doing.say(`sealed already: ${found.path}`)
  return found.path
}

/** Why a destructive step may not run alone: there is no complete sealed set younger than 24 hours. */
export async function backupMissing({ BACKUP_DIR, STACK_ID }: Config): Promise<string | undefined> {
  if (await newestSealed(BACKUP_DIR, { stackId: STACK_ID, maxAgeMs: DAY })) return undefined
  return `This step takes something away, and ${BACKUP_DIR} holds no sealed set younger than 24 hours. First: task auto-backup`
}
