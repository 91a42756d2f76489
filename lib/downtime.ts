// The downtime ledger of a run: what a visitor saw of each public address while the run worked, measured from outside.
import { join } from 'node:path'
import { sentence } from './errors.ts'
import { publicAddresses } from './health.ts'
import { readLedger, type AddressLedger } from './ledger.ts'
import { startProber, type Prober } from './prober.ts'
import type { Stack } from './stack.ts'

const FILE = 'prober.jsonl'

/** A prober at work for this run; or why there is none. */
export interface Watch {
  readonly prober?: Prober
  readonly skipped?: string
  readonly services: ReadonlyMap<string, string>
}

/** Starts to watch every public address of the stack; its lines are kept in the run's folder. Never fails a run. */
export async function watchAddresses(stack: Stack, dir: string): Promise<Watch> {
  try {
    const addresses = publicAddresses(stack)
    const services = new Map(addresses.map((a) => [a.url, a.service]))
    if (addresses.length === 0) return { services, skipped: 'env/stack.ts names no public address' }
    return { services, prober: await startProber({ addresses, file: join(dir, FILE) }) }
  } catch (error) {
    return { services: new Map(), skipped: sentence(error) }
  }
}

/** What one address showed. */
export interface Downtime {
  readonly service: string
  readonly address: string
  readonly requests: number
  readonly failed: number
  /** ms of all outages together; of which it is sure, and at most, where that can be told. */
  readonly ms: number
  readonly atLeast: number
  readonly atMost?: number
  /** It did not answer well even before anything was touched. */
  readonly before: boolean
  /** It did not answer well at the end. */
  readonly still: boolean
  /** ms in which the prober itself was held up. */
  readonly blind: number
}

/** Ends the watch. @returns one entry for each address, or a sentence that says why there is none */
export async function endWatch({ prober, skipped, services }: Watch): Promise<Downtime[] | string> {
  if (!prober) return `not measured, because ${skipped}`
  try {
    await prober.stop()
    return (await readLedger(prober.file)).map((l) => downtimeOf(l, services.get(l.address) ?? ''))
  } catch (error) {
    return `not measured to its end, because ${sentence(error)}`
  }
}

function downtimeOf(
  { address, requests, failed, outages, total, blind }: AddressLedger,
  service: string,
): Downtime {
  const known = outages.every((o) => o.atMost !== undefined)
  return {
    service,
    address,
    requests,
    failed,
    ms: total,
    atLeast: outages.reduce((sum, o) => sum + o.atLeast, 0),
    ...(known && { atMost: outages.reduce((sum, o) => sum + (o.atMost ?? 0), 0) }),
    before: outages[0] !== undefined && outages[0].lastOk === undefined,
    still: outages.at(-1) !== undefined && outages.at(-1)?.firstOk === undefined,
    blind: blind.reduce((sum, b) => sum + b.ms, 0),
  }
}

/** The ledger for people, one line for each address, the longest away first. */
export function downtimeText(downtimes: readonly Downtime[] | string): string {
  if (typeof downtimes === 'string') return `Downtime: ${downtimes}.`
  const lines = downtimes
    .toSorted((a, b) => b.ms - a.ms)
    .map((d) => {
      const range = d.atMost === undefined ? '' : ` (${seconds(d.atLeast)} to ${seconds(d.atMost)})`
      const away =
        d.failed === 0
          ? 'never away'
          : `away ${seconds(d.ms)}${range}, ${d.failed} of ${d.requests} requests failed`
      const notes = [
        d.before ? 'it was away before, too' : '',
        d.still ? 'it is STILL AWAY' : '',
        d.blind > 0 ? `unseen for ${seconds(d.blind)}` : '',
      ].filter(Boolean)
      return `  ${d.service}  ${d.address}: ${[away, ...notes].join('; ')}`
    })
  return ['Downtime, measured from outside at each public address:', ...lines].join('\n')
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`
