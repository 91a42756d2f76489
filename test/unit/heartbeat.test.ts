import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createTcp, type AddressInfo, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { ROOT } from '../../lib/env.ts'
import { beat, wrongHeartbeat, type Beat } from '../../lib/heartbeat.ts'

const TOKEN = '5e0c1b0a-SECRET-TOKEN'

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

interface Got {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly body: string
}

/** A service that answers its nth request by the nth handler, the last one again and again, and what it was asked. */
async function service(...handlers: RequestListener[]): Promise<{ url: string; got: Got[] }> {
  const got: Got[] = []
  const server = createHttp((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => (body += text))
    request.on('end', () => {
      got.push({ method: request.method, url: request.url, body })
      const handler = handlers[Math.min(got.length, handlers.length) - 1]
      handler?.(request, response)
    })
  })
  return { url: `http://127.0.0.1:${await listening(server)}/${TOKEN}`, got }
}

const ok: RequestListener = (_, response) => void response.end('OK')
const answers =
  (status: number, headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    void response.writeHead(status, headers).end()
const silence: RequestListener = () => {}

/** What was said, and how long it took in ms. */
async function told(
  url: string,
  what: Beat = 'success',
  body?: string,
): Promise<{ said: string[]; ms: number }> {
  const said: string[] = []
  const began = performance.now()
  await beat(url, what, { say: (text) => said.push(text), ...(body !== undefined && { body }) })
  return { said, ms: performance.now() - began }
}

/** Exactly one sentence, with the host's name and nothing else of the address. */
function oneSentence(said: readonly string[], why: RegExp): void {
  assert.equal(said.length, 1, said.join('\n'))
  assert.match(said[0] ?? '', why)
  assert.match(said[0] ?? '', /^The heartbeat \(\w+\) was not delivered to [\w.]+: [^\n]+\.$/)
  assert.doesNotMatch(said[0] ?? '', /SECRET|5e0c1b0a|http:/)
}

describe('the convention', () => {
  test('start, success and failure go to their paths, with a line of text, and nothing is said', async () => {
    const { url, got } = await service(ok)
    for (const what of ['start', 'success', 'failure'] as const)
      assert.deepEqual((await told(url, what, `backup: ${what}`)).said, [])
    assert.deepEqual(got, [
      { method: 'POST', url: `/${TOKEN}/start`, body: 'backup: start' },
      { method: 'POST', url: `/${TOKEN}`, body: 'backup: success' },
      { method: 'POST', url: `/${TOKEN}/fail`, body: 'backup: failure' },
    ])
  })

  test('the query stays behind the path, a last slash is not doubled, a path below the root works', async () => {
    const { url, got } = await service(ok)
    const root = new URL(url).origin
    await told(`${url}/slug?create=1&x=a/b`, 'start')
    await told(`${url}/slug?create=1`, 'success')
    await told(`${url}/?create=1`, 'failure')
    await told(`${url}/`, 'success')
    await told(root, 'start')
    await told(`${url}/start#fragment`, 'failure')
    assert.deepEqual(
      got.map((g) => g.url),
      [
        `/${TOKEN}/slug/start?create=1&x=a/b`,
        `/${TOKEN}/slug?create=1`,
        `/${TOKEN}/fail?create=1`,
        `/${TOKEN}/`,
        '/start',
        `/${TOKEN}/start/fail`,
      ],
    )
  })

  test('the body is empty, or one bounded line without control characters', async () => {
    const { url, got } = await service(ok)
    await told(url, 'success')
    await told(url, 'success', 'two\nlines \u001b[31mé日本')
    await told(url, 'success', 'x'.repeat(100_000))
    assert.equal(got[0]?.body, '')
    assert.equal(got[1]?.body, 'two lines  [31mé日本')
    assert.ok((got[2]?.body.length ?? 0) < 1_000)
  })

  test('any answer of 200 to 299 will do, however slowly its body comes', async () => {
    const { url } = await service(answers(204), (_, response) => {
      response.writeHead(200, { 'content-length': '1000000' })
      response.write('O') // the rest never comes
    })
    assert.deepEqual((await told(url)).said, [])
    const slow = await told(url)
    assert.deepEqual(slow.said, [])
    assert.ok(slow.ms < 1_000, `${slow.ms} ms`)
  })
})

describe('a failure is one sentence without the address, in bounded time', () => {
  test('an error of the server is tried once more', async () => {
    const { url, got } = await service(answers(500))
    oneSentence((await told(url, 'failure')).said, /\(failure\).*127\.0\.0\.1: it answered 500\./)
    assert.equal(got.length, 2)
  })

  test('nothing is said when the second try does it', async () => {
    const { url, got } = await service(answers(503), ok)
    assert.deepEqual((await told(url)).said, [])
    assert.equal(got.length, 2)
  })

  test('a refusal is not repeated: the address is wrong', async () => {
    const { url, got } = await service(answers(404))
    oneSentence((await told(url)).said, /it answered 404/)
    assert.equal(got.length, 1)
  })

  test('a redirect is not followed', async () => {
    const elsewhere = await service(ok)
    const { url, got } = await service(answers(302, { location: elsewhere.url }))
    oneSentence((await told(url)).said, /it answered 302, and a redirect is not followed/)
    assert.equal(got.length, 1)
    assert.equal(elsewhere.got.length, 0)
  })

  test('a server that accepts and never answers', { timeout: 8_000 }, async () => {
    const { url, got } = await service(silence)
    const { said, ms } = await told(url, 'start')
    oneSentence(said, /\(start\).*no answer within 5 s/)
    assert.ok(ms >= 4_900 && ms < 5_500, `${ms} ms`)
    assert.equal(got.length, 1)
  })

  test('an error first and silence then: 5 s in all', { timeout: 8_000 }, async () => {
    const late: RequestListener = (_, response) => setTimeout(() => response.writeHead(500).end(), 1_000)
    const { url } = await service(late, silence)
    const { said, ms } = await told(url)
    oneSentence(said, /no answer within 5 s/)
    assert.ok(ms < 5_500, `${ms} ms`)
  })

  test('a connection that is refused, or cut', async () => {
    const closed = createTcp()
    const port = await listening(closed)
    await new Promise((resolve) => closed.close(resolve))
    oneSentence((await told(`http://127.0.0.1:${port}/${TOKEN}`)).said, /ECONNREFUSED/)
    oneSentence((await told(`http://localhost:${port}/${TOKEN}`)).said, /localhost: .*ECONNREFUSED/)

    const cut = await listening(createTcp((socket) => socket.destroy()))
    oneSentence((await told(`http://127.0.0.1:${cut}/${TOKEN}`)).said, /socket hang up|ECONNRESET/)
    const noise = await listening(createTcp((socket) => socket.end('what?\r\n\r\n')))
    oneSentence((await told(`http://127.0.0.1:${noise}/${TOKEN}`)).said, /Parse Error/)
  })

  test('a host that does not exist, a server that speaks no TLS', async () => {
    const nowhere = await told(`https://nobody.invalid/${TOKEN}`)
    oneSentence(nowhere.said, /nobody\.invalid: /)
    const { url } = await service(ok)
    oneSentence((await told(url.replace('http:', 'https:'))).said, /127\.0\.0\.1: /)
  })

  test('an address that cannot be used never throws', async () => {
    for (const url of ['', 'nonsense', `ftp://h/${TOKEN}`, `http://${TOKEN}%zz:x@127.0.0.1:9/x`]) {
      const { said } = await told(url)
      assert.equal(said.length, 1)
      assert.doesNotMatch(said[0] ?? '', /SECRET/)
    }
  })
})

test('a process ends at once when it is done, whatever the server still sends', async () => {
  const { url } = await service((_, response) => void response.writeHead(200).write('O'))
  const lines = [
    `import { beat } from ${JSON.stringify(join(ROOT, 'lib/heartbeat.ts'))}`,
    `await beat(${JSON.stringify(url)}, 'success', { say: console.log })`,
    `console.log('done')`,
    `setTimeout(() => console.log('still here'), 1_000).unref()`,
  ]
  const args = ['--import', 'tsx', '--input-type=module', '--eval', lines.join('\n')]
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text))
  const [code] = (await once(child, 'close')) as [number]
  assert.deepEqual({ code, printed }, { code: 0, printed: 'done\n' })
})

test('wrongHeartbeat takes http and https only, and does not repeat what is a secret', () => {
  for (const good of ['https://hc-ping.com/uuid', 'http://127.0.0.1:8000/ping/x?y=1'])
    assert.equal(wrongHeartbeat(good), undefined)
  for (const bad of ['', TOKEN, `hc-ping.com/${TOKEN}`, `ftp://h/${TOKEN}`, `file:///${TOKEN}`, 'https://']) {
    assert.match(wrongHeartbeat(bad) ?? '', /^must be like https/)
    assert.doesNotMatch(wrongHeartbeat(bad) ?? '', /SECRET/)
  }
})
