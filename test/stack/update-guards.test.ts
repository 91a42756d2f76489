// What an update refuses before it stops anything (S21), what it must leave as it was (S22), what it takes and what it
// does not take again, and what it says beforehand.
import assert from 'node:assert/strict'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import { verifySet } from '../../lib/backup/verify.ts'
import { inspectImage } from '../../lib/docker.ts'
import { countDocuments, losses } from '../../lib/sentinel.ts'
import { exec } from '../../lib/shell.ts'
import { anonymousWithData, changedVolumes, isAnonymous, mountedVolumes } from '../../lib/volumes.ts'
import { lives, ranOn, useStack } from './fixture.ts'
import { runScript, startScript } from './tool.ts'

const fixture = useStack({ id: 'guards2' })

const compose = (): string => join(fixture.stack.dir, 'docker-compose.yml')
const dotenv = (): string => join(fixture.stack.dir, '.env')

/** Edits a file for the time of the work, and puts it back. */
async function edited(
  file: string,
  edit: (text: string) => string,
  work: () => Promise<void>,
): Promise<void> {
  const text = await readFile(file, 'utf8')
  assert.notEqual(edit(text), text, 'the edit changes something')
  await writeFile(file, edit(text))
  try {
    await work()
  } finally {
    await writeFile(file, text)
  }
}

/** Every container's environment, as Docker has it. */
async function environments(): Promise<Record<string, readonly string[] | null | undefined>> {
  const { services } = await fixture.look()
  return Object.fromEntries(services.map((s) => [s.name, s.container?.Config.Env?.toSorted()]))
}

test('S21: another project name in the Compose file is refused before anything stops', async () => {
  const before = lives(await fixture.look())
  await edited(
    compose(),
    (text) => `name: elsewhere\n${text}`,
    async () => {
      const { code, stderr } = await runScript(fixture.stack, 'update')
      assert.equal(code, 3, stderr)
      assert.match(
        stderr,
        /belong to the project 'rehearsal-guards2', but the Compose file and its folder make it 'elsewhere'/,
      )
      assert.match(stderr, /name: rehearsal-guards2/)
      assert.match(stderr, /Nothing was changed/)
    },
  )
  await edited(
    dotenv(),
    (text) => `${text}\nCOMPOSE_PROJECT_NAME=other\n`,
    async () => {
      const { code, stderr } = await runScript(fixture.stack, 'update')
      assert.equal(code, 3, stderr)
      assert.match(stderr, /make it 'other'/)
    },
  )
  assert.deepEqual(lives(await fixture.look()), before)
})

test('S21: another key for a volume is refused before anything stops', async () => {
  const before = lives(await fixture.look())
  await edited(
    compose(),
    (text) => text.replaceAll('gateway_uploads', 'uploads'),
    async () => {
      const { code, stderr } = await runScript(fixture.stack, 'update')
      assert.equal(code, 3, stderr)
      assert.match(
        stderr,
        /gateway mounts \S+_gateway_uploads at \/app\/uploads, but its Compose file says \S+_uploads/,
      )
    },
  )
  assert.deepEqual(lives(await fixture.look()), before)
})

test('a folder whose containers are gone, or never were: nothing to update', async () => {
  const { stack, tool } = fixture
  const copy = join(tool.stateDir, 'moved')
  await cp(stack.dir, copy, { recursive: true })
  const { code, stderr } = await runScript(stack, 'update', [], { RUNBOOK_STACK_DIR: copy })
  await rm(copy, { recursive: true })
  assert.equal(code, 3, stderr)
  assert.match(stderr, /there is nothing to update/)
})

test('S22: hard values, and others of the same names in the shell: every environment is the same, byte for byte', async () => {
  const { stack } = fixture
  const before = await environments()
  assert.ok(
    before.gateway?.some((l) => l.startsWith('JWT_SECRET=k#9 $HOME "été" $$')),
    'it has hard values',
  )
  const shell = {
    JWT_SECRET: 'from the shell',
    DOMAIN: 'shell.test',
    GATEWAY_IMAGE: 'none',
    COMPOSE_PROJECT_NAME: 'none',
  }
  const { code, stderr, stdout } = await runScript(stack, 'update', ['--all'], shell)
  assert.equal(code, 0, stderr + stdout)
  assert.deepEqual(await environments(), before)
  assert.match(
    stdout,
    /Compose does not read LEGACY_USERS as it is written.*\n.*LEGACY_USERS in line \d+: put the value as it stands between single quotes: LEGACY_USERS='…'/,
  )
  assert.doesNotMatch(stdout, /does not read (JWT_SECRET|ADMIN_PASSWORD|MEESHY_PASSWORD)/)
  assert.match(stdout, /gateway {2}https:\S+: away/, 'and the whole stack was replaced')
})

test('--check says what would change, by exit code too, and changes nothing', async () => {
  const { stack } = fixture
  const before = lives(await fixture.look())
  const none = await runScript(stack, 'update', ['--check'])
  assert.equal(none.code, 0, none.stdout + none.stderr)
  assert.match(none.stdout, /Nothing would change/)
  await stack.release('gateway', '1.1')
  const some = await runScript(stack, 'update', ['--check', '--json'])
  assert.equal(some.code, 3, some.stderr)
  const { changes } = JSON.parse(some.stdout) as { changes: { service: string; why: string }[] }
  assert.deepEqual(
    changes.map((c) => [c.service, c.why]),
    [
      ['gateway', 'image'],
      ['frontend', 'dependent'],
    ],
  )
  const other = await runScript(stack, 'update', ['--check', 'translator'])
  assert.equal(other.code, 0, 'only what was named is asked for')
  await edited(
    dotenv(),
    (text) => text.replace(/^GATEWAY_IMAGE=.*$/m, 'GATEWAY_IMAGE=127.0.0.1:1/x:y'),
    async () => {
      const away = await runScript(stack, 'update', ['--check'])
      assert.equal(away.code, 1, 'neither nothing nor something: it could not be found out')
      assert.match(away.stdout, /127\.0\.0\.1:1\/x:y could not be asked for/)
    },
  )
  await edited(
    compose(),
    (text) => text.replaceAll('gateway_uploads', 'uploads'),
    async () => {
      const refused = await runScript(stack, 'update', ['--check'])
      assert.equal(refused.code, 3, refused.stderr)
      assert.match(refused.stdout, /gateway mounts \S+_gateway_uploads/)
      assert.match(refused.stdout, /An update would be refused/)
      assert.doesNotMatch(refused.stdout, /task update$/m)
    },
  )
  const noDocker = await runScript(stack, 'update', ['--check'], { DOCKER_HOST: 'unix:///nowhere.sock' })
  assert.equal(noDocker.code, 1, noDocker.stderr)
  assert.deepEqual(lives(await fixture.look()), before)
})

test('an image that failed is not taken again, until it is named by its digest', async () => {
  const { stack } = fixture
  const digest = await stack.release('gateway', 'never-healthy')
  const first = await runScript(stack, 'update')
  assert.equal(first.code, 1, first.stderr)
  assert.match(first.stderr, /gateway: its new image is not taken again until it is named/)
  const after = lives(await fixture.look())
  const second = await runScript(stack, 'update')
  assert.equal(second.code, 3, second.stderr)
  assert.match(second.stderr, /gateway: \S+ is still the image that failed/)
  const line = /task update -- --images (gateway@sha256:[0-9a-f]{64})/.exec(second.stderr)?.[1]
  assert.equal(line, `gateway@${digest}`)
  assert.match((await runScript(stack, 'update', ['--check'])).stdout, /still the image that failed/)
  const translatorOnly = await runScript(stack, 'update', ['translator'])
  assert.equal(translatorOnly.code, 0, 'the others can be updated')
  assert.deepEqual(lives(await fixture.look()), after)
  const named = await runScript(stack, 'update', ['--images', line ?? ''])
  assert.equal(named.code, 1, 'it was tried, and is as broken as before')
  assert.match(named.stderr, /The version that ran before runs again/)
})

test('--images takes exactly that image, whatever the tag means', async () => {
  const { stack } = fixture
  const old = await stack.release('gateway', '1.0')
  await stack.release('gateway', '1.1')
  const { code, stderr, stdout } = await runScript(stack, 'update', ['--images', `gateway@${old}`])
  assert.equal(code, 0, stderr + stdout)
  const seen = await fixture.look()
  const running = await inspectImage(ranOn(seen).gateway ?? '')
  assert.ok(running?.RepoDigests?.some((d) => d.endsWith(old)))
  const is = lives(seen)
  await stack.compose('up', '-d')
  assert.deepEqual(lives(await fixture.look()), is, 'a plain `docker compose up -d` recreates nothing')
  for (const wrong of ['gateway', 'gateway@sha256:12', `nobody@${old}`]) {
    const { code: bad } = await runScript(stack, 'update', ['--images', wrong])
    assert.equal(bad, 2, wrong)
  }
})

test('a version that adds a collection is a good version', async () => {
  const { stack } = fixture
  await edited(
    dotenv(),
    (text) => `${text}\nBOOT_CREATES_COLLECTION=Novelty\n`,
    async () => {
      const before = await countDocuments(await fixture.look())
      const { code, stderr, stdout } = await runScript(stack, 'update')
      assert.equal(code, 0, stderr + stdout)
      assert.match(stdout, /gateway is configured anew; in its environment: BOOT_CREATES_COLLECTION/)
      const after = await countDocuments(await fixture.look())
      assert.ok('meeshy.Novelty' in after)
      assert.deepEqual(losses(before, after), [])
    },
  )
  await stack.compose('up', '-d')
  await stack.ready()
})

/** The gateway without a volume for its uploads, as it was when they were lost; afterwards as before. */
async function withoutVolume(work: () => Promise<void>): Promise<void> {
  const { stack } = fixture
  await edited(
    compose(),
    (text) => text.replace('      - gateway_uploads:/app/uploads\n', ''),
    async () => {
      await stack.compose('up', '-d')
      await stack.ready()
      await work()
    },
  )
  await stack.compose('up', '-d')
  await stack.ready()
}

test("S21: uploads in a container's own layer are refused, also those of a stopped one; --save-layer saves them", async () => {
  const { stack, tool } = fixture
  await withoutVolume(async () => {
    const hostile = '-rf $(touch x) "q\'\n A line.jpg'
    const folder = '/app/uploads/attachments'
    const put = (path: string, content: string): Promise<string> =>
      stack.docker('exec', stack.container('gateway'), 'sh', '-c', 'printf %s "$1" > "$0"', path, content)
    await put(`${folder}/${hostile}`, 'precious')
    await put(`${folder}/second.jpg`, 'as well')
    const before = lives(await fixture.look())
    const refused = await runScript(stack, 'update', ['--all'])
    assert.equal(refused.code, 3, refused.stderr)
    assert.match(refused.stderr, /gateway keeps .*\/app\/uploads.*in its own layer, below a path of state/s)
    assert.match(refused.stderr, /Mount a named volume there.*task update -- --save-layer/s)
    assert.deepEqual(lives(await fixture.look()), before)

    const stamp = '20270301_000001'
    const saved = await runScript(stack, 'update', ['--all', '--save-layer', '--stamp', stamp])
    assert.equal(saved.code, 0, saved.stderr + saved.stdout)
    const set = join(tool.backupDir, `pre-update-${stamp}.tar.gz`)
    const manifest = await verifySet(set, () => {})
    assert.ok((manifest.layers ?? []).length > 0)
    const out = await mkdtemp(join(tmpdir(), 'layers-'))
    try {
      await exec({ words: ['tar', '-xzf', set, '-C', out, '--strip-components=1'] })
      const found: Record<string, string> = {}
      for (const { part, path } of manifest.layers ?? []) {
        const at = join(out, 'x', dirname(path))
        await mkdir(at, { recursive: true })
        await exec({ words: ['tar', '-xzf', join(out, part), '-C', at] })
      }
      for (const name of [hostile, 'second.jpg'])
        found[name] = await readFile(join(out, 'x', folder, name), 'utf8')
      assert.deepEqual(found, { [hostile]: 'precious', 'second.jpg': 'as well' })
      assert.match(
        await readFile(join(out, 'RESTORE.md'), 'utf8'),
        /gunzip -c layers\/gateway\/1\.tar\.gz \| docker cp - /,
      )
    } finally {
      await rm(out, { recursive: true })
    }
  })
})

test('S21: an anonymous volume with a single small file is refused, an empty one is not', async () => {
  const { stack } = fixture
  await stack.release('frontend', '1.1')
  const add = (text: string): string =>
    text.replace(
      '      - frontend_uploads:/app/public/u\n',
      '      - frontend_uploads:/app/public/u\n      - /app/state\n',
    )
  let names: string[] = []
  await edited(compose(), add, async () => {
    await stack.compose('up', '-d')
    await stack.ready()
    const seen = await fixture.look()
    names = (await mountedVolumes(seen))
      .filter(isAnonymous)
      .filter((v) => v.service === 'frontend')
      .map((v) => v.name)
    assert.equal(names.length, 1)
    assert.deepEqual(await anonymousWithData(seen, await mountedVolumes(seen)), [])
    await stack.docker(
      'exec',
      '--user=0',
      stack.container('frontend'),
      'sh',
      '-c',
      'mkdir -p /app/state/a && echo 1 > /app/state/a/b',
    )
    const before = lives(seen)
    const { code, stderr } = await runScript(stack, 'update')
    assert.equal(code, 3, stderr)
    assert.match(stderr, /frontend keeps data at \/app\/state in an anonymous volume/)
    assert.deepEqual(lives(await fixture.look()), before)
  })
  await stack.compose('rm', '-f', '-s', 'frontend')
  await stack.docker('volume', 'rm', ...names)
  await stack.compose('up', '-d')
  await stack.ready()
})

test('a version that empties a volume or a collection is not: a person must look, and is told what is gone', async (t) => {
  const { stack } = fixture
  const volumes = await mountedVolumes(await fixture.look())
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  t.after(() => client.close())
  const removed = client.db('meeshy').collection('Notification')
  const had = await removed.find().toArray()
  assert.ok(had.length > 0)
  await stack.release('gateway', '1.1')
  const run = startScript(stack, 'update')
  while (!/Start the new version/.test(run.printed())) await delay(50)
  await removed.deleteMany({})
  await stack.docker(
    'run',
    '--rm',
    '--network=none',
    '--entrypoint=sh',
    '--tmpfs=/data/db',
    '--tmpfs=/data/configdb',
    `--volume=${stack.project}_frontend_uploads:/v`,
    `${fixture.machine.registry}/rehearsal/mongo:8.0`,
    '-c',
    'rm -r /v/*',
  )
  const { code, stderr } = await run.ended
  assert.equal(code, 10, stderr)
  assert.match(stderr, /meeshy\.Notification: [\d,]+ before, 0 after/)
  assert.match(stderr, /files in rehearsal-guards2_frontend_uploads: \d+ before, 0 after/)
  assert.match(stderr, /but not as before \(the set from before: pre-update-\d{8}_\d{6}\)/)
  assert.match(stderr, /--accept meeshy\.Notification --accept 'files in \S+_frontend_uploads'/)
  const accepted = [
    '--accept',
    'meeshy.Notification',
    '--accept',
    `files in ${stack.project}_frontend_uploads`,
  ]
  const going = await runScript(stack, 'update', accepted)
  assert.equal(going.code, 0, going.stderr)
  assert.deepEqual(changedVolumes(volumes, await mountedVolumes(await fixture.look())), [])
})
