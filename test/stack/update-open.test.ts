// An update that was killed, or that goes through an engine's one-way door: going on, and going back.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import type { Report } from '../../lib/run.ts'
import { losses } from '../../lib/sentinel.ts'
import { changedVolumes } from '../../lib/volumes.ts'
import { picture, sameAs, useStack } from './fixture.ts'
import { publish } from './published.ts'
import { runScript, startScript, type Ended } from './tool.ts'

const fixture = useStack({ id: 'open' })

const DATABASE = 'mongo:next-open' // the database's own name in the registry, which moves
const refOf = (name: string): string => `${fixture.machine.registry}/rehearsal/${name}`

after(async () => {
  const { docker } = fixture.stack
  const here = (await docker('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}')).split('\n')
  if (here.includes(refOf(DATABASE))) await docker('image', 'rm', refOf(DATABASE))
})

/** Starts an update and kills it as soon as its journal says that this step has begun, or is done. */
async function killAt(
  kind: 'intent' | 'done',
  title: string,
  args: readonly string[],
  stamp: string,
): Promise<void> {
  const { stack, tool } = fixture
  const journal = join(tool.stateDir, 'runs', `${stamp}-update`, 'journal.jsonl')
  const run = startScript(stack, 'update', ['--stamp', stamp, ...args])
  const wanted = (line: string): boolean =>
    line.includes(`"kind":"${kind}"`) && line.includes(`"title":"${title}"`)
  let ended = false
  void run.ended.then(() => (ended = true))
  while (!(existsSync(journal) && readFileSync(journal, 'utf8').split('\n').some(wanted))) {
    assert.ok(!ended, `it ended before '${title}': ${run.printed()}`)
    await delay(5)
  }
  process.kill(run.pid, 'SIGKILL')
  await run.ended
}

/** Runs it once what the killed run had started has ended. */
async function afterKill(...args: readonly string[]): Promise<Ended> {
  for (;;) {
    const ended = await runScript(fixture.stack, 'update', args)
    if (ended.code !== 5) return ended
    await delay(500)
  }
}

test('there is nothing to resume, and nothing to abort', async () => {
  for (const flag of ['--resume', '--abort']) {
    const { code, stderr } = await runScript(fixture.stack, 'update', [flag])
    assert.equal(code, 3, stderr)
    assert.match(stderr, /There is no update to (resume|abort).*Nothing was changed/)
  }
  assert.equal((await runScript(fixture.stack, 'update', ['--resume', '--abort'])).code, 2)
  assert.equal((await runScript(fixture.stack, 'update', ['--resume', 'gateway'])).code, 2)
})

test('--all, killed while everything is down: status says how to go on, --resume does, with the set from before', async () => {
  const { stack } = fixture
  await stack.release('gateway', '1.1')
  const before = await picture(fixture)
  await killAt('done', 'Stop the others that change', ['--all'], '20270201_000001')
  const status = await runScript(stack, 'status')
  assert.match(status.stdout, /task update -- --resume/)
  assert.match(status.stdout, /task update -- --abort/)
  const { code, stderr, stdout } = await afterKill('--resume')
  assert.equal(code, 0, stderr + stdout)
  assert.match(stdout, /sealed before anything was stopped: \S+pre-update-20270201_000001/)
  const now = await picture(fixture)
  assert.deepEqual(losses(before.documents, now.documents), [])
  assert.deepEqual(changedVolumes(before.volumes, now.volumes), [])
  for (const [name, life] of Object.entries(now.lives))
    assert.notEqual(life, before.lives[name], `${name} is new`)
  assert.equal((await runScript(stack, 'update', ['--resume'])).code, 3, 'it has come to its end')
})

test('killed while the new version starts: --abort brings back what ran, and a way back that was killed goes on', async () => {
  const { stack } = fixture
  const before = await picture(fixture)
  await stack.release('gateway', 'never-healthy')
  await killAt('intent', 'Start the new version', [], '20270201_000002')
  await killAbort('20270201_000003')
  const resumed = await afterKill('--resume')
  assert.equal(resumed.code, 3, resumed.stderr)
  assert.match(resumed.stderr, /was on its way back/)
  const { code, stderr, stdout } = await runScript(stack, 'update', ['--abort'])
  assert.equal(code, 0, stderr + stdout)
  assert.match(stdout, /What ran before runs again/)
  await stack.release('gateway', '1.1')
  await sameAs(fixture, before)
})

async function killAbort(stamp: string): Promise<void> {
  const { stack, tool } = fixture
  const journal = join(tool.stateDir, 'runs', `${stamp}-update`, 'journal.jsonl')
  for (;;) {
    const run = startScript(stack, 'update', ['--abort', '--stamp', stamp])
    let ended: Ended | undefined
    void run.ended.then((e) => (ended = e))
    while (
      !ended &&
      !(existsSync(journal) && readFileSync(journal, 'utf8').includes('"title":"Start what ran"'))
    )
      await delay(5)
    if (!ended) process.kill(run.pid, 'SIGKILL')
    const { code } = await run.ended
    if (code !== 5) return assert.equal(code, null, 'it was killed')
    await delay(500)
  }
}

/** The database under a name that moves, as it runs now. */
async function movingDatabase(): Promise<void> {
  const { stack } = fixture
  const file = join(stack.dir, '.env')
  const env = await readFile(file, 'utf8')
  if (env.includes(DATABASE)) return
  const runs = refOf('mongo:8.0')
  await publish(stack, runs, refOf(DATABASE))
  await writeFile(file, env.replace(/^DATABASE_IMAGE=.*$/m, `DATABASE_IMAGE=${refOf(DATABASE)}`))
  await stack.compose('pull', 'database')
  await stack.compose('up', '-d')
  await stack.ready()
}

const forget = (): Promise<void> => rm(join(fixture.tool.stateDir, 'failed-images.json'), { force: true })

for (const [to, says] of [
  ['8.0.4', /from MongoDB 6\.0\.\d+ to 8\.0\.4 leaves out a major version/],
  ['5.0.9', /holds MongoDB 5\.0\.9, older than the 6\.0\.\d+ that runs/],
] as const) {
  test(`MongoDB ${to} is refused before anything stops`, async () => {
    const { stack } = fixture
    await movingDatabase()
    const before = await picture(fixture)
    await publish(stack, refOf('mongo:8.0'), refOf(DATABASE), { variables: { MONGO_VERSION: to } })
    const { code, stderr } = await runScript(stack, 'update')
    assert.equal(code, 1, stderr)
    assert.match(stderr, says)
    assert.match(stderr, /nothing of it was stopped/)
    await sameAs(fixture, before)
  })
}

const hidden = async (): Promise<string[]> =>
  (await fixture.stack.docker('exec', fixture.stack.container('database'), 'ls', '-A', '/data/db'))
    .split('\n')
    .filter((name) => name.startsWith('.runbook-'))

test('a door and a version that never becomes healthy: code and data go back together', async () => {
  const { stack } = fixture
  await forget()
  await movingDatabase()
  const before = await picture(fixture)
  await publish(stack, refOf('mongo:8.0'), refOf(DATABASE), { variables: { MONGO_VERSION: '7.0.1' } })
  await stack.release('gateway', 'never-healthy')
  const run = startScript(stack, 'update')
  while (!/Start the new version/.test(run.printed())) await delay(50)
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  await client.db('meeshy').collection('User').insertOne({ writtenBy: 'the new version' })
  await client.close()
  const { code, stderr, stdout } = await run.ended
  await stack.release('gateway', '1.1')
  assert.equal(code, 1, stderr)
  assert.match(stdout, /MongoDB 6\.0\.\d+ → 7\.0\.1: a one-way door/)
  assert.match(
    stderr,
    /database has its files from before; what the new version wrote is kept as \.runbook-failed-/,
  )
  await sameAs(fixture, before)
  const again = await new MongoClient(await stack.mongoUrl()).connect()
  const written = await again.db('meeshy').collection('User').countDocuments({ writtenBy: 'the new version' })
  await again.close()
  assert.equal(written, 0, 'the data is that from before')
  const names = await hidden()
  assert.equal(names.length, 1)
  assert.match(names[0] ?? '', /^\.runbook-failed-/)
})

test('a door, killed while the files are copied, then aborted; then resumed to a good end', async () => {
  const { stack, tool } = fixture
  await forget()
  await movingDatabase()
  const left = await hidden()
  const before = await picture(fixture)
  await publish(stack, refOf('mongo:8.0'), refOf(DATABASE), { variables: { MONGO_VERSION: '7.0.2' } })
  await killAt('intent', 'Keep engine files aside', [], '20270201_000005')
  const aborted = await afterKill('--abort')
  assert.equal(aborted.code, 0, aborted.stderr + aborted.stdout)
  await sameAs(fixture, before)

  await killAt('done', 'Keep engine files aside', [], '20270201_000006')
  const { code, stderr, stdout } = await afterKill('--resume')
  assert.equal(code, 0, stderr + stdout)
  const now = await picture(fixture)
  assert.deepEqual(losses(before.documents, now.documents), [])
  assert.notEqual(now.images.database, before.images.database)
  assert.deepEqual(await hidden(), left, 'the copy that only the way back needed is gone')
  const runs = JSON.parse((await runScript(stack, 'status', ['--json'])).stdout) as {
    runs: { exitCode?: number }[]
  }
  assert.equal(runs.runs[0]?.exitCode, 0)
  assert.ok(tool.stateDir)
})

test('the whole update by hand: each line of the plan pasted into a shell, one after the other', async () => {
  const { stack } = fixture
  await forget()
  await stack.release('gateway', '1.0')
  const before = await picture(fixture)
  const plan = await runScript(stack, 'update', ['--plan'])
  assert.equal(plan.code, 0, plan.stderr)
  const lines = plan.stdout.split('\n').filter((l) => l !== '' && !l.startsWith('#'))
  for (const verb of ['pull', 'stop', 'rm', 'up'])
    assert.ok(
      lines.some((l) => new RegExp(`docker compose .* ${verb}\\b`).test(l)),
      `${verb} is a line of docker`,
    )
  const { execFile } = await import('node:child_process')
  for (const line of lines) {
    const failed = await new Promise<string>((resolve) => {
      execFile('sh', ['-c', line], { env: { ...process.env, ...stack.env } }, (error, stdout, stderr) =>
        resolve(error ? `${line}\n${stdout}${stderr}` : ''),
      )
    })
    assert.equal(failed, '')
  }
  const now = await picture(fixture)
  assert.notEqual(now.images.gateway, before.images.gateway)
  assert.notEqual(now.lives.frontend, before.lives.frontend, 'and what depends on it')
  assert.equal(now.lives.database, before.lives.database)
  assert.deepEqual(losses(before.documents, now.documents), [])
})

test('one downtime ledger for each address, in the report', async () => {
  const { stack, tool } = fixture
  await stack.release('frontend', '1.1')
  const { code, stderr, stdout } = await runScript(stack, 'update', ['--stamp', '20270201_000009'])
  assert.equal(code, 0, stderr + stdout)
  const file = join(tool.stateDir, 'runs', '20270201_000009-update', 'report.json')
  const { facts } = JSON.parse(await readFile(file, 'utf8')) as Report
  const ledger = facts.downtime as { service: string; failed: number; requests: number; ms: number }[]
  const of = (name: string) => ledger.filter((d) => d.service === name)
  assert.ok(
    of('gateway').every((d) => d.failed === 0 && d.requests > 50),
    'the gateway was never away',
  )
  assert.ok(
    of('frontend').every((d) => d.failed > 0 && d.ms > 0),
    'the frontend was',
  )
  assert.match(stdout, /gateway {2}https:\/\/gate\.rehearsal\.test\/health: never away/)
})
