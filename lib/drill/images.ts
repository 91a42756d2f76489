// The engines of a drill: the very images that ran when the set was made, where they can be had.
import type { ServiceRecord } from '../backup/manifest.ts'
import { docker, inspectImage, type ImageInspect } from '../docker.ts'
import { refusal, sentence } from '../errors.ts'
import { newer } from '../restore/check.ts'
import { imageOf, type Ground } from '../restore/ground.ts'
import { fetchImages } from '../restore/images.ts'
import { interruption } from '../shell.ts'
import { readStack, type Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import type { OwnImage } from '../throwaway.ts'
import { manifestOf, type Course } from './course.ts'

/**
 * With what the set is restored; looked for once for a run.
 * @throws refusal (exit 3) when an engine's image is nowhere, or the one that is here is older than the set
 */
export function ground(course: Course, doing: Doing): Promise<Ground> {
  return (course.ground ??= find(course, doing))
}

async function find(course: Course, doing: Doing): Promise<Ground> {
  const { config, stack } = course.context
  const { mongodb, redis } = manifestOf(course)
  const { database, redis: keys } = stack.about
  return {
    stackId: config.STACK_ID,
    stateDir: config.STATE_DIR,
    mongod: await engine(course, doing, { service: database.service, name: 'MongoDB', ...mongodb }),
    redis: await engine(course, doing, { service: keys.service, name: 'Redis', ...redis }),
    purpose: 'drill',
  }
}

interface Wanted {
  readonly service: string
  readonly name: 'MongoDB' | 'Redis'
  /** That wrote the set. */
  readonly version: string
}

async function engine(course: Course, doing: Doing, { service, name, version }: Wanted): Promise<OwnImage> {
  const was = manifestOf(course).services[service]
  const found = was && was.imageId !== '' ? await recorded(course, doing, service, was) : undefined
  if (found) return { id: found.Id, volumes: found.Config.Volumes }
  const named = was?.digests[0] ?? was?.imageId ?? 'not recorded'
  const lost = `${service}: the image of the set (${named}) is not on this server and cannot be pulled`
  const stack = await readNow(course).catch((error: unknown) => {
    interruption.getStore()?.throwIfAborted()
    throw refusal(`${lost}; and what the stack runs cannot be asked.\n${sentence(error)}`)
  })
  const image = await imageOf(stack, service)
  const [wrong] = await newer(name, version, image.id)
  if (wrong !== undefined) throw refusal(`${lost}.\n${wrong} Nothing was changed.`)
  doing.say(`${lost}: the one that the stack has now is taken`)
  return image
}

const readNow = ({ context }: Course): Promise<Stack> => readStack(context.config)

/** The image that ran when the set was made: as it is here, or pulled by its digest. */
async function recorded(
  { fetched }: Course,
  doing: Doing,
  service: string,
  { image: ref, imageId: id, digests }: ServiceRecord,
): Promise<ImageInspect | undefined> {
  const here = await inspectImage(id)
  if (here || digests.length === 0) return here
  try {
    await doing.effect('Pull an image', { service, digests }, () =>
      fetchImages([{ service, ref, id, digests, now: undefined }]),
    )
  } catch (error) {
    interruption.getStore()?.throwIfAborted()
    doing.say(sentence(error))
    return undefined
  }
  const pulled = await inspectImage(id)
  fetched.push(...(pulled?.RepoDigests ?? []).filter((d) => digests.includes(d)))
  doing.say(`${service}: the image of the set was pulled; it goes again at the end`)
  return pulled
}

/** Removes the images that were pulled for this drill, by their digests; one that has another name by now stays. */
export async function removeFetched({ fetched }: Course): Promise<void> {
  for (const digest of fetched.splice(0)) await docker('image', 'rm', '--', digest)
}
