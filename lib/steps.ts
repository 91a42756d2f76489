// A step is data: the same data serves the run, --plan, --dry-run, --only, --from, the tests and the documentation.
import { sentence } from './errors.ts'
import type { Run } from './run.ts'
import { exec, interruption, line, type Command } from './shell.ts'

/** What a step that runs may use. */
export interface Doing {
  /** A line that stays: a fact, a result. */
  say(text: string): void
  /** A line that is replaced by the next: bytes, counts, rate and time left. */
  progress(text: string): void
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
  /** Looks before it acts: it may meet the step done, half done, or not begun. */
  run(doing: Doing): Promise<void>
}

export interface Step {
  /** At most six words. */
  readonly title: string
  /** It only reads: it runs in a dry run. */
  readonly read?: boolean
  /** The command that it is. A function where the words depend on what the steps before it did. */
  readonly cmd?: Command | (() => Command | undefined | Promise<Command | undefined>)
  /** Without a command: what it does. With one: what follows the command, given its standard output. */
  readonly run?: (doing: Doing, stdout: string) => Promise<void>
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

/** The plan as a shell file: `# 3/9 title`, one line to paste, `# undo: …`. With `only`, exactly two lines. */
export async function plan(
  steps: readonly Step[],
  only: number | undefined,
  alone: (n: number) => Command,
): Promise<string> {
  const lines: string[] = []
  for (const [i, step] of steps.entries()) {
    if (only !== undefined && only !== i + 1) continue
    lines.push(`# ${i + 1}/${steps.length} ${step.title}`)
    if (step.cmd === undefined) lines.push(line(alone(i + 1)))
    else {
      const command = await commandOf(step)
      lines.push(command ? line(command) : 'true # nothing to do as things stand')
    }
    if (step.undo && only === undefined) lines.push(`# undo: ${step.undo.says.replaceAll('\n', ' ')}`)
  }
  return `${lines.join('\n')}\n`
}

/** Runs one step within its limit and the interruption of the run. @throws what failed, as a sentence. */
export async function runStep(step: Step, doing: Doing, interrupted: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(step.limit)
  const signal = AbortSignal.any([interrupted, limit])
  try {
    await interruption.run(signal, async () => {
      const command = step.cmd === undefined ? undefined : await commandOf(step)
      if (step.cmd !== undefined && command === undefined) {
        doing.say('nothing to do as things stand')
        return
      }
      if (command) doing.say(`$ ${line(command)}`)
      const act = async (): Promise<void> => {
        const stdout = command ? (await exec(command, { onLine: (l) => doing.progress(l) })).stdout : ''
        await step.run?.(doing, stdout)
      }
      if (step.read) await act()
      else await doing.effect(step.title, { ...(command && { command: line(command) }), ...step.detail }, act)
      signal.throwIfAborted()
    })
  } catch (error) {
    if (interrupted.aborted) throw interrupted.reason
    if (limit.aborted)
      throw new Error(`timed out after ${step.limit / 1000} s\n${sentence(error)}`, { cause: error })
    throw error
  }
}

/** Undoes steps in reverse, each journalled; goes on when one fails. Returns what was undone and what was not. */
export async function undoSteps(
  begun: readonly Step[],
  doing: Doing,
): Promise<{ undone: string[]; failed: string[] }> {
  const undone: string[] = []
  const failed: string[] = []
  for (const step of begun.toReversed()) {
    if (!step.undo) continue
    try {
      const { undo } = step
      await doing.effect(`undo: ${step.title}`, { says: undo.says }, () => undo.run(doing), [
        'undo',
        'undone',
      ])
      undone.push(`${step.title}: ${undo.says}`)
    } catch (error) {
      failed.push(`${step.title}: ${step.undo.says} failed: ${sentence(error)}`)
    }
  }
  return { undone, failed }
}
