import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { CommandFailed, exec, interruption, line, quote, sh, stream, type Command } from '../../lib/shell.ts'
import { HOSTILE } from './fixtures/hostile.ts'
import { LOADER, processesWith, start, until } from './fixtures/process.ts'
import { ROOT } from '../../lib/env.ts'
import { sentence } from '../../lib/errors.ts'

const SHELLS = ['dash', 'bash'].filter((name) => existsSync(`/bin/${name}`))
const PRINT0: Command = { words: ['printf', '%s\\0', ...HOSTILE] }
const split0 = (out: string): string[] => out.split('\0').slice(0, -1)

let dir: string
let was: string
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'shell-'))
  was = process.cwd()
  process.chdir(dir) // where a value that was taken for a command would leave its file
})
after(() => {
  process.chdir(was)
  rmSync(dir, { recursive: true })
})

async function failure(work: Promise<unknown>): Promise<CommandFailed> {
  const error = await work.then(
    () => assert.fail('it did not fail'),
    (e: unknown) => e,
  )
  assert.ok(error instanceof CommandFailed, String(error))
  return error
}

describe('quoting', () => {
  test('there are two shells to try it in', () => assert.deepEqual(SHELLS, ['dash', 'bash']))

  for (const shell of SHELLS) {
    test(`${HOSTILE.length} hostile values come through ${shell}`, async () => {
      const pasted = `printf '%s\\0' ${HOSTILE.map(quote).join(' ')}`
      const { stdout } = await exec({ words: [shell, '-c', pasted] })
      assert.deepEqual(split0(stdout), HOSTILE)
    })

    test(`a printed line does in ${shell} what exec does`, async () => {
      const commands: Command[] = [
        PRINT0,
        ...HOSTILE.filter((v) => v !== '').map((v): Command => ({
          words: ['printenv', 'V'],
          env: { PATH: '/usr/bin:/bin', V: v },
        })),
        ...HOSTILE.map((input): Command => ({ words: ['cat'], input })),
        { words: ['env'], env: { PATH: '/usr/bin:/bin', A: "it's $(touch PWNED)" } },
      ]
      for (const command of commands) {
        const ours = await exec(command)
        const pasted = await exec({ words: [shell, '-c', line(command)] })
        assert.equal(pasted.stdout, ours.stdout, line(command))
      }
    })
  }

  test('harmless words stay bare, and an odd program is no assignment', () => {
    assert.equal(
      line(sh`docker compose -p x up -d --no-build a@b:1,2%+=_/.`),
      'docker compose -p x up -d --no-build a@b:1,2%+=_/.',
    )
    assert.equal(line({ words: ['A=b', 'C=d'] }), "'A=b' C=d")
    assert.equal(quote(''), "''")
  })

  test('our own PATH and HOME are those of the shell that a line is pasted into, others are written out', async () => {
    const [PATH = '', HOME = ''] = [process.env.PATH, process.env.HOME]
    assert.equal(
      line({ words: ['env'], env: { PATH, HOME, A: 'b c' } }),
      `env -i PATH="$PATH" HOME="$HOME" 'A=b c' env`,
    )
    assert.equal(line({ words: ['env'], env: { PATH: '/bin', HOME: '' } }), 'env -i PATH=/bin HOME= env')
  })

  test('values reach a program through exec as they are', async () => {
    assert.deepEqual(split0((await exec(PRINT0)).stdout), HOSTILE)
    for (const input of HOSTILE) assert.equal((await exec({ words: ['cat'], input })).stdout, input)
  })

  test('and through stream', async () => {
    const { child, ended } = stream(PRINT0)
    assert.deepEqual(split0(await text(child.stdout!)), HOSTILE)
    await ended
  })

  after(() => assert.equal(existsSync('PWNED'), false))
})

describe('sh', () => {
  const x = 'a b'
  const cases: [Command, string[]][] = [
    [sh`true`, ['true']],
    [sh`  docker   ps  `, ['docker', 'ps']],
    [sh`rm -- ${x}`, ['rm', '--', 'a b']],
    [sh`cp ${x}/one ${x}:/two`, ['cp', 'a b/one', 'a b:/two']],
    [sh`--user=${x}=${1}`, ['--user=a b=1']],
    [sh`printf ${''} ${x}`, ['printf', '', 'a b']],
    [sh`echo ${['a b', 2, '']} end`, ['echo', 'a b', '2', '', 'end']],
    [sh`echo ${[]} end`, ['echo', 'end']],
    [sh`echo ${['a']}`, ['echo', 'a']],
    [sh`echo | > ; ${'| > ;'}`, ['echo', '|', '>', ';', '| > ;']],
    [sh`${x} ${['y']}`, ['a b', 'y']],
    [
      sh`a
      b`,
      ['a', 'b'],
    ],
  ]
  for (const [command, words] of cases) {
    test(JSON.stringify(words), () => assert.deepEqual(command.words, words))
  }
  test('needs a program', () => assert.throws(() => sh`  `, TypeError))
  test('an array that touches other text is refused', () => {
    assert.throws(() => sh`echo --x=${['a', 'b']}`, TypeError)
    assert.throws(() => sh`echo ${['a', 'b']}x`, TypeError)
    assert.throws(() => sh`echo ${['a']}${['b']}`, TypeError)
    assert.throws(() => sh`echo ${['a']}${'b'}`, TypeError)
  })
  test('a value that is not there is refused', () => {
    const missing = undefined as unknown as string
    assert.throws(() => sh`rm -- ${missing}/data`, TypeError)
  })
})

describe('exec', () => {
  test('tells the exit code, the command and the end of the error output', async () => {
    const many = 'i=1; while [ $i -le 40 ]; do echo line $i >&2; i=$((i+1)); done; exit 7'
    const error = await failure(exec(sh`sh -c ${many}`))
    assert.equal(error.exitCode, 7)
    assert.match(error.stderr, /^line 1\n/)
    const lines = error.message.split('\n')
    assert.equal(lines[0], 'exit code 7')
    assert.equal(lines[1], `$ sh -c '${many}'`)
    assert.deepEqual([lines.length, lines[2], lines.at(-1)], [14, 'line 29', 'line 40'])
  })

  test('a missing program is 127, as in a shell', async () => {
    const error = await failure(exec(sh`no-such-program x`, { anyCode: true }))
    assert.equal(error.exitCode, 127)
    assert.equal(error.message, 'there is no program no-such-program\n$ no-such-program x')
  })

  test('what cannot be started says why', async () => {
    assert.match((await failure(exec({ words: ['/tmp'] }))).message, /could not be started: .*EACCES/)
    assert.match(
      (await failure(exec({ words: ['printf', 'a\0b'] }))).message,
      /could not be started: .*null bytes/,
    )
  })

  test('a program ended by a signal', async () => {
    const error = await failure(exec(sh`sh -c ${'kill -9 $$'}`, { anyCode: true }))
    assert.deepEqual([error.exitCode, error.message.split('\n')[0]], [null, 'ended by SIGKILL'])
  })

  test('anyCode gives the code instead', async () => {
    const { exitCode, stdout, stderr } = await exec(sh`sh -c ${'echo o; echo e >&2; exit 3'}`, {
      anyCode: true,
    })
    assert.deepEqual([exitCode, stdout, stderr], [3, 'o\n', 'e\n'])
  })

  test('onLine gets each line of both streams, the last without its end too', async () => {
    const lines: string[] = []
    const { stdout } = await exec(sh`sh -c ${'echo one; echo two >&2; printf three'}`, {
      onLine: (l) => lines.push(l),
    })
    assert.deepEqual(lines.toSorted(), ['one', 'three', 'two'])
    assert.equal(stdout, 'one\nthree')
  })

  test('standard input is empty, or what is given', async () => {
    assert.equal((await exec(sh`cat`)).stdout, '')
    assert.equal((await exec({ words: ['cat'], input: '' })).stdout, '')
    const big = 'x'.repeat(2 ** 20)
    assert.equal((await exec({ words: ['cat'], input: big })).stdout, big)
    assert.equal((await exec({ words: ['true'], input: big })).exitCode, 0)
  })

  test('env replaces the whole environment', async () => {
    process.env.LEAKS = 'yes'
    const { stdout } = await exec({ words: ['env'], env: { PATH: '/usr/bin:/bin', A: 'b c' } })
    assert.deepEqual(stdout.split('\n').filter(Boolean).toSorted(), ['A=b c', 'PATH=/usr/bin:/bin'])
    assert.match((await exec(sh`env`)).stdout, /^LEAKS=yes$/m)
  })

  test("the operator's ZX_ variables change nothing", async () => {
    const code = `const { exec } = await import(${JSON.stringify(join(ROOT, 'lib/shell.ts'))})
      process.stdout.write((await exec({ words: ['sh', '-c', 'sleep 0.3; pwd'] })).stdout)`
    const { stdout, stderr } = await start(
      [process.execPath, '--import', LOADER, '--input-type=module', '-e', code],
      {
        env: {
          ZX_TIMEOUT: '50',
          ZX_VERBOSE: 'true',
          ZX_PREFIX: 'echo prefix;',
          ZX_SHELL: '/bin/false',
          ZX_CWD: '/',
        },
      },
    ).ended
    assert.deepEqual([stdout, stderr], [`${ROOT}\n`, ''])
  })
})

describe('stream', () => {
  test('keeps only the end of the error output', async () => {
    const { child, ended } = stream(sh`sh -c ${'yes x | head -c 100000 >&2; echo the end >&2; exit 4'}`)
    child.stdout!.resume()
    const error = await failure(ended)
    assert.deepEqual([error.exitCode, error.stderr.length], [4, 8192])
    assert.match(error.message, /the end$/)
  })

  test('a missing program', async () => {
    const { ended } = stream(sh`no-such-program`)
    assert.equal((await failure(ended)).exitCode, 127)
  })

  test('ends well, with big output untouched', async () => {
    const { child, ended } = stream(sh`head -c 3000000 /dev/zero`)
    assert.equal((await text(child.stdout!)).length, 3_000_000)
    await ended
  })
})

describe('interruption', { concurrency: true }, () => {
  // Each tree holds a mark among its words, to be found in /proc.
  const mark = (name: string): string => `mark-${name}-${process.pid}`
  const inStep = <T>(work: () => Promise<T>): { controller: AbortController; result: Promise<T | Error> } => {
    const controller = new AbortController()
    const result = interruption.run(controller.signal, work).catch((e: unknown) => e as Error)
    return { controller, result }
  }

  test('ends a command with its grandchildren', async () => {
    const me = mark('tree')
    const { controller, result } = inStep(() =>
      exec(sh`sh -c ${`sh -c 'sleep 60; : ${me}' & sh -c 'sleep 60; : ${me}' & wait`}`),
    )
    await until('the tree runs', () => processesWith(me).length === 3)
    const began = performance.now()
    controller.abort(new Error('that is enough'))
    const error = await result
    assert.ok(error instanceof CommandFailed)
    assert.match(error.message, /^that is enough\n\$ sh -c /)
    assert.deepEqual(processesWith(me), [])
    assert.ok(performance.now() - began < 8_000)
  })

  test('ends a stream with its grandchildren', async () => {
    const me = mark('stream')
    const { controller, result } = inStep(async () => {
      const { child, ended } = stream(sh`sh -c ${`sh -c 'sleep 60; : ${me}' & wait`}`)
      child.stdout!.resume()
      await ended
    })
    await until('the tree runs', () => processesWith(me).length === 2)
    controller.abort(new Error('that is enough'))
    assert.match(sentence(await result), /that is enough/)
    assert.deepEqual(processesWith(me), [])
  })

  test('kills what ignores TERM, also when its parent went and its output is elsewhere', async () => {
    const me = mark('stubborn')
    const stubborn = `trap '' TERM; touch ${me}; while :; do sleep 1; done`
    const { controller, result } = inStep(() =>
      exec({ words: ['sh', '-c', `sh -c "${stubborn}" >/dev/null 2>&1 & wait; : ${me}`] }),
    )
    await until('it ignores TERM', () => existsSync(me))
    assert.equal(processesWith(me).length, 2)
    const began = performance.now()
    controller.abort(new Error('that is enough'))
    await result
    const took = performance.now() - began
    await until('all are gone', () => processesWith(me).length === 0, 1000)
    assert.ok(took > 9_000 && took < 20_000, `${took} ms`)
  })

  test('a time limit counts even where any exit code will do', async () => {
    const { controller, result } = inStep(() =>
      exec(sh`sh -c ${"trap 'exit 0' TERM; sleep 60 & wait"}`, { anyCode: true }),
    )
    setTimeout(() => controller.abort(new Error('timed out after 0.3 s')), 300)
    assert.match(sentence(await result), /timed out after 0.3 s/)
  })

  test('starts nothing any more', async () => {
    const controller = new AbortController()
    controller.abort(new Error('too late'))
    await interruption.run(controller.signal, async () => {
      await assert.rejects(exec(sh`touch started`), /too late/)
      assert.throws(() => stream(sh`touch started`), /too late/)
      // The undo is outside of it.
      await interruption.run(undefined, () => exec(sh`touch undone`))
    })
    assert.deepEqual([existsSync('started'), existsSync('undone')], [false, true])
  })

  test('does not touch what a command that has ended left running', async () => {
    const me = mark('daemon')
    const { controller, result } = inStep(() =>
      exec(sh`sh -c ${`sh -c 'sleep 60; : ${me}' >/dev/null 2>&1 &`}`),
    )
    await result
    controller.abort(new Error('after'))
    await delay(200)
    const [left, ...more] = processesWith(me)
    assert.deepEqual([left?.words.includes(me), more.length], [true, 0])
    process.kill(left!.pid, 'SIGKILL')
  })
})
