// A migration of some collections only: what leads to the others is left out, and told. Pure.
import { usage } from '../../lib/errors.ts'
import { referencesOf } from '../cross.ts'
import type { Plan } from '../plan-types.ts'
import type { Rules } from '../rules.ts'

export interface Limited {
  readonly plan: Plan
  readonly rules: Rules
  /** Checks that lead to other collections, a sentence each. */
  readonly skipped: readonly string[]
}

/** @throws usage (exit 2) naming a collection that the plan does not have */
export function limit(plan: Plan, rules: Rules, collections: readonly string[] | undefined): Limited {
  if (!collections) return { plan, rules, skipped: [] }
  for (const name of collections)
    if (!Object.hasOwn(plan.collections, name))
      throw usage(
        `--collections ${JSON.stringify(name)}: the plan has no such collection. It has ${Object.keys(plan.collections).join(', ')}.`,
      )
  const some = Object.fromEntries(
    Object.entries(plan.collections).filter(([name]) => collections.includes(name)),
  )
  const models = new Set(Object.values(some).flatMap((entry) => ('model' in entry ? entry.model : [])))
  const skipped: string[] = []
  const kept = <T>(all: readonly T[], needs: (one: T) => readonly string[], text: (one: T) => string): T[] =>
    all.filter((one) => {
      const lost = needs(one).filter((model) => !models.has(model))
      if (lost.length > 0) skipped.push(`${text(one)}: skipped, because of ${[...new Set(lost)].join(', ')}.`)
      return lost.length === 0
    })
  const mine = <T extends { model: string }>(all: readonly T[]): T[] =>
    all.filter(({ model }) => models.has(model))
  const derived = plan.derived.filter(({ from }) => {
    const isThere = collections.includes(from)
    if (!isThere) skipped.push(`Rows derived from ${from}: skipped, because it is left out.`)
    return isThere
  })
  return {
    plan: {
      ...plan,
      collections: some,
      derived: kept(
        derived,
        (d) => [
          d.of,
          d.beside.model,
          ...(d.lookUp ? [d.lookUp.model] : []),
          ...d.needs.map(({ model }) => model),
        ],
        (d) => `Rows of ${d.model}`,
      ),
      computed: kept(
        mine(plan.computed),
        ({ from }) => [from],
        (c) => `The computed field ${c.model}.${c.field}`,
      ),
      references: kept(
        mine(plan.references),
        ({ to }) => [to],
        (r) => `The reference ${r.model}.${r.field}`,
      ),
      comparisons: kept(
        plan.comparisons.filter(({ collection }) => collections.includes(collection)),
        (c) => [c.with],
        (c) => `The comparison of ${c.collection}.${c.field}`,
      ),
    },
    rules: new Map(
      [...rules].map(([name, model]) => {
        if (!models.has(name)) return [name, model]
        const own = new Set(plan.references.filter((r) => r.model === name).map(({ field }) => field))
        const isLeft = new Set(
          referencesOf(model, plan)
            .filter(({ to }) => models.has(to))
            .map(({ field }) => field),
        )
        const references = model.references.filter(({ field, to }) => {
          if (!isLeft.has(field) && !own.has(field))
            skipped.push(`The reference ${name}.${field}: skipped, because of ${to}.`)
          return isLeft.has(field)
        })
        return [name, { ...model, references }]
      }),
    ),
    skipped: skipped.toSorted(),
  }
}
