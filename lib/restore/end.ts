// What a restore says at its end, good or not.
import type { Outcome } from '../execute.ts'
import { checkService } from '../health.ts'
import { readStack } from '../stack.ts'
import { downtimeText, endWatch } from '../downtime.ts'
import { compose } from '../docker.ts'
import { line } from '../shell.ts'
import { present } from './back.ts'
import type { Course } from './course.ts'
import { isHalf, openRestore } from './record.ts'
import { nextOf } from './standing.ts'

/** The last words of a restore that is done. */
export function done({ context, mode, record, stack }: Course): string {
  const { flags } = context
  if ((flags.only ?? flags.from) !== undefined) return 'Done: these steps alone.\n'
  if (mode === 'commit') return 'Committed.\n'
  if (mode === 'abort')
    return record?.phase === 'swapped'
      ? 'The restored data is in its place again.\n'
      : 'What was there before is there again.\n'
  if (mode === 'undo' || record?.phase === 'undone') {
    const left = record?.room ? 'The copy of what was there' : 'What had been restored'
    return `Undone. ${left} is kept until: task restore -- --commit\n`
  }
  const kept =
    openRestore(context.config) === undefined
      ? ''
      : 'What was there before is kept aside. When all is well: task restore -- --commit; to go back: task restore -- --undo\n'
  const stopped =
    record?.keepStopped && stack
      ? `Left stopped, as was asked for: ${record.touched.join(', ')}. To start them:\n  ${line(compose(stack, 'up', '-d'))}\n`
      : ''
  return `Restored from ${record?.name ?? ''}.\n${stopped}${kept}`
}

/** After a failure and its undo: is the service up, what is true now, what to type next? */
export async function afterFailure(
  course: Course | undefined,
  outcome: Outcome,
): Promise<{ up: boolean; text: string }> {
  if (!course) return { up: true, text: 'Nothing of the stack was touched.' }
  const { context, watch, back, record, downtimes, mode, stays } = course
  const open = openRestore(context.config)
  const ledger = watch ? [downtimeText(downtimes ?? (await endWatch(watch)))] : []
  if (mode === 'commit') {
    const text = 'What was kept aside is not whole any more. To remove the rest: task restore -- --commit'
    return { up: true, text: `The stack was not touched. ${open ? text : ''}` }
  }
  if (outcome.notUndone.length > 0) {
    const ways = open && isHalf(open) ? nextOf(open).map((l) => `\n  ${l}`) : []
    const next = ways.length > 0 ? `\nTo go on, or back, when the cause is mended:${ways.join('')}` : ''
    return {
      up: false,
      text: [...ledger, `The service is NOT confirmed to be as it was. Look: task health${next}`].join('\n'),
    }
  }
  if (stays) {
    const way = open ? ' To go back to what was there: task restore -- --undo' : ''
    const text =
      'The set is restored, and was compared. But not every service is healthy; those named above were not healthy before, ' +
      `either, so nothing was taken back.\nLook: task health.${way}`
    return { up: false, text: [text, ...ledger].join('\n') }
  }
  const now = course.fresh ? undefined : await readStack(context.config)
  const needed = (record?.phase === 'swapped' ? record.after?.healthy : record?.healthy) ?? []
  const looks = now ? await Promise.all(present(now, needed).map((name) => checkService(now, name))) : []
  const unwell = looks.filter((v) => !v.ok).map((v) => `${v.service}: ${v.evidence}`)
  if (unwell.length > 0) return { up: false, text: [...unwell, ...ledger, 'Look: task health'].join('\n') }
  const text = back
    ? record?.phase === 'swapped'
      ? 'The restored data is in its place again, and what was healthy before the undo is healthy.'
      : 'What was there before is in its place again, and what was healthy before is healthy.'
    : 'Nothing of the stack was touched: what ran runs on.'
  return { up: true, text: [text, ...ledger].join('\n') }
}
