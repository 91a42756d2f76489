// Volumes as streams: sparse files, files that come twice, hostile entries, what tar says. No engine is needed.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { once, type Bytes } from '../../lib/backup/bytes.ts'
import { COUNTING } from '../../lib/backup/helper.ts'
import { liveVolume, type Live } from '../../lib/backup/live.ts'
import { metadataText, readManifest, type Manifest } from '../../lib/backup/manifest.ts'
import { listen, type Remarks } from '../../lib/backup/remarks.ts'
import { checksum, END, header, padding } from '../../lib/backup/tar.ts'
import { entries } from '../../lib/backup/untar.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { survey, type Tally } from '../../lib/backup/volume.ts'
import { folder, tarEntry, whole, writeFixture } from './backup-fixture.ts'

/** An entry of another type: its header with another flag. */
function flagged(entry: Buffer, flag: string): Buffer {
  const block = Buffer.from(entry)
  block.write(flag, 156, 'latin1')
  block.fill(' ', 148, 156)
  block.write(`${checksum(block.subarray(0, 512)).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

/** PAX records in front of an entry. */
function pax(records: Readonly<Record<string, string>>, entry: Buffer): Buffer {
  const text = Object.entries(records).map(([key, value]) => {
    const rest = ` ${key}=${value}\n`
    const length = [1, 2, 3, 4].map((d) => rest.length + d).find((n, i) => String(n).length === i + 1)
    return `${length}${rest}`
  })
  const content = Buffer.from(text.join(''), 'latin1')
  const h = { name: 'x', type: 'file', mode: 0, uid: 0, gid: 0, mtime: '0', target: '' } as const
  return Buffer.concat([
    flagged(header({ ...h, size: content.length }), 'x'),
    content,
    padding(content.length),
    entry,
  ])
}

/** A sparse file as GNU tar writes it: `map` is what stands in front of the data. */
function sparse(
  map: string,
  data: string,
  size: string | number,
  more: Readonly<Record<string, string>> = {},
): Buffer {
  const blocks = Buffer.concat([Buffer.from(map), padding(map.length)])
  const keys = { major: '1', minor: '0', name: './s', realsize: String(size), ...more }
  const records = Object.fromEntries(Object.entries(keys).map(([k, v]) => [`GNU.sparse.${k}`, v]))
  return pax(records, tarEntry('./GNUSparseFile.1/s', blocks.toString('latin1') + data))
}

async function tally(source: Buffer | readonly Buffer[], again?: readonly string[]): Promise<Tally> {
  let found: Tally | undefined
  const pieces = Array.isArray(source) ? source : [source as Buffer]
  await whole(survey(once(...pieces, END), 'refuse', (t) => (found = t), again))
  assert.ok(found)
  return found
}

test('a sparse file counts as its content: no map and a dense copy make a difference', async () => {
  const dense = await tally(tarEntry('./s', `${'\0'.repeat(5)}abc\0\0de${'\0'.repeat(90)}`))
  assert.equal(dense.bytes, 102)
  for (const [map, data] of [
    ['2\n5\n3\n10\n2\n', 'abcde'],
    ['3\n5\n3\n10\n2\n102\n0\n', 'abcde'],
    ['4\n0\n0\n5\n3\n10\n1\n11\n1\n', 'abcde'],
    ['1\n3\n9\n', '\0\0abc\0\0de'],
    ['1\n0\n102\n', `${'\0'.repeat(5)}abc\0\0de${'\0'.repeat(90)}`],
  ] as const) {
    const found = await tally(sparse(map, data, 102))
    assert.equal(found.digest, dense.digest, map)
    assert.deepEqual([found.files, found.bytes, found.stored], [1, 102, data.length])
  }
  const empty = await tally(sparse('1\n102\n0\n', '', 102))
  assert.equal(empty.digest, (await tally(tarEntry('./s', '\0'.repeat(102)))).digest)
  assert.equal(empty.digest, (await tally(sparse('0\n', '', 102))).digest)
  assert.notEqual(empty.digest, (await tally(sparse('1\n103\n0\n', '', 103))).digest)
})

const maps: Record<string, [Buffer, RegExp]> = {
  overlapping: [sparse('2\n0\n3\n2\n2\n', 'abcde', 100), /overlap/],
  backwards: [sparse('2\n10\n3\n2\n2\n', 'abcde', 100), /overlap/],
  'beyond the end': [sparse('1\n98\n5\n', 'abcde', 100), /behind its end/],
  'an offset beyond the end': [sparse('1\n101\n0\n', '', 100), /behind its end/],
  negative: [sparse('1\n-5\n5\n', 'abcde', 100), /no list of numbers/],
  'no number': [sparse('1\n0x5\n5\n', 'abcde', 100), /no list of numbers/],
  'an empty line': [sparse('1\n\n5\n', 'abcde', 100), /no list of numbers/],
  'a huge number': [sparse('1\n99999999999999999999\n5\n', 'abcde', 100), /no list of numbers/],
  'beyond exact numbers': [sparse('1\n9999999999999999\n5\n', 'abcde', 100), /damaged/],
  'a huge count': [sparse('999999999999\n', '', 100), /has 999999999999 pieces, more than/],
  'a count without a map': [sparse('400\n1\n1\n', '', 100), /no list of numbers/],
  'a map without an end': [sparse('5'.repeat(512), '', 100), /no list of numbers/],
  'a map that the content is too short for': [sparse(`300\n${'1\n'.repeat(254)}`, '', 100), /has no end/],
  'something after the map': [sparse('1\n0\n5\nx', 'abcde', 100), /follows its map/],
  'fewer bytes than placed': [
    sparse('1\n0\n6\n', 'abcde', 100),
    /5 bytes are stored of it, and its map places 6/,
  ],
  'more bytes than placed': [
    sparse('1\n0\n4\n', 'abcde', 100),
    /5 bytes are stored of it, and its map places 4/,
  ],
  'a negative size': [sparse('1\n0\n5\n', 'abcde', -1), /damaged/],
  'no size': [sparse('1\n0\n5\n', 'abcde', ''), /damaged/],
  'another version': [sparse('1\n0\n5\n', 'abcde', 100, { minor: '1' }), /not understood/],
  'an older format': [
    pax({ 'GNU.sparse.size': '5', 'GNU.sparse.map': '0,1' }, tarEntry('./s', 'x')),
    /not understood/,
  ],
  'the oldest format': [flagged(tarEntry('./s', 'x'), 'S'), /type 'S', which is not understood/],
  'a sparse folder': [
    pax(
      {
        'GNU.sparse.major': '1',
        'GNU.sparse.minor': '0',
        'GNU.sparse.name': './s',
        'GNU.sparse.realsize': '1',
      },
      tarEntry('./s/', '', { type: 'folder' }),
    ),
    /does not belong there/,
  ],
  'a name that leads out': [
    sparse('1\n0\n5\n', 'abcde', 100, { name: '../s' }),
    /refused: a path with '\.\.'/,
  ],
}
for (const [what, [entry, message]] of Object.entries(maps)) {
  test(`refused: a sparse file, ${what}`, async () => {
    await assert.rejects(tally(entry), message)
    await assert.rejects(whole(survey(once(entry, END), 'skip', () => {})), message)
  })
}

test('a sparse file belongs into volumes only', async () => {
  const read = async (): Promise<void> => {
    for await (const _ of entries(once(sparse('1\n0\n5\n', 'abcde', 100), END)));
  }
  await assert.rejects(read, /\.\/s is a sparse file, which does not belong there/)
})

test("GNU tar's own sparse files are understood, with a map of many blocks and hostile names", async () => {
  const dir = folder()
  for (const kind of ['sparse', 'dense']) mkdirSync(join(dir, kind))
  for (const [name, pieces] of [
    ['few', 2],
    ['new\nline "q" %d', 3],
    [`${'l'.repeat(200)}`, 1],
    ['many', 300],
    ['none', 0],
  ] as const) {
    const fd = openSync(join(dir, 'sparse', name), 'w')
    for (let n = 0; n < pieces; n++) writeSync(fd, `${n}`.repeat(3000), n * 100_000)
    ftruncateSync(fd, 300 * 100_000)
    closeSync(fd)
  }
  execFileSync('cp', ['-a', '--sparse=never', `${join(dir, 'sparse')}/.`, join(dir, 'dense')])
  const of = (kind: string, ...words: string[]): Buffer =>
    execFileSync('tar', ['-C', join(dir, kind), '--format=posix', '--sort=name', ...words, '-cf', '-', '.'], {
      maxBuffer: 2 ** 30,
    })
  const holed = of('sparse', '--sparse')
  const passed: Buffer[] = []
  let found: Tally | undefined
  for await (const p of survey(once(holed), 'refuse', (t) => (found = t))) passed.push(p)
  const dense = await tally(of('dense').subarray(0, -1024))
  assert.ok(found && found.stored < dense.stored / 10)
  assert.deepEqual([found.digest, found.files, found.bytes], [dense.digest, dense.files, dense.bytes])
  // What is passed on is what tar reads.
  mkdirSync(join(dir, 'out'))
  execFileSync('tar', ['-C', join(dir, 'out'), '-xf', '-'], { input: Buffer.concat(passed) })
  execFileSync('diff', ['-r', join(dir, 'dense'), join(dir, 'out')])
})

test('of what comes twice the last counts, when it is named', async () => {
  const one = [tarEntry('./a', 'old'), tarEntry('./b', 'b'), tarEntry('./d/', '', { type: 'folder' })]
  const two = [...one, tarEntry('./a', 'new!')]
  const good = await tally([tarEntry('./a', 'new!'), ...one.slice(1)])
  const found = await tally(two, ['a'])
  assert.deepEqual(found, good)
  assert.notEqual((await tally(two)).digest, good.digest)
  assert.notEqual((await tally(two, ['b'])).digest, good.digest)
  assert.deepEqual(await tally(one, ['a', 'c']), await tally(one))
  // A file in place of a folder could not be extracted.
  await assert.rejects(
    tally([...one, tarEntry('./d', 'x')], ['d']),
    /\.\/d is refused: it was a folder before/,
  )
  assert.equal((await tally([...one, tarEntry('./d/', '', { type: 'folder', mtime: '8' })], ['d'])).files, 2)
})

test('verification counts what came twice as the manifest names it', async () => {
  const twice = [tarEntry('./a', 'old'), tarEntry('./b', 'b'), tarEntry('./a', 'new')]
  const { digest, files } = await tally(twice, ['a'])
  const set = (again?: readonly string[]): Promise<Manifest> =>
    writeFixture(folder(), {
      volume: Buffer.concat([...twice, END]),
      lie: (m) => ({
        ...m,
        volumes: m.volumes.map((v) => ({ ...v, files, digest, ...(again && { again }) })),
      }),
    }).then((path) => verifySet(path, () => {}))
  assert.deepEqual((await set(['a'])).volumes[0]?.again, ['a'])
  await assert.rejects(set(), /it has 3 files instead of 2/)
  await assert.rejects(set(['b']), /it has 3 files instead of 2/)
})

const strange: Record<string, [Buffer, RegExp]> = {
  "a path with './'": [tarEntry('./a/./b', 'x'), /a path with '\.' or '\/\/'/],
  'a path with //': [tarEntry('./a//b', 'x'), /a path with '\.' or '\/\/'/],
  'a link under another spelling': [
    Buffer.concat([tarEntry('./a/./l', '', { type: 'link', target: '/etc' }), tarEntry('./a/l/passwd', 'x')]),
    /a path with '\.'/,
  ],
  'a zero byte in a name': [pax({ path: './l\0x' }, tarEntry('./y', 'x')), /zero byte in its name/],
  "a zero byte in a link's target": [
    pax({ linkpath: 'x\0y' }, tarEntry('./y', '', { type: 'link', target: 'z' })),
    /zero byte in its target/,
  ],
  'a file that is named like a folder': [tarEntry('./a/', 'x'), /named like a folder/],
  'an entry behind a hard link to a link': [
    Buffer.concat([
      tarEntry('./l', '', { type: 'link', target: '/etc' }),
      tarEntry('./h', '', { type: 'hardlink', target: './l' }),
      tarEntry('./h/passwd', 'x'),
    ]),
    /behind a link/,
  ],
  'a hard link through a link': [
    Buffer.concat([
      tarEntry('./l', '', { type: 'link', target: '/etc' }),
      tarEntry('./h', '', { type: 'hardlink', target: './l/passwd' }),
    ]),
    /a hard link that leads out/,
  ],
  'a hard link through a link under another spelling': [
    Buffer.concat([
      tarEntry('./a/l', '', { type: 'link', target: '/etc' }),
      tarEntry('./h', '', { type: 'hardlink', target: './a/./l/passwd' }),
    ]),
    /a hard link that leads out/,
  ],
  "a hard link with '..'": [tarEntry('./h', '', { type: 'hardlink', target: './a/../../x' }), /leads out/],
  'a character device': [flagged(tarEntry('./d'), '3'), /a device node/],
  'a block device': [flagged(tarEntry('./d'), '4'), /a device node/],
  'a path that is too long': [
    pax({ path: `./${'d/'.repeat(2047)}` }, tarEntry('./y', 'x')),
    /more than 4095 bytes|like a folder/,
  ],
  'a folder with content': [flagged(tarEntry('./d', 'hidden'), '5'), /only files have content/],
  'a link with content': [
    pax({ size: '512' }, tarEntry('./l', '', { type: 'link', target: 'x' })),
    /only files have/,
  ],
  'two extended headers': [
    pax({ path: '../evil' }, pax({ path: './good' }, tarEntry('./y', 'x'))),
    /two extended headers/,
  ],
  'a record that is not known': [
    pax({ 'GNU.dumpdir': 'Nx' }, tarEntry('./y', 'x')),
    /'GNU.dumpdir', which is not understood/,
  ],
  'a size that is no number': [pax({ size: '0x1' }, tarEntry('./y', 'x')), /damaged/],
  'a global header': [flagged(tarEntry('./g', 'x'), 'g'), /global header/],
}
for (const [what, [entry, message]] of Object.entries(strange)) {
  test(`refused: ${what}`, () => assert.rejects(tally(entry), message))
}

test('a hard link to a symbolic link is one more of them; one to what was left out is left out', async () => {
  const link = tarEntry('./l', '', { type: 'link', target: '/etc' })
  const hard = tarEntry('./h', '', { type: 'hardlink', target: './l' })
  assert.equal((await tally([link, hard])).files, 0)
  const device = flagged(tarEntry('./d'), '3')
  const second = tarEntry('./e', '', { type: 'hardlink', target: './d' })
  let found: Tally | undefined
  const passed = await whole(survey(once(device, second, link, END), 'skip', (t) => (found = t)))
  assert.deepEqual(found?.leftOut, [
    { what: 'd', why: 'a device node' },
    { what: 'e', why: 'a hard link to what was left out' },
  ])
  assert.ok(passed.equals(Buffer.concat([link, END])))
})

// ---- What tar says.

const heard = (...lines: string[]): Remarks => {
  const said = listen()
  lines.forEach((l) => said.hear(l))
  return said
}

test('what tar says is understood, with any name', () => {
  const said = heard(
    'tar: "./a": file changed as we read it',
    'tar: "./new\\nline \\"q\\" \\\\ \\303\\251\\377\\001": file changed as we read it',
    'tar: "./x\\": file changed as we read it": File shrank by 1 byte; padding with zeros',
    'tar: "./c": File shrank by 3 bytes; padding with zeros',
    'tar: "./b": File removed before we read it',
    'tar: "./s o": socket ignored',
    'tar: Exiting with failure status due to previous errors',
    'WARNING: The requested image platform does not match',
  )
  const names = [
    './a',
    './new\nline "q" \\ \u00c3\u00a9\u00ff\x01',
    './x": file changed as we read it',
    './c',
  ]
  assert.deepEqual(said.changed, names)
  assert.deepEqual(said.gone, ['./b'])
  assert.deepEqual(said.leftOut(), [{ what: 's o', why: 'a socket' }])
})

test('an exit code counts only with a reason that is understood', () => {
  assert.ok(heard('tar: "./a": file changed as we read it').explain(1))
  assert.ok(heard('tar: "./a": File removed before we read it').explain(1))
  assert.ok(!heard().explain(1))
  assert.ok(!heard('tar: "./a": something new').explain(1))
  const lost = 'tar: "./a": Cannot stat: No such file or directory'
  const end = 'tar: Exiting with failure status due to previous errors'
  assert.ok(heard(lost, end).explain(2))
  assert.ok(!heard(end).explain(2))
  assert.ok(!heard(lost, 'tar: "./b": Cannot open: Permission denied', end).explain(2))
  assert.ok(
    !heard(
      lost,
      'tar: "./b": Read error at byte 0, while reading 512 bytes: Input/output error',
      end,
    ).explain(2),
  )
  assert.ok(!heard(lost).explain(137) && !heard(lost).explain(null))
})

test('a warning that is not understood is noted once for all files; none about attributes that cannot be', () => {
  const warn = (n: number, what: string): string => `tar: "./f${n}": Warning: ${what}`
  const said = heard(
    ...[1, 2, 3].map((n) => warn(n, 'Cannot flistxattr: Operation not supported')),
    ...[1, 2, 3].map((n) => warn(n, 'Cannot flistxattr: Permission denied')),
    'tar: "./z": door is ajar',
  )
  assert.deepEqual(said.leftOut(), [
    { what: 'f1 and 2 more', why: 'tar said: Warning: Cannot flistxattr: Permission denied' },
    { what: 'z', why: 'tar said: door is ajar' },
  ])
})

// ---- A volume that is read while it is in use.

interface Pass {
  readonly entries: readonly Buffer[]
  readonly says: readonly string[]
}
const changed = (name: string): string => `tar: "${name}": file changed as we read it`

/** Reads a made-up volume; `asked` are the wishes of its later passes. */
async function readLive(...passes: Pass[]): Promise<Live & { stream: Buffer; asked: unknown[] }> {
  const asked: unknown[] = []
  let live: Live | undefined
  let n = 0
  async function* read(remarks: Remarks, wish?: unknown): Bytes {
    const pass = passes[n++]
    assert.ok(pass, 'it was not to be read that often')
    if (wish) asked.push(wish)
    yield* [...pass.entries, END]
    pass.says.forEach((l) => remarks.hear(l))
  }
  const stream = await whole(liveVolume(read, (l) => (live = l)))
  assert.equal(n, passes.length)
  assert.ok(live)
  return { ...live, stream, asked }
}

test('a quiet volume is read once', async () => {
  const live = await readLive({ entries: [tarEntry('./a', 'x')], says: ['tar: "./s": socket ignored'] })
  assert.deepEqual([live.again, live.changed], [[], []])
  assert.deepEqual(live.tally.leftOut, [{ what: 's', why: 'a socket' }])
})

test('what changed is read again; what changed again, went, or is no file any more is recorded', async () => {
  const first = [
    tarEntry('./', '', { type: 'folder' }),
    ...['whole', 'again', 'gone', 'folder-now', 'linked', 'quiet'].map((n) => tarEntry(`./${n}`, 'old')),
    tarEntry('./other', '', { type: 'hardlink', target: './linked' }),
  ]
  const names = ['whole', 'again', 'gone', 'folder-now', 'linked', 'whole'].map((n) => `./${n}`)
  const live = await readLive(
    {
      entries: first,
      says: [...names.map(changed), changed('.'), 'tar: "./never": File removed before we read it'],
    },
    {
      entries: [
        tarEntry('./whole', 'new'),
        tarEntry('./again', 'new'),
        tarEntry('./folder-now/', '', { type: 'folder' }),
        tarEntry('./', '', { type: 'folder' }),
      ],
      says: [changed('./again'), 'tar: "./gone": Cannot stat: No such file or directory'],
    },
  )
  assert.deepEqual(live.asked, [
    { names: ['./whole', './again', './gone', './folder-now', '.'], sparse: true },
  ])
  assert.deepEqual(live.again, ['whole', 'again'])
  assert.deepEqual(live.changed, ['again', 'gone', 'folder-now', 'linked', '.'])
  assert.deepEqual(live.tally.leftOut, [{ what: 'never', why: 'it vanished while the backup read' }])
  // The stream is one archive, and says by the names alone what an extraction yields.
  const expected = [
    ...first.slice(0, 1),
    ...first.slice(3),
    tarEntry('./whole', 'new'),
    tarEntry('./again', 'new'),
  ]
  let found: Tally | undefined
  await whole(survey(once(live.stream), 'refuse', (t) => (found = t), live.again))
  assert.deepEqual(found, await tally(expected))
})

test('two names of one file, new since, are both taken; one whose content did not come is not', async () => {
  const hard = (name: string, target: string): Buffer => tarEntry(name, '', { type: 'hardlink', target })
  const live = await readLive(
    {
      entries: ['./a', './b', './c'].map((n) => tarEntry(n, 'old')),
      says: ['./a', './b', './c'].map(changed),
    },
    { entries: [tarEntry('./a', 'new'), hard('./b', './a'), hard('./c', './elsewhere')], says: [] },
  )
  assert.deepEqual([live.again, live.changed], [['a', 'b'], ['c']])
})

test('a file that grew while its holes were looked for is read densely, with its further names', async () => {
  const grown = sparse('2\n0\n3\n150\n5\n', 'abcdefgh', 100, { name: './g' })
  const hard = tarEntry('./h', '', { type: 'hardlink', target: './g' })
  const live = await readLive(
    { entries: [tarEntry('./a', 'x'), grown, hard], says: [changed('./g'), changed('./a')] },
    { entries: [tarEntry('./a', 'y')], says: [] },
    { entries: [tarEntry('./g', 'dense'), hard], says: [changed('./g')] },
  )
  assert.deepEqual(live.asked, [
    { names: ['./a'], sparse: true },
    { names: ['./g', './h'], sparse: false },
  ])
  assert.deepEqual([live.again, live.changed, live.tally.leftOut], [['a'], ['g'], []])
  assert.equal((await tally(live.stream.subarray(0, -1024), live.again)).files, 2)

  const lost = await readLive(
    { entries: [grown], says: [] },
    { entries: [], says: ['tar: "./g": Cannot stat: No such file or directory'] },
  )
  assert.deepEqual(lost.tally.leftOut, [{ what: 'g', why: 'it vanished while the backup read' }])
})

test('metadata for people names what was read twice and what is not certain', async () => {
  const path = await writeFixture(folder(), {
    lie: (m) => ({
      ...m,
      volumes: m.volumes.map((v) => ({ ...v, again: ['x y'], changed: ['z\nSuspect: no'] })),
    }),
  })
  const text = metadataText((await readManifest(path)) as Manifest)
  assert.match(
    text,
    /, 1 changed and were read once more: "x y", 1 changed while they were read: "z\\nSuspect: no"\n/,
  )
})

test('a hard link has no mode, owner or time of its own', async () => {
  const file = tarEntry('./a', 'x')
  const hard = (more: object): Buffer => tarEntry('./h', '', { type: 'hardlink', target: './a', ...more })
  const is = await tally([file, hard({})])
  assert.equal((await tally([file, hard({ mtime: '9', uid: 5, mode: 0o777 })])).digest, is.digest)
  assert.notEqual((await tally([file, hard({ target: './b' })])).digest, is.digest)
})

test('a file of zeros is hashed without holding anything up', async () => {
  const size = 2 ** 30
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const began = performance.now()
  const found = await tally(sparse(`1\n${size}\n0\n`, '', size))
  clearInterval(timer)
  assert.equal(found.bytes, size)
  assert.ok(turns > 3, `${turns} turns for others in ${(performance.now() - began).toFixed()} ms`)
})

test('a file that vanishes while a volume is counted is no error; whatever else du says is', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'du-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const counted = (remark: string): { status: number | null; stdout: string } => {
    writeFileSync(join(dir, 'du'), `#!/bin/sh\necho "5 $1"\necho "du: ${remark}" >&2\nexit 1\n`, {
      mode: 0o755,
    })
    const env = { ...process.env, PATH: `${dir}:${process.env.PATH}` }
    return spawnSync('sh', ['-c', `${COUNTING}; counting "$@"`, 'sh', '-s'], { env, encoding: 'utf8' })
  }
  const vanished = counted("cannot access '/v/0/a.part': No such file or directory")
  assert.deepEqual([vanished.status, vanished.stdout], [0, '5 -s\n'])
  assert.equal(counted("cannot read directory '/v/0/b': Input/output error").status, 1)
})
