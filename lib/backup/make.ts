// A backup from the first check to the seal: the steps of auto-backup, and what an update needs done before it.
import type { Config } from '../env.ts'
import type { Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { sealSet } from './seal.ts'
import { cleanPartials, newestSealed, rotate } from './sets.ts'
import { checkSources } from './sources.ts'
import { verifySet } from './verify.ts'
import { writeSet } from './write.ts'

const FRESH = 10 * 60_000 // ms: a set this old is still the one that was made for this update
const DAY = 24 * 60 * 60_000 // ms

/**
 * Makes a sealed set: checks, writes aside, reads back, seals, rotates. Whatever fails leaves nothing that looks
 * like a backup.
 * @returns the path of the set. @throws refusal (exit 3) when a component is missing or there is too little space.
 */
export async function makeSet(stack: Stack, stamp: string, doing: Doing): Promise<string> {
  const report = (text: string): void => doing.progress(text)
  const sources = await checkSources(stack)
  const { BACKUP_DIR, STACK_ID } = stack.config
  await cleanPartials(BACKUP_DIR)
  const partial = await doing.effect('write the set aside', { stamp }, () =>
    writeSet(stack, sources, { stamp, report }),
  )
  await verifySet(partial, report)
  const path = await doing.effect('seal the set', { partial }, () => sealSet(partial))
  await doing.effect('rotate', { dir: BACKUP_DIR }, () => rotate(BACKUP_DIR, STACK_ID))
  doing.say(`sealed: ${path}`)
  return path
}

/** The set of this pipeline's stamp, or one sealed less than 10 minutes ago, or a new one. @throws like makeSet */
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
