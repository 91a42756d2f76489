// The images of a set: the local names mean again what ran when it was made.
import type { Manifest } from '../backup/manifest.ts'
import { docker, inspectImage } from '../docker.ts'
import { exec, sh } from '../shell.ts'
import type { Stack } from '../stack.ts'

/** A name, and the id of the image that it meant before; none: it did not exist here. */
export interface ImageBefore {
  readonly ref: string
  readonly id?: string
}

/** An image that ran when the set was made, where another one runs, or would run, now. */
export interface OtherImage {
  readonly service: string
  readonly ref: string
  readonly id: string
  /** `repository@sha256:…`, by which it can be pulled again. */
  readonly digests: readonly string[]
  readonly now: string | undefined
}

/** The services of the set that run another image now. */
export function otherImages(stack: Stack, { services }: Pick<Manifest, 'services'>): OtherImage[] {
  return stack.services.flatMap(({ name, image: ref, imageId, container }) => {
    const was = services[name]
    const now = container?.Image ?? imageId
    if (!was || was.imageId === '' || was.imageId === now) return []
    return [{ service: name, ref, id: was.imageId, digests: was.digests, now }]
  })
}

/**
 * Has the images on this server, pulled by their digests where they are not, without changing what a name means.
 * @throws a sentence naming those that cannot be had
 */
export async function fetchImages(images: readonly OtherImage[]): Promise<void> {
  const lost: string[] = []
  for (const { service, id, digests } of images) {
    if (await inspectImage(id)) continue
    for (const digest of digests) {
      await exec(sh`docker pull --quiet -- ${digest}`, { anyCode: true })
      if (await inspectImage(id)) break
    }
    if (!(await inspectImage(id))) lost.push(`${service}: ${digests[0] ?? id}`)
  }
  if (lost.length > 0)
    throw new Error(`These images are not on this server, and cannot be pulled:\n${lost.join('\n')}`)
}

/** What the names mean now. */
export const imagesBefore = (images: readonly OtherImage[], stack: Stack): ImageBefore[] =>
  images
    .filter(({ ref }) => !ref.includes('@')) // the Compose file itself says which one
    .map(({ ref, service }) => {
      const id = stack.services.find((s) => s.name === service)?.imageId
      return id === undefined ? { ref } : { ref, id }
    })

/** Lets the names mean what they meant when the set was made. Safe to repeat. */
export async function tagImages(images: readonly OtherImage[]): Promise<void> {
  for (const { ref, id } of images) if (!ref.includes('@')) await docker('tag', id, ref)
}

/** Lets the names mean what they meant before. Safe to repeat. */
export async function untagImages(before: readonly ImageBefore[]): Promise<void> {
  for (const { ref, id } of before) if (id !== undefined) await docker('tag', id, ref)
}
