import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { once } from '../../lib/backup/bytes.ts'
import { restoreGuide } from '../../lib/backup/guide.ts'
import { metadataText, parseManifest, readManifest, type Manifest } from '../../lib/backup/manifest.ts'
import { END } from '../../lib/backup/tar.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { survey, type Tally } from '../../lib/backup/volume.ts'
import type { Stack } from '../../lib/stack.ts'
import { folder, sealedFixture, tarEntry, whole, writeFixture, type Wishes } from './backup-fixture.ts'

const quiet = (): void => {}
const META = { mode: 0o777, uid: 0, gid: 0, mtime: '1' }

test('a set that is as it was written is verified, and its manifest returned', async () => {
  const dir = folder()
  const manifest = await verifySet(await sealedFixture(dir), quiet)
  assert.equal(manifest.stackId, 'meeshy')
})

test('a changed bit is found wherever it is, before the seal and after', async () => {
  const dir = folder()
  const path = await sealedFixture(dir)
  const good = readFileSync(path)
  const twin = join(dir, basename(path) + '.partial')
  // Every byte of the beginning and the end, and every 13th between.
  const offsets = [...good.keys()].filter((at) => at < 700 || at > good.length - 200 || at % 13 === 0)
  for (const at of offsets) {
    const bad = Buffer.from(good)
    bad[at] = (bad[at] as number) ^ (1 << (at % 8))
    writeFileSync(twin, bad)
    await assert.rejects(verifySet(twin, quiet), /damaged|no manifest/, `byte ${at} of ${good.length}`)
  }
  for (const length of [0, 10, 600, good.length - 1, good.length - 46]) {
    writeFileSync(twin, good)
    truncateSync(twin, length)
    await assert.rejects(verifySet(twin, quiet), /damaged|no manifest/, `cut to ${length}`)
  }
  writeFileSync(path, Buffer.concat([good, good]))
  await assert.rejects(verifySet(path, quiet), /damaged/)
})

test('the first damaged part is named', async () => {
  const dir = folder()
  const path = await sealedFixture(dir)
  const bytes = readFileSync(path)
  const { parts } = (await readManifest(path)) as Manifest
  for (const { name, at } of parts) {
    const bad = Buffer.from(bytes)
    const content = at + 545 + 24 // behind the header's member and the beginning of the content's
    bad[content] = (bad[content] as number) ^ 0x10
    writeFileSync(path, bad)
    await assert.rejects(verifySet(path, quiet), (error: Error) => error.message.includes(`/${name}: `), name)
  }
})

const lies: Record<string, [Wishes, RegExp]> = {
  'a wrong count of documents': [
    { lie: (m) => edit(m, (c) => (c.mongodb.databases[0]!.collections[0]!.documents = 49)) },
    /User.bson: it has 50 documents instead of 49/,
  ],
  'a wrong digest of documents': [
    { lie: (m) => edit(m, (c) => (c.mongodb.databases[0]!.collections[0]!.digest = '0'.repeat(64))) },
    /User.bson: its documents are not those/,
  ],
  'a wrong digest of a volume': [
    { lie: (m) => edit(m, (c) => (c.volumes[0]!.digest = '0')) },
    /uploads.tar.gz: its files are not those/,
  ],
  'a wrong hash': [
    { lie: (m) => edit(m, (c) => (c.parts.find((p) => p.name === 'config/.env')!.sha256 = '0')) },
    /\.env: its bytes are not those/,
  ],
  'a part that is not there': [
    { lie: (m) => edit(m, (c) => c.parts.push({ name: 'x', bytes: 0, sha256: '', at: 0 })) },
    /x is not in it/,
  ],
  'a part that is not in the manifest': [
    { lie: (m) => edit(m, (c) => (c.parts = c.parts.filter((p) => p.name !== 'config/.env'))) },
    /\.env: its manifest does not know it/,
  ],
  'another format': [{ lie: (m) => ({ ...m, format: 2 }) }, /format 2, known is 1/],
  'no text': [{ lie: () => [] }, /manifest/],
}
for (const [what, [wishes, message]] of Object.entries(lies)) {
  test(`refused: ${what}, under good checksums`, async () => {
    await assert.rejects(verifySet(await writeFixture(folder(), wishes), quiet), message)
  })
}

const hostile: Record<string, Wishes> = {
  "a path with '..'": { add: (a) => a.file('config/../../evil', once(Buffer.from('x'))) },
  'a link that leads out': {
    add: (a) => a.link('config/evil', '../../etc', META),
    lie: (m) => edit(m, (c) => c.config.push(linkTo('config/evil', '../../etc'))),
  },
  'an absolute link': {
    add: (a) => a.link('config/evil', '/etc', META),
    lie: (m) => edit(m, (c) => c.config.push(linkTo('config/evil', '/etc'))),
  },
  'a volume: an absolute path': { volume: Buffer.concat([tarEntry('/etc/passwd', 'x'), END]) },
  "a volume: a path with '..'": { volume: Buffer.concat([tarEntry('./a/../../x', 'x'), END]) },
  'a volume: an entry behind a link': {
    volume: Buffer.concat([
      tarEntry('./l', '', { type: 'link', target: '/etc' }),
      tarEntry('./l/passwd', 'x'),
      END,
    ]),
  },
  'a volume: a hard link that leads out': {
    volume: Buffer.concat([tarEntry('./h', '', { type: 'hardlink', target: '/etc/passwd' }), END]),
  },
}
for (const [what, wishes] of Object.entries(hostile)) {
  test(`refused: ${what}`, async () => {
    const tried = writeFixture(folder(), wishes).then((path) => verifySet(path, quiet))
    await assert.rejects(tried, /refused/)
  })
}

test('a device node is left out of a volume when it is saved, and refused when it is read', async () => {
  const device = tarEntry('./null')
  device.write('3', 156, 'latin1')
  let sum = 8 * 32
  for (const [at, byte] of device.entries()) if (at < 148 || at > 155) sum += byte
  device.write(sum.toString(8).padStart(6, '0'), 148, 'latin1')
  const tar = Buffer.concat([tarEntry('./a', 'x'), device, END])
  let tally: Tally | undefined
  const passed = await whole(survey(once(tar), 'skip', (t) => (tally = t)))
  assert.deepEqual(tally?.leftOut, [{ what: 'null', why: 'a device node' }])
  assert.ok(!passed.includes('null'))
  await assert.rejects(whole(survey(once(tar), 'refuse', quiet)), /device node/)
})

test("a volume's digest follows its content, owners, modes, times and links, not the time of its top", async () => {
  const digest = async (...tar: Buffer[]): Promise<string | undefined> => {
    let found: Tally | undefined
    await whole(survey(once(...tar, END), 'refuse', (t) => (found = t)))
    return found?.digest
  }
  const top = (mtime: string): Buffer => tarEntry('./', '', { type: 'folder', mtime })
  const file = tarEntry('./a', 'x')
  const base = await digest(top('1'), file)
  assert.equal(await digest(file, top('2')), base)
  for (const other of [
    tarEntry('./a', 'y'),
    tarEntry('./b', 'x'),
    tarEntry('./a', 'x', { uid: 9 }),
    tarEntry('./a', 'x', { mode: 0o600 }),
    tarEntry('./a', 'x', { mtime: '8' }),
    tarEntry('./a', '', { type: 'link', target: 'x' }),
  ]) {
    assert.notEqual(await digest(top('1'), other), base)
  }
})

test('the texts for people name everything, and no name can forge a line or a command', async () => {
  const manifest = (await readManifest(await sealedFixture(folder()))) as Manifest
  const evil = 'x\nSuspect: no $(touch pwned) `id` \'"'
  const bad = edit(manifest, (m) => {
    m.mongodb.databases[0]!.collections[0]!.name = evil
    m.volumes[0]!.key = evil
    m.volumes[0]!.name = evil
    m.leftOut.push({ what: evil, why: 'a socket' })
    m.services[evil] = { image: evil, imageId: '', digests: [evil], configHash: '', state: '' }
  }) as Manifest
  const text = metadataText(bad)
  assert.match(text, /MongoDB 8.0.1/)
  assert.match(text, /: 50 documents/)
  assert.equal(text.split('\n').filter((l) => l.startsWith('Suspect:')).length, 1)
  const stack = {
    dir: '/opt/meeshy',
    files: ['/opt/meeshy/docker-compose.yml'],
    about: { database: { service: 'database' }, redis: { service: 'redis' } },
  } as unknown as Stack
  const guide = restoreGuide(bad, stack)
  const commands = guide.split('\n').filter((l) => l.startsWith('    '))
  assert.ok(commands.length > 10)
  execFileSync('bash', ['-n'], {
    input: restoreGuide(manifest, stack)
      .split('\n')
      .filter((l) => l.startsWith('    '))
      .join('\n'),
  })
  assert.deepEqual(parseManifest(JSON.stringify(manifest)), manifest)
})

/** A deep copy that may be changed. */
type Writable<T> = {
  -readonly [K in keyof T]: T[K] extends object ? Writable<T[K]> : T[K]
} & (T extends readonly (infer E)[] ? Writable<E>[] : unknown)
function edit(manifest: Manifest, change: (copy: Writable<Manifest>) => unknown): object {
  const copy = structuredClone(manifest) as Writable<Manifest>
  change(copy)
  return copy
}
const linkTo = (name: string, target: string): Writable<Manifest['config'][number]> => ({
  name,
  source: `/x/${name}`,
  target,
  mode: 0o777,
  uid: 0,
  gid: 0,
})
