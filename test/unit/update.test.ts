// The pure parts of an update: doors, environments, what is published, what failed, what is given, the ledger's text.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { ImageInspect } from '../../lib/docker.ts'
import { putConfigurationBack } from '../../lib/configuration.ts'
import { forbidden } from '../../lib/update/doors.ts'
import { downtimeText, type Downtime } from '../../lib/downtime.ts'
import { differingKeys } from '../../lib/update/environment.ts'
import { spaceProblem } from '../../lib/update/guards.ts'
import { hasName, imagesGiven } from '../../lib/update/reach.ts'
import { clearFailed, failedImages, isFailed, noteFailed, refusedText } from '../../lib/update/refused.ts'
import { isPublished, registryOf, repositoryOf, type Published } from '../../lib/update/registry.ts'

const dir = mkdtempSync(join(tmpdir(), 'update-'))
after(() => rmSync(dir, { recursive: true }))

const digest = (n: number): string => `sha256:${String(n).repeat(64)}`

describe('doors', () => {
  const mongo = (version: string, fcv = version.slice(0, 3)) => ({ engine: 'MongoDB' as const, version, fcv })
  const allowed: [from: string, to: string][] = [
    ['6.0.5', '6.0.9'],
    ['6.0.5', '7.0.1'],
    ['7.0.2', '8.0.0'],
    ['8.0.4', '8.2.0'],
    ['4.2.1', '4.4.3'],
    ['4.4.3', '5.0.0'],
    ['5.0.9', '6.0.0'],
  ]
  for (const [from, to] of allowed) {
    test(`MongoDB ${from} to ${to}`, () => assert.equal(forbidden(mongo(from), to), undefined))
  }
  for (const [from, to, says] of [
    ['6.0.5', '8.0.0', /leaves out a major version/],
    ['4.2.0', '5.0.0', /leaves out a major version/],
    ['4.4.0', '6.0.0', /leaves out a major version/],
    ['7.0.2', '6.0.9', /older than the 7\.0\.2 that runs/],
    ['8.2.0', '8.0.9', /older than the 8\.2\.0 that runs/],
    ['6.0.5', '', /does not tell which version/],
    ['6.0.5', 'latest', /does not tell which version of MongoDB it holds \(latest\)/],
  ] as const) {
    test(`not MongoDB ${from} to '${to}'`, () => assert.match(forbidden(mongo(from), to) ?? '', says))
  }
  test('not with an older feature compatibility', () => {
    assert.match(forbidden(mongo('7.0.2', '6.0'), '8.0.0') ?? '', /setFeatureCompatibilityVersion: '7\.0'/)
    assert.equal(forbidden(mongo('7.0.2', '6.0'), '7.0.9'), undefined)
  })
  test('Redis forward, never back', () => {
    assert.equal(forbidden({ engine: 'Redis', version: '7.0.15' }, '8.0.0'), undefined)
    assert.match(forbidden({ engine: 'Redis', version: '7.2.1' }, '7.0.15') ?? '', /older than/)
  })
})

describe('environments', () => {
  const mark = (own: Record<string, string>, image: Record<string, string> = {}) => ({
    hash: 'h',
    own,
    image,
  })
  test('what the images explain is no difference', () => {
    const before = mark(
      { NODE_VERSION: 'a', PATH: 'p', OLD: 'o', SECRET: 's' },
      { NODE_VERSION: 'a', PATH: 'p', OLD: 'o' },
    )
    const after_ = mark(
      { NODE_VERSION: 'b', PATH: 'p', NEW: 'n', SECRET: 's' },
      { NODE_VERSION: 'b', PATH: 'p', NEW: 'n' },
    )
    assert.deepEqual(differingKeys(before, after_), [])
  })
  test('a value that is no image’s is: changed, gone, new', () => {
    assert.deepEqual(differingKeys(mark({ A: '1', B: '1', D: '1' }), mark({ A: '2', C: '1', D: '1' })), [
      'A',
      'B',
      'C',
    ])
  })
  test('a value of ours that is replaced by the image’s own is', () => {
    assert.deepEqual(
      differingKeys(mark({ A: 'ours' }, { A: 'image' }), mark({ A: 'image' }, { A: 'image' })),
      ['A'],
    )
  })
})

describe('what is published', () => {
  const image = (id: string, ...names: string[]) =>
    ({ Id: id, RepoDigests: names.map((n) => `r.example/app@${n}`), RepoTags: [] }) as unknown as ImageInspect
  const published = (digests: string[], ids: string[], index = false): Published => ({
    digests,
    ids,
    index,
    layers: new Map(),
  })
  test('the same by its digest, or by its configuration', () => {
    assert.equal(isPublished(image(digest(1), digest(2)), published([digest(2)], [digest(9)])), true)
    assert.equal(isPublished(image(digest(1), digest(7)), published([digest(2)], [digest(1)], true)), true)
  })
  test('another one', () => {
    assert.equal(isPublished(image(digest(1), digest(2)), published([digest(3)], [digest(4)])), false)
    assert.equal(isPublished(image(digest(1)), published([digest(3)], [digest(4)])), false)
  })
  test('not known where an image is named by an index that the registry does not tell', () => {
    assert.equal(
      isPublished(image(digest(1), digest(1)), published([digest(3)], [digest(4)], true)),
      undefined,
    )
    assert.equal(isPublished(image(digest(1), digest(1)), published([digest(3)], [digest(4)], false)), false)
  })
  test('names taken apart', () => {
    assert.equal(registryOf('mongo:8.0'), 'docker.io')
    assert.equal(registryOf('isopen/app:1'), 'docker.io')
    assert.equal(registryOf('127.0.0.1:5000/a/b:c'), '127.0.0.1:5000')
    assert.equal(registryOf('localhost/a'), 'localhost')
    assert.equal(repositoryOf('127.0.0.1:5000/a/b:c'), '127.0.0.1:5000/a/b')
    assert.equal(repositoryOf(`r.example/a@${digest(1)}`), 'r.example/a')
    assert.equal(repositoryOf('127.0.0.1:5000/a'), '127.0.0.1:5000/a')
  })
  test('--images', () => {
    assert.deepEqual(imagesGiven([`a@${digest(1)},b-c.d@${digest(2)}`]), { a: digest(1), 'b-c.d': digest(2) })
    for (const wrong of ['a', 'a@1.0', `a@${digest(1)}0`, `@${digest(1)}`, `a b@${digest(1)}`])
      assert.throws(() => imagesGiven([wrong]), /SERVICE@sha256/)
    assert.ok(hasName(image(digest(1), digest(2)), digest(2)) && hasName(image(digest(1)), digest(1)))
    assert.ok(!hasName(image(digest(1), digest(2)), digest(3)))
  })
})

test('failed images: noted once each, told with the line that tries again, struck out when they run', () => {
  const config = { STATE_DIR: dir }
  const failed = {
    service: 'app',
    ref: 'r.example/app:1',
    id: digest(1),
    digests: [digest(2)],
    run: 'r1',
    at: '2026-01-02T03:04:05Z',
    why: 'it crashed\nlog',
  }
  assert.deepEqual(failedImages(config), [])
  noteFailed(config, [failed])
  noteFailed(config, [
    { ...failed, run: 'r2' },
    { ...failed, service: 'other' },
  ])
  assert.deepEqual(
    failedImages(config).map((f) => [f.service, f.run]),
    [
      ['app', 'r2'],
      ['other', 'r1'],
    ],
  )
  assert.ok(
    isFailed(failed, { ids: [], digests: [digest(2)] }) &&
      isFailed(failed, { ids: [digest(1)], digests: [] }),
  )
  assert.ok(!isFailed(failed, { ids: [digest(3)], digests: [digest(4)] }))
  assert.match(
    refusedText(failed),
    new RegExp(
      `failed on 2026-01-02 03:04 \\(r1\\): it crashed\\n.*task update -- --images app@${digest(2)}$`,
    ),
  )
  clearFailed(config, [digest(1)])
  assert.deepEqual(failedImages(config), [])
})

test('the configuration goes back byte for byte with its mode, and what was there is kept; twice is once', () => {
  const path = join(dir, '.env')
  const bytes = Buffer.from([0x41, 0x3d, 0xff, 0x0a])
  writeFileSync(path, 'A=new\n', { mode: 0o640 })
  const kept = {
    hashes: {},
    files: [
      {
        path,
        mode: 0o604,
        uid: process.getuid?.() ?? 0,
        gid: process.getgid?.() ?? 0,
        base64: bytes.toString('base64'),
      },
    ],
  }
  assert.deepEqual(putConfigurationBack(kept, 's1'), ['.env'])
  assert.deepEqual(readFileSync(path), bytes)
  assert.equal(statSync(path).mode & 0o777, 0o604)
  assert.equal(readFileSync(`${path}.failed-s1`, 'utf8'), 'A=new\n')
  assert.equal(statSync(`${path}.failed-s1`).mode & 0o777, 0o600)
  assert.deepEqual(putConfigurationBack(kept, 's1'), [])
  assert.equal(readFileSync(`${path}.failed-s1`, 'utf8'), 'A=new\n')
})

test('room for the pull', () => {
  const MiB = 2 ** 20
  assert.deepEqual(spaceProblem(100 * MiB, 700 * MiB, '/d'), [])
  assert.match(
    spaceProblem(100 * MiB, 600 * MiB, '/d')[0] ?? '',
    /Too little space for the new images in \/d/,
  )
})

test('the ledger in words', () => {
  const one = (more: Partial<Downtime>): Downtime => ({
    service: 's',
    address: 'https://a/',
    requests: 100,
    failed: 0,
    ms: 0,
    atLeast: 0,
    atMost: 0,
    before: false,
    still: false,
    blind: 0,
    ...more,
  })
  const text = downtimeText([
    one({}),
    one({ address: 'https://b/', failed: 7, ms: 2500, atLeast: 2400, atMost: 2600 }),
  ])
  assert.deepEqual(text.split('\n').slice(1), [
    '  s  https://b/: away 2.5 s (2.4 s to 2.6 s), 7 of 100 requests failed',
    '  s  https://a/: never away',
  ])
  assert.match(
    downtimeText([one({ failed: 1, still: true, blind: 900 })]),
    /it is STILL AWAY; unseen for 0\.9 s/,
  )
  assert.match(downtimeText('not measured, because x'), /^Downtime: not measured, because x\.$/)
})
