// A restore where it is hard: an archive of the older procedure, no room beside what is there, a disk that fills in
// the middle, and by hand (S17).
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { once } from '../../lib/backup/bytes.ts'
import { setPath } from '../../lib/backup/seal.ts'
import { checksum, END } from '../../lib/backup/tar.ts'
import { volumePlace } from '../../lib/place.ts'
import { groundOf } from '../../lib/restore/ground.ts'
import { discardPrepared } from '../../lib/restore/hidden.ts'
import { openRestore } from '../../lib/restore/record.ts'
import { prepareVolume } from '../../lib/restore/volume.ts'
import { countDocuments, losses, type Counts } from '../../lib/sentinel.ts'
import { sealedFixture, tarEntry } from '../unit/backup-fixture.ts'
import { lives, useStack } from './fixture.ts'
import { loadDump } from './load-dump.ts'
import { pickyDescription, runScript, start, startScript, type Ended } from './tool.ts'

const fixture = useStack({ id: 'hard' }, async ({ stack }) => {
  await mark('as saved')
  const { code, stderr } = await runScript(stack, 'auto-backup', ['--stamp', SAVED])
  assert.equal(code, 0, stderr)
  documents = await countDocuments(await fixture.look())
})

const SAVED = '20270101_000001'
const WORD = `pre-update-${SAVED}`
let documents: Counts

const redis = async (...words: string[]): Promise<string> =>
  (await fixture.stack.docker('exec', fixture.stack.container('redis'), 'redis-cli', ...words)).trim()

const gateway = (...words: string[]): Promise<string> =>
  fixture.stack.docker('exec', '-u', '0', fixture.stack.container('gateway'), ...words)

/** Says the same in Redis, in MongoDB and in a file. */
async function mark(says: string): Promise<void> {
  await redis('SET', 'mark', says)
  await gateway('sh', '-c', 'echo "$0" > /app/uploads/mark', says)
  await fixture.withMongo((client) =>
    client
      .db('meeshy')
      .collection<{ _id: string; says: string }>('mark')
      .replaceOne({ _id: 'mark' }, { says }, { upsert: true }),
  )
}

/** What all three say. */
async function marked(): Promise<string> {
  const found = await fixture.withMongo((client) =>
    client.db('meeshy').collection<{ _id: string; says: string }>('mark').findOne({ _id: 'mark' }),
  )
  const says = await redis('GET', 'mark')
  assert.deepEqual([found?.says, (await gateway('cat', '/app/uploads/mark')).trim()], [says, says])
  return says
}

/** As an accident leaves it. */
async function damage(): Promise<void> {
  await mark('damaged')
  await gateway('sh', '-c', 'rm -rf /app/uploads/attachments')
  await fixture.withMongo(async (client) => {
    await client.db('meeshy').collection('Message').drop()
    await client.db('meeshy').collection('User').insertOne({ later: true })
  })
}

async function isWhole(): Promise<void> {
  await fixture.stack.ready()
  assert.equal(await marked(), 'as saved')
  assert.match(await gateway('ls', '/app/uploads'), /attachments/)
  assert.deepEqual(losses(documents, await countDocuments(await fixture.look())), [])
}

const restore = (...words: string[]): Promise<Ended> => runScript(fixture.stack, 'restore', words)

async function good(run: Promise<Ended>): Promise<Ended> {
  const ended = await run
  assert.equal(ended.code, 0, ended.stderr + ended.stdout)
  return ended
}

const open = (): ReturnType<typeof openRestore> => openRestore({ STATE_DIR: fixture.tool.stateDir })

test('S17: by hand, by the guide inside the archive, with docker and tar alone', async (t) => {
  const { stack, tool } = fixture
  await damage()
  const folder = mkdtempSync(join(tmpdir(), 'rehearsal-hand-'))
  t.after(() => rmSync(folder, { recursive: true }))
  for (const name of [`${WORD}.tar.gz`, `${WORD}.tar.gz.sha256`])
    execFileSync('cp', [join(tool.backupDir, name), folder])
  const guide = execFileSync('tar', ['xzOf', join(folder, `${WORD}.tar.gz`), `${WORD}/RESTORE.md`]).toString()
  const lines = guide
    .split('\n')
    .flatMap((l) => (l.startsWith('    ') && !l.trim().startsWith('#') ? [l.trim()] : []))
  const load = lines.findIndex((l) => l.includes('mongorestore'))
  assert.ok(load > 0, guide)
  const paste = async (some: readonly string[], cwd: string): Promise<void> => {
    const { code, stderr } = await start(
      ['sh', '-ec', some.join('\n')],
      { ...process.env, ...stack.env },
      { cwd },
    ).ended
    assert.equal(code, 0, `${some.join('\n')}\n${stderr}`)
  }
  await paste(lines.slice(0, load), folder)
  t.diagnostic(
    'mongorestore is skipped, because the image has none: an independent reader of the same layout loads the dump',
  )
  const inside = join(folder, WORD)
  await fixture.withMongo(async (client) => {
    for (const { name } of (await client.db('admin').admin().listDatabases()).databases)
      if (!['admin', 'config', 'local'].includes(name)) await client.db(name).dropDatabase()
    const dump = join(inside, 'database', `mongodb_${SAVED}`)
    rmSync(join(dump, 'admin'), { recursive: true }) // what the server has made itself is there
    await loadDump(client, dump)
  })
  const id = lines.find((l) => l.startsWith('id=')) ?? ''
  await paste([id, ...lines.slice(load + 1)], inside)
  await isWhole()
})

test('S18: a hostile volume is refused on its way into the hidden folder, and nothing is left', async () => {
  const seen = await fixture.look()
  const ground = await groundOf(seen, 'restore')
  const place = volumePlace(`${fixture.stack.project}_gateway_uploads`)
  const link = { type: 'link', target: '/tmp' } as const
  const hostile: Readonly<Record<string, Buffer[]>> = {
    'a path that leads up': [tarEntry('../out', 'x')],
    'a path that leads up in its middle': [tarEntry('./a/../../out', 'x')],
    'an absolute path': [tarEntry('/out', 'x')],
    'a file behind a link': [tarEntry('./away', '', link), tarEntry('./away/out', 'x')],
    'a hard link that leads out': [
      tarEntry('./hard', '', { type: 'hardlink', target: '../../../etc/passwd' }),
    ],
    'a device node': [device('./null')],
  }
  for (const [what, entries] of Object.entries(hostile)) {
    const record = { key: 'uploads', files: 1, digest: '' }
    const tar = once(Buffer.concat([tarEntry('./', '', { type: 'folder' }), ...entries, END]))
    await assert.rejects(prepareVolume(ground, '20270101_000009', place, { tar, record }), /is refused/, what)
    assert.equal(
      (await gateway('sh', '-c', 'ls -A /app/uploads /app; find / -xdev -name out')).includes('out\n'),
      false,
      what,
    )
  }
  await discardPrepared(ground, '20270101_000009', [place])
  assert.doesNotMatch(await gateway('ls', '-A', '/app/uploads'), /runbook/)
})

/** A header of GNU tar for a character device. */
function device(name: string): Buffer {
  const block = tarEntry(name)
  block.write('3', 156, 'latin1')
  block.fill(' ', 148, 156, 'latin1') // as which its own sum counts
  block.write(`${checksum(block).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

test('a set of a newer MongoDB or Redis than the stack has is refused', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'rehearsal-newer-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const before = lives(await fixture.look())
  const path = await sealedFixture(dir, {
    stackId: fixture.stack.project,
    lie: (m) => ({
      ...m,
      mongodb: { ...m.mongodb, version: '99.0.1' },
      redis: { ...m.redis, version: '98.2.0' },
    }),
  })
  const { code, stderr } = await restore(path, '--confirm', basename(path, '.tar.gz'))
  assert.equal(code, 3, stderr)
  assert.match(stderr, /The set is of MongoDB 99\.0\.1; this stack's image holds 6\.0\.\d+, which is older/)
  assert.match(stderr, /The set is of Redis 98\.2\.0; this stack's image holds \d/)
  assert.deepEqual(lives(await fixture.look()), before)
})

test('an archive of the older procedure, with explicit consent', async (t) => {
  const { tool } = fixture
  await damage()
  const folder = mkdtempSync(join(tmpdir(), 'rehearsal-older-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const name = 'pre-update-20241017_143022'
  execFileSync('tar', ['xzf', setPath(tool.backupDir, SAVED), '-C', folder])
  execFileSync('sh', [
    '-ec',
    `cd "$0"; mv ${WORD} ${name}; cd ${name}; rm manifest.json RESTORE.md backup-metadata.txt`,
    folder,
  ])
  execFileSync('tar', ['czf', `${name}.tar.gz`, name], { cwd: folder })
  const path = join(folder, `${name}.tar.gz`)

  const unsure = await restore(path, '--confirm', name)
  assert.equal(unsure.code, 4, unsure.stderr)
  assert.match(unsure.stderr, /'unverified' was expected/)
  await good(restore(path, '--confirm', 'unverified', '--confirm', name))
  await isWhole()
  await good(restore('--commit', '--confirm', name))
  assert.equal(open(), undefined)
})

test('--scratch: what is there is copied elsewhere first, and comes back: by itself, and by --undo', async (t) => {
  const { stack, tool } = fixture
  await damage()
  const scratch = mkdtempSync(join(tmpdir(), 'rehearsal-scratch-'))
  t.after(() => rmSync(scratch, { recursive: true }))
  const words = [SAVED, '--scratch', scratch, '--confirm', WORD]
  const volume = (
    await stack.docker('volume', 'inspect', '-f', '{{.Mountpoint}}', `${stack.project}_gateway_uploads`)
  ).trim()
  for (const inside of [volume, join(volume, 'attachments')]) {
    const refused = await restore(SAVED, '--scratch', inside, '--confirm', WORD)
    assert.equal(refused.code, 3)
    assert.match(refused.stderr, /--scratch \(.*\) lie in gateway_uploads/)
  }
  assert.equal((await restore(SAVED, '--scratch=', '--confirm', WORD)).code, 2)

  await t.test('by itself, when it fails after everything was removed', async () => {
    const users = (await countDocuments(await fixture.look()))['meeshy.User'] ?? 0
    const env = { RUNBOOK_STACK_FILE: pickyDescription(tool, users) }
    const { code, stderr } = await runScript(stack, 'restore', words, env)
    assert.equal(code, 1, stderr)
    await stack.ready()
    assert.equal(await marked(), 'damaged')
    assert.equal(open(), undefined)
  })

  await good(restore(...words))
  await isWhole()
  await t.test('--undo without the copy is refused, and nothing is stopped', async () => {
    const before = lives(await fixture.look())
    renameSync(scratch, `${scratch}-away`)
    const { code, stderr } = await restore('--undo', '--confirm', WORD)
    renameSync(`${scratch}-away`, scratch)
    assert.equal(code, 3, stderr)
    assert.match(stderr, /does not hold the copy of what was there: is its disk mounted\?/)
    assert.deepEqual(lives(await fixture.look()), before)
  })
  await good(restore('--undo', '--confirm', WORD))
  await stack.ready()
  assert.equal(await marked(), 'damaged')
  await good(restore('--commit', '--confirm', WORD))
  assert.equal(execFileSync('ls', ['-A', scratch]).toString(), '')
})

test('--in-place: what is there is given up, after a word of its own', async () => {
  assert.equal((await restore(SAVED, '--in-place', '--confirm', WORD)).code, 4)
  const { stderr, stdout } = await good(
    restore(SAVED, '--in-place', '--confirm', 'no-undo', '--confirm', WORD),
  )
  assert.doesNotMatch(stdout, /kept aside|--undo/)
  assert.doesNotMatch(stderr, /taken back\.$/m)
  assert.match(stderr, /WHAT IS THERE NOW IS REMOVED: it is given up/)
  await isWhole()
  assert.equal(open(), undefined, 'nothing is kept aside')
})

test('S15: the disk fills in the middle of the preparation: nothing of it stays, nothing was stopped', async (t) => {
  const { stack } = fixture
  const dir = smallDisk(t, '110m')
  if (!dir) return t.skip('this machine lets nobody mount a file system')
  // The uploads move to a small disk.
  const volume = `${stack.project}_gateway_uploads`
  const image = (await fixture.look()).services.find((s) => s.name === 'database')?.imageId ?? ''
  const shut = [
    '--rm',
    '--network=none',
    '--tmpfs=/data/db',
    '--tmpfs=/data/configdb',
    '--label=rehearsal=hard',
    '--entrypoint=cp',
  ]
  await stack.docker(
    'run',
    ...shut,
    '-v',
    `${volume}:/from`,
    '-v',
    `${dir}:/to`,
    image,
    '-a',
    '/from/.',
    '/to/',
  )
  await stack.compose('rm', '-f', '-s', 'gateway', 'static-files', 'frontend')
  const labels = [
    `com.docker.compose.project=${stack.project}`,
    'com.docker.compose.volume=gateway_uploads',
    'rehearsal=hard',
  ]
  await stack.docker('volume', 'rm', volume)
  const options = ['type=none', 'o=bind', `device=${dir}`].flatMap((o) => ['--opt', o])
  await stack.docker('volume', 'create', ...labels.flatMap((l) => ['--label', l]), ...options, volume)
  await stack.compose('up', '-d')
  await stack.ready()
  const before = lives(await fixture.look())

  const run = startScript(stack, 'restore', [SAVED, '--confirm', WORD])
  let over = false
  void run.ended.then(() => (over = true))
  while (!over && !/Note what is open/.test(run.printed())) await delay(10)
  execFileSync('sh', ['-c', 'dd if=/dev/zero of="$0/ballast" bs=1M 2>/dev/null; exit 0', dir])
  const { code, stderr } = await run.ended
  rmSync(join(dir, 'ballast'))
  assert.equal(code, 1, stderr)
  assert.match(stderr, /No space left on device/)
  assert.deepEqual(lives(await fixture.look()), before)
  assert.equal(open(), undefined)
  assert.doesNotMatch(execFileSync('ls', ['-A', dir]).toString(), /runbook/)
  await stack.ready()
})

/** A small file system of its own; undefined where it cannot be had. It is unmounted when all is over. */
function smallDisk(t: TestContext, size: string): string | undefined {
  const dir = mkdtempSync(join(tmpdir(), 'rehearsal-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=755`, 'tmpfs', dir], { stdio: 'ignore' })
  } catch {
    rmSync(dir, { recursive: true })
    return undefined
  }
  t.after(async () => {
    await fixture.stack.compose('rm', '-f', '-s', 'gateway', 'static-files', 'frontend')
    await fixture.stack.docker('volume', 'rm', `${fixture.stack.project}_gateway_uploads`)
    execFileSync('umount', [dir])
    rmSync(dir, { recursive: true })
  })
  return dir
}
