// Running the steps of a script: shown with listr2, ended by a signal, undone in reverse when one fails.
import { Listr, type ListrTask } from 'listr2'
import { sentence, Stop } from './errors.ts'
import type { Run, StepReport } from './run.ts'
import { runStep, undoSteps, type Doing, type Step } from './steps.ts'

/** The end of a run by INT, TERM or HUP. */
export class Interrupted extends Error {
  readonly signal: NodeJS.Signals
  readonly exitCode: number
  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`)
    this.signal = signal
    this.exitCode = 128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[signal as 'SIGINT']
  }
}

/** An abort signal that the first INT, TERM or HUP sets off. Later ones are told and ignored: the undo goes on. */
export function onSignals(tell: (text: string) => void): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Stays installed for good: with `once` a second signal would end the process in the middle of the undo.
    process.on(signal, () => {
      if (controller.signal.aborted) tell(`${signal}: already ending; what was done is being undone.`)
      else controller.abort(new Interrupted(signal))
    })
  }
  return controller.signal
}

export interface Outcome {
  readonly steps: StepReport[]
  /** Set when a step failed. `changed`: an earlier one had changed something, or it had itself. */
  readonly failure?: { readonly step: string; readonly error: unknown; readonly changed: boolean }
  readonly undone: string[]
  readonly notUndone: string[]
}

const QUIET_EVERY = 10_000 // ms between progress lines where there is no terminal to redraw them

/**
 * Runs steps in order, numbered as in the whole list. The first that fails ends the run, and what was begun is
 * undone in reverse; `all` runs each of them whatever the others did (for checks).
 */
export async function execute(
  steps: readonly { readonly step: Step; readonly number: string }[],
  run: Pick<Run, 'effect' | 'fact' | 'log' | 'dir'>,
  {
    interrupted,
    redact,
    all = false,
    plain = false,
  }: { interrupted: AbortSignal; redact: (text: string) => string; all?: boolean; plain?: boolean },
): Promise<Outcome> {
  const reports: StepReport[] = []
  const begun: Step[] = []
  let failure: Outcome['failure']

  const tasks = steps.map(({ step, number }): ListrTask => ({
    title: `${number} ${step.title}`,
    skip: () => failure !== undefined && !all,
    task: async (_, task) => {
      const began = performance.now()
      const ms = (): number => Math.round(performance.now() - began)
      const changed = begun.length > 0
      if (!step.read) begun.push(step)
      let quiet = 0
      const doing: Doing = {
        ...run,
        say(text) {
          run.log(text)
          task.output = redact(text)
        },
        progress(text) {
          if (terminal()) task.title = `${number} ${step.title}  ${redact(text)}`
          else if (performance.now() > quiet) {
            quiet = performance.now() + QUIET_EVERY
            task.output = redact(text)
          }
        },
      }
      try {
        run.log(`${number} ${step.title}`)
        await runStep(step, doing, interrupted)
        if (terminal()) task.title = `${number} ${step.title}`
        reports.push({ title: step.title, outcome: 'done', ms: ms() })
      } catch (error) {
        const why = sentence(error)
        run.log(`${number} ${step.title} failed: ${why}`)
        reports.push({ title: step.title, outcome: 'failed', ms: ms(), why })
        const refused = step.read || error instanceof Stop
        failure ??= { step: `${number} ${step.title}`, error, changed: changed || !refused }
        throw new Error(redact(why).split('\n')[0], { cause: error })
      }
    },
    rendererOptions: { persistentOutput: true, outputBar: Infinity },
  }))

  const list = new Listr(tasks, {
    exitOnError: false,
    concurrent: false,
    registerSignalListeners: false,
    renderer: plain ? 'silent' : 'default',
    fallbackRenderer: 'simple',
    fallbackRendererCondition: () => !terminal(),
    rendererOptions: { collapseErrors: false, showErrorMessage: false },
  })
  await list.run()

  if (!failure || all) return { steps: reports, ...(failure && { failure }), undone: [], notUndone: [] }
  const tell = (text: string): void => {
    run.log(text)
    process.stderr.write(`${redact(text)}\n`)
  }
  if (begun.some((s) => s.undo)) tell(`\n${failure.step} failed. Undoing what was done…`)
  const { undone, failed } = await undoSteps(begun, {
    ...run,
    say: (t) => tell(`  ${t}`),
    progress: () => {},
  })
  return { steps: reports, failure, undone, notUndone: failed }
}

/** Whether there is a terminal that can be redrawn. (Some have no width; CI is not a person.) */
function terminal(): boolean {
  return Boolean(process.stdout.isTTY && process.stdout.columns > 0 && !process.env.CI)
}
