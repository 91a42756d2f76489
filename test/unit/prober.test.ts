import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { after, before, describe, test } from 'node:test'
import { readLedger, type AddressLedger } from '../../lib/ledger.ts'
import { startProber, type LedgerLine } from '../../lib/prober.ts'

let dir: string
before(() => (dir = mkdtempSync(join(tmpdir(), 'prober-'))))
after(() => rmSync(dir, { recursive: true }))

let files = 0
const newFile = (): string => join(dir, `ledger-${++files}.jsonl`)

async function listen(handler: RequestListener, port = 0): Promise<Server> {
  const server = createServer(handler)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return server
}
const urlOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/health`
const up: RequestListener = (_, answer) => void answer.end('{"status":"ok"}')

async function close(server: Server): Promise<void> {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
}

function one(ledger: readonly AddressLedger[], address?: string): AddressLedger {
  const found = address === undefined ? ledger[0] : ledger.find((l) => l.address === address)
  assert.ok(found, `no ledger of ${address}`)
  return found
}

describe('the prober', () => {
  test('measures an outage of 700 ms within 60 ms, between its two bounds', async () => {
    const server = await listen(up)
    const url = urlOf(server)
    const prober = await startProber({ addresses: [{ url }], file: newFile() })
    await delay(500)
    const down = performance.now()
    await close(server)
    await delay(700)
    const again = await listen(up, Number(new URL(url).port))
    const real = performance.now() - down
    await delay(500)
    await prober.stop()
    await close(again)

    const { outages, requests, from, to, total, longest, blind } = one(await readLedger(prober.file))
    assert.equal(outages.length, 1)
    const { ms, atLeast, atMost = NaN, lastOk = NaN, firstOk, why } = outages[0] ?? assert.fail()
    // On a busy machine the requests themselves are further apart than 50 ms, and the bounds say so.
    const tolerance = Math.max(60, (atMost - atLeast) / 2)
    assert.ok(Math.abs(ms - real) <= tolerance, `measured ${ms}, really ${real}, bounds ${atLeast} to ${atMost}`)
    assert.ok(atLeast <= real && real <= atMost, `${atLeast} <= ${real} <= ${atMost}`)
    assert.ok(lastOk < (firstOk ?? NaN))
    assert.match(why, /ECONNREFUSED|socket hang up|ECONNRESET/)
    assert.deepEqual([total, longest], [ms, ms])
    assert.ok(requests > (to - from) / 50 - 10 && requests <= (to - from) / 50 + 2, `${requests} in ${to - from} ms`)
    console.log({ ms, real, atLeast, atMost, requests, blind })
  })
})
