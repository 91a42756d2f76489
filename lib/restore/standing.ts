// How the restore that is open here stands, for whoever asks for the status.
import { size } from '../backup/bytes.ts'
import type { Stack } from '../stack.ts'
import { groundOf } from './ground.ts'
import { hiddenBytes } from './hidden.ts'
import { isGivenUp, isHalf, openRestore, type Restore } from './record.ts'

export interface RestoreFact {
  readonly set: string
  readonly phase: Restore['phase']
  /** bytes on the disk that are kept aside; undefined where that was not measured. */
  readonly bytes: number | undefined
  readonly text: string
  /** What to type. */
  readonly next: readonly string[]
}

/** Only reads. Undefined when no restore is open. */
export async function restoreFact(stack: Stack): Promise<RestoreFact | undefined> {
  const open = openRestore(stack.config)
  if (!open) return undefined
  const { name: set, phase } = open
  const next = nextOf(open)
  if (isHalf(open)) {
    const text = `The restore of ${set} did not end, or is at work: part of the data is swapped.`
    return { set, phase, bytes: undefined, text, next }
  }
  const { scratch } = open.room ?? {}
  if (scratch !== undefined) {
    const text =
      phase === 'undone'
        ? `The restore of ${set} was undone; the copy of what was there is still in ${scratch}.`
        : `The restore of ${set}: what was there before it is kept in ${scratch}.`
    return { set, phase, bytes: undefined, text, next }
  }
  const places = open.targets.map((t) => t.place)
  const bytes = await hiddenBytes(await groundOf(stack, 'restore'), open.stamp, places)
  const what = {
    preparing: 'prepared and not swapped, or at work',
    swapped: 'what was there before it is kept aside',
    undone: 'undone; what had been restored is kept aside',
    committing: 'what was kept aside is being removed, and not whole any more',
  }[phase as 'preparing' | 'swapped' | 'undone' | 'committing']
  return { set, phase, bytes, text: `The restore of ${set}: ${what}, ${size(bytes)}.`, next }
}

/** What ends an open restore. */
export function nextOf(open: Restore): string[] {
  const { phase, backwards } = open
  if (isGivenUp(open)) return ['task restore -- --resume']
  if (phase === 'swapped') return ['task restore -- --commit', 'task restore -- --undo']
  if (phase === 'undone' || phase === 'committing') return ['task restore -- --commit']
  return [...(backwards ? [] : ['task restore -- --resume']), 'task restore -- --abort']
}
