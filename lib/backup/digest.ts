// Digests that do not depend on the order in which things were read.
import { hash } from 'node:crypto'

/** A sum of SHA-256 hashes modulo 2^256: the same for the same things in any order, each counted as often as it is. */
export interface OrderFree {
  /** Adds a thing by its bytes. */
  add(bytes: Buffer | string): void
  /** 64 hexadecimal digits. */
  hex(): string
}

const WORDS = 8
const CARRY_EVERY = 2 ** 20 // words of 32 bits stay exact in a double for 2^21 additions

export function orderFree(): OrderFree {
  const words = new Float64Array(WORDS) // the most significant first
  let since = 0
  const carry = (): void => {
    for (let i = WORDS - 1; i >= 0; i--) {
      const over = Math.floor((words[i] as number) / 2 ** 32)
      words[i] = (words[i] as number) - over * 2 ** 32
      if (i > 0) words[i - 1] = (words[i - 1] as number) + over
    }
    since = 0
  }
  return {
    add(bytes) {
      // Its bytes as characters: a buffer for each would take twice the time.
      const sum = hash('sha256', bytes, 'binary')
      for (let i = 0, at = 0; i < WORDS; i++, at += 4) {
        const low = (sum.charCodeAt(at + 1) << 16) | (sum.charCodeAt(at + 2) << 8) | sum.charCodeAt(at + 3)
        words[i] = (words[i] as number) + sum.charCodeAt(at) * 2 ** 24 + low
      }
      if (++since === CARRY_EVERY) carry()
    },
    hex() {
      carry()
      return Array.from(words, (w) => w.toString(16).padStart(8, '0')).join('')
    },
  }
}
