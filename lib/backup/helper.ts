// Helper containers: read a stack's volumes with tar and du. They use the database's own image, which is always on
// the server, have no network, and write nothing.
import { containerIds, docker } from '../docker.ts'
import { refusal } from '../errors.ts'
import { CommandFailed, exec, type Command } from '../shell.ts'
import { service, type Stack } from '../stack.ts'
import type { Bytes } from './bytes.ts'
import { output } from './output.ts'

const LABEL = 'runbook=1'
const PURPOSE = 'runbook.for=backup'

/** What restore keeps beside a volume's own entries; see DESIGN 5. It is nobody's data. */
export const HIDDEN = '.runbook-*'

/** A `docker run` of the database's image with volumes, read-only, at /v/0, /v/1 … */
function helper(
  stack: Stack,
  volumes: readonly string[],
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
      '--log-driver=none', // or everything that tar prints would be written to Docker's log as well
      '--read-only',
      '--cap-drop=ALL',
      '--cap-add=DAC_OVERRIDE',
      '--security-opt=no-new-privileges',
      '--user=0:0',
      '--env=LC_ALL=C',
      `--label=${LABEL}`,
      `--label=${PURPOSE}`,
      `--label=runbook.stack=${stack.config.STACK_ID}`,
      ...declared.map((path) => `--tmpfs=${path}`),
      ...volumes.map((name, i) => `--mount=type=volume,src=${name},dst=/v/${i},readonly,volume-nocopy`),
      `--entrypoint=${entrypoint}`,
      container.Image,
      ...args,
    ],
  }
}

/** Ends and removes the helpers of backups that are not alive any more. The caller holds the stack's lock. */
export async function removeHelpers(stack: Stack): Promise<void> {
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
    helper(stack, names, 'du', '-s', '--apparent-size', '--block-size=1', `--exclude=${HIDDEN}`, ...paths),
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
export function volumeTar(stack: Stack, name: string, changed: (path: string) => void): Bytes {
  const command = helper(
    stack,
    [name],
    'tar',
    '--create',
    '--file=-',
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
  return output(command, (failed) => {
    const paths = changedPaths(failed.stderr)
    if (failed.exitCode !== 1 || paths === undefined) return false
    paths.forEach(changed)
    return true
  })
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
