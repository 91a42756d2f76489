// The drill: it proves a set that is as it was saved, names what is not, and leaves nothing behind.
import assert from 'node:assert/strict'
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import type { SetLine } from '../../lib/backup/list.ts'
import type { CollectionRecord, Manifest, VolumeRecord } from '../../lib/backup/manifest.ts'
import { readMarks, unmark } from '../../lib/backup/marks.ts'
import { finalPath, setPath, sha256Of } from '../../lib/backup/seal.ts'
import { listSets } from '../../lib/backup/sets.ts'
import { END } from '../../lib/backup/tar.ts'
import { sealedFixture, tarEntry, writeFixture, type Wishes } from '../unit/backup-fixture.ts'
import { lives, useStack } from './fixture.ts'
import { fillHard } from './hard-data.ts'
import { buildImage } from './machine/images.ts'
import { runScript, startScript, type Ended, type Running } from './tool.ts'

const STAMP = '20260601_000001'

// Before the stack goes: what a drill that fails its test has left.
after(async () => {
  const { docker } = fixture.stack
  for (const id of await made('ps', '--all')) await docker('rm', '--force', id)
  for (const name of await made('volume', 'ls')) await docker('volume', 'rm', name)
})
const fixture = useStack({ id: 'drill' }, async ({ stack }) => {
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  await fillHard(client)
  await client.close()
})

let dir: string // of sets that are none of the stack's own
before(async () => (dir = await mkdtemp(join(tmpdir(), 'rehearsal-drill-'))))
after(() => rm(dir, { recursive: true }))

const drill = (words: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  runScript(fixture.stack, 'drill', words, env)

/** The ids of containers, or names of volumes, that drills of this stack made. */
async function made(...what: readonly string[]): Promise<string[]> {
  const { docker, project } = fixture.stack
  const labels = ['runbook.for=drill', `runbook.stack=${project}`].flatMap((l) => ['--filter', `label=${l}`])
  return (await docker(...what, '--quiet', ...labels)).split('\n').filter(Boolean)
}

async function nothingIsLeft(): Promise<void> {
  assert.deepEqual([await made('ps', '--all'), await made('volume', 'ls')], [[], []])
  assert.deepEqual(
    readdirSync(fixture.tool.stateDir).filter((n) => /^(engine|backup-pipe)-/.test(n)),
    [],
  )
}

/** How the set is listed. */
async function listed(): Promise<SetLine> {
  const { stdout } = await runScript(fixture.stack, 'restore', ['--list', '--json'])
  const [line] = JSON.parse(stdout) as SetLine[]
  assert.ok(line)
  return line
}

interface Seen {
  readonly Image: string
  readonly Path: string
  readonly HostConfig: { readonly NetworkMode: string; readonly Memory: number; readonly Privileged: boolean }
  readonly Mounts: readonly { readonly Type: string; readonly Name?: string; readonly Source: string }[]
}

/** Looks at the drill's containers while it runs. */
async function watched(running: Running): Promise<Seen[]> {
  const seen = new Map<string, Seen>()
  let over = false
  void running.ended.then(() => (over = true))
  for (; !over; await delay(100)) {
    for (const id of await made('ps', '--no-trunc')) {
      if (seen.has(id)) continue
      const [one] = await fixture.stack.docker('inspect', id).then(
        (out) => JSON.parse(out) as Seen[],
        () => [], // it has ended meanwhile
      )
      if (one) seen.set(id, one)
    }
  }
  return [...seen.values()]
}

const proof =
  /Proven: pre-update-20260601_000001 in [\d.]+ s: [\d,]+ documents, [\d,]+ keys, \d+ volumes\.\n$/

test('there is nothing to drill, or no such set: refused, nothing is changed', async () => {
  const { stack, tool } = fixture
  const nothing = await drill()
  assert.equal(nothing.code, 3, nothing.stderr)
  assert.match(
    nothing.stderr,
    /holds no good set of this stack: there is nothing to drill\. Nothing was changed\./,
  )
  const { code, stderr } = await runScript(stack, 'auto-backup', ['--stamp', STAMP])
  assert.equal(code, 0, stderr)
  const cases: [string[], number, RegExp][] = [
    [['nonsense'], 2, /There is no set 'nonsense'/],
    [[''], 2, /The set is an empty word/],
    [[await sealedFixture(dir, { stamp: '20260101_000000' })], 3, /is a set of the stack 'meeshy'/],
    [[finalPath(await writeFixture(dir, { stamp: '20260102_000000', stackId: stack.project }))], 2, /no set/],
  ]
  for (const [words, expected, said] of cases) {
    const ended = await drill(words)
    assert.equal(ended.code, expected, ended.stderr)
    assert.match(ended.stderr, said)
  }
  const plan = await drill(['--plan'], { DOCKER_HOST: 'unix:///nowhere/docker.sock' })
  assert.equal(plan.code, 0, plan.stderr)
  assert.match(plan.stdout, /^# 1\/7 Verify the set\n/)
  const dry = await drill(['--dry-run'])
  assert.equal(dry.code, 0, dry.stderr)
  assert.match(dry.stdout, /is whole: [\d,]+ documents/)
  assert.deepEqual(readMarks(setPath(tool.backupDir, STAMP)), {})
  assert.deepEqual(readdirSync(join(tool.stateDir, 'runs')), [`${STAMP}-auto-backup`])
})

test('the newest set is proven: list and status say so; nothing is left, and nothing of the stack was touched', async () => {
  const { stack, tool } = fixture
  const before = lives(await fixture.look())
  const running = startScript(stack, 'drill', ['--json'])
  const [containers, { code, stdout, stderr }] = await Promise.all([watched(running), running.ended])
  assert.equal(code, 0, stderr)
  const { facts, steps } = JSON.parse(stdout) as { facts: { proven: object }; steps: { outcome: string }[] }
  const [set] = await listSets(tool.backupDir)
  const { manifest } = set ?? {}
  assert.ok(set && manifest)
  const { ms: _, ...proven } = facts.proven as { ms: number }
  const documents = manifest.mongodb.databases
    .flatMap((d) => d.collections)
    .reduce((n, c) => n + c.documents, 0)
  const volumes = manifest.volumes.filter((v) => v.part !== undefined && !v.coveredBy).length
  const sha256 = await sha256Of(set.path)
  assert.deepEqual(proven, { set: set.path, sha256, documents, keys: manifest.redis.keys, volumes })
  assert.ok(documents > 30_000 && manifest.redis.keys > 0 && volumes > 3)
  assert.deepEqual(new Set(steps.map((s) => s.outcome)), new Set(['done']))
  const types = manifest.mongodb.databases.flatMap((d) => d.collections.map((c) => c.type))
  assert.deepEqual([...new Set(types)].toSorted(), ['collection', 'timeseries', 'view'])

  assert.ok(containers.length > 2)
  for (const { HostConfig, Mounts } of containers) {
    assert.deepEqual([HostConfig.NetworkMode, HostConfig.Privileged], ['none', false])
    assert.ok(HostConfig.Memory > 0)
    for (const { Type, Name = '', Source } of Mounts)
      assert.ok(
        Type === 'volume' ? Name.startsWith('runbook-drill-') : Source.startsWith(tool.stateDir),
        Name,
      )
  }
  assert.ok((await listed()).proven)
  const text = /pre-update-20260601_000001\.tar\.gz .*\n? .*proven by a drill \d+ min ago/
  assert.match((await runScript(stack, 'restore', ['--list'])).stdout, text)
  assert.match((await runScript(stack, 'status')).stdout, text)
  assert.deepEqual(lives(await fixture.look()), before)
  await nothingIsLeft()
})

/** Starts a drill and waits until the MongoDB of it takes what is loaded. */
async function inTheMiddle(): Promise<Running> {
  const running = startScript(fixture.stack, 'drill')
  let ended = false
  void running.ended.then(() => (ended = true))
  for (; !ended; await delay(50)) {
    for (const id of await made('ps')) {
      const program = await fixture.stack.docker('inspect', '--format', '{{.Path}}', id).catch(() => '')
      if (program.trim() === 'mongod') return running
    }
  }
  throw new Error(`It ended before:\n${running.printed()}`)
}

test('the stack is stopped: ended by a signal it removes what it made; killed, the next one does, and proves', async () => {
  const { stack, tool } = fixture
  const path = setPath(tool.backupDir, STAMP)
  unmark(path, 'proven')
  await stack.compose('stop')
  const before = lives(await fixture.look())
  const decoys = ['another', stack.project].map((id) => `rehearsal-drill-decoy-${id}`)
  const label = ['--label', 'rehearsal=drill', '--label', 'runbook.for=drill', '--label']
  await stack.docker('volume', 'create', ...label, 'runbook.stack=rehearsal-another', decoys[0] as string)
  await stack.docker('volume', 'create', '--label', 'rehearsal=drill', decoys[1] as string)

  const ended = await inTheMiddle()
  process.kill(ended.pid, 'SIGTERM')
  const { code, stderr } = await ended.ended
  assert.equal(code, 143, stderr)
  assert.match(stderr, /Undone:\n {2}Make the volumes: remove what was made/)
  await nothingIsLeft()

  const killed = await inTheMiddle()
  process.kill(killed.pid, 'SIGKILL')
  await killed.ended
  assert.ok(
    (await made('ps')).length > 0 && (await made('volume', 'ls')).length > 0,
    'there is something left',
  )
  assert.equal(readMarks(path).proven, undefined)
  let next = await drill()
  for (; next.code === 5; next = await drill()) await delay(200) // a command of the killed one still works
  assert.equal(next.code, 0, next.stderr)
  assert.match(next.stdout, /a drill that did not end had left, removed: runbook-drill-/)
  assert.match(next.stdout, proof)
  assert.equal(readMarks(path).proven?.sha256, await sha256Of(path))
  await nothingIsLeft()
  assert.deepEqual(lives(await fixture.look()), before, 'what was stopped is as it was')
  await stack.docker('volume', 'rm', ...decoys) // fails where one is gone
  await stack.compose('start')
})

describe('a set that is not as it was saved', () => {
  let real: Manifest
  let n = 0
  before(async () => {
    const [set] = await listSets(fixture.tool.backupDir)
    assert.ok(set?.manifest)
    real = set.manifest
  })

  /** A small set of this stack, whose engines are the stack's. */
  function small(lie: (manifest: Manifest) => Partial<Manifest> = () => ({})): Wishes {
    const { version, fcv, databases } = real.mongodb
    const ids = databases.flatMap((d) => d.collections).find((c) => c.indexes.length === 1)?.indexes ?? []
    const folders = { type: 'folder', mode: 0o755 } as const
    const tar = [tarEntry('./', '', folders), tarEntry('./a', 'hello'), tarEntry('./b/', '', folders)]
    return {
      stamp: `20260602_${String(++n).padStart(6, '0')}`,
      stackId: fixture.stack.project,
      volume: Buffer.concat([...tar, tarEntry('./b/c', 'world'), END]),
      lie(manifest) {
        const mongodb = { ...manifest.mongodb, version, fcv }
        const redis = { ...manifest.redis, version: real.redis.version }
        const good = { ...manifest, mongodb, redis, services: real.services }
        const whole = collections(good, (c) => ({ ...c, indexes: ids }))
        return { ...whole, ...lie(whole) }
      },
    }
  }

  const collections = (m: Manifest, change: (c: CollectionRecord) => CollectionRecord): Manifest => {
    const databases = m.mongodb.databases.map((d) => ({ ...d, collections: d.collections.map(change) }))
    return { ...m, mongodb: { ...m.mongodb, databases } }
  }
  const volumes = (m: Manifest, more: Partial<VolumeRecord>): Manifest['volumes'] =>
    m.volumes.map((v) => ({ ...v, ...more }))

  /** Sealed by hand: by somebody who did not read it back. */
  async function sealedByHand(wishes: Wishes): Promise<string> {
    const partial = await writeFixture(dir, wishes)
    const path = finalPath(partial)
    renameSync(partial, path)
    await seal(path)
    return path
  }
  const seal = async (path: string): Promise<void> =>
    writeFileSync(`${path}.sha256`, `${await sha256Of(path)}  ${basename(path)}\n`)

  /** A copy of the stack's own set with its seal. */
  function copy(): string {
    const from = setPath(fixture.tool.backupDir, STAMP)
    const path = join(dir, basename(from))
    for (const more of ['', '.sha256']) copyFileSync(from + more, path + more)
    rmSync(`${path}.damaged`, { force: true })
    return path
  }

  /** The drill names it with exit code 1, and notes that the set is damaged only when its bytes are. */
  async function named(path: string, said: RegExp, damaged: boolean): Promise<Ended> {
    const ended = await drill([path])
    assert.equal(ended.code, 1, ended.stderr)
    assert.match(ended.stderr, said)
    const marks = readMarks(path)
    assert.deepEqual([marks.proven, marks.damaged !== undefined], [undefined, damaged])
    assert.ok(existsSync(path) && dirname(path) === dir)
    await nothingIsLeft()
    return ended
  }

  test('a small one that is as it was saved is proven, also step by step, and not before all is compared', async () => {
    const path = await sealedFixture(dir, small())
    const step = (n: number): Promise<Ended> =>
      drill(['--only', String(n), '--stamp', '20260603_000001', path])
    const early = await step(6)
    assert.equal(early.code, 1, early.stderr)
    assert.match(early.stderr, /The volumes of this drill are not there: its second step makes them/)
    for (const n of [2, 3, 4]) assert.equal((await step(n)).code, 0)
    assert.match((await step(6)).stderr, /Not every part of the set was restored/)
    assert.equal(readMarks(path).proven, undefined)
    const rest = await drill(['--from', '5', '--stamp', '20260603_000001', path])
    assert.equal(rest.code, 0, rest.stderr)
    assert.equal(readMarks(path).proven?.sha256, await sha256Of(path))
    await nothingIsLeft()
  })

  test('a byte of a BSON part', async () => {
    const path = copy()
    const bytes = readFileSync(path)
    const { parts } = real
    const part = parts.findIndex((p) => p.name.endsWith('/documents/many.bson'))
    const at = Math.floor(((parts[part]?.at ?? 0) + (parts[part + 1]?.at ?? 0)) / 2)
    bytes[at] = (bytes[at] as number) ^ 1
    writeFileSync(path, bytes)
    await named(path, /is damaged, it must not be relied on: .*documents\/many\.bson: /, true)
  })

  test('a missing part', async () => {
    const part = 'volumes/lost.tar.gz'
    const lie = (m: Manifest): Partial<Manifest> => ({
      volumes: [...m.volumes, ...volumes(m, { key: 'lost', part })],
      parts: [...m.parts, { name: part, bytes: 9, sha256: '', at: 9 }],
    })
    await named(await sealedByHand(small(lie)), /its end: volumes\/lost\.tar\.gz is not in it/, true)
  })

  test('a wrong count in the manifest', async () => {
    const lie = (m: Manifest): Manifest => collections(m, (c) => ({ ...c, documents: 51 }))
    await named(await sealedByHand(small(lie)), /User\.bson: it has 50 documents instead of 51/, true)
  })

  test('a truncated archive', async () => {
    const path = copy()
    writeFileSync(path, readFileSync(path).subarray(0, 1_000_000))
    await named(path, /pre-update-20260601_000001\.tar\.gz has no manifest: .* cut short/, true)
    const newer = setPath(fixture.tool.backupDir, '20260601_000002')
    copyFileSync(path, newer)
    const { stdout } = await drill(['--dry-run'])
    rmSync(newer)
    assert.match(
      stdout,
      /pre-update-20260601_000002\.tar\.gz is newer than the set .* not good: it is cut short/,
    )
    assert.match(stdout, /is whole: /)
  })

  test('sealed again, found by loading: an index that its documents cannot have', async () => {
    const index = '{"v":{"$numberInt":"2"},"unique":true,"key":{"x":{"$numberInt":"1"}},"name":"x_1"}'
    const wishes = small((m) => collections(m, (c) => ({ ...c, indexes: [...c.indexes, index] })))
    await named(
      await sealedFixture(dir, wishes),
      /Restore MongoDB failed:\n.*duplicate key.* meeshy\.User/,
      false,
    )
  })

  test('sealed again, found by comparing: keys of Redis; the engines are those of the stack now', async () => {
    const wishes = small((m) => ({ redis: { ...m.redis, keys: 3 }, services: {} }))
    const path = await sealedFixture(dir, wishes)
    const { stdout } = await named(
      path,
      /Restore Redis failed:\nRedis: 1 keys that do not expire instead of 2/,
      false,
    )
    for (const name of ['database', 'redis'])
      assert.match(
        stdout,
        new RegExp(`${name}: the image of the set .* the one that the stack has now is taken`),
      )
  })

  test('refused: an older engine, none at all, no room, no seal, no Docker', async () => {
    const older = small((m) => ({ services: {}, mongodb: { ...m.mongodb, version: '99.1.0' } }))
    const nowhere = { RUNBOOK_STACK_DIR: '/nowhere' }
    const away = { DOCKER_HOST: 'unix:///nowhere/docker.sock' }
    const large = small((m) => ({ volumes: volumes(m, { stored: 1e15 }) }))
    const unsealed = await sealedFixture(dir, small())
    rmSync(`${unsealed}.sha256`)
    const cases: [string, RegExp, NodeJS.ProcessEnv?][] = [
      [await sealedFixture(dir, older), /The set is of MongoDB 99\.1\.0; .* which is older/],
      [
        await sealedFixture(
          dir,
          small(() => ({ services: {} })),
        ),
        /cannot be asked\.\nThere is no Compose/,
        nowhere,
      ],
      [
        await sealedFixture(dir, large),
        /Too little space for uploads, mongodb, redis: .* about 100\d\.\d TB; free/,
      ],
      [await sealedFixture(dir, small()), /Docker does not answer/, away],
      [unsealed, /does not count: it has no seal \(task auto-backup -- --verify /],
    ]
    for (const [path, said, env] of cases) {
      const ended = await drill([path], env)
      assert.equal(ended.code, 3, ended.stderr)
      assert.match(ended.stderr, said)
      assert.match(ended.stderr, /Nothing was changed\./)
      assert.equal(readMarks(path).proven ?? readMarks(path).damaged, undefined)
      await nothingIsLeft()
    }
  })

  test('the very image of the set is pulled when it is gone, and goes again', async () => {
    const { stack, machine } = fixture
    const context = await mkdtemp(join(dir, 'image-'))
    writeFileSync(join(context, 'Dockerfile'), 'ARG BASE\nFROM ${BASE}\nLABEL rehearsal.drill=1\n')
    const { ref, id, digest } = await buildImage(machine, { name: 'drill', tag: '1', context })
    await stack.docker('image', 'rm', ref)
    await assert.rejects(stack.docker('image', 'inspect', id))
    const redis = { image: ref, imageId: id, digests: [`${ref.replace(/:1$/, '')}@${digest}`] }
    const services = { ...real.services, redis: { ...redis, configHash: '', state: 'running' } }
    const path = await sealedFixture(
      dir,
      small(() => ({ services })),
    )
    const running = startScript(stack, 'drill', [path])
    const [containers, { code, stdout, stderr }] = await Promise.all([watched(running), running.ended])
    assert.equal(code, 0, stderr)
    const engine = containers.find((c) => c.Path === 'redis-server')
    assert.equal(engine?.Image, id)
    assert.match(stdout, /redis: the image of the set was pulled; it goes again at the end/)
    await assert.rejects(stack.docker('image', 'inspect', id))
    await nothingIsLeft()
  })
})
