// What a manifest says about the stack beside its data, and about the set before it.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspectImage } from '../docker.ts'
import { ROOT } from '../env.ts'
import type { Stack } from '../stack.ts'
import type { Manifest, ServiceRecord } from './manifest.ts'
import type { SetInfo } from './sets.ts'

/** What was there in the last set and is empty or gone in this one. Not compared across a migration. */
export function suspicions(
  last: Pick<SetInfo, 'name' | 'manifest'> | undefined,
  { shape, mongodb, volumes }: Pick<Manifest, 'shape' | 'mongodb' | 'volumes'>,
): string[] {
  if (!last?.manifest || last.manifest.shape !== shape) return []
  const now = new Map<string, number>(
    mongodb.databases.flatMap((d) => d.collections.map((c) => [`${d.name}.${c.name}`, c.documents] as const)),
  )
  const collections = last.manifest.mongodb.databases.flatMap((d) =>
    d.collections.flatMap((c) => {
      const name = `${d.name}.${c.name}`
      if (c.documents === 0 || (now.get(name) ?? 0) > 0) return []
      return [`${name} has no documents; it had ${c.documents} in ${last.name}`]
    }),
  )
  const files = last.manifest.volumes.flatMap((v) => {
    const is = volumes.find((w) => w.key === v.key)
    if (v.files === 0 || v.coveredBy || (is?.files ?? 0) > 0) return []
    return [`the volume ${v.key} has no files; it had ${v.files} in ${last.name}`]
  })
  return [...collections, ...files]
}

/** What runs: images by id and digest. */
export async function serviceRecords(stack: Stack): Promise<Record<string, ServiceRecord>> {
  const records: Record<string, ServiceRecord> = {}
  for (const { name, image, configHash, container } of stack.services) {
    const imageId = container?.Image ?? ''
    const digests = (imageId === '' ? undefined : await inspectImage(imageId))?.RepoDigests ?? []
    records[name] = { image, imageId, digests, configHash, state: container?.State.Status ?? 'no container' }
  }
  return records
}

/** One hash over what Compose would create. */
export const composeHash = ({ services }: Stack): string =>
  createHash('sha256')
    .update(
      services
        .map((s) => `${s.name} ${s.configHash}\n`)
        .toSorted()
        .join(''),
    )
    .digest('hex')

/** This tool's version. */
export const toolVersion = (): string =>
  String((JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version?: string }).version)
