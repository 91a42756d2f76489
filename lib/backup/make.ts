// A backup from the first check to the seal: the steps of auto-backup, and what an update needs done before it.
import { existsSync, rmSync } from 'node:fs'
import { compose } from '../docker.ts'
import type { Config } from '../env.ts'
import { sentence } from '../errors.ts'
import { checkService } from '../health.ts'
import { owe, owedNow, putBack, type Owed } from '../owed.ts'
import { exec, line, quote } from '../shell.ts'
import { readContainers, runningWriters, type Stack } from '../stack.ts'
import type { Doing, Step } from '../steps.ts'
import { keepConfiguration } from '../configuration.ts'
import type { LayerFinding } from './layer.ts'
import { waitHealthy } from '../wait.ts'
import { size } from './bytes.ts'
import { copyMissing } from './offsite.ts'
import { inBackground } from './priority.ts'
import { partialPath, readSeal, sealSet, setPath } from './seal.ts'
import { cleanPartials, newestGood, rotate } from './sets.ts'
import { checkSources } from './sources.ts'
import { verifySet } from './verify.ts'
import { writeSet } from './write.ts'

const FRESH = 10 * 60_000 // ms: a set this old is still the one that was made for this update
const DAY = 24 * 60 * 60_000 // ms

const MINUTE = 60_000 // ms

/** How a set is made. */
export interface Making {
  /** Stop the writers while it is written. */
  readonly quiesce?: boolean
  /** Copy what is not there yet to BACKUP_COPY_TO at the end. */
  readonly copy?: boolean
  /** Containers' own files that it must hold. */
  readonly layers?: readonly LayerFinding[]
}

/**
 * The steps that make one sealed set. All that they hand on is on disk, under the stamp: each can be run alone.
 * Whatever fails leaves nothing that looks like a backup, and no writer stopped.
 */
export function setSteps(stack: Stack, stamp: string, { quiesce, copy, layers = [] }: Making = {}): Step[] {
  const { BACKUP_DIR, STACK_ID, BACKUP_COPY_TO } = stack.config
  const final = setPath(BACKUP_DIR, stamp)
  const partial = partialPath(final, STACK_ID)
  const worries: string[] = [] // what a person should look at although the set was made
  const worry = (text: string, doing: Doing): void => {
    doing.say(text)
    worries.push(text)
    doing.fact('attention', worries)
  }
  const check: Step = {
    title: 'Check what will be saved',
    read: true,
    limit: 5 * MINUTE,
    run: async (doing) => {
      const { volumes, leftOut, bytes } = await checkSources(stack)
      doing.say(`MongoDB, Redis, ${volumes.length} volumes, configuration: about ${size(bytes)}`)
      for (const { what, why } of leftOut) doing.say(`left out: ${what} (${why})`)
    },
  }
  const write: Step = {
    title: 'Write the set aside',
    limit: DAY,
    run: async (doing) => {
      for (const text of await cleanPartials(BACKUP_DIR, STACK_ID)) doing.say(text)
      const now = await readContainers(stack)
      keepConfiguration(now)
      await inBackground(async () => writeSet(now, await checkSources(now), { stamp, doing, layers }))
    },
    undo: {
      says: `rm -f -- ${quote(partial)}`,
      run: async () => rmSync(partial, { force: true }),
    },
  }
  // Nothing is believed that was not read back.
  const verify: Step = {
    title: 'Read it back and verify',
    limit: DAY,
    run: async (doing) =>
      inBackground(async () => {
        const { suspect } = await verifySet(partial, (text) => doing.progress(text))
        for (const why of suspect) worry(`The set is suspect: ${why}`, doing)
      }),
  }
  const seal: Step = {
    title: 'Seal it',
    limit: 10 * MINUTE,
    run: async (doing) => {
      await sealSet(partial)
      doing.fact('set', { path: final, sha256: readSeal(final) })
    },
  }
  // Last: nothing old goes before the new one is good.
  const rotation: Step = {
    title: 'Rotate',
    limit: 10 * MINUTE,
    run: async (doing) => {
      const removed = await rotate(BACKUP_DIR, STACK_ID)
      doing.say(removed.length === 0 ? 'nothing to remove' : `removed: ${removed.join(', ')}`)
    },
  }
  // The copy's state is its own: a set that could not be copied is as good as before.
  const away: Step = {
    title: 'Copy it elsewhere',
    limit: DAY,
    run: async (doing) => {
      for (const why of await copyMissing(stack.config, doing)) worry(why, doing)
    },
  }
  const [stop, start, healthy] = quiesce ? quiescing(stack) : []
  const steps = [check, stop, write, start, verify, seal, rotation]
  return [...steps, healthy, copy && BACKUP_COPY_TO !== '' ? away : undefined].filter((s) => s !== undefined)
}

let unwell: readonly string[] = [] // of the writers, before they were stopped

/** Stops the writers, starts them again, and waits until they are healthy. */
function quiescing(stack: Stack): [Step, Step, Step] {
  const writers = runningWriters(stack).map((s) => s.name)
  const owed: Owed = { what: 'start', services: writers }
  // By the note on disk: run alone, this step meets writers that are stopped already.
  const startAgain = async (doing: Doing): Promise<void> => {
    const note = owedNow(stack.config).find((o) => o.what === 'start')
    if (note) await putBack(await readContainers(stack), note, doing)
  }
  return [
    {
      title: 'Stop the writers',
      limit: 10 * MINUTE,
      detail: { writers },
      run: async (doing) => {
        if (writers.length === 0) return doing.say('no writer runs')
        const looks = await Promise.all(writers.map((name) => checkService(stack, name)))
        unwell = looks.filter((v) => !v.ok).map((v) => v.service)
        for (const name of unwell) doing.say(`${name} is not healthy now, and is not waited for later`)
        owe(stack.config, owed)
        const command = compose(stack, 'stop', '-t', String(stack.about.stopTimeout / 1000), ...writers)
        doing.say(`$ ${line(command)}`)
        await exec(command)
      },
      undo: { says: `start ${writers.join(', ')} again`, run: startAgain },
    },
    { title: 'Start the writers again', limit: 10 * MINUTE, detail: { writers }, run: startAgain },
    {
      title: 'Wait until they are healthy',
      read: true,
      limit: 60 * MINUTE,
      run: async (doing) =>
        void (await waitHealthy(
          stack,
          writers.filter((name) => !unwell.includes(name)),
          { onChange: (v) => doing.progress(`${v.service}: ${v.evidence}`) },
        )),
    },
  ]
}

/** Makes a sealed set within a step of another script. @throws refusal (exit 3) when something is missing. */
async function makeSet(
  stack: Stack,
  stamp: string,
  doing: Doing,
  layers: readonly LayerFinding[],
): Promise<string> {
  const begun: Step[] = []
  try {
    for (const step of setSteps(stack, stamp, { layers })) {
      const act = async (): Promise<unknown> => step.run?.(doing, '')
      if (!step.read) begun.push(step)
      await (step.read ? act() : doing.effect(step.title, { stamp }, act))
    }
  } catch (error) {
    for (const step of begun.toReversed()) await step.undo?.run(doing, error)
    throw error
  }
  const path = setPath(stack.config.BACKUP_DIR, stamp)
  doing.say(`sealed: ${path}`)
  return path
}

/**
 * The set of this pipeline's stamp, or one sealed less than 10 minutes ago, or a new one. What makes it suspect is
 * said: the set is a true copy all the same. Containers' own files that it must hold need a new one. @throws like that
 * of a step
 */
export async function findOrMakeSet(
  stack: Stack,
  stamp: string,
  doing: Doing,
  layers: readonly LayerFinding[] = [],
): Promise<string> {
  const { BACKUP_DIR, STACK_ID: stackId } = stack.config
  if (layers.length > 0) return makeSet(stack, await freeStamp(BACKUP_DIR, stamp), doing, layers)
  const found =
    (await newestGood(BACKUP_DIR, { stackId, stamp, suspectToo: true })) ??
    (await newestGood(BACKUP_DIR, { stackId, maxAgeMs: FRESH, suspectToo: true }))
  if (!found) return makeSet(stack, stamp, doing, layers)
  doing.say(`sealed already: ${found.path}`)
  for (const why of found.suspect) doing.say(`The set is suspect: ${why}`)
  return found.path
}

/** The stamp, or one a few seconds later: the pipeline may have made a set of its own already. */
async function freeStamp(dir: string, stamp: string): Promise<string> {
  if (!existsSync(setPath(dir, stamp))) return stamp
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)$/.exec(stamp) ?? []
  const next = new Date(Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`) + 1000).toISOString()
  return freeStamp(dir, next.slice(0, 19).replace(/[-:]/g, '').replace('T', '_'))
}

/** Why a destructive step may not run alone: there is no complete sealed set younger than 24 hours. */
export async function backupMissing({ BACKUP_DIR, STACK_ID: stackId }: Config): Promise<string | undefined> {
  if (await newestGood(BACKUP_DIR, { stackId, maxAgeMs: DAY, suspectToo: true })) return undefined
  return `This step takes something away, and ${BACKUP_DIR} holds no sealed set younger than 24 hours. First: task auto-backup`
}

/** What auto-backup says when a run of it failed: whether the writers that it had stopped serve again. */
export async function writersServe(stack: Stack, quiesce: boolean): Promise<{ up: boolean; text: string }> {
  const untouched = { up: true, text: 'Nothing of the stack was touched: it goes on as before.' }
  if (!quiesce) return untouched
  try {
    const writers = runningWriters(stack).map((s) => s.name)
    await waitHealthy(
      stack,
      writers.filter((name) => !unwell.includes(name)),
    )
    return { up: true, text: 'The writers were started again and are healthy.' }
  } catch (error) {
    return {
      up: false,
      text: `The writers are NOT confirmed to serve:\n${sentence(error)}\nLook: task health`,
    }
  }
}
