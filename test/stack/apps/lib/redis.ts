// A Redis client in one page: commands in, replies out, in order, over one connection that is made anew after a loss.
import { connect, type Socket } from 'node:net'

type Value = string | number | Buffer | null
interface Waiting {
  resolve: (value: Value) => void
  reject: (error: Error) => void
}

const TIMEOUT = 2000 // ms without any byte while a reply is due

/** Reads one reply at `at`: its value and where the next begins, or undefined while bytes are missing. */
function parse(data: Buffer, at: number): { value: Value | Error; end: number } | undefined {
  const eol = data.indexOf('\r\n', at)
  if (eol === -1) return undefined
  const kind = data.toString('latin1', at, at + 1)
  const line = data.toString('utf8', at + 1, eol)
  const end = eol + 2
  if (kind === '+') return { value: line, end }
  if (kind === '-') return { value: new Error(`Redis: ${line}`), end }
  if (kind === ':') return { value: Number(line), end }
  if (kind !== '$') return { value: new Error(`Redis sent an unexpected reply: ${kind}${line}`), end }
  const length = Number(line)
  if (length === -1) return { value: null, end }
  if (data.length < end + length + 2) return undefined
  return { value: data.subarray(end, end + length), end: end + length + 2 }
}

export interface Redis {
  /** Sends one command and resolves with its reply; rejects when Redis refuses or is away. */
  readonly command: (...words: (string | Buffer)[]) => Promise<Value>
  readonly close: () => void
}

/** A Redis at `redis://host:port`, which need not be there yet. */
export function redis(url: string): Redis {
  const { hostname, port } = new URL(url)
  let socket: Socket | undefined
  let waiting: Waiting[] = []

  function open(): Socket {
    const opened = connect({ host: hostname, port: Number(port || 6379), timeout: TIMEOUT })
    let data: Buffer = Buffer.alloc(0)
    const lose = (error: Error): void => {
      if (socket !== opened) return
      socket = undefined
      opened.destroy()
      for (const { reject } of waiting) reject(error)
      waiting = []
    }
    opened.on('data', (chunk) => {
      data = Buffer.concat([data, chunk])
      for (let reply = parse(data, 0); reply; reply = parse(data, 0)) {
        data = data.subarray(reply.end)
        const next = waiting.shift()
        if (reply.value instanceof Error) next?.reject(reply.value)
        else next?.resolve(reply.value)
      }
    })
    opened.on('timeout', () => waiting.length > 0 && lose(new Error('Redis does not answer')))
    opened.on('error', lose)
    opened.on('close', () => lose(new Error('Redis closed the connection')))
    return opened
  }

  const command: Redis['command'] = (...words) =>
    new Promise((resolve, reject) => {
      socket ??= open()
      waiting.push({ resolve, reject })
      const parts = words.flatMap((word) => [`$${Buffer.byteLength(word)}\r\n`, word, '\r\n'])
      socket.write(Buffer.concat([`*${words.length}\r\n`, ...parts].map((part) => Buffer.from(part))))
    })
  return { command, close: () => socket?.destroy() }
}
