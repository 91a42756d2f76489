// Whether a plan, a schema and the collections of a source belong together.
import { referencesOf } from './cross.ts'
import type { Plan } from './plan-types.ts'
import type { Rules } from './rules.ts'

/** What the plan names and the schema does not have, a sentence each. */
export function planProblems(plan: Plan, rules: Rules): string[] {
  const problems: string[] = []
  const need = (where: string, model: string, ...fields: readonly string[]): void => {
    const found = rules.get(model)
    if (!found) problems.push(`${where}: the schema has no model ${model}.`)
    for (const name of found ? fields : [])
      if (!found?.fields.some((field) => field.name === name))
        problems.push(`${where}: ${model} has no field ${name} in the schema.`)
  }
  const sources = new Map<string, string>()
  for (const [name, entry] of Object.entries(plan.collections)) {
    if (!('model' in entry)) continue
    need(name, entry.model)
    const other = sources.get(entry.model)
    if (other !== undefined) problems.push(`${name}: ${entry.model} takes ${other} already.`)
    sources.set(entry.model, name)
    const collection = rules.get(entry.model)?.collection
    if (entry.decision === 'carry' && collection !== undefined && collection !== name)
      problems.push(
        `${name}: it is carried, and ${entry.model} is stored in ${collection}; that is a rename.`,
      )
    if (entry.decision === 'rename' && collection === name)
      problems.push(`${name}: it is renamed, and ${entry.model} is stored in it already; that is a carry.`)
  }
  for (const d of plan.derived) {
    const where = `derive ${d.model}`
    need(where, d.model, d.by)
    need(where, d.of)
    need(where, d.beside.model, d.beside.by, ...d.beside.fields)
    if (d.lookUp) need(where, d.lookUp.model, d.by)
    for (const n of d.needs) need(where, n.model)
    if (!(d.from in plan.collections)) problems.push(`${where}: its source ${d.from} is not in the plan.`)
    if (sources.has(d.model)) problems.push(`${where}: ${d.model} takes ${sources.get(d.model)} already.`)
  }
  for (const c of plan.computed) {
    need(`computed ${c.model}.${c.field}`, c.model, c.field)
    need(`computed ${c.model}.${c.field}`, c.from, c.by, ...Object.keys(c.where ?? {}))
    if ('of' in c.value) need(`computed ${c.model}.${c.field}`, c.from, c.value.of)
  }
  for (const n of plan.notComputed) need(`not computed ${n.model}.${n.field}`, n.model, n.field)
  for (const r of plan.references) {
    need(`reference ${r.model}.${r.field}`, r.model, r.field)
    need(`reference ${r.model}.${r.field}`, r.to)
  }
  for (const model of rules.values())
    for (const { field, to, toField } of referencesOf(model, plan))
      if (toField !== '_id')
        problems.push(`${model.name}.${field} names ${to} by ${toField}: only _id can be followed.`)
  for (const c of plan.comparisons) need(`comparison of ${c.collection}.${c.field}`, c.with, c.withField)
  for (const i of plan.indexes) need(`index ${i.name}`, i.model, ...Object.keys(i.key))
  return problems
}

/** Collections that the plan does not name, with the lines to add; `system.` ones are the server's own. */
export function unplanned(plan: Plan, found: readonly { name: string; count: number }[]): string | undefined {
  const unknown = found.filter(
    ({ name }) => !Object.hasOwn(plan.collections, name) && !name.startsWith('system.'),
  )
  if (unknown.length === 0) return undefined
  const lines = unknown.map(
    ({ name, count }) =>
      `    ${JSON.stringify(name)}: archive('…why it is not loaded'), // ${count} documents`,
  )
  return [
    `The plan does not say what becomes of ${unknown.map(({ name }) => JSON.stringify(name)).join(', ')}. Nothing was changed.`,
    `Decide in migration/plan.ts, in 'collections'; for example:`,
    ...lines,
    `or carry('Model', 'why'), rename('Model', 'why'), drop('why', min, max).`,
  ].join('\n')
}
