// The arithmetic of a downtime: what the lines that a prober wrote say, and how far they can be believed.
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { LONGEST_REQUEST, type LedgerLine } from './prober.ts'

/**
 * A time in which requests failed. What counts is when a request started: whoever came at that moment was not served.
 * All times are ms, `from` and the other moments since the epoch.
 */
export interface Outage {
  /** The first request that failed. */
  readonly from: number
  /** The first good one after it; the last request of all when it was still failing then. */
  readonly to: number
  readonly ms: number
  /** Surely that long: from the first failed request to the last one. */
  readonly atLeast: number
  /** Surely no longer: from the last good request before to the first good one after; unknown without either. */
  readonly atMost?: number
  readonly lastOk?: number
  /** Absent when it was still failing at the end. */
  readonly firstOk?: number
  readonly failed: number
  /** What the first failed request was answered. */
  readonly why: string
}

export interface AddressLedger {
  readonly address: string
  /** The first and the last request: nothing is known of before and after. */
  readonly from: number
  readonly to: number
  readonly requests: number
  readonly failed: number
  readonly outages: readonly Outage[]
  /** ms of the longest outage, and of all together. */
  readonly longest: number
  readonly total: number
  /** ms of the slowest good answer: who is kept waiting is not counted as an outage. */
  readonly slowest: number
  /** Times in which the prober itself was held up, so that an outage could have passed unseen. */
  readonly blind: readonly { readonly from: number; readonly ms: number }[]
}
