// The folder of the old production, as it was found on the server: what is used, what is stale, what is missing.
import { createHash } from 'node:crypto'
import { chmod, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

/** What differs from stack to stack. */
export interface FolderValues {
  readonly id: string
  readonly project: string
  readonly domain: string
  /** `127.0.0.1:<port>` of the registry. */
  readonly registry: string
  /** Path of Docker's socket on this machine. */
  readonly socket: string
  readonly port: number
  /** All of the real stack's delays are divided by this. */
  readonly speedUp: number
}

/** The true delays in ms; those of health checks stand in the Compose file. */
const DELAYS = { gateway: 10_000, translator: 30_000, frontend: 2000, throttle: 2000, crashAfter: 40_000 }

const SHORTEST_START_PERIOD = 10_000 // ms: a busy machine starts real servers no faster for a fast stack

/** Sources of bind mounts that are not there while the stack runs: Docker made them as folders, somebody removed them. */
const MISSING = ['config', 'shared']

/**
 * Writes the folder `dir`, which must not exist.
 * @throws Error when it exists or cannot be written.
 */
export async function writeFolder(dir: string, values: FolderValues): Promise<void> {
  const ms = (delay: number): string => String(Math.round(delay / values.speedUp))
  const fill = (text: string): string =>
    Object.entries({
      ID: values.id,
      PROJECT: values.project,
      DOMAIN: values.domain,
      REGISTRY: `${values.registry}/rehearsal`,
      SOCKET: values.socket,
      PORT: String(values.port),
      THROTTLE: `${ms(DELAYS.throttle)}ms`,
      GATEWAY_DELAY: ms(DELAYS.gateway),
      TRANSLATOR_DELAY: ms(DELAYS.translator),
      FRONTEND_DELAY: ms(DELAYS.frontend),
      CRASH_AFTER: ms(DELAYS.crashAfter),
    }).reduce((filled, [name, value]) => filled.replaceAll(`__${name}__`, value), text)

  const template = async (name: string): Promise<string> =>
    fill(await readFile(join(import.meta.dirname, name), 'utf8'))
  const compose = (await template('docker-compose.yml')).replaceAll(
    /\b(interval|start_period): (\d+)s$/gm,
    (_, key, seconds) => {
      const scaled = (Number(seconds) * 1000) / values.speedUp
      return `${key}: ${key === 'start_period' ? Math.max(scaled, SHORTEST_START_PERIOD) : scaled}ms`
    },
  )
  const env = await template('dotenv')
  const stale = compose.replaceAll(':latest', ':v0.4.0').replace('      - gateway_uploads:/app/uploads\n', '')
  const firebase = JSON.stringify(
    { type: 'service_account', project_id: 'meeshy', private_key: 'none' },
    null,
    2,
  )
  const secrets = 'SMTP_PASSWORD=none\nFIREBASE_PRIVATE_KEY=none\n'

  await mkdir(dir, { mode: 0o755 })
  const write = async (name: string, content: string | Buffer, mode = 0o644): Promise<void> => {
    const file = join(dir, name)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, content)
    await chmod(file, mode) // whatever the umask is
  }
  await write('docker-compose.yml', compose)
  await write('docker-compose.traefik.yml', `# Stale: of 2 December.\n${stale}`)
  await write('docker-compose.yml.save', stale)
  await write('.env', env)
  await write('.env.backup-20251019_140706', env.split('\n').slice(0, 40).join('\n'))
  await write('docker/nginx/static-files.conf', await template('docker/nginx/static-files.conf'))
  for (const folder of ['secrets', 's2']) {
    await write(`${folder}/firebase-admin-sdk.json`, firebase)
    await write(`${folder}/production-secrets.env`, secrets, 0o600)
  }
  for (const day of ['07', '14', '21', '28']) {
    await write(`backups/meeshy-backup-202509${day}.tar.gz`, archiveOfNothing())
  }
  for (const month of ['09', '10']) {
    for (let n = 0; n < 4; n++) await write(`i/2025/${month}/avatar_${n}.jpg`, picture(`${month}/${n}`))
  }
  await write('docs/README.md', '# Meeshy\n')
  await mkdir(join(dir, 'logs'))
}

/** Removes the bind sources that production lacks as well. They must be empty folders of Docker's making. */
export async function removeMissing(dir: string): Promise<void> {
  for (const name of MISSING) {
    const entries = await readdir(join(dir, name), { recursive: true, withFileTypes: true })
    const file = entries.find((entry) => !entry.isDirectory())
    if (file) throw new Error(`${join(file.parentPath, file.name)} is not of Docker's making.`)
    await rm(join(dir, name), { recursive: true })
  }
}

/** 45 bytes, as `tar czf` writes them when it was given nothing. */
function archiveOfNothing(): Buffer {
  return gzipSync(Buffer.alloc(10_240))
}

/** Bytes that look like a JPEG and are the same for the same seed; about 20 kB. */
function picture(seed: string): Buffer {
  const blocks = Array.from({ length: 640 }, (_, i) => createHash('sha256').update(`${seed}/${i}`).digest())
  return Buffer.concat([Buffer.from('ffd8ffe0', 'hex'), ...blocks, Buffer.from('ffd9', 'hex')])
}
