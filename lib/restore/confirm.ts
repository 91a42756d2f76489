// What somebody is told before a restore, its undo or its commit, and the words to type for it.
import type { ConfigRecord } from '../backup/manifest.ts'
import { checked, outsideOf } from './check.ts'
import { wordOf, type Course } from './course.ts'
import { keptText } from './ends.ts'
import { planText } from './plan.ts'

/** Undefined when nothing is asked: a step alone, and what was confirmed before it was killed. */
export async function confirms(
  course: Course,
): Promise<{ will: string; words: readonly string[] } | undefined> {
  const { mode, record, context } = course
  const whole = (context.flags.only ?? context.flags.from) === undefined
  if (!whole || mode === 'resume' || mode === 'abort') return undefined
  if (mode === 'restore') {
    const found = await checked(course, (text) => void process.stderr.write(`${text}\n`))
    return { will: planText(course, found), words: confirmWords(course, outsideOf(course, found)) }
  }
  const fate =
    mode === 'commit'
      ? 'It is removed for good.'
      : record?.room
        ? 'It is brought back. What was restored, and what was written since, is GONE then.'
        : 'It is brought back. What was written since the restore is kept aside then, until --commit.'
  return { will: `${await keptText(course)}\n${fate}`, words: [wordOf(record?.name ?? '')] }
}

const confirmWords = ({ set, record, context }: Course, outside: readonly ConfigRecord[]): string[] => [
  ...(set && !set.sealed ? ['unverified'] : []),
  ...(context.flags['in-place'] === true ? ['no-undo'] : []),
  ...(outside.length > 0 ? ['outside'] : []),
  wordOf(set?.name ?? record?.name ?? ''),
]
