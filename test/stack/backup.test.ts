// A backup of a real stack: what is in it (S2 to S5), that it is private (S8), and what stops it (S1, S9).
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { BSON, MongoClient } from 'mongodb'
import { documentsIn } from '../../lib/backup/bson.ts'
import { readManifest } from '../../lib/backup/manifest.ts'
import { partialPath, setPath } from '../../lib/backup/seal.ts'
import { listSets } from '../../lib/backup/sets.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { countDocuments } from '../../lib/sentinel.ts'
import { runningWriters } from '../../lib/stack.ts'
import { lives, useStack } from './fixture.ts'
import { runScript, start, startScript } from './tool.ts'
import { startWriter, type Acknowledged } from './writer.ts'

const { deserialize } = BSON
const fixture = useStack({ id: 'backup' })

test('S8, S2: a sealed set of everything that is mounted, private, opened by ordinary tools', async (t) => {
  const { stack, tool } = fixture
  process.umask(0o022)
  const before = lives(await fixture.look())
  const { code, stderr, stdout } = await runScript(stack, 'auto-backup', ['--stamp', '20260102_030405'])
  assert.equal(code, 0, stderr + stdout)
  assert.deepEqual(lives(await fixture.look()), before, 'nothing of the stack was touched')

  const set = join(tool.backupDir, 'pre-update-20260102_030405.tar.gz')
  await t.test('files 0600, folders 0700', () => {
    assert.equal(statSync(tool.backupDir).mode & 0o777, 0o700)
    const walk = (dir: string): string[] =>
      readdirSync(dir, { withFileTypes: true }).flatMap((e) =>
        e.isDirectory() ? [join(dir, e.name), ...walk(join(dir, e.name))] : [join(dir, e.name)],
      )
    for (const path of [...walk(tool.backupDir), ...walk(tool.stateDir)]) {
      const { mode } = statSync(path)
      assert.equal(mode & 0o077, 0, `${path} is ${(mode & 0o777).toString(8)}`)
    }
  })

  await t.test("the guide's names; the live volumes and not the orphans", () => {
    const names = String(execFileSync('tar', ['tzf', set])).split('\n')
    const has = (pattern: RegExp): boolean => names.some((n) => pattern.test(n))
    for (const key of [
      'gateway_uploads',
      'frontend_uploads',
      'models_data',
      'traefik_certs',
      'redis-ui-data',
      'redis_data',
    ]) {
      assert.ok(has(new RegExp(`volumes/${key}\\.tar\\.gz$`)), key)
    }
    assert.ok(!has(/volumes\/translator_/), 'orphans are not in it')
    assert.ok(has(/database\/mongodb_20260102_030405\/meeshy\/User\.bson$/))
    assert.ok(has(/database\/mongodb_20260102_030405\/meeshy\/User\.metadata\.json$/))
    assert.ok(has(/redis\/redis_dump_20260102_030405\.rdb$/))
    for (const file of [
      'docker-compose.yml',
      '.env',
      'secrets/firebase-admin-sdk.json',
      'docker/nginx/static-files.conf',
    ]) {
      assert.ok(
        names.some((n) => n.endsWith(`config/${file}`)),
        file,
      )
    }
    assert.ok(has(/backup-metadata\.txt$/))
    assert.ok(has(/RESTORE\.md$/))
  })

  await t.test('the seal is in the format of sha256sum -c, the gzip is whole', () => {
    execFileSync('sha256sum', ['-c', `${set}.sha256`], { cwd: tool.backupDir })
    execFileSync('gzip', ['-t', set])
  })

  await t.test('documents in the set are those of the database', async () => {
    const manifest = await verifySet(set, () => {})
    const counts = await countDocuments(await fixture.look())
    const inSet = Object.fromEntries(
      manifest.mongodb.databases.flatMap((d) =>
        d.collections.map((c) => [`${d.name}.${c.name}`, c.documents]),
      ),
    )
    for (const [name, count] of Object.entries(counts)) assert.equal(inSet[name], count, name)
  })

  await t.test('the journal holds an intent and a done for each effect', async () => {
    const [run] = await readdir(join(tool.stateDir, 'runs'))
    const text = await readFile(join(tool.stateDir, 'runs', run ?? '', 'journal.jsonl'), 'utf8')
    const lines = text
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l) as { seq: number; kind: string })
    const seqs = (kind: string): Set<number> =>
      new Set(lines.filter((l) => l.kind === kind).map((l) => l.seq))
    assert.deepEqual(seqs('done'), seqs('intent'))
    assert.ok(seqs('intent').size >= 4)
  })
})

test('S1: with MongoDB stopped the backup is refused, names it, and leaves nothing', async () => {
  const { stack, tool } = fixture
  const before = await readdir(tool.backupDir)
  await stack.docker('stop', stack.container('database'))
  const { code, stderr } = await runScript(stack, 'auto-backup')
  await stack.docker('start', stack.container('database'))
  await stack.ready()
  assert.equal(code, 3, stderr)
  assert.match(stderr, /MongoDB/)
  assert.deepEqual(await readdir(tool.backupDir), before)
})

test('into another folder, as the guide has it; and a step printed alone can be pasted', async () => {
  const { stack, tool } = fixture
  const other = await mkdtemp(join(tmpdir(), 'rehearsal-'))
  const { code, stderr, stdout } = await runScript(stack, 'auto-backup', [join(other, 'sets')])
  assert.equal(code, 0, stderr + stdout)
  assert.equal((await listSets(join(other, 'sets'))).filter((s) => s.sealed).length, 1)
  await rm(other, { recursive: true })

  const plan = await runScript(stack, 'auto-backup', ['--plan', '--only', '2', '--stamp', '20260304_050607'])
  const lines = plan.stdout.trimEnd().split('\n')
  assert.equal(lines.length, 2, plan.stdout)
  const pasted = await start(['bash', '-c', lines[1] ?? ''], { ...process.env, ...stack.env }, { cwd: '/' })
    .ended
  assert.equal(pasted.code, 0, pasted.stderr + pasted.stdout)
  const partial = join(tool.backupDir, `pre-update-20260304_050607.tar.gz.${stack.project}.partial`)
  assert.ok(statSync(partial).size > 0)
  assert.ok(!(await listSets(tool.backupDir)).some((s) => s.stamp === '20260304_050607' && s.sealed))
})

test('S4: no message without its status, under the load of users', async () => {
  const { stack } = fixture
  const writer = await startWriter(stack, { ratePerSecond: 40 })
  const path = await backedUp('20260401_000001')
  await writer.stop()
  const ids = async (collection: string, field: string): Promise<Set<string>> => {
    const name = `pre-update-20260401_000001/database/mongodb_20260401_000001/meeshy/${collection}.bson`
    const bson = execFileSync('tar', ['xzOf', path, name], { maxBuffer: 2 ** 30 })
    const found = new Set<string>()
    const next = documentsIn((d) => found.add(String(deserialize(d)[field])))
    next(bson)
    next()
    return found
  }
  const acknowledged = (await readFile(writer.file, 'utf8'))
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l) as Acknowledged)
  const [messages, statuses] = [await ids('Message', '_id'), await ids('MessageStatus', 'messageId')]
  const written = acknowledged.filter((a) => a.kind === 'message').map((a) => a.id)
  const inSet = written.filter((id) => messages.has(id))
  assert.ok(inSet.length > 0, 'the backup caught some of what was being written')
  for (const id of written) assert.equal(messages.has(id), statuses.has(id), `the pair of ${id} is split`)
  assert.equal((await readManifest(path))?.consistency.mongodb, 'snapshot')
})

test('S5: a save that takes long is waited for; a key written just before is in it', async () => {
  const { stack } = fixture
  const redis = (...words: string[]): Promise<string> =>
    stack.docker('exec', stack.container('redis'), 'redis-cli', ...words)
  const keys = Number(await redis('DBSIZE'))
  await redis('CONFIG', 'SET', 'rdb-key-save-delay', String(Math.ceil(20_000_000 / keys))) // µs for each key
  await redis('SET', 'written just before', 'yes')
  const began = Date.now()
  const path = await backedUp('20260401_000002')
  await redis('CONFIG', 'SET', 'rdb-key-save-delay', '0')
  assert.ok(Date.now() - began > 18_000, `it waited ${Date.now() - began} ms`)
  const rdb = 'pre-update-20260401_000002/redis/redis_dump_20260401_000002.rdb'
  assert.ok(execFileSync('tar', ['xzOf', path, rdb]).includes('written just before'))
})

test('S5: a save that fails fails the backup, and leaves nothing', async () => {
  const { stack, tool } = fixture
  const inRedis = (script: string): Promise<string> =>
    stack.docker('exec', stack.container('redis'), 'sh', '-c', script)
  const before = await readdir(tool.backupDir)
  await inRedis('mv /data/dump.rdb /data/kept && mkdir /data/dump.rdb')
  const { code, stderr } = await runScript(stack, 'auto-backup')
  await inRedis('rmdir /data/dump.rdb && mv /data/kept /data/dump.rdb && redis-cli SAVE')
  assert.equal(code, 1, stderr)
  assert.match(stderr, /Redis could not save its snapshot/)
  assert.match(stderr, /Nothing of the stack was touched/)
  assert.deepEqual(await readdir(tool.backupDir), before)
})

test('Redis with an append-only file: a fresh snapshot, and the manifest says what counts at a start', async () => {
  const { stack } = fixture
  const redis = (...words: string[]): Promise<string> =>
    stack.docker('exec', stack.container('redis'), 'redis-cli', ...words)
  await redis('CONFIG', 'SET', 'appendonly', 'yes')
  await redis('SET', 'written with AOF', 'yes')
  const path = await backedUp('20260401_000003')
  await redis('CONFIG', 'SET', 'appendonly', 'no')
  const manifest = await readManifest(path)
  assert.equal(manifest?.redis.appendOnly, true)
  const rdb = 'pre-update-20260401_000003/redis/redis_dump_20260401_000003.rdb'
  assert.ok(execFileSync('tar', ['xzOf', path, rdb]).includes('written with AOF'))
  const guide = String(execFileSync('tar', ['xzOf', path, 'pre-update-20260401_000003/RESTORE.md']))
  assert.match(guide, /appendonly\.aof\.1\.base\.rdb/)
})

test('S9: too little space is refused before anything, with the numbers', async (t) => {
  const { stack } = fixture
  const dir = await smallDisk(t, '16m')
  if (!dir) return t.skip('this machine lets nobody mount a file system')
  const { code, stderr } = await runScript(stack, 'auto-backup', [join(dir, 'sets')])
  assert.equal(code, 3, stderr)
  assert.match(stderr, /too little space: the set may need .* before compression, .* free are 16\.\d MB/)
  assert.deepEqual(await readdir(dir), [])
})

test('a folder in what is saved, or a link to nowhere, is refused before anything is stopped', async () => {
  const { stack } = fixture
  const before = lives(await fixture.look())
  const inspect = ['volume', 'inspect', '--format', '{{.Mountpoint}}', `${stack.project}_gateway_uploads`]
  const inVolume = join((await stack.docker(...inspect)).trim(), 'sets')
  const other = await mkdtemp(join(tmpdir(), 'rehearsal-'))
  await symlink('/nowhere/at/all', join(other, 'lost'))
  await symlink(inVolume, join(other, 'around'))
  const cases: [string, RegExp][] = [
    [inVolume, /it lies in the volume rehearsal-backup_gateway_uploads, which is saved/],
    [join(other, 'around'), /is a link to .*sets, which does not exist/],
    [join(stack.dir, 'secrets', 'sets'), /it lies in .*secrets, which is saved/],
    [join(other, 'lost'), /is a link to \/nowhere\/at\/all, which does not exist/],
  ]
  for (const [dir, said] of cases) {
    const { code, stderr } = await runScript(stack, 'auto-backup', ['--quiesce', dir])
    assert.equal(code, 3, stderr)
    assert.match(stderr, said)
  }
  assert.deepEqual(lives(await fixture.look()), before)
  await rm(other, { recursive: true })
})

test('S9: a disk that fills in the middle leaves nothing half made, and the stack serves', async (t) => {
  const { stack } = fixture
  const dir = await smallDisk(t, '160m')
  if (!dir) return t.skip('this machine lets nobody mount a file system')
  const before = lives(await fixture.look())
  const running = startScript(stack, 'auto-backup', [dir, '--stamp', '20260401_000004'])
  const partial = join(dir, `pre-update-20260401_000004.tar.gz.${stack.project}.partial`)
  await until(() => existsSync(partial))
  process.kill(running.pid, 'SIGSTOP')
  const filler = join(dir, 'somebody-else')
  await assert.rejects(writeFile(filler, Buffer.alloc(200 * 2 ** 20)), /ENOSPC/)
  process.kill(running.pid, 'SIGCONT')
  const { code, stderr } = await running.ended
  assert.equal(code, 1, stderr)
  assert.match(stderr, /has become full/)
  assert.deepEqual(await readdir(dir), ['somebody-else'])
  assert.deepEqual(lives(await fixture.look()), before)
  assert.equal((await runScript(stack, 'health')).code, 0)
})

test('a set has what the last one had, or is suspect: kept, told, not counted', async () => {
  const { stack, tool } = fixture
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  const community = client.db('meeshy').collection('Community')
  const documents = await community.find({}, { raw: true }).toArray()
  assert.ok(documents.length > 0)
  await community.deleteMany({})
  const beats = await listener()
  const url = `http://127.0.0.1:${beats.port}/secret-token`
  const { code, stderr } = await runScript(stack, 'auto-backup', ['--stamp', '20260401_000005'], {
    RUNBOOK_HEARTBEAT_URL: url,
  })
  assert.equal(code, 0, stderr)
  assert.match(stderr, /Look at this: The set is suspect: meeshy\.Community has no documents; it had \d+/)
  assert.deepEqual(beats.seen, ['/secret-token/start', '/secret-token/fail'])
  assert.ok(!stderr.includes('secret-token'))
  const [set] = await listSets(tool.backupDir)
  assert.deepEqual([set?.stamp, set?.good], ['20260401_000005', false])
  // The next one is compared with the last good one: it stays suspect until somebody accepts it.
  const again = await runScript(stack, 'auto-backup', ['--stamp', '20260401_000006'])
  assert.match(again.stderr, /Look at this: The set is suspect/)
  assert.equal((await runScript(stack, 'auto-backup', ['--accept', '20260401_000006'])).code, 0)
  await runScript(stack, 'auto-backup', ['--stamp', '20260401_000007'], { RUNBOOK_HEARTBEAT_URL: url })
  assert.equal((await listSets(tool.backupDir))[0]?.good, true)
  assert.deepEqual(beats.seen.slice(2), ['/secret-token/start', '/secret-token'])
  await beats.close()
  await community.insertMany(
    documents.map((d) => deserialize(d as unknown as Uint8Array, { promoteValues: false })),
  )
  await client.close()
})

test('a heartbeat that cannot be told fails nothing', async () => {
  const { stack } = fixture
  const { code, stderr } = await runScript(stack, 'auto-backup', ['--stamp', '20260401_000008'], {
    RUNBOOK_HEARTBEAT_URL: 'http://127.0.0.1:1/secret-token',
  })
  assert.equal(code, 0, stderr)
  assert.match(stderr, /The heartbeat \(success\) was not delivered to 127\.0\.0\.1/)
})

test('--quiesce: no writer runs while the set is written, all serve again, and the manifest says so', async () => {
  const { stack } = fixture
  const before = lives(await fixture.look())
  const running = startScript(stack, 'auto-backup', ['--quiesce', '--stamp', '20260401_000009'])
  await until(() => existsSync(partialOf('20260401_000009')))
  const meanwhile = await fixture.look()
  assert.deepEqual(
    meanwhile.services.filter((s) => s.about.writer && s.container?.State.Running).map((s) => s.name),
    [],
  )
  const { code, stderr } = await running.ended
  assert.equal(code, 0, stderr)
  const manifest = await readManifest(setOf('20260401_000009'))
  assert.deepEqual([manifest?.consistency.mongodb, manifest?.consistency.files], ['snapshot', 'quiesced'])
  assert.equal((await runScript(stack, 'health')).code, 0)
  const after = lives(await fixture.look())
  assert.deepEqual(
    Object.keys(before).filter((name) => before[name] !== after[name]),
    ['gateway', 'frontend', 'translator'],
    'only the writers were stopped and started',
  )
})

test('--quiesce step by step: what one step has stopped another starts, each run alone', async () => {
  const { stack } = fixture
  const one = async (n: number): Promise<void> => {
    const words = ['--quiesce', '--only', String(n), '--stamp', '20260401_000020']
    const { code, stderr } = await runScript(stack, 'auto-backup', words)
    assert.equal(code, 0, stderr)
  }
  const running = async (): Promise<number> => runningWriters(await fixture.look()).length
  for (const n of [2, 3]) await one(n)
  assert.equal(await running(), 0)
  await one(4)
  assert.equal(await running(), 3)
  for (const n of [5, 6, 8]) await one(n)
  assert.equal((await readManifest(setOf('20260401_000020')))?.consistency.files, 'quiesced')
  assert.doesNotMatch((await runScript(stack, 'status')).stdout, /Owed by/)
})

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  test(`--quiesce, ended by ${signal}: the writers are started again`, async () => {
    const { stack } = fixture
    const stamp = signal === 'SIGTERM' ? '20260401_000010' : '20260401_000011'
    const running = startScript(stack, 'auto-backup', ['--quiesce', '--stamp', stamp])
    await until(() => existsSync(partialOf(stamp)))
    process.kill(running.pid, signal)
    await running.ended
    if (signal === 'SIGKILL') {
      const status = await runScript(stack, 'status')
      assert.match(status.stdout, /start gateway, frontend, translator again/)
      const next = await runScript(stack, 'auto-backup')
      assert.equal(next.code, 0, next.stderr)
      assert.match(
        next.stderr + next.stdout,
        /A run that was killed did not start gateway, frontend, translator/,
      )
      assert.doesNotMatch((await runScript(stack, 'status')).stdout, /Owed by/)
    } else assert.match(running.printed(), /start gateway, frontend, translator again/)
    await stack.ready()
    assert.ok(!existsSync(partialOf(stamp)))
  })
}

test('a short snapshot window is made longer for the time of the read, and put back', async () => {
  const { stack } = fixture
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  const admin = client.db('admin')
  const name = 'minSnapshotHistoryWindowInSeconds'
  const now = async (): Promise<number> => Number((await admin.command({ getParameter: 1, [name]: 1 }))[name])
  await admin.command({ setParameter: 1, [name]: 5 })
  const running = startScript(stack, 'auto-backup', ['--stamp', '20260401_000012'])
  await until(async () => (await now()) > 5)
  process.kill(running.pid, 'SIGKILL')
  await running.ended
  assert.ok((await now()) >= 60, 'the killed run has left it longer')
  assert.match((await runScript(stack, 'status')).stdout, /set MongoDB's minSnapshot\w+ back to 5/)
  const { code, stderr } = await runScript(stack, 'auto-backup', ['--stamp', '20260401_000013'])
  assert.equal(code, 0, stderr)
  assert.equal(await now(), 5)
  const run = join(fixture.tool.stateDir, 'runs', '20260401_000013-auto-backup', 'journal.jsonl')
  assert.match(await readFile(run, 'utf8'), /"title":"Keep snapshots longer".*"was":5/)
  await admin.command({ setParameter: 1, [name]: 300 })
  await client.close()
})

test('S3: the volume that the gateway really mounts, whatever its name', async () => {
  const { stack } = fixture
  const name = 'rehearsal-backup-prod-uploads'
  const file = join(stack.dir, 'docker-compose.yml')
  const compose = await readFile(file, 'utf8')
  await writeFile(
    file,
    compose.replace(/^ {2}gateway_uploads: \{.*$/m, `  gateway_uploads: { name: ${name}, labels: *owned }`),
  )
  // By itself Compose does not notice that a volume has another name.
  await stack.compose('up', '-d', '--force-recreate', 'gateway', 'static-files')
  await stack.ready()
  const inGateway = ['exec', stack.container('gateway'), 'sh', '-c', 'echo here > /app/uploads/only-here']
  await stack.docker(...inGateway)
  const path = await backedUp('20260401_000014')
  const manifest = await readManifest(path)
  assert.equal(manifest?.volumes.find((v) => v.key === 'gateway_uploads')?.name, name)
  const part = execFileSync('tar', [
    'xzOf',
    path,
    'pre-update-20260401_000014/volumes/gateway_uploads.tar.gz',
  ])
  const listed = String(execFileSync('tar', ['tzf', '-'], { input: part }))
  assert.match(listed, /^\.\/only-here$/m)
  assert.match(listed.trim(), /^\.\/\n/)
  assert.equal(
    manifest?.leftOut.some((l) => l.what.includes(`${stack.project}_gateway_uploads`)),
    false,
  )
})

const setOf = (stamp: string): string => setPath(fixture.tool.backupDir, stamp)
const partialOf = (stamp: string): string => partialPath(setOf(stamp), fixture.stack.project)

/** Makes a set and gives its path. */
async function backedUp(stamp: string): Promise<string> {
  const { code, stderr, stdout } = await runScript(fixture.stack, 'auto-backup', ['--stamp', stamp])
  assert.equal(code, 0, stderr + stdout)
  return setOf(stamp)
}

/** Waits until something is so, half a minute at most. */
async function until(so: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; !(await so()); await delay(5)) {
    if (Date.now() > end) throw new Error('it did not become so in 30 s')
  }
}

/** A small file system of its own; undefined where it cannot be had. It is unmounted when the test has ended. */
async function smallDisk(t: TestContext, size: string): Promise<string | undefined> {
  const dir = await mkdtemp(join(tmpdir(), 'rehearsal-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=700`, 'tmpfs', dir], { stdio: 'ignore' })
  } catch {
    await rm(dir, { recursive: true })
    return undefined
  }
  t.after(async () => {
    execFileSync('umount', [dir])
    await rm(dir, { recursive: true })
  })
  return dir
}

/** A server that answers 200 and remembers the paths. */
async function listener(): Promise<{ port: number; seen: string[]; close(): Promise<void> }> {
  const seen: string[] = []
  const server = createServer((request, response) => {
    seen.push(request.url ?? '')
    response.end('OK')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close: async () => {
      server.close()
      await once(server, 'close')
    },
  }
}
