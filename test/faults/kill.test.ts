// SIGKILL after every journalled step: nothing is lost, and the same command typed again ends what was begun.
// All of them with npm run test:faults; a seeded sample with FAULTS_SAMPLE=<seed>, as npm test runs it.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { listSets } from '../../lib/backup/sets.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { countDocuments, losses } from '../../lib/sentinel.ts'
import { changedVolumes, mountedVolumes } from '../../lib/volumes.ts'
import { useStack } from '../stack/fixture.ts'
import { runScript, startScript, type Ended } from '../stack/tool.ts'

const fixture = useStack({ id: 'kill' })

const SAMPLE = process.env.FAULTS_SAMPLE

/** All of them, or one chosen by the seed. */
function chosen(count: number): number[] {
  const all = Array.from({ length: count }, (_, i) => i + 1)
  return SAMPLE === undefined ? all : [((Number(SAMPLE) * 13) % count) + 1]
}

/** Starts a script and ends it with SIGKILL as soon as its journal holds `lines` lines. Its words, or that it ended. */
async function killAfter(script: string, stamp: string, lines: number): Promise<'killed' | 'ended'> {
  const { stack, tool } = fixture
  const journal = join(tool.stateDir, 'runs', `${stamp}-${script}`, 'journal.jsonl')
  const run = startScript(stack, script, ['--stamp', stamp])
  let ended = false
  void run.ended.then(() => (ended = true))
  while (!ended) {
    if (existsSync(journal) && readFileSync(journal, 'utf8').split('\n').length > lines) {
      process.kill(run.pid, 'SIGKILL')
      await run.ended
      return 'killed'
    }
    await delay(5)
  }
  return 'ended'
}

/** The same command typed again, once what the killed run had started has ended (exit 5 says so meanwhile). */
async function again(script: string, stamp: string): Promise<Ended> {
  const deadline = Date.now() + 120_000
  for (;;) {
    const ended = await runScript(fixture.stack, script, ['--stamp', stamp])
    if (ended.code !== 5 || Date.now() > deadline) return ended
    assert.match(ended.stderr, /A run was killed .* still works/)
    await delay(500)
  }
}

const stampOf = (n: number): string => `20270101_${String(n).padStart(6, '0')}`

for (const lines of chosen(11)) {
  test(`auto-backup killed after line ${lines} of its journal`, async () => {
    const { stack, tool } = fixture
    await killAfter('auto-backup', stampOf(lines), lines)
    for (const set of await listSets(tool.backupDir)) if (set.sealed) await verifySet(set.path, () => {})
    const { code, stderr, stdout } = await again('auto-backup', stampOf(100 + lines))
    assert.equal(code, 0, stderr + stdout)
    assert.deepEqual(
      readdirSync(tool.backupDir).filter((f) => f.endsWith('.partial')),
      [],
      'what the killed run has left is gone',
    )
    const left = await stack.docker('ps', '-aq', '--filter', 'label=runbook')
    assert.equal(left.trim(), '', 'no helper container is left')
  })
}

for (const lines of chosen(23)) {
  test(`update killed after line ${lines} of its journal`, async () => {
    const { stack } = fixture
    const version = lines % 2 === 0 ? '1.1' : '1.0'
    const before = await fixture.look()
    const [volumes, documents] = [await mountedVolumes(before), await countDocuments(before)]
    await stack.release('gateway', version)
    await killAfter('update', stampOf(1000 + lines), lines)
    const { code, stderr, stdout } = await again('update', stampOf(2000 + lines))
    assert.equal(code, 0, stderr + stdout)
    const after = await fixture.look()
    assert.deepEqual(changedVolumes(volumes, await mountedVolumes(after)), [])
    assert.deepEqual(losses(documents, await countDocuments(after)), [])
    assert.ok(
      after.services.every((s) => s.container?.Image === s.imageId),
      'every container runs what its name means',
    )
    assert.equal((await runScript(stack, 'health')).code, 0)
  })
}
