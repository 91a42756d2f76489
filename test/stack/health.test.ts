// Health by content and deadline (S27), and what health and status say.
import assert from 'node:assert/strict'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { checkService, type Verdict } from '../../lib/health.ts'
import { waitHealthy } from '../../lib/wait.ts'
import { useStack } from './fixture.ts'
import { runScript, startScript } from './tool.ts'

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

test('status in full: images with their age, sizes, disks, orphans, and what nobody has ended', async (t) => {
  const { stack, tool } = fixture
  await set({ GATEWAY_BOOT_DELAY_MS: '500' })
  await stack.compose('up', '-d')
  await stack.ready()
  const orphan = `${stack.project}-orphan`
  const labels = {
    'com.docker.compose.project': stack.project,
    'com.docker.compose.service': 'former',
    'com.docker.compose.project.working_dir': stack.dir,
    rehearsal: stack.id,
  }
  const image = `${fixture.machine.registry}/rehearsal/redis:8-alpine`
  await stack.docker(
    'create',
    '--name',
    orphan,
    '--tmpfs=/data',
    ...Object.entries(labels).flatMap(([k, v]) => ['--label', `${k}=${v}`]),
    image,
  )
  t.after(() => stack.docker('rm', '-f', orphan))
  const killed = join(tool.stateDir, 'runs', '20270401_000000-auto-backup')
  await mkdir(killed, { recursive: true, mode: 0o700 })
  const line = {
    at: new Date().toISOString(),
    seq: 0,
    kind: 'intent',
    title: 'run',
    detail: { script: 'auto-backup', pid: 2 ** 22 + 1 },
  }
  await writeFile(join(killed, 'journal.jsonl'), `${JSON.stringify(line)}\n{"torn`)
  const { code, stdout } = await runScript(stack, 'status')
  assert.equal(code, 0)
  assert.match(stdout, /NOT ENDED: 20270401_000000-auto-backup {2}NEVER ENDED.*\n {2}task auto-backup/)
  assert.match(
    stdout,
    /gateway +healthy +127\.0\.0\.1:\d+\/rehearsal\/gateway:latest-health [0-9a-f]{12}, built .* ago, started .* ago/,
  )
  assert.match(
    stdout,
    /rehearsal-health_gateway_uploads +[\d.]+ [kMG]?B +gateway:\/app\/uploads, static-files:/,
  )
  assert.match(stdout, /rehearsal-health_translator_models .*orphan: mounted by nothing/)
  assert.match(stdout, new RegExp(`Orphan containers.*\\n {2}${orphan} {2}former {2}created`))
  assert.match(stdout, /Disk\n(.*\n)*? {2}\S+ \(.*Docker.*\): [\d.]+ [MGT]B free of [\d.]+ [MGT]B/)
  await rm(killed, { recursive: true })
})

test('status while the database is down, and has no container: what cannot be measured is said', async () => {
  const { stack } = fixture
  await stack.compose('rm', '-f', '-s', 'database')
  const { code, stdout, stderr } = await runScript(stack, 'status')
  assert.equal(code, 0, stderr)
  assert.match(stdout, /database +no container/)
  assert.match(stdout, /Volumes \(not measured, because The database has no container/)
  const health = await runScript(stack, 'health')
  assert.equal(health.code, 3)
  assert.match(health.stdout, /✖ database: it has no container/)
  await stack.compose('up', '-d')
  await stack.ready()
})

test('--watch goes on until it is told to end, one answer after the other', async () => {
  const run = startScript(fixture.stack, 'status', ['--watch', '--json'])
  const answers = (): string[] =>
    run
      .printed()
      .split('\n')
      .filter((l) => l.startsWith('{'))
  while (answers().length < 2) await delay(100)
  process.kill(run.pid, 'SIGINT')
  const { code } = await run.ended
  assert.equal(code, 130)
  assert.equal((JSON.parse(answers()[1] ?? '') as { services: unknown[] }).services.length, 9)
})

test('of a scaled service every container is asked', async (t) => {
  const { stack } = fixture
  const file = join(stack.dir, 'docker-compose.yml')
  const text = await readFile(file, 'utf8')
  t.after(async () => {
    await writeFile(file, text)
    await stack.compose('up', '-d', '--scale', 'static-files=1')
    await stack.ready()
  })
  await writeFile(file, text.replace(/^ {4}container_name: \S+-static-files\n/m, ''))
  await stack.compose('up', '-d', '--scale', 'static-files=2')
  await waitHealthy(await fixture.look(), ['static-files'])
  const second = `${stack.project}-static-files-2`
  await stack.docker('pause', second)
  const seen = await checkService(await fixture.look(), 'static-files')
  await stack.docker('unpause', second)
  assert.equal(seen.ok, false)
  assert.match(seen.evidence, new RegExp(`${second}: .*paused`))
})
