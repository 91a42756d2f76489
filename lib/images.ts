// The way back of an update: which images ran, and the local tags that name them.
import { compose, docker, inspectImage, type ContainerInspect } from './docker.ts'
import { checkService, lastLines, waitHealthy } from './health.ts'
import { exec } from './shell.ts'
import { readContainers, service, type Service, type Stack } from './stack.ts'
import type { Doing } from './steps.ts'

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

/**
 * The old version again and healthy, from whatever state in between; safe to repeat. Says first why the new one was
 * not healthy, since its container and its log go.
 * @throws Error when one of `expected` does not become healthy.
 */
export async function bringBack(
  before: Stack,
  images: readonly RanOn[],
  expected: readonly string[],
  run: string,
  doing: Doing,
): Promise<void> {
  const failed = await readContainers(before)
  for (const name of expected) {
    const { ok, evidence } = await checkService(failed, name)
    if (!ok && service(failed, name).container?.State.Status !== 'created')
      doing.say(`${name}: ${evidence}\n${await lastLines(service(failed, name).container)}`)
  }
  const back = await putTagsBack(images, run)
  if (back.length > 0) doing.say(`old images again: ${back.join(', ')}`)
  const ran = before.services.filter((s) => s.container?.State.Running)
  const now = (name: string): ContainerInspect | undefined => service(failed, name).container
  const stopped = ran.filter((s) => now(s.name)?.Id === s.container?.Id && !now(s.name)?.State.Running)
  const gone = ran.filter((s) => now(s.name)?.Id !== s.container?.Id)
  const names = (services: readonly Service[]): string[] => services.map((s) => s.name)
  if (stopped.length > 0) await exec(compose(before, 'start', ...names(stopped)))
  if (gone.length > 0) {
    const up = ['up', '-d', '--no-build', '--pull', 'never']
    await exec(compose(before, ...up, ...names(gone)))
  }
  const healthy = new Set(expected)
  await waitHealthy(
    before,
    names(ran).filter((name) => healthy.has(name)),
  )
}
