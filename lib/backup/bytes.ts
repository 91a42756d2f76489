// Streams of bytes by exact lengths, and work on them in several threads with the order kept. Nothing here holds
// more than a few chunks in memory.

export type Bytes = AsyncIterable<Buffer>

export interface Reader {
  /** Exactly `length` bytes, or fewer when the stream ends before. */
  read(length: number): Promise<Buffer>
  /** Between 1 and `most` bytes, as they are at hand; none when the stream has ended. */
  some(most: number): Promise<Buffer>
  /** Ends the source. Whoever stops early must call it, or files and processes behind the source stay open. */
  close(): Promise<void>
}

/** Reads a stream by lengths. */
export function reader(source: Bytes): Reader {
  const from = source[Symbol.asyncIterator]()
  let rest: Buffer = Buffer.alloc(0)
  const more = async (): Promise<boolean> => {
    const next = await from.next()
    if (next.done) return false
    rest = next.value
    return true
  }
  const some = async (most: number): Promise<Buffer> => {
    while (rest.length === 0) if (!(await more())) return rest
    const taken = rest.subarray(0, most)
    rest = rest.subarray(most)
    return taken
  }
  return {
    some,
    async close() {
      await from.return?.()
    },
    async read(length) {
      const first = length === 0 ? Buffer.alloc(0) : await some(length)
      if (first.length === length) return first
      const pieces = [first]
      let held = first.length
      while (held < length) {
        const next = await some(length - held)
        if (next.length === 0) break
        pieces.push(next)
        held += next.length
      }
      return Buffer.concat(pieces)
    },
  }
}

/** The same bytes in pieces of exactly `size`, the last one shorter. */
export async function* chunks(source: Bytes, size: number): Bytes {
  let chunk = Buffer.allocUnsafe(size)
  let filled = 0
  for await (const piece of source) {
    for (let taken = 0; taken < piece.length;) {
      const copied = piece.copy(chunk, filled, taken)
      taken += copied
      filled += copied
      if (filled < size) continue
      yield chunk
      chunk = Buffer.allocUnsafe(size) // the one before may still be at work in another thread
      filled = 0
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled)
}

/** Runs `work` on up to `width` items at once; the results come in the order of the items. */
export async function* inOrder<T, R>(
  source: AsyncIterable<T>,
  width: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const pending: Promise<R>[] = []
  for await (const item of source) {
    const result = work(item)
    result.catch(() => {}) // told when its turn comes, or not at all when an earlier one failed
    pending.push(result)
    if (pending.length >= width) yield (await pending.shift()) as R
  }
  for (const result of pending) yield await result
}

/** Shows every piece to `look` as it passes. */
export async function* tap(source: Bytes, look: (piece: Buffer) => void): Bytes {
  for await (const piece of source) {
    look(piece)
    yield piece
  }
}

/** A few bytes as a stream. */
export async function* once(...pieces: Buffer[]): Bytes {
  yield* pieces
}

/** A size for people: 16.6 MB. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const
  const n = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1)
  return `${n === 0 ? bytes : (bytes / 1000 ** n).toFixed(1)} ${units[n]}`
}
