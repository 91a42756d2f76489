// A Docker daemon of our own, beside whatever else is on the machine: own socket, data, run-time state and bridge.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, delimiter, dirname, join } from 'node:path'
import { attempt, run, systemEnv } from './command.ts'
import { type Contents, unpackedAt } from './debian.ts'
import type { Paths } from './paths.ts'
import { endProcesses, killProcesses, type Process, processes, startDetached, until } from './processes.ts'

/** The daemon and its parts; runc and iptables, which must fit the system's libraries, are not among them. */
export const DAEMON: Contents = {
  'docker.io': ['usr/sbin/dockerd', 'usr/sbin/docker-proxy'],
  containerd: ['usr/bin/containerd', 'usr/bin/containerd-shim-runc-v2'],
  tini: ['usr/bin/tini-static'],
}

const START_DEADLINE = 60_000 // ms: it takes 1 to 3 s
const STOP_PATIENCE = 40_000 // ms: dockerd itself gives containers 15 s before it kills them

/** Whether our daemon runs; it may still be starting, or ending. */
export const daemonRuns = (paths: Paths) => daemonProcesses(paths).length > 0

/**
 * Starts our daemon in the background, unless it runs, and waits until it answers. What an earlier one left behind
 * when it was killed (pid file, containerd, bridge) is taken over. Needs root. Throws with the end of the log.
 */
export async function startDaemon(paths: Paths, docker: string): Promise<void> {
  if (!daemonRuns(paths)) await launch(paths)
  const answers = async () =>
    (await attempt(docker, ['--host', `unix://${paths.socket}`, 'version'], { timeout: 10_000 })).ok
  const settled = await until(async () => !daemonRuns(paths) || (await answers()), START_DEADLINE)
  if (settled && daemonRuns(paths)) return
  const log = (await readFile(paths.dockerdLog, 'utf8')).slice(-2_000)
  const what = settled ? 'has ended' : `runs, but does not answer within ${START_DEADLINE / 1_000} s`
  throw new Error(`The Docker daemon ${what}. The end of ${paths.dockerdLog}:\n${log}`)
}

async function launch(paths: Paths): Promise<void> {
  await mkdir(paths.run, { recursive: true, mode: 0o700 })
  // dockerd believes a pid file whose number exists, be it a zombie's or somebody else's. None of ours is alive now;
  // the containers that a killed dockerd left are: the new one finds them and stops them properly.
  await endProcesses(() => containerdProcesses(paths), 5_000)
  for (const file of [pidFile(paths), join(execRoot(paths), 'containerd/containerd.pid')])
    await rm(file, { force: true })
  await makeBridge(paths.bridge)
  await writeFile(paths.dockerdConfig, JSON.stringify(configuration(paths), null, 2), { mode: 0o600 })
  const path = [containerdFolder(paths), systemEnv()['PATH']].join(delimiter)
  await startDetached(dockerd(paths), [marker(paths)], { PATH: path }, paths.dockerdLog)
}

/** Ends our daemon with its containers and its containerd, also those left by a daemon that was killed. Data stays. */
export async function stopDaemon(paths: Paths): Promise<void> {
  await endProcesses(() => daemonProcesses(paths), STOP_PATIENCE)
  // All in one sweep: a container whose shim is gone is found by nobody, and its first process ignores SIGTERM.
  await killProcesses(() => leftovers(paths))
  if ((await attempt('ip', ['link', 'show', paths.bridge])).ok)
    await run('ip', ['link', 'delete', paths.bridge])
}

function configuration(paths: Paths) {
  return {
    hosts: [`unix://${paths.socket}`],
    group: 'root',
    'data-root': paths.dockerData,
    'exec-root': execRoot(paths),
    pidfile: pidFile(paths),
    bridge: paths.bridge,
    'userland-proxy-path': proxy(paths),
    'init-path': init(paths),
  }
}

/** dockerd gives the bridge a subnet that no route of this machine covers, but wants the bridge to be there. */
async function makeBridge(name: string): Promise<void> {
  if ((await attempt('ip', ['link', 'show', name])).ok) return
  await run('ip', ['link', 'add', 'name', name, 'type', 'bridge'])
}

function daemonProcesses(paths: Paths): Process[] {
  return processes().filter(({ exe, args }) => exe === dockerd(paths) && args.includes(marker(paths)))
}

/** Our containerd. */
const containerdProcesses = (paths: Paths) =>
  ofContainerd(paths, processes()).filter(({ exe }) => basename(exe) === 'containerd')

/** What a killed dockerd leaves: containerd, its shims, and the containers below them. */
function leftovers(paths: Paths): Process[] {
  const all = processes()
  const found = ofContainerd(paths, all)
  // The list grows while it is walked, so that children's children are found too.
  for (const { pid } of found) found.push(...all.filter(({ parent }) => parent === pid))
  return found
}

/** Processes that run programs of the containerd package for our daemon. */
const ofContainerd = (paths: Paths, all: Process[]) =>
  all.filter(
    ({ exe, args }) =>
      dirname(exe) === containerdFolder(paths) && args.some((word) => word.startsWith(execRoot(paths))),
  )

/** The argument that tells our daemon from others. */
const marker = (paths: Paths) => `--config-file=${paths.dockerdConfig}`
const pidFile = (paths: Paths) => join(paths.run, 'docker.pid')
const execRoot = (paths: Paths) => join(paths.run, 'exec')
const dockerd = (paths: Paths) => join(unpackedAt(paths, 'docker.io'), 'usr/sbin/dockerd')
const proxy = (paths: Paths) => join(unpackedAt(paths, 'docker.io'), 'usr/sbin/docker-proxy')
const init = (paths: Paths) => join(unpackedAt(paths, 'tini'), 'usr/bin/tini-static')
const containerdFolder = (paths: Paths) => join(unpackedAt(paths, 'containerd'), 'usr/bin')
