// A restore of a real stack: exact (S10 to S12), selective (S16), undone by itself and by hand (S15), nothing changed
// by what is damaged or does not fit (S14, S18), with the stack stopped or broken (S13), on a new server.
import assert from 'node:assert/strict'
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { readManifest, type Manifest } from '../../lib/backup/manifest.ts'
import { setPath } from '../../lib/backup/seal.ts'
import { openRestore } from '../../lib/restore/record.ts'
import { countDocuments } from '../../lib/sentinel.ts'
import { changedVolumes, mountedVolumes } from '../../lib/volumes.ts'
import { lives, useStack } from './fixture.ts'
import { fillHard } from './hard-data.ts'
import { pickyDescription, runScript, startScript, toolFor, type Ended } from './tool.ts'

const fixture = useStack({ id: 'restore' }, async () => fixture.withMongo(fillHard))

/** A shell in a volume, as root, with the stack's own tools. */
async function inVolume(volume: string, script: string): Promise<string> {
  const { stack } = fixture
  const name = `${stack.project}_${volume}`
  const { services } = await fixture.look()
  const image = services.find((s) => s.name === 'database')?.imageId ?? ''
  const shut = [
    '--rm',
    '--network=none',
    '--tmpfs=/data/db',
    '--tmpfs=/data/configdb',
    '--label=rehearsal=restore',
  ]
  return stack.docker('run', ...shut, '-v', `${name}:/v`, '-w', '/v', '--entrypoint=sh', image, '-ec', script)
}

async function backUp(stamp: string): Promise<Manifest> {
  const { stack, tool } = fixture
  const { code, stdout, stderr } = await runScript(stack, 'auto-backup', ['--stamp', stamp])
  assert.equal(code, 0, stderr + stdout)
  const manifest = await readManifest(setPath(tool.backupDir, stamp))
  assert.ok(manifest)
  return manifest
}

const restore = (...words: string[]): Promise<Ended> => runScript(fixture.stack, 'restore', words)
const wordOf = (stamp: string): string => `pre-update-${stamp}`
const restoring = (stamp: string, ...words: string[]): Promise<Ended> =>
  restore(stamp, '--confirm', wordOf(stamp), ...words)

async function good(run: Promise<Ended>): Promise<Ended> {
  const ended = await run
  assert.equal(ended.code, 0, ended.stderr + ended.stdout)
  return ended
}

/** What two sets of the same data have in common. */
function content({ mongodb, redis, volumes }: Manifest): unknown {
  return {
    collections: mongodb.databases.map((d) => [
      d.name,
      d.collections.map(({ name, type, documents, digest, options, indexes }) => ({
        name,
        type,
        documents,
        digest,
        options,
        indexes,
      })),
    ]),
    redis: { keys: redis.keys - redis.expiring },
    volumes: volumes
      .filter((v) => !v.coveredBy)
      .map(({ key, files, bytes, digest }) => ({ key, files, bytes, digest })),
  }
}

const HARD_FILES = `
umask 022; mkdir -p "odd/
\\$(touch gone)" && echo one > "odd/
\\$(touch gone)/it's"; chown 1234:4321 odd; chmod 2750 odd
echo kept > plain; chown 1001:1001 plain; chmod 640 plain; touch -d '2020-02-03 04:05:06.789' plain
ln plain second; ln -s plain link; ln -s /nowhere/else dangling; chown -h 1001:1001 link
truncate -s 3M sparse; echo end >> sparse; mkfifo pipe; echo x > changed; echo y > deleted; mkdir empty`

const FIRST = '20270101_000001'
let first: Manifest

/** Everything that somebody may have done since the backup. */
async function changeAll(): Promise<void> {
  const { stack } = fixture
  await inVolume(
    'gateway_uploads',
    `echo new > new; echo other > changed; rm deleted; rm -r odd; chmod 777 plain; mkdir empty/full`,
  )
  await inVolume('frontend_uploads', 'echo new > new')
  await fixture.withMongo(async (client) => {
    const db = client.db('meeshy')
    await db.collection('later').insertOne({ later: true })
    await db.collection('User').insertOne({ later: true })
    await db.collection('User').createIndex({ later: 1 }, { sparse: true })
    await db.createCollection('laterView', { viewOn: 'User', pipeline: [] })
    await db.collection('Message').drop()
    await client.db('names').dropDatabase()
    await client.db('another').collection('x').insertOne({ x: 1 })
    await client.db('admin').command({ createUser: 'later', pwd: 'later', roles: [] })
  })
  await stack.docker('exec', stack.container('redis'), 'redis-cli', 'SET', 'later', 'later')
  await stack.docker('exec', stack.container('redis'), 'redis-cli', 'SET', 'kept', 'changed')
}

const redis = async (...words: string[]): Promise<string> =>
  (await fixture.stack.docker('exec', fixture.stack.container('redis'), 'redis-cli', ...words)).trim()

test('S10, S11: what was added, changed, removed since is as it was, to the byte; volumes keep their identity', async (t) => {
  const { stack, tool } = fixture
  await inVolume('gateway_uploads', HARD_FILES)
  await redis('SET', 'kept', 'as saved')
  first = await backUp(FIRST)
  await changeAll()
  const volumes = await mountedVolumes(await fixture.look())

  const { stderr, stdout } = await good(restoring(FIRST, '--keep-stopped'))
  assert.match(stderr, /MongoDB: all databases/)
  assert.deepEqual(changedVolumes(volumes, await mountedVolumes(await fixture.look())), [])
  assert.equal(openRestore({ STATE_DIR: tool.stateDir })?.phase, 'swapped')
  assert.match(stdout, /--undo/)
  const { services } = await fixture.look()
  assert.ok(
    services.every((s) => !s.container?.State.Running),
    'everything is left stopped',
  )

  // Before any application writes.
  await stack.compose('start', 'database', 'redis')
  await stack.compose('up', '-d', '--wait', 'database', 'redis')
  const second = await backUp('20270101_000002')
  assert.deepEqual(content(second), content(first))
  assert.equal(await redis('GET', 'kept'), 'as saved')
  assert.equal(await redis('EXISTS', 'later'), '0')

  await t.test('what was there before is in no backup, and status nags', async () => {
    await stack.compose('up', '-d')
    await stack.ready()
    const { code, stdout } = await runScript(stack, 'status')
    assert.equal(code, 0)
    assert.match(stdout, /what was there before it is kept aside, \d+\.\d MB/)
    assert.match(stdout, /task restore -- --commit/)
  })

  await t.test('another restore is refused while it is there', async () => {
    const refused = await restoring(FIRST)
    assert.equal(refused.code, 3)
    assert.match(refused.stderr, /--commit .*\n.*--undo/)
  })

  await t.test('S15: --undo brings back what was there, --commit removes what is aside', async () => {
    await good(restore('--undo', '--confirm', wordOf(FIRST)))
    assert.equal(
      (await inVolume('gateway_uploads', 'cat new changed; ls deleted 2>&1 || true')).split('\n')[0],
      'new',
    )
    await fixture.withMongo(async (client) => {
      assert.equal(await client.db('meeshy').collection('later').countDocuments(), 1)
      assert.equal(await client.db('meeshy').collection('Message').countDocuments(), 0)
    })
    assert.equal(await redis('GET', 'later'), 'later')
    assert.equal((await restore('--undo', '--confirm', wordOf(FIRST))).code, 3, 'it was undone already')
    await good(restore('--commit', '--confirm', wordOf(FIRST)))
    assert.equal(openRestore({ STATE_DIR: tool.stateDir }), undefined)
    assert.ok(!existsSync(join(tool.stateDir, 'replaced')))
    assert.match(await inVolume('gateway_uploads', 'ls -A'), /^(?!.*\.runbook)/s)
  })
})

test('S14: one flipped byte, or an archive cut short, is found before anything is stopped', async () => {
  const { tool } = fixture
  const before = lives(await fixture.look())
  const set = setPath(tool.backupDir, FIRST)
  const bytes = readFileSync(set)
  const folder = mkdtempSync(join(tmpdir(), 'rehearsal-restore-'))
  try {
    for (const [name, damage] of [
      ['flipped', (b: Buffer) => b.writeUInt8(b.readUInt8(b.length >> 1) ^ 4, b.length >> 1)],
      ['short', (b: Buffer) => b.subarray(0, b.length - 70_000)],
    ] as const) {
      const path = join(folder, `pre-update-${name}.tar.gz`)
      const copy = Buffer.from(bytes)
      const damaged = damage(copy)
      writeFileSync(path, typeof damaged === 'number' ? copy : damaged)
      copyFileSync(`${set}.sha256`, `${path}.sha256`)
      const { code, stderr } = await restore(path, '--confirm', `pre-update-${name}`)
      assert.equal(code, 3, stderr)
      assert.match(stderr, /damaged|cut short|no manifest/)
      assert.match(stderr, /Nothing was changed/)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
  assert.deepEqual(lives(await fixture.look()), before)
  assert.equal(openRestore({ STATE_DIR: tool.stateDir }), undefined)
})

test('a refusal at the prompt, another word, another stack, a part that is not there: nothing is changed', async () => {
  const { stack, tool } = fixture
  const before = lives(await fixture.look())
  assert.equal((await restore(FIRST)).code, 4)
  assert.equal((await restore(FIRST, '--confirm', 'oui')).code, 4)
  const name = 'rehearsal-restore-stranger'
  const { services } = await fixture.look()
  const image = services.find((s) => s.name === 'database')?.imageId ?? ''
  const about = [
    '--name',
    name,
    '--label=rehearsal=restore',
    '--network=none',
    '--tmpfs=/data/db',
    '--tmpfs=/data/configdb',
  ]
  const volume = `${stack.project}_gateway_uploads`
  await stack.docker('run', '-d', ...about, '-v', `${volume}:/v`, '--entrypoint=sleep', image, '600')
  const used = await restoring(FIRST)
  await stack.docker('rm', '-f', name)
  assert.equal(used.code, 3)
  assert.match(
    used.stderr,
    /rehearsal-restore-stranger uses \S+_gateway_uploads and is no service that would be stopped/,
  )
  const missing = await restoring(FIRST, '--parts', 'volume:nothing')
  assert.equal(missing.code, 3)
  assert.match(missing.stderr, /holds no volume nothing/)
  assert.equal((await restoring(FIRST, '--parts', 'everything')).code, 2)
  const env = { RUNBOOK_STACK_ID: 'another' }
  const foreign = await runScript(stack, 'restore', [setPath(tool.backupDir, FIRST)], env)
  assert.equal(foreign.code, 3)
  assert.match(foreign.stderr, /is a set of the stack 'rehearsal-restore'/)
  await fixture.withMongo((client) =>
    client
      .db('meeshy')
      .collection<{ _id: string; schemaHash: string }>('_runbook')
      .insertOne({ _id: 'schema', schemaHash: 'ab'.repeat(32) }),
  )
  const shape = await restoring(FIRST)
  await fixture.withMongo((client) => client.db('meeshy').collection('_runbook').drop())
  assert.equal(shape.code, 3)
  assert.match(shape.stderr, /another shape .*legacy.* than what runs .*schema abab/)
  assert.match(shape.stderr, /task rollback/)
  assert.deepEqual(lives(await fixture.look()), before)
  assert.equal(openRestore({ STATE_DIR: tool.stateDir }), undefined)
})

test('S16: --parts redis leaves the database and every file alone', async () => {
  const { tool } = fixture
  await redis('SET', 'kept', 'changed again')
  const before = await fixture.look()
  const documents = await countDocuments(before)
  const files = await inVolume('gateway_uploads', 'find . -type f -exec sha256sum {} + | sort | sha256sum')
  const early = await restoring(FIRST, '--parts', 'redis', '--from', '8')
  assert.equal(early.code, 3, early.stderr)
  assert.match(early.stderr, /No restore is open here/)
  await good(restoring(FIRST, '--parts', 'redis'))
  const after = await fixture.look()
  const lifeOf = (seen: typeof after, name: string): string | undefined => lives(seen)[name]
  assert.equal(lifeOf(after, 'database'), lifeOf(before, 'database'), 'the database was not restarted')
  assert.deepEqual(await countDocuments(after), documents)
  assert.equal(
    await inVolume('gateway_uploads', 'find . -type f -exec sha256sum {} + | sort | sha256sum'),
    files,
  )
  assert.equal(await redis('GET', 'kept'), 'as saved')

  // A commit that was cut off: what it kept is not whole any more.
  const record = join(tool.stateDir, 'restore.json')
  const open = JSON.parse(readFileSync(record, 'utf8')) as object
  writeFileSync(record, JSON.stringify({ ...open, phase: 'committing' }))
  const undo = await restore('--undo', '--confirm', wordOf(FIRST))
  assert.equal(undo.code, 3, undo.stderr)
  assert.match(undo.stderr, /is being removed, and not whole any more/)
  writeFileSync(record, JSON.stringify(open))
  await inVolume('redis_data', 'rm -rf .runbook-restore-*/old')
  const gone = await restore('--undo', '--confirm', wordOf(FIRST))
  assert.equal(gone.code, 3, gone.stderr)
  assert.match(gone.stderr, /redis: what was there before is not beside it any more/)
  await good(restore('--commit', '--confirm', wordOf(FIRST)))
})

test('what was not healthy before takes nothing back: the restore stays, and 10 says that somebody must look', async () => {
  const { stack, tool } = fixture
  await redis('SET', 'kept', 'changed once more')
  const env = { RUNBOOK_STACK_FILE: pickyDescription(tool, -1) }
  const words = [FIRST, '--parts', 'redis', '--confirm', wordOf(FIRST)]
  const { code, stderr } = await runScript(stack, 'restore', words, env)
  assert.equal(code, 10, stderr)
  assert.match(stderr, /gateway did not become healthy/)
  assert.match(stderr, /The set is restored, and was compared\. But not every service is healthy/)
  assert.doesNotMatch(stderr, /Undone:/)
  assert.equal(await redis('GET', 'kept'), 'as saved')
  assert.equal(openRestore({ STATE_DIR: tool.stateDir })?.phase, 'swapped')
  await good(restore('--commit', '--confirm', wordOf(FIRST)))
})

test('S15: an application that does not become healthy on the restored data: what was there is back by itself', async () => {
  const { stack, tool } = fixture
  const before = await fixture.look()
  const [documents, volumes] = [await countDocuments(before), await mountedVolumes(before)]
  const file = pickyDescription(tool, documents['meeshy.User'] ?? 0)
  const { code, stderr } = await runScript(stack, 'restore', [FIRST, '--confirm', wordOf(FIRST)], {
    RUNBOOK_STACK_FILE: file,
  })
  assert.equal(code, 1, stderr)
  assert.match(stderr, /gateway did not become healthy/)
  assert.match(stderr, /What was there before is in its place again/)
  assert.equal(openRestore({ STATE_DIR: tool.stateDir }), undefined)
  const after = await fixture.look()
  assert.deepEqual(await countDocuments(after), documents)
  assert.deepEqual(changedVolumes(volumes, await mountedVolumes(after)), [])
  assert.match(await inVolume('gateway_uploads', 'ls -A'), /^(?!.*\.runbook)/s)
  await stack.ready()
})

test('interrupted in the middle of the preparation: nothing is left of it, and nothing was stopped', async () => {
  const { stack, tool } = fixture
  const before = lives(await fixture.look())
  const run = startScript(stack, 'restore', [FIRST, '--confirm', wordOf(FIRST)])
  let over = false
  void run.ended.then(() => (over = true))
  while (!over && !/❯ 5\/\d+ Prepare MongoDB/.test(run.printed())) await delay(20)
  process.kill(run.pid, 'SIGINT')
  const { code, stderr } = await run.ended
  assert.equal(code, 130, stderr)
  assert.deepEqual(lives(await fixture.look()), before)
  assert.equal(openRestore({ STATE_DIR: tool.stateDir }), undefined)
  assert.equal(await stack.docker('ps', '-aq', '--filter', `label=runbook.stack=${stack.project}`), '')
  assert.match(await inVolume('database_data', 'ls -A'), /^(?!.*\.runbook)/s)
})

test('configuration and images, on request: as they were, and back by --undo; data is not touched', async () => {
  const { stack, tool } = fixture
  const env = join(stack.dir, '.env')
  const saved = readFileSync(env, 'utf8')
  const imageOf = async (): Promise<string | undefined> =>
    (await fixture.look()).services.find((s) => s.name === 'gateway')?.container?.Image
  const was = await imageOf()
  const edited = `${saved}EDITED='$(touch gone)'\n`
  writeFileSync(env, edited)
  await stack.release('gateway', '1.1')
  await stack.compose('pull', '--quiet', 'gateway')
  await stack.compose('up', '-d')
  await stack.ready()
  const now = await imageOf()
  assert.notEqual(now, was)
  await redis('SET', 'kept', 'not a part')

  const plain = await restore(FIRST)
  assert.match(
    plain.stderr,
    /configuration: \d+ files differ from the set \(.*config\/\.env.*--parts data,config restores them/,
  )
  assert.match(plain.stderr, /Expected downtime: about \d+\.\d s, as \d{8}_\d{6}-restore/)
  assert.match(plain.stderr, /images: gateway ran another one; --parts data,images restores them/)
  await good(restoring(FIRST, '--parts', 'config,images'))
  assert.equal(await imageOf(), was)
  assert.equal(readFileSync(env, 'utf8'), saved)
  assert.equal(await redis('GET', 'kept'), 'not a part')
  const ran = lives(await fixture.look())
  await stack.compose('up', '-d')
  assert.deepEqual(lives(await fixture.look()), ran, 'a plain `docker compose up -d` recreates nothing')

  await good(restore('--undo', '--confirm', wordOf(FIRST)))
  assert.equal(readFileSync(env, 'utf8'), edited)
  assert.equal(await imageOf(), now)
  await good(restore('--commit', '--confirm', wordOf(FIRST)))
  assert.ok(
    !existsSync(join(tool.stateDir, 'replaced')) || readdirSync(join(tool.stateDir, 'replaced')).length === 0,
  )
  await stack.ready()
  await redis('SET', 'kept', 'as saved')
})

test('S12: Redis that starts from its append-only file', async () => {
  const { stack } = fixture
  await redis('CONFIG', 'SET', 'appendonly', 'yes')
  const compose = join(stack.dir, 'docker-compose.yml')
  const text = readFileSync(compose, 'utf8')
  writeFileSync(
    compose,
    text.replace(
      /(\n {2}redis:\n)/,
      `$1    command: ['redis-server', '--protected-mode', 'no', '--appendonly', 'yes']\n`,
    ),
  )
  while (/aof_rewrite_in_progress:1|aof_rewrite_scheduled:1/.test(await redis('INFO', 'persistence')))
    await delay(50)
  await stack.compose('up', '-d')
  await stack.ready()
  assert.equal(await redis('GET', 'kept'), 'as saved')
  await backUp('20270101_000003')
  await redis('SET', 'later', 'later')
  await good(restoring('20270101_000003', '--parts', 'redis'))
  for (const restarted of [false, true]) {
    if (restarted) await stack.compose('restart', 'redis')
    await stack.compose('up', '-d', '--wait', 'redis')
    assert.deepEqual([await redis('EXISTS', 'later'), await redis('GET', 'kept')], ['0', 'as saved'])
  }
  await good(restore('--commit', '--confirm', wordOf('20270101_000003')))
})

test('S13: with everything stopped, the database’s container gone and its files destroyed', async () => {
  const { stack, tool } = fixture
  await stack.compose('stop')
  await stack.docker('rm', stack.container('database'))
  await inVolume('database_data', 'for f in *.wt; do echo broken > "$f"; done')
  const { stderr } = await good(restoring(FIRST))
  assert.match(stderr, /Not checked: whether the data has the same shape/)
  await stack.ready()
  await fixture.withMongo(async (client) => {
    const saved = first.mongodb.databases.find((d) => d.name === 'names')
    assert.equal((await client.db('names').listCollections().toArray()).length, saved?.collections.length)
    assert.equal((await client.db('admin').command({ hello: 1 })).me, 'database:27017')
  })
  await good(restore('--commit', '--confirm', wordOf(FIRST)))
  assert.equal(openRestore({ STATE_DIR: tool.stateDir }), undefined)
})

test('on a new server: nothing but Docker and the set, another folder and project, volumes by their keys', async () => {
  const { stack, tool } = fixture
  // As after the loss of the server: containers, networks, volumes and the folder are gone.
  await stack.compose('rm', '-f', '-s')
  const volumes = (await stack.docker('volume', 'ls', '-q', '--filter', `label=rehearsal=${stack.id}`))
    .split('\n')
    .filter(Boolean)
  await stack.docker('volume', 'rm', ...volumes)
  const elsewhere = join(stack.dir, '..', 'elsewhere')
  toolFor(stack, { STACK_DIR: elsewhere })

  const alone = await restoring(FIRST)
  assert.equal(alone.code, 3)
  assert.match(alone.stderr, /no Compose file in .*\n.*--parts data,config/)
  const ended = await good(restoring(FIRST, '--parts', 'data,config'))
  assert.match(ended.stderr + ended.stdout, /made, not started/)
  assert.ok(existsSync(join(elsewhere, 'secrets', 'firebase-admin-sdk.json')))
  const seen = await fixture.look()
  assert.equal(seen.project, 'elsewhere')
  assert.ok((await mountedVolumes(seen)).some((v) => v.name === 'elsewhere_gateway_uploads'))
  const documents = await countDocuments(seen)
  for (const { name, collections } of first.mongodb.databases.filter((d) => d.name === 'meeshy'))
    for (const c of collections.filter((x) => x.type === 'collection'))
      assert.ok((documents[`${name}.${c.name}`] ?? 0) >= c.documents, c.name)
  assert.equal((await runScript(stack, 'health')).code, 0)
  assert.ok(readdirSync(tool.backupDir).length > 0)
})
