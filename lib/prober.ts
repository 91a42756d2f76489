// Measures a downtime from outside: a process of its own that asks every public address all the time and writes
// down what it was answered. lib/ledger.ts reads that.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, realpathSync, writeFileSync } from 'node:fs'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Socket } from 'node:net'
import { finished } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { askAddress, type Question } from './http.ts'

const INTERVAL = 50 // ms between two requests to one address
const LONGEST_REQUEST = 2_000 // ms
const LONGEST_RUN = 2 * 3_600_000 // ms: then it ends, whatever became of who started it
const FLUSH = 1_000 // ms
const RENEW = 1_000 // ms: a connection is kept no longer, so that a new visitor's way in is measured as well
const STALLED = 3 // intervals: a request that starts later than that leaves a gap in which nobody looked

/** A line of the ledger's file: one request, or (`blind`, ms) a time from `t` on in which none could be started. */
export type LedgerLine =
  | {
      /** When the request started: ms since the epoch as the clock said at the prober's start, then monotonic. */
      readonly t: number
      readonly address: string
      readonly ok: boolean
      readonly status?: number
      readonly ms: number
      readonly why?: string
    }
  | { readonly t: number; readonly address: string; readonly blind: number }

export interface Prober {
  readonly file: string
  /**
   * Ends the prober when its last requests are answered, 2 s at most; then the file is complete.
   * @throws Error when the prober had ended before: the file ends there.
   */
  stop(): Promise<void>
}

interface Order {
  readonly addresses: readonly Question[]
  readonly intervalMs: number
  readonly limitMs: number
}

const SLOWEST_START = 30_000 // ms: node and tsx on a server that is busy

/**
 * Starts asking every address, each every `intervalMs` and more rarely while it owes answers, and returns when each
 * was asked once. The file is made, 0600, one line of JSON per request, and written at least every second. The prober
 * ends when it is stopped, when this process is gone, or after `limitMs`.
 * @throws Error when there is no address, when the file exists or cannot be made, or the prober does not start.
 */
export async function startProber({
  addresses,
  file,
  intervalMs = INTERVAL,
  limitMs = LONGEST_RUN,
}: Omit<Order, 'intervalMs' | 'limitMs'> & Partial<Order> & { readonly file: string }): Promise<Prober> {
  if (addresses.length === 0)
    throw new Error('There is no address to probe: `public` in env/stack.ts is empty.')
  const fd = openSync(file, 'ax', 0o600)
  const child = fork(import.meta.filename, {
    execArgv: ['--import', import.meta.resolve('tsx')],
    detached: true, // Ctrl-C on the terminal is not for it: what follows is part of the downtime
    stdio: ['ignore', fd, 'pipe', 'ipc'],
  })
  closeSync(fd)
  const stderr = child.stderr as Socket
  let said = ''
  stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-2048)))

  let stopping: Promise<void> | undefined
  const end = async (): Promise<void> => {
    // Not 'close': that never comes when this side has let go of the channel (seen on Node 20).
    const [[code, signal]] = await Promise.all([once(child, 'exit'), finished(stderr)])
    if (stopping && code === 0) return
    const how = `${String(signal ?? `exit code ${code}`)}${said && `: ${said.trim()}`}`
    throw new Error(`The prober has ended by itself (${how}), and its ledger ${file} ends there.`)
  }
  const ended = end()
  ended.catch(() => {}) // told by stop()

  const kill = (why: string): void => {
    said = why
    child.kill('SIGKILL')
  }
  const starting = setTimeout(kill, SLOWEST_START, 'it did not start')
  child.send({ addresses, intervalMs, limitMs } satisfies Order, () => {}) // when it fails, `ended` says why
  await Promise.race([ended, once(child, 'message')]).finally(() => clearTimeout(starting))

  const handles = [child, child.channel, stderr]
  for (const handle of handles) handle?.unref() // a script that is done may end: the prober ends with it
  const stop = async (): Promise<void> => {
    for (const handle of handles) handle?.ref()
    if (child.connected) child.disconnect()
    const late = setTimeout(kill, 2 * LONGEST_REQUEST + 10 * intervalMs, 'it did not stop')
    await ended.finally(() => clearTimeout(late))
  }
  return { file, stop: () => (stopping ??= stop()) }
}

// Labels of the epoch, but monotonic between them: a clock that is set meanwhile makes no downtime and hides none.
const EPOCH = Date.now() - performance.now()

/** What the process does: asks until its parent lets go of it, then writes the rest. */
async function probe({ addresses, intervalMs, limitMs }: Order): Promise<void> {
  const end = new AbortController()
  process.once('disconnect', () => end.abort())
  process.once('SIGTERM', () => end.abort())
  const limit = setTimeout(() => {
    process.stderr.write(`Its limit of ${limitMs / 1000} s was over.\n`)
    end.abort()
  }, limitMs)

  let lines = ''
  const flush = (): void => {
    writeFileSync(1, lines)
    lines = ''
  }
  const flushing = setInterval(flush, FLUSH)
  const unasked = new Set(addresses.map(({ url }) => url))
  const write = (line: LedgerLine): void => {
    lines += `${JSON.stringify(line)}\n`
    if (unasked.delete(line.address) && unasked.size === 0) process.send?.('ready', () => {})
  }
  // All at the same time: waking up for each one alone costs this process twice as much.
  await Promise.all(addresses.map((question) => watch(question, intervalMs, end.signal, write)))

  clearTimeout(limit)
  clearInterval(flushing)
  flush()
  if (process.connected) process.disconnect() // at its limit the channel would keep it alive
}

/** Asks one address until the end; then waits for the answers that are owed. */
async function watch(
  question: Question,
  intervalMs: number,
  end: AbortSignal,
  write: (line: LedgerLine) => void,
): Promise<void> {
  const address = question.url
  const Agent = new URL(question.via ?? address).protocol === 'https:' ? HttpsAgent : HttpAgent
  const agent = new Agent({ keepAlive: true })
  const ask = async (t: number): Promise<void> => {
    const { ok, status, ms, evidence } = await askAddress(question, LONGEST_REQUEST, agent)
    write({ t, address, ok, ...(status !== undefined && { status }), ms, ...(!ok && { why: evidence }) })
  }

  const owed = new Set<Promise<void>>()
  let renewed = performance.now()
  let due = renewed
  while (!end.aborted) {
    const now = performance.now()
    const behind = now - due
    if (behind > STALLED * intervalMs) {
      write({ t: Math.round(EPOCH + due), address, blind: Math.round(behind) })
    }
    if (now - renewed > RENEW) {
      renewed = now
      for (const idle of Object.values(agent.freeSockets).flat()) idle?.destroy()
    }
    const asking = ask(Math.round(EPOCH + now))
    owed.add(asking)
    void asking.then(() => owed.delete(asking))
    // The more answers it owes, the more rarely it is asked: never more than about ten at once.
    const step = intervalMs * owed.size
    due = behind < intervalMs ? due + step : now + step
    await delay(Math.max(0, due - performance.now()))
  }
  await Promise.all(owed)
  agent.destroy()
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) {
  process.once('message', (order) => void probe(order as Order))
}
