// Copies of the sets elsewhere: a set on the same disk protects from mistakes, not from the loss of the disk.
import type { Config } from '../env.ts'
import { sentence } from '../errors.ts'
import type { Doing } from '../steps.ts'
import { copySet, copyTarget, readCopy, writeCopy } from './copy.ts'
import { listSets, type SetInfo } from './sets.ts'

/** What is known of a set's copy at the target that is configured now. */
export type CopyState = 'copied' | 'failed' | 'none'

export function copyState({ path }: Pick<SetInfo, 'path'>, target: string): CopyState {
  const copy = readCopy(path)
  if (copy?.to !== target) return 'none'
  return copy.ok ? 'copied' : 'failed'
}

/**
 * Copies every good set of this stack that is not at BACKUP_COPY_TO yet, the newest first, and notes how that went
 * beside each. After a failure the others are not tried: it would be the same.
 * @returns a sentence for each failure; it never throws for one.
 */
export async function copyMissing(
  { BACKUP_DIR, STACK_ID, BACKUP_COPY_TO: to }: Config,
  doing: Pick<Doing, 'say' | 'progress' | 'effect'>,
): Promise<string[]> {
  const target = copyTarget(to)
  const missing = (await listSets(BACKUP_DIR, STACK_ID)).filter(
    (s) => s.good && s.stackId === STACK_ID && copyState(s, to) !== 'copied',
  )
  if (missing.length === 0) doing.say('every good set is there already')
  for (const { path, name } of missing) {
    try {
      const copied = await doing.effect(`Copy ${name}`, { to }, () =>
        copySet(path, target, { report: (text) => doing.progress(text) }),
      )
      writeCopy(path, { to, ok: true, ...copied })
      doing.say(`${name}: copied to ${to}, compared there by ${copied.verified}`)
    } catch (error) {
      const why = sentence(error)
      writeCopy(path, { to, ok: false, why: why.split('\n')[0] ?? '' })
      return [why]
    }
  }
  return []
}
