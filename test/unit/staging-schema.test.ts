// What images say of the Prisma schema that they were built with, compared.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { compareSchemas, hashOfFile, type SchemaSeen } from '../../lib/staging/schema.ts'

const A = 'a'.repeat(64)
const B = 'b'.repeat(64)
const C = 'c'.repeat(64)

const seen = (service: string, hash: string, from: 'label' | 'file' = 'label'): SchemaSeen => ({
  service,
  hash,
  from,
})
const wanted = { name: 'schema.prisma', hash: A }

test('all images agree, with each other and with what is wanted', () => {
  const two = [seen('gateway', A), seen('translator', A, 'file')]
  assert.deepEqual(compareSchemas(two), { problems: [], skipped: [], hash: A })
  assert.deepEqual(compareSchemas(two, wanted), { problems: [], skipped: [], hash: A })
})

test('images that differ are named with short hashes, those that agree together', () => {
  const three = [seen('gateway', A), seen('translator', B), seen('worker', A)]
  assert.deepEqual(compareSchemas(three), {
    problems: [
      'The images were not built with one and the same Prisma schema: gateway, worker with aaaaaaaaaaaa; translator with bbbbbbbbbbbb.',
    ],
    skipped: [],
  })
})

test('each schema that is not the wanted one is a problem of its own', () => {
  const two = [seen('gateway', B), seen('translator', C)]
  const { problems, hash } = compareSchemas(two, wanted)
  assert.deepEqual(problems, [
    'The images were not built with one and the same Prisma schema: gateway with bbbbbbbbbbbb; translator with cccccccccccc.',
    'gateway: built with the Prisma schema bbbbbbbbbbbb, which is not schema.prisma (aaaaaaaaaaaa).',
    'translator: built with the Prisma schema cccccccccccc, which is not schema.prisma (aaaaaaaaaaaa).',
  ])
  assert.equal(hash, undefined)

  const agreeing = compareSchemas([seen('gateway', B), seen('translator', B)], wanted)
  assert.deepEqual(agreeing, {
    problems: [
      'gateway, translator: built with the Prisma schema bbbbbbbbbbbb, which is not schema.prisma (aaaaaaaaaaaa).',
    ],
    skipped: [],
    hash: B,
  })
})

test('what could not be read is neither a problem nor passed', () => {
  const blind: SchemaSeen = { service: 'translator', skipped: 'it has no cat' }
  const half: SchemaSeen = { ...seen('gateway', A), skipped: 'the file could not be read' }
  assert.deepEqual(compareSchemas([half, blind], wanted), {
    problems: [],
    skipped: [
      'gateway: skipped, because the file could not be read',
      'translator: skipped, because it has no cat',
    ],
    hash: A,
  })
  const { hash, skipped, problems } = compareSchemas([blind], wanted)
  assert.deepEqual([hash, skipped.length, problems], [undefined, 1, []])
  assert.deepEqual(compareSchemas([]), { problems: [], skipped: [] })
})

test('a schema file of this machine is hashed by its bytes', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'rehearsal-schema-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'schema.prisma')
  writeFileSync(path, 'abc')
  assert.equal(await hashOfFile(path), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  await assert.rejects(hashOfFile(join(dir, 'none')), /ENOENT/)
})
