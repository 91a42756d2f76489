// S21: files in containers' own layers and in anonymous volumes, before an update: what is found, what is not, and what
// --save-layer keeps of it.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { findOrMakeSet } from '../../lib/backup/make.ts'
import type { Manifest } from '../../lib/backup/manifest.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { exec } from '../../lib/shell.ts'
import { service } from '../../lib/stack.ts'
import type { Doing } from '../../lib/steps.ts'
import { layerFindings, layerText, type LayerFinding } from '../../lib/backup/layer.ts'
import { anonymousWithData, isAnonymous, mountedVolumes } from '../../lib/volumes.ts'
import { lives, useStack } from './fixture.ts'

const ID = 'guards'
const fixture = useStack({ id: ID })
const MIB = 2 ** 20

const find = async (...names: string[]): Promise<LayerFinding[]> => layerFindings(await fixture.look(), names)

/** A script in a service's container, as root; what it prints. */
const inside = (name: string, script: string, ...args: string[]): Promise<string> =>
  fixture.stack.docker('exec', '--user=0', fixture.stack.container(name), 'sh', '-c', script, 'sh', ...args)

/** Writes a file of that many zeros, and the folders above it. */
const fill = (name: string, path: string, bytes: number): Promise<string> =>
  inside(name, 'mkdir -p "$(dirname "$1")" && head -c "$2" /dev/zero > "$1"', path, String(bytes))

/** Edits the Compose file for the time of the work, and brings the service up by it; afterwards as before. */
async function edited(name: string, from: string, to: string, work: () => Promise<void>): Promise<void> {
  const { stack } = fixture
  const file = join(stack.dir, 'docker-compose.yml')
  const text = readFileSync(file, 'utf8')
  assert.ok(text.includes(from))
  writeFileSync(file, text.replace(from, to))
  try {
    await stack.compose('up', '-d', '--no-deps', name)
    await work()
  } finally {
    writeFileSync(file, text)
    await stack.compose('up', '-d', '--force-recreate', '--no-deps', name)
  }
}

/** As a step of a script, without its run. */
function doing(t: TestContext): Doing & { readonly said: string[] } {
  const dir = mkdtempSync(join(tmpdir(), `${ID}-run-`))
  t.after(() => rmSync(dir, { recursive: true }))
  const said: string[] = []
  return {
    said,
    dir,
    say: (text) => said.push(text),
    progress: () => {},
    log: () => {},
    effect: (_title, _detail, act) => act(),
    fact: () => {},
  }
}

/** Opens a set with tar, and each part of a layer where it belongs, below the folder that is returned. */
async function opened(t: TestContext, set: string, { layers = [] }: Manifest): Promise<string> {
  const out = mkdtempSync(join(tmpdir(), `${ID}-set-`))
  t.after(() => rmSync(out, { recursive: true }))
  await exec({ words: ['tar', '-xzf', set, '-C', out, '--strip-components=1'] })
  for (const { part, service: name, path } of layers) {
    const at = join(out, name, dirname(path))
    await exec({ words: ['mkdir', '-p', at] })
    await exec({ words: ['tar', '-xzf', join(out, part), '-C', at] })
  }
  return out
}

const HOSTILE = [
  '-rf',
  '$(touch x)',
  `"q'uo"te'`,
  'new\nline',
  'a\nA b',
  ' lead',
  'report.log',
  '*',
  'été 写真.jpg',
]
const UPLOADS = '/app/uploads'
const put = (name: string, content: string): Promise<string> =>
  inside(
    'gateway',
    'printf %s "$2" > "$1" && chown 1001:1002 "$1"',
    `${UPLOADS}/attachments/${name}`,
    content,
  )
/** In the container: everything in the folder with its owner, mode and checksum. */
const LISTING = `cd ${UPLOADS} && find . -exec ls -dln -- {} + | awk '{ print $1, $3, $4 }' | sort && find . -type f -exec cat {} + | cksum`

test('uploads on no volume are found, of a stopped container too, and --save-layer keeps them byte for byte', async (t) => {
  const { stack, tool } = fixture
  await edited('gateway', '      - gateway_uploads:/app/uploads\n', '', async () => {
    assert.deepEqual(await find('gateway', 'frontend', 'static-files'), [], 'as the image has it')
    await inside('gateway', `mkdir -p ${UPLOADS}/new/empty && touch ${UPLOADS}/x && rm ${UPLOADS}/x`)
    assert.deepEqual(await find('gateway'), [], 'folders alone are no loss')

    await put('report.log', 'x')
    assert.match(
      (await find('gateway'))[0]?.text ?? '',
      /report\.log" \(1 files, 1 B\)/,
      'a log, where users upload',
    )
    await put('empty', '')
    for (const name of HOSTILE) await put(name, `precious: ${name}`)
    // Docker's list cannot spell it: it is there all the same.
    await inside('gateway', `printf bytes > "$(printf '${UPLOADS}/attachments/bin\\377')"`)
    await fill('gateway', '/srv/elsewhere', 2 * MIB)

    const [found, ...others] = await find('gateway', 'frontend')
    assert.ok(found && others.length === 0)
    assert.equal(found.service, 'gateway')
    assert.deepEqual(found.roots, [UPLOADS, '/srv/elsewhere'], 'state, and what is too much elsewhere')
    assert.equal(found.text.match(/"\/app\/uploads/g)?.length, 5, found.text)
    assert.match(
      found.text,
      /, … in its own layer, below a path of state; and "\/srv\/elsewhere" \(1 files, 2\.1 MB\)/,
    )
    assert.match(layerText(found), /^gateway keeps .*named volume.*--save-layer$/s)

    const before = await inside('gateway', LISTING)
    await stack.docker('stop', stack.container('gateway'))
    assert.deepEqual((await find('gateway'))[0]?.roots, found.roots, 'stopped as well')
    await stack.docker('start', stack.container('gateway'))

    const run = doing(t)
    const is = lives(await fixture.look())
    const plain = await findOrMakeSet(await fixture.look(), '20270401_000001', run)
    const set = await findOrMakeSet(await fixture.look(), '20270401_000001', run, [found])
    assert.notEqual(set, plain, 'a sealed set without them does not do')
    assert.equal(dirname(set), tool.backupDir)
    assert.deepEqual(lives(await fixture.look()), is, 'nothing of the stack was touched')
    const manifest = await verifySet(set, () => {})
    const gateway = service(await fixture.look(), 'gateway').container?.Id
    const about = { service: 'gateway', container: gateway }
    const count = HOSTILE.length + 2 // 'report.log' is one of them; and those two
    const bytes = 'bytes'.length + HOSTILE.reduce((sum, n) => sum + Buffer.byteLength(`precious: ${n}`), 0)
    assert.deepEqual(manifest.layers, [
      { ...about, path: UPLOADS, part: 'layers/gateway/1.tar.gz', files: count, bytes },
      { ...about, path: '/srv/elsewhere', part: 'layers/gateway/2.tar.gz', files: 1, bytes: 2 * MIB },
    ])
    assert.equal((await verifySet(plain, () => {})).layers, undefined)

    const out = await opened(t, set, manifest)
    const folder = join(out, 'gateway', UPLOADS, 'attachments')
    for (const name of HOSTILE)
      assert.equal(readFileSync(join(folder, name), 'utf8'), `precious: ${name}`, name)
    const odd = Buffer.concat([Buffer.from(`${folder}/bin`), Buffer.from([0xff])])
    assert.equal(readFileSync(odd, 'utf8'), 'bytes')
    assert.deepEqual(readFileSync(join(out, 'gateway/srv/elsewhere')), Buffer.alloc(2 * MIB))
    assert.match(
      readFileSync(join(out, 'backup-metadata.txt'), 'utf8'),
      /layers\/gateway\/1\.tar\.gz: gateway, \/app\/uploads, \d+ files/,
    )

    await t.test('RESTORE.md puts them into the next container as they were', async () => {
      await stack.compose('up', '-d', '--force-recreate', '--no-deps', 'gateway')
      assert.deepEqual(await find('gateway'), [], 'it is lost with the container')
      const guide = readFileSync(join(out, 'RESTORE.md'), 'utf8')
      const lines = guide.split('\n').filter((l) => l.startsWith('    gunzip -c layers/'))
      assert.equal(lines.length, 2)
      execFileSync('bash', ['-e', '-o', 'pipefail', '-c', lines.join('\n')], { cwd: out, env: stack.env })
      assert.equal(await inside('gateway', LISTING), before)
    })
  })
})

test('elsewhere more than 1 MiB is found; temporary files, logs, and what is in the image are not', async () => {
  const { stack } = fixture
  await stack.compose('up', '-d', '--force-recreate', '--no-deps', 'frontend')
  const path = '/srv/-rf $(touch x)\n"q\'/large'
  for (const no of [
    '/tmp/a',
    '/var/tmp/a',
    '/run/a',
    '/var/log/app/a',
    '/app/logs/a',
    '/app/deep/logs/a',
    '/app/a.log',
  ])
    await fill('frontend', no, 2 * MIB)
  await fill('frontend', '/srv/small', MIB / 2)
  // Its time changes, and what the image has in it is megabytes.
  await inside('frontend', 'touch /usr/bin/x /bin/x && rm -f /usr/bin/x /bin/x')
  assert.deepEqual(await find('frontend'), [], 'half a MiB, and what is no loss')
  await fill('frontend', path, 2 * MIB)
  const [found, ...others] = await find('frontend', 'static-files')
  assert.equal(others.length, 0)
  assert.ok(found)
  // Not /app/deep, which was added and holds nothing but logs.
  assert.deepEqual(found.roots.toSorted(), ['/srv/small', dirname(path)].toSorted())
  assert.ok(found.text.includes(`${JSON.stringify(dirname(path))} (1 files, 2.1 MB)`), found.text)
  await stack.docker('stop', stack.container('frontend'))
  assert.deepEqual((await find('frontend'))[0]?.roots, found.roots, 'stopped as well')
  await stack.docker('start', stack.container('frontend'))

  await inside('frontend', 'rm -r "$1"', dirname(path))
  assert.deepEqual(await find('frontend'), [])
  // What Docker's list cannot spell cannot be asked for.
  await inside('frontend', `printf x > "$(printf '/srv/bin\\377')"`)
  const [unread] = await find('frontend')
  assert.match(unread?.text ?? '', /"\/srv\/bin\ufffd" \(it cannot be read: .*Could not find the file/)
  await stack.compose('up', '-d', '--force-recreate', '--no-deps', 'frontend')
})

test('every container of a service, never what is mounted in one, and not those of `docker compose run`', async (t) => {
  const { stack } = fixture
  const volume = `${stack.project}_apart`
  await stack.docker('volume', 'create', '--label', `rehearsal=${ID}`, volume)
  const seen = await fixture.look()
  const image = service(seen, 'database').container?.Image ?? ''
  const label = '--label=com.docker.compose'
  const second = async (...labels: string[]): Promise<string> => {
    const script =
      'mkdir /new/x && head -c 2097152 /dev/zero > /new/x/y && head -c 5242880 /dev/zero > /new/deep/vol/z && echo ready && exec sleep 600'
    const id = await stack.docker(
      'run',
      '--detach',
      '--init',
      '--network=none',
      '--tmpfs=/data/db',
      '--tmpfs=/data/configdb',
      `--label=rehearsal=${ID}`,
      `${label}.project=${stack.project}`,
      `${label}.service=frontend`,
      ...labels,
      `--volume=${volume}:/new/deep/vol`,
      '--entrypoint=sh',
      image,
      '-c',
      script,
    )
    t.after(() => stack.docker('rm', '--force', id.trim()))
    while (!(await stack.docker('logs', id.trim())).includes('ready')) {
      const state = (await stack.docker('inspect', '--format', '{{.State.Running}}', id.trim())).trim()
      assert.equal(state, 'true')
    }
    return id.trim()
  }
  await second(`${label}.oneoff=True`)
  assert.deepEqual(await find('frontend'), [])
  const container = await second(`${label}.oneoff=False`)
  const [found, ...others] = await find('frontend')
  assert.equal(others.length, 0)
  assert.deepEqual([found?.container, found?.roots], [container, ['/new/x']])
  assert.ok(found)

  const run = doing(t)
  const set = await findOrMakeSet(await fixture.look(), '20270402_000001', run, [found])
  const { layers = [] } = await verifySet(set, () => {})
  assert.deepEqual(layers, [
    {
      service: 'frontend',
      container,
      path: '/new/x',
      part: 'layers/frontend/1.tar.gz',
      files: 1,
      bytes: 2 * MIB,
    },
  ])

  await t.test('what is not there any more is no set', async () => {
    const sets = readdirSync(fixture.tool.backupDir)
    const gone = [{ ...found, roots: ['/new/x', '/new/gone'] }]
    await assert.rejects(
      findOrMakeSet(await fixture.look(), '20270403_000001', run, gone),
      /Could not find the file \/new\/gone/,
    )
    assert.deepEqual(readdirSync(fixture.tool.backupDir), sets)
  })
})

test('an anonymous volume with one tiny file is found, an empty one is not', async () => {
  const { stack } = fixture
  const mount = '      - frontend_uploads:/app/public/u\n'
  let name: string | undefined
  await edited('frontend', mount, `${mount}      - /app/state\n`, async () => {
    const seen = await fixture.look()
    const mounted = await mountedVolumes(seen)
    name = mounted.find((v) => isAnonymous(v) && v.service === 'frontend')?.name
    assert.ok(name)
    const look = (): Promise<string[]> => anonymousWithData(seen, mounted)
    assert.deepEqual(await look(), [])
    await inside('frontend', 'mkdir -p /app/state/only/folders')
    assert.deepEqual(await look(), [], 'folders alone')
    await inside('frontend', 'printf 1 > "/app/state/only/$1"', '-rf $(x)\n')
    const [text, ...others] = await look()
    assert.equal(others.length, 0)
    assert.match(text ?? '', /^frontend keeps data at \/app\/state in an anonymous volume/)
    assert.deepEqual(await layerFindings(seen, ['frontend']), [], 'a mount is not the layer')
    await stack.docker('stop', stack.container('frontend'))
    assert.deepEqual(await look(), [text], 'stopped as well')
    await inVolume(name, 'rm -r /v/only && ln -s nowhere /v/link')
    assert.deepEqual(await look(), [text], 'a link is something')
    await inVolume(name, 'rm /v/link')
    assert.deepEqual(await look(), [])
  })
  await stack.docker('volume', 'rm', name ?? '')
})

/** A script in a container of its own that mounts the volume at /v. */
async function inVolume(volume: string, script: string): Promise<void> {
  const image = service(await fixture.look(), 'database').container?.Image ?? ''
  const tmpfs = ['--tmpfs=/data/db', '--tmpfs=/data/configdb']
  const mount = `--volume=${volume}:/v`
  await fixture.stack.docker(
    'run',
    '--rm',
    '--network=none',
    ...tmpfs,
    mount,
    '--entrypoint=sh',
    image,
    '-c',
    script,
  )
}
