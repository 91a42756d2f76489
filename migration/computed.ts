// Fields whose value comes from other documents.
import { Int32 } from 'mongodb'
import type { Computed } from './plan-types.ts'
import type { Fields } from './rules.ts'
import { isNone, typeOf } from './values.ts'

/**
 * The value of a computed field from the loaded documents that name its document. Undefined where it keeps the value
 * that the transform gave it: there is none of them, and nothing to count.
 */
export function computedFrom({ value, where = {} }: Computed, others: Iterable<Fields>): unknown {
  const counted = [...others].filter((other) =>
    Object.entries(where).every(([field, v]) => other[field] === v),
  )
  if (value.kind === 'count') return new Int32(counted.length)
  const found = counted.map((other) => other[value.of]).filter((v) => !isNone(v))
  if (found.length === 0) return undefined
  if (value.kind === 'newest') {
    const times = found.flatMap((v) => (typeOf(v) === 'date' ? [(v as Date).getTime()] : []))
    return times.length > 0 ? new Date(Math.max(...times)) : undefined
  }
  const tally = new Map<string, number>()
  for (const v of found) if (typeof v === 'string') tally.set(v, (tally.get(v) ?? 0) + 1)
  // A Map, since an object would order keys that look like numbers; sorted, so that no order of reading shows.
  return new Map([...tally].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([k, n]) => [k, new Int32(n)]))
}
