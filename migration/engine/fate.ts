// What becomes of the bytes of one legacy document in the end: T, then what depends on other documents. Pure.
import { BSON } from 'mongodb'
import { fields } from '../../lib/backup/bson.ts'
import { keyText } from '../cross.ts'
import type { Reason } from '../outcome.ts'
import type { Fields } from '../rules.ts'
import { treat } from '../treat.ts'
import { computedFields } from './facts.ts'
import type { Judged, LoadedSource } from './judge.ts'

export type Fate =
  | {
      readonly bytes: Uint8Array
      readonly how: 'transformed' | 'carried' | 'renamed'
      readonly sidecar?: Fields
      readonly id: unknown
    }
  | { readonly quarantined: readonly Reason[] }
  | { readonly dropped: readonly Reason[] }

const NULLISH = [6, 10] // undefined and null

/** @throws an error when a carried document would have to change, and its fields do not keep its bytes */
export function fateOf(judged: Judged, { name, entry, model }: LoadedSource, source: Buffer): Fate {
  const treated = treat(entry.transform, model, source)
  if ('quarantine' in treated) return { quarantined: treated.quarantine }
  const { doc, bytes, isCarried, sidecar } = treated
  const id = keyText(doc['_id'])
  const { quarantined, dropped, nulled } = judged.settled
  const lost = quarantined.get(model.name)?.get(id)
  if (lost) return { quarantined: lost }
  const left = dropped.get(model.name)?.get(id)
  if (left) return { dropped: left }
  const nulls = (nulled.get(model.name)?.get(id) ?? []).map((field) => [field, null] as const)
  const hasOwn = (field: string): boolean => {
    for (const f of fields(source)) if (f.name === field) return !NULLISH.includes(f.type)
    return false
  }
  const set = [...nulls, ...computedFields(judged.groups, model.name, id, hasOwn)]
  const rest = { id: doc['_id'], ...(sidecar && { sidecar }) }
  const how = !isCarried ? 'transformed' : entry.decision === 'rename' ? 'renamed' : 'carried'
  if (set.length === 0) return { ...rest, bytes, how }
  if (isCarried && Buffer.compare(BSON.serialize(doc), bytes) !== 0)
    throw new Error(
      `${name} ${id}: a rule sets ${set.map(([field]) => field).join(', ')}, and only its own bytes keep its other values. ` +
        `Decide in migration/plan.ts.`,
    )
  const changed = BSON.serialize({ ...doc, ...Object.fromEntries(set) })
  return Buffer.compare(changed, bytes) === 0
    ? { ...rest, bytes, how }
    : { ...rest, bytes: changed, how: 'transformed' }
}
