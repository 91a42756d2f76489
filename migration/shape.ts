// How a legacy document takes the shape of its target model. What is particular to one model is in transforms/.
import { ObjectId } from 'mongodb'
import type { Applied, Outcome, Reason } from './outcome.ts'
import type { RepairName } from './repairs.ts'
import { misfit, missing, type FieldRule, type Fields, type ModelRules } from './rules.ts'
import { converted, dateOfId, isNone, typeOf } from './values.ts'

/** A value, and the rule that gives it. */
export type Given = readonly [rule: RepairName, value: unknown]

/** What a model's transform says beside the schema. By the names of the target's fields. */
export interface Care {
  /** The legacy name of a field, and the rule that says so. */
  readonly renamed?: Readonly<Record<string, readonly [rule: RepairName, older: string]>>
  /** Instead of the value that the document has. */
  readonly replaced?: Readonly<Record<string, Given>>
  /** For a field without a value: the first that is one and fits, before the default of the schema. */
  readonly fallbacks?: Readonly<Record<string, readonly Given[]>>
  /** Optional fields that are null where they are missing. */
  readonly nulls?: readonly string[]
  /** Legacy fields whose value in this document has no home, though the target has a field of the name. */
  readonly homeless?: readonly string[]
  /** What the report should say of the document beside that. */
  readonly noted?: readonly Applied[]
}

/** The value of a document's own field; what is inherited is none, and what is no document has none. */
export function valueOf(doc: Fields, name: string): unknown {
  return typeOf(doc) === 'object' && Object.hasOwn(doc, name) ? doc[name] : undefined
}

/** A document without any special care, in the shape of its model: all fields of the model, and no others. */
export const asTheModel = (doc: Fields, model: ModelRules): Outcome => shaped(doc, model, {})

/** A document that stays as it is, but where the model could not hold it. */
export const asItIs = (doc: Fields, model: ModelRules): Outcome => patched(doc, model, {})

/** Builds the target's document: every field that it has, every default written out; all else goes to the sidecar. */
export function shaped(doc: Fields, model: ModelRules, care: Care): Outcome {
  if (typeOf(doc) !== 'object')
    return { quarantine: [{ rule: `id:${model.name}`, text: 'This is no document.' }] }
  const work = start(doc, model, care)
  const fields: [string, unknown][] = []
  const placed = new Set<string>()
  for (const field of model.fields) {
    const source = sourceOf(work, field)
    if (source !== undefined) placed.add(source)
    const value = fieldValue(work, field, source)
    if (field.isList && isNone(value)) {
      work.repairs.push({ rule: 'default', field: field.name })
      fields.push([field.name, emptied(field)])
    } else if (value !== undefined) fields.push([field.name, value])
    else if (care.nulls?.includes(field.name)) {
      work.repairs.push({ rule: 'null-when-absent', field: field.name })
      fields.push([field.name, null])
    }
  }
  if (work.reasons.length > 0) return { quarantine: work.reasons }
  const rest = Object.keys(doc).filter((name) => !placed.has(name))
  return {
    doc: Object.fromEntries(fields),
    ...(rest.length > 0 && { sidecar: Object.fromEntries(rest.map((name) => [name, doc[name]])) }),
    repairs: work.repairs,
  }
}

const emptied = (field: FieldRule): unknown[] => (Array.isArray(field.default) ? [...field.default] : [])

const isIndexLike = (name: string): boolean => /^\d+$/.test(name)

/** Leaves the document and its order alone but for what the model could not hold. Fields without a home stay. */
export function patched(doc: Fields, model: ModelRules, care: Care): Outcome {
  if (typeOf(doc) !== 'object')
    return { quarantine: [{ rule: `id:${model.name}`, text: 'This is no document.' }] }
  const work = start(doc, model, care)
  const changed = new Map<string, unknown>()
  for (const field of model.fields) {
    const before = work.repairs.length
    const value = fieldValue(work, field, sourceOf(work, field))
    if (work.repairs.length > before) changed.set(field.name, value)
  }
  if (work.reasons.length > 0) return { quarantine: work.reasons }
  if (changed.size === 0) return { same: true }
  const names = Object.keys(doc)
  if (names.some(isIndexLike))
    return {
      quarantine: [
        {
          rule: `bytes:${model.name}`,
          text: `${model.name} has a field whose name is a number: a repair would change the order of its fields.`,
        },
      ],
    }
  const all = [...names, ...[...changed.keys()].filter((name) => !Object.hasOwn(doc, name))]
  return {
    doc: Object.fromEntries(all.map((name) => [name, changed.has(name) ? changed.get(name) : doc[name]])),
    repairs: work.repairs,
  }
}

/** The date from which those that are missing come: one of the document's own, else the second of its ObjectId. */
export function dateOf(doc: Fields): Given | undefined {
  for (const name of ['createdAt', 'joinedAt', 'updatedAt']) {
    const date = converted('DateTime', valueOf(doc, name))
    if (date) return ['date-from-document', date.value]
  }
  const id = valueOf(doc, '_id')
  return id instanceof ObjectId ? ['date-from-id', dateOfId(id)] : undefined
}

/** One document on its way; what is found is added. */
interface Work {
  readonly doc: Fields
  readonly model: ModelRules
  readonly care: Care
  readonly repairs: Applied[]
  readonly reasons: Reason[]
}

const start = (doc: Fields, model: ModelRules, care: Care): Work => ({
  doc,
  model,
  care,
  repairs: [...(care.noted ?? [])],
  reasons: [],
})

/** The legacy field that a field takes its value from. */
function sourceOf({ doc, care }: Work, { name }: FieldRule): string | undefined {
  const older = care.renamed?.[name]?.[1]
  if (older !== undefined && Object.hasOwn(doc, older) && (!isNone(doc[older]) || isNone(valueOf(doc, name))))
    return older
  return Object.hasOwn(doc, name) && !care.homeless?.includes(name) ? name : undefined
}

/** What stands in the field in the end; null where the document says so and the field is optional. */
function fieldValue(work: Work, field: FieldRule, source: string | undefined): unknown {
  const { doc, model, care, repairs, reasons } = work
  const { name } = field
  const found = source === undefined ? undefined : doc[source]
  const replaced = care.replaced?.[name]
  if (replaced) repairs.push({ rule: replaced[0], field: name })
  const value = replaced ? replaced[1] : found
  if (!isNone(value)) {
    const fitting = field.isId ? idValue(field, value) : fitted(field, value)
    if (!fitting) {
      reasons.push({
        rule: `${field.isId ? 'id' : 'type'}:${model.name}.${name}`,
        text: misfit(model, field, value),
      })
      return undefined
    }
    const renamed = source === name ? undefined : care.renamed?.[name]
    if (renamed) repairs.push({ rule: renamed[0], field: name })
    for (const rule of fitting.rules) repairs.push({ rule, field: name })
    return fitting.value
  }
  for (const [rule, candidate] of [...(care.fallbacks?.[name] ?? []), ...last(work, field)]) {
    const fitting = isNone(candidate) ? undefined : fitted(field, candidate)
    if (!fitting) continue
    repairs.push({ rule, field: name })
    return fitting.value
  }
  if (field.isRequired)
    reasons.push({ rule: `missing:${model.name}.${name}`, text: missing(model, field, value) })
  return value
}

/** What a required field without a value takes at last. */
function last({ doc }: Work, field: FieldRule): readonly Given[] {
  if (!field.isRequired || field.isId) return []
  if (field.default !== undefined) return [['default', field.default]]
  const date = field.generated === 'date' ? dateOf(doc) : undefined
  return date ? [date] : []
}

/** An `_id` is never converted: it would be another one. */
function idValue(field: FieldRule, value: unknown): Fitting | undefined {
  const same = converted(field.type, value)
  return same && same.rule === undefined ? { value, rules: [] } : undefined
}

interface Fitting {
  readonly value: unknown
  readonly rules: readonly RepairName[]
}

function fitted(field: FieldRule, value: unknown): Fitting | undefined {
  if (!field.isList) {
    const one = converted(field.type, value, field.values)
    return one && { value: one.value, rules: one.rule ? [one.rule] : [] }
  }
  if (!Array.isArray(value)) return undefined
  const all = Array.from(value, (element: unknown) => converted(field.type, element, field.values))
  if (all.some((one) => one === undefined)) return undefined
  const rules = new Set(all.flatMap((one) => one?.rule ?? []))
  return { value: rules.size > 0 ? all.map((one) => one?.value) : value, rules: [...rules] }
}
