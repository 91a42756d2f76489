import { Binary, Decimal128, Double, Long, Timestamp } from 'mongodb'

const SECOND = 1_762_165_230 // s: 2025-11-03T10:20:30Z

/**
 * A sub-document that only a copy of its bytes keeps: number types, the order of integer-like keys, binary subtypes,
 * dates that look alike.
 */
export function hardValues(): Map<string, unknown> {
  return new Map<string, unknown>([
    ['b', 1],
    ['10', new Double(5)],
    ['2', Long.fromNumber(7)],
    ['large', Long.fromString('9007199254740993')],
    ['price', Decimal128.fromString('1.10')],
    ['old', new Binary(Buffer.from('legacy'), Binary.SUBTYPE_BYTE_ARRAY)],
    ['uuid', new Binary(Buffer.from('00112233445566778899aabbccddeeff', 'hex'), Binary.SUBTYPE_UUID)],
    ['own', new Binary(Buffer.from([0, 255, 10]), Binary.SUBTYPE_USER_DEFINED)],
    ['at', new Date(SECOND * 1000)],
    ['at ', new Timestamp({ t: SECOND, i: 1 })],
    ['At', '2025-11-03T10:20:30.000Z'],
    ['before', new Date(-1)],
  ])
}
