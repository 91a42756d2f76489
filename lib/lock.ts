// One kernel lock per stack: it heals itself, since the kernel frees it when its holder is gone.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { EXIT, sentence, Stop, usage } from './errors.ts'
import { privateFolder } from './files.ts'

const TAKEN = 75 // flock's exit code for "somebody else holds it", chosen by us

/** A held lock. `release` frees it; so does the end of this process, however it ends. */
export interface Lock {
  release(): Promise<void>
}

let held: number | undefined

/**
 * The open file that is the lock, while we hold it. A command that inherits it keeps the stack locked until it has
 * ended, also when we are killed before: the next run must not start beside a `docker compose up` that still works.
 */
export const heldLock = (): number | undefined => held

/**
 * Takes the stack's lock: the file `lock` in its STATE_DIR, which also says who holds it.
 * @throws Stop (exit 5) with the holder's script, process id and start time; usage (exit 2) when the file cannot be
 *   opened.
 */
export async function takeLock(stateDir: string, script: string): Promise<Lock> {
  const file = join(privateFolder(stateDir, 'STATE_DIR'), 'lock')
  const fd = opened(file)
  try {
    // A lock belongs to the open file, not to the process that asked for it: flock(1) locks the file that we opened,
    // and it stays locked when flock(1) has ended. Only whoever is handed it inherits it: Node opens files close-on-exec.
    // Detached: a Ctrl-C on the terminal is for us alone.
    const child = spawn('flock', ['-n', '-E', String(TAKEN), '3'], {
      stdio: ['ignore', 'ignore', 'pipe', fd],
      detached: true,
    })
    let said = ''
    child.stderr?.on('data', (chunk) => (said += String(chunk)))
    const [code] = (await once(child, 'close')) as [number | null]
    if (code === TAKEN) throw new Stop(EXIT.locked, heldBy(file))
    if (code !== 0) throw new Error(said.trim() || `flock ended with ${code}`)
    const holder = { script, pid: process.pid, user: userInfo().username, since: new Date().toISOString() }
    ftruncateSync(fd)
    writeSync(fd, JSON.stringify(holder))
  } catch (error) {
    closeSync(fd)
    if (error instanceof Stop) throw error
    throw new Stop(EXIT.failed, `The lock could not be taken: ${sentence(error)}. Nothing was changed.`, {
      cause: error,
    })
  }
  held = fd
  return {
    async release() {
      held = undefined
      ftruncateSync(fd)
      closeSync(fd)
    },
  }
}

function opened(file: string): number {
  try {
    return openSync(file, 'a', 0o600)
  } catch (error) {
    throw usage(`The lock of this stack cannot be opened: ${sentence(error)}. Nothing was changed.`)
  }
}

function heldBy(file: string): string {
  const advice = 'Nothing was changed. Wait for it, or look: task status'
  try {
    const { script, pid, user, since } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>
    const who = `${script} by ${user}, process ${pid}, since ${since}`
    return existsSync(`/proc/${pid}`)
      ? `Another run holds the lock of this stack: ${who}.\n${advice}`
      : `A run was killed (${who}), and a command that it had started still works.\n${advice}`
  } catch {
    return `Another run holds the lock of this stack (it has just started).\n${advice}`
  }
}
