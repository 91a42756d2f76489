// The update on a real stack: what it must refuse, what it must bring back, and that nothing is lost (S19, S20, S23, S24).
import assert from 'node:assert/strict'
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { losses } from '../../lib/sentinel.ts'
import { changedVolumes } from '../../lib/volumes.ts'
import { lives, picture, sameAs, useStack } from './fixture.ts'
import { runScript, startScript, toolFor } from './tool.ts'
import { startWriter } from './writer.ts'

const fixture = useStack({ id: 'update' })

/** What has failed before may be tried again. */
const forget = (): Promise<void> => rm(join(fixture.tool.stateDir, 'failed-images.json'), { force: true })

test('S19: when the backup fails, nothing is stopped', async () => {
  const { stack } = fixture
  await stack.release('gateway', '1.1')
  const before = await picture(fixture)
  const impossible = join(stack.dir, '..', 'a file')
  await writeFile(impossible, '')
  toolFor(stack, { BACKUP_DIR: join(impossible, 'backups') })
  const { code, stderr } = await runScript(stack, 'update')
  toolFor(stack)
  assert.equal(code, 3, stderr)
  assert.match(stderr, /BACKUP_DIR|cannot be (made|written)/)
  assert.match(stderr, /Nothing was changed/)
  assert.deepEqual(await picture(fixture), before)
})

test('S19: when MongoDB is away, the backup says so and nothing is stopped', async () => {
  const { stack } = fixture
  await stack.docker('pause', stack.container('database'))
  try {
    const before = lives(await fixture.look())
    const { code, stderr } = await runScript(stack, 'update')
    assert.equal(code, 3, stderr)
    assert.match(stderr, /MongoDB/)
    assert.deepEqual(lives(await fixture.look()), before)
  } finally {
    await stack.docker('unpause', stack.container('database'))
  }
  await stack.ready()
})

test('S23: when the registry is away, it is said before anything else, and nothing is stopped', async () => {
  const { stack } = fixture
  const before = await picture(fixture)
  const file = join(stack.dir, '.env')
  const env = await readFile(file, 'utf8')
  const dead = env.replace(/^GATEWAY_IMAGE=.*$/m, 'GATEWAY_IMAGE=127.0.0.1:1/rehearsal/gateway:latest')
  assert.notEqual(dead, env)
  await writeFile(file, dead)
  try {
    const { code, stderr } = await runScript(stack, 'update')
    assert.equal(code, 3, stderr)
    assert.match(stderr, /The registry 127.0.0.1:1 does not answer/)
    assert.match(stderr, /Nothing was changed/)
  } finally {
    await writeFile(file, env)
  }
  await sameAs(fixture, before)
})

test('an update to a good version: only what changed and its dependents, the others untouched', async () => {
  const { stack } = fixture
  await stack.release('gateway', '1.1')
  const before = await fixture.look()
  const { code, stderr, stdout } = await runScript(stack, 'update')
  assert.equal(code, 0, stderr + stdout)
  const was = lives(before)
  const is = lives(await fixture.look())
  for (const name of ['gateway', 'frontend']) assert.notEqual(is[name], was[name], `${name} is new`)
  for (const name of ['traefik', 'database', 'redis', 'translator', 'static-files'])
    assert.equal(is[name], was[name], name)
})

for (const [service, version, says] of [
  ['gateway', 'never-healthy', /gateway/],
  ['gateway', 'crashes-late', /gateway did not stay healthy|gateway/],
  ['gateway', 'empty-database', /userCount/],
  ['translator', 'unhealthy', /translator.*unhealthy/s],
] as const) {
  test(`S20: ${service} ${version} is rolled back by itself`, async () => {
    const { stack } = fixture
    await forget()
    const before = await picture(fixture)
    const writer = await startWriter(stack, { ratePerSecond: 10 })
    await stack.release(service as 'gateway', version as '1.0')
    const { code, stderr } = await runScript(stack, 'update')
    await stack.release('gateway', '1.1')
    await stack.release('translator', '1.0')
    await writer.stop()
    const { checked, lost, wrong } = await writer.check()
    assert.equal(code, 1, stderr)
    assert.match(stderr, says)
    assert.match(stderr, /The version that ran before runs again/)
    await sameAs(fixture, before)
    assert.ok(checked > 0)
    assert.deepEqual(wrong, [])
    // What users wrote while the new version used another database is there, and the message says where.
    if (version === 'empty-database')
      assert.match(stderr, /has made the database '\w+' and written [\d,]+ documents/)
    else assert.deepEqual(lost, [])
  })
}

test('exit code 10: neither the new nor the old version could be brought up, and it says so', async () => {
  const { stack } = fixture
  await forget()
  await rm(join(fixture.tool.stateDir, 'configuration.json'))
  await stack.release('gateway', 'never-healthy')
  const file = join(stack.dir, 'docker-compose.yml')
  const good = await readFile(file, 'utf8')
  const run = startScript(stack, 'update')
  while (!/Start the new version/.test(run.printed())) await new Promise((r) => setTimeout(r, 100))
  await writeFile(file, 'services: [')
  const { code, stderr } = await run.ended
  await writeFile(file, good)
  assert.equal(code, 10, stderr)
  assert.match(stderr, /NOT confirmed to be as it was/)
  assert.match(stderr, /Could not be undone/)
  await stack.release('gateway', '1.1')
  const again = await runScript(stack, 'update')
  assert.equal(again.code, 0, again.stderr + again.stdout)
})

test('killed after the old containers were removed, onto a version that never becomes healthy: the old one is back', async (t) => {
  const { stack, tool } = fixture
  await forget()
  t.after(() => stack.release('gateway', '1.1'))
  const before = await picture(fixture)
  await stack.release('gateway', 'never-healthy')
  const run = startScript(stack, 'update')
  while (!/Start the new version/.test(run.printed())) await new Promise((r) => setTimeout(r, 20))
  process.kill(run.pid, 'SIGKILL')
  await run.ended
  let again = await runScript(stack, 'update')
  while (again.code === 5) again = await runScript(stack, 'update')
  assert.equal(again.code, 1, again.stderr)
  assert.match(again.stdout, /did not end well: the way back is to what ran before it/)
  assert.match(again.stderr, /The version that ran before runs again and is healthy/)
  await sameAs(fixture, before)
  assert.ok(tool.stateDir)
})

const elsewhere = (env: string): string =>
  `${env}\nDATABASE_URL="mongodb://database:27017/elsewhere?replicaSet=rs0&directConnection=true"\n`

test('a changed .env that leads to an empty database: the old one is back, with the old version', async () => {
  const { stack } = fixture
  const file = join(stack.dir, '.env')
  const env = await readFile(file, 'utf8')
  const before = await picture(fixture)
  await writeFile(file, elsewhere(env))
  const { code, stderr, stdout } = await runScript(stack, 'update')
  assert.equal(code, 1, stderr)
  assert.match(stdout, /gateway is configured anew; in its environment: DATABASE_URL/)
  assert.match(stderr, /userCount: \d+ before, \d+ after/)
  assert.match(stderr, /as before: \.env; what was there now is <file>\.failed-/)
  assert.equal(await readFile(file, 'utf8'), env)
  const kept = (await readdir(stack.dir)).filter((f) => f.startsWith('.env.failed-'))
  assert.equal(kept.length, 1)
  assert.equal(await readFile(join(stack.dir, kept[0] ?? ''), 'utf8'), elsewhere(env))
  await rm(join(stack.dir, kept[0] ?? ''))
  await sameAs(fixture, before)
})

test('a service that comes with a version that fails goes with it, and its Compose file too', async () => {
  const { stack } = fixture
  await forget()
  const file = join(stack.dir, 'docker-compose.yml')
  const good = await readFile(file, 'utf8')
  const before = await picture(fixture)
  const extra = `  extra:\n    image: \${REDIS_IMAGE}\n    labels: { rehearsal: '${stack.id}' }\n    tmpfs: [/data]\n    networks: [meeshy-network]\n\n`
  await writeFile(file, good.replace('  frontend:\n', `${extra}  frontend:\n`))
  await stack.release('gateway', 'never-healthy')
  const { code, stderr, stdout } = await runScript(stack, 'update')
  await stack.release('gateway', '1.1')
  assert.equal(code, 1, stderr)
  assert.match(stdout, /to be replaced: .*extra \(it has no container\)/)
  assert.match(stderr, /removed, since it did not run before: extra/)
  assert.equal(await readFile(file, 'utf8'), good)
  const left = await stack.docker('ps', '-aq', '--filter', 'label=com.docker.compose.service=extra')
  assert.equal(left.trim(), '')
  for (const name of await readdir(stack.dir)) if (name.includes('.failed-')) await rm(join(stack.dir, name))
  await sameAs(fixture, before)
})

test('the same when nothing is known of the old .env: nothing is claimed that is not so', async (t) => {
  const { stack, tool } = fixture
  await forget()
  await rm(join(tool.stateDir, 'configuration.json'))
  const file = join(stack.dir, '.env')
  const env = await readFile(file, 'utf8')
  t.after(async () => {
    await writeFile(file, env)
    await stack.compose('up', '-d')
    await stack.ready()
  })
  await writeFile(file, elsewhere(env))
  const { code, stderr, stdout } = await runScript(stack, 'update')
  assert.equal(code, 10, stderr)
  assert.match(stdout, /configured before is not known here/)
  assert.match(stderr, /not as before, since the Compose file or .env was changed/)
  assert.match(stderr, /task update -- --abort/)
})

test('another volume in the Compose file is refused before anything stops', async () => {
  const { stack } = fixture
  const file = join(stack.dir, 'docker-compose.yml')
  const good = await readFile(file, 'utf8')
  const before = lives(await fixture.look())
  await writeFile(file, good.replaceAll('frontend_uploads', 'frontend_uploads2'))
  const { code, stderr } = await runScript(stack, 'update')
  await writeFile(file, good)
  assert.equal(code, 3, stderr)
  assert.match(
    stderr,
    /frontend mounts \S+_frontend_uploads at \/app\/public\/u, but its Compose file says \S+_frontend_uploads2/,
  )
  assert.deepEqual(lives(await fixture.look()), before)
})

test('a crash-looping service does not block the update that mends it', async (t) => {
  const { stack } = fixture
  await forget()
  t.after(() => stack.release('gateway', '1.1'))
  await stack.release('gateway', 'crashes-late')
  await stack.compose('pull', 'gateway')
  await stack.compose('up', '-d', 'gateway')
  while (
    !(
      await stack.docker(
        'ps',
        '-a',
        '--filter',
        `name=${stack.container('gateway')}`,
        '--format',
        '{{.Status}}',
      )
    ).includes('Restarting')
  )
    await new Promise((r) => setTimeout(r, 100))
  await stack.release('gateway', '1.1')
  const { code, stderr, stdout } = await runScript(stack, 'update')
  assert.equal(code, 0, stderr + stdout)
  await stack.ready()
})

test('interrupted in the middle: undone, exit code 130, nothing left running', async (t) => {
  const { stack } = fixture
  await forget()
  t.after(() => stack.release('gateway', '1.1'))
  const before = await picture(fixture)
  await stack.release('gateway', 'never-healthy')
  const run = startScript(stack, 'update')
  while (!/Start the new version/.test(run.printed())) await new Promise((r) => setTimeout(r, 100))
  process.kill(run.pid, 'SIGINT')
  const { code, stderr } = await run.ended
  assert.equal(code, 130, stderr)
  await sameAs(fixture, before)
})

test('two updates at once: one works, the other says who holds the lock', async () => {
  const { stack } = fixture
  const first = startScript(stack, 'update')
  while (!/Check the stack/.test(first.printed())) await new Promise((r) => setTimeout(r, 50))
  const second = await runScript(stack, 'update')
  assert.equal(second.code, 5, second.stderr)
  assert.match(second.stderr, /update by \w+, process \d+/)
  assert.equal((await first.ended).code, 0)
})

test('S24: ten updates, and everything that was acknowledged answers the same', async (t) => {
  const { stack } = fixture
  const before = await picture(fixture)
  const writer = await startWriter(stack, { ratePerSecond: 10, seconds: 900 })
  t.after(() => writer.stop())
  for (let n = 0; n < 10; n++) {
    await stack.release('gateway', n % 2 === 0 ? '1.0' : '1.1')
    const { code, stderr } = await runScript(stack, 'update')
    assert.equal(code, 0, `update ${n + 1}: ${stderr}`)
  }
  await writer.stop()
  const { checked, lost, wrong } = await writer.check()
  assert.deepEqual([lost, wrong], [[], []])
  assert.ok(checked > 100, `${checked} acknowledged writes`)
  const now = await picture(fixture)
  assert.deepEqual(changedVolumes(before.volumes, now.volumes), [])
  assert.deepEqual(losses(before.documents, now.documents), [])
})
