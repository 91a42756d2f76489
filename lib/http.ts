// One question over HTTP, judged by its content: an answer of 200 is not yet a healthy answer.
import { request as requestHttp, type Agent, type ClientRequest, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { Expected } from './description.ts'

/** What is asked, and which answer is a good one. */
export interface Question {
  readonly url: string
  /** Where the request goes instead of asking DNS (`http://127.0.0.1:8080`); Host and certificate stay the url's. */
  readonly via?: string
  /** The one good status; 200 when nothing is said. */
  readonly status?: number
  readonly json?: Expected
}

export interface Answer {
  readonly ok: boolean
  /** The HTTP status; undefined when there was no answer. */
  readonly status: number | undefined
  /** What was answered and what is wrong with it, without the address: `answered 503, expected 200`. */
  readonly evidence: string
  /** The body, when it is JSON. */
  readonly body?: unknown
  /** From the start of the request to the end of the answer. */
  readonly ms: number
}

const LARGEST = 64 * 1024 // bytes of a body that are looked at

/**
 * Asks one address and judges the answer. Takes at most `timeoutMs`, however slowly the other side talks, and never
 * rejects: whatever goes wrong is the evidence. Redirects are answers like any other. Certificates are verified.
 * @param agent keeps connections between questions; without it each question has a connection of its own.
 */
export function askAddress(
  { url, via, status: expected = 200, json }: Question,
  timeoutMs: number,
  agent?: Agent,
): Promise<Answer> {
  const began = performance.now()
  const named = new URL(url)
  const target = new URL(via ?? url)
  target.pathname = named.pathname
  target.search = named.search
  const request = target.protocol === 'https:' ? requestHttps : requestHttp

  return new Promise((resolve) => {
    let settled = false
    let asked: ClientRequest
    const settle = (answer: Omit<Answer, 'ms'>): void => {
      settled = true
      clearTimeout(timer)
      resolve({ ...answer, ms: Math.round(performance.now() - began) })
    }
    const fail = (evidence: string): void => settle({ ok: false, status: undefined, evidence })
    const giveUp = (): void => {
      if (settled) return
      fail(`no complete answer within ${timeoutMs} ms`)
      asked.destroy()
    }
    // An answer that came while this process was held up is read before the time is called.
    const timer = setTimeout(() => setImmediate(giveUp), timeoutMs)

    const attempt = (using: Agent | false): void => {
      let answered = false
      const broken = (error: NodeJS.ErrnoException): void => {
        if (settled) return
        // The server had closed the kept connection just before: that says nothing about the next visitor.
        const stale = !answered && asked.reusedSocket && /^(ECONNRESET|EPIPE)$/.test(error.code ?? '')
        const why = clipped(error.message || (error.code ?? 'it failed'))
        if (stale) attempt(false)
        else fail(`${answered ? 'no complete answer' : 'no answer'}: ${why}`)
      }
      // The Host header is also the name that TLS asks for and verifies.
      asked = request(target, { agent: using, headers: { host: named.host } })
      asked.on('error', broken)
      asked.on('response', (answer) => {
        answered = true
        answer.on('error', broken)
        readBounded(answer, (text) => {
          const { statusCode: status, headers } = answer
          const to = headers.location === undefined ? '' : ` (to ${clipped(headers.location)})`
          const body = text === undefined ? undefined : parsed(text)
          const wrong = status === expected ? wrongIn(body, text, json) : `expected ${expected}`
          const evidence = `answered ${status}${to}${wrong === undefined ? '' : `, ${wrong}`}`
          settle({ ok: wrong === undefined, status, evidence, body })
        })
      })
      asked.end()
    }
    attempt(agent ?? false)
  })
}

/** Calls back with the whole body; or with undefined, and reads no further, when it is larger than what is looked at. */
function readBounded(answer: IncomingMessage, done: (text: string | undefined) => void): void {
  const chunks: Buffer[] = []
  let size = 0
  answer.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    size += chunk.length
    if (size <= LARGEST) return
    done(undefined)
    answer.destroy()
  })
  answer.on('end', () => done(Buffer.concat(chunks).toString('utf8')))
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // JSON has no undefined: this is not JSON
  }
}

function wrongIn(body: unknown, text: string | undefined, json: Expected | undefined): string | undefined {
  if (json === undefined) return undefined
  if (text === undefined) return `but its body is larger than ${LARGEST / 1024} KiB`
  if (body === undefined) return 'but its body is not JSON'
  const wrong = isExpected(body, json)
  return wrong && `but ${wrong}`
}

/**
 * Compares values in a parsed JSON body, named by their dotted path, with those that are good for each. Returns
 * undefined, or what is wrong: `services.translation.status is 'down', expected 'up'`.
 */
export function isExpected(body: unknown, expected: Expected): string | undefined {
  for (const [path, good] of Object.entries(expected)) {
    const value = path.split('.').reduce(valueOf, body)
    if (!good.includes(value)) return `${path} is ${shown(value)}, expected ${good.map(shown).join(' or ')}`
  }
  return undefined
}

/** The value under a key; undefined when it has none of its own. */
function valueOf(from: unknown, key: string): unknown {
  if (typeof from !== 'object' || from === null || !Object.hasOwn(from, key)) return undefined
  return (from as Record<string, unknown>)[key]
}

function shown(value: unknown): string {
  if (value === undefined) return 'missing'
  if (typeof value === 'string') return `'${clipped(value)}'`
  return typeof value === 'object' && value !== null ? 'an object or a list' : JSON.stringify(value)
}

const LONGEST = 200 // characters of a foreign text in a sentence

/** A text from outside, fit to be shown: no control characters that a terminal would obey, and not endless. */
export function clipped(text: string): string {
  const plain = text.replace(/\p{C}+/gu, ' ')
  return plain.length > LONGEST ? `${plain.slice(0, LONGEST)}…` : plain
}
