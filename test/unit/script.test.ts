// The frame of a script, end to end: real processes of a sample script, and of the scripts there are.
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { ROOT } from '../../lib/env.ts'
import { takeLock } from '../../lib/lock.ts'
import type { Report } from '../../lib/run.ts'
import { HOSTILE } from './fixtures/hostile.ts'
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
} from './fixtures/process.ts'

const QUESTION = join(ROOT, 'test/unit/fixtures/question.ts')
const CHECKS = join(ROOT, 'test/unit/fixtures/checks.ts')
const SCRIPTS = readdirSync(join(ROOT, 'scripts')).filter((f) => f.endsWith('.ts'))

const places: Place[] = []
after(() => places.forEach((p) => p.remove()))
function somewhere(settings?: Readonly<Record<string, string>>): Place {
  const here = place(settings)
  places.push(here)
  return here
}

/** A PATH with nothing of Docker on it. */
let withoutDocker: string
before(() => {
  withoutDocker = join(somewhere().root, 'bin')
  mkdirSync(withoutDocker)
  for (const program of ['flock', 'sh', 'env', 'ls', 'touch', 'rm'])
    symlinkSync(
      ['/usr/bin', '/bin'].map((d) => join(d, program)).find((f) => existsSync(f)) ?? '',
      join(withoutDocker, program),
    )
  symlinkSync(process.execPath, join(withoutDocker, 'node'))
})

const sample = (here: Place, ...flags: string[]): Promise<Ended> =>
  runScript(SAMPLE, ['--env', here.envFile, ...flags])

describe('usage', { concurrency: 2 }, () => {
  test('--help is 0, on standard output, without an env file, whatever else is typed', async () => {
    const { code, stdout, stderr } = await runScript(SAMPLE, ['--wat', '--env', '/nowhere', '--help'])
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(
      stdout,
      /^Usage: node --import tsx scripts\/sample\.ts \[WORD…\] \[flags\]\n\nMakes two files/,
    )
  })

  test('an unknown flag is 2, before anything is read', async () => {
    const { code, stdout, stderr } = await runScript(SAMPLE, ['--plam', '--env', '/nowhere'])
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /^Unknown flag --plam\. Did you mean --plan\?\nUsage: /)
  })

  test('no env file is 2', async () => {
    const { code, stdout, stderr } = await runScript(SAMPLE, ['--env', 'no-such-stack'])
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /^There is no env file \S+\/env\/no-such-stack\.env\. Nothing was changed\.\n/)
  })

  test('an env file that others can read is 2', async () => {
    const here = somewhere()
    chmodSync(here.envFile, 0o640)
    const { code, stderr } = await sample(here, here.work)
    assert.equal(code, 2)
    assert.match(stderr, /can be read by others \(mode 640\)\. Nothing was changed\.\n {2}chmod 600 /)
    assert.equal(existsSync(here.stateDir), false)
  })

  test('a step that is not there is 2', async () => {
    const here = somewhere()
    for (const flags of [
      ['--only', '9'],
      ['--from', '0'],
      ['--plan', '--only', 'x'],
      ['--dry-run', '--from', '6'],
    ]) {
      const { code, stderr } = await sample(here, here.work, ...flags)
      assert.equal(code, 2, flags.join(' '))
      assert.match(stderr, /there is no such step\. The steps are:\n {2}1 Look at the folder\n/)
    }
    assert.equal(existsSync(join(here.stateDir, 'runs')), false)
  })

  test('--verbose adds where an error arose; else there is no stack', async () => {
    const [brief, verbose] = await Promise.all([
      runScript(SAMPLE, ['--env', 'x']),
      runScript(SAMPLE, ['--env', 'x', '--verbose']),
    ])
    assert.doesNotMatch(brief.stderr, /\n\s+at /)
    assert.match(verbose.stderr, /\n\s+at .*env\.ts/)
  })

  test('a script starts through a link, from anywhere, and does nothing when it is imported', async () => {
    const here = somewhere()
    const link = join(here.root, 'link.ts')
    symlinkSync(SAMPLE, link)
    const linked = await startScript(link, ['--env', 'sample.env', '--plan', 'work'], { cwd: here.root })
      .ended
    assert.deepEqual([linked.code, linked.stdout], [2, '']) // env/sample.env of the repository
    const found = await startScript(link, ['--env', './sample.env', '--plan', 'work'], { cwd: here.root })
      .ended
    assert.equal(found.code, 0, found.stderr)
    const code = `await import(${JSON.stringify(SAMPLE)}); console.log('imported')`
    const imported = await start([
      process.execPath,
      '--import',
      LOADER,
      '--input-type=module',
      '-e',
      code,
      '--',
      '--wat',
    ]).ended
    assert.deepEqual([imported.code, imported.stdout], [0, 'imported\n'])
  })
})

describe('the plan', { concurrency: 2 }, () => {
  test('is a shell file, and changes nothing', async () => {
    const here = somewhere()
    const { code, stdout, stderr } = await sample(here, here.work, '--plan', '--stamp', '20261124_101112')
    assert.deepEqual([code, stderr], [0, ''])
    const step = (n: number): string =>
      `node --import ${LOADER} ${SAMPLE} --env ${here.envFile} --stamp 20261124_101112 --only ${n} ${here.work}`
    assert.equal(
      stdout,
      [
        '# 1/5 Look at the folder',
        `ls -a -- ${here.work}`,
        '# 2/5 Make one',
        `touch -- ${here.work}/one`,
        `# undo: rm -f ${here.work}/one`,
        '# 3/5 Make two',
        step(3),
        `# undo: rm -f ${here.work}/two`,
        '# 4/5 Go on',
        step(4),
        '# 5/5 Take one away',
        `rm -- ${here.work}/one`,
        '',
      ].join('\n'),
    )
    assert.deepEqual([readdirSync(here.work), existsSync(here.stateDir)], [[], false])
  })

  test('--only N is one comment and one command, --from N the rest', async () => {
    const here = somewhere()
    const only = await sample(here, here.work, '--plan', '--only', '2')
    assert.equal(only.stdout, `# 2/5 Make one\ntouch -- ${here.work}/one\n`)
    const from = await sample(here, here.work, '--plan', '--from=4')
    assert.deepEqual(
      from.stdout.split('\n').filter((l) => l.startsWith('#')),
      ['# 4/5 Go on', '# 5/5 Take one away'],
    )
  })

  test('its lines do what the script does, pasted into a bare shell elsewhere', async () => {
    const here = somewhere()
    const { stdout } = await sample(here, here.work, '--plan', '--from', '2', '--confirm', 'no-backup')
    const upTo = (n: number): string => stdout.split('\n').slice(0, n).join('\n')
    const node = join(process.execPath, '..')
    const paste = (text: string): Promise<Ended> =>
      start(['env', '-i', `PATH=${node}:/usr/bin:/bin`, 'bash', '-e', '-c', text], { cwd: '/' }).ended
    const made = await paste(upTo(5))
    assert.deepEqual([made.code, readdirSync(here.work)], [0, ['one', 'two']], made.stderr)
    assert.deepEqual(
      here.lastRun().report?.steps.map((s) => s.title),
      ['Make two'],
    )
    assert.equal((await paste(stdout)).code, 0)
    assert.deepEqual(readdirSync(here.work), ['two'])
  })

  test('hostile folders stay data, in plan, dry run and run', async () => {
    const here = somewhere()
    const names = HOSTILE.filter((n) => n !== '' && !n.startsWith('-'))
    const name = names.join('').replaceAll('/', '').slice(0, 200)
    const folder = join(here.work, name)
    mkdirSync(folder)
    const plan = await sample(here, folder, '--plan')
    assert.equal((await start(['bash', '-n', '-c', plan.stdout]).ended).code, 0)
    const pasted = await start(
      ['bash', '-e', '-c', (await sample(here, folder, '--plan', '--only', '2')).stdout],
      { cwd: here.root },
    ).ended
    assert.deepEqual([pasted.code, readdirSync(folder)], [0, ['one']])
    assert.equal((await sample(here, folder, '--dry-run')).code, 0)
    const { code, stderr } = await sample(here, folder)
    assert.equal(code, 0, stderr)
    assert.deepEqual(readdirSync(folder), ['two'])
    assert.deepEqual(
      [readdirSync(here.work), readdirSync(here.root)],
      [[name], ['sample.env', 'state', 'work']],
    )
  })
})

describe('the dry run', { concurrency: 2 }, () => {
  test('runs what only reads, prints the rest, and writes nothing', async () => {
    const here = somewhere()
    const { code, stdout } = await sample(here, here.work, '--dry-run', '--stamp', '20261124_101112')
    assert.equal(code, 0)
    const lines = stdout.split('\n')
    assert.deepEqual(lines.slice(0, 5), [
      '# 1/5 Look at the folder',
      `$ ls -a -- ${here.work}`,
      '2 entries, secret none',
      '# 2/5 Make one',
      `! touch -- ${here.work}/one`,
    ])
    assert.deepEqual(lines.filter((l) => l.startsWith('!')).length, 4)
    assert.deepEqual([readdirSync(here.work), existsSync(here.stateDir)], [[], false])
  })

  test('is 3 when a check says no', async () => {
    const here = somewhere()
    writeFileSync(join(here.work, 'refuse'), '')
    const { code, stdout } = await sample(here, here.work, '--dry-run')
    assert.equal(code, 3)
    assert.match(stdout, /\n✖ The folder says no\. Nothing was changed\.\n# 2\/5 Make one\n! touch/)
  })

  test('the same way in a run', async () => {
    const here = somewhere()
    writeFileSync(join(here.work, 'refuse'), '')
    const { code, stderr } = await sample(here, here.work)
    assert.equal(code, 3)
    assert.match(
      stderr,
      /\n1\/5 Look at the folder failed:\nThe folder says no\. Nothing was changed\.\n\n\S+: ended/,
    )
    assert.doesNotMatch(stderr, /Undoing|Undone/)
    const command = await sample(here, join(here.work, 'missing'))
    assert.deepEqual(
      [command.code, /cannot access/.test(command.stderr), /Nothing was changed/.test(command.stderr)],
      [3, true, true],
    )
  })
})

describe('a run', { concurrency: 2 }, () => {
  test('leaves private files under umask 0', async () => {
    const here = somewhere()
    const { code } = await start([
      'sh',
      '-c',
      'umask 0; exec "$@"',
      'sh',
      process.execPath,
      '--import',
      LOADER,
      SAMPLE,
      '--env',
      here.envFile,
      here.work,
    ]).ended
    assert.equal(code, 0)
    const { dir } = here.lastRun()
    for (const path of [
      here.stateDir,
      join(here.stateDir, 'lock'),
      dir,
      join(here.work, 'two'),
      ...readdirSync(dir).map((f) => join(dir, f)),
    ])
      assert.equal(statSync(path).mode & 0o077, 0, path)
  })

  test('--json prints the report and nothing else on standard output', async () => {
    const here = somewhere()
    const done = await sample(here, here.work, '--json')
    assert.deepEqual(JSON.parse(done.stdout) as Report, here.lastRun().report)
    const failed = await sample(here, here.work, '--json', '--third', 'fail', '--stamp', '20991231_235959')
    const report = JSON.parse(failed.stdout) as Report
    assert.deepEqual([failed.code, report.exitCode, report.id], [1, 1, '20991231_235959-sample'])
    assert.match(failed.stderr, /4\/5 Go on failed:/)
  })

  test('--only one step', async () => {
    const here = somewhere()
    assert.equal((await sample(here, here.work, '--only', '2')).code, 0)
    assert.deepEqual(readdirSync(here.work), ['one'])
    assert.deepEqual(
      here.lastRun().report?.steps.map((s) => s.title),
      ['Make one'],
    )
  })

  test('finishing again changes nothing', async () => {
    const here = somewhere()
    for (const _ of [1, 2]) assert.equal((await sample(here, here.work)).code, 0)
    assert.deepEqual(readdirSync(here.work), ['two'])
  })

  test('what takes something away alone needs a backup, or the word', async () => {
    const here = somewhere()
    writeFileSync(join(here.work, 'one'), '')
    for (const flag of ['--only', '--from']) {
      const refused = await sample(here, here.work, flag, '5')
      assert.equal(refused.code, 4)
      assert.match(refused.stderr, /^Is there a fresh backup\?\n.*\nUnattended: --confirm no-backup\n$/)
    }
    assert.deepEqual(readdirSync(here.work), ['one'])
    assert.equal((await sample(here, here.work, '--only', '5', '--confirm', 'no-backup')).code, 0)
    assert.deepEqual(readdirSync(here.work), [])
  })

  test('another one is 5 while it holds the lock, and asking needs none', async () => {
    const here = somewhere()
    const lock = await takeLock(here.stateDir, 'update')
    const { code, stderr, stdout } = await sample(here, here.work)
    assert.deepEqual([code, stdout], [5, ''])
    assert.match(
      stderr,
      /^Another run holds the lock of this stack: update by .*\nNothing was changed\. Wait for it, or look: task status\n$/,
    )
    for (const flag of ['--plan', '--dry-run']) assert.equal((await sample(here, here.work, flag)).code, 0)
    assert.equal((await runScript(CHECKS, ['--env', here.envFile])).code, 0)
    await lock.release()
  })
})

describe('a script that only asks', { concurrency: 2 }, () => {
  test('tries every check, tells all, and is 3 when one says no', async () => {
    const here = somewhere()
    const good = await runScript(CHECKS, ['--env', here.envFile])
    assert.deepEqual([good.code, good.stdout.endsWith('\n3 of 3\n')], [0, true])
    const bad = await runScript(CHECKS, ['--env', here.envFile, '--bad', 'one', '--bad', 'two'])
    assert.equal(bad.code, 3)
    for (const text of ['one says no', 'two says no', 'three says yes', '1 of 3'])
      assert.ok((bad.stdout + bad.stderr).includes(text), text)
    const terminal = await startScript(CHECKS, ['--env', here.envFile, '--bad', 'two'], { terminal: true })
      .ended
    assert.equal(terminal.code, 3)
    assert.ok(terminal.stdout.includes('two says no'), terminal.stdout)
    assert.equal(existsSync(here.stateDir), false)
  })

  test('its plan is the command that asks', async () => {
    const here = somewhere()
    const { code, stdout } = await runScript(QUESTION, [
      '--env',
      here.envFile,
      '--plan',
      '--stamp',
      '20261124_101112',
    ])
    assert.equal(code, 0)
    assert.equal(
      stdout,
      `# 1/1 Tells the services.\nnode --import ${LOADER} ${QUESTION} --env ${here.envFile} --stamp 20261124_101112\n`,
    )
  })
})

describe('secrets', { concurrency: 2 }, () => {
  const SECRET = `S3NT'INEL$x`
  const leaks = (here: Place, ended: Ended): string[] => {
    const dir = existsSync(join(here.stateDir, 'runs')) ? here.lastRun().dir : undefined
    const files = dir ? readdirSync(dir).map((f) => readFileSync(join(dir, f), 'utf8')) : []
    return [ended.stdout, ended.stderr, ...files].filter(
      (text) => text.includes('S3NT') || text.includes('INEL'),
    )
  }

  test('of the stack’s .env are nowhere: run, failure, plan, dry run, JSON, refusal', async () => {
    for (const flags of [
      [],
      ['--third', 'fail'],
      ['--plan'],
      ['--dry-run'],
      ['--json'],
      ['--json', '--third', 'fail', '--verbose'],
    ]) {
      const here = somewhere()
      writeFileSync(join(here.work, '.env'), `DB_PASSWORD="${SECRET}"\n`)
      const folder = join(here.root, `holds ${SECRET}`)
      mkdirSync(folder)
      const args = ['--env', here.envFile, folder, ...flags]
      const ended = await startScript(SAMPLE, args, { env: { SAMPLE_SECRET: SECRET } }).ended
      assert.equal(ended.code, flags.includes('fail') ? 1 : 0, ended.stderr)
      assert.deepEqual(leaks(here, ended), [], flags.join(' '))
      assert.match(
        ended.stdout + ended.stderr + (flags.includes('--json') ? '[redacted]' : ''),
        /\[redacted\]/,
      )
      if (flags[0] === '--json') assert.equal((JSON.parse(ended.stdout) as Report).script, 'sample')
    }
  })

  test('on a terminal neither', async () => {
    const here = somewhere()
    writeFileSync(join(here.work, '.env'), `DB_PASSWORD="${SECRET}"\n`)
    const ended = await startScript(SAMPLE, ['--env', here.envFile, here.work, '--third', 'fail'], {
      terminal: true,
      env: { SAMPLE_SECRET: SECRET },
    }).ended
    assert.deepEqual([ended.code, leaks(here, ended)], [1, []])
    assert.ok(ended.stdout.includes('secret [redacted]'))
  })
})

describe('without Docker', { concurrency: 2 }, () => {
  test('a script is 3, with one sentence', async () => {
    const here = somewhere()
    const { code, stdout, stderr } = await startScript(QUESTION, ['--env', here.envFile], {
      env: { PATH: withoutDocker },
    }).ended
    assert.deepEqual(
      [code, stdout, stderr],
      [3, '', 'There is no docker command on this machine. Nothing was changed.\n'],
    )
  })

  test('with a daemon that is away too', async () => {
    const here = somewhere()
    const env = { DOCKER_HOST: `unix://${here.root}/nothing.sock` }
    const { code, stdout, stderr } = await startScript(QUESTION, ['--env', here.envFile], { env }).ended
    assert.deepEqual([code, stdout], [3, ''])
    assert.match(stderr, /^(Docker does not answer|There is no docker command)/)
  })

  for (const name of SCRIPTS) {
    const file = join(ROOT, 'scripts', name)
    test(`${name}: --help is 0, an unknown flag 2, the plan says what is unknown and is 3`, async () => {
      const here = somewhere()
      assert.equal((await runScript(file, ['--help'])).code, 0)
      assert.equal((await runScript(file, ['--no-such-flag'])).code, 2)
      const { code, stdout, stderr } = await startScript(file, ['--env', here.envFile, '--plan'], {
        env: { PATH: withoutDocker },
      }).ended
      assert.equal((await start(['bash', '-n', '-c', stdout]).ended).code, 0, stdout)
      if (stdout === '') {
        // It is about a set, and there is none here.
        assert.match(stderr, /Nothing was changed\./)
        assert.ok(code === 2 || code === 3, String(code))
        return
      }
      assert.match(stdout, /^# 1\/\d+ /)
      if (code === 0)
        assert.equal(stdout.split('\n').length, 3) // a question: its plan needs no Docker
      else {
        assert.equal(code, 3)
        assert.match(
          stderr,
          /^There is no docker command on this machine\..*\nUnknown values stand as ‹…›\.\n$/,
        )
      }
      assert.equal(existsSync(here.stateDir), false)
    })
  }
})

test('with Docker the stack is what its Compose file says, whatever folder it is in', async (t) => {
  if ((await start(['sh', '-c', 'docker version && docker compose version']).ended).code !== 0)
    return t.skip('no Docker answers, or it has no Compose: the tests on the real stack cover it')
  const here = somewhere()
  const STACK_DIR = join(here.root, `it's $(touch PWNED)`)
  mkdirSync(STACK_DIR)
  const services = 'services: { web: { image: x, depends_on: [db] }, db: { image: x } }\n'
  writeFileSync(join(STACK_DIR, 'compose.yml'), `name: rehearsal-frame-test\n${services}`)
  const parts = ['database', 'redis', 'proxy'].map((part) => `${part}: { service: 'db' }`)
  writeFileSync(join(here.root, 'stack.ts'), `export default { ${parts.join(', ')}, services: {} }\n`)
  const settings = `STATE_DIR='${here.stateDir}'\nSTACK_FILE='${here.root}/stack.ts'\n`
  writeFileSync(here.envFile, `STACK_ID='s'\nSTACK_DIR="${STACK_DIR}"\n${settings}`)
  const { code, stdout, stderr } = await startScript(QUESTION, ['--env', here.envFile]).ended
  assert.deepEqual([code, stdout], [0, '["db","web"]\n'], stderr)
  assert.equal(existsSync(here.stateDir), false)
})

describe('Ctrl-C while something hangs ends at once, and leaves no process', { concurrency: 2 }, () => {
  for (const [name, file, flags, program] of [
    ['Docker, for a question', QUESTION, [], 'docker'],
    ['a check, in a dry run', SAMPLE, ['--dry-run'], 'ls'],
    ['Docker, before a run', join(ROOT, 'scripts/update.ts'), [], 'docker'],
  ] as const) {
    test(name, async () => {
      const here = somewhere()
      const bin = join(here.root, 'bin')
      mkdirSync(bin)
      writeFileSync(join(bin, program), `#!/bin/sh\nsleep 62 # ${here.root}\n`, { mode: 0o755 })
      const env = { PATH: `${bin}:${process.env.PATH}` }
      const running = startScript(file, ['--env', here.envFile, ...flags], { terminal: true, env })
      await until('it hangs', () => processesWith(`${bin}/${program}`).length === 1)
      const began = performance.now()
      running.type('\x03')
      const { code, stdout } = await running.ended
      assert.ok(performance.now() - began < 20_000)
      assert.equal(code, 130)
      assert.match(stdout, /interrupted by SIGINT\. Nothing was changed\./)
      assert.deepEqual(processesWith(here.root), [])
      assert.equal(existsSync(join(here.stateDir, 'runs')), false)
    })
  }
})
