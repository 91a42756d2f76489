// A backup has time: whoever serves users goes first.
import { readdirSync } from 'node:fs'
import { constants, getPriority, setPriority } from 'node:os'

const { PRIORITY_BELOW_NORMAL, PRIORITY_NORMAL } = constants.priority

/** Every thread of this process: the kernel keeps a priority for each, and Node compresses in several. */
function everyThread(priority: number): void {
  for (const id of readdirSync('/proc/self/task')) setPriority(Number(id), priority)
}

/** Does work at a low priority, and goes back. Whoever may not raise it again (not root) stays low. */
export async function inBackground<T>(work: () => Promise<T>): Promise<T> {
  const mayRaise = process.getuid?.() === 0
  if (getPriority() > PRIORITY_NORMAL) return work()
  everyThread(PRIORITY_BELOW_NORMAL)
  try {
    return await work()
  } finally {
    if (mayRaise) everyThread(PRIORITY_NORMAL)
  }
}
