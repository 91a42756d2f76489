// What a restore says at its end, good or not.
import type { Outcome } from '../execute.ts'
import { checkService } from '../health.ts'
import { readStack } from '../stack.ts'
import { downtimeText, endWatch } from '../update/downtime.ts'
import type { Course } from './course.ts'
import { openRestore } from './record.ts'

/** The last words of a restore that is done. */
export function done({ context, mode, record, fresh }: Course): string {
  const { flags } = context
  if ((flags.only ?? flags.from) !== undefined) return 'Done: these steps alone.\n'
  if (mode === 'commit') return 'Committed.\n'
  if (mode === 'abort')
    return record?.phase === 'swapped'
      ? 'The restored data is in its place again.\n'
      : 'What was there before is there again.\n'
  if (mode === 'undo' || record?.phase === 'undone')
    return 'Undone. What had been restored is kept aside until: task restore -- --commit\n'
  const kept =
    'What was there before is kept aside. When all is well: task restore -- --commit; to go back: task restore -- --undo\n'
  return `Restored from ${record?.name ?? ''}.\n${fresh ? '' : kept}`
}

/** After a failure and its undo: is the service up, what is true now, what to type next? */
export async function afterFailure(
  course: Course | undefined,
  outcome: Outcome,
): Promise<{ up: boolean; text: string }> {
  if (!course) return { up: true, text: 'Nothing of the stack was touched.' }
  const { context, watch, back, record, downtimes } = course
  const open = openRestore(context.config)
  const ledger = watch ? [downtimeText(downtimes ?? (await endWatch(watch)))] : []
  if (outcome.notUndone.length > 0) {
    const next =
      open && open.phase !== 'swapped'
        ? '\nTo try again to bring back what was there: task restore -- --abort'
        : ''
    return {
      up: false,
      text: [...ledger, `The service is NOT confirmed to be as it was. Look: task health${next}`].join('\n'),
    }
  }
  if (record?.phase === 'swapped') {
    const way = open ? ' To go back to what was there: task restore -- --undo' : ''
    const text =
      'The set is restored, and was compared. But not every service is healthy; those named above were not healthy before, ' +
      `either, so nothing was taken back.\nLook: task health.${way}`
    return { up: false, text: [text, ...ledger].join('\n') }
  }
  const now = course.fresh ? undefined : await readStack(context.config)
  const looks = now ? await Promise.all((record?.healthy ?? []).map((name) => checkService(now, name))) : []
  const unwell = looks.filter((v) => !v.ok).map((v) => `${v.service}: ${v.evidence}`)
  if (unwell.length > 0) return { up: false, text: [...unwell, ...ledger, 'Look: task health'].join('\n') }
  const text = back
    ? 'What was there before is in its place again, and what was healthy before is healthy.'
    : 'Nothing of the stack was touched: what ran runs on.'
  return { up: true, text: [text, ...ledger].join('\n') }
}
