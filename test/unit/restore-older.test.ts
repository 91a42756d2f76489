// Archives of the older procedure, made by the system's own tar and gzip, become archives of ours.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { BSON } from 'mongodb'
import { readArchive } from '../../lib/backup/archive.ts'
import { once } from '../../lib/backup/bytes.ts'
import { metadataJson } from '../../lib/backup/catalogue.ts'
import { orderFree } from '../../lib/backup/digest.ts'
import { EXTRACT } from '../../lib/backup/helper.ts'
import { type CollectionRecord, type Manifest } from '../../lib/backup/manifest.ts'
import { checksum, END, type Header } from '../../lib/backup/tar.ts'
import { entries } from '../../lib/backup/untar.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { survey, type Tally } from '../../lib/backup/volume.ts'
import { Stop } from '../../lib/errors.ts'
import { interruption } from '../../lib/shell.ts'
import { adopt, type Adopting } from '../../lib/restore/older.ts'
import { documents, folder, RDB, STAMP, tarEntry, whole } from './backup-fixture.ts'

const OLD = '20241017_143022'
const NAME = `pre-update-${OLD}`
const DUMP = `database/mongodb_${OLD}`
const EVIL = 'new\nline h\u00e9 $(touch x) \'"'

const ID = '{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"}'
const ORDERED =
  '{"v":{"$numberInt":"2"},"key":{"b":{"$numberInt":"1"},"10":{"$numberInt":"1"},"2":{"$numberInt":"1"}},"name":"o"}'
const UUID = '0123456789abcdef0123456789abcdef'
const METADATA = `{"options":{"validator":{"z":{"$gt":{"$numberDouble":"0.5"}},"7":{"$exists":true}}},"indexes":[${ORDERED},${ID}],"uuid":"${UUID}","collectionName":"User","type":"collection"}`
const VIEW = `{"options":{"viewOn":"User","pipeline":[]},"indexes":[],"collectionName":"v","type":"view"}`
const bson = Buffer.concat(documents)

type Files = Readonly<Record<string, string | Buffer>>

/** What the older procedure writes, but for the volumes. */
const usual: Files = {
  [`${DUMP}/meeshy/User.bson`]: bson,
  [`${DUMP}/meeshy/User.metadata.json`]: METADATA,
  [`${DUMP}/meeshy/v.metadata.json`]: VIEW,
  [`redis/redis_dump_${OLD}.rdb`]: RDB,
  'config/docker-compose.yml': 'services: {}\n',
  'config/.env': 'A=1\n',
  'config/env.production': 'B=2\n',
  'backup-metadata.txt': 'Backup\n',
}

/** Writes files below a folder. */
function put(dir: string, files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true })
    writeFileSync(join(dir, name), content)
  }
}

/** An uploads volume's folder. */
function uploads(dir: string): string {
  put(dir, { 'a/one.png': 'one', 'a/two.png': 'two', 'a.txt': 'x', [`b/${EVIL}`]: 'evil' })
  return dir
}

const tar = (...words: string[]): Buffer => execFileSync('tar', words)

interface Wishes {
  readonly files?: Files
  readonly without?: RegExp
  /** Volumes by their name: what their files hold. */
  readonly volumes?: Readonly<Record<string, Buffer>>
  /** Does something to the folder before it is packed. */
  readonly last?: (root: string) => void
}

/** Packs a folder as the older procedure does, with the system's tar. Returns the archive's path. */
function older(wishes: Wishes = {}): string {
  const dir = folder()
  const root = join(dir, NAME)
  const files = Object.entries({ ...usual, ...wishes.files }).filter(([n]) => !wishes.without?.test(n))
  mkdirSync(join(root, 'volumes'), { recursive: true })
  put(root, Object.fromEntries(files))
  const volumes = wishes.volumes ?? { gateway_uploads: tar('cz', '-C', uploads(join(dir, 'u')), '.') }
  for (const [name, content] of Object.entries(volumes))
    writeFileSync(join(root, 'volumes', `${name}.tar.gz`), content)
  wishes.last?.(root)
  const path = join(dir, `${NAME}.tar.gz`)
  tar('czf', path, '-C', dir, NAME)
  return path
}

/** Adopts an archive, and looks whether what has come of it is a set that is verified. */
async function adopted(path: string, more: Partial<Adopting> = {}): Promise<Manifest & { path: string }> {
  const into = join(folder(), 'adopted.tar.gz')
  const manifest = await adopt(path, into, { ...ABOUT, ...more })
  assert.deepEqual(await verifySet(into, () => {}), manifest)
  assert.equal(statSync(into).mode & 0o777, 0o600)
  return { ...manifest, path: into }
}

const ABOUT: Adopting = {
  stackId: 'meeshy',
  project: 'meeshy',
  stamp: STAMP,
  dir: '/opt/meeshy',
  redis: { dir: '/data', file: 'dump.rdb' },
  report: () => {},
}

/** It is refused with a sentence, and leaves nothing behind. */
async function refused(path: string, message: RegExp): Promise<void> {
  const before = readFileSync(path)
  const into = join(folder(), 'adopted.tar.gz')
  await assert.rejects(adopt(path, into, ABOUT), (error: Error) => {
    assert.match(error.message, message)
    assert.match(error.message, /Nothing was changed/)
    return true
  })
  assert.ok(!existsSync(into))
  assert.ok(readFileSync(path).equals(before))
}

const digest = (of: readonly Buffer[]): string => {
  const sum = orderFree()
  of.forEach((d) => sum.add(d))
  return sum.hex()
}

const collection = (m: Manifest, name: string): CollectionRecord | undefined =>
  m.mongodb.databases.flatMap((d) => d.collections).find((c) => c.name === name)

/** What a backup of ours reads of a folder. */
async function read(dir: string): Promise<Tally> {
  let found: Tally | undefined
  const words = ['--create', '--format=posix', '--numeric-owner', '--sort=name', `--directory=${dir}`]
  await whole(
    survey(once(tar(...words, '--pax-option=delete=atime,delete=ctime', '.')), 'refuse', (t) => (found = t)),
  )
  assert.ok(found)
  return found
}

async function partOf(path: string, name: string): Promise<Buffer> {
  for await (const entry of readArchive(path, () => {}))
    if (entry.name === `pre-update-${STAMP}/${name}`) return whole(entry.body)
  throw new Error(`there is no ${name}`)
}

test('an archive of the older procedure becomes one of ours, with all that was in it', async () => {
  const path = older({ files: { [`config/${EVIL}`]: 'evil', 'config/nginx/site.conf': 'x' } })
  utimesSync(path, 1_700_000_000, 1_700_000_000)
  const m = await adopted(path)
  assert.deepEqual([m.stackId, m.project, m.stamp, m.shape], ['meeshy', 'meeshy', STAMP, 'legacy'])
  assert.deepEqual(
    [m.finished, m.complete, m.suspect, m.services],
    ['2023-11-14T22:13:20.000Z', true, [], {}],
  )
  assert.deepEqual([m.consistency.mongodb, m.consistency.files], ['fuzzy', 'live'])
  assert.deepEqual(m.leftOut, [])
  assert.deepEqual(
    m.mongodb.databases.map((d) => [d.name, d.collections.map((c) => c.name)]),
    [['meeshy', ['User', 'v']]],
  )
  assert.deepEqual(collection(m, 'User'), {
    name: 'User',
    type: 'collection',
    uuid: UUID,
    options: '{"validator":{"z":{"$gt":{"$numberDouble":"0.5"}},"7":{"$exists":true}}}',
    indexes: [ID, ORDERED],
    documents: 50,
    bytes: bson.length,
    digest: digest(documents),
    fuzzy: true,
    part: `database/mongodb_${STAMP}/meeshy/User.bson`,
    metadata: `database/mongodb_${STAMP}/meeshy/User.metadata.json`,
  })
  const view = collection(m, 'v')
  assert.deepEqual([view?.type, view?.part, view?.documents, view?.fuzzy], ['view', undefined, 0, false])
  const { dir, file, keys, expiring, exact, rdbVersion } = m.redis
  assert.deepEqual([dir, file, keys, expiring, exact, rdbVersion], ['/data', 'dump.rdb', 2, 1, false, 10])
  assert.deepEqual(
    m.volumes.map((v) => [v.key, v.name, v.files, v.bytes]),
    [['gateway_uploads', 'gateway_uploads', 4, 11]],
  )
  const config = new Map(m.config.map((c) => [c.name, c]))
  assert.equal(config.get(`config/${EVIL}`)?.source, `/opt/meeshy/${EVIL}`)
  assert.equal(config.get('config/nginx/site.conf')?.source, '/opt/meeshy/nginx/site.conf')
  assert.equal(config.get('config/nginx')?.folder, true)
  assert.equal(config.size, 6)
  assert.ok((await partOf(m.path, `database/mongodb_${STAMP}/meeshy/User.bson`)).equals(bson))
  assert.equal(String(await partOf(m.path, 'backup-metadata.older.txt')), 'Backup\n')
  assert.ok(!existsSync('x'))
})

test('index keys keep their order, and texts become those of the catalogue', async () => {
  const loose = METADATA.replaceAll(',', ' ,\n ').replace('"$gt"', '"\\u0024gt"')
  const m = await adopted(older({ files: { [`${DUMP}/meeshy/User.metadata.json`]: loose } }))
  const { options, indexes } = collection(m, 'User') as CollectionRecord
  assert.deepEqual(indexes, [ID, ORDERED])
  assert.equal(options, '{"validator":{"z":{"$gt":{"$numberDouble":"0.5"}},"7":{"$exists":true}}}')
})

test('a dump that gzip packed, one folder deeper, with an oplog: the same, unpacked', async () => {
  const plain = await adopted(older())
  const deep = 'database/mongo-dump/dump'
  const packed = Buffer.concat([gzipSync(bson.subarray(0, 99)), gzipSync(bson.subarray(99))]) // two members
  const path = older({
    without: /mongodb_|rdb$/,
    files: {
      [`${deep}/meeshy/User.bson.gz`]: packed,
      [`${deep}/meeshy/User.metadata.json.gz`]: gzipSync(METADATA),
      [`${deep}/meeshy/v.metadata.json.gz`]: gzipSync(VIEW),
      [`${deep}/oplog.bson`]: bson,
      [`${deep}/prelude.json.gz`]: gzipSync('{}'),
      [`${deep}/config/x.bson`]: bson,
      'redis/dump.rdb.gz': gzipSync(RDB),
    },
  })
  const m = await adopted(path)
  assert.deepEqual(m.mongodb, plain.mongodb)
  assert.deepEqual([m.redis.keys, m.complete], [2, true])
  assert.deepEqual(m.leftOut.map((l) => l.what.replace(/.*\//, '')).toSorted(), [
    'oplog.bson',
    'prelude.json.gz',
    'x.bson',
  ])
})

const without: Record<string, [RegExp, (m: Manifest) => void]> = {
  Redis: [
    /^redis/,
    (m) => assert.deepEqual([m.redis.keys, m.redis.rdbVersion, m.redis.file], [0, 0, 'dump.rdb']),
  ],
  MongoDB: [/^database/, (m) => assert.deepEqual(m.mongodb.databases, [])],
}
for (const [what, [pattern, check]] of Object.entries(without)) {
  test(`without ${what} it is adopted, and says so`, async () => {
    const m = await adopted(older({ without: pattern }))
    check(m)
    assert.equal(m.complete, false)
    assert.deepEqual(
      m.leftOut.map((l) => l.what),
      [what],
    )
  })
}

test('without volumes it is adopted, and says so; without anything it is refused', async () => {
  const m = await adopted(older({ volumes: {} }))
  assert.deepEqual([m.volumes, m.complete, m.leftOut[0]?.what], [[], false, 'volumes'])
  await refused(older({ volumes: {}, without: /^(database|redis|config)/ }), /no part of a backup/)
})

test("what is not known is left out and named; where it may be data, the set isn't complete", async () => {
  const m = await adopted(older({ files: { 'notes.txt': 'x', 'config/_outside/etc/x': 'x' } }))
  assert.deepEqual(m.leftOut.map((l) => l.what).toSorted(), [
    'config/_outside',
    'config/_outside/etc',
    'config/_outside/etc/x',
    'notes.txt',
  ])
  assert.equal(m.complete, true)
  for (const name of ['volumes/uploads.tar', 'database/dump.archive', 'redis/appendonly.aof']) {
    const odd = await adopted(older({ files: { [name]: 'x' } }))
    assert.deepEqual([odd.complete, odd.leftOut.map((l) => l.what)], [false, [name]])
  }
})

test("live copies of engines' files are left out where their own part is there", async () => {
  const live = tar('cz', '-C', uploads(join(folder(), 'u')), '.')
  const volumes = {
    meeshy_redis_data: live,
    database_data: live,
    meeshy_gateway_uploads: live,
    redis_stats: live,
  }
  const m = await adopted(older({ volumes }))
  assert.deepEqual(
    m.volumes.map((v) => [v.key, v.name]).toSorted(([a = ''], [b = '']) => a.localeCompare(b)),
    [
      ['gateway_uploads', 'meeshy_gateway_uploads'],
      ['redis_stats', 'redis_stats'],
    ],
  )
  assert.deepEqual(m.leftOut.map((l) => l.what).toSorted(), [
    'volumes/database_data.tar.gz',
    'volumes/meeshy_redis_data.tar.gz',
  ])
  assert.equal(m.complete, true)
  const alone = await adopted(older({ volumes: { redis_data: live }, without: /^redis/ }))
  assert.deepEqual(
    alone.volumes.map((v) => v.key),
    ['redis_data'],
  )
})

test('the marker of a migration in the main database tells the shape', async () => {
  const marker = Buffer.from(BSON.serialize({ _id: 'schema', schemaHash: 'abc123' }))
  const files = {
    [`${DUMP}/other/_runbook.bson`]: marker,
    [`${DUMP}/other/_runbook.metadata.json`]: '{"indexes":[]}',
  }
  assert.equal((await adopted(older({ files }))).shape, 'abc123')
  assert.equal((await adopted(older({ files }), { main: 'other' })).shape, 'abc123')
  assert.equal((await adopted(older({ files }), { main: 'meeshy' })).shape, 'legacy')
})

test('a dump that was cut short is adopted as what it is', async () => {
  const files = {
    [`${DUMP}/meeshy/Lost.metadata.json`]: METADATA.replace('"User"', '"Lost"'),
    [`${DUMP}/meeshy/a%2Fb.bson`]: bson,
  }
  const m = await adopted(older({ files }))
  assert.deepEqual([m.complete, collection(m, 'Lost')], [false, undefined])
  assert.match(m.suspect.join('\n'), /meeshy\.Lost has no documents.*\n.*meeshy\.a%2Fb has no metadata/)
  const bare = collection(m, 'a/b') as CollectionRecord
  assert.deepEqual([bare.options, bare.indexes, bare.documents], ['{}', [ID], 50])
  const undescribed = await adopted(older({ files: { [`${DUMP}/meeshy/X.bson`]: bson } }))
  assert.deepEqual([undescribed.complete, undescribed.leftOut], [false, []])
  const expected = metadataJson({ ...bare, db: 'meeshy', capped: false })
  assert.equal(String(await partOf(m.path, bare.metadata)), expected)
})

const strange: Record<string, [Files, RegExp]> = {
  'two dumps': [{ 'database/other/meeshy/X.bson': bson }, /more than one dump of MongoDB/],
  'two snapshots': [{ 'redis/dump.rdb': RDB }, /more than one snapshot of Redis/],
  'a collection twice': [{ [`${DUMP}/meeshy/User.bson.gz`]: gzipSync(bson) }, /compressed, and as it is/],
  'two files for one collection': [
    { [`${DUMP}/meeshy/X.bson`]: bson, [`${DUMP}/meeshy/X.metadata.json`]: METADATA },
    /the collection "meeshy.User" twice/,
  ],
  'a volume twice': [
    { 'volumes/meeshy_gateway_uploads.tar.gz': gzipSync(END) },
    /more than one volume "gateway_uploads"/,
  ],
  'metadata that is none': [
    { [`${DUMP}/meeshy/User.metadata.json`]: '[1]' },
    /User.metadata.json: it is no metadata/,
  ],
  'documents that are none': [{ [`${DUMP}/meeshy/User.bson`]: bson.subarray(1) }, /User.bson: its documents/],
  'documents that end too early': [
    { [`${DUMP}/meeshy/User.bson`]: bson.subarray(0, -3) },
    /User.bson: its last/,
  ],
  'a snapshot with a changed byte': [
    { [`redis/redis_dump_${OLD}.rdb`]: Buffer.from(RDB.map((b, i) => (i === 90 ? b ^ 1 : b))) },
    /redis_dump_.*: the Redis snapshot is damaged/,
  ],
}
for (const [what, [files, message]] of Object.entries(strange)) {
  test(`refused: ${what}`, () => refused(older({ files }), message))
}

test('when it is interrupted it stops, and leaves nothing behind', async () => {
  const into = join(folder(), 'adopted.tar.gz')
  for (const line of [/./, /uploads\.tar\.gz: 4 files/]) {
    const stop = new AbortController()
    const report = (text: string): void => {
      if (line.test(text)) stop.abort(new Stop(130, 'interrupted by SIGINT'))
    }
    if (line.source === '.') report('at once')
    const path = older()
    const adopting = interruption.run(stop.signal, () => adopt(path, into, { ...ABOUT, report }))
    await assert.rejects(adopting, { code: 130, message: 'interrupted by SIGINT' })
    assert.ok(!existsSync(into))
  }
})

test('nothing is ever written over', async () => {
  const path = older()
  await assert.rejects(adopt(path, path, ABOUT), /exists already/)
  assert.ok(existsSync(path))
})

// ---- Volumes, packed in any way.

/** A folder with everything that ways of packing treat differently. */
function tree(dir: string): string {
  uploads(dir)
  mkdirSync(join(dir, 'empty'))
  chmodSync(join(dir, 'b'), 0o2750)
  symlinkSync('../elsewhere', join(dir, 'link'))
  // Names of one file, each in turn the first that tar meets.
  linkSync(join(dir, 'a/two.png'), join(dir, 'z'))
  linkSync(join(dir, 'a/two.png'), join(dir, 'a/1'))
  linkSync(join(dir, 'a.txt'), join(dir, 'a/zz'))
  put(dir, { A: 'upper' })
  put(dir, { [`long/${'l'.repeat(90)}/${'m'.repeat(90)}`]: 'long' })
  chmodSync(dir, 0o755)
  return dir
}

const ways: Record<string, (dir: string, parent: string) => Buffer> = {
  'from inside': (dir) => tar('cz', '-C', dir, '.'),
  'from inside, sorted the other way': (dir) => {
    const names = String(execFileSync('find', ['.', '-print0'], { cwd: dir }))
      .split('\0')
      .filter(Boolean)
    return tar('cz', '-C', dir, '--no-recursion', ...names.toSorted().toReversed())
  },
  'by its names': (dir) => tar('cz', '-C', dir, 'z', 'link', 'long', 'b', 'a.txt', 'A', 'empty', 'a'),
  'below data/': (_, parent) => tar('cz', '-C', parent, 'data'),
  'below a path': (_, parent) => tar('cz', '-C', dirname(parent), `${parent.split('/').at(-1)}/data`),
  'in PAX format': (dir) => tar('cz', '--format=pax', '-C', dir, '.'),
}
for (const [way, pack] of Object.entries(ways)) {
  test(`a volume packed ${way} is what a backup of ours would hold, and so is what it extracts to`, async () => {
    const parent = join(folder(), 'p')
    const dir = tree(join(parent, 'data'))
    execFileSync('find', [dir, '-exec', 'touch', '-h', '-d', '@1700000000', '{}', '+'])
    const m = await adopted(older({ volumes: { uploads: pack(dir, parent) } }))
    const [volume] = m.volumes
    const { leftOut: _, ...expected } = await read(dir)
    const { files, bytes, stored, digest: sum } = volume as Manifest['volumes'][number]
    assert.deepEqual({ files, bytes, stored, digest: sum }, expected)
    const out = folder()
    execFileSync('tar', [...EXTRACT, '--gzip', '-C', out], {
      input: await partOf(m.path, 'volumes/uploads.tar.gz'),
    })
    assert.equal((await read(out)).digest, expected.digest)
    assert.deepEqual(m.leftOut.length, way === 'by its names' ? 1 : 0)
  })
}

test('of several names of a file, whichever they point to, the first has the content', async () => {
  const top = tarEntry('./', '', { type: 'folder' })
  const members = [
    top,
    tarEntry('./z', 'x'),
    link('./b', './z', 'hardlink'),
    link('./a', 'b', 'hardlink'),
    END,
  ]
  const m = await adopted(older({ volumes: { u: gzipSync(Buffer.concat(members)) } }))
  let expected: Tally | undefined
  const sorted = [
    top,
    tarEntry('./a', 'x'),
    link('./b', './a', 'hardlink'),
    link('./z', './a', 'hardlink'),
    END,
  ]
  await whole(survey(once(...sorted), 'refuse', (t) => (expected = t)))
  assert.equal(m.volumes[0]?.digest, expected?.digest)
})

test('a volume without any entry is an empty folder', async () => {
  const m = await adopted(older({ volumes: { u: tar('cz', '--files-from=/dev/null') } }))
  let expected: Tally | undefined
  const top = tarEntry('./', '', { type: 'folder', mode: 0o755, uid: 0, gid: 0 })
  await whole(survey(once(top, END), 'refuse', (t) => (expected = t)))
  assert.deepEqual([m.volumes[0]?.files, m.volumes[0]?.digest], [0, expected?.digest])
})

test('one folder that is the only one in a volume stays there', async () => {
  const dir = join(folder(), 'u')
  put(dir, { 'attachments/x.png': 'x' })
  const said: string[] = []
  const path = older({ volumes: { uploads: tar('cz', '-C', dir, 'attachments') } })
  const m = await adopted(path, { report: (line) => said.push(line) })
  const names: string[] = []
  for await (const { name } of entries(once(gunzipSync(await partOf(m.path, 'volumes/uploads.tar.gz')))))
    names.push(name)
  assert.deepEqual(names, ['./', 'attachments/', 'attachments/x.png'])
  assert.match(said.join('\n'), /everything in it lies in the folder "attachments"/)
  const own = await adopted(older({ volumes: { attachments: tar('cz', '-C', dir, 'attachments') } }))
  assert.deepEqual([own.volumes[0]?.files, own.leftOut], [1, []])
})

// ---- Damage.

test('an archive that is cut short, or has a changed byte, is refused', async () => {
  const path = older()
  const good = readFileSync(path)
  const bad = join(folder(), 'bad.tar.gz')
  for (const length of [
    0,
    1,
    10,
    500,
    good.length >> 1,
    good.length - 20,
    good.length - 8,
    good.length - 1,
  ]) {
    copyFileSync(path, bad)
    truncateSync(bad, length)
    await refused(bad, /cannot be restored from: .*: it is cut short/)
  }
  utimesSync(path, 1_700_000_000, 1_700_000_000)
  const { path: _, ...same } = await adopted(path)
  let found = 0
  const offsets = [...good.keys()].filter((at) => at >= 20 && at % 29 === 0)
  for (const at of offsets) {
    const changed = Buffer.from(good)
    changed[at] = (changed[at] as number) ^ (1 << (at % 8))
    writeFileSync(bad, changed)
    utimesSync(bad, 1_700_000_000, 1_700_000_000)
    const into = join(folder(), 'adopted.tar.gz')
    try {
      // A few bits make no difference: a run of zeros can be written in several ways.
      assert.deepEqual(await adopt(bad, into, ABOUT), same, `byte ${at} of ${good.length}`)
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error
      assert.match((error as Error).message, /cannot be restored from: /)
      assert.ok(!existsSync(into))
      found++
    }
  }
  assert.ok(found > offsets.length * 0.95, `${found} of ${offsets.length}`)
  for (const more of [good, Buffer.alloc(512), Buffer.from('x')]) {
    writeFileSync(bad, Buffer.concat([good, more]))
    await refused(bad, /something follows its end|damaged|cut short/)
  }
})

test('a part that is damaged within a whole archive is named', async () => {
  const good = tar('cz', '-C', uploads(join(folder(), 'u')), '.')
  const flipped = Buffer.from(good)
  flipped[good.length >> 1] = (flipped[good.length >> 1] as number) ^ 0x10
  const hole = Buffer.concat([gzipSync(bson.subarray(0, 99)), Buffer.alloc(2), gzipSync(bson.subarray(99))])
  for (const volume of [flipped, good.subarray(0, -20), Buffer.alloc(0), Buffer.from('no gzip at all')])
    await refused(
      older({ volumes: { uploads: volume } }),
      /\/volumes\/uploads\.tar\.gz: it is (damaged|cut short)/,
    )
  for (const packed of [gzipSync(bson).subarray(0, -9), hole]) {
    const files = { [`${DUMP}/meeshy/X.bson.gz`]: packed, [`${DUMP}/meeshy/X.metadata.json`]: '{}' }
    await refused(older({ files }), /meeshy\/X\.bson\.gz: (it is cut short|something follows its end)/)
  }
})

// ---- Hostile archives.

const root = tarEntry(`${NAME}/`, '', { type: 'folder' })
const env = tarEntry(`${NAME}/config/.env`, 'A=1')

/** An entry of a type that is never written. */
function flagged(entry: Buffer, flag: string): Buffer {
  entry.write(flag, 156, 'latin1')
  entry.fill(' ', 148, 156)
  entry.write(`${checksum(entry.subarray(0, 512)).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return entry
}

const link = (name: string, target: string, type: 'link' | 'hardlink' = 'link'): Buffer =>
  tarEntry(name, '', { type, target } satisfies Partial<Header>)

const hostile: Record<string, [Buffer[], RegExp]> = {
  'an absolute path': [[tarEntry('/etc/x', 'x')], /\/etc\/x: it is refused: an absolute path/],
  "a path with '..'": [[tarEntry('../x', 'x')], /\.\.\/x: it is refused: a path with '\.\.'/],
  "a path with '..' below the folder": [[tarEntry(`${NAME}/config/../../x`, 'x')], /a path with '\.\.'/],
  "a path with '//'": [[tarEntry(`${NAME}/config//x`, 'x')], /a path with '\.' or '\/\/'/],
  'a device node': [[flagged(tarEntry(`${NAME}/config/d`), '3')], /a device node/],
  'a pipe': [[flagged(tarEntry(`${NAME}/config/p`), '6')], /a pipe/],
  'an absolute link': [[link(`${NAME}/config/l`, '/etc')], /a link that leads out, to "\/etc"/],
  'a link that leads out': [[link(`${NAME}/config/l`, '../x')], /a link that leads out/],
  'a link that leads out by way of another': [
    [link(`${NAME}/config/y`, '.'), link(`${NAME}/config/l`, 'y/..')],
    /a link that leads out/,
  ],
  'a link in the place of a part': [
    [link(`${NAME}/volumes/u.tar.gz`, 'x')],
    /a link where a file belongs|leads out/,
  ],
  'the folder itself as a link': [[link(NAME, '/')], /beside the folder/],
  'a hard link that leads out': [
    [link(`${NAME}/config/h`, '/etc/passwd', 'hardlink')],
    /a link that leads out/,
  ],
  'a hard link': [[env, link(`${NAME}/config/h`, `${NAME}/config/.env`, 'hardlink')], /--hard-dereference/],
  'a second folder': [[env, tarEntry('other/config/.env', 'x')], /other\/.*beside the folder "pre-update-/],
  'a file beside the folder': [[env, tarEntry('x', 'x')], /beside the folder/],
  'an entry behind a link': [
    [link(`${NAME}/config/l`, 'm'), tarEntry(`${NAME}/config/l/x`, 'x')],
    /behind a link/,
  ],
  'an entry behind a file': [[env, tarEntry(`${NAME}/config/.env/x`, 'x')], /behind a link or a file/],
  'a link in the place of a folder': [[env, link(`${NAME}/config`, 'volumes')], /twice|leads out/],
  'a file twice': [[env, env], /it is in it twice/],
  'no tar at all': [[Buffer.from('x'.repeat(2000))], /a header is damaged/],
}
for (const [what, [members, message]] of Object.entries(hostile)) {
  test(`refused: ${what}`, async () => {
    const path = join(folder(), 'x.tar.gz')
    writeFileSync(path, gzipSync(Buffer.concat([root, ...members, END])))
    await refused(path, message)
  })
}

test('a link that stays in the configuration stays a link', async () => {
  const m = await adopted(
    older({
      files: { 'config/nginx/site.conf': 'x' },
      last: (dir) => symlinkSync('../env.production', join(dir, 'config/nginx/env')),
    }),
  )
  assert.equal(m.config.find((c) => c.name === 'config/nginx/env')?.target, '../env.production')
})

const inVolume: Record<string, [Buffer[], RegExp]> = {
  "a path with '..'": [[tarEntry('../x', 'x')], /the entry \.\.\/x is refused: a path with/],
  "a path with '..' below a prefix": [
    [tarEntry('data/', '', { type: 'folder' }), tarEntry('data/../../x', 'x')],
    /is refused: a path with/,
  ],
  "a path with '..' as the prefix": [
    [tarEntry('../../d/', '', { type: 'folder' }), tarEntry('../../d/x', 'x')],
    /is refused: a path with/,
  ],
  "'..' as the prefix": [
    [tarEntry('../', '', { type: 'folder' }), tarEntry('../x', 'x')],
    /is refused: a path with/,
  ],
  'an absolute path': [[tarEntry('/etc/x', 'x')], /the entry \/etc\/x is refused: an absolute path/],
  'an absolute path below a prefix': [
    [tarEntry('data/', '', { type: 'folder' }), tarEntry('data//etc/x', 'x')],
    /is refused: /,
  ],
  'an entry behind a link': [[link('./l', '/etc'), tarEntry('./l/x', 'x')], /it lies behind a link/],
  'a hard link that leads out': [[link('./h', '/etc/passwd', 'hardlink')], /a hard link that leads out/],
  'a hard link that leads up': [[link('./h', '../x', 'hardlink')], /a hard link that leads out/],
  'a hard link that leads out below a prefix': [
    [tarEntry('data/', '', { type: 'folder' }), link('data/h', 'data//etc/passwd', 'hardlink')],
    /a hard link that leads out/,
  ],
}
for (const [what, [members, message]] of Object.entries(inVolume)) {
  test(`refused in a volume: ${what}`, () =>
    refused(older({ volumes: { u: gzipSync(Buffer.concat([...members, END])) } }), message))
}

test('what cannot be restored of a volume is left out and named; a link out of it stays one', async () => {
  const members = [
    tarEntry('./', '', { type: 'folder' }),
    link('./l', '/etc'),
    flagged(tarEntry('./d'), '3'),
    END,
  ]
  const m = await adopted(older({ volumes: { u: gzipSync(Buffer.concat(members)) } }))
  assert.deepEqual(m.leftOut, [{ what: 'volumes/u.tar.gz: d', why: 'a device node' }])
})

test('a volume with a hostile name stays data', async () => {
  const name = 'new\nline $(touch x)'
  const m = await adopted(older({ volumes: { [name]: tar('cz', '-C', uploads(join(folder(), 'u')), '.') } }))
  assert.equal(m.volumes[0]?.key, name)
  assert.ok(!existsSync('x'))
})
