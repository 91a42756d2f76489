// The machine under the rehearsal stack: a running Docker with Compose v2, a registry on loopback, the base image, and
// `task`. What is there is used; the rest is set up, the first time in about a minute, later in seconds.
import { existsSync } from 'node:fs'
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { ensureBase } from './base.ts'
import { daemonRuns, startDaemon, stopDaemon } from './daemon.ts'
import { unpackedAt } from './debian.ts'
import { look } from './found.ts'
import type { Host } from './images.ts'
import { lock } from './lock.ts'
import { type Paths, pathsOf } from './paths.ts'
import { programOf, TASK } from './python.ts'
import { Refusal } from './refusal.ts'
import { ensureRegistry, registryRuns, stopRegistry } from './registry.ts'
import { stepper } from './step.ts'
import { CLI, COMPOSE, supply } from './supply.ts'

export interface Machine extends Host {
  /** the base of all stand-in images, `127.0.0.1:<port>/rehearsal/base:1` */
  base: string
  /** path of Docker's socket on this machine */
  socket: string
  /** whether the Docker daemon is one that the set-up started: only such a one may be stopped or killed by a test */
  ownDaemon: boolean
  /** whether this call started a daemon (Docker or the registry) */
  started: boolean
  /** why copies of sets cannot be made here; undefined when they can, or nobody asked for them */
  noCopies: string | undefined
  /**
   * Gives the machine back. The last one to do so stops the daemons that a run started, and with our own Docker all
   * its containers; daemons that `setup.ts` was asked for stay. Data stays in the cache.
   */
  stop(): Promise<void>
}

export interface MachineOptions {
  /** install system packages without asking */
  install?: boolean
  /** have also what copies of sets are made with: rsync, rclone, an ssh client */
  copyTools?: boolean
  /** leave the daemons running when their last user has gone, until `stopMachine` */
  keep?: boolean
  /** where a line about each step goes; standard error when left out */
  say?: (line: string) => void
}

const PATIENCE = 1_200 // s for which another set-up is waited for: ten times what one takes

/**
 * Makes sure that the machine is ready, and counts the caller among its users until `stop()` or the end of the
 * process. Safe in several processes at once: one sets up, the others wait for it. Throws a `Refusal` when something
 * is missing that may not or cannot be installed; any other error says which step failed, and the next call goes on
 * from there.
 */
export async function ensureMachine(options: MachineOptions = {}): Promise<Machine> {
  if (process.platform !== 'linux')
    throw new Refusal(3, 'The rehearsal stack needs Linux. Next: run it in a throw-away Debian machine.')
  const paths = pathsOf()
  const say = options.say ?? toStderr
  const step = stepper(say)
  const unlock = await lockSetup(paths, say)
  try {
    await rm(paths.leftovers, { recursive: true, force: true, maxRetries: 10 })
    await mkdir(paths.partial, { recursive: true })
    const found = await look(paths)
    const ownDaemon = !found.socket
    const { install, copyTools } = options
    const noCopies = await supply(paths, found, ownDaemon, { install, copyTools, step })

    const docker = found.docker ?? join(unpackedAt(paths, 'docker-cli'), CLI['docker-cli'][0])
    await link(programOf(paths, TASK), join(paths.bin, 'task'))
    await link(docker, join(paths.bin, 'docker'))
    const plugin = join(unpackedAt(paths, 'docker-compose'), COMPOSE['docker-compose'][0])
    if (!found.compose) await link(plugin, join(paths.dockerConfig, 'cli-plugins/docker-compose'))

    const startsDocker = ownDaemon && !daemonRuns(paths)
    if (startsDocker) await step('started a Docker daemon', () => startDaemon(paths, docker))
    else if (ownDaemon) await startDaemon(paths, docker)
    const registry = await ensureRegistry(paths)
    if (registry.started) say(`started a registry on 127.0.0.1:${registry.port}`)

    const socket = found.socket ?? paths.socket
    const host: Host = {
      env: {
        DOCKER_HOST: `unix://${socket}`,
        ...(found.compose ? {} : { DOCKER_CONFIG: paths.dockerConfig }),
        PATH: [paths.bin, found.env['PATH']].join(delimiter),
      },
      docker,
      registry: `127.0.0.1:${registry.port}`,
      cache: paths.cache,
    }
    const base = await ensureBase(paths, host, step)
    if (options.keep) await writeFile(paths.keep, '')
    return {
      ...host,
      base,
      socket,
      ownDaemon,
      started: startsDocker || registry.started,
      noCopies,
      stop: await joinUsers(paths, say),
    }
  } finally {
    unlock()
  }
}

/**
 * Ends the daemons that set-ups with this cache started, whoever asked for them. Throws a `Refusal` while a process
 * that called `ensureMachine` still uses them.
 */
export async function stopMachine(say = toStderr): Promise<void> {
  const paths = pathsOf()
  await rm(paths.keep, { force: true })
  if (!(await stopWhenUnused(paths, say)))
    throw new Refusal(
      5,
      'A test or a rehearsal is using the machine; its end stops the daemons. Nothing was stopped.',
    )
}

/** Counts this process among the users, and gives the function that takes it off again. */
async function joinUsers(paths: Paths, say: (line: string) => void): Promise<() => Promise<void>> {
  const release = await lock(paths.usersLock, 'shared', PATIENCE)
  if (!release) throw new Error(`The lock ${paths.usersLock} is held by a process that is not a set-up.`)
  let leaving: Promise<unknown> | undefined
  const leave = async () => {
    release()
    if (!existsSync(paths.keep)) await stopWhenUnused(paths, say)
  }
  return async () => {
    leaving ??= leave()
    await leaving
  }
}

/** Stops the daemons and gives true, or leaves them to those who still use them. */
async function stopWhenUnused(paths: Paths, say: (line: string) => void): Promise<boolean> {
  const unlock = await lockSetup(paths, say)
  try {
    const alone = await lock(paths.usersLock, 'exclusive', 0)
    if (!alone) return false
    try {
      const step = stepper(say)
      if (registryRuns(paths)) await step('stopped the registry', () => stopRegistry(paths))
      if (daemonRuns(paths)) await step('stopped the Docker daemon', () => stopDaemon(paths))
      else await stopDaemon(paths)
      return true
    } finally {
      alone()
    }
  } finally {
    unlock()
  }
}

async function lockSetup(paths: Paths, say: (line: string) => void): Promise<() => void> {
  const free = await lock(paths.setupLock, 'exclusive', 0)
  if (free) return free
  say('another set-up is at work; waiting for it')
  const unlock = await lock(paths.setupLock, 'exclusive', PATIENCE)
  if (unlock) return unlock
  throw new Refusal(
    5,
    `Another set-up holds ${paths.setupLock} for more than ${PATIENCE} s. Nothing was changed.`,
  )
}

/** Makes `path` a symbolic link to `target`, whatever it was before, at one stroke. */
async function link(target: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await rm(`${path}.new`, { force: true })
  await symlink(target, `${path}.new`)
  await rename(`${path}.new`, path)
}

function toStderr(line: string): void {
  process.stderr.write(`${line}\n`)
}
