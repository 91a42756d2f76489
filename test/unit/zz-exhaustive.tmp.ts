import { readFileSync, writeFileSync, mkdtempSync } from 'node:fs'
import { verifySet } from '../../lib/backup/verify.ts'
import { sealedFixture } from './backup-fixture.ts'
const dir = mkdtempSync('/tmp/bdev/flip')
const path = await sealedFixture(dir)
const good = readFileSync(path)
let n = 0
for (let at = 0; at < good.length; at++) for (let bit = 0; bit < 8; bit++) {
  good[at]! ^= 1 << bit
  writeFileSync(path + '.partial', good)
  good[at]! ^= 1 << bit
  n++
  try { await verifySet(path + '.partial', () => {}); console.log('NOT FOUND', at, bit) } catch (e: any) { if (!/damaged|no manifest/.test(e.message)) console.log(at, bit, e.stack) }
}
console.log('done', n, good.length)
