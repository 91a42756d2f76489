// Running the steps of a script: shown with listr2, ended by a signal, undone in reverse when one fails.
import { Listr, type ListrTask } from 'listr2'
import { isRefusal, sentence, Stop } from './errors.ts'
import { noRun, type Run, type StepReport } from './run.ts'
import { line, type Command } from './shell.ts'
import { commandOf, runStep, undoSteps, type Doing, type Numbered, type Step } from './steps.ts'

/** The end of a run by INT, TERM or HUP: exit 128 + its number. */
export class Interrupted extends Stop {
  readonly signal: NodeJS.Signals
  constructor(signal: keyof typeof SIGNALS) {
    super(128 + SIGNALS[signal], `interrupted by ${signal}`)
    this.signal = signal
  }
}

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const

/**
 * An abort signal that the first INT, TERM or HUP sets off, or an error that nobody has caught. Later ones are told
 * and ignored: the undo goes on.
 */
export function onSignals(tell: (text: string) => void): AbortSignal {
  const controller = new AbortController()
  const end = (reason: Error): void => {
    const again = controller.signal.aborted
    if (again) tell(`${sentence(reason)}: already ending; what was done is being undone.`)
    else if (!(reason instanceof Interrupted)) tell(sentence(reason))
    controller.abort(reason)
  }
  // Stays installed for good: with `once` a second signal would end the process in the middle of the undo.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => end(new Interrupted(signal)))
  process.on('uncaughtException', end)
  return controller.signal
}

export interface Outcome {
  readonly steps: StepReport[]
  /** Set when a step failed. `changed`: an earlier one had changed something, or it had itself. */
  readonly failure?: { readonly step: string; readonly error: unknown; readonly changed: boolean }
  readonly undone: string[]
  readonly notUndone: string[]
}

export interface Showing {
  readonly interrupted: AbortSignal
  readonly redact: (text: string) => string
  /** Runs each step whatever the others did: for checks. */
  readonly all?: boolean
  /** Shows nothing: what is printed is for a program. */
  readonly silent?: boolean
}

const QUIET_EVERY = 10_000 // ms between progress lines where there is no terminal to redraw them

/**
 * Runs steps in order, numbered as in the whole list. The first that fails ends the run, and what was begun is
 * undone in reverse.
 */
export async function execute(
  steps: readonly Numbered[],
  run: Pick<Run, 'effect' | 'fact' | 'log' | 'dir'>,
  { interrupted, redact, all = false, silent = false }: Showing,
): Promise<Outcome> {
  const reports: StepReport[] = []
  const begun: Step[] = []
  let failure: Outcome['failure']

  const tasks = steps.map(({ step, number }): ListrTask => ({
    title: `${number} ${step.title}`,
    skip: () => {
      const skipped = interrupted.aborted || (failure !== undefined && !all)
      if (skipped) reports.push({ title: step.title, outcome: 'skipped', ms: 0 })
      return skipped && 'not reached'
    },
    task: async (_, task) => {
      const began = performance.now()
      const ms = (): number => Math.round(performance.now() - began)
      const say = (text: string): void => {
        run.log(text)
        task.output = redact(text)
      }
      let quiet = began + QUIET_EVERY
      const progress = (text: string): void => {
        if (terminal()) task.title = `${number} ${step.title}  ${redact(text)}`
        else if (performance.now() > quiet) {
          quiet = performance.now() + QUIET_EVERY
          task.output = redact(text)
        }
      }
      const ending = (): void => say(`${sentence(interrupted.reason)}: ending this step`)
      interrupted.addEventListener('abort', ending)
      const changed = begun.length > 0
      if (!step.read) begun.push(step)
      try {
        run.log(`${number} ${step.title}`)
        await runStep(step, { ...run, say, progress }, interrupted)
        reports.push({ title: step.title, outcome: 'done', ms: ms() })
      } catch (error) {
        const why = sentence(error)
        run.log(`${number} ${step.title} failed: ${why}`)
        reports.push({ title: step.title, outcome: 'failed', ms: ms(), why })
        const stepChanged = !step.read && !isRefusal(error)
        failure ??= { step: `${number} ${step.title}`, error, changed: changed || stepChanged }
        // The others are told at the end, below what was undone; of a question nothing more is told.
        throw new Error(all ? redact(why) : redact(why).split('\n')[0], { cause: error })
      } finally {
        interrupted.removeEventListener('abort', ending)
        if (terminal()) task.title = `${number} ${step.title}`
      }
    },
    rendererOptions: { persistentOutput: true, outputBar: Infinity },
  }))

  const list = new Listr(tasks, {
    exitOnError: false,
    concurrent: false,
    registerSignalListeners: false,
    silentRendererCondition: silent,
    fallbackRenderer: 'simple',
    fallbackRendererCondition: () => !terminal(),
    rendererOptions: { collapseSkips: false, collapseErrors: false, showErrorMessage: all },
  })
  await list.run()

  if (!failure || all) return { steps: reports, ...(failure && { failure }), undone: [], notUndone: [] }
  const tell = (text: string): void => {
    run.log(text)
    process.stderr.write(`${redact(text)}\n`)
  }
  if (begun.some((s) => s.undo)) tell(`\n${failure.step} failed. Undoing what was done…`)
  const doing: Doing = { ...run, say: (t) => tell(`  ${t}`), progress() {} }
  const { undone, failed } = await undoSteps(begun, doing, failure.error)
  return { steps: reports, failure, undone, notUndone: failed }
}

/**
 * Runs what only reads (`$ …`) and prints the rest (`! …`); `alone` is the command of a step that has none. Returns
 * whether every check said yes. @throws the interruption
 */
export async function dryRun(
  steps: readonly Numbered[],
  alone: (n: number) => Command,
  { interrupted, redact }: Showing,
): Promise<boolean> {
  const print = (text: string): void => void process.stdout.write(`${redact(text)}\n`)
  const doing: Doing = { ...noRun, say: print, progress() {} }
  let good = true
  for (const { step, number, n } of steps) {
    print(`# ${number} ${step.title}`)
    try {
      if (step.read) {
        if (step.cmd === undefined) print(`$ ${line(alone(n))}`)
        await runStep(step, doing, interrupted)
      } else {
        const command = step.cmd === undefined ? alone(n) : await commandOf(step)
        print(`! ${line(command ?? alone(n))}`)
      }
    } catch (error) {
      interrupted.throwIfAborted()
      print(`✖ ${sentence(error)}`)
      good = false
    }
  }
  return good
}

/** Whether there is a terminal that can be redrawn. (Some have no width; CI is not a person.) */
function terminal(): boolean {
  return Boolean(process.stdout.isTTY && process.stdout.columns > 0 && !process.env.CI)
}
