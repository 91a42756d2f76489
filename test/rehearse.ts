// The runbook on a real, throw-away stack, told as a story: what happens, the command that does it, what it proves.
// npm run rehearse [-- --keep --scale N --fast]
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadConfig } from '../lib/env.ts'
import { sentence } from '../lib/errors.ts'
import { publicAddresses } from '../lib/health.ts'
import { readLedger } from '../lib/ledger.ts'
import { startProber } from '../lib/prober.ts'
import { countDocuments, losses } from '../lib/sentinel.ts'
import { readStack, type Stack as Seen } from '../lib/stack.ts'
import { changedVolumes, mountedVolumes } from '../lib/volumes.ts'
import { restoreAct } from './acts/restore.ts'
import { stagingAct } from './acts/staging.ts'
import { chapter, proven, say, task, type } from './acts/telling.ts'
import { ensureMachine, type Machine } from './stack/machine/machine.ts'
import { createStack, destroyStack, type Stack } from './stack/stack.ts'
import { start, toolFor } from './stack/tool.ts'
import { startWriter } from './stack/writer.ts'

const ID = 'story'
const { values: flags } = parseArgs({
  options: {
    keep: { type: 'boolean', default: false },
    scale: { type: 'string', default: '1' },
    fast: { type: 'boolean', default: false },
    install: { type: 'boolean', default: false },
  },
})

async function version(stack: Stack): Promise<string> {
  const { stdout } = await start(
    [
      'curl',
      '-sS',
      '--fail',
      '--max-time',
      '5',
      '-H',
      `Host: ${stack.hosts.gate}`,
      `http://127.0.0.1:${stack.proxyPort}/info`,
    ],
    process.env,
  ).ended
  return (JSON.parse(stdout) as { version: string }).version
}

async function story(stack: Stack, machine: Machine, folder: string): Promise<void> {
  const tool = toolFor(stack)
  for (const [key, value] of Object.entries(stack.env)) if (value !== undefined) process.env[key] = value
  const look = (): Promise<Seen> => readStack(loadConfig(tool.envFile))

  const before = await look()
  const volumes = await mountedVolumes(before)
  const documents = await countDocuments(before)
  const total = Object.values(documents).reduce((a, b) => a + b, 0)
  say(
    `   ${before.services.length} services, ${volumes.length} mounts, ${total.toLocaleString('en')} documents in ${Object.keys(documents).length} collections`,
  )

  chapter(
    2,
    'What is true now',
    'Nothing is believed: services are asked, volumes are matched with what mounts them.',
  )
  await task(stack, tool, 'status')
  assert.equal(await task(stack, tool, 'health'), 0, 'a fresh stack is healthy')

  chapter(
    3,
    'Users write, and somebody outside watches',
    'A writer sends messages, keys, uploads and avatars to the public addresses and keeps what was acknowledged.',
    'A prober asks each public address every 50 ms.',
  )
  const writer = await startWriter(stack, { ratePerSecond: 20, limit: 20_000, seconds: 1_800 })
  const ledgerFile = join(folder, 'prober.jsonl')
  const prober = await startProber({ addresses: publicAddresses(before), file: ledgerFile })

  chapter(
    4,
    'A new version is released: task update',
    'The registry has gateway and frontend 1.1. Backup, pull, stop, rm, up, verify.',
  )
  await stack.release('gateway', '1.1')
  await stack.release('frontend', '1.1')
  assert.equal(await task(stack, tool, 'update'), 0, 'the update must succeed')
  assert.equal(await version(stack), '1.1')
  proven('the gateway answers as version 1.1')
  const updated = await look()
  assert.deepEqual(changedVolumes(volumes, await mountedVolumes(updated)), [])
  proven(`the same ${volumes.length} mounts of the same volumes, by name and creation time`)

  chapter(
    5,
    'A version that never becomes healthy',
    'The update must notice, bring version 1.1 back by itself, say so, and end with a code that is not 0.',
  )
  await stack.release('gateway', 'never-healthy')
  const failed = await task(stack, tool, 'update', '--', 'gateway')
  assert.equal(failed, 1, `a failed update that was rolled back ends with 1, not ${failed}`)
  proven('the update failed and said so (exit code 1)')
  assert.equal(await version(stack), '1.1')
  proven('version 1.1 answers again')
  const back = await look()
  await type(stack, ['docker', 'compose', '--project-directory', stack.dir, 'up', '-d'])
  const again = await look()
  const ids = (s: Seen): string[] => s.services.map((x) => x.container?.Id ?? '')
  assert.deepEqual(ids(again), ids(back))
  proven('a plain `docker compose up -d` recreates nothing: the local tags mean the old images again')

  chapter(6, 'The proof')
  await prober.stop()
  const summary = await writer.stop()
  const check = await writer.check()
  assert.deepEqual([check.lost, check.wrong], [[], []])
  proven(
    `${check.checked.toLocaleString('en')} acknowledged writes were read back, none lost or changed ` +
      `(${summary.failed} were refused while the gateway was away: their users know)`,
  )
  const after = await look()
  assert.deepEqual(losses(documents, await countDocuments(after)), [])
  proven('no collection lost a document')
  assert.deepEqual(changedVolumes(volumes, await mountedVolumes(after)), [])
  proven('no volume was replaced')
  say('\n   What a visitor saw, over both updates:')
  for (const { address, requests, failed: bad, outages } of await readLedger(ledgerFile)) {
    const times = outages.map((o) => `${(o.ms / 1000).toFixed(1)} s`).join(', ') || 'never away'
    say(`   ${address}: ${requests} requests, ${bad} failed; away: ${times}`)
  }
  await restoreAct(stack, tool, writer, 7)
  await stagingAct(stack, machine, folder, 11)
}

async function main(): Promise<void> {
  const began = performance.now()
  const scale = Number(flags.scale)
  const machine = await ensureMachine({ install: flags.install })
  const folder = await mkdtemp(join(tmpdir(), 'rehearsal-'))
  try {
    chapter(
      1,
      'A stack like production',
      'Real Docker, Compose, MongoDB replica set, Redis, registry and Task; stand-ins for the applications.',
      'Everything is named rehearsal-… and nothing else on this machine is touched.',
    )
    await destroyStack(machine, ID) // what an earlier rehearsal has left
    const stack = await createStack(machine, { id: ID, scale, timing: flags.fast ? 'fast' : 'true' })
    say(`   ${stack.project} is up, its proxy on 127.0.0.1:${stack.proxyPort} (${seconds(began)})`)
    try {
      await story(stack, machine, folder)
      say(`\n━━ Everything held (${seconds(began)}).`)
    } finally {
      if (flags.keep) lookAround(stack)
      else await stack.destroy()
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
    if (!flags.keep) await machine.stop()
  }
}

const seconds = (began: number): string => `${((performance.now() - began) / 1000).toFixed(1)} s`

function lookAround(stack: Stack): void {
  const env = ['DOCKER_HOST', 'DOCKER_CONFIG'].flatMap((k) =>
    stack.env[k] ? [`export ${k}=${stack.env[k]}`] : [],
  )
  say('\n━━ Kept. To look around:')
  for (const line of [
    ...env,
    `cd ${stack.dir} && docker compose ps`,
    `task status STACK=${join(stack.dir, '..', 'runbook', 'rehearsal.env')}`,
  ])
    say(`   ${line}`)
  say('   The next rehearsal removes it and starts afresh.')
}

try {
  await main()
} catch (error) {
  say(`\n✖ The rehearsal failed: ${sentence(error)}`)
  process.exitCode = 1
}
