// Older images of a stack: what updates have left behind. Told, with the line that removes one; never removed here.
import { containerIds, docker, inspectImage } from './docker.ts'
import { exec, sh } from './shell.ts'
import type { Stack } from './stack.ts'
import { repositoryOf } from './update/registry.ts'

/** An image that no container uses and no way back needs. */
export interface OldImage {
  readonly id: string
  /** Its names, or the repository it came from. */
  readonly names: readonly string[]
  /** bytes, those that it shares with others included */
  readonly bytes: number
  /** ISO 8601: when it was built */
  readonly created: string
}

interface Listed {
  readonly Repository: string
  readonly Tag: string
  readonly ID: string
}

/**
 * Images from the repositories of the stack's services, and those kept as runbook/failed-…, that no container on this
 * server uses and that are not kept as the way back (runbook/previous-…). Newest first. Only reads.
 */
export async function olderImages(stack: Stack): Promise<OldImage[]> {
  const listed = (await docker('image', 'ls', '--no-trunc', '--format', '{{json .}}'))
    .split('\n')
    .filter(Boolean)
    .map((l) => JSON.parse(l) as Listed)
  const used = await usedImages()
  const names = new Map<string, string[]>()
  for (const { Repository, Tag, ID } of listed)
    names.set(ID, [...(names.get(ID) ?? []), Tag === '<none>' ? Repository : `${Repository}:${Tag}`])
  const repositories = new Set(stack.services.map((s) => familiar(repositoryOf(s.image))))
  const ofStack = (refs: readonly string[]): boolean => refs.some((r) => repositories.has(repositoryOf(r)))
  const meant = new Set(stack.services.map((s) => s.imageId))
  const idle = [...names].filter(
    ([id, all]) => !used.has(id) && !meant.has(id) && !all.some((n) => n.startsWith('runbook/previous-')),
  )
  const named = idle.filter(([, all]) => ofStack(all) || all.some((n) => n.startsWith('runbook/failed-')))
  const found = await Promise.all(
    named.map(async ([id, all]) => ({ names: all, image: await inspectImage(id) })),
  )
  return found
    .flatMap(({ names: all, image }) =>
      // What is kept as failed has no other name: where it came from tells whose it is.
      image && ofStack([...all, ...(image.RepoDigests ?? [])])
        ? [{ id: image.Id, names: all, bytes: image.Size, created: image.Created }]
        : [],
    )
    .toSorted((a, b) => b.created.localeCompare(a.created))
}

/** A repository as Docker lists it. */
const familiar = (repository: string): string => repository.replace(/^docker\.io\/(library\/)?/, '')

/** The ids of the images of all containers on this server. */
async function usedImages(): Promise<Set<string>> {
  const ids = await containerIds()
  if (ids.length === 0) return new Set()
  const inspect = sh`docker container inspect --format ${'{{.Image}}'} -- ${ids}`
  const { stdout, stderr, exitCode } = await exec(inspect, { anyCode: true })
  // A container that went meanwhile uses nothing; of the others all is said.
  const failed = stderr.split('\n').filter((l) => l.trim() !== '' && !/no such container/i.test(l))
  if (exitCode !== 0 && failed.length > 0)
    throw new Error(`Docker does not say which images its containers use: ${failed.join(' ')}`)
  return new Set(stdout.split('\n'))
}
