// Health by content and deadline (S27), and what health and status say.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Verdict } from '../../lib/health.ts'
import { waitHealthy } from '../../lib/wait.ts'
import { useStack } from './fixture.ts'
import { runScript } from './tool.ts'

const fixture = useStack({ id: 'health' })

async function verdicts(): Promise<{ code: number | null; of: (name: string) => Verdict | undefined }> {
  const { code, stdout } = await runScript(fixture.stack, 'health', ['--json'])
  const all = JSON.parse(stdout) as Verdict[]
  return { code, of: (name) => all.find((v) => (v.address ?? v.service) === name) }
}

/** Sets keys of the stack's own .env and lets Compose recreate what they concern. */
async function set(values: Readonly<Record<string, string>>): Promise<void> {
  const file = join(fixture.stack.dir, '.env')
  const lines = Object.entries(values).map(([key, value]) => `${key}=${value}\n`)
  await writeFile(file, (await readFile(file, 'utf8')) + lines.join(''))
}

test('a healthy stack: every service and address, the known wart told and not fatal', async () => {
  const { code, of } = await verdicts()
  assert.equal(code, 0)
  assert.equal(of('gateway')?.ok, true)
  assert.equal(of('http://gate.rehearsal.test/health') ?? of('https://gate.rehearsal.test/health')?.ok, true)
  const wart = of('p3x-redis-ui')
  assert.deepEqual([wart?.ok, wart?.optional], [false, true])
})

test('a translator that answers 200 with status unhealthy is not healthy', async () => {
  const { stack } = fixture
  await stack.release('translator', 'unhealthy')
  await stack.compose('pull', 'translator')
  await stack.compose('up', '-d', 'translator')
  let seen = await verdicts()
  for (let n = 0; n < 10 && /no answer/.test(seen.of('translator')?.evidence ?? ''); n++)
    seen = await verdicts()
  assert.equal(seen.code, 3)
  assert.equal(seen.of('translator')?.ok, false)
  assert.match(seen.of('translator')?.evidence ?? '', /answered 200, but status is 'unhealthy'/)
  await stack.release('translator', '1.0')
  await stack.compose('pull', 'translator')
  await stack.compose('up', '-d', 'translator')
  await stack.ready()
})

test('a gateway whose body says that translation is down is not healthy, though it answers 200', async () => {
  const { stack } = fixture
  await stack.docker('stop', stack.container('translator'))
  const { code, of } = await verdicts()
  assert.equal(code, 3)
  assert.match(of('gateway')?.evidence ?? '', /services\.translation\.status/)
  assert.match(of('translator')?.evidence ?? '', /exited/)
  await stack.docker('start', stack.container('translator'))
  await stack.ready()
})

test('a database that does not answer is not healthy, and nothing hangs', async () => {
  const { stack } = fixture
  await stack.docker('pause', stack.container('database'))
  const began = performance.now()
  const { code, of } = await verdicts()
  await stack.docker('unpause', stack.container('database'))
  assert.equal(code, 3)
  assert.equal(of('database')?.ok, false)
  assert.ok(performance.now() - began < 20_000)
  await stack.ready()
})

test('a slow service is waited for, a quick one costs no more than its boot', async () => {
  const { stack } = fixture
  const boot = async (ms: number): Promise<number> => {
    await set({ GATEWAY_BOOT_DELAY_MS: String(ms) })
    await stack.compose('up', '-d', '--no-deps', 'gateway')
    const began = performance.now()
    await waitHealthy(await fixture.look(), ['gateway'])
    return performance.now() - began
  }
  const slow = await boot(7_000)
  assert.ok(slow > 6_000, `${slow} ms`)
  const quick = await boot(500)
  assert.ok(quick < 4_000, `${quick} ms`)
})

test('a service that is not healthy by its deadline is given up, with its last answer and its log', async () => {
  const { stack } = fixture
  await set({ GATEWAY_BOOT_DELAY_MS: '60000' })
  await stack.compose('up', '-d', '--no-deps', 'gateway')
  await assert.rejects(
    async () => waitHealthy(await fixture.look(), ['gateway']),
    /gateway did not become healthy in 10\.\d s.*the last lines of its log|gateway did not become healthy/s,
  )
})

test('status tells services, mounts, orphans and runs', async () => {
  const { stack } = fixture
  const { code, stdout } = await runScript(stack, 'status', ['--json'])
  assert.equal(code, 0)
  const status = JSON.parse(stdout) as {
    volumes: { volume: string; mountedBy: string[] }[]
    services: { service: string }[]
  }
  assert.equal(status.services.length, 9)
  const mounted = (key: string): string[] | undefined =>
    status.volumes.find((v) => v.volume === `${stack.project}_${key}`)?.mountedBy
  assert.deepEqual(mounted('models_data'), ['translator:/workspace/models'])
  assert.deepEqual(mounted('translator_models'), [], 'an orphan is told as one')
})
