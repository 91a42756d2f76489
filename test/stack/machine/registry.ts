// The image registry of the rehearsal: on loopback only, without a password, its images in the cache.
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type Contents, unpackedAt } from './debian.ts'
import type { Paths } from './paths.ts'
import { endProcesses, processes, startDetached, until } from './processes.ts'

export const REGISTRY: Contents = { 'docker-registry': ['usr/bin/docker-registry'] }

// Below the range from which the kernel takes ports for outgoing connections: nobody gets ours by chance.
const FIRST_PORT = 5_050
const LAST_PORT = 5_999

const START_DEADLINE = 15_000 // ms: it takes 0.1 s

/**
 * Has the registry running, and gives its port and whether it was started. The port is chosen once and kept, since
 * the names of images contain it; when it is taken by somebody else, another one is chosen. Throws when the registry
 * does not answer.
 */
export async function ensureRegistry(paths: Paths): Promise<{ port: number; started: boolean }> {
  const kept = await keptPort(paths)
  if (kept && registryRuns(paths) && (await answers(kept))) return { port: kept, started: false }
  await stopRegistry(paths)
  const port = await freePort(kept)
  await mkdir(paths.registryData, { recursive: true })
  await writeFile(`${paths.registryConfig}.new`, configuration(paths, port), { mode: 0o600 })
  await rename(`${paths.registryConfig}.new`, paths.registryConfig)
  await startDetached(program(paths), ['serve', paths.registryConfig], {}, paths.registryLog)
  if (await until(() => answers(port), START_DEADLINE)) return { port, started: true }
  throw new Error(`The registry does not answer on 127.0.0.1:${port}. Its log: ${paths.registryLog}`)
}

/** Whether our registry runs. */
export const registryRuns = (paths: Paths) => registryProcesses(paths).length > 0

/** Ends the registry; its images stay. */
export async function stopRegistry(paths: Paths): Promise<void> {
  await endProcesses(() => registryProcesses(paths), 10_000)
}

const program = (paths: Paths) => join(unpackedAt(paths, 'docker-registry'), 'usr/bin/docker-registry')

function registryProcesses(paths: Paths) {
  return processes().filter(({ exe, args }) => exe === program(paths) && args.includes(paths.registryConfig))
}

/** JSON is YAML too, and needs no quoting rules of our own. */
function configuration(paths: Paths, port: number): string {
  const config = {
    version: 0.1,
    log: { level: 'warn', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: paths.registryData }, delete: { enabled: true } },
    http: { addr: `127.0.0.1:${port}` },
  }
  return JSON.stringify(config, null, 2)
}

async function keptPort(paths: Paths): Promise<number | undefined> {
  if (!existsSync(paths.registryConfig)) return undefined
  const { http } = JSON.parse(await readFile(paths.registryConfig, 'utf8')) as { http: { addr: string } }
  return Number(http.addr.split(':')[1])
}

async function answers(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/v2/`, { signal: AbortSignal.timeout(5_000) })).ok
  } catch {
    return false
  }
}

async function freePort(wanted = FIRST_PORT): Promise<number> {
  for (const port of [wanted, ...Array.from({ length: LAST_PORT - FIRST_PORT }, (_, i) => FIRST_PORT + i)])
    if (await isFree(port)) return port
  throw new Error(`No port from ${FIRST_PORT} to ${LAST_PORT} is free on 127.0.0.1.`)
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}
