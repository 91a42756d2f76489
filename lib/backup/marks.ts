// What became of a set after it was sealed: small files beside it, one for each fact, so that nobody who notes one
// can lose another. A person may make or remove them by hand: `touch <set>.pinned` pins.
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { syncFolder, writeWhole } from '../files.ts'
import { basename, dirname } from 'node:path'

/**
 * `pinned`: never removed by rotation. `proven`: a drill restored it with equal content. `verified`: read in full
 * after it was made. `damaged`: found so when it was read again. `accepted`: somebody looked at what made it suspect.
 * `copy`: where it was copied to, or why that failed; see copy.ts.
 */
export const MARKS = ['pinned', 'proven', 'verified', 'damaged', 'accepted', 'copy'] as const
export type MarkName = (typeof MARKS)[number]

export interface Mark {
  /** ISO 8601; empty when it was made by hand. */
  readonly at: string
  /** Why, in the words of whoever made it. */
  readonly why?: string
  /** Of a proof: the hash that the set's seal named then. */
  readonly sha256?: string
}

const fileOf = (set: string, name: MarkName): string => `${set}.${name}`

/** Notes a fact about the set at that path, durably. A mark of the same name is replaced. */
export function mark(set: string, name: MarkName, what: Omit<Mark, 'at'> = {}): void {
  writeWhole(fileOf(set, name), `${JSON.stringify({ at: new Date().toISOString(), ...what })}\n`)
}

/** Takes a mark away; one that is not there is gone already. */
export function unmark(set: string, name: MarkName): void {
  if (!existsSync(fileOf(set, name))) return
  rmSync(fileOf(set, name))
  syncFolder(dirname(set))
}

/** Takes every mark of a set away: the set itself is gone. */
export function unmarkAll(set: string): void {
  for (const name of MARKS) rmSync(fileOf(set, name), { force: true })
}

/** The marks of the set at that path. An empty or unreadable one counts, as made by hand. */
export function readMarks(set: string): Partial<Record<MarkName, Mark>> {
  const found: Partial<Record<MarkName, Mark>> = {}
  for (const name of MARKS) if (existsSync(fileOf(set, name))) found[name] = parsed(fileOf(set, name))
  return found
}

function parsed(file: string): Mark {
  try {
    const { at, why, sha256 } = JSON.parse(readFileSync(file, 'utf8')) as Partial<Record<keyof Mark, unknown>>
    const text = (key: string, value: unknown): object => (typeof value === 'string' ? { [key]: value } : {})
    return { at: typeof at === 'string' ? at : '', ...text('why', why), ...text('sha256', sha256) }
  } catch {
    return { at: '' }
  }
}

/** The set's name that a mark's file name belongs to; undefined when it is none. */
export function setOfMark(file: string): string | undefined {
  const name = MARKS.find((m) => file.endsWith(`.tar.gz.${m}`))
  return name && basename(file.slice(0, -name.length - 1))
}
