// A copy by rclone, to a remote of its own configuration. It cannot go on with a broken one: it begins anew.
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { clipped } from '../http.ts'
import { CommandFailed, exec, type Command } from '../shell.ts'
import type { CopyTarget, Verified } from './copy.ts'
import { different } from './copy-failure.ts'
import type { Report } from './progress.ts'
import { SEAL } from './seal.ts'

const NOT_THERE = [3, 4] // exit codes: no such folder, no such file

/** `silence`: for how long the other side may say nothing. A small question finds out early that nobody is there. */
function rclone(silence: '20s' | '5m' | '1h', ...words: string[]): Command {
  const patience = ['--contimeout=10s', `--timeout=${silence}`, '--retries=1', '--low-level-retries=2']
  return { words: ['rclone', '--ask-password=false', ...patience, ...words] }
}

/** Copies a set by rclone and compares it over there. @throws CommandFailed, or that there is another one */
export async function byRclone(
  set: string,
  target: CopyTarget,
  { report }: { report: Report },
): Promise<Verified> {
  const sealed = await sealThere(set, target)
  if (sealed !== '' && sealed !== readFileSync(set + SEAL, 'utf8')) throw different(set, target)
  let verified: Verified = 'size'
  for (const file of [set, set + SEAL]) {
    const name = basename(file)
    const onLine = (text: string): void => {
      const [, how] = /NOTICE:\s+(.*\d+%.*)$/.exec(text) ?? []
      if (how !== undefined) report(`copying ${name}: ${clipped(how)}`)
    }
    const options = ['--stats=5s', '--stats-one-line', '--stats-log-level=NOTICE']
    if (sealed !== '') options.push('--ignore-existing')
    await exec(rclone('5m', 'copyto', ...options, '--', file, inFolder(target, name)), { onLine })
    const how = await compared(set, file, target)
    report(`${name}: is there, compared by ${how}`)
    if (file === set) verified = how
  }
  return verified
}

/** An object of the folder. (`remote:` alone is a folder, and needs no slash.) */
const inFolder = ({ folder }: CopyTarget, name: string): string =>
  `${folder}${/[:/]$/.test(folder) ? '' : '/'}${name}`

/** The seal of that name over there; empty when there is none. An archive without one is unfinished, and written anew. */
async function sealThere(set: string, target: CopyTarget): Promise<string> {
  const command = rclone('20s', 'cat', '--', inFolder(target, basename(set + SEAL)))
  const { stdout, stderr, exitCode } = await exec(command, { anyCode: true })
  if (exitCode === 0) return stdout
  if (NOT_THERE.includes(exitCode)) return ''
  throw new CommandFailed(command, exitCode, stderr, `exit code ${exitCode}`)
}

/**
 * Compares one file with its copy; the other side may have to read it all. `rclone check` says which hash it used, or
 * that there is none that both sides have.
 */
async function compared(set: string, file: string, target: CopyTarget): Promise<Verified> {
  const command = rclone('1h', 'check', '--one-way', '--verbose', '--combined=-', '--', file, target.folder)
  const { stdout, stderr, exitCode } = await exec(command, { anyCode: true })
  if (/^\* /m.test(stdout)) throw different(set, target)
  if (exitCode !== 0 || !/^= /m.test(stdout))
    throw new CommandFailed(command, exitCode, stderr, `exit code ${exitCode}`)
  const hashed = /Using \S+ for hash comparisons/.test(stderr) && !/hashes could not be checked/.test(stderr)
  return hashed ? 'hash' : 'size'
}
