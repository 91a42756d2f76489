// Which Prisma schema an image was built with, asked of real images: honest, broken and hostile ones.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import {
  docker,
  inspectContainers,
  inspectImage,
  type ContainerInspect,
  type ImageInspect,
} from '../../lib/docker.ts'
import { EXIT, Stop } from '../../lib/errors.ts'
import { exec, interruption } from '../../lib/shell.ts'
import { compareSchemas, schemaOfImage, type SchemaLimits } from '../../lib/staging/schema.ts'
import { imageRef } from './machine/images.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'

const LABEL = 'prisma.schema.sha256'
const FILE = '/app/schema.prisma'
const about = { label: LABEL, file: FILE }
const SCHEMA = '// $(id) "\'`\nmodel User { id String @id }\n'
const HASH = createHash('sha256').update(SCHEMA).digest('hex')
const OTHER = 'b'.repeat(64)

const folder = mkdtempSync(join(tmpdir(), 'rehearsal-schema-'))
const built = new Set<string>()
let machine: Machine

before(async () => {
  machine = await ensureMachine()
  Object.assign(process.env, machine.env)
})
after(async () => {
  for (const id of await running()) await docker('rm', '--force', id)
  for (const ref of built) await docker('image', 'rm', '--', ref)
  await machine.stop()
  rmSync(folder, { recursive: true })
})

interface Recipe {
  /** Lines of the Dockerfile after FROM; the schema lies beside it as `schema.prisma`. */
  readonly lines?: readonly string[]
  readonly from?: 'base' | 'scratch'
  readonly label?: string
}

/** Builds an image, as a service's might be. */
async function image(name: string, { lines = [], from = 'base', label }: Recipe): Promise<ImageInspect> {
  const context = join(folder, name)
  mkdirSync(context)
  writeFileSync(join(context, 'schema.prisma'), SCHEMA)
  const base = from === 'base' ? imageRef(machine, 'base', '1') : from
  writeFileSync(join(context, 'Dockerfile'), [`FROM ${base}`, ...lines, ''].join('\n'))
  const ref = imageRef(machine, 'schema', name)
  const labels = ['rehearsal=1', ...(label === undefined ? [] : [`${LABEL}=${label}`])].flatMap((l) => [
    '--label',
    l,
  ])
  const words = ['docker', 'build', '--quiet', '--force-rm', '--tag', ref, ...labels, context] as const
  // The classic builder: it is in every daemon and uses local images as a base without asking a registry.
  await exec({ words, env: { ...(process.env as Record<string, string>), DOCKER_BUILDKIT: '0' } })
  built.add(ref)
  const found = await inspectImage(ref)
  assert.ok(found)
  return found
}

const ask = (it: ImageInspect, limits?: SchemaLimits): ReturnType<typeof schemaOfImage> =>
  schemaOfImage('gateway', it, about, limits)

/** The containers in which the schema of an image of ours is read. */
async function running(): Promise<string[]> {
  const ours = [...built].flatMap((ref) => ['--filter', `ancestor=${ref}`])
  if (ours.length === 0) return []
  return (await docker('ps', '-aq', '--filter', 'label=runbook.schema', ...ours)).split('\n').filter(Boolean)
}

const COPY = `COPY schema.prisma ${FILE}`

test('the label, the file, and both', async () => {
  assert.deepEqual(await ask(await image('file', { lines: [COPY] })), {
    service: 'gateway',
    hash: HASH,
    from: 'file',
  })
  const both = await image('both', { lines: [COPY, 'VOLUME /data /srv'], label: HASH.toUpperCase() })
  assert.deepEqual(await ask(both), { service: 'gateway', hash: HASH, from: 'label' })
  const closed = ['RUN chmod 0 /app/schema.prisma && chown 1000 /app/schema.prisma', 'USER 1000']
  const shut = await image('closed', { lines: [COPY, ...closed] })
  assert.deepEqual(await ask(shut), { service: 'gateway', hash: HASH, from: 'file' })

  const label = await ask(await image('label', { label: OTHER }))
  assert.deepEqual(
    { ...label, skipped: undefined },
    { service: 'gateway', hash: OTHER, from: 'label', skipped: undefined },
  )
  assert.match(
    label.skipped ?? '',
    /^\/app\/schema\.prisma in its image could not be read: ".*No such file or directory"$/,
  )
  assert.deepEqual(compareSchemas([label], { name: 'schema.prisma', hash: OTHER }).problems, [])
})

test('an image whose label and file differ is refused: it lies about itself', async () => {
  const liar = await image('liar', { lines: [COPY], label: OTHER })
  await assert.rejects(ask(liar), (error: unknown) => {
    assert.ok(error instanceof Stop)
    assert.equal(error.code, EXIT.refused)
    assert.match(
      error.message,
      /The image of gateway says .* schema bbbbbbbbbbbb \(label prisma\.schema\.sha256\), and holds/,
    )
    assert.ok(error.message.includes(HASH.slice(0, 12)))
    return true
  })
})

test('what cannot be read is skipped, and says why', async () => {
  const cases: Readonly<Record<string, readonly [recipe: Recipe, why: RegExp]>> = {
    'nothing-said': [{}, /^its image has no label .*, and .*No such file or directory"$/],
    'no-hash': [{ label: 'latest\n$(id)"'.repeat(90) }, /^its label .* is no hash \("latest\\n\$\(id\)\\"/],
    'no-cat': [
      { from: 'scratch', lines: [COPY, 'CMD ["/x"]'] },
      /could not be read: the image has no cat that can be run$/,
    ],
    'a-folder': [{ lines: [`COPY schema.prisma ${FILE}/x`] }, /Is a directory/],
    empty: [{ lines: [`RUN mkdir /app && : > ${FILE}`] }, /it is empty$/],
    'hidden-by-a-volume': [{ lines: [COPY, 'VOLUME /app'] }, /No such file or directory/],
  }
  for (const [name, [recipe, why]] of Object.entries(cases)) {
    const { service, hash, from, skipped = '' } = await ask(await image(name, recipe))
    assert.deepEqual([service, hash, from], ['gateway', undefined, undefined], name)
    assert.match(skipped, why, name)
    assert.ok(!skipped.includes('\n') && skipped.length < 700, `${name}: ${skipped}`)
  }
})

test('hostile: without end, too large, with a cat of its own; no container goes on', async () => {
  const cat = String.raw`RUN printf '#!/bin/sh\ntrap "" TERM\nprintf "$(id)\\033[2J\\n%.0s" 1 2 >&2\nprintf x\nwhile :; do sleep 1; done\n' > /bin/cat && chmod 755 /bin/cat`
  const cases: Readonly<Record<string, readonly [recipe: Recipe, limits: SchemaLimits, why: RegExp]>> = {
    endless: [
      { lines: [`RUN mkdir /app && ln -s /dev/zero ${FILE}`] },
      { bytes: 2 ** 20, ms: 60_000 },
      /larger than 1048576 bytes$/,
    ],
    large: [
      { lines: [`RUN mkdir /app && truncate -s 5000000 ${FILE}`] },
      { bytes: 2 ** 22, ms: 60_000 },
      /larger than 4194304 bytes$/,
    ],
    slow: [{ lines: [COPY, cat, 'VOLUME /data'] }, { bytes: 2 ** 22, ms: 4_000 }, /it took more than 4 s$/],
    screaming: [
      { lines: [COPY, cat.replace('while :; do sleep 1; done', 'exit 7')] },
      { bytes: 2 ** 22, ms: 60_000 },
      /could not be read: ".*\\u001b\[2J"$/,
    ],
  }
  for (const [name, [recipe, limits, why]] of Object.entries(cases)) {
    const it = await image(name, recipe)
    const began = performance.now()
    const { hash, skipped = '' } = await ask(it, limits)
    assert.equal(hash, undefined, name)
    assert.match(skipped, why)
    assert.ok(performance.now() - began < 60_000, `${name}: ${performance.now() - began} ms`)
    assert.deepEqual(await running(), [], name)
  }
  const exact = await image('exact', { lines: [COPY] })
  assert.equal((await ask(exact, { bytes: SCHEMA.length, ms: 60_000 })).hash, HASH)
  assert.match((await ask(exact, { bytes: SCHEMA.length - 1, ms: 60_000 })).skipped ?? '', /larger than/)
})

test('interrupted, or without Docker: that is no answer of the image', async () => {
  const slow = await inspectImage(imageRef(machine, 'schema', 'slow'))
  assert.ok(slow)
  const person = new AbortController()
  const asked = interruption.run(person.signal, () => ask(slow))
  void inTheMiddle().finally(() => person.abort(new Stop(130, 'interrupted')))
  await assert.rejects(asked, /^Error: interrupted$/)
  assert.deepEqual(await running(), [])
  await assert.rejects(ask({ ...slow, Id: `sha256:${'0'.repeat(64)}` }), /exit code 125/)

  async function inTheMiddle(): Promise<void> {
    let id: string | undefined
    for (const end = performance.now() + 30_000; id === undefined && performance.now() < end; await delay(50))
      [id] = await running()
    found = (await inspectContainers([id ?? 'none']))[0]
  }
})

let found: ContainerInspect | undefined
test('its container was shut in, and had no volume of its own', () => {
  assert.ok(found)
  const { NetworkMode, ReadonlyRootfs, CapAdd } = found.HostConfig as Readonly<Record<string, unknown>>
  assert.deepEqual([NetworkMode, ReadonlyRootfs, CapAdd], ['none', true, ['CAP_DAC_OVERRIDE']])
  assert.deepEqual(found.Mounts, [])
  assert.deepEqual(Object.keys(found.HostConfig.Tmpfs ?? {}), ['/data'])
})
