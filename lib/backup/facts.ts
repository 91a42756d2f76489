// What a manifest says about the stack beside its data, and about the set before it.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspectImage } from '../docker.ts'
import { ROOT } from '../env.ts'
import type { Stack } from '../stack.ts'
import type { Manifest, ServiceRecord } from './manifest.ts'
import type { SetInfo } from './sets.ts'

const MUCH = 0.5 // of what was there: losing more than this between two sets is nothing that users do

/**
 * What was there in the last good set and is gone, or mostly gone, in this one. Not compared across a migration.
 * (Redis keys that expire by themselves are a cache's business.)
 */
export function suspicions(
  last: Pick<SetInfo, 'name' | 'manifest'> | undefined,
  now: Pick<Manifest, 'shape' | 'mongodb' | 'redis' | 'volumes'>,
): string[] {
  if (!last?.manifest || last.manifest.shape !== now.shape) return []
  const [was, is] = [amounts(last.manifest), amounts(now)]
  return [...was].flatMap(([what, { amount, unit, few }]) => {
    const left = is.get(what)?.amount ?? 0
    if (left > 0 && (few || left >= amount * MUCH)) return []
    return amount === 0 ? [] : [`${what} has ${left || 'no'} ${unit}; it had ${amount} in ${last.name}`]
  })
}

/** How much of everything a set holds. `few`: so little that only none of it is strange. */
function amounts({
  mongodb,
  redis,
  volumes,
}: Pick<Manifest, 'mongodb' | 'redis' | 'volumes'>): Map<
  string,
  { amount: number; unit: string; few: boolean }
> {
  const found = new Map<string, { amount: number; unit: string; few: boolean }>()
  const note = (what: string, amount: number, unit: string, enough: number): void =>
    void found.set(what, { amount, unit, few: amount < enough })
  let all = 0
  for (const { name, collections } of mongodb.databases) {
    for (const c of collections) {
      all += c.documents
      note(JSON.stringify(`${name}.${c.name}`).slice(1, -1), c.documents, 'documents', Infinity)
    }
  }
  note('MongoDB as a whole', all < 100 ? 0 : all, 'documents', 0)
  note('Redis', redis.keys - redis.expiring, 'keys that do not expire', 100)
  for (const v of volumes) if (!v.coveredBy) note(`the volume ${v.key}`, v.files, 'files', 20)
  return found
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
