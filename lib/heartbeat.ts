// Tells a monitoring service that a backup starts and how it ended, by the convention of healthchecks.io: URL/start,
// URL, URL/fail. The service raises the alarm when nothing comes. Whatever goes wrong here is said, and no more.
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, EXIT, sentence } from './errors.ts'
import { clipped } from './http.ts'

const PATIENCE = 5_000 // ms for everything: a backup does not wait for its monitoring
const PAUSE = 250 // ms before the second try

const PATHS = { start: '/start', success: '', failure: '/fail' } as const

/** What is told. */
export type Beat = keyof typeof PATHS

/** What is wrong with a heartbeat's address, as words that follow its key; undefined when it can be used. */
export function wrongHeartbeat(value: string): string | undefined {
  const url = URL.canParse(value) ? new URL(value) : undefined
  return url && /^https?:$/.test(url.protocol) ? undefined : 'must be like https://hc-ping.com/your-uuid'
}

/**
 * Tells the service at `url` of one beat, with `body` as its one line of text. It takes at most 5 s, tries twice at
 * most, follows no redirect, and never rejects: a failure is one sentence for `say`, with the host's name and nothing
 * else of the address, which holds a token.
 */
export async function beat(
  url: string,
  what: Beat,
  { say, body = '' }: { say: (text: string) => void; body?: string },
): Promise<void> {
  if (wrongHeartbeat(url) !== undefined) return say('The heartbeat was not sent: its address is none.')
  const address = new URL(url)
  if (PATHS[what]) address.pathname = address.pathname.replace(/\/+$/, '') + PATHS[what]
  const end = performance.now() + PATIENCE
  const tell = (): Promise<Wrong | undefined> =>
    post(address, clipped(body), end - performance.now()).catch((error: unknown) => ({
      why: clipped(sentence(error)), // of an address that node does not take
      again: false,
    }))
  let wrong = await tell()
  if (wrong?.again) {
    await delay(PAUSE)
    wrong = await tell()
  }
  if (wrong) say(`The heartbeat (${what}) was not delivered to ${address.hostname}: ${wrong.why}.`)
}

/** How a run ended, and what a person should look at although it is done. */
export interface Ended {
  readonly exitCode: number
  readonly attention: readonly string[]
}

/** Tells `url` of the start and the end of `what`. What needs a person's attention is no success there. */
export async function withHeartbeat(
  { url, what }: { readonly url: string; readonly what: string },
  work: () => Promise<Ended>,
): Promise<Ended> {
  const say = (text: string): void => void process.stderr.write(`${text}\n`)
  await beat(url, 'start', { say, body: what })
  try {
    const ended = await work()
    const good = ended.exitCode === EXIT.done && ended.attention.length === 0
    const look = ended.attention.length === 0 ? '' : `, ${ended.attention.length} things to look at`
    await beat(url, good ? 'success' : 'failure', {
      say,
      body: `${what}: exit code ${ended.exitCode}${look}`,
    })
    return ended
  } catch (error) {
    await beat(url, 'failure', { say, body: `${what}: exit code ${codeOf(error)}` })
    throw error
  }
}

interface Wrong {
  readonly why: string
  /** It may be better when it is tried again. */
  readonly again: boolean
}

/** Posts a text, and resolves with what was wrong. */
function post(address: URL, body: string, timeoutMs: number): Promise<Wrong | undefined> {
  return new Promise((resolve) => {
    const request = address.protocol === 'https:' ? requestHttps : requestHttp
    const headers = { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(body) }
    const asked = request(address, { method: 'POST', headers, agent: false })
    const settle = (result?: Wrong): void => {
      clearTimeout(timer)
      resolve(result)
      asked.destroy() // of the answer nothing but its status is wanted
    }
    const late = { why: `no answer within ${PATIENCE / 1000} s`, again: false }
    const timer = setTimeout(() => settle(late), timeoutMs)
    asked.on('error', ({ message, code = '' }: NodeJS.ErrnoException) => {
      settle({ why: clipped(message || code), again: true })
    })
    asked.on('response', ({ statusCode: status = 0 }) => {
      const redirect = status >= 300 && status < 400 ? ', and a redirect is not followed' : ''
      if (status >= 200 && status < 300) settle()
      else settle({ why: `it answered ${status}${redirect}`, again: status >= 500 })
    })
    asked.end(body)
  })
}
