// Kernel locks: gone with the process that holds them, whatever ended it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'

/**
 * Takes a lock on a file (created when missing) and gives the function that releases it, or undefined when others
 * hold it for longer than `wait` (seconds; 0 does not wait). Throws when locking itself does not work.
 */
export async function lock(
  file: string,
  mode: 'shared' | 'exclusive',
  wait: number,
): Promise<(() => void) | undefined> {
  const fd = openSync(file, 'a', 0o600)
  // A flock belongs to the open file, not to the process that asked for it: flock(1) locks the file that we opened,
  // and it stays locked when flock(1) has ended. Node opens files close-on-exec, so no other child inherits it.
  const child = spawn('flock', [`--${mode}`, '--timeout', String(wait), '3'], {
    stdio: ['ignore', 'ignore', 'inherit', fd],
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  if (code === 0) return () => closeSync(fd)
  closeSync(fd)
  if (code === 1) return undefined
  throw new Error(`The lock ${file} cannot be taken: flock ended with ${code}.`)
}
