// A backup of a real stack: what is in it, that it opens with ordinary tools, and that it is private (S8).
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { listSets } from '../../lib/backup/sets.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { countDocuments } from '../../lib/sentinel.ts'
import { lives, useStack } from './fixture.ts'
import { runScript, start } from './tool.ts'

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

test('a flipped byte is found', async () => {
  const { tool } = fixture
  const [set] = await listSets(tool.backupDir)
  assert.ok(set)
  const copy = join(await mkdtemp(join(tmpdir(), 'rehearsal-')), set.name)
  const bytes = await readFile(set.path)
  for (const at of [100, Math.floor(bytes.length / 2), bytes.length - 700]) {
    const damaged = Buffer.from(bytes)
    damaged[at] = (damaged[at] ?? 0) ^ 1
    await writeFile(copy, damaged)
    await writeFile(`${copy}.sha256`, await readFile(`${set.path}.sha256`))
    await assert.rejects(() => verifySet(copy, () => {}), `byte ${at}`)
  }
  await rm(join(copy, '..'), { recursive: true })
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

test('S7: the five newest remain', async () => {
  const { stack, tool } = fixture
  for (let n = 0; n < 6; n++) {
    const { code, stderr, stdout } = await runScript(stack, 'auto-backup', ['--stamp', `20260203_04050${n}`])
    assert.equal(code, 0, stderr + stdout)
  }
  const sets = await listSets(tool.backupDir)
  assert.equal(sets.length, 5)
  assert.ok(sets.every((s) => s.sealed))
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
  const partial = join(tool.backupDir, 'pre-update-20260304_050607.tar.gz.partial')
  assert.ok(statSync(partial).size > 0)
  assert.ok(!(await listSets(tool.backupDir)).some((s) => s.stamp === '20260304_050607' && s.sealed))
})
