// The frame of a script: flags, help, env file, plan, dry run, lock, run, exit code. A script hands it its steps.
import { existsSync, realpathSync } from 'node:fs'
import { basename } from 'node:path'
import type { ParseArgsConfig } from 'node:util'
import { confirm } from './confirm.ts'
import { loadConfig, type Config } from './env.ts'
import { codeOf, EXIT, refusal, sentence, Stop } from './errors.ts'
import { dryRun, execute, Interrupted, onSignals, type Outcome } from './execute.ts'
import { alone, help, readFlags, type Parsed } from './flags.ts'
import { withHeartbeat, type Ended } from './heartbeat.ts'
import { takeLock } from './lock.ts'
import { settleStep } from './owed.ts'
import { redactorFor } from './redact.ts'
import { halfText, isHalf, openRestore } from './restore/record.ts'
import { noRun, openRun } from './run.ts'
import { interruption, line, type Command } from './shell.ts'
import { readStack, unknownStack, type Stack } from './stack.ts'
import { choose, plan, within, type Numbered, type Step } from './steps.ts'

export interface Context {
  readonly config: Config
  /** The flags of the script itself, parsed. */
  readonly flags: Readonly<Record<string, string | boolean | string[] | undefined>>
  /** The words that are no flags. */
  readonly words: readonly string[]
  /** One per pipeline, UTC: YYYYMMDD_HHMMSS. */
  readonly stamp: string
  readonly stack: Stack
  /** Hides the secrets of both env files in a text. */
  readonly redact: (text: string) => string
}

export interface Script {
  /** One line: what it does. */
  readonly about: string
  readonly changes: string
  readonly undo: string
  /** Usage of its own words and flags, one per line, for the help. */
  readonly usage?: readonly string[]
  readonly options?: NonNullable<ParseArgsConfig['options']>
  readonly examples: readonly [string, ...string[]]
  /** Says whether what was typed goes together, before anything is looked at. @throws usage when it does not */
  readonly typed?: (typed: Pick<Context, 'flags' | 'words'>) => void
  /** How many words beside the flags it takes. */
  readonly takesWords?: number
  /** Only asks (always, or with one of these flags): no lock, no run, and every step is tried. */
  readonly asks?: When
  readonly steps?: (context: Context) => Step[] | Promise<Step[]>
  /** For a question without steps: prints its answer on standard output and returns the exit code. */
  readonly answer?: (context: Context) => Promise<number>
  /** When it is that question; always, when left out. */
  readonly answers?: When
  /** Its answer goes on until somebody ends it. */
  readonly lasts?: When
  /** What is printed on standard output when it is done, or with --json. */
  readonly done?: (context: Context, outcome: Outcome) => string
  /** After a failure and its undo: is the service up, and what is true now, what to type next? */
  readonly afterFailure?: (context: Context, outcome: Outcome) => Promise<{ up: boolean; text: string }>
  /** For a destructive step alone: says why the newest backup is not enough, or undefined. */
  readonly backupMissing?: (context: Context) => Promise<string | undefined>
  /** What will happen, and the words to type for it; undefined when nothing has to be confirmed. */
  readonly confirms?: (context: Context) => Promise<{ will: string; words: readonly string[] } | undefined>
  /** It works without a running stack (a workstation, an incident): Docker is not asked what the stack is. */
  readonly stackless?: When
  /** Somebody may wait for its start and its end at HEARTBEAT_URL. */
  readonly heartbeat?: boolean
}

/** Always, or with one of these flags. */
export type When = true | readonly string[]

/** Whether it is so with what was typed. */
const holds = (when: When | undefined, flags: Context['flags']): boolean =>
  when === true || (when?.some((name) => flags[name] !== undefined) ?? false)

/** One start of a script: what was asked of it, and the signal that ends it. */
interface Start extends Pick<Parsed, 'flags' | 'words' | 'given'> {
  readonly name: string
  readonly spec: Script
  readonly config: Config
  readonly stamp: string
  readonly redact: (text: string) => string
  readonly interrupted: AbortSignal
  /** The command of step n alone; without n, of the whole script. */
  readonly itself: (n?: number) => Command
}

const LINGER = 5_000 // ms that what a step has left behind may keep the process
const LONGEST_ANSWER = 10 * 60_000 // ms
const LONGEST_TIMER = 2 ** 31 - 1 // ms: what setTimeout takes at most

/**
 * Runs the script when its file is the one that was started; does nothing when it is imported. Sets
 * `process.exitCode` as promised in errors.ts and never throws.
 */
export async function script(meta: ImportMeta, spec: Script): Promise<void> {
  const started = process.argv[1]
  if (!started || !existsSync(started) || realpathSync(started) !== meta.filename) return
  process.umask(0o077)
  // A pipe that was closed (`… | head`) must not end a run half-way.
  for (const out of [process.stdout, process.stderr]) out.on('error', () => {})
  let verbose = false
  let redact = (text: string): string => text
  try {
    const name = basename(meta.filename, '.ts')
    const parsed = readFlags(name, spec, process.argv.slice(2))
    if (parsed === 'help') return void process.stdout.write(help(name, spec))
    const { flags, again } = parsed
    verbose = flags.verbose ?? false
    spec.typed?.(parsed)
    const config = loadConfig(flags.env)
    redact = redactorFor(config)
    const stamp = flags.stamp ?? new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '_')
    const env = flags.env.includes('/') ? config.file : flags.env
    const itself = (n?: number): Command => alone(meta.filename, { env, stamp, again }, n)
    const interrupted = onSignals((text) => process.stderr.write(`${text}\n`))
    const start: Start = { ...parsed, name, spec, config, stamp, redact, interrupted, itself }
    process.exitCode = await interruption.run(interrupted, () => main(start))
    // Who was told to stop must not let a pipeline go on to its next script.
    if (interrupted.aborted && process.exitCode === EXIT.done) process.exitCode = codeOf(interrupted.reason)
  } catch (error) {
    const text = verbose && error instanceof Error ? error.stack : sentence(error)
    const nothing = error instanceof Interrupted ? '. Nothing was changed.' : ''
    process.stderr.write(redact(`${text}${nothing}\n`))
    process.exitCode = codeOf(error)
  }
  setTimeout(() => process.exit(), LINGER).unref()
}

async function main(start: Start): Promise<number> {
  const { name, spec, flags, config, redact, interrupted, itself } = start
  const stackless = holds(spec.stackless, flags)
  const stack = (): Promise<Stack> => (stackless ? unknownStack(config) : readStack(config))
  const stepsOf = async (context: Context): Promise<Numbered[]> =>
    choose((await spec.steps?.(context)) ?? [], flags)

  const answer = holds(spec.answers ?? true, flags) ? spec.answer : undefined
  if (flags.plan && answer) {
    process.stdout.write(`# 1/1 ${spec.about}\n${line(itself())}\n`)
    return EXIT.done
  }
  if (flags.plan) {
    const { context, unknown } = await knownOrNot(start, stack)
    const text = await plan(await stepsOf(context), itself, { undo: flags.only === undefined })
    process.stdout.write(redact(text))
    if (unknown) process.stderr.write(redact(`${unknown}\nUnknown values stand as ‹…›.\n`))
    return unknown ? EXIT.refused : EXIT.done
  }
  if (answer) {
    const context = contextOf(start, await stack())
    const limit = holds(spec.lasts, flags) ? LONGEST_TIMER : LONGEST_ANSWER
    return within(limit, interrupted, () => answer(context))
  }
  const showing = { interrupted, redact, silent: flags.json ?? false }
  if (flags['dry-run']) {
    const steps = await stepsOf(contextOf(start, await stack()))
    return (await dryRun(steps, itself, showing)) ? EXIT.done : EXIT.refused
  }
  if (holds(spec.asks, flags)) {
    const context = contextOf(start, await stack())
    const outcome = await execute(await stepsOf(context), noRun, { ...showing, all: true })
    interrupted.throwIfAborted()
    if (spec.done) process.stdout.write(redact(spec.done(context, outcome)))
    return outcome.failure ? EXIT.refused : EXIT.done
  }
  const locked = async (): Promise<Ended> => {
    const lock = await takeLock(config.STATE_DIR, name)
    try {
      if (!stackless) refuseHalf(config)
      const context = contextOf(start, await stack())
      return await changing(start, context, await stepsOf(context))
    } finally {
      await lock.release()
    }
  }
  const whole = (flags.only ?? flags.from) === undefined
  const watched = spec.heartbeat && !stackless && whole && config.HEARTBEAT_URL !== ''
  const told = { url: config.HEARTBEAT_URL, what: `${name} of ${config.STACK_ID}` }
  return (watched ? await withHeartbeat(told, locked) : await locked()).exitCode
}

/** Nothing else changes a stack of which part of the data is swapped. @throws refusal naming both ways out */
function refuseHalf(config: Config): void {
  const open = openRestore(config)
  if (open && isHalf(open)) throw refusal(`${halfText(open)}\nNothing was changed now.`)
}

/** A run that changes something: under the lock, with a journal, undone when it fails. */
async function changing(start: Start, context: Context, steps: readonly Numbered[]): Promise<Ended> {
  const { name, spec, flags, given, config, stamp, redact, interrupted } = start
  await confirmed(start, context, steps)
  const about = { stateDir: config.STATE_DIR, stamp, script: name, stack: config.STACK_ID }
  const run = openRun({ ...about, words: [name, ...given] }, redact)
  const tell = (text: string): void => {
    run.log(text)
    process.stderr.write(redact(`${text}\n`))
  }
  for (const out of [process.stdout, process.stderr])
    out.once('error', (error) =>
      run.log(`Nobody reads what is printed any more (${error.message}). Going on.`),
    )
  tell(`${run.id}: started ${new Date().toISOString()}`)
  // Whoever runs one step alone is in the middle of something, and knows what is stopped.
  const settles = !holds(spec.stackless, flags) && (flags.only ?? flags.from) === undefined
  const first = settles ? settleStep(context.stack) : undefined
  const numbered = first ? [{ step: first, number: '0', n: 0 }, ...steps] : steps
  const outcome = await execute(numbered, run, { interrupted, redact, silent: flags.json ?? false })
  const { exitCode, text } = await interruption.run(undefined, () => verdict(start, context, outcome))
  if (exitCode !== EXIT.done) tell(text)
  else run.log(text)
  const { failure, steps: reports, undone, notUndone } = outcome
  const why = failure ? sentence(failure.error) : 'done'
  const report = run.end({ exitCode, outcome: why, steps: reports, undone, notUndone })
  if (flags.json) process.stdout.write(`${JSON.stringify(report)}\n`)
  else if (exitCode === EXIT.done) process.stdout.write(redact(text))
  const took = `${report.ended} after ${(report.ms / 1000).toFixed(1)} s`
  const attention = (report.facts.attention ?? []) as readonly string[]
  for (const what of attention) process.stderr.write(redact(`Look at this: ${what}\n`))
  process.stderr.write(
    `${run.id}: ended ${took}, exit code ${exitCode}. All that was printed: ${run.dir}/log.txt\n`,
  )
  return { exitCode, attention }
}

async function confirmed(
  { spec, flags }: Start,
  context: Context,
  steps: readonly Numbered[],
): Promise<void> {
  const alone = (flags.only ?? flags.from) !== undefined && steps.some(({ step }) => step.destructive)
  const missing =
    alone && (spec.backupMissing ? await spec.backupMissing(context) : 'Is there a fresh backup?')
  const asked = await spec.confirms?.(context)
  const words = [...(missing ? ['no-backup'] : []), ...(asked?.words ?? [])]
  for (const text of [missing, asked?.will]) if (text) process.stderr.write(context.redact(`${text}\n`))
  await confirm(words, flags.confirm ?? [])
}

/** The exit code, and what a person reads at the end. */
async function verdict(
  { spec, interrupted }: Start,
  context: Context,
  outcome: Outcome,
): Promise<{ exitCode: number; text: string }> {
  const { failure, undone, notUndone } = outcome
  if (!failure && interrupted.aborted) {
    const text = `${sentence(interrupted.reason)} when everything was done: nothing was undone.\n`
    return { exitCode: codeOf(interrupted.reason), text }
  }
  if (!failure) return { exitCode: EXIT.done, text: spec.done?.(context, outcome) ?? '' }
  const lines = ['', `${failure.step} failed:`, sentence(failure.error), '']
  if (undone.length > 0) lines.push('Undone:', ...undone.map((u) => `  ${u}`))
  if (notUndone.length > 0) lines.push('Could not be undone:', ...notUndone.map((u) => `  ${u}`))
  if (!failure.changed) {
    const said = sentence(failure.error).includes('Nothing was changed.')
    if (!said && undone.length + notUndone.length === 0) lines.push('Nothing was changed.')
    return {
      exitCode: failure.error instanceof Stop ? failure.error.code : EXIT.refused,
      text: lines.join('\n'),
    }
  }
  const now = await spec
    .afterFailure?.(context, outcome)
    .catch((error: unknown) => ({ up: false, text: sentence(error) }))
  if (now) lines.push('', now.text)
  const own = failure.error instanceof Interrupted ? failure.error.code : EXIT.failed
  return { exitCode: now?.up === false ? EXIT.down : own, text: lines.join('\n') }
}

function contextOf({ config, flags, words, stamp, redact }: Start, stack: Stack): Context {
  return { config, flags, words, stamp, stack, redact }
}

/** For a plan, which is printed as far as it is known when Docker is away. */
async function knownOrNot(
  start: Start,
  stack: () => Promise<Stack>,
): Promise<{ context: Context; unknown?: string }> {
  try {
    return { context: contextOf(start, await stack()) }
  } catch (error) {
    if (!(error instanceof Stop) || error.code !== EXIT.refused) throw error
    return { context: contextOf(start, await unknownStack(start.config)), unknown: sentence(error) }
  }
}
