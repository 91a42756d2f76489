// Signals, undo, lost terminals and full disks, on a real script in a real process.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { takeLock } from '../../lib/lock.ts'
import { pastRuns } from '../../lib/run.ts'
import { line } from '../../lib/shell.ts'
import {
  LOADER,
  place,
  processesWith,
  runScript,
  SAMPLE,
  start,
  startScript,
  until,
  type Ended,
  type Place,
  type Running,
} from './fixtures/process.ts'

const NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

const places: Place[] = []
after(() => places.forEach((p) => p.remove()))
function somewhere(): Place {
  const here = place()
  places.push(here)
  return here
}

/** The sample in a place of its own, as far as its fourth step. */
async function begun(
  here: Place,
  flags: readonly string[],
  terminal = false,
): Promise<Running & { node: number }> {
  const running = startScript(SAMPLE, ['--env', here.envFile, here.work, ...flags], { terminal })
  await until('the fourth step runs', () => journal(here).includes('intent Go on'))
  if (flags.includes('sleep'))
    await until('its tree runs', () => processesWith(`wait # ${here.work}`).length === 1)
  return { ...running, node: (here.lastRun().journal[0]!.detail as { pid: number }).pid }
}

const journal = (here: Place): string[] =>
  (pastRuns(here.stateDir, 1)[0]?.journal ?? []).map((l) => `${l.kind} ${l.title}`)

const UNDONE = [
  'undo undo: Make two',
  'undone undo: Make two',
  'undo undo: Make one',
  'undone undo: Make one',
  'done run',
]

function assertUndone(here: Place, exitCode: number): void {
  assert.deepEqual(journal(here).slice(-5), UNDONE)
  assert.equal(readFileSync(join(here.work, 'undone.txt'), 'utf8'), 'two\none\n')
  assert.deepEqual(readdirSync(here.work), ['undone.txt'])
  const { report } = here.lastRun()
  assert.equal(report?.exitCode, exitCode)
  assert.deepEqual(
    report.steps.map((s) => s.outcome),
    ['done', 'done', 'done', 'failed', 'skipped'],
  )
  assert.deepEqual(report.undone, [`Make two: rm -f ${here.work}/two`, `Make one: rm -f ${here.work}/one`])
  assert.deepEqual(processesWith(here.work), [])
}

describe('a signal', { concurrency: 2 }, () => {
  for (const terminal of [false, true]) {
    for (const signal of SIGNALS) {
      test(`${signal} ${terminal ? 'on a terminal' : 'without a terminal'}: undone in reverse, no process left`, async () => {
        const here = somewhere()
        const { node, ended } = await begun(here, ['--third', 'sleep'], terminal)
        const began = performance.now()
        process.kill(node, signal)
        const { code, stdout, stderr } = await ended
        assert.ok(performance.now() - began < 20_000) // its command would take a minute
        assert.equal(code, 128 + NUMBERS[signal])
        assertUndone(here, 128 + NUMBERS[signal])
        const printed = stdout + stderr
        for (const text of [
          `interrupted by ${signal}: ending this step`,
          'Undoing what was done…',
          '4/5 Go on failed:',
          'It is up. Type: again',
        ])
          assert.ok(printed.includes(text), `${text} in ${printed}`)
      })
    }
  }

  test('Ctrl-C typed on the terminal', async () => {
    const here = somewhere()
    const { type, ended } = await begun(here, ['--third', 'sleep'], true)
    type('\x03')
    assert.equal((await ended).code, 130)
    assertUndone(here, 130)
  })

  test('to the whole process group, as a service manager sends it', async () => {
    const here = somewhere()
    const { pid, ended } = await begun(here, ['--third', 'sleep'])
    process.kill(-pid, 'SIGTERM')
    assert.equal((await ended).code, 143)
    assertUndone(here, 143)
  })

  test('a terminal that is closed is a HUP, and the undo needs no terminal', async () => {
    const here = somewhere()
    const { node, hangUp } = await begun(here, ['--third', 'sleep', '--undo', 'slow'], true)
    hangUp()
    await until('the run has ended', () => here.lastRun().report !== undefined)
    await until('the process has ended', () => !existsSync(`/proc/${node}`))
    assertUndone(here, 129)
    assert.match(
      readFileSync(join(here.lastRun().dir, 'log.txt'), 'utf8'),
      /Nobody reads what is printed any more .*EIO.* Going on/,
    )
  })

  for (const terminal of [false, true]) {
    test(`a second one is told and ignored ${terminal ? 'on a terminal' : 'without a terminal'}`, async () => {
      const here = somewhere()
      const { node, ended, printed } = await begun(here, ['--third', 'sleep', '--undo', 'slow'], terminal)
      process.kill(node, 'SIGTERM')
      await until('the undo has begun', () => printed().includes('Undoing'))
      process.kill(node, 'SIGINT')
      await delay(100)
      process.kill(node, 'SIGHUP')
      const { code, stdout, stderr } = await ended
      assert.equal(code, 143)
      assertUndone(here, 143)
      for (const second of ['SIGINT', 'SIGHUP'])
        assert.ok(
          (stdout + stderr).includes(
            `interrupted by ${second}: already ending; what was done is being undone.`,
          ),
        )
    })
  }

  test('a second one while a stubborn command is being ended: told at the end, and it is killed', async () => {
    const here = somewhere()
    const { node, ended } = await begun(here, ['--third', 'stubborn'], true)
    process.kill(node, 'SIGINT')
    await delay(500)
    process.kill(node, 'SIGINT')
    const { code, stdout } = await ended
    assert.equal(code, 130)
    assertUndone(here, 130)
    assert.ok(stdout.includes('interrupted by SIGINT: already ending'), stdout) // listr2 had held it
  })

  test('to a step that never looks: given up, the rest is undone, and the process goes', async () => {
    const here = somewhere()
    const { node, ended } = await begun(here, ['--third', 'never'])
    process.kill(node, 'SIGTERM')
    assert.equal((await ended).code, 143)
    assertUndone(here, 143)
  })

  test('before the first step: nothing was changed', async () => {
    const here = somewhere()
    const { ended, printed, pid } = startScript(SAMPLE, ['--env', here.envFile, here.work, '--ask'], {
      terminal: true,
    })
    await until('it asks', () => printed().includes('Type oui'))
    const [node] = processesWith(here.work).filter((p) => p.words.startsWith(process.execPath))
    assert.ok(node && node.pid !== pid)
    process.kill(node.pid, 'SIGTERM')
    const { code, stdout } = await ended
    assert.equal(code, 143)
    assert.match(stdout, /interrupted by SIGTERM\. Nothing was changed\./)
    assert.equal(existsSync(join(here.stateDir, 'runs')), false)
  })

  test('SIGKILL: the journal says where it was, and the lock is kept until what it had started has ended', async () => {
    const here = somewhere()
    const { node, ended } = await begun(here, ['--third', 'sleep'])
    process.kill(node, 'SIGKILL')
    await ended
    assert.equal(journal(here).at(-1), 'intent Go on')
    assert.equal(here.lastRun().report, undefined)
    const [left, ...more] = processesWith(`wait # ${here.work}`)
    assert.ok(left && more.length === 0)
    const { code, stderr } = await runScript(SAMPLE, ['--env', here.envFile, here.work])
    assert.equal(code, 5)
    assert.match(
      stderr,
      new RegExp(`^A run was killed \\(sample by \\w+, process ${node}, since .*still works\\.\n`),
    )
    process.kill(-left.pid, 'SIGKILL')
    await until('it has ended', () => processesWith(here.work).length === 0)
    await (await takeLock(here.stateDir, 'next')).release()
  })

  test('the lock is held until everything is undone', async () => {
    const here = somewhere()
    const first = await begun(here, ['--third', 'sleep', '--undo', 'slow'], true)
    first.type('\x03')
    await until('the undo has begun', () => first.printed().includes('Undoing'))
    const second = await runScript(SAMPLE, ['--env', here.envFile, here.work])
    assert.equal(second.code, 5)
    assert.match(
      second.stderr,
      new RegExp(`^Another run holds the lock of this stack: sample by \\w+, process ${first.node}, since`),
    )
    assert.equal((await first.ended).code, 130)
  })
})

describe('a failure', { concurrency: 2 }, () => {
  const failed = async (...flags: string[]): Promise<Ended & { here: Place }> => {
    const here = somewhere()
    return { here, ...(await runScript(SAMPLE, ['--env', here.envFile, here.work, ...flags])) }
  }

  test('tells the step, the command, its error output, what was undone, what is true, what to type', async () => {
    const { here, code, stderr } = await failed('--third', 'fail')
    assert.equal(code, 1)
    assertUndone(here, 1)
    const told = stderr.slice(stderr.indexOf('\n4/5 Go on failed:') + 1)
    assert.match(
      told.replaceAll(here.work, 'WORK'),
      /^4\/5 Go on failed:\nexit code 7\n\$ sh -c 'echo it went >&2; echo wrong >&2; exit 7'\nit went\nwrong\n\nUndone:\n {2}Make two: rm -f WORK\/two\n {2}Make one: rm -f WORK\/one\n\nIt is up\. Type: again\n\S+-sample: ended \S+ after \d+\.\d s, exit code 1\. All that was printed: \S+\/log\.txt\n$/,
    )
    const log = readFileSync(join(here.lastRun().dir, 'log.txt'), 'utf8')
    for (const text of [
      'started 20',
      '2/5 Make one',
      '$ touch -- ',
      '  it went',
      'Undoing what was done',
      'It is up. Type: again',
    ])
      assert.ok(log.includes(text), `${text} in ${log}`)
  })

  test('an undo that fails is told, and the rest goes on', async () => {
    const { here, code, stderr } = await failed('--third', 'fail', '--undo', 'fails')
    assert.equal(code, 1)
    assert.match(stderr, /Could not be undone:\n {2}Make two: rm -f \S+ failed: two is nailed down\n/)
    assert.deepEqual(readdirSync(here.work), ['two', 'undone.txt'])
    const { report } = here.lastRun()
    assert.deepEqual(report?.notUndone, [`Make two: rm -f ${here.work}/two failed: two is nailed down`])
    assert.deepEqual(report.undone, [`Make one: rm -f ${here.work}/one`])
  })

  test('with the service not up is 10', async () => {
    const { here, code, stderr } = await failed('--third', 'fail', '--down')
    assert.equal(code, 10)
    assert.match(stderr, /It is NOT up\. Type: look/)
    assertUndone(here, 10)
  })

  test('a step that takes too long', async () => {
    const { here, code, stderr } = await failed('--third', 'late')
    assert.equal(code, 1)
    assert.match(stderr, /4\/5 Go on failed:\ntimed out after 0\.5 s\n\$ sh -c /)
    assertUndone(here, 1)
  })

  test('an error that nobody catches', async () => {
    const { here, code, stderr } = await failed('--third', 'crash')
    assert.equal(code, 1)
    assert.match(stderr, /4\/5 Go on failed:\nnobody catches this\n/)
    assertUndone(here, 1)
  })

  test('a refusal when something was changed is a failure', async () => {
    const { here, code } = await failed('--third', 'refuse')
    assert.equal(code, 1)
    assertUndone(here, 1)
  })

  test('what a step printed behind the back of the list is not lost, on a terminal too', async () => {
    for (const terminal of [false, true]) {
      const here = somewhere()
      const { code, stdout, stderr } = await startScript(
        SAMPLE,
        ['--env', here.envFile, here.work, '--third', 'print'],
        { terminal },
      ).ended
      assert.equal(code, 1)
      for (const text of ['printed by the way', 'warned by the way', 'and then it failed'])
        assert.ok((stdout + stderr).includes(text), text)
    }
  })

  test('of the disk that holds the run does not stop the undo', async () => {
    const { here, code, stderr } = await failed('--third', 'full')
    assert.equal(code, 1)
    assert.match(stderr, /\S+ cannot be written: EFBIG: file too large, write\. Going on without it\.\n/)
    assert.equal(stderr.match(/Going on without it/g)?.length, 1)
    assert.match(stderr, /Undone:\n {2}Make two: .*\n {2}Make one: /)
    assert.deepEqual(readdirSync(here.work), [])
    assert.equal(here.lastRun().report, undefined)
  })
})

describe('who reads', { concurrency: 2 }, () => {
  for (const which of ['2>&1 | head -1', '| head -1', '2>&1 >/dev/null | head -1', '>&- 2>&-']) {
    test(`${which} does not end a run`, async () => {
      const here = somewhere()
      const command = line({
        words: [
          process.execPath,
          '--import',
          LOADER,
          SAMPLE,
          '--env',
          here.envFile,
          here.work,
          '--third',
          'talk',
        ],
      })
      const { code } = await start(['bash', '-o', 'pipefail', '-c', `${command} ${which}`]).ended
      assert.equal(code, 0)
      assert.deepEqual(readdirSync(here.work), ['two'])
      const { report, dir } = here.lastRun()
      assert.equal(report?.exitCode, 0)
      const log = readFileSync(join(dir, 'log.txt'), 'utf8')
      assert.ok(log.includes('line 200'))
      if (which.includes('head')) assert.match(log, /Nobody reads what is printed any more .*EPIPE/)
    })
  }

  test('a run that is longer than the screen keeps its lines', async () => {
    const here = somewhere()
    const { code, stdout } = await startScript(
      SAMPLE,
      ['--env', here.envFile, here.work, '--third', 'talk'],
      { terminal: true },
    ).ended
    assert.equal(code, 0)
    const end = stdout.slice(stdout.lastIndexOf('1/5 Look'))
    for (const n of [1, 100, 200]) assert.match(end, new RegExp(`line ${n}\\r`))
  })
})
