// Helper containers: read a stack's volumes with tar and du. They use the database's own image, which is always on
// the server, have no network, and write nothing to the volumes.
//
// What tar prints comes through a named pipe, not through `docker run`: Docker does not notice that whoever read its
// output was killed, and from then on neither inspects nor removes the container whose output is full. A pipe without
// a reader ends tar, and with it the container.
import { constants, existsSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { containerIds, docker } from '../docker.ts'
import { refusal } from '../errors.ts'
import { makeFolder } from '../files.ts'
import { CommandFailed, exec, stream, type Command } from '../shell.ts'
import { service, type Stack } from '../stack.ts'
import type { Bytes } from './bytes.ts'

const LABEL = 'runbook=1'
const PURPOSE = 'runbook.for=backup'
const PIPES = 'backup-pipe-' // folders in STATE_DIR, one for each helper with a pipe

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
  // A VOLUME that the image declares and nobody mounts would leave an anonymous volume behind.
  const declared = Object.keys(container.Config.Volumes ?? {})
  return {
    words: [
      'docker',
      'run',
      '--rm',
      '--pull=never',
      '--network=none',
      '--log-driver=none',
      '--userns=host', // where user namespaces are remapped, the pipe is still ours
      '--security-opt=label=disable',
      '--read-only',
      '--cap-drop=ALL',
      '--cap-add=DAC_OVERRIDE',
      '--security-opt=no-new-privileges',
      '--user=0:0',
      '--env=LC_ALL=C',
      `--label=${LABEL}`,
      `--label=runbook.stack=${stack.config.STACK_ID}`,
      ...declared.map((path) => `--tmpfs=${path}`),
      ...options,
      `--entrypoint=${entrypoint}`,
      container.Image,
      ...args,
    ],
  }
}

const volume = (name: string, i: number): string =>
  `--mount=type=volume,src=${name},dst=/v/${i},readonly,volume-nocopy`

/** A field of `--mount`, which is read as CSV. */
const field = (text: string): string => (/[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

/**
 * Ends and removes what backups that are not alive any more left. The caller holds the stack's lock. (Those that only
 * measure end by themselves, and may belong to somebody who only looks.)
 */
export async function removeHelpers(stack: Stack): Promise<void> {
  const { STATE_DIR } = stack.config
  const pipes = existsSync(STATE_DIR) ? readdirSync(STATE_DIR).filter((n) => n.startsWith(PIPES)) : []
  for (const name of pipes) rmSync(join(STATE_DIR, name), { recursive: true })
  const ids = await containerIds(LABEL, PURPOSE, `runbook.stack=${stack.config.STACK_ID}`)
  for (const id of ids) {
    try {
      await docker('rm', '-f', id)
    } catch (error) {
      // Its own --rm may have been faster.
      if (!(error instanceof CommandFailed) || !/no such container|already in progress/i.test(error.stderr))
        throw error
    }
  }
}

/** The bytes of the files in each volume, by name. @throws CommandFailed when one cannot be read. */
export async function volumeSizes(stack: Stack, names: readonly string[]): Promise<Map<string, number>> {
  if (names.length === 0) return new Map()
  const paths = names.map((_, i) => `/v/${i}`)
  const { stdout } = await exec(
    helper(
      stack,
      names.map(volume),
      'du',
      '-s',
      '--apparent-size',
      '--block-size=1',
      `--exclude=${HIDDEN}`,
      ...paths,
    ),
  )
  const sizes = stdout
    .trim()
    .split('\n')
    .map((l) => Number(l.split('\t')[0]))
  return new Map(names.map((name, i) => [name, sizes[i] ?? 0]))
}

/**
 * A volume as a tar stream: numeric owners, times to the nanosecond, links, access lists and attributes, in the
 * order of names, so that the same content gives the same stream.
 * @param changed receives the paths of files that changed while they were read, as tar prints them.
 * @throws CommandFailed when tar fails in any other way.
 */
export async function* volumeTar(stack: Stack, name: string, changed: (path: string) => void): Bytes {
  const { STATE_DIR } = stack.config
  makeFolder(STATE_DIR)
  const folder = mkdtempSync(join(STATE_DIR, PIPES)) // 0700
  const pipe = join(folder, 'tar')
  try {
    await exec({ words: ['mkfifo', '-m', '600', pipe] })
    yield* throughPipe(pipe, tarCommand(stack, name, folder), (failed, said) => {
      const paths = failed.exitCode === 1 ? changedPaths(said) : undefined
      paths?.forEach(changed)
      return paths !== undefined
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const tarCommand = (stack: Stack, name: string, folder: string): Command =>
  helper(
    stack,
    [`--label=${PURPOSE}`, volume(name, 0), `--mount=type=bind,${field(`src=${folder}`)},dst=/pipe`],
    'tar',
    '--create',
    '--file=/pipe/tar',
    '--directory=/v/0',
    '--format=posix',
    '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime',
    '--numeric-owner',
    '--sort=name',
    '--acls',
    '--xattrs',
    '--anchored',
    `--exclude=./${HIDDEN}`,
    '.',
  )

/**
 * What a command writes into a pipe. Its failure is thrown before the stream ends, so that no reader takes a broken
 * stream for a finished one; `forgive` may accept it, given all that the command said.
 */
async function* throughPipe(
  pipe: string,
  command: Command,
  forgive: (failed: CommandFailed, said: string) => boolean,
): Bytes {
  // Without a writer yet, such a socket waits; it ends when the last writer has closed the pipe.
  const fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK)
  const reading = new Socket({ fd, readable: true, writable: false })
  const { child, ended } = stream(command, ['ignore', 'ignore', 'pipe'])
  let said = ''
  child.stderr?.on('data', (text: string) => (said += text))
  const good = ended.catch((error: unknown) => {
    if (!(error instanceof CommandFailed) || !forgive(error, said)) throw error
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

/**
 * The files that changed, by what tar said with exit code 1 ("some files differ"); undefined when it said anything
 * that is not understood.
 */
export function changedPaths(stderr: string): string[] | undefined {
  const paths: string[] = []
  for (const said of stderr.split('\n')) {
    if (said === '') continue
    const [, path, removed] =
      /^tar: (.+): (?:file changed as we read it|(File removed before we read it)|File shrank by \d+ bytes; padding with zeros)$/.exec(
        said,
      ) ?? []
    if (path === undefined) return undefined
    paths.push(removed ? `${path} (removed)` : path)
  }
  return paths
}
