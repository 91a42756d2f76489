// What the stand-in applications need of a web framework, and no more.
import { createReadStream } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'

/** An answer: JSON unless `type` is given; `file` is streamed from that path. */
export type Reply = { status?: number } & (
  { json: unknown } | { text: string | Buffer; type?: string } | { file: string; type?: string }
)

export interface Request {
  readonly url: URL
  /** The decoded groups of the route's pattern. */
  readonly params: readonly string[]
  readonly headers: IncomingMessage['headers']
  /** The whole body, at most `MAX_BODY` bytes; throws HttpError 413 beyond. */
  readonly body: () => Promise<Buffer>
}

export type Route = readonly [
  method: string,
  path: RegExp,
  handle: (request: Request) => Reply | Promise<Reply>,
]

/** Thrown by a handler: the answer is this status with `{error}`. */
export class HttpError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

const MAX_BODY = 32 * 1024 * 1024 // bytes

async function readBody(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY) throw new HttpError(413, 'the body is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function answer(routes: readonly Route[], message: IncomingMessage): Promise<Reply> {
  const url = new URL(message.url ?? '/', 'http://localhost')
  for (const [method, path, handle] of routes) {
    const asked = message.method === 'HEAD' ? 'GET' : message.method // Node leaves the body out by itself
    const match = asked === method && path.exec(url.pathname)
    if (!match) continue
    const params = match.slice(1).map(decodeURIComponent)
    return await handle({ url, params, headers: message.headers, body: () => readBody(message) })
  }
  throw new HttpError(404, `no ${message.method} ${url.pathname} here`)
}

async function respond(
  routes: readonly Route[],
  message: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const reply = await answer(routes, message).catch((error: unknown): Reply => {
      if (error instanceof HttpError) return { status: error.status, json: { error: error.message } }
      console.error(`${message.method} ${message.url}: ${String(error)}`)
      return { status: 503, json: { error: String(error) } }
    })
    response.statusCode = reply.status ?? 200
    if ('json' in reply) {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(reply.json))
      return
    }
    response.setHeader('content-type', reply.type ?? 'application/octet-stream')
    if ('text' in reply) response.end(reply.text)
    else await pipeline(createReadStream(reply.file), response)
  } catch (error) {
    console.error(`${message.method} ${message.url}: ${String(error)}`)
    response.destroy()
  }
}

/**
 * Listens on `port` and answers by the first route that fits; an unexpected error is logged and answered with 503,
 * since what fails in a stand-in is the service behind it. On TERM it stops listening, lets running requests end and
 * exits with 0.
 */
export function serve(port: number, routes: readonly Route[]): void {
  const server = createServer((message, response) => void respond(routes, message, response))
  server.listen(port, () => console.log(`listening on ${port}`))
  process.removeAllListeners('SIGTERM').on('SIGTERM', () => {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  })
}
