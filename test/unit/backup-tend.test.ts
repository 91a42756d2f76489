// Sets read again by pieces, of a set with a volume that is packed in pieces itself.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { readMarks } from '../../lib/backup/marks.ts'
import { listSets } from '../../lib/backup/sets.ts'
import { verifyingSteps } from '../../lib/backup/tend.ts'
import { END } from '../../lib/backup/tar.ts'
import { noRun } from '../../lib/run.ts'
import { folder, sealedFixture, tarEntry } from './backup-fixture.ts'

async function sampled(dir: string): Promise<string> {
  const said: string[] = []
  for (const step of verifyingSteps(await listSets(dir), true)) {
    await step.run?.({ ...noRun, say: (text) => said.push(text), progress() {} }, '')
  }
  return said.join('\n')
}

const noise = randomBytes(6 * 2 ** 20).toString('latin1')
const big = Buffer.concat([
  tarEntry('./noise', '', { size: noise.length }),
  Buffer.from(noise, 'latin1'),
  END,
])

test('a sample of a good set finds nothing, however often it is taken', async () => {
  const dir = folder()
  const path = await sealedFixture(dir, { volume: big })
  for (let n = 0; n < 10; n++)
    assert.match(await sampled(dir), /^nothing wrong in \d+ pieces, .* MB of .* MB; the rest/)
  assert.deepEqual(readMarks(path), {})
})

test('a damaged piece that is read is found, and remembered', async () => {
  const dir = folder()
  const path = await sealedFixture(dir, { volume: big })
  const bytes = readFileSync(path)
  for (let at = 2 ** 19; at < bytes.length - 2 ** 19; at += 2 ** 19) bytes[at] = (bytes[at] as number) ^ 1
  writeFileSync(path, bytes)
  await assert.rejects(sampled(dir), /the piece at \d+: /)
  assert.match(readMarks(path).damaged?.why ?? '', /the piece at \d+/)
  await assert.rejects(sampled(dir), /DAMAGED: .* It is not sampled/)
})
