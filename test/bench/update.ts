// An update beside the guide's own lines (stop, rm -f, up -d, and waiting), at true boot delays: how long a visitor
// was not served, seen from outside at the public addresses.
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { loadConfig } from '../../lib/env.ts'
import { publicAddresses } from '../../lib/health.ts'
import { readLedger, type AddressLedger } from '../../lib/ledger.ts'
import { startProber } from '../../lib/prober.ts'
import { readStack } from '../../lib/stack.ts'
import type { Versioned } from '../stack/apps/images.ts'
import type { Stack } from '../stack/stack.ts'
import { runScript, toolFor } from '../stack/tool.ts'
import type { Figure, Order } from './figure.ts'

const SETTLE = 3_000 // ms before and after, in which everything answers
const ALLOWED = 1.1 // times the downtime of the guide's lines, with --all
const HALF = 2 // times better with only the frontend changed

type Seen = Readonly<Record<'gateway' | 'frontend', AddressLedger>>

/** Measures updates. */
export async function update({ stack, runs, say }: Order): Promise<Figure[]> {
  const folder = join(dirname(stack.dir), 'bench')
  await mkdir(folder)
  const tool = toolFor(stack)
  const addresses = publicAddresses(await readStack(loadConfig(tool.envFile)))
  const rounds: Record<'guide' | 'all' | 'frontend', Seen>[] = []

  const watched = async (name: string, act: () => Promise<void>): Promise<Seen> => {
    await stack.ready()
    const file = join(folder, `${name}.jsonl`)
    const prober = await startProber({ addresses, file })
    await delay(SETTLE)
    await act()
    await stack.ready()
    await delay(SETTLE)
    await prober.stop()
    const ledgers = await readLedger(file)
    const of = (host: string): AddressLedger => {
      const found = ledgers.find((l) => new URL(l.address).host === host)
      if (!found) throw new Error(`Nothing was asked of ${host}.`)
      return found
    }
    return { gateway: of(stack.hosts.gate), frontend: of(stack.hosts.site) }
  }
  const ours = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await runScript(stack, 'update', args)
    if (code !== 0) throw new Error(`update ended with ${code}: ${stderr}`)
  }

  for (let n = 1; n <= runs; n++) {
    const version = n % 2 === 1 ? '1.1' : '1.0'
    say(`the guide's lines, ${n} of ${runs}`)
    await releaseAll(stack, ['gateway', 'frontend'], version)
    const guide = await watched(`guide-${n}`, async () => {
      await stack.compose('pull', '--quiet')
      await stack.compose('stop')
      await stack.compose('rm', '-f')
      await stack.compose('up', '-d')
    })
    say(`update --all, ${n} of ${runs}`)
    await releaseAll(stack, ['gateway', 'frontend'], version === '1.1' ? '1.0' : '1.1')
    const all = await watched(`all-${n}`, () => ours('--all'))
    say(`only the frontend changed, ${n} of ${runs}`)
    await releaseAll(stack, ['frontend'], version)
    const frontend = await watched(`frontend-${n}`, () => ours())
    rounds.push({ guide, all, frontend })
  }

  const away = (which: keyof (typeof rounds)[number], service: keyof Seen): number[] =>
    rounds.map((r) => r[which][service].total / 1000)
  const conditions = {
    timing: stack.timing,
    guide: 'docker compose stop, rm -f, up -d, all services; the pull before it',
    blind: rounds.flatMap((r) => Object.values(r).flatMap((s) => [s.gateway.blind, s.frontend.blind].flat())),
  }
  const seconds = { unit: 's', better: 'less', conditions } as const
  return [
    {
      ...seconds,
      name: 'update --all: gateway away',
      ours: away('all', 'gateway'),
      other: away('guide', 'gateway'),
      atLeast: 1 / ALLOWED,
    },
    {
      ...seconds,
      name: 'only the frontend changed: frontend away',
      ours: away('frontend', 'frontend'),
      other: away('guide', 'frontend'),
      atLeast: HALF,
    },
    {
      name: 'only the frontend changed: failed requests at the gateway',
      unit: 'requests',
      better: 'less',
      ours: rounds.map((r) => r.frontend.gateway.failed),
      atMost: 0,
      conditions: {
        ...conditions,
        asked: rounds.map((r) => r.frontend.gateway.requests),
        why: rounds.flatMap((r) => r.frontend.gateway.outages.map((o) => o.why)),
      },
    },
  ]
}

async function releaseAll(stack: Stack, services: readonly Versioned[], version: string): Promise<void> {
  for (const service of services) await stack.release(service, version)
}
