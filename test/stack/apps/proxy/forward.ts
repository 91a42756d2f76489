// The side that browsers see: finds the router for a host, asks for a password where it must, passes the request on.
import { compare } from 'bcryptjs'
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Router, Routes } from './routes.ts'

// These belong to one connection, and here are two.
const PER_CONNECTION = ['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te', 'trailer']

let turn = 0

/** Serves on `port` by the routes of the moment; on TERM it exits when running requests have ended. */
export function listen(port: number, current: () => Routes): void {
  const server = createServer((message, response) => void respond(current(), message, response))
  server.listen(port, () => console.log(`listening on ${port}`))
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  })
}

async function respond(routes: Routes, message: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    await handle(routes, message, response)
  } catch (error) {
    console.error(`${message.method} ${message.headers.host}${message.url}: ${String(error)}`)
    fail(response, 500, 'Internal Server Error')
  }
}

async function handle(routes: Routes, message: IncomingMessage, response: ServerResponse): Promise<void> {
  const host = (message.headers.host ?? '').toLowerCase().replace(/:\d+$/, '')
  const router = routes.routers.find(({ hosts }) => hosts.includes(host))
  if (!router) return fail(response, 404, '404 page not found')
  if (router.users && !(await mayPass(router.users, message.headers.authorization))) {
    response.setHeader('www-authenticate', 'Basic realm="traefik"')
    return fail(response, 401, '401 Unauthorized')
  }
  if (router.dashboard) {
    // Names and addresses only: hashes of passwords are nobody's business.
    const routers = routes.routers.map(({ name, hosts, servers }) => ({ name, hosts, servers }))
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ routers, problems: routes.problems }))
    return
  }
  forward(router, message, response)
}

async function mayPass(users: readonly string[], authorization: string | undefined): Promise<boolean> {
  const [, encoded] = /^Basic (.+)$/.exec(authorization ?? '') ?? []
  if (!encoded) return false
  const [user = '', password = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(/:(.*)/s)
  const entry = users.find((known) => known.startsWith(`${user}:`))
  return entry !== undefined && (await compare(password, entry.slice(user.length + 1)))
}

function forward(router: Router, message: IncomingMessage, response: ServerResponse): void {
  const [host, port] = (router.servers[turn++ % router.servers.length] ?? '').split(':')
  const { method, url: path } = message
  const onward = request(
    { host, port, method, path, headers: passedOn(message.headers), agent: false },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, passedOn(answer.headers))
      answer.pipe(response)
      answer.on('error', () => response.destroy())
    },
  )
  onward.on('error', (error) => {
    console.error(`${method} ${message.headers.host}${path}: ${error.message}`)
    fail(response, 502, 'Bad Gateway')
  })
  response.on('close', () => onward.destroy())
  message.pipe(onward)
}

function passedOn(headers: IncomingMessage['headers']): IncomingMessage['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !PER_CONNECTION.includes(name)))
}

function fail(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent) response.destroy()
  else response.writeHead(status, { 'content-type': 'text/plain' }).end(text)
}
