// The sets that are there: listed, verified, pinned, rotated (S6, S7), and what status says of them.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import type { SetLine } from '../../lib/backup/list.ts'
import { mark } from '../../lib/backup/marks.ts'
import { checkSeal, readSeal, setPath } from '../../lib/backup/seal.ts'
import { listSets } from '../../lib/backup/sets.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { sealedFixture } from '../unit/backup-fixture.ts'
import { useStack } from './fixture.ts'
import { which } from './machine/command.ts'
import { runScript, type Ended } from './tool.ts'

const fixture = useStack({ id: 'sets' })

const AWAY = { DOCKER_HOST: 'unix:///nowhere/docker.sock' } // what is done with sets needs no Docker

async function list(...words: string[]): Promise<SetLine[]> {
  const { code, stdout, stderr } = await runScript(
    fixture.stack,
    'auto-backup',
    ['--list', '--json', ...words],
    AWAY,
  )
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout) as SetLine[]
}

const backup = (...words: string[]): Promise<Ended> => runScript(fixture.stack, 'auto-backup', words)
const tend = (...words: string[]): Promise<Ended> => runScript(fixture.stack, 'auto-backup', words, AWAY)

/** A small set of this stack, made earlier by the same writers. */
const older = (stamp: string, more: object = {}): Promise<string> => {
  const [, day = ''] = /^\d{6}(\d\d)/.exec(stamp) ?? []
  return sealedFixture(fixture.tool.backupDir, {
    stamp,
    stackId: fixture.stack.project,
    finished: `2026-01-${day}T00:00:00.000Z`,
    ...more,
  })
}

test('no set: said, with what to type; status judges it when it is asked to', async () => {
  const { stack } = fixture
  assert.deepEqual(await list(), [])
  assert.match((await tend('--list')).stdout, /holds no backup set. Make one: task auto-backup/)
  assert.equal((await runScript(stack, 'status')).code, 0)
  const judged = await runScript(stack, 'status', [], { RUNBOOK_BACKUP_MAX_AGE: '26h' })
  assert.equal(judged.code, 3)
  assert.match(judged.stdout, /✖ The newest good set does not exist: BACKUP_MAX_AGE is 26h/)
  const verify = await tend('--verify')
  assert.equal(verify.code, 2)
  assert.match(verify.stderr, /There is no set 'latest' in .*\. Nothing was changed\. It holds none\./)
})

test('--list, also of restore, without Docker: when, how big, what is in it, how far it can be relied on', async () => {
  const { stack, tool } = fixture
  const { code, stderr } = await backup('--stamp', '20260501_000001')
  assert.equal(code, 0, stderr)
  const legacy = join(tool.backupDir, 'pre-update-20241017_143022.tar.gz')
  execFileSync('tar', ['czf', legacy, '-C', stack.dir, 'docker-compose.yml'])
  writeFileSync(join(tool.backupDir, 'notes.txt'), 'mine')

  const [old, made] = (await list()).toSorted((a, b) => a.name.localeCompare(b.name))
  assert.deepEqual([made?.good, made?.sealed, made?.complete, made?.copy], [true, true, true, undefined])
  assert.ok((made?.holds?.documents ?? 0) > 1000)
  assert.ok((made?.holds?.volumes ?? []).some((v) => v.key === 'gateway_uploads' && v.files > 0))
  assert.deepEqual([old?.good, old?.sealed, old?.holds], [false, false, undefined])
  for (const script of ['auto-backup', 'restore']) {
    const { stdout, code: ended } = await runScript(stack, script, ['--list'], AWAY)
    assert.equal(ended, 0)
    assert.match(
      stdout,
      /pre-update-20260501_000001\.tar\.gz {2}[\d.]+ MB {2}\d+ min ago\n {4}verified \d+ min ago/,
    )
    assert.match(
      stdout,
      /MongoDB \d+ documents in \d+ collections \(legacy\), Redis \d+ keys, \d volumes with/,
    )
    assert.match(stdout, /pre-update-20241017_143022\.tar\.gz.*\n {4}UNVERIFIED/)
  }
  rmSync(legacy)
  const nothing = await runScript(stack, 'restore', [], AWAY)
  assert.equal(nothing.code, 2)
  assert.match(nothing.stderr, /Nothing was changed/)
})

test('200 random bytes of archive and seal, each flipped alone: found 200 times', async () => {
  const { stack } = fixture
  const [set] = await listSets(fixture.tool.backupDir)
  assert.ok(set)
  const dir = await mkdtemp(join(tmpdir(), 'rehearsal-'))
  const copy = join(dir, set.name)
  const bytes = readFileSync(set.path)
  const seal = readFileSync(`${set.path}.sha256`)
  const seed = Number(process.env.FLIP_SEED ?? Date.now() % 1_000_000)
  let state = seed
  const random = (below: number): number => {
    state = (state * 48271) % 2147483647
    return state % below
  }
  try {
    for (let n = 0; n < 200; n++) {
      const at = random(bytes.length + seal.length)
      const mask = 1 << random(8)
      const [damaged, damagedSeal] = [Buffer.from(bytes), Buffer.from(seal)]
      if (at < bytes.length) damaged[at] = (damaged[at] as number) ^ mask
      else damagedSeal[at - bytes.length] = (damagedSeal[at - bytes.length] as number) ^ mask
      writeFileSync(copy, damaged)
      writeFileSync(`${copy}.sha256`, damagedSeal)
      const found = await checked(copy)
      assert.ok(found, `seed ${seed}: bit ${mask} of byte ${at} of ${bytes.length} + ${seal.length}`)
    }
  } finally {
    await rm(dir, { recursive: true })
  }
  assert.ok(stack)
})

/** What reading a set again finds; undefined when it is good. */
async function checked(path: string): Promise<string | undefined> {
  try {
    await verifySet(path, () => {})
    await checkSeal(path)
    return undefined
  } catch (error) {
    return String(error)
  }
}

test('--verify: a byte that went bad is found, named, remembered, and forgotten when it is good again', async () => {
  const { stack, tool } = fixture
  const path = setPath(tool.backupDir, '20260501_000001')
  const good = await tend('--verify')
  assert.equal(good.code, 0, good.stderr)
  assert.match(good.stdout, /every byte of it is as it was sealed/)

  copyFileSync(path, `${path}.kept`)
  const bytes = readFileSync(path)
  const at = Math.floor(bytes.length / 2)
  bytes[at] = (bytes[at] as number) ^ 4
  writeFileSync(path, bytes)
  await older('20260103_000000')
  const all = await tend('--verify', '--all', '--json')
  assert.equal(all.code, 3)
  const steps = JSON.parse(all.stdout) as { title: string; outcome: string; why?: string }[]
  assert.deepEqual(
    steps.map((s) => s.outcome),
    ['failed', 'done'],
    'every set is read, whatever the others say',
  )
  assert.match(steps[0]?.why ?? '', /is damaged, it must not be relied on: pre-update-20260501_000001\//)
  const [line] = (await list()).filter((s) => s.path === path)
  assert.deepEqual([line?.good, line?.verified], [false, undefined])
  assert.match(line?.problem ?? '', /DAMAGED/)
  const status = await runScript(stack, 'status', [], { RUNBOOK_BACKUP_MAX_AGE: '26h' })
  assert.equal(status.code, 3, 'what is damaged is no newest good set')
  assert.match(status.stdout, /Newest good set: pre-update-20260103_000000/)

  execFileSync('mv', [`${path}.kept`, path])
  assert.equal((await tend('--verify', path)).code, 0)
  assert.equal((await list()).find((s) => s.path === path)?.good, true)
})

test('--verify --sample reads pieces, finds a damaged one, and says what it did not read', async () => {
  const { tool } = fixture
  const { code, stdout } = await tend('--verify', '--sample')
  assert.equal(code, 0)
  assert.match(stdout, /nothing wrong in \d+ pieces, .* of .*; the rest was not read/)
  const path = await older('20260104_000000')
  const bytes = readFileSync(path)
  for (let i = 40; i < bytes.length - 3000; i += 50) bytes[i] = (bytes[i] as number) ^ 255
  writeFileSync(path, bytes)
  const sampled = await tend('--verify', '--sample', tool.backupDir)
  assert.equal(sampled.code, 3)
  assert.match(sampled.stdout + sampled.stderr, /the piece at \d+|no piece begins/)
  for (const file of readdirSync(tool.backupDir)) {
    if (file.startsWith(basename(path))) rmSync(join(tool.backupDir, file))
  }
})

test('a set without its seal does not count; the line that seals it again is printed', async () => {
  const { tool } = fixture
  const path = setPath(tool.backupDir, '20260103_000000')
  rmSync(`${path}.sha256`)
  const { code, stderr, stdout } = await tend('--verify', '20260103_000000')
  assert.equal(code, 3)
  assert.equal(
    (await tend('--verify', '--sample')).code,
    3,
    'a sample of what does not count is no good news',
  )
  const [line = ''] = /\(cd .* sha256sum .*\)/.exec(stderr + stdout) ?? []
  execFileSync('sh', ['-c', line])
  assert.equal(statSync(`${path}.sha256`).mode & 0o777, 0o600)
  assert.equal((await tend('--verify', '20260103_000000')).code, 0)
})

test('S7: the five newest good ones, the pinned and the last proven one remain; nothing of others is touched', async () => {
  const { stack, tool } = fixture
  const stamps = ['05', '06', '07', '08', '09', '10'].map((d) => `202601${d}_000000`)
  for (const stamp of stamps) await older(stamp)
  const foreign = await older('20260111_000000', { stackId: 'other' })
  const unsealed = await older('20260112_000000')
  rmSync(`${unsealed}.sha256`)
  const pin = await tend('--pin', '20260103_000000', '--why', 'before $(id) "the" switch')
  assert.equal(pin.code, 0, pin.stderr)
  const proven = setPath(tool.backupDir, '20260105_000000')
  mark(proven, 'proven', { sha256: readSeal(proven) ?? '' }) // as a drill does

  const { code, stderr } = await backup('--stamp', '20260501_000002')
  assert.equal(code, 0, stderr)
  const names = (await list()).map((s) => s.name.slice('pre-update-'.length, -'.tar.gz'.length))
  assert.deepEqual(names.toSorted(), [
    '20260103_000000', // pinned
    '20260105_000000', // proven
    '20260108_000000',
    '20260109_000000',
    '20260110_000000',
    '20260112_000000', // without a seal: not this tool's to remove
    '20260501_000001',
    '20260501_000002',
  ])
  assert.ok(existsSync(foreign))
  const { stdout } = await tend('--list')
  assert.match(stdout, /pinned: before \$\(id\) "the" switch/)
  assert.match(stdout, /proven by a drill \d+ min ago/)
  assert.equal((await tend('--unpin', '20260103_000000')).code, 0)
  assert.equal((await list()).find((s) => s.name.includes('20260103'))?.pinned, undefined)
  rmSync(foreign)
  rmSync(`${foreign}.sha256`)
  assert.equal((await tend('--pin', '20260112_000000')).code, 3, 'what is not sealed is not worth a pin')
  assert.ok(stack)
})

test('S7: five good sets and a new one that fails its verification: the five remain', async () => {
  const { stack, tool } = fixture
  const before = readdirSync(tool.backupDir).toSorted()
  const stamp = '20260501_000003'
  // The steps one by one, with a byte that goes bad between writing and reading back.
  for (const n of ['1', '2']) assert.equal((await backup('--only', n, '--stamp', stamp)).code, 0)
  const partial = `${setPath(tool.backupDir, stamp)}.${stack.project}.partial`
  const bytes = readFileSync(partial)
  bytes[1000] = (bytes[1000] as number) ^ 1
  writeFileSync(partial, bytes)
  const { code, stderr } = await backup('--from', '3', '--stamp', stamp)
  assert.equal(code, 1, stderr)
  assert.match(stderr, /is damaged/)
  const sealing = await backup('--from', '4', '--stamp', stamp)
  assert.equal(sealing.code, 1, 'what was not verified cannot be sealed')
  assert.match(sealing.stderr, /was not read back yet/)
  rmSync(partial)
  assert.deepEqual(readdirSync(tool.backupDir).toSorted(), before)
})

test('a copy has its own state: its failure is told and spoils nothing, and the next run makes up for it', async (t) => {
  if (which('rsync') === undefined) return t.skip('this machine has no rsync')
  const { stack, tool } = fixture
  const root = await mkdtemp(join(tmpdir(), 'rehearsal-'))
  const target = join(root, 'nas', 'sets')
  const env = { RUNBOOK_BACKUP_COPY_TO: `rsync:${target}`, RUNBOOK_BACKUP_MAX_AGE: '26h' }
  try {
    const failed = await runScript(stack, 'auto-backup', ['--stamp', '20260501_000004'], env)
    assert.equal(failed.code, 0, failed.stderr)
    assert.match(failed.stderr, /Look at this: .*was not copied to rsync:.*there is no folder/)
    assert.match(failed.stdout, /Sealed: /)
    const made = (await listSets(tool.backupDir))[0]
    assert.deepEqual([made?.stamp, made?.good], ['20260501_000004', true])
    const status = await runScript(stack, 'status', [], env)
    assert.equal(status.code, 3)
    assert.match(status.stdout, /✖ The newest good copy does not exist: BACKUP_MAX_AGE is 26h/)
    assert.match(status.stdout, /pre-update-20260501_000004.*COPY FAILED/)

    mkdirSync(join(root, 'nas'), { mode: 0o700 })
    const next = await runScript(stack, 'auto-backup', ['--stamp', '20260501_000005'], env)
    assert.equal(next.code, 0, next.stderr)
    assert.doesNotMatch(next.stderr, /Look at this/)
    for (const stamp of ['20260501_000004', '20260501_000005']) await checkSeal(setPath(target, stamp))
    assert.equal((await runScript(stack, 'status', [], env)).code, 0)
    assert.match((await runScript(stack, 'restore', ['--list'], env)).stdout, /verified \d+ min ago, copied/)
  } finally {
    await rm(root, { recursive: true })
  }
})

test('bad usage changes nothing', async () => {
  const cases: [string[], RegExp][] = [
    [['--list', '--verify'], /exclude each other/],
    [['--pin', '--unpin', 'latest'], /exclude each other/],
    [['--verify', 'nonsense'], /There is no set 'nonsense'/],
    [['--verify', '/etc/passwd/x'], /There is no set/],
    [['--accept', 'latest'], /is not suspect/],
    [['--pine'], /Did you mean --pin\?/],
    [['--all'], /--all goes with --verify/],
    [['--sample'], /--sample goes with --verify/],
    [['--why', 'x'], /--why goes with --pin or --accept/],
    [['--verify', '--quiesce'], /--quiesce does not go with --verify/],
    [['--pin'], /Which set\?/],
    [['--unpin', 'latest'], /is not pinned/],
    [['--list', '/no/such/folder'], /There is no folder \/no\/such\/folder/],
    [[''], /The folder is an empty word/],
    [['--stamp', '20261399_000000'], /--stamp is a time/],
  ]
  for (const [words, said] of cases) {
    const { code, stderr } = await tend(...words)
    assert.ok(code === 2 || code === 3, `${words.join(' ')}: ${code} ${stderr}`)
    assert.match(stderr, said)
  }
})
