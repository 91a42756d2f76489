// How far a pass over the documents has come, for each collection.
import type { Count } from './judge.ts'

/** Tells of every batch: the collection, its documents, how fast, how long still. `now` gives ms. */
export function counter(
  expected: ReadonlyMap<string, number>,
  tell: (text: string) => void,
  now: () => number = Date.now,
): Count {
  const began = now()
  const done = new Map<string, { documents: number; since: number }>()
  let last = began
  return (collection, documents) => {
    const at = now()
    const one = done.get(collection) ?? { documents: 0, since: last }
    one.documents += documents
    done.set(collection, one)
    last = at
    const all = expected.get(collection) ?? 0
    const rate = one.documents / Math.max((at - one.since) / 1000, 0.001)
    const rest = Math.max(all - one.documents, 0)
    const left = rest > 0 ? `, ${Math.ceil(rest / rate)} s left` : ''
    tell(`${collection} ${one.documents} of ${all}, ${Math.round(rate)} documents/s${left}`)
  }
}
