// Where the machine set-up keeps things. Everything lies in one cache folder outside the tree, so that the second
// run takes seconds and removing the folder removes all of it; only sockets live in /run, because a Unix socket's
// path must fit into 108 bytes.
import { createHash } from 'node:crypto'
import { mkdirSync, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

export interface Paths {
  /** the cache folder itself */
  cache: string
  /** Debian packages unpacked by us: `<debian>/<package>/usr/…` */
  debian: string
  /** Python packages unpacked by us: `<python>/<package>-<version>/…` */
  python: string
  /** commands put first on PATH */
  bin: string
  /** DOCKER_CONFIG, used when the machine has no Compose plugin of its own */
  dockerConfig: string
  /** data root of our own daemon */
  dockerData: string
  /** configuration of our own daemon; its path among the arguments of a dockerd is how we know it */
  dockerdConfig: string
  dockerdLog: string
  /** the registry's images */
  registryData: string
  /** configuration of the registry, which also keeps its port from one run to the next */
  registryConfig: string
  registryLog: string
  /** a file that is there while the daemons are to be left running */
  keep: string
  /** held while the machine is set up or stopped */
  setupLock: string
  /** held, shared, by everyone who uses the machine */
  usersLock: string
  /** held while apt works for us */
  aptLock: string
  /** where earlier set-ups left half-made things */
  leftovers: string
  /** half-made things of this process; others', which a killed one may have left running, do not write here */
  partial: string
  /** sockets and run-time state of our own daemon */
  run: string
  /** socket of our own daemon */
  socket: string
  /** bridge of our own daemon: at most 15 bytes */
  bridge: string
}

/**
 * The paths that belong to this environment: RUNBOOK_REHEARSAL_CACHE, else XDG_CACHE_HOME or ~/.cache with
 * `runbook-rehearsal` in it; the cache folder is made when missing. Two cache folders share nothing.
 */
export function pathsOf(env: NodeJS.ProcessEnv = process.env): Paths {
  const home = env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
  const wanted = resolve(env['RUNBOOK_REHEARSAL_CACHE'] || join(home, 'runbook-rehearsal'))
  mkdirSync(wanted, { recursive: true, mode: 0o700 })
  // Without symbolic links, since /proc shows the programs that run from here so.
  const cache = realpathSync(wanted)
  const id = createHash('sha256').update(cache).digest('hex').slice(0, 5)
  const run = `/run/runbook-rehearsal-${id}`
  const inCache = (name: string) => join(cache, name)
  return {
    cache,
    debian: inCache('debian'),
    python: inCache('python'),
    bin: inCache('bin'),
    dockerConfig: inCache('docker-config'),
    dockerData: inCache('docker'),
    dockerdConfig: inCache('dockerd.json'),
    dockerdLog: inCache('dockerd.log'),
    registryData: inCache('registry'),
    registryConfig: inCache('registry.json'),
    registryLog: inCache('registry.log'),
    keep: inCache('keep'),
    setupLock: inCache('setup.lock'),
    usersLock: inCache('users.lock'),
    aptLock: inCache('apt.lock'),
    leftovers: inCache('partial'),
    partial: inCache(`partial/${process.pid}`),
    run,
    socket: join(run, 'docker.sock'),
    bridge: `rehearsal-${id}`,
  }
}
