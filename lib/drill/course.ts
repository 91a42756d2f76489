// A drill on its way: which set it is about, and what its steps hand on to each other.
import type { Manifest } from '../backup/manifest.ts'
import { readSeal, sealProblem } from '../backup/seal.ts'
import { findSet, listSets, newestGood, type SetInfo } from '../backup/sets.ts'
import { verifyAgain } from '../backup/tend.ts'
import { verifySet } from '../backup/verify.ts'
import type { Config } from '../env.ts'
import { EXIT, isRefusal, refusal, sentence, Stop } from '../errors.ts'
import type { Ground } from '../restore/ground.ts'
import type { Context } from '../script.ts'
import { quote } from '../shell.ts'

export interface Course {
  readonly context: Context
  readonly set: SetInfo
  /** What its seal named when the drill began. */
  readonly seal: string
  /** Newer sets of this stack that are not good, and why: the newest good one is not the newest. */
  readonly passedOver: readonly string[]
  /** ms, of performance.now() */
  readonly began: number
  /** Once for a run. */
  verifying?: Promise<void>
  ground?: Promise<Ground>
  /** Images that were fetched for it, as `repository@sha256:…`. */
  readonly fetched: string[]
}

/**
 * The newest good set of this stack, or the one that was named. Asks nothing of Docker.
 * @throws refusal (exit 3) when there is none, or it is none that a drill can prove; usage (exit 2) when no set has
 *   that name
 */
export async function begin(context: Context): Promise<Course> {
  const { BACKUP_DIR, STACK_ID } = context.config
  const [word] = context.words
  const set =
    word === undefined
      ? await newestGood(BACKUP_DIR, { stackId: STACK_ID })
      : await findSet(BACKUP_DIR, STACK_ID, word)
  if (!set) {
    throw refusal(
      `${BACKUP_DIR} holds no good set of this stack: there is nothing to drill. Nothing was changed.\n` +
        '  task restore -- --list     what there is\n  task auto-backup           makes one',
    )
  }
  const wrong = unfit(set, STACK_ID)
  if (wrong !== undefined) throw refusal(`${set.path} ${wrong}. Nothing was changed.`)
  const passedOver = word === undefined ? await newerThan(set, context.config) : []
  const seal = readSeal(set.path) ?? ''
  return { context, set, seal, passedOver, began: performance.now(), fetched: [] }
}

/** Sets that came after a set and do not count, one sentence each. */
async function newerThan(set: SetInfo, { BACKUP_DIR, STACK_ID }: Config): Promise<string[]> {
  const all = (await listSets(BACKUP_DIR, STACK_ID)).filter((s) => !s.legacy && s.date > set.date)
  return all.map((s) => {
    const why = s.problem ?? s.suspect[0] ?? 'it is not complete'
    return `${s.name} is newer than the set that was drilled, and is not good: ${why}`
  })
}

/** Why a drill could not prove the set. (Of one whose manifest cannot be read, verifying says what is damaged.) */
function unfit({ path, legacy, manifest, sealed, complete }: SetInfo, stackId: string): string | undefined {
  if (legacy) return 'has no manifest: it is of another procedure, and nothing in it says what it should hold'
  if (!manifest) return undefined
  if (manifest.stackId !== stackId)
    return `is a set of the stack '${manifest.stackId}', and this one is '${stackId}'`
  if (!sealed) return `does not count: ${sealProblem(path)} (task auto-backup -- --verify ${quote(path)})`
  return complete ? undefined : 'is not complete: a drill would prove a part for the whole'
}

/** What the set says about itself. @throws Error when it cannot be read */
export function manifestOf({ set }: Course): Manifest {
  if (set.manifest) return set.manifest
  throw new Error(`${set.path}: ${set.problem ?? 'it has no manifest'}`)
}

/**
 * Reads the set in full, once for a run, and notes beside it what was found.
 * @throws Stop (exit 1) that names the first damaged part
 */
export function verified(course: Course, say: (text: string) => void): Promise<void> {
  return (course.verifying ??= verify(course, say))
}

async function verify({ context, set }: Course, say: (text: string) => void): Promise<void> {
  if (context.flags['dry-run']) return void (await verifySet(set.path, say))
  try {
    await verifyAgain(set, say)
  } catch (error) {
    if (!isRefusal(error)) throw error
    const noted = 'Nothing was changed. It is noted that the set is damaged: it does not count any more.'
    throw new Stop(EXIT.failed, `${sentence(error)}\n${noted}`, { cause: error })
  }
}
