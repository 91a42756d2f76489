// The arithmetic of a downtime: what the lines that a prober wrote say, and how far they can be believed.
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { LedgerLine } from './prober.ts'

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

interface Failed {
  readonly t: number
  readonly why: string
}

interface Seen {
  /** When the good requests started. */
  readonly good: number[]
  readonly failed: Failed[]
  readonly blind: { readonly from: number; readonly ms: number }[]
  slowest: number
}

/**
 * Reads what a prober wrote, also while it is still writing or after it was killed: a torn last line is left out.
 * One entry per address, in the order in which they first answered.
 * @throws Error naming the line that is not a prober's.
 */
export async function readLedger(file: string): Promise<AddressLedger[]> {
  const seen = new Map<string, Seen>()
  let number = 0
  let torn = 0
  for await (const text of createInterface({ input: createReadStream(file) })) {
    number++
    if (torn > 0) throw new Error(`${file} is not a prober's ledger: line ${torn} cannot be read.`)
    const line = parsed(text)
    if (!line) {
      torn = number
      continue
    }
    const of = seen.get(line.address) ?? { good: [], failed: [], blind: [], slowest: 0 }
    seen.set(line.address, of)
    if ('blind' in line) of.blind.push({ from: line.t, ms: line.blind })
    else if (!line.ok) of.failed.push({ t: line.t, why: line.why ?? '' })
    else {
      of.good.push(line.t)
      of.slowest = Math.max(of.slowest, line.ms)
    }
  }
  return [...seen].map(([address, of]) => summary(address, of))
}

function parsed(text: string): LedgerLine | undefined {
  try {
    const line = JSON.parse(text) as Partial<LedgerLine>
    return typeof line.t === 'number' && typeof line.address === 'string' ? (line as LedgerLine) : undefined
  } catch {
    return undefined
  }
}

function summary(address: string, { good, failed, blind, slowest }: Seen): AddressLedger {
  // A line is written when the answer is there; what counts is when the request started.
  good.sort((a, b) => a - b)
  failed.sort((a, b) => a.t - b.t)
  const starts = [good[0], good.at(-1), failed[0]?.t, failed.at(-1)?.t, blind[0]?.from].filter(
    (t) => t !== undefined,
  )
  const [from, to] = [Math.min(...starts), Math.max(...starts)]

  const runs = new Map<number, Failed[]>() // of failed requests, by the number of good ones before them
  let before = 0
  for (const one of failed) {
    while ((good[before] ?? Infinity) <= one.t) before++
    const run = runs.get(before)
    if (run) run.push(one)
    else runs.set(before, [one])
  }
  const outages = [...runs].map(([index, run]) => outage(run, good[index - 1], good[index], to))

  const lengths = outages.map(({ ms }) => ms)
  return {
    address,
    from,
    to,
    requests: good.length + failed.length,
    failed: failed.length,
    outages,
    longest: lengths.reduce((most, ms) => Math.max(most, ms), 0),
    total: lengths.reduce((sum, ms) => sum + ms, 0),
    slowest,
    blind,
  }
}

function outage(
  run: readonly Failed[],
  lastOk: number | undefined,
  firstOk: number | undefined,
  end: number,
): Outage {
  const from = run[0]?.t ?? end
  const to = firstOk ?? end
  return {
    from,
    to,
    ms: to - from,
    atLeast: (run.at(-1)?.t ?? from) - from,
    ...(lastOk !== undefined && firstOk !== undefined && { atMost: firstOk - lastOk }),
    ...(lastOk !== undefined && { lastOk }),
    ...(firstOk !== undefined && { firstOk }),
    failed: run.length,
    why: run[0]?.why ?? '',
  }
}
