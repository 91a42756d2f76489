// What lies in a container's own layer: Docker's list of it, where its files are, and what a set says and keeps of them.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { once } from '../../lib/backup/bytes.ts'
import { compress } from '../../lib/backup/gzip.ts'
import { restoreGuide } from '../../lib/backup/guide.ts'
import { metadataText, parseManifest, readManifest, type Manifest } from '../../lib/backup/manifest.ts'
import { END } from '../../lib/backup/tar.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import type { Stack } from '../../lib/stack.ts'
import {
  countedTar,
  layerRoots,
  layerText,
  parseDiff,
  type Changed,
  type LayerTally,
} from '../../lib/backup/layer.ts'
import { folder, sealedFixture, tarEntry, whole, writeFixture, type Wishes } from './backup-fixture.ts'

const quiet = (): void => {}

describe('docker diff', () => {
  test('one line each, in its order', () => {
    assert.deepEqual(parseDiff('C /app\nA /app/x\nD /app/y\n'), [
      { kind: 'C', path: '/app' },
      { kind: 'A', path: '/app/x' },
      { kind: 'D', path: '/app/y' },
    ])
    assert.deepEqual(parseDiff(''), [])
  })
  test('names that are hostile, and line breaks in them', () => {
    for (const path of [
      '/-rf',
      '/$(touch x)',
      `/"q'`,
      '/a\nb',
      '/a\n',
      '/a\n\nb',
      '/a\nA ',
      '/a\nA b',
      '/a\nX /b',
      '/ ',
      '/a\r',
    ]) {
      const lines = `C /before\nA ${path}\nA /behind\n`
      assert.deepEqual(
        parseDiff(lines).map((c) => c.path),
        ['/before', path, '/behind'],
        JSON.stringify(path),
      )
    }
  })
  test('a name that looks like a further line is two, of which none is there: it is told, not lost', () => {
    assert.deepEqual(
      parseDiff('A /a\nA /b\n').map((c) => c.path),
      ['/a', '/b'],
    )
  })
})

/** `A /x`, `C /x`, … as Docker lists them, parents first. */
const diff = (...lines: string[]): Changed[] => parseDiff(lines.join('\n'))
const paths = (changed: readonly Changed[]): string[] => changed.map((c) => c.path)

describe('where the files are', () => {
  test('the topmost that was added, and files that changed; not what was deleted', () => {
    const changed = diff(
      'C /srv',
      'A /srv/d',
      'A /srv/d/e',
      'A /srv/d/e/f',
      'A /srv/g',
      'C /etc',
      'C /etc/passwd',
    )
    assert.deepEqual(paths(layerRoots([...changed, ...diff('D /etc/x')], [])), [
      '/srv/d',
      '/srv/g',
      '/etc/passwd',
    ])
  })
  test('a name that begins like another is not below it', () => {
    assert.deepEqual(paths(layerRoots(diff('A /srv', 'A /srv2', 'A /srv-x'), [])), [
      '/srv',
      '/srv2',
      '/srv-x',
    ])
    assert.deepEqual(paths(layerRoots(diff('C /app', 'A /app/uploads2'), ['/app/uploads'])), [
      '/app/uploads2',
    ])
  })
  test('a folder from which something was deleted may have become a file: it is looked at', () => {
    assert.deepEqual(paths(layerRoots(diff('C /etc', 'C /etc/a', 'D /etc/a/b'), [])), ['/etc/a'])
  })
  test('what is mounted is in no root: neither above one nor below', () => {
    const changed = diff(
      'A /new',
      'A /new/deep',
      'A /new/deep/other',
      'A /new/deep/vol',
      'A /new/x',
      'A /new/x/y',
    )
    assert.deepEqual(paths(layerRoots(changed, ['/new/deep/vol'])), ['/new/deep/other', '/new/x'])
    assert.deepEqual(paths(layerRoots(changed, ['/new/deep/vol/'])), ['/new/deep/other', '/new/x'])
    assert.deepEqual(paths(layerRoots(changed, ['/new'])), [])
    assert.deepEqual(paths(layerRoots(changed, ['/'])), [])
  })
  test('logs by their folder or their ending, where they do not count; below state they do', () => {
    const changed = diff(
      'C /srv',
      'A /srv/logs',
      'A /srv/logs/x',
      'A /srv/a.log',
      'A /srv/blogs',
      'A /srv/data.log',
      'A /srv/data.log/x',
    )
    assert.deepEqual(paths(layerRoots(changed, [], 'no logs')), ['/srv/blogs', '/srv/data.log'])
    assert.deepEqual(paths(layerRoots(changed, [])), [
      '/srv/logs',
      '/srv/a.log',
      '/srv/blogs',
      '/srv/data.log',
    ])
  })
  test('in any order', () => {
    const changed = diff('A /a/b/c', 'A /a/b', 'C /a', 'C /d', 'A /e')
    const sorted = (list: readonly Changed[]): string[] => paths(layerRoots(list, [])).toSorted()
    assert.deepEqual(sorted(changed), ['/a/b', '/d', '/e'])
    assert.deepEqual(sorted(changed.toReversed()), ['/a/b', '/d', '/e'])
  })
  test('many files cost no more than a look at each', () => {
    const many = Array.from({ length: 100_000 }, (_, i) => `A /srv/d/${i}`)
    assert.deepEqual(paths(layerRoots(diff('C /srv', 'A /srv/d', ...many), ['/v', '/w'])), ['/srv/d'])
  })
})

test('the sentence says whose, what and both ways out', () => {
  const text = layerText({ service: 'app', container: 'c', roots: ['/x'], text: '"/x" (1 files, 2 B)' })
  assert.match(
    text,
    /^app keeps "\/x" \(1 files, 2 B\): it would be lost.*named volume.*task update -- --save-layer$/,
  )
})

const TAR = [
  tarEntry('uploads/', '', { type: 'folder' }),
  tarEntry('uploads/a', 'hello'),
  tarEntry('uploads/$(x)\n"', 'x'.repeat(1000)),
  tarEntry('uploads/l', '', { type: 'link', target: 'a' }),
]

test('a tar is passed on as it came, and counted without its folders', async () => {
  let tally: LayerTally | undefined
  const all = Buffer.concat([...TAR, END])
  const passed = await whole(countedTar(once(Buffer.concat([all, END])), (t) => (tally = t)))
  assert.deepEqual(passed, all)
  assert.deepEqual(tally, { files: 3, bytes: 1005 })
})

test('a tar that is cut short, or none at all, is an error and tells nothing', async () => {
  const all = Buffer.concat([...TAR, END])
  for (const length of [0, 100, 512, 1200, all.length - 1024]) {
    const tell = (): void => assert.fail('it told')
    await assert.rejects(
      whole(countedTar(once(all.subarray(0, length)), tell)),
      /cut short/,
      `${length} bytes`,
    )
  }
})

const record = {
  service: 'gateway',
  container: 'c1',
  path: '/app/uploads',
  part: 'layers/gateway/1.tar.gz',
  files: 3,
  bytes: 1005,
}
const withLayer = (told: object = {}): Wishes => ({
  add: (archive) => archive.file(record.part, compress(once(...TAR, END)), { packed: true }),
  lie: (manifest) => ({ ...manifest, layers: [{ ...record, ...told }] }),
})

describe('in a set', () => {
  test('it is verified with the rest', async () => {
    const manifest = await verifySet(await sealedFixture(folder(), withLayer()), quiet)
    assert.deepEqual(manifest.layers, [record])
  })
  for (const [what, told] of Object.entries({ files: { files: 2 }, bytes: { bytes: 1004 } })) {
    test(`wrong ${what} are found, under good checksums`, async () => {
      const path = await writeFixture(folder(), withLayer(told))
      await assert.rejects(
        verifySet(path, quiet),
        /gateway\/1\.tar\.gz: it has 3 files with 1005 bytes instead of/,
      )
    })
  }
  test('a part that is promised and not there is found', async () => {
    const path = await writeFixture(folder(), withLayer({ part: 'layers/gateway/2.tar.gz' }))
    await assert.rejects(verifySet(path, quiet), /does not list the part layers\/gateway\/2/)
  })
  test('a manifest without layers is as good as before, one with nonsense is none', async () => {
    const manifest = (await readManifest(await sealedFixture(folder()))) as Manifest
    assert.equal(manifest.layers, undefined)
    assert.deepEqual(parseManifest(JSON.stringify(manifest)), manifest)
    assert.throws(() => parseManifest(JSON.stringify({ ...manifest, layers: 'x' })), /incomplete/)
  })
  test('people read of it: a line each, and a command that puts it back', async () => {
    const manifest = (await readManifest(await sealedFixture(folder(), withLayer()))) as Manifest
    assert.match(
      metadataText(manifest),
      /^ {2}layers\/gateway\/1\.tar\.gz: gateway, \/app\/uploads, 3 files, 1\.0 kB$/m,
    )
    const stack = {
      dir: '/opt/a b',
      files: ['/opt/a b/docker-compose.yml'],
      about: { database: { service: 'database' }, redis: { service: 'redis' } },
    } as unknown as Stack
    const evil = [{ ...record, path: `/srv/$(touch x) "q'/-rf` }]
    const guide = restoreGuide({ ...manifest, layers: [...evil, record] }, stack)
    const lines = guide.split('\n').filter((l) => l.startsWith('    gunzip -c '))
    assert.equal(lines.length, 2)
    assert.match(lines[1] ?? '', /^ {4}gunzip -c layers\/gateway\/1\.tar\.gz \| docker cp - ".*":\/app$/)
    // What the shell makes of it, with docker and gunzip in name only.
    const names =
      'docker() { if [ "$1" = compose ]; then echo id1; echo id2; else printf "%s\\n" "$@"; fi; }; gunzip() { :; }'
    const told = execFileSync('bash', ['-c', `${names}\n${lines.join('\n')}`], { encoding: 'utf8' })
    assert.deepEqual(told.split('\n'), ['cp', '-', `id1:/srv/$(touch x) "q'`, 'cp', '-', 'id1:/app', ''])
    const none = (await readManifest(await sealedFixture(folder()))) as Manifest
    assert.doesNotMatch(metadataText(none) + restoreGuide(none, stack), /own layer/)
  })
})
