import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { createArchive, readArchive, readManifestText } from '../../lib/backup/archive.ts'
import { chunks, inOrder, once, size } from '../../lib/backup/bytes.ts'
import { compress, decompress, isSlot, member, members, SLOT } from '../../lib/backup/gzip.ts'
import { END, header, longNames, show, toBytes } from '../../lib/backup/tar.ts'
import { entries } from '../../lib/backup/untar.ts'
import { folder, whole } from './backup-fixture.ts'

const dir = folder()
const HOSTILE = [
  'plain',
  'with space/it\'s "quoted"',
  'new\nline',
  '-rf',
  '$(touch pwned)',
  'h\u00e9\u00e9',
  `${'l'.repeat(180)}/${'m'.repeat(250)}`,
].map(toBytes)
const NOT_UTF8 = 'bin\xff\xfe'

test('an archive is an ordinary .tar.gz to gzip, GNU tar and Python, and comes back byte for byte', async () => {
  const path = join(dir, 'x.tar.gz')
  const archive = await createArchive(path, 'root')
  const big = Buffer.concat([randomBytes(1_500_000), Buffer.alloc(2_000_000, 'text '), randomBytes(77)])
  const names = [...HOSTILE, NOT_UTF8]
  for (const name of names) await archive.file(`config/${name}`, once(Buffer.from(name, 'latin1')))
  await archive.file('big', once(big.subarray(0, 99), big.subarray(99)))
  await archive.file('empty', once())
  await archive.file('packed.gz', compress(once(big)), { packed: true })
  await archive.link('config/link', toBytes('h\u00e9\u00e9'), { mode: 0o777, uid: 0, gid: 0, mtime: '1' })
  await archive.finish('{"x":1}')
  await archive.close()

  execFileSync('gzip', ['-t', path])
  const out = join(dir, 'out')
  execFileSync('mkdir', [out])
  execFileSync('tar', ['-xzf', path, '-C', out])
  for (const name of names) {
    const file = Buffer.concat([Buffer.from(`${out}/root/config/`), Buffer.from(name, 'latin1')])
    assert.deepEqual(readFileSync(file), Buffer.from(name, 'latin1'))
  }
  assert.ok(readFileSync(join(out, 'root/big')).equals(big))
  assert.ok(gunzipSync(readFileSync(join(out, 'root/packed.gz'))).equals(big))
  assert.equal(statSync(join(out, 'root/config')).mode & 0o777, 0o700)
  const listed = execFileSync('python3', [
    '-c',
    'import sys,tarfile;print(len(tarfile.open(sys.argv[1]).getnames()))',
    path,
  ])
  assert.equal(Number(String(listed)), names.length + 9) // five more, and four folders

  const found = new Map<string, Buffer>()
  let bytes = 0
  for await (const entry of readArchive(path, (piece) => (bytes += piece.length))) {
    found.set(entry.name, await whole(entry.body))
  }
  assert.equal(bytes, statSync(path).size)
  for (const name of names) assert.ok(found.has(`root/config/${name}`), show(name))
  assert.ok(found.get('root/big')?.equals(big))
  assert.equal(await readManifestText(path), '{"x":1}')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  // Random bytes are stored, text is compressed: neither twice nor for nothing.
  assert.ok(bytes < 2 * 1_500_077 + 200_000 && bytes > 2 * 1_500_077)
})

test('a part can be read back before the archive is finished, and the archive can restart', async () => {
  const path = join(dir, 'r.tar.gz')
  const archive = await createArchive(path, 'root')
  await archive.file('a/first', once(randomBytes(3_000_000)))
  await archive.restart()
  const part = await archive.file('a/second', once(Buffer.from('two')))
  assert.equal(String(await whole(archive.readBack(part))), 'two')
  await archive.finish('{}')
  await archive.close()
  assert.ok(statSync(path).size < 3_000)
  const names: string[] = []
  for await (const { name } of readArchive(path, () => {})) names.push(name)
  assert.deepEqual(names, ['root/', 'root/a/', 'root/a/second', 'root/manifest.json'])
})

test('an archive never replaces a file', async () => {
  writeFileSync(join(dir, 'there'), 'x')
  await assert.rejects(createArchive(join(dir, 'there'), 'root'), { code: 'EEXIST' })
})

test('a header holds what tar reads from it: large sizes and owners, long names and targets', async () => {
  const large = 9 * 2 ** 30
  const name = `${'n'.repeat(150)}/x`
  const h = { name, type: 'link' as const, size: 0, mode: 0o755, uid: 3_000_000, gid: 5, mtime: '1700000000' }
  const target = 't'.repeat(300)
  const stream = Buffer.concat([longNames({ name, target }), header({ ...h, target }), END])
  const [entry] = await all(entries(once(stream)))
  assert.deepEqual(
    [entry?.name, entry?.target, entry?.uid, entry?.mode, entry?.type],
    [name, target, 3_000_000, 0o755, 'link'],
  )
  const file = header({ ...h, name: 'big', type: 'file', size: large, target: '' })
  writeFileSync(join(dir, 'big.tar'), file)
  // Its exit code says that the content is missing, as it is.
  const { stdout } = spawnSync('tar', ['--list', '--verbose', '--numeric-owner', '-f', join(dir, 'big.tar')])
  assert.match(String(stdout), new RegExp(`3000000/5 +${large} `))
  const python =
    'import sys,tarfile;print(tarfile.TarInfo.frombuf(open(sys.argv[1],"rb").read(512),"utf8","strict").size)'
  assert.equal(Number(execFileSync('python3', ['-c', python, join(dir, 'big.tar')])), large)
})

test('GNU tar in PAX format is understood: times, attributes, long names, bytes that are no text', async () => {
  const source = join(dir, 'src')
  execFileSync('mkdir', [source])
  for (const name of [...HOSTILE.filter((n) => !n.includes('/')), NOT_UTF8]) {
    writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from(name, 'latin1')]), name, 'latin1')
  }
  execFileSync('touch', ['-d', '@1600000000.123456789', join(source, 'plain')])
  const tar = execFileSync('tar', ['-C', source, '--format=posix', '--sort=name', '-cf', '-', '.'], {
    env: { ...process.env, LC_ALL: 'C' },
  })
  const found = await all(entries(once(tar)))
  assert.deepEqual(
    found.map((e) => e.name).toSorted(),
    ['./', ...[...HOSTILE.filter((n) => !n.includes('/')), NOT_UTF8].map((n) => `./${n}`)].toSorted(),
  )
  assert.equal(found.find((e) => e.name === './plain')?.mtime, '1600000000.123456789')
  assert.ok(Buffer.concat(found.map((e) => e.raw)).length < tar.length)
})

test('damaged tar is refused', async () => {
  const good = header({
    name: 'a',
    type: 'file',
    size: 4,
    mode: 0o600,
    uid: 0,
    gid: 0,
    mtime: '1',
    target: '',
  })
  const flipped = Buffer.from(good)
  flipped[1] = 0x41
  await assert.rejects(all(entries(once(flipped))), /header is damaged/)
  await assert.rejects(all(entries(once(good, Buffer.from('ab')))), /cut short/)
  await assert.rejects(all(entries(once(END, Buffer.from('x')))), /follows its end/)
})

test('members: what is packed is unpacked, a slot has its size, damage is noticed', async () => {
  for (const content of [Buffer.alloc(0), Buffer.alloc(512), randomBytes(512), randomBytes(2 ** 20)]) {
    for (const level of [0, 1]) {
      const raw = await member(content, level)
      assert.ok(gunzipSync(raw).equals(content))
      if (level === 0) assert.equal(isSlot(raw), content.length === 512)
      const [found] = await all(members(once(raw)))
      assert.ok(found?.content.equals(content))
    }
  }
  assert.equal((await member(randomBytes(512), 0)).length, SLOT)
  const raw = await member(Buffer.from('hello hello hello'), 1)
  await assert.rejects(whole(decompress(once(raw.subarray(0, 30)))), /cut short/)
  await assert.rejects(whole(decompress(once(Buffer.from('no gzip at all, but long enough')))), /damaged/)
  const wrong = Buffer.from(raw)
  wrong[raw.length - 8] = (wrong[raw.length - 8] as number) ^ 1
  await assert.rejects(whole(decompress(once(wrong))), /incorrect data check/)
})

test('streams: pieces of one size, work in order, sizes for people', async () => {
  const pieces = await all(chunks(once(Buffer.from('abc'), Buffer.from('defgh')), 3))
  assert.deepEqual(pieces.map(String), ['abc', 'def', 'gh'])
  const slowFirst = (n: number): Promise<number> =>
    new Promise((done) => setTimeout(() => done(n), 30 - n * 10))
  async function* numbers(): AsyncGenerator<number> {
    yield* [0, 1, 2, 3]
  }
  assert.deepEqual(await all(inOrder(numbers(), 3, slowFirst)), [0, 1, 2, 3])
  assert.deepEqual([0, 999, 16_568_320].map(size), ['0 B', '999 B', '16.6 MB'])
})

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of source) found.push(item)
  return found
}
