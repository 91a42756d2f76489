// Older images of a stack: what updates have left behind. Told, with the line that removes one; never removed here.
import { docker, inspectImage } from './docker.ts'
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
  const containers = (await docker('ps', '-aq', '--no-trunc')).split('\n').filter(Boolean)
  const inUse =
    containers.length === 0 ? '' : await docker('inspect', '--format', '{{.Image}}', ...containers)
  const used = new Set(inUse.split('\n'))
  const names = new Map<string, string[]>()
  for (const { Repository, Tag, ID } of listed)
    names.set(ID, [...(names.get(ID) ?? []), Tag === '<none>' ? Repository : `${Repository}:${Tag}`])
  const repositories = new Set(stack.services.map((s) => repositoryOf(s.image)))
  const meant = new Set(stack.services.map((s) => s.image))
  const older = [...names].filter(
    ([id, all]) =>
      !used.has(id) &&
      all.some((n) => repositories.has(repositoryOf(n))) &&
      !all.some((n) => n.startsWith('runbook/previous-') || meant.has(n)),
  )
  const found = await Promise.all(
    older.map(async ([id, all]) => ({ names: all, image: await inspectImage(id) })),
  )
  return found
    .flatMap(({ names: all, image }) =>
      image ? [{ id: image.Id, names: all, bytes: image.Size, created: image.Created }] : [],
    )
    .toSorted((a, b) => b.created.localeCompare(a.created))
}
