// Numbers that look random and are a function of their seeds alone, so that any document can be made at any time.

const FRACTION = 2 ** 32

/** A well mixed unsigned 32-bit integer of the given integers: the same ones in the same order give the same. */
export function mix(...seeds: readonly number[]): number {
  let h = 0x9e3779b9
  for (const seed of seeds) {
    h = Math.imul(h ^ seed, 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
    h ^= h >>> 16
  }
  return h >>> 0
}

/** `mix` as a fraction in [0, 1). */
export function fraction(...seeds: readonly number[]): number {
  return mix(...seeds) / FRACTION
}

/** A sequence of fractions in [0, 1), by the generator mulberry32. */
export function sequence(...seeds: readonly number[]): () => number {
  let state = mix(...seeds)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / FRACTION
  }
}
