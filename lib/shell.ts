// Commands as data: built here from words, shown as one line that can be pasted, and run without a shell ever
// reading a value.
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { AsyncLocalStorage } from 'node:async_hooks'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { $ } from 'zx'

/** A program and its words. `env` replaces the whole environment when given; `cwd` is the folder it runs in. */
export interface Command {
  readonly words: readonly [string, ...string[]]
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
}

type Value = string | number | readonly (string | number)[]

/**
 * Builds a command from a template: literal text is split at spaces, each `${value}` stays one word whatever it
 * holds, and an array that stands alone becomes one word per element. No shell syntax: `|` and `>` are words.
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
    literal.split(/(\s+)/).forEach((piece) => {
      if (piece === '') return
      if (/^\s+$/.test(piece)) open = false
      else append(piece)
    })
    const value = values[i]
    if (value === undefined) return
    if (typeof value === 'string' || typeof value === 'number') append(String(value))
    else words.push(...value.map(String))
  })
  const [file, ...args] = words
  if (!file) throw new TypeError('sh`` needs at least a program')
  return { words: [file, ...args] }
}

/** One POSIX word: bare when harmless, otherwise in single quotes. Right for sh, dash, bash and zsh. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** The command as one line that can be pasted into a shell. */
export function line(command: Command): string {
  const words = command.words.map(quote)
  if (command.env === undefined) return words.join(' ')
  return ['env -i', ...Object.entries(command.env).map(([k, v]) => `${k}=${quote(v)}`), ...words].join(' ')
}

/** A command that ended badly. The message holds the command, the exit code and the end of its error output. */
export class CommandFailed extends Error {
  readonly command: Command
  readonly exitCode: number | null
  readonly stderr: string
  constructor(command: Command, exitCode: number | null, stderr: string, why: string) {
    const tail = stderr.trim().split('\n').slice(-12).join('\n')
    super(`${line(command)}\n${why}${tail ? `\n${tail}` : ''}`)
    this.command = command
    this.exitCode = exitCode
    this.stderr = stderr
  }
}

/**
 * The signal that ends the commands of the step that is running. Undo runs outside of it, so that a second Ctrl-C
 * cannot cut the undo short.
 */
export const interruption = new AsyncLocalStorage<AbortSignal>()

const GRACE = 10_000 // ms between TERM and KILL: time for docker to tidy up after itself

/** Ends the whole process group of a child that was started detached: TERM, then KILL when it does not go. */
function endGroup(child: ChildProcess): void {
  const send = (signal: NodeJS.Signals): void => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    process.kill(-child.pid, signal)
  }
  send('SIGTERM')
  setTimeout(() => send('SIGKILL'), GRACE).unref()
}

function endOnInterruption(child: ChildProcess): void {
  const signal = interruption.getStore()
  if (!signal) return
  const end = (): void => endGroup(child)
  if (signal.aborted) end()
  else signal.addEventListener('abort', end, { once: true })
  child.once('close', () => signal.removeEventListener('abort', end))
}

export interface Output {
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number
}

/**
 * Runs a command to its end and returns what it printed (all of it in memory: for small outputs only).
 * @param onLine receives each line of its output as it comes.
 * @throws CommandFailed when it ends with anything but 0, unless `anyCode` is set; the reason of the interruption
 *   when the step was interrupted.
 */
export async function exec(
  command: Command,
  { onLine, anyCode = false }: { onLine?: (line: string) => void; anyCode?: boolean } = {},
): Promise<Output> {
  const signal = interruption.getStore()
  signal?.throwIfAborted()
  const run = $({
    quiet: true,
    nothrow: true,
    detached: true, // its own process group: a Ctrl-C on the terminal reaches only us, and we end the whole group
    shell: '/bin/bash',
    prefix: '',
    postfix: '',
    env: { ...(command.env ?? process.env) },
    ...(command.input === undefined ? { stdio: ['ignore', 'pipe', 'pipe'] } : { input: command.input }),
  })`exec ${[...command.words]}`
  if (run.child) {
    endOnInterruption(run.child)
    if (onLine) for (const from of [run.child.stdout, run.child.stderr]) if (from) eachLine(from, onLine)
  }
  const { stdout, stderr, exitCode, signal: ended } = await run
  signal?.throwIfAborted()
  if (exitCode === 0 || (anyCode && exitCode !== null)) return { stdout, stderr, exitCode }
  throw new CommandFailed(command, exitCode, stderr, ended ? `ended by ${ended}` : `exit code ${exitCode}`)
}

function eachLine(from: Readable, onLine: (line: string) => void): void {
  createInterface({ input: from }).on('line', onLine)
}

/**
 * Starts a command for streaming: nothing is collected but the end of its error output. `ended` settles when the
 * process is gone and rejects with CommandFailed when it failed; await it as well as the streams.
 */
export function stream(
  command: Command,
  stdio: StdioOptions = ['ignore', 'pipe', 'pipe'],
): { child: ChildProcess; ended: Promise<void> } {
  const [file, ...args] = command.words
  const child = spawn(file, args, { stdio, detached: true, env: { ...(command.env ?? process.env) } })
  endOnInterruption(child)
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-8192)
  })
  const signal = interruption.getStore()
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', (error) =>
      reject(new CommandFailed(command, null, error.message, 'could not be started')),
    )
    child.once('close', (code, by) => {
      if (signal?.aborted) reject(signal.reason as Error)
      else if (code === 0) resolve()
      else reject(new CommandFailed(command, code, stderr, by ? `ended by ${by}` : `exit code ${code}`))
    })
  })
  ended.catch(() => {}) // whoever streams awaits it later; until then it must not end the process
  return { child, ended }
}
