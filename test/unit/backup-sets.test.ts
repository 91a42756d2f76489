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
import { mark, unmark } from '../../lib/backup/marks.ts'
import { checkSeal, finalPath, readSeal, sealSet } from '../../lib/backup/seal.ts'
import {
  cleanPartials,
  findSet,
  KEPT,
  leftovers,
  listSets,
  newestGood,
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
  good: (more.sealed ?? true) && (more.complete ?? true) && (more.suspect ?? []).length === 0,
  marks: {},
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
  assert.deepEqual(row(basename(unsealed)), { ...good, sealed: false, problem: 'it has no seal' })
  assert.deepEqual(row(basename(old)), { ...good, sealed: false, legacy: true, stackId: undefined })
  assert.deepEqual(sets.at(-1)?.name, basename(old))
  assert.ok((await listSets(dir, 'meeshy')).every((s) => s.stackId !== 'other'))

  assert.equal((await newestGood(dir))?.stamp, stampOf(3))
  assert.equal((await newestGood(dir, { stackId: 'meeshy' }))?.stamp, stampOf(2))
  assert.equal((await newestGood(dir, { stamp: stampOf(5) }))?.stamp, undefined)
  assert.equal(await newestGood(dir, { maxAgeMs: 60_000 }), undefined)
})

test('what is wrong with a set is told as it is', async () => {
  const dir = folder()
  const path = await sealedFixture(dir)
  const problem = async (): Promise<string | undefined> => (await listSets(dir))[0]?.problem
  const seal = `${path}.sha256`
  writeFileSync(seal, `${'0'.repeat(64)}  another.tar.gz\n`)
  assert.equal(await problem(), 'its seal is that of "another.tar.gz"')
  writeFileSync(seal, 'x')
  assert.equal(await problem(), 'its seal cannot be read')
  mark(path, 'damaged', { why: 'a byte' })
  assert.equal(await problem(), 'DAMAGED: a byte', 'whatever else is wrong')
  unmark(path, 'damaged')
  for (const bytes of ['', 'abc']) {
    writeFileSync(path, bytes)
    assert.equal(await problem(), 'it is empty, or no archive at all')
  }
})

test('an incomplete set is no newest one', async () => {
  const dir = folder()
  await sealedFixture(dir, { complete: false })
  assert.equal(await newestGood(dir), undefined)
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
    'while writing': {
      act: (dir) => truncateSync(join(dir, `${final}.meeshy.partial`), 500),
      files: [],
      listed: 0,
    },
    'after the read-back': { act: () => {}, files: [], listed: 0 },
    'between the seal and the rename': {
      act: (dir) => renameSync(join(dir, `${final}.meeshy.partial.sha256`), join(dir, `${final}.sha256`)),
      files: [final, `${final}.sha256`],
      listed: 1,
    },
    'there, with an archive that is another one': {
      act: (dir) => {
        renameSync(join(dir, `${final}.meeshy.partial.sha256`), join(dir, `${final}.sha256`))
        appendFileSync(join(dir, `${final}.meeshy.partial`), 'x')
      },
      files: [],
      listed: 0,
    },
    'in rotation, between archive and seal': {
      act: (dir) => {
        renameSync(join(dir, `${final}.meeshy.partial.sha256`), join(dir, `${final}.sha256`))
        rmSync(join(dir, `${final}.meeshy.partial`))
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
    assert.ok(leftovers(dir, 'meeshy').length > 0, when)
    await cleanPartials(dir, 'meeshy')
    assert.deepEqual(readdirSync(dir).toSorted(), files, when)
    assert.equal((await listSets(dir)).filter((s) => s.sealed).length, listed, when)
    assert.deepEqual(await cleanPartials(dir, 'meeshy'), [], when)
  }
})

test('cleaning up leaves what is not ours alone', async () => {
  const dir = folder()
  const path = await sealedFixture(dir)
  const others = [
    'other.partial',
    'x.tar.gz.partial',
    'foreign.tar.gz.sha256',
    `pre-update-${stampOf(9)}.tar.gz.other.partial`,
  ]
  for (const name of others) writeFileSync(join(dir, name), 'x')
  assert.deepEqual(await cleanPartials(dir, 'meeshy'), [])
  for (const file of [path, `${path}.sha256`, ...others.map((n) => join(dir, n))])
    assert.ok(existsSync(file), file)
})

test('what was there in the last set and is gone, or mostly gone, makes a set suspect', async () => {
  const dir = folder()
  const last = (await readManifest(await sealedFixture(dir))) as Manifest
  const of = { name: 'last', manifest: last }
  const [database] = last.mongodb.databases
  const [collection] = database?.collections ?? []
  const [volume] = last.volumes
  assert.ok(database && collection && volume)
  const withDocuments = (documents: number): Manifest => ({
    ...last,
    mongodb: { ...last.mongodb, databases: [{ ...database, collections: [{ ...collection, documents }] }] },
  })
  const withFiles = (files: number): Manifest => ({ ...last, volumes: [{ ...volume, files }] })
  const before = (manifest: Manifest): { name: string; manifest: Manifest } => ({ name: 'last', manifest })
  assert.deepEqual(suspicions(undefined, last), [])
  assert.deepEqual(suspicions(of, last), [])
  assert.deepEqual(suspicions(of, withDocuments(0)), ['meeshy.User has no documents; it had 50 in last'])
  assert.deepEqual(suspicions(of, withDocuments(1)), [], 'an application cleans up after itself')
  assert.deepEqual(suspicions(before(withDocuments(1000)), withDocuments(499)), [
    'MongoDB as a whole has 499 documents; it had 1000 in last',
  ])
  assert.deepEqual(suspicions(of, { ...last, volumes: [] }), [
    'the volume uploads has no files; it had 2 in last',
  ])
  assert.deepEqual(suspicions(before(withFiles(100)), withFiles(49)), [
    'the volume uploads has 49 files; it had 100 in last',
  ])
  const keys = (n: number): Manifest => ({ ...last, redis: { ...last.redis, keys: n, expiring: 0 } })
  assert.deepEqual(suspicions(before(keys(200)), keys(0)), [
    'Redis has no keys that do not expire; it had 200 in last',
  ])
  assert.deepEqual(suspicions(of, { ...withDocuments(0), shape: 'abc' }), [], 'migrated: other collections')
})

test('a name from outside cannot forge a line of what is suspect', async () => {
  const dir = folder()
  const last = (await readManifest(await sealedFixture(dir))) as Manifest
  const text = JSON.stringify(last).replaceAll('"name":"User"', '"name":"a\\nSealed: all good"')
  const found = suspicions({ name: 'last', manifest: JSON.parse(text) as Manifest }, last)
  assert.equal(found.length, 1)
  assert.ok(!found.join('').includes('\n'), found.join(''))
})

test('marks: what became of a set is told, and counts', async () => {
  const dir = folder()
  const path = await sealedFixture(dir, { suspect: ['x'] })
  const only = async (): Promise<SetInfo> => (await listSets(dir))[0] as SetInfo
  assert.equal((await only()).good, false)
  assert.equal(await newestGood(dir), undefined)
  assert.equal((await newestGood(dir, { suspectToo: true }))?.path, path)
  mark(path, 'accepted', { why: 'looked' })
  assert.deepEqual((await only()).suspect, [])
  assert.equal((await newestGood(dir))?.path, path)

  mark(path, 'damaged', { why: 'a byte' })
  assert.equal((await only()).good, false)
  assert.match((await only()).problem ?? '', /DAMAGED: a byte/)
  assert.equal(await newestGood(dir, { suspectToo: true }), undefined)
  unmark(path, 'damaged')
  assert.equal((await only()).good, true)

  mark(path, 'proven', { sha256: 'of another archive' })
  assert.equal((await only()).marks.proven, undefined)
  mark(path, 'proven', { sha256: readSeal(path) ?? '' })
  assert.ok((await only()).marks.proven)

  writeFileSync(`${path}.pinned`, '') // by hand
  assert.deepEqual((await only()).marks.pinned, { at: '' })
  rmSync(path)
  assert.deepEqual(await listSets(dir), [])
  await cleanPartials(dir, 'meeshy')
  assert.deepEqual(readdirSync(dir), [], 'marks and seals of a set that is gone go too')
})

test('a set that is dated in the future does not count', async () => {
  const dir = folder()
  await sealedFixture(dir, { finished: new Date(Date.now() + 60 * 60_000).toISOString() })
  assert.equal(await newestGood(dir, { maxAgeMs: 60_000, suspectToo: true }), undefined)
  assert.match((await listSets(dir))[0]?.problem ?? '', /future/)
})

test('a set is found by its name, its stamp, its path, or as the latest; else what there is is listed', async () => {
  const dir = folder()
  const [older, newer] = [
    await sealedFixture(dir, { stamp: stampOf(2), finished: day(2) }),
    await sealedFixture(dir, { stamp: stampOf(3), finished: day(3) }),
  ]
  for (const word of [basename(older), basename(older, '.tar.gz'), stampOf(2), older]) {
    assert.equal((await findSet(dir, 'meeshy', word)).path, older, word)
  }
  assert.equal((await findSet(dir, 'meeshy', 'latest')).path, newer)
  await assert.rejects(findSet(dir, 'meeshy', 'x'), /no set 'x'.*It holds:\n {2}pre-update-20260103/s)
  await assert.rejects(findSet(dir, 'meeshy', '/no/where'), /no set \/no\/where/)
  await assert.rejects(findSet(dir, 'meeshy', '../x'), /no set/)
})

test('another stack in the same folder: neither its unfinished set nor its seal is touched', async () => {
  const dir = folder()
  const partial = await writeFixture(dir, { stackId: 'other' })
  await verifySet(partial, () => {})
  assert.deepEqual(leftovers(dir, 'meeshy'), [])
  renameSync(`${partial}.sha256`, `${finalPath(partial)}.sha256`) // it is just being sealed
  assert.deepEqual(await cleanPartials(dir, 'meeshy'), [])
  assert.equal((await cleanPartials(dir, 'other')).length, 1)
  assert.ok(existsSync(finalPath(partial)))
})

test('rotation over random histories: five good ones stay, no kept one goes, and never the last', () => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = randomFrom(seed)
    const chance = (p: number): boolean => random() < p
    let sets: SetInfo[] = []
    let hadGood = false
    for (let n = 1; n <= 60; n++) {
      const suspect = chance(0.2) ? ['x'] : []
      const [sealed, complete] = [!chance(0.15), !chance(0.1)]
      const good = sealed && complete && suspect.length === 0
      const marks = {
        ...(chance(0.1) && { pinned: { at: '' } }),
        ...(chance(0.1) && { proven: { at: '' } }),
      }
      const date = new Date(Date.UTC(2026, 0, 1) + n * 3_600_000).toISOString()
      const stackId = chance(0.2) ? 'other' : 'meeshy'
      sets.push(set(1, { name: `s${n}`, date, sealed, complete, suspect, good, marks, stackId }))
      if (chance(0.1)) {
        const damaged = sets[Math.floor(random() * sets.length)] as SetInfo
        const now = { ...damaged, good: false, marks: { ...damaged.marks, damaged: { at: '' } } }
        sets = sets.map((s) => (s === damaged ? now : s))
      }
      if (chance(0.3)) continue // a run that failed before its rotation
      const before = sets
      const gone = tooOld(chance(0.5) ? before : before.toReversed(), 'meeshy')
      sets = before.filter((s) => !gone.includes(s))
      const where = `seed ${seed}, set ${n}`
      const ours = (all: readonly SetInfo[]): SetInfo[] => all.filter((s) => s.stackId === 'meeshy')
      const goodOnes = ours(before).filter((s) => s.good)
      hadGood ||= goodOnes.length > 0
      assert.deepEqual(
        ours(sets)
          .filter((s) => s.good)
          .slice(-KEPT),
        goodOnes.slice(-KEPT),
        `${where}: the five newest good ones stay`,
      )
      assert.ok(goodOnes.length === 0 || ours(sets).some((s) => s.good), where)
      assert.ok(
        gone.every((s) => s.sealed && s.complete && s.stackId === 'meeshy'),
        `${where}: only ours`,
      )
      assert.ok(
        gone.every((s) => !s.marks.pinned),
        `${where}: pinned`,
      )
      const proven = ours(before).filter((s) => s.sealed && s.complete && s.marks.proven && !s.marks.damaged)
      assert.ok(!gone.includes(proven.at(-1) as SetInfo), `${where}: the last proven one`)
      const kept = ours(sets).filter((s) => s.good && !s.marks.pinned && s !== proven.at(-1))
      assert.ok(kept.length <= KEPT, `${where}: ${kept.length} are kept`)
    }
    assert.ok(hadGood)
  }
})

/** Numbers between 0 and 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
