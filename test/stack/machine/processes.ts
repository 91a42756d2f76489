// Daemons in the background. They are found again by what they run and by an argument that only ours have, never by
// a number in a file: after a reboot that number is somebody else's.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

/** A process as /proc shows it. */
export interface Process {
  pid: number
  parent: number
  /** the file it executes */
  exe: string
  args: string[]
}

/** All processes that we may look into; kernel threads, zombies and other users' processes are left out. */
export function processes(): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        return [
          {
            pid: Number(name),
            // The command in brackets may hold spaces and brackets itself; state and parent follow the last one.
            parent: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]),
            exe: readlinkSync(`/proc/${name}/exe`).replace(/ \(deleted\)$/, ''),
            args: readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0'),
          },
        ]
      } catch (error) {
        if (isGone(error)) return []
        throw error
      }
    })
}

/**
 * Starts a program detached from us and from the terminal; its output goes to `log`, in place of what was there.
 * Throws when it cannot be started; that it works is for the caller to find out.
 */
export async function startDetached(
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  log: string,
): Promise<void> {
  const output = openSync(log, 'w', 0o600)
  try {
    const child = spawn(file, args, { detached: true, cwd: '/', env, stdio: ['ignore', output, output] })
    await once(child, 'spawn')
    child.unref()
  } finally {
    closeSync(output)
  }
}

/** Ends processes: SIGTERM, and SIGKILL for those that are still there after `patience` (ms). Throws if that fails. */
export async function endProcesses(find: () => Process[], patience: number): Promise<void> {
  for (const { pid } of find()) signal(pid, 'SIGTERM')
  if (await until(() => find().length === 0, patience)) return
  await killProcesses(find)
}

/** Ends processes at once by SIGKILL, all that `find` gives together. Throws if they are still there after 10 s. */
export async function killProcesses(find: () => Process[]): Promise<void> {
  for (const { pid } of find()) signal(pid, 'SIGKILL')
  if (await until(() => find().length === 0, 10_000)) return
  throw new Error(
    `These processes do not end: ${find()
      .map((p) => `${p.pid} (${p.exe})`)
      .join(', ')}.`,
  )
}

/** Waits until a condition holds, asking every 50 ms; false when it does not within `deadline` (ms). */
export async function until(condition: () => boolean | Promise<boolean>, deadline: number): Promise<boolean> {
  const end = performance.now() + deadline
  while (!(await condition())) {
    if (performance.now() > end) return false
    await pause(50)
  }
  return true
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (!isGone(error)) throw error
  }
}

/** A process may end, or belong to another user, between being listed and being looked at. */
function isGone(error: unknown): boolean {
  return ['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')
}
