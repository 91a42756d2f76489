// A step is data: the same data serves the run, --plan, --dry-run, --only, --from, the tests and the documentation.
import { setMaxListeners } from 'node:events'
import { isRefusal, sentence, usage } from './errors.ts'
import type { Run } from './run.ts'
import { exec, GRACE, interruption, line, type Command } from './shell.ts'

/** What a step that runs may use. */
export interface Doing {
  /** A line that stays: a fact, a result. */
  say(text: string): void
  /** A line that is replaced by the next: bytes, counts, rate and time left. */
  progress(text: string): void
  /** Lines for log.txt alone. */
  log: Run['log']
  /** One external effect between two fsynced lines of the run's journal. */
  effect: Run['effect']
  /** Adds a fact to the run's report. */
  fact: Run['fact']
  /** The run's folder, for what an undo or the next command needs. */
  readonly dir: string
}

export interface Undo {
  /** What it does, as the plan prints it. */
  readonly says: string
  /**
   * Looks before it acts: it may meet the step done, half done, or not begun. `why` is what ended the run.
   * @returns `stays` when what was done is meant to stay
   */
  run(doing: Doing, why: unknown): Promise<void | 'stays'>
}

export interface Step {
  /** At most six words. */
  readonly title: string
  /** It only reads: it runs in a dry run. */
  readonly read?: boolean
  /** The command that it is. A function where the words depend on what the steps before it did. */
  readonly cmd?: Command | (() => Command | undefined | Promise<Command | undefined>)
  /** Without a command: what it does. With one: what follows the command, given its standard output. */
  readonly run?: (doing: Doing, stdout: string) => Promise<unknown>
  readonly undo?: Undo
  /** What an undo or the next command needs to know, such as old values: it goes into the journal first. */
  readonly detail?: Readonly<Record<string, unknown>>
  /** It takes something away: alone (--only, --from) it needs a fresh backup. */
  readonly destructive?: boolean
  /** ms after which it is ended and has failed. */
  readonly limit: number
}

/** The step's command, or undefined for a function, or where there is nothing to do. */
export async function commandOf(step: Step): Promise<Command | undefined> {
  return typeof step.cmd === 'function' ? step.cmd() : step.cmd
}

/** A step with its place in the whole list: `3/9`, whatever --only or --from leave of the others. */
export interface Numbered {
  readonly step: Step
  readonly number: string
  /** From 1. */
  readonly n: number
}

/** The steps that --only and --from leave. @throws usage (exit 2) listing the steps when there is no such one. */
export function choose(
  steps: readonly Step[],
  { only, from }: { readonly only?: string | undefined; readonly from?: string | undefined },
): Numbered[] {
  const numberOf = (flag: string, text: string): number => {
    const n = /^\d+$/.test(text) ? Number(text) : 0
    if (n >= 1 && n <= steps.length) return n
    const list = steps.map((s, i) => `  ${i + 1} ${s.title}`).join('\n')
    throw usage(`${flag} ${text}: there is no such step. The steps are:\n${list}`)
  }
  const first =
    only !== undefined ? numberOf('--only', only) : from !== undefined ? numberOf('--from', from) : 1
  return steps
    .map((step, i) => ({ step, number: `${i + 1}/${steps.length}`, n: i + 1 }))
    .slice(first - 1, only === undefined ? undefined : first)
}

/** The plan as a shell file: `# 3/9 title`, one line to paste, `# undo: …`. `alone` runs step n by itself. */
export async function plan(
  steps: readonly Numbered[],
  alone: (n: number) => Command,
  { undo }: { undo: boolean },
): Promise<string> {
  const lines: string[] = []
  for (const { step, number, n } of steps) {
    const command = step.cmd === undefined ? alone(n) : await commandOf(step)
    lines.push(comment(`${number} ${step.title}`))
    lines.push(line(command ?? alone(n))) // it depends on what the steps before it will have done
    if (step.undo && undo) lines.push(comment(`undo: ${step.undo.says}`))
  }
  return lines.map((l) => `${l}\n`).join('')
}

/** A comment of a shell file: a name with a line break in it stays in the comment. */
const comment = (text: string): string => `# ${text.replace(/[\r\n]+/g, ' ')}`

const PATIENCE = GRACE + 5_000 // ms that a step has to stop by itself: its commands are killed after GRACE
const UNDO_LIMIT = 60 * 60_000 // ms: longer than any undo takes; an undo that hangs must not hide the other ones

/**
 * Does work within a time limit (ms) and the interruption given. The commands that it runs are ended by both; work
 * that does not stop by itself is given up.
 * @throws the interruption, or that the time is up together with what the work said to it.
 */
export async function within<T>(
  limit: number,
  interrupted: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  interrupted?.throwIfAborted()
  const over = new AbortController()
  setMaxListeners(0, over.signal) // each command that runs listens: Docker is asked many things at once
  const pass = (): void => over.abort(interrupted?.reason)
  interrupted?.addEventListener('abort', pass, { once: true })
  const late = new Error(`timed out after ${limit / 1000} s`)
  // These hold the process: a promise that never settles would otherwise end it here, with nothing undone.
  const timers = [setTimeout(() => over.abort(late), limit)]
  const givenUp = new Promise<never>((_, reject) => {
    const giveUp = (): void =>
      reject(new Error(`it did not stop in ${PATIENCE / 1000} s, and may still be at work`))
    over.signal.addEventListener('abort', () => timers.push(setTimeout(giveUp, PATIENCE)))
  })
  try {
    const result = await Promise.race([interruption.run(over.signal, work), givenUp])
    over.signal.throwIfAborted()
    return result
  } catch (error) {
    if (interrupted?.aborted) throw interrupted.reason
    if (!over.signal.aborted || sentence(error).includes(late.message)) throw error
    throw new Error(`${late.message}\n${sentence(error)}`, { cause: error })
  } finally {
    timers.forEach(clearTimeout)
    interrupted?.removeEventListener('abort', pass)
  }
}

/** Runs one step within its limit and the interruption of the run. @throws what failed, as a sentence. */
export async function runStep(step: Step, doing: Doing, interrupted: AbortSignal): Promise<void> {
  await within(step.limit, interrupted, async () => {
    const command = await commandOf(step)
    if (step.cmd !== undefined && command === undefined) {
      doing.say('nothing to do as things stand')
      return
    }
    if (command) doing.say(`$ ${line(command)}`)
    const onLine = (text: string): void => {
      doing.log(`  ${text}`)
      doing.progress(text)
    }
    const act = async (): Promise<void> => {
      const stdout = command ? (await exec(command, { onLine })).stdout : ''
      try {
        await step.run?.(doing, stdout)
      } catch (error) {
        // After a command that changes something, nothing is a refusal any more.
        throw command && !step.read && isRefusal(error) ? new Error(sentence(error), { cause: error }) : error
      }
    }
    if (step.read) await act()
    else await doing.effect(step.title, { ...(command && { command: line(command) }), ...step.detail }, act)
  })
}

/** Undoes steps in reverse, each journalled; goes on when one fails. Returns what was undone and what was not. */
export async function undoSteps(
  begun: readonly Step[],
  doing: Doing,
  why: unknown,
): Promise<{ undone: string[]; failed: string[] }> {
  const undone: string[] = []
  const failed: string[] = []
  for (const { title, undo } of begun.toReversed()) {
    if (!undo) continue
    try {
      const act = (): Promise<void | 'stays'> => within(UNDO_LIMIT, undefined, () => undo.run(doing, why))
      const end = await doing.effect(`undo: ${title}`, { says: undo.says }, act, ['undo', 'undone'])
      if (end !== 'stays') undone.push(`${title}: ${undo.says}`)
    } catch (error) {
      failed.push(`${title}: ${undo.says} failed: ${sentence(error)}`)
    }
  }
  return { undone, failed }
}
