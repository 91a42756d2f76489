// Staging's public addresses, asked through production's proxy: what they are is read from its own labels.
import { setTimeout as delay } from 'node:timers/promises'
import { askAddress, type Question } from '../http.ts'
import { interruption } from '../shell.ts'
import type { Stack } from '../stack.ts'
import { labelsOf, rulesOf } from './routes.ts'

export interface Address extends Question {
  readonly service: string
  /** Behind a name and a password: without them it must answer 401. */
  readonly guarded: boolean
}

/** Every host that the services' labels declare, with the answer that each must give. */
export function addressesOf({ resolved, about, config: { PROXY_ADDRESS: via } }: Stack): Address[] {
  return Object.entries(resolved.services).flatMap(([service, s]) =>
    rulesOf(labelsOf(s)).flatMap(({ hosts, guarded, leadsTo }): Address[] => {
      const health = leadsTo.endsWith('@internal') ? undefined : about.services[service]?.health
      const wanted = guarded ? { status: 401 } : { ...(health?.json && { json: health.json }) }
      const path = guarded ? '/' : (health?.path ?? '/')
      return hosts.map((host) => ({
        service,
        guarded,
        url: `https://${host}${path}`,
        ...(via !== '' && { via }),
        ...wanted,
      }))
    }),
  )
}

const LONGEST_ANSWER = 5_000 // ms
const POLL = 250 // ms

/**
 * Waits until every address answers as it must, `deadline` ms at most.
 * @returns what each answered last; the ones that do not answer as they must have `ok: false`
 */
export async function askAll(
  addresses: readonly Address[],
  deadline: number,
): Promise<{ address: Address; ok: boolean; evidence: string }[]> {
  for (const end = performance.now() + deadline; ; await delay(POLL)) {
    interruption.getStore()?.throwIfAborted()
    const answers = await Promise.all(
      addresses.map(async (address) => {
        const { ok, evidence } = await askAddress(address, LONGEST_ANSWER)
        return { address, ok, evidence }
      }),
    )
    if (answers.every((a) => a.ok) || performance.now() > end) return answers
  }
}
