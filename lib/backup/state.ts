// Whether there is something to go back to, here and elsewhere, and how old it is.
import { existsSync, statSync } from 'node:fs'
import { ageLimit, type Config } from '../env.ts'
import { age, type SetLine } from './list.ts'

/** How old what one could go back to is, here and at the copy's place. */
export interface BackupState {
  readonly newestGood: SetLine | undefined
  readonly newestCopied: SetLine | undefined
  /** Sentences; with one of them status exits with 3. */
  readonly problems: readonly string[]
  readonly notes: readonly string[]
}

/** Looks at the sets of a stack; only reads. */
export function backupState(config: Config, sets: readonly SetLine[]): BackupState {
  const { BACKUP_MAX_AGE: limit, BACKUP_COPY_TO: target, BACKUP_DIR } = config
  const newestGood = sets.find((s) => s.good)
  const newestCopied = sets.find((s) => s.good && s.copy === 'copied')
  const tooOld = (what: string, set: SetLine | undefined): string[] => {
    if (limit === '' || (set && Date.now() - Date.parse(set.date) <= ageLimit(limit))) return []
    return [`${what}${set ? ` was made ${age(set.date)}` : ' does not exist'}: BACKUP_MAX_AGE is ${limit}`]
  }
  const problems = [
    ...tooOld('The newest good set', newestGood),
    ...(target === '' ? [] : tooOld('The newest good copy', newestCopied)),
  ]
  const notes =
    target === '' && sameDisk(BACKUP_DIR, config.STACK_DIR)
      ? ['The sets are on the disk of the stack: they do not protect from its loss (BACKUP_COPY_TO).']
      : []
  return { newestGood, newestCopied, problems, notes }
}

const sameDisk = (...paths: readonly string[]): boolean =>
  new Set(paths.map((p) => (existsSync(p) ? statSync(p).dev : undefined))).size === 1
