// Which Prisma schema an image was built with: the services that share a database must have been built with the same,
// the one that the data is migrated to. What an image says is data: it is compared, and nothing else is done with it.
import { createHash, randomUUID } from 'node:crypto'
import { sha256Of } from '../backup/seal.ts'
import type { SchemaPlace } from '../description.ts'
import { removeContainers, type ImageInspect } from '../docker.ts'
import { refusal } from '../errors.ts'
import { CommandFailed, interruption, stream } from '../shell.ts'
import { throwAway } from '../throwaway.ts'

/** Which schema the image of a service was built with. */
export interface SchemaSeen {
  readonly service: string
  /** SHA-256 in hexadecimal. */
  readonly hash?: string
  readonly from?: 'label' | 'file'
  /** Why it cannot be read; beside a hash from the label: why the file cannot. */
  readonly skipped?: string
}

export interface SchemaLimits {
  /** bytes of the file, at most */
  readonly bytes: number
  /** ms that reading it may take */
  readonly ms: number
}

const LIMITS: SchemaLimits = { bytes: 4 * 2 ** 20, ms: 60_000 }
const HASH = /^[0-9a-f]{64}$/i
const SHORT = 12 // digits of a hash in a message
const LONGEST = 200 // characters of what an image says, in a message
// Exit codes of `docker run` itself: it could not, and there is no such program in the image that it could start.
const DAEMON = 125
const NO_PROGRAM: readonly (number | null)[] = [126, 127]

const short = (hash: string): string => hash.slice(0, SHORT)

/** Foreign text in a message: in quotes, and no longer than it needs to be. */
const quoted = (text: string): string => JSON.stringify(text.slice(0, LONGEST))

/**
 * Reads which schema an image was built with, from its label and from the file in it, whichever there are. The file
 * is read by the image's own `cat`, without a network, on a root that cannot be written to, in a container that is gone
 * afterwards.
 * @throws refusal when label and file differ; CommandFailed when Docker cannot run the image at all
 */
export async function schemaOfImage(
  service: string,
  image: ImageInspect,
  { label, file }: SchemaPlace,
  limits: SchemaLimits = LIMITS,
): Promise<SchemaSeen> {
  const labelled = image.Config.Labels?.[label]
  const said = labelled !== undefined && HASH.test(labelled) ? labelled.toLowerCase() : undefined
  const found = await hashInImage(image, file, limits)
  if (said !== undefined && found.hash !== undefined && said !== found.hash)
    throw refusal(
      `The image of ${service} says of itself that it was built with the Prisma schema ${short(said)} (label ${label}), ` +
        `and holds ${short(found.hash)} (${file}). Build it again from clean sources.`,
    )
  const unread = found.why === undefined ? undefined : `${file} in its image could not be read: ${found.why}`
  if (said !== undefined) return { service, hash: said, from: 'label', ...(unread && { skipped: unread }) }
  if (found.hash !== undefined) return { service, hash: found.hash, from: 'file' }
  const without =
    labelled === undefined
      ? `its image has no label ${label}`
      : `its label ${label} is no hash (${quoted(labelled)})`
  return { service, skipped: `${without}, and ${unread}` }
}

/** SHA-256 of a file in an image, or why it cannot be read. */
async function hashInImage(
  image: ImageInspect,
  file: string,
  limits: SchemaLimits,
): Promise<
  { readonly hash: string; readonly why?: undefined } | { readonly hash?: undefined; readonly why: string }
> {
  const mark = `runbook.schema=${randomUUID()}`
  const powers = [
    '--user=0:0',
    '--cap-drop=ALL',
    '--cap-add=DAC_OVERRIDE',
    '--security-opt=no-new-privileges',
  ]
  const small = ['--memory=128m', '--pids-limit=16', '--log-driver=none']
  const options = [...powers, ...small, '--label=runbook.for=staging', `--label=${mark}`]
  const own = { id: image.Id, volumes: image.Config.Volumes }
  const { child, ended } = stream(throwAway(own, options, 'cat', '--', file))
  let over: string | undefined
  const end = (why: string): void => {
    over ??= why
    child.kill('SIGKILL') // docker's own program; the container is ended below
  }
  const timer = setTimeout(() => end(`it took more than ${limits.ms / 1000} s`), limits.ms)
  const sum = createHash('sha256')
  let bytes = 0
  child.stdout?.on('data', (piece: Buffer) => {
    bytes += piece.length
    if (bytes > limits.bytes) end(`it is larger than ${limits.bytes} bytes`)
    else sum.update(piece)
  })
  try {
    await ended
  } catch (error) {
    // An interruption of ours, or Docker's own failure, tells nothing of the image.
    const its = error instanceof CommandFailed && error.exitCode !== DAEMON
    if (over === undefined && (!its || interruption.getStore()?.aborted)) throw error
    over ??= failure(error as CommandFailed)
  } finally {
    clearTimeout(timer)
    // Whatever ended it: no program of an image goes on.
    await interruption.run(undefined, () => removeContainers(mark))
  }
  if (over === undefined && bytes === 0) over = 'it is empty'
  return over === undefined ? { hash: sum.digest('hex') } : { why: over }
}

/** Why `cat` failed. */
function failure({ exitCode, stderr }: CommandFailed): string {
  if (NO_PROGRAM.includes(exitCode)) return 'the image has no cat that can be run'
  return quoted(stderr.trim().split('\n').at(-1) ?? '')
}

/**
 * Whether all images were built with one schema, and with the one that is wanted, as far as they tell. What could not
 * be read is no problem, but it has not passed either. `hash`: the one of all that were read, when they agree.
 */
export function compareSchemas(
  seen: readonly SchemaSeen[],
  wanted?: { readonly name: string; readonly hash: string },
): { readonly problems: string[]; readonly skipped: string[]; readonly hash?: string } {
  const services = new Map<string, string[]>()
  for (const { service, hash } of seen)
    if (hash !== undefined) services.set(hash, [...(services.get(hash) ?? []), service])
  const all = [...services].map(([hash, names]) => ({ hash, names: names.join(', ') }))
  const apart = all.map(({ hash, names }) => `${names} with ${short(hash)}`).join('; ')
  const problems = [
    ...(all.length > 1 ? [`The images were not built with one and the same Prisma schema: ${apart}.`] : []),
    ...(wanted
      ? all
          .filter(({ hash }) => hash !== wanted.hash)
          .map(
            ({ hash, names }) =>
              `${names}: built with the Prisma schema ${short(hash)}, which is not ${wanted.name} (${short(wanted.hash)}).`,
          )
      : []),
  ]
  const skipped = seen.flatMap(({ service, skipped: why }) =>
    why === undefined ? [] : [`${service}: skipped, because ${why}`],
  )
  const [one] = all
  return { problems, skipped, ...(one && all.length === 1 && { hash: one.hash }) }
}

/** The same of a schema file on this machine. */
export const hashOfFile = (path: string): Promise<string> => sha256Of(path)
