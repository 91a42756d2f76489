// A copy of a sealed set somewhere else: the archive first, its seal last, each compared there before the next step.
// So whatever has a seal over there is whole. Nothing over there is ever replaced or removed.
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { sentence } from '../errors.ts'
import { writeWhole } from '../files.ts'
import { clipped } from '../http.ts'
import { CommandFailed, exec, line, quote, type Command } from '../shell.ts'
import { size } from './bytes.ts'
import { progress, type Report } from './progress.ts'
import { checkSeal, readSeal, SEAL } from './seal.ts'

/** Where copies go: what BACKUP_COPY_TO says, taken apart. */
export interface CopyTarget {
  readonly by: 'rsync' | 'rclone'
  /** As it was written. */
  readonly text: string
  /** `user@host`, `host`, or an alias of ~/.ssh/config; undefined for a folder of this machine, and for rclone. */
  readonly host: string | undefined
  /** The folder, without a last slash; for rclone with its remote. */
  readonly folder: string
}

const USER_HOST = /^(?:[A-Za-z0-9_][\w.+-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.%\w]+\])$/
const REMOTE = /^[A-Za-z0-9_][\w .+@-]*:/

/**
 * Takes `rsync:/folder`, `rsync:user@host:/folder`, `rclone:remote:path` or `rclone:/folder` apart.
 * @throws what is wrong with it, as words that follow its key; a password in it is not repeated.
 */
export function copyTarget(text: string): CopyTarget {
  const [, by, where = ''] = /^(rsync|rclone):(.*)$/s.exec(text) ?? []
  if (by !== 'rsync' && by !== 'rclone')
    throw new Error('must be like rsync:user@host:/folder or rclone:remote:folder')
  if (/\p{Cc}/u.test(where)) throw new Error('holds a control character')
  if (/^[^/]*:[^/]*@|:\/\/[^/]*:[^/]*@/.test(where))
    throw new Error(
      'holds a password: rsync uses an ssh key, rclone the credentials of its own configuration',
    )
  if (by === 'rclone') {
    if (!where.startsWith('/') && !REMOTE.test(where))
      throw new Error('must be like rclone:remote:folder, with a remote that `rclone listremotes` shows')
    return { by, text, host: undefined, folder: withoutLastSlash(where) }
  }
  if (where.startsWith('/')) return { by, text, host: undefined, folder: withoutLastSlash(where) }
  if (/^rsync:\/\/|^\/\/|::/.test(where) && !where.includes('['))
    throw new Error('must go over ssh, like rsync:user@host:/folder: rsync’s own protocol encrypts nothing')
  const [, host = '', path = ''] = /^((?:[^:[\]]*@)?\[[^\]]*\]|[^:]*):(.*)$/s.exec(where) ?? []
  if (!USER_HOST.test(host)) throw new Error('must be like rsync:user@host:/folder or rsync:/folder')
  if (path === '') throw new Error('names no folder: it must be like rsync:user@host:/folder')
  if (path.startsWith('~'))
    throw new Error('needs no ~: rsync:user@host:folder is below the home folder there')
  // A name that begins with a hyphen would be an option to the rsync over there.
  return { by, text, host, folder: withoutLastSlash(path.startsWith('/') ? path : `./${path}`) }
}

/** What is wrong with a value of BACKUP_COPY_TO, as words that follow its key; undefined when it can be used. */
export function wrongTarget(value: string): string | undefined {
  try {
    copyTarget(value)
    return undefined
  } catch (error) {
    return sentence(error)
  }
}

const withoutLastSlash = (path: string): string => path.replace(/(?<=[^/:])\/+$/, '')

/** How a copy was compared: by hashes that the other side computed, or, where it has none, by its size alone. */
export type Verified = 'hash' | 'size'

/**
 * Copies a sealed set, archive and seal, and compares the copy over there with what is here. What is there already
 * is compared only; with rsync an interrupted copy goes on where it stopped.
 * @throws a sentence that says why, and what to type; a set that is not what was sealed is not copied at all.
 */
export async function copySet(
  path: string,
  target: CopyTarget,
  { report }: { report: Report },
): Promise<{ verified: Verified }> {
  const set = resolve(path)
  if (target.folder.startsWith('/') && target.host === undefined && isFolderOf(target.folder, set))
    throw new Error(`${target.text} is the folder of the sets itself: a copy there would be none.`)
  await checkSeal(set) // a damaged set must not be spread
  try {
    return { verified: await (target.by === 'rsync' ? byRsync : byRclone)(set, target, report) }
  } catch (error) {
    throw error instanceof CommandFailed ? explained(error, set, target) : error
  }
}

function isFolderOf(folder: string, set: string): boolean {
  return existsSync(folder) && realpathSync(folder) === realpathSync(dirname(set))
}

const different = (set: string, { text }: CopyTarget): Error =>
  new Error(
    `${text} holds another ${basename(set)}, or a damaged copy of it. Nothing there was replaced. Look at both: ` +
      'the one there goes by hand, then the copy can be made again.',
  )

// ---- rsync

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
  // No shell over there may see the folder. (A key that is restricted to rrsync does not know this option.)
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
  stderr.split('\n').some((l) => !/^\s*$|^rsync error: |write error: Broken pipe|unexpectedly closed/.test(l))

async function byRsync(set: string, target: CopyTarget, report: Report): Promise<Verified> {
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
      if (!isMissingFolder(error) || copiedBefore(set, target)) throw error
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

const MISSING = /change_dir#\d.*No such file or directory/

const isMissingFolder = (error: unknown): boolean =>
  error instanceof CommandFailed && MISSING.test(error.stderr)

/** A folder that held copies and is gone is a disk that is not mounted: making it would fill another disk. */
function copiedBefore(set: string, { text }: CopyTarget): boolean {
  const notes = readdirSync(dirname(set)).filter((n) => n.endsWith(NOTE))
  return notes.map((n) => parsed(join(dirname(set), n))).some((note) => note?.ok && note.to === text)
}

// ---- rclone

const NOT_THERE = [3, 4] // exit codes: no such folder, no such file

/** `silence`: for how long the other side may say nothing. A small question finds out early that nobody is there. */
function rclone(silence: '20s' | '5m' | '1h', ...words: string[]): Command {
  const patience = ['--contimeout=10s', `--timeout=${silence}`, '--retries=1', '--low-level-retries=2']
  return { words: ['rclone', '--ask-password=false', ...patience, ...words] }
}

async function byRclone(set: string, target: CopyTarget, report: Report): Promise<Verified> {
  const sealed = await sealThere(set, target)
  if (sealed !== '' && sealed !== readFileSync(set + SEAL, 'utf8')) throw different(set, target)
  let verified: Verified = 'size'
  for (const file of [set + SEAL, set].toReversed()) {
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

/** Compares one file with its copy; the other side may have to read it all. `rclone check` says which hash it used, or that it had none on both sides. */
async function compared(set: string, file: string, target: CopyTarget): Promise<Verified> {
  const command = rclone('1h', 'check', '--one-way', '--verbose', '--combined=-', '--', file, target.folder)
  const { stdout, stderr, exitCode } = await exec(command, { anyCode: true })
  if (/^\* /m.test(stdout)) throw different(set, target)
  if (exitCode !== 0 || !/^= /m.test(stdout))
    throw new CommandFailed(command, exitCode, stderr, `exit code ${exitCode}`)
  const hashed = /Using \S+ for hash comparisons/.test(stderr) && !/hashes could not be checked/.test(stderr)
  return hashed ? 'hash' : 'size'
}

// ---- what went wrong

/** What a person reads instead of the program's words, which follow it. */
function cause({ message, stderr, command }: CommandFailed, { host, folder, by }: CopyTarget): string {
  const said = (pattern: RegExp): boolean => pattern.test(stderr)
  const name = quote(host ?? '')
  const there = host ?? (by === 'rclone' ? folder : 'this machine')
  const place = by === 'rclone' ? folder : `${folder} on ${there}`
  if (message.startsWith('there is no program'))
    return `${command.words[0]} is not installed here. Type: apt-get install ${by}`
  if (said(/Failed to exec ssh/)) return 'ssh is not installed here. Type: apt-get install openssh-client'
  if (said(/HOST IDENTIFICATION HAS CHANGED/))
    return `${there} shows another host key than the one that is known here. Find out why before anything else.`
  if (said(/host key is known for|Host key verification failed/))
    return `the host key of ${there} is not known here. Compare its fingerprint once by hand, as the same user: ssh ${name}`
  if (said(/Permission denied \([a-z,-]+\)|Too many authentication failures/))
    return (
      `${there} does not let this user in by its ssh key. Type: ssh-copy-id ${name}\n` +
      `(The key must need no passphrase. To see what it says: ssh -o BatchMode=yes ${name} true)`
    )
  if (said(/rsync: (?:command )?not found|rsync: No such file|remote command not found/))
    return `there is no rsync on ${there}. Install the package rsync there.`
  if (said(UNREACHABLE))
    return `${there} does not answer. Try: ${by === 'rclone' ? `rclone lsf ${quote(folder)}` : `ssh ${name}`}`
  if (said(/No space left on device|Disk quota exceeded/i))
    return `${place} is full. What is there of the copy stays; it is gone on with when there is room.`
  if (said(MISSING))
    return `the folder ${place} is not there any more, though sets were copied to it. Is its disk mounted?`
  if (said(/mkdir .*No such file or directory/)) {
    const make = host === undefined ? quote(folder) : quote(quote(folder)) // a shell over there reads it again
    return (
      `there is no folder ${dirname(folder)} on ${there}. Make it by hand: ` +
      `${host === undefined ? '' : `ssh ${name} `}mkdir -p -m 700 ${make}`
    )
  }
  if (said(/Permission denied \(13\)|Read-only file system|Operation not permitted|Not a directory/i))
    return `${place} cannot be written. It must be a folder of the user that writes there.`
  if (said(/didn't find section in config file/))
    return 'rclone knows no such remote. As the same user: rclone listremotes, or rclone config to make it.'
  return `${by} failed: ${message.split('\n')[0]}.`
}

const UNREACHABLE =
  /Could not resolve|no such host|Connection (?:refused|timed out|closed by|reset)|No route to host|unreachable|Timeout, server|banner exchange|timeout in data send\/receive|i\/o timeout|timeout awaiting/i

const SAID = 6 // lines of the program's own words

function explained(error: CommandFailed, set: string, target: CopyTarget): Error {
  const words = error.stderr.trim().split('\n').slice(-SAID).map(clipped)
  const lines = [
    `${basename(set)} was not copied to ${target.text}: ${cause(error, target)}`,
    'The set itself is whole here.',
    `$ ${line(error.command)}`,
    ...words.filter(Boolean),
  ]
  return new Error(lines.join('\n'), { cause: error })
}

// ---- what became of it

const NOTE = '.tar.gz.copy'
const noteOf = (set: string): string => `${set}.copy`

/** How the last try to copy a set went. */
export interface Copy {
  /** The target, as BACKUP_COPY_TO named it then. */
  readonly to: string
  /** ISO 8601 */
  readonly at: string
  readonly ok: boolean
  readonly verified?: Verified
  /** Of a try that failed: one line. */
  readonly why?: string
  /** What the set's seal named then. */
  readonly sha256?: string
}

/** Notes durably beside a sealed set how its copying went. */
export function writeCopy(set: string, how: Pick<Copy, 'to' | 'ok' | 'verified' | 'why'>): void {
  const note: Copy = { at: new Date().toISOString(), ...how, sha256: readSeal(set) ?? '' }
  writeWhole(noteOf(set), `${JSON.stringify(note)}\n`)
}

/**
 * How copying this set went last; undefined when it was never tried, or the note is about another archive that had
 * this name. It says something only about the target that it names.
 */
export function readCopy(set: string): Copy | undefined {
  const note = parsed(noteOf(set))
  return note && note.sha256 === readSeal(set) ? note : undefined
}

function parsed(file: string): Copy | undefined {
  if (!existsSync(file)) return undefined
  try {
    const note = JSON.parse(readFileSync(file, 'utf8')) as Partial<Copy> | null
    return typeof note?.to === 'string' && typeof note.ok === 'boolean' ? (note as Copy) : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined // not written by us: as if it were not there
    throw error
  }
}
