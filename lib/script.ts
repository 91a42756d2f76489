// The frame of a script: flags, help, env file, plan, dry run, lock, run, exit code. A script hands it its steps.
import { realpathSync } from 'node:fs'
import { basename } from 'node:path'
import type { ParseArgsConfig } from 'node:util'
import { confirm } from './confirm.ts'
import { loadConfig, type Config } from './env.ts'
import { EXIT, Stop, sentence } from './errors.ts'
import { execute, Interrupted, onSignals, type Outcome } from './execute.ts'
import { alone, help, numberOf, readFlags, type Parsed, type SharedFlags } from './flags.ts'
import { takeLock } from './lock.ts'
import { redactor, secretsOf } from './redact.ts'
import { noRun, openRun } from './run.ts'
import { exec, line, type Command } from './shell.ts'
import { readStack, unknownStack, type Stack } from './stack.ts'
import { commandOf, plan, type Step } from './steps.ts'

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
  /** How many words beside the flags it takes. */
  readonly takesWords?: number
  /** Only asks: it holds no lock, leaves no run, and tries every step whatever the others say. */
  readonly asks?: boolean
  steps?(context: Context): Step[] | Promise<Step[]>
  /** For a question without steps: prints its answer on standard output and returns the exit code. */
  answer?(context: Context): Promise<number>
  /** What is printed on standard output when it is done, or with --json. */
  done?(context: Context, outcome: Outcome): string
  /** After a failure and its undo: is the service up, and what is true now, what to type next? */
  afterFailure?(context: Context, outcome: Outcome): Promise<{ up: boolean; text: string }>
  /** For a destructive step alone: says why the newest backup is not enough, or undefined. */
  backupMissing?(context: Context): Promise<string | undefined>
}

/**
 * Runs the script when its file is the one that was started; does nothing when it is imported. Sets
 * `process.exitCode` as promised in errors.ts and never throws.
 */
export async function script(meta: ImportMeta, spec: Script): Promise<void> {
  const started = process.argv[1]
  if (!started || realpathSync(started) !== meta.filename) return
  process.umask(0o077)
  // A pipe that was closed (`… | head`) must not end a run half-way.
  for (const out of [process.stdout, process.stderr]) out.on('error', () => {})
  let verbose = false
  try {
    const name = basename(meta.filename, '.ts')
    const parsed = readFlags(name, spec, process.argv.slice(2))
    if (parsed === 'help') return void process.stdout.write(help(name, spec))
    verbose = parsed.flags.verbose ?? false
    process.exitCode = await main(name, meta.filename, spec, parsed)
  } catch (error) {
    process.stderr.write(`${verbose && error instanceof Error ? error.stack : sentence(error)}\n`)
    process.exitCode = error instanceof Stop ? error.code : EXIT.failed
  }
}

async function main(
  name: string,
  file: string,
  spec: Script,
  { flags, words, given }: Parsed,
): Promise<number> {
  const config = loadConfig(flags.env)
  const stamp = flags.stamp ?? new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '_')
  const contextOf = (stack: Stack): Context => ({
    config,
    flags,
    words,
    stamp,
    stack,
    redact: redactor([...secretsOf(stack.env), ...secretsOf(config as unknown as Record<string, string>)]),
  })
  const itself = (n: number): Command => alone(file, n, stamp, given)

  if (flags.plan) {
    const { stack, unknown } = await stackOrUnknown(config)
    const context = contextOf(stack)
    const steps = (await spec.steps?.(context)) ?? []
    process.stdout.write(context.redact(await plan(steps, numberOf('--only', flags.only, steps), itself)))
    if (unknown) process.stderr.write(`${context.redact(unknown)}\nUnknown values stand as ‹…›.\n`)
    return unknown ? EXIT.refused : EXIT.done
  }
  if (flags['dry-run']) return dryRun(spec, contextOf(await readStack(config)), itself)

  const interrupted = onSignals((text) => process.stderr.write(`${text}\n`))
  if (spec.answer) return spec.answer(contextOf(await readStack(config)))
  if (spec.asks) {
    const context = contextOf(await readStack(config))
    const chosen = numbered((await spec.steps?.(context)) ?? [], flags)
    const shown = { interrupted, redact: context.redact, all: true, plain: flags.json ?? false }
    const outcome = await execute(chosen, noRun, shown)
    if (spec.done) process.stdout.write(context.redact(spec.done(context, outcome)))
    return outcome.failure ? EXIT.refused : EXIT.done
  }

  const lock = await takeLock(config.STATE_DIR, name)
  try {
    return await changing(name, spec, contextOf(await readStack(config)), { flags, given, interrupted })
  } finally {
    await lock.release()
  }
}

/** A run that changes something: under the lock, with a journal, undone when it fails. */
async function changing(
  name: string,
  spec: Script,
  context: Context,
  { flags, given, interrupted }: { flags: SharedFlags; given: readonly string[]; interrupted: AbortSignal },
): Promise<number> {
  const { config, redact } = context
  const chosen = numbered((await spec.steps?.(context)) ?? [], flags)
  if ((flags.only ?? flags.from) !== undefined && chosen.some(({ step }) => step.destructive)) {
    const missing = await spec.backupMissing?.(context)
    if (missing) {
      process.stderr.write(`${missing}\n`)
      await confirm(['no-backup'], flags.confirm ?? [])
    }
  }
  const words = [name, ...given]
  const run = openRun(
    { stateDir: config.STATE_DIR, stamp: context.stamp, script: name, stack: config.STACK_ID, words },
    redact,
  )
  const outcome = await execute(chosen, run, { interrupted, redact, plain: flags.json ?? false })
  const { exitCode, text } = await verdict(spec, context, outcome)
  const { steps, undone, failure } = outcome
  run.log(text)
  const report = run.end({
    exitCode,
    outcome: failure ? sentence(failure.error) : 'done',
    steps,
    undone: [...undone, ...outcome.notUndone],
  })
  if (flags.json) process.stdout.write(redact(`${JSON.stringify(report)}\n`))
  else if (exitCode === EXIT.done) process.stdout.write(redact(text))
  if (exitCode !== EXIT.done)
    process.stderr.write(redact(`${text}Everything that was printed: ${run.dir}/log.txt\n`))
  return exitCode
}

async function verdict(
  spec: Script,
  context: Context,
  outcome: Outcome,
): Promise<{ exitCode: number; text: string }> {
  const { failure, undone, notUndone } = outcome
  if (!failure) return { exitCode: EXIT.done, text: spec.done?.(context, outcome) ?? '' }
  const lines = ['', `${failure.step} failed:`, sentence(failure.error), '']
  if (undone.length > 0) lines.push('Undone:', ...undone.map((u) => `  ${u}`))
  if (notUndone.length > 0) lines.push('Could not be undone:', ...notUndone.map((u) => `  ${u}`))
  let down = false
  if (!failure.changed) lines.push('Nothing was changed.')
  else if (spec.afterFailure) {
    const now = await spec
      .afterFailure(context, outcome)
      .catch((error: unknown) => ({ up: false, text: sentence(error) }))
    down = !now.up
    lines.push('', now.text)
  }
  const { error } = failure
  const own =
    error instanceof Interrupted
      ? error.exitCode
      : error instanceof Stop && !failure.changed
        ? error.code
        : EXIT.failed
  return { exitCode: down ? EXIT.down : own, text: `${lines.join('\n')}\n` }
}

/** Runs what only reads (`$ …`) and prints the rest (`! …`). Exit 3 when a check says no. */
async function dryRun(spec: Script, context: Context, itself: (n: number) => Command): Promise<number> {
  const steps = (await spec.steps?.(context)) ?? []
  const print = (text: string): void => void process.stdout.write(`${context.redact(text)}\n`)
  let code: number = EXIT.done
  for (const { step, number, index } of numbered(steps, context.flags as SharedFlags)) {
    const command = (await commandOf(step)) ?? itself(index + 1)
    print(`# ${number} ${step.title}`)
    print(`${step.read ? '$' : '!'} ${line(command)}`)
    if (!step.read) continue
    try {
      const stdout = step.cmd === undefined ? '' : (await exec(command)).stdout
      await step.run?.({ ...noRun, say: (t) => print(`  ${t}`), progress() {} }, stdout)
    } catch (error) {
      print(`  ✖ ${sentence(error)}`)
      code = EXIT.refused
    }
  }
  return code
}

async function stackOrUnknown(config: Config): Promise<{ stack: Stack; unknown?: string }> {
  try {
    return { stack: await readStack(config) }
  } catch (error) {
    if (!(error instanceof Stop) || error.code !== EXIT.refused) throw error
    return { stack: await unknownStack(config), unknown: sentence(error) }
  }
}

function numbered(
  steps: readonly Step[],
  { only, from }: Pick<SharedFlags, 'only' | 'from'>,
): { step: Step; number: string; index: number }[] {
  const first = numberOf('--from', from, steps) ?? numberOf('--only', only, steps) ?? 1
  const last = only === undefined ? steps.length : first
  return steps
    .map((step, index) => ({ step, number: `${index + 1}/${steps.length}`, index }))
    .slice(first - 1, last)
}
