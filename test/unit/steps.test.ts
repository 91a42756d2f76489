import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { EXIT, refusal, Stop } from '../../lib/errors.ts'
import { noRun } from '../../lib/run.ts'
import { exec, interruption, sh, type Command } from '../../lib/shell.ts'
import { choose, plan, runStep, undoSteps, within, type Doing, type Step } from '../../lib/steps.ts'
import { HOSTILE } from './fixtures/hostile.ts'

let dir: string
before(() => (dir = mkdtempSync(join(tmpdir(), 'steps-'))))
after(() => rmSync(dir, { recursive: true }))

const MINUTE = 60_000 // ms
const NEVER = new AbortController().signal

const alone = (n: number): Command => sh`node scripts/x.ts --only ${n}`

const STEPS: Step[] = [
  { title: 'Look', read: true, limit: MINUTE, cmd: sh`ls -- ${'a b'}` },
  { title: 'Do it', limit: MINUTE, run: async () => {}, undo: { says: 'put it back', run: async () => {} } },
  { title: 'Nothing left', limit: MINUTE, cmd: async () => undefined },
  {
    title: 'Hard words',
    limit: MINUTE,
    cmd: () => sh`printf ${"it's"} ${'$(touch PWNED)'}`,
    undo: { says: 'two\nlines', run: async () => {} },
  },
]

/** A doing that keeps what is said and what is journalled. */
function recorder(): Doing & { readonly said: string[] } {
  const said: string[] = []
  return {
    ...noRun,
    said,
    say: (text) => void said.push(text),
    progress: (text) => void said.push(`… ${text}`),
    log: (text) => void said.push(`log: ${text}`),
    async effect(title, detail, act, [intent, done] = ['intent', 'done'] as const) {
      said.push(`${intent}: ${title} ${JSON.stringify(detail)}`)
      const result = await act()
      said.push(`${done}: ${title}`)
      return result
    },
  }
}

describe('the plan', () => {
  test('is this text', async () => {
    assert.equal(
      await plan(choose(STEPS, {}), alone, { undo: true }),
      [
        '# 1/4 Look',
        "ls -- 'a b'",
        '# 2/4 Do it',
        'node scripts/x.ts --only 2',
        '# undo: put it back',
        '# 3/4 Nothing left',
        'node scripts/x.ts --only 3',
        '# 4/4 Hard words',
        "printf 'it'\\''s' '$(touch PWNED)'",
        '# undo: two lines',
        '',
      ].join('\n'),
    )
  })

  test('of one step is one comment and one command', async () => {
    const text = await plan(choose(STEPS, { only: '4' }), alone, { undo: false })
    assert.equal(text, "# 4/4 Hard words\nprintf 'it'\\''s' '$(touch PWNED)'\n")
  })

  test('keeps a name with a line break in its comment', async () => {
    const hostile = HOSTILE.concat('x\r\ntouch PWNED').map((title): Step => ({
      title,
      limit: 1,
      cmd: sh`true`,
    }))
    const text = await plan(choose(hostile, {}), alone, { undo: true })
    const lines = text.split('\n').slice(0, -1)
    assert.equal(lines.length, 2 * hostile.length)
    for (const [i, l] of lines.entries()) assert.ok(i % 2 === 0 ? l.startsWith('# ') : l === 'true', l)
    await exec({ words: ['bash', '-c', text.replaceAll('touch PWNED', `touch ${dir}/PWNED`)] })
    assert.equal(existsSync(join(dir, 'PWNED')), false)
  })
})

describe('--only and --from', () => {
  const numbers = (flags: { only?: string; from?: string }): string[] =>
    choose(STEPS, flags).map((s) => `${s.number} ${s.n}`)
  test('leave the numbers as they are', () => {
    assert.deepEqual(numbers({}), ['1/4 1', '2/4 2', '3/4 3', '4/4 4'])
    assert.deepEqual(numbers({ only: '3' }), ['3/4 3'])
    assert.deepEqual(numbers({ from: '3' }), ['3/4 3', '4/4 4'])
  })
  test('refuse a step that is not there, and list those that are', () => {
    for (const n of ['0', '5', '-1', '1.5', '1e0', ' 1', 'Look', '', '0x1', '99999999999999999999']) {
      assert.throws(
        () => choose(STEPS, { only: n }),
        (e) =>
          e instanceof Stop &&
          e.code === EXIT.usage &&
          e.message.startsWith(`--only ${n}: there is no such step. The steps are:\n  1 Look\n`),
        n,
      )
    }
    assert.throws(() => choose([], { from: '1' }), /--from 1: there is no such step/)
  })
})

describe('a step that runs', () => {
  test('shows its command, journals it, and hands on its output', async () => {
    const doing = recorder()
    const step: Step = {
      title: 'Print',
      limit: MINUTE,
      cmd: sh`printf ${'a\nb\n'}`,
      detail: { old: 1 },
      run: async (d, out) => d.say(`got ${out.length}`),
    }
    await runStep(step, doing, NEVER)
    assert.deepEqual(doing.said, [
      "$ printf 'a\nb\n'",
      'intent: Print {"command":"printf \'a\\nb\\n\'","old":1}',
      'log:   a',
      '… a',
      'log:   b',
      '… b',
      'got 4',
      'done: Print',
    ])
  })

  test('that only reads leaves no effect', async () => {
    const doing = recorder()
    await runStep({ title: 'Look', read: true, limit: MINUTE, cmd: sh`true` }, doing, NEVER)
    assert.deepEqual(doing.said, ['$ true'])
  })

  test('with nothing to do says so', async () => {
    const doing = recorder()
    await runStep({ title: 'x', limit: MINUTE, cmd: () => undefined, run: () => assert.fail() }, doing, NEVER)
    assert.deepEqual(doing.said, ['nothing to do as things stand'])
  })

  test('a refusal after its command is a failure: something was changed', async () => {
    const refuses = async (): Promise<void> => Promise.reject(refusal('no'))
    const thrown = (step: Omit<Step, 'title' | 'limit'>): Promise<unknown> =>
      runStep({ title: 'x', limit: MINUTE, ...step }, recorder(), NEVER).catch((e: unknown) => e)
    assert.ok((await thrown({ run: refuses })) instanceof Stop)
    assert.ok((await thrown({ cmd: sh`true`, read: true, run: refuses })) instanceof Stop)
    const after = await thrown({ cmd: sh`true`, run: refuses })
    assert.ok(after instanceof Error && !(after instanceof Stop) && after.message === 'no')
  })
})

describe('a time limit', { concurrency: true }, () => {
  const failure = async (limit: number, work: () => Promise<unknown>): Promise<string> =>
    within(limit, undefined, work).then(
      () => assert.fail('it was in time'),
      (e: unknown) => (e as Error).message,
    )

  test('ends a command and says which', async () => {
    assert.equal(
      await failure(200, () => exec(sh`sh -c ${'echo so far >&2; sleep 60'}`)),
      "timed out after 0.2 s\n$ sh -c 'echo so far >&2; sleep 60'\nso far",
    )
  })

  test('reaches work that looks at it', async () => {
    const looks = (): Promise<void> =>
      new Promise((_, reject) =>
        interruption.getStore()?.addEventListener('abort', () => reject(new Error('I stopped at 7'))),
      )
    assert.equal(await failure(200, looks), 'timed out after 0.2 s\nI stopped at 7')
  })

  test('counts for work that ends well, but late', async () => {
    const late = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 400))
    assert.equal(await failure(200, late), 'timed out after 0.2 s')
  })

  test('in time is in time', async () => assert.equal(await within(MINUTE, undefined, async () => 5), 5))

  test('an interruption is thrown as it is, and nothing begins after one', async () => {
    const controller = new AbortController()
    const work = within(MINUTE, controller.signal, () => exec(sh`sleep 60`))
    const reason = new Stop(130, 'interrupted by SIGINT')
    setTimeout(() => controller.abort(reason), 100)
    assert.equal(await work.catch((e: unknown) => e), reason)
    assert.equal(
      await within(MINUTE, controller.signal, () => assert.fail('it began')).catch((e: unknown) => e),
      reason,
    )
  })
})

describe('undoing', () => {
  test('goes in reverse, is journalled, and goes on when one fails', async () => {
    const doing = recorder()
    const step = (title: string, run?: () => Promise<void>): Step => ({
      title,
      limit: MINUTE,
      ...(run && { undo: { says: `un${title}`, run } }),
    })
    const order: string[] = []
    const result = await undoSteps(
      [
        step('do', async () => void order.push('do')),
        step('look'),
        step('make', async () => Promise.reject(new Error('nailed down'))),
        step('tie', async () => void order.push('tie')),
      ],
      doing,
      new Error('why'),
    )
    assert.deepEqual(order, ['tie', 'do'])
    assert.deepEqual(result, {
      undone: ['tie: untie', 'do: undo'],
      failed: ['make: unmake failed: nailed down'],
    })
    assert.deepEqual(doing.said, [
      'undo: undo: tie {"says":"untie"}',
      'undone: undo: tie',
      'undo: undo: make {"says":"unmake"}',
      'undo: undo: do {"says":"undo"}',
      'undone: undo: do',
    ])
  })

  test('is outside of the interruption that caused it', async () => {
    const controller = new AbortController()
    controller.abort(new Error('Ctrl-C'))
    const step: Step = {
      title: 'x',
      limit: 1,
      undo: { says: 'y', run: async () => void (await exec(sh`true`)) },
    }
    const { undone } = await interruption.run(controller.signal, () =>
      undoSteps([step], recorder(), undefined),
    )
    assert.deepEqual(undone, ['x: y'])
  })
})

test('an undo that lets things stay is not listed as undone', async () => {
  const doing = { ...noRun, say() {}, progress() {} }
  const step = (title: string, end: 'stays' | undefined): Step => ({
    title,
    limit: 1000,
    undo: { says: 'take it back', run: async () => end },
  })
  const { undone, failed } = await undoSteps([step('A', undefined), step('B', 'stays')], doing, undefined)
  assert.deepEqual([undone, failed], [['A: take it back'], []])
})
