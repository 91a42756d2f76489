// SIGKILL after every journalled step: nothing is lost, and the same command typed again ends what was begun.
// All of them with npm run test:faults; a seeded sample with FAULTS_SAMPLE=<seed>, as npm test runs it.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import { checkSeal } from '../../lib/backup/seal.ts'
import { listSets } from '../../lib/backup/sets.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { owedNow } from '../../lib/owed.ts'
import { countDocuments, losses } from '../../lib/sentinel.ts'
import { changedVolumes, mountedVolumes } from '../../lib/volumes.ts'
import type { Stack as Seen } from '../../lib/stack.ts'
import { openRestore } from '../../lib/restore/record.ts'
import { openBaseline } from '../../lib/update/baseline.ts'
import { lives, ranOn, useStack } from '../stack/fixture.ts'
import { which } from '../stack/machine/command.ts'
import { runScript, startScript } from '../stack/tool.ts'
import { chosen, killing, stampOf } from './killing.ts'

const fixture = useStack({ id: 'kill' })

/** These work on this file's stack. */
const { killAfter, again } = killing(fixture)

const AUTO_BACKUP_LINES = 26
const WINDOW = 'minSnapshotHistoryWindowInSeconds'
const SHORT = 5 // s: so short that a backup makes it longer

/** Asks MongoDB for its snapshot window, or sets it. */
async function snapshotWindow(set?: number): Promise<number> {
  return fixture.withMongo(async (client) => {
    const admin = client.db('admin')
    if (set !== undefined) await admin.command({ setParameter: 1, [WINDOW]: set })
    return Number((await admin.command({ getParameter: 1, [WINDOW]: 1 }))[WINDOW])
  })
}

for (const lines of chosen(AUTO_BACKUP_LINES)) {
  test(`auto-backup --quiesce with a copy, killed after line ${lines} of its journal`, async (t) => {
    const { stack, tool } = fixture
    const elsewhere = join(tool.stateDir, 'elsewhere')
    const copies = which('rsync') !== undefined
    const how = {
      words: ['--quiesce'],
      env: copies ? { RUNBOOK_BACKUP_COPY_TO: `rsync:${elsewhere}` } : {},
    }
    if (!copies) t.diagnostic('without a copy, because this machine has no rsync')
    await snapshotWindow(SHORT)
    await killAfter(lines, 'auto-backup', stampOf(lines), how)
    for (const set of await listSets(tool.backupDir)) if (set.sealed) await verifySet(set.path, () => {})
    const { code, stderr, stdout } = await again('auto-backup', stampOf(100 + lines), how)
    assert.equal(code, 0, stderr + stdout)
    assert.deepEqual(
      readdirSync(tool.backupDir).filter((f) => f.includes('.partial')),
      [],
      'what the killed run has left is gone',
    )
    const left = await stack.docker('ps', '-aq', '--filter', `label=runbook.stack=${stack.project}`)
    assert.equal(left.trim(), '', 'no helper container is left')
    assert.deepEqual(owedNow({ STATE_DIR: tool.stateDir }), [], 'nothing is owed')
    assert.equal(await snapshotWindow(), SHORT, 'the setting is as it was')
    await stack.ready() // the proxy needs a moment to see them again
    assert.equal((await runScript(stack, 'health')).code, 0, 'the writers serve')
    const newest = (await listSets(tool.backupDir))[0]
    assert.ok(newest?.good)
    if (copies) await checkSeal(join(elsewhere, newest.name))
  })
}

const UPDATE_LINES = 20 // with a set that was just made: the lines of a backup are those above
const SET_AGE = 5 * 60_000 // ms: well within what an update takes

for (const lines of chosen(UPDATE_LINES)) {
  for (const way of ['--resume', '--abort'] as const) {
    test(`update killed after line ${lines} of its journal, then ${way}`, async (t) => {
      const { stack, tool } = fixture
      const stamp = stampOf((way === '--resume' ? 1000 : 3000) + lines)
      const before = await fixture.look()
      const [volumes, documents] = [await mountedVolumes(before), await countDocuments(before)]
      const other = (await gatewayIs(before)) === '1.0' ? '1.1' : '1.0'
      await stack.release('gateway', other)
      await freshSet()
      await killAfter(lines, 'update', stamp)
      const open = openBaseline(tool.stateDir)?.run === `${stamp}-update`
      const ended = await again('update', stampOf((way === '--resume' ? 2000 : 4000) + lines), {
        words: [way],
      })
      if (open) assert.equal(ended.code, 0, ended.stderr + ended.stdout)
      else {
        t.diagnostic('killed before anything was noted, or not at all')
        assert.equal(ended.code, 3, ended.stderr + ended.stdout)
        assert.match(ended.stderr, /There is no update to (resume|abort)/)
      }
      const after = await fixture.look()
      if (open && way === '--abort') {
        assert.deepEqual(ranOn(after), ranOn(before), 'what ran before runs again')
        const is = lives(after)
        await stack.compose('up', '-d')
        assert.deepEqual(lives(await fixture.look()), is, 'a plain `docker compose up -d` recreates nothing')
      }
      if (open && way === '--resume') assert.equal(await gatewayIs(after), other, 'the new version runs')
      assert.deepEqual(changedVolumes(volumes, await mountedVolumes(after)), [])
      assert.deepEqual(losses(documents, await countDocuments(after)), [])
      assert.ok(
        after.services.every((s) => s.container?.Image === s.imageId),
        'every container runs what its name means',
      )
      await stack.ready() // the proxy needs a moment to see them again
      assert.equal((await runScript(stack, 'health')).code, 0)
    })
  }
}

/** A set that is new enough for an update to take it. */
async function freshSet(): Promise<string> {
  const { stack, tool } = fixture
  const newest = (await listSets(tool.backupDir)).find((s) => s.good)
  if (newest && Date.now() - Date.parse(newest.date) < SET_AGE) return newest.path
  const { code, stderr } = await runScript(stack, 'auto-backup')
  assert.equal(code, 0, stderr)
  return freshSet()
}

/** The version that the gateway's image says it is. */
async function gatewayIs({ services }: Seen): Promise<string> {
  const id = services.find((s) => s.name === 'gateway')?.container?.Id ?? ''
  const text = await fixture.stack.docker('exec', id, 'cat', '/app/version.json')
  return (JSON.parse(text) as { version: string }).version
}

const RESTORE_LINES = 36 // all of them
const MARKS = { before: 'as it is now', saved: 'as it was saved' } // what a key of Redis and a document say

/** Which data the stack serves: what is in Redis and in MongoDB; they must say the same. */
async function servedData(): Promise<string> {
  const { stack } = fixture
  const key = await stack.docker('exec', stack.container('redis'), 'redis-cli', 'GET', 'mark')
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  try {
    const found = await client
      .db('meeshy')
      .collection<{ _id: string; says: string }>('mark')
      .findOne({ _id: 'mark' })
    const file = await stack.docker('exec', stack.container('gateway'), 'cat', '/app/uploads/mark')
    assert.deepEqual([found?.says, file.trim()], [key.trim(), key.trim()], 'all parts are of one moment')
    return key.trim()
  } finally {
    await client.close()
  }
}

async function markData(says: string): Promise<void> {
  const { stack } = fixture
  await stack.docker('exec', stack.container('redis'), 'redis-cli', 'SET', 'mark', says)
  await stack.docker(
    'exec',
    '-u',
    '0',
    stack.container('gateway'),
    'sh',
    '-c',
    'echo "$0" > /app/uploads/mark',
    says,
  )
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  try {
    await client
      .db('meeshy')
      .collection<{ _id: string; says: string }>('mark')
      .replaceOne({ _id: 'mark' }, { says }, { upsert: true })
  } finally {
    await client.close()
  }
}

let saved: string | undefined

/** A set of marked data, made once. */
async function markedSet(): Promise<string> {
  if (saved !== undefined) return saved
  const { stack } = fixture
  await markData(MARKS.saved)
  const stamp = '20261231_235959'
  const { code, stderr } = await runScript(stack, 'auto-backup', ['--stamp', stamp])
  assert.equal(code, 0, stderr)
  return (saved = stamp)
}

for (const lines of chosen(RESTORE_LINES)) {
  for (const way of ['--resume', '--abort'] as const) {
    test(`restore killed after line ${lines} of its journal, then ${way}`, async (t) => {
      const { stack, tool } = fixture
      const set = await markedSet()
      await markData(MARKS.before)
      const volumes = await mountedVolumes(await fixture.look())
      const words = [set, '--confirm', `pre-update-${set}`]
      const n = (way === '--resume' ? 10_000 : 30_000) + lines
      await killAfter(lines, 'restore', stampOf(n), { words })
      const open = openRestore({ STATE_DIR: tool.stateDir })
      const ended = await again('restore', stampOf(n + 10_000), { words: [way] })
      const left = openRestore({ STATE_DIR: tool.stateDir })
      if (open && open.phase !== 'swapped') {
        assert.equal(ended.code, 0, ended.stderr + ended.stdout)
        assert.equal(left?.phase, way === '--resume' ? 'swapped' : undefined)
      } else {
        t.diagnostic(open ? 'killed when everything was done' : 'killed before anything was noted')
        assert.equal(ended.code, 3, ended.stderr + ended.stdout)
      }
      await stack.ready()
      const wanted = left?.phase === 'swapped' ? MARKS.saved : MARKS.before
      assert.equal(await servedData(), wanted)
      assert.deepEqual(changedVolumes(volumes, await mountedVolumes(await fixture.look())), [])
      if (left)
        assert.equal(
          (await runScript(stack, 'restore', ['--commit', '--confirm', `pre-update-${set}`])).code,
          0,
        )
      assert.equal(await stack.docker('ps', '-aq', '--filter', `label=runbook.stack=${stack.project}`), '')
      const hidden = await stack.docker('exec', stack.container('gateway'), 'ls', '-A', '/app/uploads')
      assert.doesNotMatch(hidden, /runbook/)
      assert.equal((await runScript(stack, 'health')).code, 0)
    })
  }
}

const BACK_LINES = 14 // of an interrupted restore's way back; beyond its end nothing is killed
const UNDO_LINES = 8 // of --undo

const key = async (): Promise<string> =>
  (await fixture.stack.docker('exec', fixture.stack.container('redis'), 'redis-cli', 'GET', 'mark')).trim()

/** Redis alone: the same steps, in less time. */
const PART = ['--parts', 'redis']

for (const lines of chosen(BACK_LINES)) {
  test(`restore interrupted while it is down, killed after line ${lines} of its way back, then --abort`, async () => {
    const { stack, tool } = fixture
    const set = await markedSet()
    await markData(MARKS.before)
    const stamp = stampOf(50_000 + lines)
    const file = join(tool.stateDir, 'runs', `${stamp}-restore`, 'journal.jsonl')
    const journal = (): string[] =>
      existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : []
    const run = startScript(stack, 'restore', [
      '--stamp',
      stamp,
      set,
      '--confirm',
      `pre-update-${set}`,
      ...PART,
    ])
    let ended = false
    void run.ended.then(() => (ended = true))
    const until = async (seen: () => boolean): Promise<void> => {
      while (!ended && !seen()) await delay(5)
    }
    await until(() => journal().some((l) => l.includes('"intent","title":"Start the rest"')))
    if (!ended) process.kill(run.pid, 'SIGINT')
    await until(() => journal().filter((l) => l.includes('"kind":"undo')).length >= lines)
    if (!ended) process.kill(run.pid, 'SIGKILL')
    await run.ended
    const open = openRestore({ STATE_DIR: tool.stateDir })
    const back = await again('restore', stampOf(52_000 + lines), { words: ['--abort'] })
    assert.equal(back.code, open ? 0 : 3, back.stderr + back.stdout)
    assert.equal(openRestore({ STATE_DIR: tool.stateDir }), undefined)
    await stack.ready()
    assert.equal(await servedData(), MARKS.before)
    assert.equal((await runScript(stack, 'health')).code, 0)
  })
}

for (const lines of chosen(UNDO_LINES)) {
  for (const way of ['--resume', '--abort'] as const) {
    test(`the undo of a restore killed after line ${lines} of its journal, then ${way}`, async () => {
      const { stack, tool } = fixture
      const set = await markedSet()
      await markData(MARKS.before)
      const word = ['--confirm', `pre-update-${set}`]
      assert.equal((await runScript(stack, 'restore', [set, ...word, ...PART])).code, 0)
      const n = (way === '--resume' ? 100_000 : 120_000) + lines
      await killAfter(lines, 'restore', stampOf(n), { words: ['--undo', ...word] })
      const half = openRestore({ STATE_DIR: tool.stateDir })?.phase === 'undoing'
      const ended = await again('restore', stampOf(n + 10_000), { words: [way] })
      assert.equal(ended.code, half ? 0 : 3, ended.stderr + ended.stdout)
      const { phase } = openRestore({ STATE_DIR: tool.stateDir }) ?? {}
      if (half) assert.equal(phase, way === '--resume' ? 'undone' : 'swapped')
      await stack.ready()
      assert.equal(await key(), phase === 'undone' ? MARKS.before : MARKS.saved)
      assert.equal((await runScript(stack, 'restore', ['--commit', ...word])).code, 0)
      assert.equal((await runScript(stack, 'health')).code, 0)
    })
  }
}
