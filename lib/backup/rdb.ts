// A Redis snapshot by its bytes: is it whole, and how many keys does it hold?
// The format: https://github.com/redis/redis/blob/unstable/src/rdb.h

const AUX = 0xfa // a fact about the snapshot: two strings
const FUNCTION = 0xf5 // a library: one string
const SELECT_DB = 0xfe
const SIZES = 0xfb // keys, and keys that expire, of the database that follows
const END = 0xff
const HEAD = 2 ** 16 // bytes that hold everything before the first key

export interface RdbReport {
  readonly version: number
  /** Of the first logical database in it; undefined when it does not say. */
  readonly first: { readonly keys: number; readonly expiring: number } | undefined
}

/**
 * Checks a snapshot while it streams by.
 * @returns `see` for every piece, and `end` that reports and throws a sentence when it is not a whole snapshot.
 */
export function rdbCheck(): { see(piece: Buffer): void; end(): RdbReport } {
  let head: Buffer = Buffer.alloc(0)
  let tail: Buffer = Buffer.alloc(0) // the last 9 bytes: the end mark and the checksum over all before it
  let bytes = 0
  const crc = crc64()
  return {
    see(piece) {
      if (head.length < HEAD) head = Buffer.concat([head, piece.subarray(0, HEAD - head.length)])
      bytes += piece.length
      const seen = Buffer.concat([tail, piece])
      const kept = Math.min(seen.length, 9)
      const sure = seen.subarray(0, seen.length - kept)
      crc.add(sure)
      tail = Buffer.from(seen.subarray(seen.length - kept))
    },
    end() {
      const version = Number(head.toString('latin1', 5, 9))
      if (head.toString('latin1', 0, 5) !== 'REDIS' || !(version > 0))
        throw new Error('it is no Redis snapshot')
      if (bytes < 18 || tail[0] !== END) throw new Error('the Redis snapshot is cut short')
      crc.add(tail.subarray(0, 1))
      const stored = tail.subarray(1)
      // Eight zeros: the server was told not to compute one (rdbchecksum no).
      if (!stored.equals(Buffer.alloc(8)) && !stored.equals(crc.bytes())) {
        throw new Error('the Redis snapshot is damaged: its checksum is wrong')
      }
      return { version, first: firstSizes(head) }
    },
  }
}

/** The sizes that stand before the first key; undefined when something else stands there. */
function firstSizes(begin: Buffer): RdbReport['first'] {
  const head = Buffer.concat([begin, Buffer.alloc(32)]) // so that no length is read beyond the end
  let at = 9
  /** A length, or an integer in place of a string: how many bytes follow. */
  const length = (): { n: number; follow: number } => {
    const first = head.readUInt8(at++)
    const kind = first >> 6
    if (kind === 0) return { n: first & 63, follow: first & 63 }
    if (kind === 1) {
      const n = ((first & 63) << 8) | head.readUInt8(at++)
      return { n, follow: n }
    }
    if (first === 0x80 || first === 0x81) {
      const n = first === 0x80 ? head.readUInt32BE(at) : Number(head.readBigUInt64BE(at))
      at += first === 0x80 ? 4 : 8
      return { n, follow: n }
    }
    if (first === 0xc3) {
      const { n } = length() // compressed: its size, then the size it had
      length()
      return { n, follow: n }
    }
    const follow = [1, 2, 4][first & 63] ?? 0
    return { n: 0, follow }
  }
  const string = (): void => {
    const { follow } = length()
    at += follow
  }
  while (at < begin.length) {
    const code = head.readUInt8(at++)
    if (code === AUX) {
      string()
      string()
    } else if (code === FUNCTION) string()
    else if (code === SELECT_DB) length()
    else if (code === SIZES) return { keys: length().n, expiring: length().n }
    else return code === END ? { keys: 0, expiring: 0 } : undefined
  }
  return undefined
}

/** CRC-64 as Redis computes it (polynomial ad93d23594c935a9, reflected), in two halves of 32 bits. */
function crc64(): { add(bytes: Buffer): void; bytes(): Buffer } {
  let [high, low] = [0, 0]
  return {
    add(bytes) {
      for (const byte of bytes) {
        const i = (low ^ byte) & 0xff
        low = ((low >>> 8) | (high << 24)) ^ (LOW[i] as number)
        high = (high >>> 8) ^ (HIGH[i] as number)
      }
    },
    bytes() {
      const out = Buffer.alloc(8)
      out.writeUInt32LE(low >>> 0, 0)
      out.writeUInt32LE(high >>> 0, 4)
      return out
    },
  }
}

const REFLECTED = 0x95ac9329ac4bc9b5n
const TABLE = Array.from({ length: 256 }, (_, i) => {
  let c = BigInt(i)
  for (let bit = 0; bit < 8; bit++) c = c & 1n ? (c >> 1n) ^ REFLECTED : c >> 1n
  return c
})
const LOW = Int32Array.from(TABLE, (c) => Number(BigInt.asIntN(32, c)))
const HIGH = Int32Array.from(TABLE, (c) => Number(BigInt.asIntN(32, c >> 32n)))
