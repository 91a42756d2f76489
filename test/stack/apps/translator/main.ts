// Stand-in for the translator: reads its models, answers health checks, and listens where ZMQ would.
import { readdir, stat } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { serve, type Reply } from '../lib/http.ts'
import { ping } from '../lib/ping.ts'
import { builtAs, entrypointDelay } from '../lib/version.ts'

const MODELS = '/workspace/models'
const ZMQ = [5555, 5558]

const { env } = process
const { version, behaviour } = builtAs()
const database = new URL(env.DATABASE_URL ?? 'mongodb://database:27017/meeshy')
let models: { files: number; bytes: number } | { error: string } | undefined

await entrypointDelay(30_000)

serve(8000, [
  ['GET', /^\/health$/, health],
  ['GET', /^\/ready$/, ready],
  ['GET', /^\/live$/, () => ({ json: { status: 'alive' } })],
  ['GET', /^\/info$/, () => ({ json: { name: 'translator', version, models } })],
])
for (const port of ZMQ) createServer((socket) => socket.on('error', () => socket.destroy())).listen(port)

models = await loadModels()

async function loadModels(): Promise<typeof models> {
  try {
    const entries = await readdir(MODELS, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => !entry.isDirectory())
    // Models are found by links: one that leads nowhere is a model that cannot be loaded.
    const sizes = await Promise.all(files.map(async (f) => (await stat(join(f.parentPath, f.name))).size))
    return { files: files.length, bytes: sizes.reduce((sum, size) => sum + size, 0) }
  } catch (error) {
    return { error: String(error) }
  }
}

async function isReady(): Promise<{ database: boolean; zmq: boolean }> {
  const [db, zmq] = await Promise.allSettled([
    ping(database.hostname, Number(database.port || 27017)),
    new Promise<void>((resolve, reject) => {
      const socket = connect(ZMQ[0] ?? 0, '127.0.0.1', () => resolve(void socket.destroy())).on(
        'error',
        reject,
      )
    }),
  ])
  return { database: db.status === 'fulfilled', zmq: zmq.status === 'fulfilled' }
}

/** Always 200: whoever asks must read the body. */
async function health(): Promise<Reply> {
  const checks = await isReady()
  const good = behaviour !== 'unhealthy' && checks.database && checks.zmq
  const status = models && 'error' in models ? 'error' : good ? 'healthy' : 'unhealthy'
  return { json: { status, models_loading: models === undefined, models, ...checks } }
}

async function ready(): Promise<Reply> {
  const checks = await isReady()
  return { status: checks.database && checks.zmq ? 200 : 503, json: checks }
}
