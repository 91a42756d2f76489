// What an update would change, known before anything is pulled: by what the registry says, and by the Compose file.
import { usage } from '../errors.ts'
import { inspectImage, type ImageInspect } from '../docker.ts'
import type { Context } from '../script.ts'
import { changedServices, service, type Service, type Stack } from '../stack.ts'
import type { Reach } from './baseline.ts'
import { isPublished, published, pulled, type Published } from './registry.ts'

export interface Change {
  readonly service: string
  readonly why: 'image' | 'configuration' | 'no container' | 'perhaps' | 'dependent'
  readonly text: string
}

/** What the registry says of one name; `problem` when it could not be asked. */
export interface Asked {
  readonly ref: string
  readonly running: ImageInspect | undefined
  readonly published?: Published
  readonly problem?: unknown
}

export interface Foresight {
  readonly changes: readonly Change[]
  /** Services whose containers would be replaced, in start order. */
  readonly touched: readonly string[]
  readonly asked: readonly Asked[]
}

const IMAGE = /^([\w.-]+)@(sha256:[0-9a-f]{64})$/

/** `--images gateway@sha256:…` as services and digests. @throws usage (exit 2) */
export function imagesGiven(given: readonly string[]): Record<string, string> {
  const pairs = given
    .flatMap((text) => text.split(','))
    .map((text) => {
      const [, name, digest] = IMAGE.exec(text) ?? []
      if (name === undefined || digest === undefined)
        throw usage(
          `--images ${text}: it must be SERVICE@sha256:… with the 64 digits of a digest. Nothing was changed.`,
        )
      return [name, digest] as const
    })
  return Object.fromEntries(pairs)
}

/** What was asked for on the command line. @throws usage (exit 2) */
export const reachOf = ({ words, flags }: Pick<Context, 'words' | 'flags'>): Reach => ({
  words,
  all: flags.all === true,
  images: imagesGiven((flags.images ?? []) as string[]),
})

/** @throws usage (exit 2) when what was typed does not go together */
export function checkTyped(typed: Pick<Context, 'words' | 'flags'>): void {
  const { words, all, images } = reachOf(typed)
  const modes = ['check', 'resume', 'abort'].filter((name) => typed.flags[name] === true)
  const more = words.length > 0 || all || Object.keys(images).length > 0
  if (modes.length > 1 || (more && modes.some((m) => m !== 'check'))) {
    throw usage(
      '--check, --resume and --abort exclude each other; the last two take nothing else. Nothing was changed.',
    )
  }
}

/** The services that were named, in words or with an image; none: all of them. */
export const namedIn = ({ words, images }: Reach): string[] => [
  ...new Set([...words, ...Object.keys(images)]),
]

/** Asks the registry for every image that the update would pull, and says what would change. Only reads. */
export async function foresee(stack: Stack, reach: Reach): Promise<Foresight> {
  const named = namedIn(reach)
  for (const name of named) service(stack, name)
  const mine = pulled(stack).filter((s) => named.length === 0 || named.includes(s.name))
  const free = mine.filter((s) => reach.images[s.name] === undefined)
  const refs = new Map(free.map((s) => [s.image, s]))
  const asked = await Promise.all([...refs.values()].map(ask))
  const foreseen = await Promise.all(stack.services.map((s) => foreseenImage(s, reach, asked, free)))
  const expected = { ...stack, services: stack.services.map((s, i) => ({ ...s, imageId: foreseen[i] })) }
  const touched = reach.all ? stack.services : changedServices(expected, named)
  const changes = touched.map((t): Change => {
    const s = service(stack, t.name)
    const to = foreseen[stack.services.indexOf(s)]
    if (!s.container) return { service: s.name, why: 'no container', text: 'it has no container' }
    if (to === PERHAPS)
      return {
        service: s.name,
        why: 'perhaps',
        text: `whether ${s.image} is another image now shows when it is pulled`,
      }
    if (to !== s.container.Image) return { service: s.name, why: 'image', text: `another image: ${s.image}` }
    if (changedServices({ ...expected, services: [{ ...s, imageId: to }] }).length > 0)
      return { service: s.name, why: 'configuration', text: 'its configuration was changed' }
    return { service: s.name, why: 'dependent', text: reach.all ? '--all' : 'it depends on one of these' }
  })
  return { changes, touched: touched.map((s) => s.name), asked }
}

const PERHAPS = 'unknown before the pull'

async function ask({ image: ref, container }: Service): Promise<Asked> {
  const running = container && (await inspectImage(container.Image))
  try {
    return { ref, running, published: await published(ref) }
  } catch (problem) {
    return { ref, running, problem }
  }
}

/** The id that the service's image will have; something else than an id where it will be another one. */
async function foreseenImage(
  { name, image, imageId, container }: Service,
  { images }: Reach,
  asked: readonly Asked[],
  free: readonly Service[],
): Promise<string | undefined> {
  const given = images[name]
  const running = container && (await inspectImage(container.Image))
  if (given !== undefined) return running && hasName(running, given) ? running.Id : given
  const found = free.some((s) => s.name === name) ? asked.find((a) => a.ref === image) : undefined
  if (!found?.published || !container) return imageId
  if (!running) return PERHAPS
  const same = isPublished(running, found.published)
  return same ? running.Id : same === false ? (found.published.digests[0] ?? PERHAPS) : PERHAPS
}

/** Whether an image has that digest or id. */
export const hasName = (image: ImageInspect, digest: string): boolean =>
  image.Id === digest || (image.RepoDigests ?? []).some((d) => d.endsWith(`@${digest}`))
