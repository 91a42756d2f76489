// One kernel lock per stack: it heals itself, since the kernel frees it when its holder is gone.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { EXIT, Stop } from './errors.ts'
import { privateFolder, writeWhole } from './files.ts'

const TAKEN = 75 // flock's exit code for "somebody else holds it", chosen by us

/** A held lock. `release` frees it; so does the end of this process, however it ends. */
export interface Lock {
  release(): Promise<void>
}

/**
 * Takes the stack's lock, or says who holds it. A child (`flock`) holds it as long as our pipe to it is open.
 * @throws Stop (exit 5) with the holder's script, process id and start time.
 */
export async function takeLock(stateDir: string, script: string): Promise<Lock> {
  privateFolder(stateDir, 'STATE_DIR')
  const holder = join(stateDir, 'lock.holder')
  const words = ['-n', '-E', String(TAKEN), join(stateDir, 'lock'), 'sh', '-c', 'echo held; exec cat']
  // Detached: a Ctrl-C on the terminal must not free the lock while we undo.
  const child = spawn('flock', words, { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  const closed = once(child, 'close')
  closed.catch(() => {})
  let said = ''
  child.stderr.on('data', (chunk) => (said += String(chunk)))
  const answer = await Promise.race([
    once(child.stdout, 'data').then(() => 'held'),
    once(child, 'close').then(([code]) => code as number | null),
    once(child, 'error').then(([error]) => {
      throw new Stop(
        EXIT.failed,
        `The lock could not be taken, flock did not start: ${String(error)}. Nothing was changed.`,
      )
    }),
  ])
  if (answer === TAKEN)
    throw new Stop(EXIT.locked, `${heldBy(holder)}\nNothing was changed. Wait for it, or look: task status`)
  if (answer !== 'held')
    throw new Stop(EXIT.failed, `The lock could not be taken: ${said.trim()}. Nothing was changed.`)
  child.unref()
  writeWhole(
    holder,
    JSON.stringify({ script, pid: process.pid, user: userInfo().username, since: new Date().toISOString() }),
  )
  return {
    async release() {
      rmSync(holder, { force: true })
      child.ref()
      child.stdin.end()
      await closed
    },
  }
}

function heldBy(file: string): string {
  try {
    const { script, pid, user, since } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>
    return `Another run holds the lock of this stack: ${script} by ${user}, process ${pid}, since ${since}.`
  } catch {
    return 'Another run holds the lock of this stack (it has just started).'
  }
}
