// What an update says at its end, good or not.
import { olderImages } from '../images.ts'
import { checkService } from '../health.ts'
import type { Outcome } from '../execute.ts'
import { countDocuments, newDatabases } from '../sentinel.ts'
import type { Context } from '../script.ts'
import { quote } from '../shell.ts'
import { readStack, type Stack } from '../stack.ts'
import type { Course } from './course.ts'
import { downtimeText, endWatch } from '../downtime.ts'
import { failedImages } from './refused.ts'

/** The ledger of the run's phases, in the order in which they ran. */
function phases({ steps }: Outcome): string {
  const ran = steps.filter((s) => s.outcome !== 'skipped')
  return `Phases: ${ran.map((s) => `${s.title} ${(s.ms / 1000).toFixed(1)} s`).join(' · ')}`
}

/** The last words of an update that is done. */
export function done(course: Course | undefined, { stack, flags }: Context, outcome: Outcome): string {
  const healthy = course?.baseline?.healthy.join(', ')
  if (flags.abort) return `What ran before runs again. Healthy: ${healthy}.\n`
  if (!course?.whole) return 'Done: these steps alone.\n'
  const what = course.replaced?.length === 0 ? 'Nothing was to be replaced in' : 'Updated'
  return `${what} ${stack.project}. Healthy and stable: ${healthy}.\n${phases(outcome)}\n`
}

/** Older images that nothing uses: told, never removed. */
export async function olderText(stack: Stack): Promise<string[]> {
  const older = await olderImages(stack)
  return older.length === 0
    ? []
    : [`${older.length} older images are kept that nothing uses: task status lists them.`]
}

/** After a failure and its undo: is the service up, what is true now, what to type next? */
export async function afterFailure(
  course: Course | undefined,
  outcome: Outcome,
): Promise<{ up: boolean; text: string }> {
  if (!course) return { up: false, text: '' }
  const { stack, stamp, baseline, back, backTook, watch } = course
  const took = backTook === undefined ? '' : ` · the way back ${(backTook / 1000).toFixed(1)} s`
  const ledger = watch ? [downtimeText(await endWatch(watch)), `${phases(outcome)}${took}`] : []
  const look = `docker compose --project-directory ${quote(stack.dir)} -p ${stack.project} ps -a`
  const down = [
    ...ledger,
    'The service is NOT confirmed to be as it was. Look: task health, then',
    `  ${look}`,
    'To try again to bring back what ran before: task update -- --abort',
  ]
  if (outcome.notUndone.length > 0) return { up: false, text: down.join('\n') }
  const now = await readStack(stack.config)
  const looks = await Promise.all((baseline?.healthy ?? []).map((name) => checkService(now, name)))
  const unwell = looks.filter((v) => !v.ok).map((v) => `${v.service}: ${v.evidence}`)
  if (unwell.length > 0) return { up: false, text: [...unwell, ...down].join('\n') }
  const failed = failedImages(stack.config).filter((f) => f.run === stamp)
  const text = back
    ? [
        'The version that ran before runs again and is healthy, on the same volumes; documents, files and what the ' +
          'services tell of them were compared.',
        ...failed.map((f) => `  ${f.service}: ${f.why.split('\n')[0]}`),
        ...(failed.length > 0 ? [`The new images are kept as runbook/failed-${stamp}:….`] : []),
        ...(baseline?.set === undefined
          ? []
          : [`Data stays as the new version left it. The set from before: pre-update-${baseline.set}`]),
        ...newDatabases(baseline?.counts.documents ?? {}, await countDocuments(now)),
      ]
    : baseline?.verified
      ? ['The new version runs. It was found healthy, and nothing lost, before this.']
      : ['What ran before still runs and is healthy: nothing of it was stopped.']
  return { up: true, text: [...text, ...ledger, 'When the cause is mended, type: task update'].join('\n') }
}
