import { BSON } from 'mongodb'
import { createHash } from 'node:crypto'
import { legacyCollections, ANOMALIES } from './legacy.ts'
const scale = Number(process.argv[2] ?? 1)
let total = 0,
  bytes = 0
const t0 = performance.now()
for (const c of legacyCollections({ scale })) {
  const t = performance.now()
  let n = 0,
    b = 0
  const h = createHash('sha256')
  let first
  for (const d of c.documents) {
    n++
    const s = BSON.serialize(d)
    b += s.length
    h.update(s)
    first ??= d
  }
  total += n
  bytes += b
  console.log(
    c.name.padEnd(32),
    n,
    c.count,
    b,
    (performance.now() - t).toFixed(0),
    h.digest('hex').slice(0, 8),
  )
}
console.log(total, bytes, performance.now() - t0)
const t1 = performance.now()
for (const a of ANOMALIES) a.ids(scale)
console.log(ANOMALIES.length, performance.now() - t1)
