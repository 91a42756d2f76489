// Commands as data: built here from words, shown as one line that can be pasted, and run without a shell ever
// reading a value.
import { AsyncLocalStorage } from 'node:async_hooks'
import { spawn, type ChildProcess, type SpawnOptions, type StdioOptions } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { $ } from 'zx'
import { heldLock } from './lock.ts'
import { sentence, Stop } from './errors.ts'

/** A program and its words. `env` replaces the whole environment when given; `input` is its standard input. */
export interface Command {
  readonly words: readonly [string, ...string[]]
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
  /** What an error shows of it, where the whole of it would hide what failed: a script of ours, for one. */
  readonly brief?: string
}

type Value = string | number | readonly (string | number)[]

/**
 * Builds a command from a template: literal text is split at spaces, each `${value}` stays one word whatever it
 * holds, and an array, which stands alone, becomes one word per element. No shell syntax: `|` and `>` are words.
 */
export function sh(text: TemplateStringsArray, ...values: Value[]): Command {
  const words: string[] = []
  let open = false // whether the next piece continues the last word
  const append = (piece: string): void => {
    if (open) words[words.length - 1] += piece
    else words.push(piece)
    open = true
  }
  text.forEach((literal, i) => {
    for (const piece of literal.split(/(\s+)/)) {
      if (/^\s+$/.test(piece)) open = false
      else if (piece !== '') append(piece)
    }
    if (i === values.length) return
    const value = values[i]
    const next = text[i + 1] ?? ''
    const standsAlone = !open && (/^\s/.test(next) || (next === '' && i + 1 === values.length))
    if (typeof value === 'string' || typeof value === 'number') append(String(value))
    else if (Array.isArray(value) && standsAlone) words.push(...value.map(String))
    else throw new TypeError(`sh: value ${i + 1} must be a string, a number, or an array that stands alone`)
  })
  const [file, ...args] = words
  if (!file) throw new TypeError('sh needs at least a program')
  return { words: [file, ...args] }
}

/** One POSIX word: bare when harmless, otherwise in single quotes. Right for sh, dash, bash and zsh. */
export function quote(word: string): string {
  return /^[\w@%+:,./-][\w@%+=:,./-]*$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** Several words, each quoted, for a place in a script. */
export const quoteAll = (words: readonly string[]): string => words.map(quote).join(' ')

/** The command as one line that can be pasted into a shell. */
export function line({ words, env, input }: Command): string {
  const [file, ...args] = words
  // A program whose name holds `=` would be taken for an assignment.
  const program = file.includes('=') ? `'${file.replaceAll("'", "'\\''")}'` : quote(file)
  const bare = env && ['env -i', ...Object.entries(env).map(variable)]
  const fed = input === undefined ? [] : [`printf %s ${quote(input)} |`]
  return [...fed, ...(bare ?? []), program, ...args.map(quote)].join(' ')
}

/** Our own PATH and HOME are those of the shell that the line is pasted into. */
function variable([key, value]: [string, string]): string {
  const ours = (key === 'PATH' || key === 'HOME') && value === process.env[key]
  return ours ? `${key}="$${key}"` : quote(`${key}=${value}`)
}

/** A command that ended badly. The message holds the exit code, the command and the end of its error output. */
export class CommandFailed extends Error {
  readonly command: Command
  readonly exitCode: number | null
  readonly stderr: string
  constructor(command: Command, exitCode: number | null, stderr: string, why: string) {
    const tail = stderr.trim().split('\n').slice(-12).join('\n')
    super(`${why}\n$ ${command.brief ?? line(command)}${tail ? `\n${tail}` : ''}`)
    this.command = command
    this.exitCode = exitCode
    this.stderr = stderr
  }
}

/**
 * The signal that ends the commands of the step that is running. Undo runs outside of it, so that a second Ctrl-C
 * cannot cut the undo short.
 */
export const interruption = new AsyncLocalStorage<AbortSignal | undefined>()

/** ms between TERM and KILL: time for docker to tidy up after itself. */
export const GRACE = 10_000

/** Sends to the process group that a child was started in; false when nothing is left of it. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals | 0): boolean {
  if (child.pid === undefined) return false
  try {
    return process.kill(-child.pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

/** Ends a child and all that it has started: TERM, then KILL for what does not go. */
async function endGroup(child: ChildProcess): Promise<void> {
  signalGroup(child, 'SIGTERM')
  for (const end = performance.now() + GRACE; performance.now() < end; await delay(50)) {
    if (!signalGroup(child, 0)) return
  }
  signalGroup(child, 'SIGKILL')
}

/**
 * Ends the child when the step is interrupted. What it returns settles when nothing of the child is left.
 * (Every child has its own process group: a Ctrl-C on the terminal reaches only us, and we end the whole group.)
 */
function endOnInterruption(child: ChildProcess): () => Promise<void> {
  const signal = interruption.getStore()
  let ending = Promise.resolve()
  const end = (): void => {
    ending = endGroup(child)
  }
  signal?.addEventListener('abort', end, { once: true })
  child.once('close', () => signal?.removeEventListener('abort', end))
  return () => ending
}

/** How a command ended. */
interface Ending {
  readonly exitCode: number | null
  readonly by: string | null
  readonly stderr: string
  readonly error: unknown
}

/** The ending as an error; undefined when it ended well, or with a code of its own where `anyCode` will do. */
function failureOf(
  command: Command,
  { exitCode, by, stderr, error }: Ending,
  anyCode = false,
): Error | undefined {
  const reason: unknown = interruption.getStore()?.reason
  if (reason instanceof Stop) return reason
  if (reason !== undefined) return new CommandFailed(command, exitCode, stderr, sentence(reason))
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
    return new CommandFailed(command, 127, stderr, `there is no program ${command.words[0]}`)
  if (error) return new CommandFailed(command, null, stderr, `could not be started: ${sentence(error)}`)
  if (exitCode === 0 || (anyCode && exitCode !== null)) return undefined
  return new CommandFailed(command, exitCode, stderr, by ? `ended by ${by}` : `exit code ${exitCode}`)
}

export interface Output {
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number
}

/**
 * Runs a command to its end and returns what it printed (all of it in memory: for small outputs only).
 * @param onLine receives each line of its output as it comes.
 * @throws CommandFailed when it ends with anything but 0, unless `anyCode` is set, or when the step's time is up;
 *   the interruption itself when a person ended the step. Nothing of the command is left then.
 */
export async function exec(
  command: Command,
  { onLine, anyCode = false }: { onLine?: (line: string) => void; anyCode?: boolean } = {},
): Promise<Output> {
  interruption.getStore()?.throwIfAborted()
  const [file, ...args] = command.words
  const run = $({
    quiet: true,
    nothrow: true,
    detached: true,
    env: { ...(command.env ?? process.env) },
    stdio: [command.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', heldLock() ?? 'ignore'],
    // zx would make one line of the words, for a shell to take apart again. They go to the program as they are.
    spawn: ((_line: string, _words: readonly string[], options: SpawnOptions) =>
      spawn(file, args, { ...options, shell: false })) as typeof spawn,
    // Not what ZX_… variables of the operator's shell say, nor whether it has a bash.
    quote,
    cwd: '.',
    preferLocal: false,
    timeout: 0,
  })`${[file, ...args]}`
  const { child } = run
  const over = child && endOnInterruption(child)
  // A program that does not read its input to the end says by its exit code whether that was wrong.
  child?.stdin?.on('error', () => {}).end(command.input)
  if (onLine) {
    for (const input of [child?.stdout, child?.stderr])
      if (input) createInterface({ input }).on('line', onLine)
  }
  const { stdout, stderr, exitCode, signal: by, cause: error } = await run
  await over?.()
  const failure = failureOf(command, { exitCode, by, stderr, error }, anyCode)
  if (failure) throw failure
  return { stdout, stderr, exitCode: exitCode ?? 0 }
}

/**
 * Starts a command for streaming: nothing is collected but the end of its error output. `ended` settles when the
 * process is gone and rejects like exec when it failed; await it as well as the streams.
 */
export function stream(
  command: Command,
  stdio: StdioOptions = ['ignore', 'pipe', 'pipe'],
): { child: ChildProcess; ended: Promise<void> } {
  interruption.getStore()?.throwIfAborted()
  const [file, ...args] = command.words
  const child = spawn(file, args, { stdio, detached: true, env: { ...(command.env ?? process.env) } })
  const over = endOnInterruption(child)
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-8192)
  })
  let error: unknown
  child.once('error', (e) => (error = e))
  const ended = new Promise<void>((resolve, reject) => {
    child.once('close', (exitCode, by) => {
      const settle = (): void => {
        const failure = failureOf(command, { exitCode, by, stderr, error })
        if (failure) reject(failure)
        else resolve()
      }
      over().then(settle, reject)
    })
  })
  ended.catch(() => {}) // whoever streams awaits it later; until then it must not end the process
  return { child, ended }
}
