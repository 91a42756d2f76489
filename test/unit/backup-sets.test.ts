import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { suspicions } from '../../lib/backup/facts.ts'
import { readManifest, type Manifest } from '../../lib/backup/manifest.ts'
import { checkSeal, sealSet } from '../../lib/backup/seal.ts'
import {
  cleanPartials,
  leftovers,
  listSets,
  newestSealed,
  rotate,
  tooOld,
  type SetInfo,
} from '../../lib/backup/sets.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { folder, sealedFixture, STAMP, writeFixture } from './backup-fixture.ts'

const day = (n: number): string => `2026-01-${String(n).padStart(2, '0')}T00:00:00.000Z`
const stampOf = (n: number): string => `202601${String(n).padStart(2, '0')}_000000`
const set = (n: number, more: Partial<SetInfo> = {}): SetInfo => ({
  name: `set-${n}`,
  path: `/x/set-${n}`,
  bytes: 1,
  stamp: stampOf(n),
  date: day(n),
  sealed: true,
  complete: true,
  stackId: 'meeshy',
  suspect: [],
  legacy: false,
  problem: undefined,
  manifest: undefined,
  ...more,
})
const removed = (sets: readonly SetInfo[]): string[] => tooOld(sets, 'meeshy').map((s) => s.name)

test('the five newest stay', () => {
  assert.deepEqual(removed([1, 2, 3, 4, 5].map((n) => set(n))), [])
  assert.deepEqual(removed([3, 6, 1, 5, 2, 4].map((n) => set(n))), ['set-1'])
  assert.deepEqual(removed([1, 2, 3, 4, 5, 6, 7].map((n) => set(n))), ['set-2', 'set-1'])
})

test('only sealed, complete sets of this stack count, and only they are removed', () => {
  const good = [2, 3, 4, 5, 6].map((n) => set(n))
  const others = [
    set(1, { sealed: false }),
    set(7, { sealed: false }),
    set(8, { complete: false }),
    set(9, { stackId: 'other' }),
    set(10, { stackId: undefined, legacy: true }),
  ]
  assert.deepEqual(removed([...good, ...others]), [])
})

test('suspect sets push no good one out, and go with the good ones of their time', () => {
  const suspect = [7, 8, 9, 10, 11, 12].map((n) => set(n, { suspect: ['x'] }))
  const good = [2, 3, 4, 5, 6].map((n) => set(n))
  assert.deepEqual(removed([...suspect, ...good]), [])
  assert.deepEqual(removed([...good, set(1, { suspect: ['x'] })]), ['set-1'])
})

test('sets are listed newest first, with what can be said without reading them', async () => {
  const dir = folder()
  assert.deepEqual(await listSets(join(dir, 'missing')), [])
  await sealedFixture(dir, { stamp: stampOf(2), finished: day(2) })
  await sealedFixture(dir, { stamp: stampOf(3), finished: day(3), stackId: 'other' })
  const cut = await sealedFixture(dir, { stamp: stampOf(4), finished: day(4) })
  truncateSync(cut, 3_000)
  const unsealed = await sealedFixture(dir, { stamp: stampOf(5), finished: day(5) })
  rmSync(`${unsealed}.sha256`)
  await writeFixture(dir, { stamp: stampOf(6) })
  const old = join(dir, 'meeshy-backup-20250901.tar.gz')
  execFileSync('tar', ['-czf', old, '-T', '/dev/null'])
  utimesSync(old, 0, 0)
  writeFileSync(join(dir, 'notes.txt'), 'x')

  const sets = await listSets(dir)
  const row = (name: string): Partial<SetInfo> => {
    const { sealed, legacy, problem, stackId } = sets.find((s) => s.name === name) as SetInfo
    return { sealed, legacy, problem, stackId }
  }
  assert.equal(sets.length, 5)
  const good = { sealed: true, legacy: false, problem: undefined, stackId: 'meeshy' }
  assert.deepEqual(row(`pre-update-${stampOf(2)}.tar.gz`), good)
  assert.deepEqual(row(basename(cut)), {
    ...good,
    sealed: false,
    problem: 'it is cut short',
    stackId: undefined,
  })
  assert.deepEqual(row(basename(unsealed)), { ...good, sealed: false })
  assert.deepEqual(row(basename(old)), { ...good, sealed: false, legacy: true, stackId: undefined })
  assert.deepEqual(sets.at(-1)?.name, basename(old))
  assert.ok((await listSets(dir, 'meeshy')).every((s) => s.stackId !== 'other'))

  assert.equal((await newestSealed(dir))?.stamp, stampOf(3))
  assert.equal((await newestSealed(dir, { stackId: 'meeshy' }))?.stamp, stampOf(2))
  assert.equal((await newestSealed(dir, { stamp: stampOf(5) }))?.stamp, undefined)
  assert.equal(await newestSealed(dir, { maxAgeMs: 60_000 }), undefined)
})

test('an incomplete set is no newest one', async () => {
  const dir = folder()
  await sealedFixture(dir, { complete: false })
  assert.equal(await newestSealed(dir), undefined)
})

test('rotation removes archive and seal', async () => {
  const dir = folder()
  for (const n of [1, 2, 3, 4, 5, 6]) await sealedFixture(dir, { stamp: stampOf(n), finished: day(n) })
  assert.deepEqual(await rotate(dir, 'meeshy'), [`pre-update-${stampOf(1)}.tar.gz`])
  assert.equal(readdirSync(dir).length, 10)
  assert.deepEqual(await rotate(dir, 'meeshy'), [])
})

test('a seal is what sha256sum -c reads, and finds a changed byte', async () => {
  const dir = folder()
  const path = await sealedFixture(dir)
  assert.equal(path, join(dir, `pre-update-${STAMP}.tar.gz`))
  execFileSync('sha256sum', ['-c', `${basename(path)}.sha256`], { cwd: dir, stdio: 'ignore' })
  await checkSeal(path)
  appendFileSync(path, 'x')
  await assert.rejects(checkSeal(path), /not what was sealed/)
  rmSync(`${path}.sha256`)
  await assert.rejects(checkSeal(path), /has no seal/)
})

test('nothing is sealed that was not read back, or was changed since, or would replace a set', async () => {
  const dir = folder()
  const partial = await writeFixture(dir)
  await assert.rejects(sealSet(partial), /was not read back/)
  await verifySet(partial, () => {})
  utimesSync(partial, new Date(), new Date(Date.now() + 1_000))
  await assert.rejects(sealSet(partial), /was changed after it was read back/)
  await verifySet(partial, () => {})
  utimesSync(partial, new Date(), new Date(Date.now() - 1_000))
  writeFileSync(join(dir, `pre-update-${STAMP}.tar.gz`), 'there')
  await assert.rejects(sealSet(partial), /never replaced/)
})

test('a kill between any two steps leaves nothing that is listed as good, and the next run finishes or cleans', async () => {
  const final = `pre-update-${STAMP}.tar.gz`
  const states: Record<string, { act: (dir: string) => void; files: string[]; listed: number }> = {
    'while writing': { act: (dir) => truncateSync(join(dir, `${final}.partial`), 500), files: [], listed: 0 },
    'after the read-back': { act: () => {}, files: [], listed: 0 },
    'between the seal and the rename': {
      act: (dir) => renameSync(join(dir, `${final}.partial.sha256`), join(dir, `${final}.sha256`)),
      files: [final, `${final}.sha256`],
      listed: 1,
    },
    'there, with an archive that is another one': {
      act: (dir) => {
        renameSync(join(dir, `${final}.partial.sha256`), join(dir, `${final}.sha256`))
        appendFileSync(join(dir, `${final}.partial`), 'x')
      },
      files: [],
      listed: 0,
    },
    'in rotation, between archive and seal': {
      act: (dir) => {
        renameSync(join(dir, `${final}.partial.sha256`), join(dir, `${final}.sha256`))
        rmSync(join(dir, `${final}.partial`))
      },
      files: [],
      listed: 0,
    },
  }
  for (const [when, { act, files, listed }] of Object.entries(states)) {
    const dir = folder()
    await verifySet(await writeFixture(dir), () => {})
    act(dir)
    assert.deepEqual(await listSets(dir), [], when)
    assert.ok(leftovers(dir).length > 0, when)
    await cleanPartials(dir)
    assert.deepEqual(readdirSync(dir).toSorted(), files, when)
    assert.equal((await listSets(dir)).filter((s) => s.sealed).length, listed, when)
    assert.deepEqual(await cleanPartials(dir), [], when)
  }
})

test('cleaning up leaves what is not ours alone', async () => {
  const dir = folder()
  const path = await sealedFixture(dir)
  const others = ['other.partial', 'x.tar.gz.partial', 'foreign.tar.gz.sha256']
  for (const name of others) writeFileSync(join(dir, name), 'x')
  assert.deepEqual(await cleanPartials(dir), [])
  for (const file of [path, `${path}.sha256`, ...others.map((n) => join(dir, n))])
    assert.ok(existsSync(file), file)
})

test('what was there in the last set and is gone now makes a set suspect', async () => {
  const dir = folder()
  const last = (await readManifest(await sealedFixture(dir))) as Manifest
  const [database] = last.mongodb.databases
  const empty = { ...last.mongodb, databases: [{ ...database, name: 'meeshy', collections: [] }] }
  const of = { name: 'last', manifest: last }
  assert.deepEqual(suspicions(undefined, last), [])
  assert.deepEqual(suspicions(of, last), [])
  assert.deepEqual(suspicions(of, { ...last, mongodb: empty }), [
    'meeshy.User has no documents; it had 50 in last',
  ])
  assert.deepEqual(suspicions(of, { ...last, volumes: [] }), [
    'the volume uploads has no files; it had 2 in last',
  ])
  assert.deepEqual(suspicions(of, { ...last, mongodb: empty, shape: 'abc' }), []) // migrated: other collections
})
