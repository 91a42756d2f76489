// Docker, asked over its socket.
import { request, type IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'

const SOCKET = '/var/run/docker.sock'

/** What is used of a container's inspection. */
export interface Container {
  readonly Id: string
  readonly Name: string
  readonly State: {
    readonly Running: boolean
    readonly Paused: boolean
    readonly Health?: { readonly Status: string }
  }
  readonly Config: { readonly Labels: Readonly<Record<string, string>> }
  readonly NetworkSettings: { readonly Networks: Readonly<Record<string, { readonly IPAddress: string }>> }
}

/** The containers that carry one of the labels, inspected; one that is gone in between is left out. */
export async function containers(labels: readonly string[]): Promise<Container[]> {
  // Several labels in one filter are all wanted.
  const lists = await Promise.all(
    labels.map(
      async (one) => (await json(await get('/containers/json', { label: [one] }))) as { Id: string }[],
    ),
  )
  const ids = new Set(lists.flat().map(({ Id }) => Id))
  const inspected = await Promise.all(
    [...ids].map(async (Id) => {
      const response = await get(`/containers/${Id}/json`)
      return response.statusCode === 404 ? undefined : ((await json(response)) as Container)
    }),
  )
  return inspected.filter((container) => container !== undefined)
}

/**
 * Yields once when it listens, then after events that may change a route (any number of them at a time), until Docker
 * closes the stream.
 */
export async function* events(labels: readonly string[]): AsyncGenerator<void> {
  // Network events carry the network's labels, not the container's: they are asked for without ours.
  const streams = await Promise.all([
    ...labels.map((one) => get('/events', { type: ['container'], label: [one] })),
    get('/events', { type: ['network'], event: ['connect', 'disconnect'] }),
  ])
  let wake = (): void => {}
  let pending = 1
  let open = true
  for (const stream of streams) {
    const tell = (): void => {
      pending++
      wake()
    }
    createInterface(stream)
      .on('line', (line) => {
        // exec_* come with every health check and change nothing.
        if (!(JSON.parse(line) as { Action: string }).Action.startsWith('exec_')) tell()
      })
      .on('close', () => {
        open = false
        tell()
      })
  }
  while (open) {
    if (pending === 0) await new Promise<void>((resolve) => (wake = resolve))
    pending = 0
    if (open) yield
  }
}

function get(path: string, filters?: Record<string, string[]>): Promise<IncomingMessage> {
  const query = filters ? `?filters=${encodeURIComponent(JSON.stringify(filters))}` : ''
  return new Promise((resolve, reject) => {
    request({ socketPath: SOCKET, path: path + query }, resolve)
      .on('error', reject)
      .end()
  })
}

async function json(response: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  if (response.statusCode !== 200) throw new Error(`Docker answered ${response.statusCode}: ${text}`)
  return JSON.parse(text)
}
