// Every script on a real stack: bad input, plans that change nothing, secrets, hostile names, foreign stacks.
import assert from 'node:assert/strict'
import {
  mkdtemp,
  mkdir,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
  chmod,
  chown,
} from 'node:fs/promises'
import { existsSync, mkdtempSync, readFileSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MongoClient } from 'mongodb'
import { parse } from 'dotenv'
import { ROOT } from '../../lib/env.ts'
import { secretsOf, SHORTEST } from '../../lib/redact.ts'
import { lives, useStack } from './fixture.ts'
import { runScript, start, startScript, toolFor, type Ended } from './tool.ts'

const HOSTILE = `we'ird "$(touch pwned)" \`touch pwned\` -v`
const folder = mkdtempSync(join(tmpdir(), 'rehearsal-'))
after(() => rm(folder, { recursive: true, force: true }))

/** A folder with the programs that every server has, and no docker. */
async function toolsWithoutDocker(): Promise<string> {
  const bin = await mkdtemp(join(folder, 'bin-'))
  for (const name of ['bash', 'sh', 'cat', 'flock']) {
    const { stdout } = await start(['which', name], process.env).ended
    await symlink(stdout.trim(), join(bin, name))
  }
  return bin
}

const CHANGING = ['auto-backup', 'update']
const WRITING = /^(create|drop|renameCollection|collMod|setParameter|insert|update|delete|findAndModify)/
const ASKING = ['status', 'health']
const OF_A_SET = [['restore', 'latest'], ['restore', 'latest', '--parts', 'data,config,images'], ['drill']]

// ---- A foreign project on the same Docker, which nobody may touch.

const foreign = 'foreign-shop'
const foreignCompose = (...words: string[]): Promise<Ended> =>
  start(['docker', 'compose', '-p', foreign, '-f', join(folder, 'foreign.yml'), ...words], process.env).ended
const foreignState = async (): Promise<string> => {
  const { stdout } = await start(
    ['docker', 'ps', '-aq', '--no-trunc', '--filter', `label=com.docker.compose.project=${foreign}`],
    process.env,
  ).ended
  const inspect = await start(
    ['docker', 'inspect', '-f', '{{.Id}} {{.State.StartedAt}} {{.State.Status}}', stdout.trim()],
    process.env,
  ).ended
  const volumes = await start(
    ['docker', 'volume', 'inspect', '-f', '{{.Name}} {{.CreatedAt}}', `${foreign}_data`],
    process.env,
  ).ended
  assert.equal(inspect.code, 0, inspect.stderr)
  return inspect.stdout + volumes.stdout
}
let foreignBefore = ''

const fixture = useStack({ id: 'frame', root: join(folder, HOSTILE) }, async ({ machine }) => {
  const service = {
    image: machine.base,
    entrypoint: ['sleep', '3600'],
    volumes: ['data:/data'],
    stop_signal: 'SIGKILL',
  }
  await writeFile(
    join(folder, 'foreign.yml'),
    JSON.stringify({ services: { shop: service }, volumes: { data: {} } }),
  )
  const { code, stderr } = await foreignCompose('up', '-d')
  assert.equal(code, 0, stderr)
  foreignBefore = await foreignState()
})

test('bad input gets a sentence, the right exit code, and changes nothing', async (t) => {
  const { stack, tool } = fixture
  const untouched = lives(await fixture.look())
  const cases: [string, number, RegExp, () => Promise<Ended>][] = [
    [
      'no env file',
      2,
      /There is no env file .*nobody\.env.*install -m 600/s,
      () => runScript(stack, 'update', ['--env', 'nobody']),
    ],
    [
      'unknown flag',
      2,
      /Unknown flag --plam\. Did you mean --plan\?/,
      () => runScript(stack, 'update', ['--plam']),
    ],
    ['unknown service', 2, /no service 'gatewya'.*gateway/s, () => runScript(stack, 'update', ['gatewya'])],
    [
      'no such step',
      2,
      /there is no such step.*1 Check the stack/s,
      () => runScript(stack, 'update', ['--only', '99']),
    ],
    [
      'Docker not running',
      3,
      /Docker does not answer/,
      () => runScript(stack, 'update', [], { DOCKER_HOST: 'unix:///nowhere.sock' }),
    ],
    [
      'no docker command',
      3,
      /no docker command/,
      async () => runScript(stack, 'update', [], { PATH: await toolsWithoutDocker() }),
    ],
    [
      'wrong folder',
      3,
      /no Compose file/,
      async () => {
        toolFor(stack, { STACK_DIR: await mkdtemp(join(folder, 'empty-')) })
        return runScript(stack, 'update')
      },
    ],
    [
      'env file that others read',
      2,
      /can be read by others.*chmod 600/s,
      async () => {
        await chmod(tool.envFile, 0o644)
        return runScript(stack, 'update')
      },
    ],
    [
      'keys that are wrong, all at once',
      2,
      /WHAT: unknown key.*STACK_DIR: must be an absolute path/s,
      async () => {
        toolFor(stack, { WHAT: 'x', STACK_DIR: 'relative' })
        return runScript(stack, 'update')
      },
    ],
    [
      'a Compose file that does not parse',
      3,
      /Compose file does not parse/,
      async () => {
        const file = join(stack.dir, 'docker-compose.yml')
        const good = await readFile(file, 'utf8')
        await writeFile(file, 'services: [')
        try {
          return await runScript(stack, 'update')
        } finally {
          await writeFile(file, good)
        }
      },
    ],
    [
      'a backups folder that cannot be written',
      3,
      /BACKUP_DIR/,
      async () => {
        await writeFile(join(folder, 'file'), '')
        toolFor(stack, { BACKUP_DIR: join(folder, 'file', 'backups') })
        return runScript(stack, 'update')
      },
    ],
  ]
  for (const [what, code, says, run] of cases) {
    await t.test(what, async () => {
      const ended = await run()
      toolFor(stack)
      await chmod(tool.envFile, 0o600)
      assert.equal(ended.code, code, ended.stderr + ended.stdout)
      assert.match(ended.stderr, says)
      assert.doesNotMatch(ended.stderr, /^\s+at .*\(/m, 'no stack trace')
    })
  }
  await t.test('no permission on the socket', async (t) => {
    const asNobody = await mkdtemp(join(tmpdir(), 'rehearsal-'))
    const env = join(asNobody, 'x.env')
    await writeFile(env, `STACK_ID='x'\nSTACK_DIR='${asNobody}'\nSTATE_DIR='${asNobody}/state'\n`, {
      mode: 0o600,
    })
    for (const path of [asNobody, env]) await chown(path, 65534, 65534)
    const words = [
      'setpriv',
      '--reuid',
      '65534',
      '--regid',
      '65534',
      '--clear-groups',
      process.execPath,
      '--import',
      'tsx',
    ] as const
    const { code, stderr, stdout } = await start([...words, join(ROOT, 'scripts/update.ts'), '--env', env], {
      ...process.env,
      ...stack.env,
      HOME: asNobody,
    }).ended
    await rm(asNobody, { recursive: true })
    if (/EACCES|Permission denied.*node/.test(stderr) && code !== 3)
      return t.skip('another user cannot read this checkout')
    assert.equal(code, 3, stderr + stdout)
    assert.match(stderr, /may not use Docker.*group docker/s)
  })
  assert.deepEqual(lives(await fixture.look()), untouched)
})

test('invariant 12: plans and dry runs write nothing, by the servers’ own command logs', async () => {
  const { stack, tool } = fixture
  assert.equal((await runScript(stack, 'auto-backup')).code, 0)
  const client = await MongoClient.connect(await stack.mongoUrl())
  const redisCalls = async (): Promise<Record<string, number>> => {
    const text = await stack.docker('exec', stack.container('redis'), 'redis-cli', 'INFO', 'commandstats')
    return Object.fromEntries(
      [...text.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)].map((m) => [m[1] ?? '', Number(m[2])]),
    )
  }
  try {
    for (const db of ['meeshy', 'admin']) await client.db(db).command({ profile: 2 })
    const files = async (): Promise<string[]> => (await readdir(stack.dir, { recursive: true })).toSorted()
    const [redisBefore, filesBefore, livesBefore] = [
      await redisCalls(),
      await files(),
      lives(await fixture.look()),
    ]
    const runsBefore = await readdir(join(tool.stateDir, 'runs'))
    const since = new Date().toISOString()
    for (const [name = '', ...words] of [...[...CHANGING, ...ASKING].map((n) => [n]), ...OF_A_SET]) {
      for (const flag of ['--plan', '--dry-run']) {
        const { code, stderr, stdout } = await runScript(stack, name, [...words, flag])
        assert.equal(code, 0, `${name} ${flag}: ${stderr}${stdout}`)
      }
    }
    for (const db of ['meeshy', 'admin']) {
      await client.db(db).command({ profile: 0 })
      const seen = await client.db(db).collection('system.profile').find({}).toArray()
      assert.ok(seen.length > 0, `${db}: what was asked is on record`)
      const writes = seen.filter(
        ({ op, command }) =>
          ['insert', 'update', 'remove'].includes(String(op)) ||
          Object.keys((command ?? {}) as object).some((key) => WRITING.test(key)) ||
          /"\$(out|merge)":/.test(JSON.stringify((command as { pipeline?: unknown })?.pipeline ?? [])),
      )
      const ours = writes.filter((w) => !/conversations|boot/i.test(String(w.appName)))
      assert.deepEqual(
        ours.map((w) => [w.op, w.ns, w.appName]),
        [],
      )
    }
    const reads =
      /^(ping|info|config\|get|dbsize|lastsave|select|hello|auth|client\|\w+|command(\|\w+)?|exists|get|type|ttl|scan)$/i
    const redisAfter = await redisCalls()
    const called = Object.keys(redisAfter).filter((c) => redisAfter[c] !== redisBefore[c])
    assert.deepEqual(
      called.filter((c) => !reads.test(c)),
      [],
    )
    assert.deepEqual(await files(), filesBefore)
    assert.deepEqual(lives(await fixture.look()), livesBefore)
    const until = new Date().toISOString()
    const events = await stack.docker(
      'events',
      '--since',
      since,
      '--until',
      until,
      '--filter',
      'label=rehearsal=frame', // other stacks on this Docker, and helpers that only read, are none of this stack
      '--format',
      '{{.Type}} {{.Action}}',
    )
    const changes = events
      .split('\n')
      .filter((e) =>
        /^(container (create|start|stop|die|kill|destroy|rename|update)|volume (create|destroy)|network|image (tag|untag|delete|pull))/.test(
          e,
        ),
      )
    assert.deepEqual(changes, [])
    assert.deepEqual(await readdir(join(tool.stateDir, 'runs')), runsBefore, 'no run is left behind')
  } finally {
    await client.close()
  }
})

test('every plan is a shell file that bash accepts, on standard output alone', async () => {
  const { stack } = fixture
  for (const name of CHANGING) {
    const { stdout, stderr, code } = await runScript(stack, name, ['--plan'])
    assert.equal(code, 0, stderr)
    assert.equal(stderr, '')
    const file = join(folder, 'plan.sh')
    await writeFile(file, stdout)
    const checked = await start(['bash', '-n', file], process.env).ended
    assert.equal(checked.code, 0, checked.stderr)
    assert.match(stdout, /^# 1\/\d+ /)
  }
})

test('invariants 11 and 13: no secret leaves, hostile names stay data', async () => {
  const { stack, tool } = fixture
  const client = await MongoClient.connect(await stack.mongoUrl())
  await client.db('meeshy').collection(`x 'q' "(touch pwned)" ;-v é`).insertOne({ a: 1 })
  await client.close()
  await stack.release('gateway', '1.1')

  const secrets = secretsOf(parse(await readFile(join(stack.dir, '.env')))).filter(
    (s) => s.length >= SHORTEST,
  )
  assert.ok(secrets.length >= 10, `${secrets.length} secrets`)
  const seen = new Set<string>()
  const watch = setInterval(() => {
    for (const pid of readdirSync('/proc').filter((p) => /^\d+$/.test(p))) {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        for (const s of secrets)
          if (words.includes(s)) seen.add(`${s} in ${words.replaceAll('\0', ' ').slice(0, 200)}`)
      } catch {
        // It has ended meanwhile.
      }
    }
  }, 20)
  const runs: Ended[] = []
  try {
    runs.push(await runScript(stack, 'update'))
    assert.equal(runs[0]?.code, 0, (runs[0]?.stderr ?? '') + (runs[0]?.stdout ?? ''))
    await stack.release('gateway', 'never-healthy')
    runs.push(await runScript(stack, 'update'))
    assert.equal(runs[1]?.code, 1, runs[1]?.stderr)
    await stack.release('gateway', '1.1')
    runs.push(await runScript(stack, 'drill'))
    const set =
      (await readdir(tool.backupDir)).find((f) => f.endsWith('.tar.gz'))?.slice(0, -'.tar.gz'.length) ?? ''
    runs.push(await runScript(stack, 'restore', [set, '--parts', 'mongodb,config', '--confirm', set]))
    runs.push(await runScript(stack, 'restore', ['--commit', '--confirm', set]))
    assert.deepEqual(
      runs.slice(2).map((r) => r.code),
      [0, 0, 0],
      runs
        .slice(2)
        .map((r) => r.stderr)
        .join('\n'),
    )
    for (const name of [...CHANGING, ...ASKING])
      for (const flag of ['--plan', '--json']) runs.push(await runScript(stack, name, [flag]))
  } finally {
    clearInterval(watch)
  }
  // The stand-ins hand their basic-auth users to nobody: what is seen is ours.
  assert.deepEqual([...seen], [])
  for (const { stdout, stderr } of runs)
    for (const s of secrets) assert.ok(!(stdout + stderr).includes(s), `${s} was printed`)
  for (const name of await readdir(join(tool.stateDir, 'runs'))) {
    for (const file of await readdir(join(tool.stateDir, 'runs', name))) {
      const path = join(tool.stateDir, 'runs', name, file)
      const text = await readFile(path, 'utf8')
      for (const s of secrets) assert.ok(!text.includes(s), `${s} is in ${path}`)
      assert.equal((await stat(path)).mode & 0o077, 0, path)
    }
  }
  assert.deepEqual(
    (await readdir(folder, { recursive: true })).filter((f) => f.endsWith('pwned')),
    [],
  )
  assert.ok(!existsSync(join(ROOT, 'pwned')))
})

test('invariant 10: running a finished step again changes nothing', async () => {
  const { stack } = fixture
  assert.equal((await runScript(stack, 'update')).code, 0)
  const untouched = lives(await fixture.look())
  const steps = (await runScript(stack, 'update', ['--plan'])).stdout.match(/^# \d+\/\d+/gm)?.length ?? 0
  assert.ok(steps >= 6)
  for (let n = 1; n <= steps; n++) {
    const { code, stderr, stdout } = await runScript(stack, 'update', ['--only', String(n)])
    assert.equal(code, 0, `step ${n}: ${stderr}${stdout}`)
  }
  assert.deepEqual(lives(await fixture.look()), untouched)
})

test('a destructive step alone needs a fresh backup, or the word', async () => {
  const { stack } = fixture
  const empty = join(folder, 'no backups')
  await mkdir(empty)
  toolFor(stack, { BACKUP_DIR: empty })
  const plan = (await runScript(stack, 'update', ['--plan'])).stdout
  const stop = /^# (\d+)\/\d+ Stop the writers/m.exec(plan)?.[1] ?? ''
  const refused = await runScript(stack, 'update', ['--only', stop])
  assert.equal(refused.code, 4, refused.stderr)
  assert.match(refused.stderr, /--confirm no-backup/)
  const confirmed = await runScript(stack, 'update', ['--only', stop, '--confirm', 'no-backup'])
  assert.equal(confirmed.code, 0, confirmed.stderr)
  toolFor(stack)
})

test('a closed output does not end a run, and a run leaves no process behind', async () => {
  const { stack, tool } = fixture
  const { envFile } = tool
  const words = `"$1" --import tsx scripts/auto-backup.ts --env "$2" --stamp 20260405_060708 | head -1`
  const { code } = await start(['bash', '-c', words, 'bash', process.execPath, envFile], {
    ...process.env,
    ...stack.env,
  }).ended
  assert.equal(code, 0)
  const report = join(tool.stateDir, 'runs', '20260405_060708-auto-backup', 'report.json')
  const deadline = Date.now() + 60_000
  while (!existsSync(report) && Date.now() < deadline) await new Promise((r) => setTimeout(r, 200))
  assert.equal((JSON.parse(await readFile(report, 'utf8')) as { exitCode: number }).exitCode, 0)

  const run = startScript(stack, 'auto-backup')
  while (!/Write the set/.test(run.printed())) await new Promise((r) => setTimeout(r, 50))
  process.kill(run.pid, 'SIGTERM')
  assert.equal((await run.ended).code, 143)
  const left = readdirSync('/proc').filter((p) => {
    try {
      return /^\d+$/.test(p) && readFileSync(`/proc/${p}/environ`, 'utf8').includes(tool.envFile)
    } catch {
      return false
    }
  })
  assert.deepEqual(left, [])
  assert.deepEqual(
    (await readdir(tool.backupDir)).filter((f) => f.endsWith('.partial')),
    [],
  )
})

test('nothing that the set-up did not create was touched', async () => {
  assert.equal(await foreignState(), foreignBefore)
  await foreignCompose('down')
  await start(['docker', 'volume', 'rm', `${foreign}_data`], process.env).ended
})
