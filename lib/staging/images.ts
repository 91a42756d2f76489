// Staging's images by digest: what a tag means is asked of the registry, and only the digest is pulled. So no name that
// production uses means another image afterwards.
import { inspectImage } from '../docker.ts'
import { registriesAway, tooLittleSpace } from '../update/guards.ts'
import type { Asked } from '../update/reach.ts'
import { published } from '../update/registry.ts'
import { sentence } from '../errors.ts'
import type { ComposeConfig } from '../stack.ts'
import type { Doing } from '../steps.ts'

export interface Pins {
  /** Each image as Compose names it, and the same with its digest. */
  readonly pins: ReadonlyMap<string, string>
  /** What is in the way, one sentence each. */
  readonly problems: readonly string[]
}

/** Asks the registries what the images of the services are now. Only reads. */
export async function pin(resolved: ComposeConfig, doing: Pick<Doing, 'say'>): Promise<Pins> {
  const refs = [...new Set(Object.values(resolved.services).flatMap((s) => s.image ?? []))]
  const asked = await Promise.all(refs.map(ask))
  const away = await registriesAway(asked)
  const unknown = asked.flatMap(({ ref, problem }) =>
    problem === undefined
      ? []
      : [`${ref} is not in its registry: ${sentence(problem).trim().split('\n').at(-1)}`],
  )
  const unpinned = asked
    .filter((a) => a.published !== undefined && a.published.digests.length === 0)
    .map((a) => `${a.ref} is not published for this server's processor.`)
  const space = await tooLittleSpace(asked, doing)
  const pins = asked.flatMap(({ ref, published: found }): [string, string][] => {
    const digest = found?.digests[0]
    return digest === undefined ? [] : [[ref, ref.includes('@') ? ref : `${ref}@${digest}`]]
  })
  return { pins: new Map(pins), problems: [...(away.length > 0 ? away : unknown), ...unpinned, ...space] }
}

async function ask(ref: string): Promise<Asked> {
  const running = await inspectImage(ref)
  try {
    return { ref, running, published: await published(ref) }
  } catch (problem) {
    return { ref, running, problem }
  }
}
