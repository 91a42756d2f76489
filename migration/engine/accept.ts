// What of the findings a person has accepted or the plan foresees; the rest stops the migration. Pure.
import { usage } from '../../lib/errors.ts'
import type { Reason } from '../outcome.ts'
import type { Plan } from '../plan-types.ts'
import type { Source } from './inventory.ts'

/** By rule, the ids as they are typed. */
export type Accepted = ReadonlyMap<string, ReadonlySet<string>>

/** The words of `--accept RULE:IDS`. @throws usage (exit 2) naming a word that is none */
export function acceptedFrom(words: readonly string[]): Accepted {
  const accepted = new Map<string, Set<string>>()
  for (const word of words) {
    const [, rule, ids] = /^([a-z]+:[^:]+):(.+)$/s.exec(word) ?? []
    if (rule === undefined || ids === undefined)
      throw usage(`--accept ${word}: it is RULE:ID,ID,… as the report names them. Nothing was changed.`)
    accepted.set(rule, new Set([...(accepted.get(rule) ?? []), ...ids.split(',')]))
  }
  return accepted
}

/** An id, given as `keyText`, as it is shown and typed: 24 hexadecimal digits, or letters that no shell takes apart. */
export function idWord(id: string): string {
  if (/^[0-9a-f]{24}$/.test(id)) return id
  const hex = (c: string): string => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
  // A lone surrogate has no place in UTF-8.
  return encodeURIComponent(Buffer.from(id).toString()).replaceAll(/[!'()*~]/g, hex)
}

/** A document that is not loaded. */
export interface Quarantined {
  readonly collection: string
  /** As it is typed. */
  readonly id: string
  readonly reasons: readonly Reason[]
}

export interface Weighed {
  /** Rules under which documents are quarantined, and whether that is accepted. */
  readonly rules: readonly {
    readonly rule: string
    readonly ids: readonly string[]
    readonly by: 'expected' | 'accepted' | 'nobody'
    /** Ids that nobody accepted; with `expected`, those within the bound. */
    readonly open: readonly string[]
    readonly why?: string
  }[]
  /** Sentences; the migration goes on when there are none. */
  readonly problems: readonly string[]
  /** Words that would accept all of it. */
  readonly words: readonly string[]
  /** What was accepted and is not there. */
  readonly needless: readonly string[]
}

const sorted = (texts: readonly string[]): string[] => texts.toSorted()

/** Weighs the quarantined documents and the bounds of what is dropped. */
export function weigh(
  plan: Plan,
  quarantined: readonly Quarantined[],
  sources: readonly Source[],
  accepted: Accepted,
): Weighed {
  const byRule = new Map<string, Set<string>>()
  for (const { id, reasons } of quarantined)
    for (const { rule } of reasons) byRule.set(rule, (byRule.get(rule) ?? new Set()).add(id))
  const needless: string[] = []
  const bounds = outside(sources, accepted)
  const rules = [...byRule]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([rule, ids]) => {
      const open = sorted([...ids].filter((id) => !accepted.get(rule)?.has(id)))
      const expected = plan.expected.find((e) => e.rule === rule)
      const isExpected = expected !== undefined && open.length <= expected.atMost
      const by =
        open.length === 0 ? ('accepted' as const) : isExpected ? ('expected' as const) : ('nobody' as const)
      return {
        rule,
        ids: sorted([...ids]),
        by,
        open,
        ...(expected && { why: expected.why, atMost: expected.atMost }),
      }
    })
  for (const [rule, ids] of accepted) {
    if (rule.startsWith('bounds:')) continue
    for (const id of ids) if (!byRule.get(rule)?.has(id)) needless.push(`${rule}:${id}`)
  }
  const refused = rules.filter(({ by }) => by === 'nobody')
  return {
    rules,
    needless: needless.toSorted(),
    problems: [
      ...bounds.map(({ text }) => text),
      ...refused.map(({ rule, open, ...rest }) => {
        const most = 'atMost' in rest ? `; ${String(rest.atMost)} are expected at most` : ''
        return `${open.length} document${open.length === 1 ? ' is' : 's are'} quarantined under ${rule}${most}, and nobody has accepted that.`
      }),
    ],
    words: [
      ...bounds.map(({ word }) => word),
      ...refused.map(({ rule, open }) => `${rule}:${open.join(',')}`),
    ],
  }
}

/** Dropped collections of which there is more or less than the plan says. */
function outside(sources: readonly Source[], accepted: Accepted): { text: string; word: string }[] {
  return sources.flatMap(({ name, entry, count }) => {
    if (entry.decision !== 'drop') return []
    const { min, max } = entry.bounds
    if (count >= min && count <= max) return []
    const rule = `bounds:${name}`
    const isAccepted = [...(accepted.get(rule) ?? [])].some((text) => {
      const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? []
      return from !== undefined && count >= Number(from) && count <= Number(to)
    })
    const wanted = min === max ? `${min}` : `${min} to ${max}`
    const text = `${name} is dropped because ${JSON.stringify(entry.why)}, which was said of ${wanted} documents: there are ${count}.`
    return isAccepted ? [] : [{ text, word: `${rule}:${count}` }]
  })
}
