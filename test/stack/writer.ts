// Users: a bounded load on a stack through its public addresses alone, and the record of what was acknowledged.
//
//   node --import tsx test/stack/writer.ts --port 20001 --file acknowledged.jsonl [--rate 10] [--limit 5000]
//        [--seconds 600] [--domain rehearsal.test]      writes until it is interrupted or a limit is reached
//   node --import tsx test/stack/writer.ts --port 20001 --file acknowledged.jsonl --check
//        reads everything back that the file says was acknowledged; ends with 1 when something is lost or wrong
import { fork } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, realpathSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Stack } from './stack.ts'

type Kind = 'message' | 'key' | 'upload' | 'avatar'

/** One line of the record: a write that was acknowledged, with what is needed to find it again. */
export interface Acknowledged {
  readonly kind: Kind
  /** The message's id, the key, the upload's path, the avatar's path. */
  readonly id: string
  /** sha256 of the content, in hexadecimal. */
  readonly hash: string
  /** The second document of a message. */
  readonly statusId?: string
  /** ms since the epoch, when the answer had arrived. */
  readonly at: number
}

export interface WriterSummary {
  readonly acknowledged: number
  readonly failed: number
}

export interface Finding {
  readonly kind: Kind
  readonly id: string
  /** What was seen instead. */
  readonly why: string
}

export interface CheckResult {
  readonly checked: number
  /** Answered with 404, or the message without its status. */
  readonly lost: Finding[]
  /** Another content, or no clear answer even after several attempts. */
  readonly wrong: Finding[]
}

export interface WriterOptions {
  /** Writes per second, all kinds together; 10 when left out. */
  readonly ratePerSecond?: number
  /** Writes after which it stops by itself; 5000 when left out. */
  readonly limit?: number
  /** Seconds after which it stops by itself; 600 when left out. */
  readonly seconds?: number
  /** The record, JSON lines; `writer.jsonl` beside the stack's folder when left out. Overwritten. */
  readonly file?: string
}

export interface Writer {
  readonly file: string
  /** Lets running requests end, then the writer. Gives the same summary when it has stopped by itself before. */
  stop(): Promise<WriterSummary>
  /** Reads everything acknowledged back through the public addresses. Only after `stop`. */
  check(): Promise<CheckResult>
}

/** Where the public addresses are. */
export type Target = Pick<Stack, 'proxyPort' | 'domain'>

const WRITING = 'writing' // what the process tells after its first acknowledged write
const STOP = 'stop' // what it is told
const PATIENCE = 5_000 // ms for one answer
const MOST_IN_FLIGHT = 16 // requests: users who wait do not write
const CHECKS_AT_ONCE = 8
const ATTEMPTS = 5
const OBJECT_ID = /^[0-9a-f]{24}$/ // legacy data holds ids of other types too
const NO_ROUTE = '404 page not found' // the proxy's own words while no container stands behind a host

/**
 * Starts the writer in a process of its own, which ends with this one, and returns when its first write was
 * acknowledged.
 * @throws Error when it ends before, with what it said.
 */
export async function startWriter(
  stack: Target & Pick<Stack, 'dir'>,
  options: WriterOptions = {},
): Promise<Writer> {
  const { ratePerSecond = 10, limit = 5_000, seconds = 600 } = options
  const file = options.file ?? `${stack.dir}.writer.jsonl`
  const numbers = { port: stack.proxyPort, rate: ratePerSecond, limit, seconds }
  const flags = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)])
  const child = fork(import.meta.filename, [...flags, '--domain', stack.domain, '--file', file], {
    execArgv: ['--import', import.meta.resolve('tsx')],
  })
  const exited = once(child, 'exit')
  let summary: WriterSummary | undefined
  await new Promise<void>((resolve, reject) => {
    child.on('message', (said: typeof WRITING | WriterSummary) => {
      if (said === WRITING) resolve()
      else summary = said
    })
    child.on('exit', () => reject(new Error('The writer ended before anything was acknowledged.')))
    child.on('error', reject)
  })
  return {
    file,
    stop: async () => {
      if (child.connected) child.send(STOP)
      await exited
      if (!summary) throw new Error(`The writer ended without a summary. Its record: ${file}`)
      return summary
    },
    check: () => check(stack, file),
  }
}

/** Writes at the given rate until a limit is reached or `end` is aborted; `onFirst` is called at the first success. */
export async function write(
  target: Target,
  { ratePerSecond, limit, seconds, file }: Required<WriterOptions>,
  end: AbortSignal,
  onFirst: () => void,
): Promise<WriterSummary> {
  writeFileSync(file, '', { mode: 0o600 })
  const http = client(target)
  const run = randomBytes(4).toString('hex')
  const until = AbortSignal.any([end, AbortSignal.timeout(seconds * 1000)])
  const places = await conversationsWithMembers(http, until)
  const inFlight = new Set<Promise<void>>()
  let [acknowledged, failed] = [0, 0]

  let lastMessage: string | undefined
  const started = performance.now()
  for (let n = 0; n < limit && !until.aborted; n++) {
    const due = started + (n * 1000) / ratePerSecond
    await delay(Math.max(0, due - performance.now()), undefined, { signal: until }).catch(() => {})
    while (inFlight.size >= MOST_IN_FLIGHT) await Promise.race(inFlight)
    if (until.aborted) break
    const place = places[n % places.length]
    if (!place) throw new Error('The stack has no conversation with members to write in.')
    const attempt = writeOne(http, run, n, place, lastMessage).then(
      (entry) => {
        if (acknowledged++ === 0) onFirst()
        if (entry.kind === 'message') lastMessage = entry.id
        appendFileSync(file, `${JSON.stringify({ ...entry, at: Date.now() })}\n`)
      },
      () => void failed++, // expected while the stack is down; an unacknowledged write may be lost
    )
    const tracked = attempt.finally(() => inFlight.delete(tracked))
    inFlight.add(tracked)
  }
  await Promise.all(inFlight)
  http.close()
  return { acknowledged, failed }
}

/** Reads back what the record says was acknowledged. @throws Error when the record cannot be read. */
export async function check(target: Target, file: string): Promise<CheckResult> {
  const entries = (await readFile(file, 'utf8'))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Acknowledged)
  const http = client(target)
  const [lost, wrong]: [Finding[], Finding[]] = [[], []]
  const queue = entries.values()
  const work = async (): Promise<void> => {
    for (const { kind, id, hash, statusId } of queue) {
      const seen = await look(http, { kind, id, hash, statusId })
      if (seen) (seen.lost ? lost : wrong).push({ kind, id, why: seen.why })
    }
  }
  await Promise.all(Array.from({ length: CHECKS_AT_ONCE }, work))
  http.close()
  return { checked: entries.length, lost, wrong }
}

interface Answer {
  readonly status: number
  readonly body: Buffer
}

interface Client {
  send(method: string, host: string, path: string, body?: Buffer | string): Promise<Answer>
  close(): void
}

/** Sends requests to the proxy by the names that the public knows: '' for the site itself, `gate`, `static`. */
function client({ proxyPort, domain }: Target): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: MOST_IN_FLIGHT })
  const send: Client['send'] = (method, host, path, body) =>
    new Promise((resolve, reject) => {
      const headers = {
        host: host ? `${host}.${domain}` : domain,
        ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
      }
      const signal = AbortSignal.timeout(PATIENCE)
      const outgoing = request(
        { host: '127.0.0.1', port: proxyPort, method, path, headers, agent, signal },
        (answer) => {
          const chunks: Buffer[] = []
          answer.on('data', (chunk: Buffer) => chunks.push(chunk))
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks) }))
          answer.on('error', reject)
        },
      )
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  return { send, close: () => agent.destroy() }
}

interface Place {
  readonly conversationId: string
  readonly senderId: string
}

async function conversationsWithMembers(http: Client, end: AbortSignal): Promise<Place[]> {
  for (;;) {
    const { status, body } = await http
      .send('GET', 'gate', '/api/v1/conversations')
      .catch((error: unknown) => ({ status: 0, body: Buffer.from(String(error)) }))
    if (status === 200) {
      const found = JSON.parse(body.toString()) as { id: string; members: string[] }[]
      return found.flatMap(({ id, members }) => {
        const senderId = members.find((member) => OBJECT_ID.test(member))
        return senderId && OBJECT_ID.test(id) ? [{ conversationId: id, senderId }] : []
      })
    }
    if (end.aborted) throw new Error(`The conversations could not be read: ${status} ${body.toString()}`)
    await delay(PATIENCE / 10)
  }
}

type Written = Omit<Acknowledged, 'at'>

/**
 * The n-th write: six messages of ten, two keys, an upload for the last message, an avatar.
 * Rejects when it is not acknowledged.
 */
async function writeOne(
  http: Client,
  run: string,
  n: number,
  { conversationId, senderId }: Place,
  lastMessage: string | undefined,
): Promise<Written> {
  const turn = n % 10
  if (turn < 6 || (turn === 8 && !lastMessage)) {
    const content = `message ${n} of ${run}: ${randomBytes(24).toString('base64')} – déjà vu, 日本語`
    const body = JSON.stringify({ conversationId, senderId, content })
    const { id, statusId } = await created(http.send('POST', 'gate', '/api/v1/messages', body))
    return {
      kind: 'message',
      id: String(id),
      statusId: String(statusId),
      hash: messageHash(conversationId, senderId, content),
    }
  }
  if (turn < 8) {
    const [id, value] = [`rehearsal:${run}:${n}`, randomBytes(64)]
    await created(http.send('PUT', 'gate', `/api/v1/cache/${encodeURIComponent(id)}`, value))
    return { kind: 'key', id, hash: sha256(value) }
  }
  const bytes = randomBytes(1024 + ((n * 7919) % 65_536))
  if (turn === 8) {
    const query = new URLSearchParams({
      messageId: lastMessage ?? '',
      userId: senderId,
      name: `été ${n}.bin`,
    })
    const { path } = await created(http.send('POST', 'gate', `/api/v1/attachments?${query}`, bytes))
    return { kind: 'upload', id: String(path), hash: sha256(bytes) }
  }
  const { url } = await created(http.send('POST', '', '/api/avatar', bytes))
  return { kind: 'avatar', id: String(url), hash: sha256(bytes) }
}

async function created(sent: Promise<Answer>): Promise<Record<string, unknown>> {
  const { status, body } = await sent
  if (status !== 201) throw new Error(`answered ${status}`)
  return JSON.parse(body.toString()) as Record<string, unknown>
}

/** What is wrong with an acknowledged write; undefined when it is there as it was written. */
async function look(
  http: Client,
  { kind, id, hash, statusId }: Omit<Acknowledged, 'at' | 'statusId'> & { statusId: string | undefined },
): Promise<{ lost: boolean; why: string } | undefined> {
  if (kind === 'message') {
    const { status, body } = await read(http, 'gate', `/api/v1/messages/${id}`)
    if (status !== 200) return { lost: status === 404, why: `answered ${status}` }
    const message = JSON.parse(body.toString()) as {
      conversationId: string
      senderId: string
      content: string
      status: { id: string }[]
    }
    if (messageHash(message.conversationId, message.senderId, message.content) !== hash) {
      return { lost: false, why: 'another content' }
    }
    return message.status.some((row) => row.id === statusId)
      ? undefined
      : { lost: true, why: `the message is there, its status ${statusId} is not` }
  }
  for (const [host, path] of placesOf(kind, id)) {
    const { status, body } = await read(http, host, path)
    const where = `${host || 'the site'}: `
    if (status !== 200) return { lost: status === 404, why: `${where}answered ${status}` }
    if (sha256(body) !== hash) return { lost: false, why: `${where}another content` }
  }
  return undefined
}

/** Every public address at which this content must be found. */
function placesOf(kind: Exclude<Kind, 'message'>, id: string): [host: string, path: string][] {
  if (kind === 'key') return [['gate', `/api/v1/cache/${encodeURIComponent(id)}`]]
  if (kind === 'avatar') return ['', 'static'].map((host) => [host, id])
  return [
    ['gate', `/api/attachments/${id}`],
    ['static', `/uploads/attachments/${id}`],
  ]
}

/** Asks again when there was no clear answer: the check must not blame the data for a busy machine. */
async function read(http: Client, host: string, path: string): Promise<Answer> {
  for (let attempt = 1; ; attempt++) {
    const answer = await http
      .send('GET', host, path)
      .catch((error: unknown) => ({ status: 0, body: Buffer.from(String(error)) }))
    const routed = answer.body.toString() !== NO_ROUTE
    if (answer.status === 200 || (answer.status === 404 && routed)) return answer
    if (attempt === ATTEMPTS) return routed ? answer : { ...answer, status: 0 }
    await delay(attempt * 200)
  }
}

function sha256(content: Buffer | string): string {
  return createHash('sha256').update(content).digest('hex')
}

function messageHash(...parts: readonly string[]): string {
  return sha256(JSON.stringify(parts))
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string' },
      domain: { type: 'string', default: 'rehearsal.test' },
      file: { type: 'string' },
      rate: { type: 'string', default: '10' },
      limit: { type: 'string', default: '5000' },
      seconds: { type: 'string', default: '600' },
      check: { type: 'boolean', default: false },
    },
  })
  const { port, domain, file } = values
  if (!port || !file) throw new Error('--port and --file are needed: see the head of this file.')
  const target = { proxyPort: Number(port), domain }

  if (values.check) {
    const result = await check(target, file)
    console.log(JSON.stringify(result, null, 2))
    if (result.lost.length + result.wrong.length > 0) process.exitCode = 1
    return
  }
  const end = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => end.abort())
  process.on('message', (told) => told === STOP && end.abort())
  process.on('disconnect', () => end.abort()) // who started us is gone
  const numbers = {
    ratePerSecond: Number(values.rate),
    limit: Number(values.limit),
    seconds: Number(values.seconds),
  }
  const tell = (said: unknown): void =>
    void (process.connected ? process.send?.(said) : console.log(JSON.stringify(said)))
  tell(await write(target, { ...numbers, file }, end.signal, () => tell(WRITING)))
  if (process.connected) process.disconnect()
}

if (realpathSync(process.argv[1] ?? '') === import.meta.filename) await main()
