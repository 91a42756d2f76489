import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { once } from 'node:events'
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

    const { outages, requests, from, to, total, longest } = one(await readLedger(prober.file))
    assert.equal(outages.length, 1)
    const { ms, atLeast, atMost = NaN, lastOk = NaN, firstOk, why } = outages[0] ?? assert.fail()
    // On a busy machine the requests themselves are further apart than 50 ms, and the bounds say so.
    const tolerance = Math.max(60, (atMost - atLeast) / 2)
    assert.ok(
      Math.abs(ms - real) <= tolerance,
      `measured ${ms}, really ${real}, bounds ${atLeast} to ${atMost}`,
    )
    assert.ok(atLeast <= real && real <= atMost, `${atLeast} <= ${real} <= ${atMost}`)
    assert.ok(lastOk < (firstOk ?? NaN))
    assert.match(why, /ECONNREFUSED|socket hang up|ECONNRESET/)
    assert.deepEqual([total, longest], [ms, ms])
    assert.ok(
      requests > (to - from) / 50 - 10 && requests <= (to - from) / 50 + 2,
      `${requests} in ${to - from} ms`,
    )
  })

  test('judges by content, asks by way of the proxy, and keeps what was answered', async () => {
    const hosts = new Set<string | undefined>()
    let status = 'up'
    const server = await listen((request, answer) => {
      hosts.add(request.headers.host)
      answer.end(JSON.stringify({ services: { database: { status } } }))
    })
    const url = 'https://gate.example.test/health?deep=1'
    const question = { url, via: urlOf(server), json: { 'services.database.status': ['up'] } }
    const prober = await startProber({ addresses: [question], file: newFile() })
    await delay(200)
    status = 'down'
    await delay(300)
    await prober.stop()
    await close(server)

    const { failed, outages } = one(await readLedger(prober.file), url)
    assert.ok(failed >= 3 && failed <= 8, `${failed} failed`)
    assert.equal(outages[0]?.why, "answered 200, but services.database.status is 'down', expected 'up'")
    assert.equal(outages[0].firstOk, undefined)
    assert.equal(outages[0].atMost, undefined)
    assert.deepEqual([...hosts], ['gate.example.test'])
    assert.equal(statSync(prober.file).mode & 0o777, 0o600)
  })

  test('one address that hangs is asked more and more rarely, and delays no other', async () => {
    let now = 0
    let most = 0
    const hanging = await listen((_, answer) => {
      most = Math.max(most, ++now)
      answer.on('close', () => now--)
    })
    const good = await listen(up)
    const [hung, well] = [urlOf(hanging), urlOf(good)]
    const prober = await startProber({ addresses: [{ url: hung }, { url: well }], file: newFile() })
    await prober.stop() // it starts when each has answered: after 2 s here; and waits for what is owed
    await close(hanging)
    await close(good)

    const ledger = await readLedger(prober.file)
    const bad = one(ledger, hung)
    const fine = one(ledger, well)
    assert.ok(most >= 4 && most <= 11, `${most} at once`)
    assert.equal(bad.failed, bad.requests)
    assert.equal(bad.outages[0]?.why, 'no complete answer within 2000 ms')
    assert.ok(fine.requests >= 30 && fine.requests <= 45, `${fine.requests} in 2 s`)
  })

  test('a slow drip is over after 2 s, a large page counts, an endless one as well', async () => {
    const drip = await listen((_, answer) => {
      const dripping = setInterval(() => answer.write('.'), 100)
      answer.on('close', () => clearInterval(dripping))
    })
    const endless = await listen((_, answer) => {
      const more = (): void => {
        while (answer.write('x'.repeat(16_384)));
      }
      answer.on('drain', more)
      more()
    })
    const [slow, large] = [urlOf(drip), urlOf(endless)]
    const prober = await startProber({ addresses: [{ url: slow }, { url: large }], file: newFile() })
    await prober.stop()
    await close(drip)
    await close(endless)
    const ledger = await readLedger(prober.file)
    assert.equal(one(ledger, slow).outages[0]?.why, 'no complete answer within 2000 ms')
    assert.equal(one(ledger, large).failed, 0)
    assert.ok(one(ledger, large).requests > 20)
  })

  test('connections are kept for a second, and one that the server has closed fails nothing', async () => {
    const server = await listen(up)
    server.keepAliveTimeout = 49 // ms: closes as the next request is on its way
    const patient = await listen(up)
    let kept = 0
    patient.on('connection', () => kept++)
    const [hasty, calm] = [urlOf(server), urlOf(patient)]
    const prober = await startProber({ addresses: [{ url: hasty }, { url: calm }], file: newFile() })
    await delay(3_000)
    await prober.stop()
    await close(server)
    await close(patient)
    const ledger = await readLedger(prober.file)
    assert.equal(one(ledger, hasty).failed, 0, JSON.stringify(one(ledger, hasty).outages))
    assert.equal(one(ledger, calm).failed, 0)
    assert.ok(kept >= 3 && kept <= 6, `${kept} connections`)
  })

  test('waits for the answers that it is owed when it is stopped', async () => {
    let hangs = false
    const server = await listen((request, answer) => {
      if (!hangs) up(request, answer)
    })
    const prober = await startProber({ addresses: [{ url: urlOf(server) }], file: newFile() })
    hangs = true
    await delay(300)
    await prober.stop()
    await close(server)
    const { failed, outages } = one(await readLedger(prober.file))
    assert.ok(failed >= 2 && outages.length === 1, `${failed} failed`)
  })

  test('its own being held up is told, and is no outage', async () => {
    // There is always an answer under way, so that one comes while nobody reads it.
    const server = await listen((_, answer) => void setTimeout(() => answer.end('up'), 200))
    const prober = await startProber({ addresses: [{ url: urlOf(server) }], file: newFile() })
    const pid = proberOf(prober.file)
    await delay(200)
    process.kill(pid, 'SIGSTOP')
    await delay(2_500) // longer than a request may take
    process.kill(pid, 'SIGCONT')
    await delay(300)
    await prober.stop()
    await close(server)
    const { failed, blind } = one(await readLedger(prober.file))
    assert.equal(failed, 0)
    assert.equal(blind.length, 1)
    assert.ok((blind[0]?.ms ?? 0) > 2_300 && (blind[0]?.ms ?? 0) < 2_800, `${blind[0]?.ms} ms`)
  })

  test('ends when its parent is killed, and leaves what it saw', async () => {
    const server = await listen(up)
    const file = newFile()
    const parent = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        '--input-type=module',
        '--eval',
        `
      const { startProber } = await import(${JSON.stringify(new URL('../../lib/prober.ts', import.meta.url).href)})
      await startProber({ addresses: [{ url: ${JSON.stringify(urlOf(server))} }], file: ${JSON.stringify(file)} })
      console.log('started')
      setInterval(() => {}, 1000)
    `,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    await once(parent.stdout, 'data')
    const pid = proberOf(file)
    parent.kill('SIGKILL')
    await until(() => !alive(pid), 5_000)
    await close(server)
    const { requests, failed } = one(await readLedger(file))
    assert.ok(requests > 0)
    assert.equal(failed, 0)
  })

  test('a parent that is done ends, and the prober with it', async () => {
    const server = await listen(up)
    const file = newFile()
    const parent = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        '--input-type=module',
        '--eval',
        `
      const { startProber } = await import(${JSON.stringify(new URL('../../lib/prober.ts', import.meta.url).href)})
      await startProber({ addresses: [{ url: ${JSON.stringify(urlOf(server))} }], file: ${JSON.stringify(file)} })
    `,
      ],
      { stdio: 'inherit' },
    )
    const [code] = await once(parent, 'exit')
    assert.equal(code, 0)
    await until(() => readFileSync(file, 'utf8') !== '', 5_000)
    await close(server)
  })

  test('says so when it ended before it was stopped', async () => {
    const server = await listen(up)
    const addresses = [{ url: urlOf(server) }]
    const limited = await startProber({ addresses, file: newFile(), limitMs: 300 })
    const killed = await startProber({ addresses, file: newFile() })
    process.kill(proberOf(killed.file), 'SIGKILL')
    await delay(500)
    await assert.rejects(
      killed.stop(),
      /The prober has ended by itself \(SIGKILL\), and its ledger .* ends there/,
    )
    await assert.rejects(limited.stop(), /by itself \(exit code 0: Its limit of 0.3 s was over.\)/)
    assert.ok(one(await readLedger(limited.file)).requests >= 4)
    await close(server)
  })

  test('writes into no file that exists, and stops twice as well as once', async () => {
    const file = newFile()
    writeFileSync(file, 'precious')
    await assert.rejects(startProber({ addresses: [{ url: 'http://127.0.0.1:1/' }], file }), /EEXIST/)
    assert.equal(readFileSync(file, 'utf8'), 'precious')
    const prober = await startProber({ addresses: [{ url: 'http://127.0.0.1:1/' }], file: newFile() })
    await Promise.all([prober.stop(), prober.stop()])
  })
})

describe('the ledger', () => {
  const url = 'http://a.test/'
  const line = (t: number, ok: boolean, more: object = {}): LedgerLine => ({
    t,
    address: url,
    ok,
    ms: 3,
    ...more,
  })
  const written = async (...lines: (LedgerLine | string)[]): Promise<AddressLedger> => {
    const file = newFile()
    writeFileSync(file, lines.map((l) => (typeof l === 'string' ? l : `${JSON.stringify(l)}\n`)).join(''))
    return one(await readLedger(file), url)
  }

  test('counts by the start of a request, in whatever order the answers came', async () => {
    const { outages, ...rest } = await written(
      line(1000, true),
      line(1200, true, { ms: 7 }),
      line(1150, false, { ms: 1900, why: 'another' }),
      line(1050, true),
      line(1100, false, { ms: 2000, why: 'no complete answer within 2000 ms' }),
      line(1250, true),
    )
    assert.deepEqual(outages, [
      {
        from: 1100,
        to: 1200,
        ms: 100,
        atLeast: 50,
        atMost: 150,
        lastOk: 1050,
        firstOk: 1200,
        failed: 2,
        why: 'no complete answer within 2000 ms',
      },
    ])
    assert.deepEqual(rest, {
      address: url,
      from: 1000,
      to: 1250,
      requests: 6,
      failed: 2,
      longest: 100,
      total: 100,
      slowest: 7,
      blind: [],
    })
  })

  test('two outages, one from the start on and one until the end', async () => {
    const { outages, longest, total } = await written(
      line(1000, false, { why: 'first' }),
      line(1050, true),
      line(1100, false, { why: 'second' }),
      line(1150, false),
      line(1400, false),
    )
    assert.deepEqual(outages, [
      { from: 1000, to: 1050, ms: 50, atLeast: 0, firstOk: 1050, failed: 1, why: 'first' },
      { from: 1100, to: 1400, ms: 300, atLeast: 300, lastOk: 1050, failed: 3, why: 'second' },
    ])
    assert.deepEqual([longest, total], [300, 350])
  })

  test('takes a torn last line, and no other', async () => {
    const { requests, blind } = await written(line(1, true), { t: 2, address: url, blind: 400 }, '{"t":17955')
    assert.equal(requests, 1)
    assert.deepEqual(blind, [{ from: 2, ms: 400 }])
    await assert.rejects(written(line(1, true), 'x\n', line(2, true)), /line 2 cannot be read/)
  })
})

/** The process that writes this file. */
function proberOf(file: string): number {
  const found = readdirSync('/proc').find(
    (pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && outputOf(pid) === file,
  )
  return found === undefined ? assert.fail('there is no prober') : Number(found)
}

function outputOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/fd/1`)
  } catch {
    return undefined // it ended meanwhile, or is not ours
  }
}

const alive = (pid: number): boolean => existsSync(`/proc/${pid}/fd/1`)

async function until(condition: () => boolean, ms: number): Promise<void> {
  for (const end = Date.now() + ms; !condition(); await delay(20))
    assert.ok(Date.now() < end, `not within ${ms} ms`)
}
