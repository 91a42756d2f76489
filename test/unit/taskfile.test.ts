// The Taskfile, with the real `task`: what is on PATH, or what the rehearsal has unpacked.
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import { YAML } from 'zx'
import { ROOT } from '../../lib/env.ts'
import { which } from '../stack/machine/command.ts'
import { pathsOf } from '../stack/machine/paths.ts'
import { programOf, TASK } from '../stack/machine/python.ts'
import { HOSTILE } from './fixtures/hostile.ts'
import { place, start, until, type Ended, type Options, type Place } from './fixtures/process.ts'

interface Taskfile {
  readonly tasks: Readonly<
    Record<
      string,
      { desc?: string; cmd?: string; cmds?: { task: string }[]; internal?: boolean; deps?: unknown }
    >
  >
}
const text = readFileSync(join(ROOT, 'Taskfile.yml'), 'utf8')
const { tasks } = YAML.parse(text) as Taskfile

describe('what it says', () => {
  test('every script has a target of its name, with a description', () => {
    for (const file of readdirSync(join(ROOT, 'scripts')).filter((f) => f.endsWith('.ts'))) {
      const name = file.replace('.ts', '')
      const target = tasks[name]
      assert.ok(target?.desc, name)
      const runs = `node --import tsx scripts/${file} {{.FLAGS}} {{.WORDS}}`
      assert.ok([target.cmd, tasks[`${name}:alone`]?.cmd].includes(runs), name)
    }
  })

  test('every script that it names exists', () => {
    const named = [...text.matchAll(/(?:scripts|test)\/\S+\.ts/g)].map(([file]) => file)
    assert.ok(named.length >= 5)
    for (const file of named) assert.ok(existsSync(join(ROOT, file)), file)
  })

  test('pipelines are lists in order; nothing is skipped, asked or loaded by Task', () => {
    for (const [name, target] of Object.entries(tasks)) {
      assert.ok(target.desc || target.internal, `${name} has no description`)
      const allowed = ['desc', 'silent', 'internal', 'cmd', 'cmds']
      assert.deepEqual(
        Object.keys(target).filter((key) => !allowed.includes(key)),
        [],
        name,
      )
    }
    assert.deepEqual(tasks['update:pipeline']?.cmds, [
      { task: 'auto-backup' },
      { task: 'update:alone' },
      { task: 'health' },
    ])
    assert.deepEqual(Object.keys(YAML.parse(text) as object), ['version', 'vars', 'tasks'])
  })

  test('what the operator types is never pasted as it is', () => {
    const pasted = [...text.matchAll(/\{\{([^}]*)\}\}/g)].map(([, inner = '']) => inner)
    const safe = [
      '.FLAGS',
      '.WORDS',
      '.TASK_EXE',
      'shellQuote .STACK',
      'shellQuote .STAMP',
      'shellQuote .',
      'range .CLI_ARGS_LIST',
      'end',
      'if .CLI_ARGS_LIST',
      'else',
    ]
    assert.deepEqual(
      pasted.filter((p) => !safe.includes(p)),
      [],
    )
  })
})

describe('what it does', { concurrency: 2 }, () => {
  const program = which('task') ?? [programOf(pathsOf(), TASK)].find((f) => existsSync(f))
  let dir: string
  const places: Place[] = []
  before(() => {
    // The real Taskfile beside scripts that only tell what they were given, and end as they are told.
    dir = mkdtempSync(join(tmpdir(), 'taskfile-'))
    mkdirSync(join(dir, 'scripts'))
    symlinkSync(join(ROOT, 'Taskfile.yml'), join(dir, 'Taskfile.yml'))
    symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'))
    for (const file of readdirSync(join(ROOT, 'scripts')))
      writeFileSync(
        join(dir, 'scripts', file),
        `console.log(JSON.stringify(['${file.replace('.ts', '')}', ...process.argv.slice(2)]))
        if (process.env.FAILS === '${file}') process.exitCode = 3
        if (process.env.WAITS === '${file}') {
          process.on('SIGINT', () => setTimeout(() => process.exit(130), 300))
          setTimeout(() => {}, 60_000)
        }`,
      )
  })
  after(() => {
    rmSync(dir, { recursive: true })
    places.forEach((p) => p.remove())
  })

  interface Told extends Ended {
    /** The scripts that ran, with their words. */
    readonly ran: string[][]
  }
  async function task(
    t: TestContext,
    words: readonly string[],
    options: Options = {},
  ): Promise<Told | undefined> {
    if (!program) {
      t.skip('there is no task on PATH, and the rehearsal has not unpacked one')
      return undefined
    }
    const ended = await start([program, ...words], { cwd: dir, ...options }).ended
    return {
      ...ended,
      ran: ended.stdout.split('\n').flatMap((l) => (l.startsWith('[') ? [JSON.parse(l) as string[]] : [])),
    }
  }

  test('task lists the targets in the order of the runbook', async (t) => {
    const told = await task(t, [])
    if (!told) return
    const listed = [...told.stdout.matchAll(/^\* (\S+):\s+\S/gm)].map(([, name]) => name)
    assert.deepEqual(
      listed,
      Object.keys(tasks).filter((name) => !tasks[name]?.internal),
    )
  })

  test('task update is backup, update, health, with one stamp', async (t) => {
    const told = await task(t, ['-x', 'update'])
    if (!told) return
    assert.equal(told.code, 0, told.stderr)
    const stamp = told.ran[0]?.at(-1) ?? ''
    assert.match(stamp, /^20\d{6}_\d{6}$/)
    const flags = ['--env', 'production', '--stamp', stamp]
    assert.deepEqual(told.ran, [
      ['auto-backup', ...flags],
      ['update', ...flags],
      ['health', ...flags],
    ])
  })

  test('a stamp that is given is everybody’s', async (t) => {
    const told = await task(t, ['update', 'STAMP=20200102_030405', 'STACK=staging'])
    if (!told) return
    for (const [, ...flags] of told.ran)
      assert.deepEqual(flags, ['--env', 'staging', '--stamp', '20200102_030405'])
  })

  test('an exported STACK is not ours', async (t) => {
    const told = await task(t, ['health'], { env: { STACK: 'staging', STAMP: 'x', WORDS: 'y', FLAGS: 'z' } })
    if (!told) return
    assert.deepEqual(told.ran[0]?.slice(0, 3), ['health', '--env', 'production'])
  })

  test('a failure ends the pipeline; its code comes through with -x', async (t) => {
    const told = await task(t, ['-x', 'update'], { env: { FAILS: 'auto-backup.ts' } })
    if (!told) return
    assert.deepEqual([told.code, told.ran.map(([name]) => name)], [3, ['auto-backup']])
    const plain = await task(t, ['update'], { env: { FAILS: 'update.ts' } })
    assert.deepEqual([plain?.code, plain?.ran.map(([name]) => name)], [201, ['auto-backup', 'update']])
  })

  test('with words, update runs alone with them', async (t) => {
    const words = ['--plan', 'frontend', 'b c', "d'e", '', '-rf']
    const told = await task(t, ['-x', 'update', '--', ...words])
    if (!told) return
    assert.deepEqual(
      told.ran.map(([name, , , , , ...rest]) => [name, ...rest]),
      [['update', ...words]],
    )
  })

  test('hostile words and a hostile STACK stay data', async (t) => {
    const hostile = [...HOSTILE.filter((v) => v !== ''), "'; touch PWNED #"]
    const words = await task(t, ['health', '--', ...hostile])
    if (!words) return
    assert.deepEqual(words.ran[0]?.slice(5), hostile)
    for (const [stack, stamp] of [
      ['$(touch PWNED)', "it's"],
      ['two\nlines', '`touch PWNED`'],
      ['; touch PWNED', '-x "y"'],
    ]) {
      const told = await task(t, ['health', `STACK=${stack}`, `STAMP=${stamp}`])
      assert.deepEqual(told?.ran, [['health', '--env', stack, '--stamp', stamp]])
    }
    // Task reads {{ }} in what is typed as a template of its own. The result is still one word.
    for (const template of [`{{"\\x27"}}; touch PWNED #`, `{{"{{"}}"\\x27"}}; touch PWNED #`]) {
      const [typed, named] = [
        await task(t, ['update', '--', template]),
        await task(t, ['health', `STACK=${template}`]),
      ]
      assert.match(typed?.ran[0]?.[5] ?? '', /; touch PWNED #$/)
      assert.match(named?.ran[0]?.[2] ?? '', /; touch PWNED #$/)
    }
    assert.equal(existsSync(join(dir, 'PWNED')), false)
  })

  test('Ctrl-C ends the script first, then the pipeline', async (t) => {
    if (!program) return t.skip('there is no task')
    const running = start([program, '-x', 'update'], {
      cwd: dir,
      terminal: true,
      env: { WAITS: 'auto-backup.ts' },
    })
    await until('the backup runs', () => running.printed().includes('["auto-backup"'))
    running.type('\x03')
    const { code, stdout } = await running.ended
    assert.equal(code, 130, stdout)
    assert.ok(!stdout.includes('["update"'))
  })

  test('the real scripts: task update -- --plan, and the exit code of a refusal', async (t) => {
    const here = place()
    places.push(here)
    const options = { cwd: ROOT, env: { DOCKER_HOST: `unix://${here.root}/nothing.sock` } }
    const plan = await task(t, ['-x', 'update', `STACK=${here.envFile}`, '--', '--plan'], options)
    if (!plan) return
    assert.equal(plan.code, 3)
    assert.match(plan.stdout, /^# 1\/\d+ /) // the plan alone: Task talks on standard error
    assert.equal(existsSync(here.stateDir), false)
    const missing = await task(t, ['-x', 'health', 'STACK=no-such-stack'], options)
    assert.deepEqual([missing?.code, missing?.stdout], [2, ''])
  })
})
