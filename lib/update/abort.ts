// Taking back an update that was killed, or that could not go back by itself.
import { refusal } from '../errors.ts'
import type { Step } from '../steps.ts'
import { noteBaseline } from './baseline.ts'
import { bringBackOnce, type Course } from './course.ts'

const MINUTE = 60_000 // ms

/** Brings back what ran before the update that did not end. @throws refusal (exit 3) when there is none */
export function abortSteps(course: Course): Step[] {
  const { open } = course
  if (!open)
    throw refusal('There is no update to abort: the last one has come to its end. Nothing was changed.')
  const baseline = { ...open.baseline, aborted: true as const }
  course.baseline = baseline
  return [
    {
      title: 'Note what ran before',
      limit: MINUTE,
      run: async (doing) => {
        doing.say(`${open.run} did not end; before it ran: ${baseline.ran.map((r) => r.service).join(', ')}`)
        noteBaseline(baseline, doing.dir)
      },
    },
    {
      title: 'Bring what ran before back',
      limit: 60 * MINUTE,
      run: async (doing) => bringBackOnce(course, doing, undefined),
    },
  ]
}
