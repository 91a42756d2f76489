// A copy by rsync, over ssh or to a folder of this machine.
import { statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { CommandFailed, exec, quote, type Command } from '../shell.ts'
import { size } from './bytes.ts'
import type { CopyTarget, Verified } from './copy.ts'
import { different, MISSING } from './copy-failure.ts'
import { progress, type Report } from './progress.ts'
import { SEAL } from './seal.ts'

/** s: a disk over there may need a while to write; that a host is gone, ssh finds out in a minute. */
const STALLED = 300

/** No question, no unknown host, no forwarding that is in use elsewhere, no master that stays and keeps our pipes. */
const SSH =
  'ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 ' +
  '-o ServerAliveCountMax=4 -o ClearAllForwardings=yes -o ControlMaster=no'

// What is half copied lies in a folder of its own until it is whole, and what is there under its name stays.
const SEND = ['--times', '--ignore-existing', '--partial-dir=.runbook-partial', '--no-whole-file']
const TOLD = ['--stats', '--info=progress2', '--outbuf=N', `--timeout=${STALLED}`]
// The rsync over there computes the hashes and may be silent for as long as it reads.
const COMPARE = ['--checksum', '--dry-run', '--itemize-changes', '--timeout=0']

function rsync(
  options: readonly string[],
  from: string,
  { host, folder }: CopyTarget,
  last: string,
): Command {
  const to = `${host === undefined ? '' : `${host}:`}${folder}${last}`
  // Before 3.2.4 a shell over there reads the folder. (rrsync, to which a key may be restricted, refuses the option.)
  const guarded = host === undefined || quote(folder) === folder ? [] : ['--protect-args']
  return { words: ['rsync', ...guarded, '--rsh', SSH, '--chmod=F600,D700', ...options, '--', from, to] }
}

/**
 * Runs rsync to its end. Where the far end says why it fails, rsync now and then ends its own ssh before that has
 * passed it on (once in thirty times): then it is asked once more, with the reason inside its own protocol, which the
 * very old ones, that know no other way, do not need.
 */
async function talk(command: Command, onLine?: (text: string) => void): Promise<string> {
  const how = onLine ? { onLine } : {}
  try {
    return (await exec(command, how)).stdout
  } catch (error) {
    if (!(error instanceof CommandFailed) || error.exitCode === null || saysWhy(error.stderr)) throw error
    const [file, ...words] = command.words
    return (await exec({ words: [file, '--stderr=client', ...words] }, how)).stdout
  }
}

const saysWhy = (stderr: string): boolean =>
  stderr
    .split('\n')
    .some((l) => !/^\s*$|^rsync error: (?!received SIG)|write error: Broken pipe|unexpectedly closed/.test(l))

/**
 * Copies a set by rsync and compares it over there. `make`: the folder may be made when it is not there.
 * @throws CommandFailed, or that there is another one
 */
export async function byRsync(
  set: string,
  target: CopyTarget,
  { report, make }: { report: Report; make: boolean },
): Promise<Verified> {
  for (const file of [set, set + SEAL]) {
    const name = basename(file)
    // To `folder/.`: a folder that is not there is an error, and not made.
    const send = rsync([...SEND, ...TOLD], file, target, '/.')
    const count = progress(report, 'copying', statSync(file).size)
    let done = 0
    const onLine = (text: string): void => {
      const [, bytes] = /^\s*([\d,.]+)\s+\d+%/.exec(text) ?? []
      if (bytes === undefined) return
      count(name, number(bytes) - done)
      done = number(bytes)
    }
    const stdout = await talk(send, onLine).catch(async (error: unknown) => {
      if (!make || !isMissingFolder(error)) throw error
      await talk(rsync(['--dirs', '--exclude=*'], `${dirname(set)}/`, target, '/'))
      return talk(send, onLine)
    })
    const sent = number(/^Literal data: ([\d,.]+)/m.exec(stdout)?.[1] ?? '')
    const there = /^Number of regular files transferred: 0$/m.test(stdout)
    report(there ? `${name}: was there already` : `${name}: ${size(sent)} sent`)
    const differences = await talk(rsync(COMPARE, file, target, '/.'))
    if (differences.trim() !== '') throw different(set, target)
  }
  return 'hash'
}

/** A whole number as rsync prints it, its thousands apart. */
const number = (text: string): number => Number(text.replaceAll(/\D/g, ''))

const isMissingFolder = (error: unknown): boolean =>
  error instanceof CommandFailed && MISSING.test(error.stderr)
