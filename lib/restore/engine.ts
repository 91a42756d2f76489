// An engine that runs aside, on files that are being prepared: without a network, reached by its Unix socket in a
// private folder, as the user who owns the files, with limits that leave the server to those who serve users.
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { docker } from '../docker.ts'
import { makeFolder } from '../files.ts'
import { mountOf, type Place } from '../place.ts'
import { exec, interruption, stream } from '../shell.ts'
import { field, type OwnImage } from '../throwaway.ts'
import { contained, type Ground } from './ground.ts'
import { hiddenFolder } from './hidden.ts'

const CPU_SHARES = 64 // of a container's usual 1024
const SOCKETS = 'engine-' // folders in STATE_DIR, one for each engine
const START = 120_000 // ms until it must answer
const POLL = 100 // ms

export interface Aside {
  readonly id: string
  /** A short path to the folder with its socket, for this process alone: a socket's path may have 107 bytes. */
  readonly sockets: string
  /** Settles with its exit code when it has ended. */
  readonly ended: Promise<number>
  /** What it logged last. */
  log(): string
  /** Removes it if it still runs, and its folder. */
  end(): Promise<void>
}

/** What is started. */
export interface EngineStart {
  readonly image: OwnImage
  readonly place: Place
  readonly stamp: string
  /** `uid:gid` */
  readonly user: string
  /** The program and its words; its folder is DATA, its sockets and its log belong into SOCKET. */
  readonly words: readonly [string, ...string[]]
  readonly options?: readonly string[]
}

/** Its folder, and the folder of its socket and log, as it sees them. */
export const SOCKET = '/runbook-socket'
export const dataIn = ({ folder }: Place, stamp: string): string =>
  `/p/0/${folder}/${hiddenFolder(stamp)}/new.partial`

/** Starts an engine on the files that are being prepared at a place. The caller waits for its answer, and ends it. */
export async function startAside(
  ground: Ground,
  { image, place, user, words: [program, ...args], options = [] }: EngineStart,
): Promise<Aside> {
  makeFolder(ground.stateDir)
  const folder = mkdtempSync(join(ground.stateDir, SOCKETS)) // 0700: who else is on this machine stays out
  const inside = join(folder, 's')
  mkdirSync(inside)
  chmodSync(inside, 0o777) // whoever the engine's user is
  const fd = openSync(inside, 'r')
  const gone = async (): Promise<void> => {
    closeSync(fd)
    rmSync(folder, { recursive: true })
  }
  try {
    const limits = [`--cpu-shares=${CPU_SHARES}`, `--user=${user}`, '--detach']
    const mounts = [mountOf(place, '/p/0'), `--mount=type=bind,${field(`src=${inside}`)},dst=${SOCKET}`]
    const run = contained(ground, image, [...limits, ...mounts, ...options], program, ...args)
    const id = (await exec(run)).stdout.trim()
    const ended = exitCode(id)
    return {
      id,
      sockets: `/proc/self/fd/${fd}`,
      ended,
      log: () => lastOf(join(inside, 'log')),
      async end() {
        await docker('rm', '--force', id).catch((error: unknown) => {
          if (!/no such container|already in progress/i.test(String(error))) throw error
        })
        await ended
        await gone()
      },
    }
  } catch (error) {
    await gone()
    throw error
  }
}

/** Waits for an answer from an engine that was just started. @throws what it logged last, when it ended or is late */
export async function answers<T>(aside: Aside, ask: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + START
  let over: number | undefined
  void aside.ended.then((code) => (over = code))
  for (;;) {
    interruption.getStore()?.throwIfAborted()
    try {
      return await ask()
    } catch (error) {
      if (over !== undefined || performance.now() > deadline) {
        const what =
          over === undefined ? `does not answer after ${START / 1000} s` : `ended with code ${over}`
        throw new Error(`The engine that prepares the data ${what}:\n${aside.log()}`, { cause: error })
      }
    }
    await delay(POLL)
  }
}

/** The exit code of a container, when it has ended. */
async function exitCode(id: string): Promise<number> {
  const { child, ended } = stream({ words: ['docker', 'wait', id] })
  let out = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text))
  await ended.catch(() => {}) // it may be removed before it is waited for: then the code is not known
  return out.trim() === '' ? -1 : Number(out.trim())
}

function lastOf(file: string): string {
  if (!existsSync(file)) return '  it has logged nothing'
  const lines = readFileSync(file, 'utf8').trim().split('\n').slice(-12)
  return lines.map((l) => `  ${l.slice(0, 400)}`).join('\n')
}

/** Removes the folders of engines that runs which are not alive any more left. The caller holds the stack's lock. */
export function removeSockets(stateDir: string): void {
  const left = existsSync(stateDir) ? readdirSync(stateDir).filter((n) => n.startsWith(SOCKETS)) : []
  for (const name of left) rmSync(join(stateDir, name), { recursive: true })
}
