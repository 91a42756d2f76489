// The act in which staging stands beside production: put up while users use production, and taken down again.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { publicAddresses } from '../../lib/health.ts'
import { loadConfig } from '../../lib/env.ts'
import { readLedger } from '../../lib/ledger.ts'
import { startProber } from '../../lib/prober.ts'
import { readStack, type Stack as Seen } from '../../lib/stack.ts'
import { lives } from '../stack/fixture.ts'
import type { Machine } from '../stack/machine/machine.ts'
import type { Stack } from '../stack/stack.ts'
import { stagingFor } from '../stack/staging.ts'
import { toolFor } from '../stack/tool.ts'
import { chapter, proven, task } from './telling.ts'

/** Chapters from `first` on; `folder` is for what a prober writes. */
export async function stagingAct(
  stack: Stack,
  machine: Machine,
  folder: string,
  first: number,
): Promise<void> {
  const staging = stagingFor(stack, machine)
  const { dir, envFile, schema } = staging
  const tool = toolFor(stack, { STAGING_DIR: dir, STAGING_ENV_FILE: envFile, SCHEMA: schema })
  const look = (): Promise<Seen> => readStack(loadConfig(tool.envFile))
  const before = await look()
  const file = join(folder, 'staging.jsonl')
  const prober = await startProber({ addresses: publicAddresses(before), file })

  chapter(
    first,
    'Staging, and settings that are wrong',
    'The new stack beside production. First with secrets of production and a live way out: nothing is touched.',
  )
  staging.write({ JWT_SECRET: before.env.JWT_SECRET, SMTP_HOST: 'smtp.example.org', ATABETH_ROLE: 'user' })
  assert.equal(await task(stack, tool, 'deploy-staging'), 3, 'it must be refused')
  staging.write()
  assert.equal(await task(stack, tool, 'deploy-staging'), 0, 'staging must stand')
  proven('its addresses answer through the proxy of production, three of them only with a password')

  chapter(first + 1, 'Staging goes again', 'Containers, network, volumes; production keeps its own.')
  const words = ['--', '--all-volumes', '--confirm', staging.name]
  assert.equal(await task(stack, tool, 'teardown-staging', ...words), 0, 'it must be gone')
  await prober.stop()
  assert.deepEqual(lives(await look()), lives(before))
  proven('production has the same containers, none restarted')
  for (const { address, requests, failed } of await readLedger(file)) {
    assert.equal(failed, 0, address)
    proven(`${address}: ${requests} requests meanwhile, none failed`)
  }
}
