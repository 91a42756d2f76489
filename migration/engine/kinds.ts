// What was done to documents, told once for all those to which the same was done.
import type { Applied } from '../outcome.ts'

export interface Kind {
  readonly collection: string
  readonly isCarried: boolean
  readonly repairs: readonly Applied[]
  /** Fields that went to the sidecar. */
  readonly aside: readonly string[]
}

/** Gives each different kind its place in a list. */
export function kindList(): { readonly all: readonly Kind[]; placeOf(kind: Kind): number } {
  const places = new Map<string, number>()
  const all: Kind[] = []
  return {
    all,
    placeOf(kind) {
      const text = JSON.stringify([kind.collection, kind.isCarried, kind.repairs, kind.aside])
      const known = places.get(text)
      if (known !== undefined) return known
      places.set(text, all.length)
      return all.push(kind) - 1
    },
  }
}
