// The way back of an update: which images ran, and the local tags that name them.
import { docker, inspectImage } from './docker.ts'
import type { Stack } from './stack.ts'

/** The image that a service ran on, and the name under which Compose finds it. */
export interface RanOn {
  readonly service: string
  readonly ref: string
  readonly id: string
}

/** The images that the containers of the stack run on; where there is no container, what the name means now. */
export function imagesOf(stack: Stack): RanOn[] {
  return stack.services.flatMap(({ name, image, imageId, container }) => {
    const id = container?.Image ?? imageId
    return id === undefined || image === '' ? [] : [{ service: name, ref: image, id }]
  })
}

/**
 * Makes the local tags mean the old images again; whatever they meant meanwhile is kept as
 * runbook/failed-<run>:<service>. Names by digest mean the same for ever and are left alone. Safe to repeat.
 * @returns the names that were put back.
 */
export async function putTagsBack(images: readonly RanOn[], run: string): Promise<string[]> {
  const back: string[] = []
  for (const { service, ref, id } of images) {
    if (ref.includes('@') || back.includes(ref)) continue
    const now = await inspectImage(ref)
    if (now?.Id === id) continue
    if (now) await docker('tag', now.Id, `runbook/failed-${run.toLowerCase()}:${service}`)
    await docker('tag', id, ref)
    back.push(ref)
  }
  return back
}
