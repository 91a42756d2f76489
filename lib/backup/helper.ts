// Helper containers: read a stack's volumes with tar and du. They use the database's own image, which is always on
// the server, have no network, and write nothing to the volumes.
//
// What tar prints comes through a named pipe, not through `docker run`: Docker does not notice that whoever read its
// output was killed, and from then on neither inspects nor removes the container whose output is full. A pipe without
// a reader ends tar, and with it the container.
import { constants, existsSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { removeContainers } from '../docker.ts'
import { refusal } from '../errors.ts'
import { makeFolder } from '../files.ts'
import { CommandFailed, exec, stream, type Command } from '../shell.ts'
import { service, type Stack } from '../stack.ts'
import { field, throwAway } from '../throwaway.ts'
import type { Bytes } from './bytes.ts'
import type { Remarks } from './remarks.ts'

const LABEL = 'runbook=1'
const PURPOSE = 'runbook.for=backup'
export const CPU_SHARES = 64 // of a container's usual 1024: what serves users goes first
const PIPES = 'backup-pipe-' // folders in STATE_DIR, one for each helper with a pipe

// Users' attributes, and what a program may do. All others (security labels, for one) are the machine's own.
const ATTRIBUTES = ['--acls', '--xattrs', '--xattrs-include=user.*', '--xattrs-include=security.capability']

/** What restore keeps beside a volume's own entries, at its top. It is not the volume's data. */
export const HIDDEN = '.runbook-*'

/** A `docker run` of the database's image, with more options as given. */
function helper(
  stack: Stack,
  options: readonly string[],
  entrypoint: string,
  ...args: readonly string[]
): Command {
  const { container } = service(stack, stack.about.database.service)
  if (!container) throw refusal('The database has no container: which image may a helper use?')
  const limits = [
    '--log-driver=none',
    '--userns=host', // where user namespaces are remapped, the pipe is still ours
    '--cap-drop=ALL',
    '--cap-add=DAC_OVERRIDE',
    '--security-opt=no-new-privileges',
    `--cpu-shares=${CPU_SHARES}`,
    '--user=0:0',
    '--env=LC_ALL=C',
    `--label=runbook.stack=${stack.config.STACK_ID}`,
  ]
  const image = { id: container.Image, volumes: container.Config.Volumes }
  return throwAway(image, [...limits, ...options], entrypoint, ...args)
}

const volume = (name: string, i: number): string =>
  `--mount=type=volume,src=${name},dst=/v/${i},readonly,volume-nocopy`

/**
 * Ends and removes what backups that are not alive any more left. The caller holds the stack's lock. (Those that only
 * measure end by themselves, and may belong to somebody who only looks.)
 */
export async function removeHelpers(stack: Stack): Promise<void> {
  removePipes(stack.config.STATE_DIR)
  await removeContainers(LABEL, PURPOSE, `runbook.stack=${stack.config.STACK_ID}`)
}

/**
 * About how many bytes of files each volume holds, by name; holes do not count.
 * @throws CommandFailed when one cannot be read.
 */
export async function volumeSizes(stack: Stack, names: readonly string[]): Promise<Map<string, number>> {
  if (names.length === 0) return new Map()
  // A file has as many bytes as it says, or, with holes, as it has on the disk: here for all of a volume at once.
  const measure = `${COUNTING}; counting -s --block-size=1 --apparent-size "$@" && counting -s --block-size=1 "$@"`
  const paths = names.map((_, i) => `/v/${i}`)
  const du = helper(stack, names.map(volume), 'sh', '-c', measure, 'sh', `--exclude=${HIDDEN}`, ...paths)
  const { stdout } = await exec(du)
  const sizes = stdout
    .trim()
    .split('\n')
    .map((l) => Number(l.split('\t')[0]))
  const least = (i: number): number => Math.min(sizes[i] ?? 0, sizes[names.length + i] ?? 0)
  return new Map(names.map((name, i) => [name, least(i)]))
}

/** Those of these volumes that hold anything but folders. */
export async function volumesWithFiles(stack: Stack, names: readonly string[]): Promise<Set<string>> {
  if (names.length === 0) return new Set()
  const look =
    'for v in "$@"; do f=$(find "$v" -ignore_readdir_race ! -type d -print -quit) || exit 1; [ -z "$f" ] || echo "$v"; done'
  const paths = names.map((_, i) => `/v/${i}`)
  const full = (await exec(helper(stack, names.map(volume), 'sh', '-c', look, 'sh', ...paths))).stdout.split(
    '\n',
  )
  return new Set(names.filter((_, i) => full.includes(`/v/${i}`)))
}

/**
 * `counting …` is `du …`, but that what vanishes while it counts is no error: the volumes are in use. (GNU du quotes a
 * name with a line break, so that each remark is one line.)
 */
export const COUNTING = `counting() {
  exec 3>&1
  said=$(du "$@" 2>&1 1>&3) && return 0
  code=$?
  if printf '%s\\n' "$said" | grep -qv 'No such file or directory$'; then printf '%s\\n' "$said" >&2; return $code; fi
}`

/** Files and folders in each of these volumes, without what restore keeps beside them. Walks them. */
export async function volumeEntries(stack: Stack, names: readonly string[]): Promise<Map<string, number>> {
  if (names.length === 0) return new Map()
  const paths = names.map((_, i) => `/v/${i}`)
  const count = `${COUNTING}; counting -s --inodes "$@"`
  const du = helper(stack, names.map(volume), 'sh', '-c', count, 'sh', `--exclude=${HIDDEN}`, ...paths)
  const lines = (await exec(du)).stdout.trim().split('\n')
  return new Map(names.map((name, i) => [name, Number(lines[i]?.split('\t')[0]) - 1])) // without its own folder
}

/** How a volume is read, so that all that an entry is goes into the stream. */
export const CREATE = ['--format=posix', '--numeric-owner', ...ATTRIBUTES] as const

/** How a set's volumes are extracted, so that each entry is again what it was. For GNU tar; as root. */
export const EXTRACT = [
  '--extract',
  '--numeric-owner',
  '--same-owner',
  '--preserve-permissions',
  ...ATTRIBUTES,
  // A newer copy at the end would change its folder's time again.
  '--delay-directory-restore',
] as const

/** Of a volume that is read once more: only these, byte strings as in the stream, without what is in folders. */
export interface Wish {
  readonly names: readonly string[]
  /** Skip holes, where the file system tells them; otherwise they are read as zeros. */
  readonly sparse: boolean
}

/**
 * A volume as a tar stream: numeric owners, times to the nanosecond, links, access lists and attributes, holes, in
 * the order of names, so that the same content gives the same stream. What tar remarked is complete when it ends.
 * @throws CommandFailed when tar fails in any other way than by files that changed or vanished.
 */
export async function* volumeTar(stack: Stack, name: string, remarks: Remarks, wish?: Wish): Bytes {
  yield* piped(stack.config.STATE_DIR, remarks, (folder) => tarCommand(stack, name, folder, wish))
}

/**
 * What a command writes into the pipe `/pipe/tar`, where `/pipe` is the folder that it is given. Its failure is thrown
 * before the stream ends, unless what tar remarked explains it.
 */
export async function* piped(
  stateDir: string,
  remarks: Remarks,
  command: (folder: string) => Command,
): Bytes {
  makeFolder(stateDir)
  const folder = mkdtempSync(join(stateDir, PIPES)) // 0700
  const pipe = join(folder, 'tar')
  try {
    await exec({ words: ['mkfifo', '-m', '600', pipe] })
    yield* throughPipe(pipe, command(folder), remarks)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The option that gives a container the folder with the pipe. */
export const pipeMount = (folder: string): string => `--mount=type=bind,${field(`src=${folder}`)},dst=/pipe`

/** Removes the folders of pipes that runs which are not alive any more left. The caller holds the stack's lock. */
export function removePipes(stateDir: string): void {
  const left = existsSync(stateDir) ? readdirSync(stateDir).filter((n) => n.startsWith(PIPES)) : []
  for (const name of left) rmSync(join(stateDir, name), { recursive: true })
}

// Holes are asked for only where the answer is true: where a file system says "no blocks" of a file whose bytes are
// elsewhere (sshfs, some of NFS, zfs once), it would be saved as zeros. The stack goes first at the disk, too.
const TAR = `
case "$(stat -f -c %T /v/0)" in ext2/ext3|xfs|btrfs|tmpfs) holes=$0 ;; esac
command -v ionice >/dev/null && last='ionice -c 2 -n 7'
exec $last tar $holes "$@"`

/** The program and words that write a folder of the mount `/v/0` into the pipe. */
export const writeTar = (
  directory: string,
  { sparse }: Pick<Wish, 'sparse'>,
): readonly [string, ...string[]] => [
  'sh',
  '-c',
  TAR,
  sparse ? '--sparse' : '', // its $0
  '--create',
  '--file=/pipe/tar',
  `--directory=${directory}`,
  ...CREATE,
  '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime',
  '--quoting-style=c',
  '--sort=name',
  '--anchored',
  `--exclude=./${HIDDEN}`,
]

function tarCommand(stack: Stack, name: string, folder: string, wish?: Wish): Command {
  if (wish) writeFileSync(join(folder, 'names'), wish.names.map((n) => `${n}\0`).join(''), 'latin1')
  const names = ['--no-recursion', '--null', '--verbatim-files-from', '--files-from=/pipe/names']
  return helper(
    stack,
    [`--label=${PURPOSE}`, volume(name, 0), pipeMount(folder)],
    ...writeTar('/v/0', { sparse: wish?.sparse ?? true }),
    ...(wish ? names : ['.']),
  )
}

/** A failure of the command is thrown before the stream ends: no reader takes a broken stream for a finished one. */
async function* throughPipe(pipe: string, command: Command, remarks: Remarks): Bytes {
  // Without a writer yet, such a socket waits; it ends when the last writer has closed the pipe.
  const fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK)
  const reading = new Socket({ fd, readable: true, writable: false })
  const { child, ended } = stream(command, ['ignore', 'ignore', 'pipe'])
  if (child.stderr) createInterface({ input: child.stderr }).on('line', (l) => remarks.hear(l))
  const good = ended.catch((error: unknown) => {
    if (!(error instanceof CommandFailed) || !remarks.explain(error.exitCode)) throw error
  })
  good.catch((error: Error) => reading.destroy(error)) // it may have failed before it opened the pipe
  try {
    yield* reading as Bytes
    await good
  } finally {
    reading.destroy()
    await Promise.allSettled([good]) // whoever stops early waits until the helper is gone
  }
}
