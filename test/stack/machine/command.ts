// Running other programs, with arguments as arrays, and finding them.
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

const TAIL = 2_000 // characters of a failed command's output worth showing

export interface RunOptions {
  cwd?: string
  /** the whole environment of the command; `systemEnv` when left out */
  env?: NodeJS.ProcessEnv
  /** ms after which the command is killed; no limit when left out */
  timeout?: number
}

export interface Outcome {
  ok: boolean
  stdout: string
  /** why it failed, as a sentence with the end of its output; empty when it did not */
  failure: string
}

/** Runs a command to its end and tells how it went. Never throws: a program that does not exist is a failure too. */
export function attempt(file: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((done) => {
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: options.cwd,
      env: options.env ?? systemEnv(),
      timeout: options.timeout,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      output = (output + text).slice(-TAIL)
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-TAIL)
    })
    const fail = (how: string) =>
      done({
        ok: false,
        stdout,
        failure: `${[file, ...args].map(quoted).join(' ')}: ${how}\n${output}`.trimEnd(),
      })
    child.on('error', (error) => fail(error.message))
    child.on('close', (code, signal) => {
      if (code === 0) done({ ok: true, stdout, failure: '' })
      else fail(code === null ? `ended by ${signal}` : `exit code ${code}`)
    })
  })
}

/** Runs a command and gives its standard output. Throws the sentence of `attempt` when it fails. */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const outcome = await attempt(file, args, options)
  if (!outcome.ok) throw new Error(outcome.failure)
  return outcome.stdout
}

/** Our environment, its PATH with the folders of the system's commands that an operator's PATH may lack. */
export function systemEnv(): NodeJS.ProcessEnv {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  return { ...process.env, PATH: [...new Set(folders)].join(delimiter) }
}

/** A value as one word for any POSIX shell. */
export function quoted(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", String.raw`'\''`)}'`
}

/** The full path of a command on PATH, or undefined. */
export function which(command: string, env = systemEnv()): string | undefined {
  return (env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, command))
    .find(isExecutable)
}

/** Whether this file exists and may be executed. */
export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
