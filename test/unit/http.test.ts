import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { createServer as createTcp, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { askAddress, clipped, isExpected, type Answer, type Question } from '../../lib/http.ts'

const open: { server: Server; sockets: Set<Socket> }[] = []
after(() => {
  for (const { server, sockets } of open) {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
})

async function listening(server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  open.push({ server, sockets })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

async function ask(
  handler: RequestListener,
  more: Omit<Question, 'url'> = {},
  timeoutMs = 2_000,
): Promise<Answer> {
  const port = await listening(createHttp(handler))
  return askAddress({ url: `http://127.0.0.1:${port}/health`, ...more }, timeoutMs)
}

/** Answers each connection with these bytes. */
async function askRaw(bytes: string, more: Omit<Question, 'url'> = {}): Promise<Answer> {
  const port = await listening(createTcp((socket) => void socket.once('data', () => socket.end(bytes))))
  return askAddress({ url: `http://127.0.0.1:${port}/health`, ...more }, 2_000)
}

describe('isExpected', () => {
  const body = {
    status: 'up',
    services: { database: { status: 'up', userCount: 12 }, translation: { status: 'down' } },
    'a.b': 1,
  }

  test('is silent when every value is one of those named', () => {
    assert.equal(
      isExpected(body, { status: ['healthy', 'up'], 'services.database.userCount': [12] }),
      undefined,
    )
    assert.equal(isExpected(body, {}), undefined)
    assert.equal(isExpected({ list: [{ ok: true }] }, { 'list.0.ok': [true] }), undefined)
  })

  test('says what is wrong in one sentence', () => {
    const wrong = (path: string, ...good: unknown[]): string | undefined => isExpected(body, { [path]: good })
    assert.equal(
      wrong('services.translation.status', 'up'),
      "services.translation.status is 'down', expected 'up'",
    )
    assert.equal(
      wrong('services.queue.status', 'up', 'idle'),
      "services.queue.status is missing, expected 'up' or 'idle'",
    )
    assert.equal(
      wrong('services.database.userCount', '12'),
      "services.database.userCount is 12, expected '12'",
    )
    assert.equal(wrong('services', 'up'), "services is an object or a list, expected 'up'")
    assert.equal(
      wrong('services.database.__proto__', 'up'),
      "services.database.__proto__ is missing, expected 'up'",
    )
    assert.equal(wrong('status.length', 2), 'status.length is missing, expected 2')
    assert.equal(isExpected(null, { a: [true] }), 'a is missing, expected true')
    assert.equal(isExpected('up', { a: [null] }), 'a is missing, expected null')
  })

  test('shows no control characters and no endless texts', () => {
    assert.equal(isExpected({ a: '\u001b[2J\u009bx\n' }, { a: ['up'] }), "a is ' [2J x ', expected 'up'")
    assert.equal(clipped('é'.repeat(500)), `${'é'.repeat(200)}…`)
  })
})

describe('askAddress', () => {
  const json = { status: ['up'] }

  test('a good answer, with its body', async () => {
    const answer = await ask((_, a) => void a.end('{"status":"up","users":3}'), { json })
    assert.deepEqual(
      { ...answer, ms: 0 },
      { ok: true, status: 200, evidence: 'answered 200', body: { status: 'up', users: 3 }, ms: 0 },
    )
  })

  test('200 with a wrong body, another status, a redirect', async () => {
    assert.equal(
      (await ask((_, a) => void a.end('{"status":"down"}'), { json })).evidence,
      "answered 200, but status is 'down', expected 'up'",
    )
    assert.equal(
      (await ask((_, a) => void a.end('<html>'), { json })).evidence,
      'answered 200, but its body is not JSON',
    )
    assert.equal(
      (await ask((_, a) => void a.writeHead(503).end('{"status":"up"}'), { json })).evidence,
      'answered 503, expected 200',
    )
    assert.equal((await ask((_, a) => void a.writeHead(401).end(), { status: 401 })).ok, true)
    const moved = await ask((_, a) => void a.writeHead(301, { location: 'https://elsewhere.test/' }).end())
    assert.equal(moved.evidence, 'answered 301 (to https://elsewhere.test/), expected 200')
  })

  test('a body that never ends is read no further than 64 KiB', async () => {
    let sent = 0
    const flood: RequestListener = (_, a) => {
      const more = (): void => {
        do sent += 16_384
        while (a.write('x'.repeat(16_384)))
      }
      a.on('drain', more)
      more()
    }
    assert.equal((await ask(flood, { json })).evidence, 'answered 200, but its body is larger than 64 KiB')
    assert.equal((await ask(flood)).ok, true)
    assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes`)
    const deep = await ask((_, a) => void a.end('['.repeat(60_000)), { json })
    assert.equal(deep.evidence, 'answered 200, but its body is not JSON')
  })

  test('takes no longer than it may: silence, a slow drip, headers that never end', async () => {
    const hostile: RequestListener[] = [
      () => {},
      (_, a) => void setInterval(() => a.write(' '), 20).unref(),
      (r) => void setInterval(() => r.socket.write('X-Drip: 1\r\n'), 20).unref(),
    ]
    for (const handler of hostile) {
      const { ok, evidence, ms } = await ask(handler, { json }, 300)
      assert.equal(ok, false)
      assert.match(evidence, /no complete answer within 300 ms|no answer: Parse Error/)
      assert.ok(ms < 500, `${ms} ms`)
    }
  })

  test('an answer that breaks off, and what is no HTTP', async () => {
    const head = 'HTTP/1.1 200 OK\r\n'
    assert.match(
      (await askRaw(`${head}Content-Length: 100\r\n\r\n{`)).evidence,
      /^no complete answer: aborted/,
    )
    assert.match(
      (await askRaw(`${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`)).evidence,
      /^no complete answer: /,
    )
    assert.match((await askRaw('SSH-2.0-OpenSSH_9.2\r\n')).evidence, /^no answer: Parse Error/)
    assert.match((await askRaw('')).evidence, /^no answer: socket hang up/)
    assert.match(
      (await askRaw(`${head}X: ${'y'.repeat(20_000)}\r\n\r\n`)).evidence,
      /^no answer: Parse Error: Header overflow/,
    )
    assert.match(
      (await askRaw('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'))
        .evidence,
      /^no /,
    )
  })

  test('nobody listens; the name is not known', async () => {
    assert.match(
      (await askAddress({ url: 'http://127.0.0.1:1/' }, 2_000)).evidence,
      /^no answer: connect ECONNREFUSED/,
    )
    assert.match(
      (await askAddress({ url: 'http://nowhere.invalid/' }, 5_000)).evidence,
      /^no answer: getaddrinfo/,
    )
  })

  test('by way of a proxy: path, query and Host are those of the public address', async () => {
    let seen = ''
    const port = await listening(createHttp((r, a) => void a.end((seen = `${r.headers.host} ${r.url}`))))
    const via = `http://127.0.0.1:${port}`
    await askAddress({ url: 'https://gate.example.test:8443//health?x=1', via }, 2_000)
    assert.equal(seen, 'gate.example.test:8443 //health?x=1')
  })

  test('a kept connection that the server has just closed is not a failure; a server that closes each is', async () => {
    let connections = 0
    const good = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup'
    const port = await listening(
      createTcp((socket) => {
        connections++
        socket.once('data', () => {
          socket.write(good)
          socket.on('data', () => socket.resetAndDestroy())
        })
      }),
    )
    const agent = new Agent({ keepAlive: true })
    const url = `http://127.0.0.1:${port}/`
    const evidence = [1, 2, 3].map(() => '')
    for (const i of evidence.keys()) evidence[i] = (await askAddress({ url }, 2_000, agent)).evidence
    agent.destroy()
    assert.deepEqual(evidence, ['answered 200', 'answered 200', 'answered 200'])
    assert.equal(connections, 3)
    const { evidence: alone } = await askRaw('')
    assert.equal(alone, 'no answer: socket hang up')
  })

  const openssl = spawnSync('openssl', ['version']).status === 0
  test(
    'https: the certificate is verified, also when the proxy is asked by its number',
    { skip: openssl ? false : 'there is no openssl to make a certificate' },
    async () => {
      const dir = mkdtempSync(join(tmpdir(), 'https-'))
      try {
        const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
        const words = [
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:P-256',
          '-nodes',
          '-days',
          '2',
          '-subj',
          '/CN=gate.example.test',
          '-addext',
          'subjectAltName=DNS:gate.example.test',
          '-keyout',
          key,
          '-out',
          cert,
        ]
        execFileSync('openssl', words, { stdio: 'ignore' })
        const port = await listening(
          createHttps({ key: readFileSync(key), cert: readFileSync(cert) }, (_, a) => void a.end('up')),
        )
        const via = `https://127.0.0.1:${port}`
        const self = await askAddress({ url: 'https://gate.example.test/', via }, 2_000)
        assert.match(self.evidence, /^no answer: self-signed certificate/)

        // Who trusts the certificate must say so when node starts.
        const program = `
        const { askAddress } = await import(${JSON.stringify(new URL('../../lib/http.ts', import.meta.url).href)})
        for (const url of ['https://gate.example.test/', 'https://other.example.test/'])
          console.log((await askAddress({ url, via: ${JSON.stringify(via)} }, 2000)).evidence)`
        const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
          env: { ...process.env, NODE_EXTRA_CA_CERTS: cert, NODE_TLS_REJECT_UNAUTHORIZED: '' },
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        const lines = (await child.stdout.setEncoding('utf8').toArray()).join('').trim().split('\n')
        assert.equal(lines[0], 'answered 200')
        assert.match(lines[1] ?? '', /^no answer: Hostname\/IP does not match certificate's altnames/)
      } finally {
        rmSync(dir, { recursive: true })
      }
    },
  )
})
