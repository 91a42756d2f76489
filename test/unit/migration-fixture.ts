// What the tests of the migration share: the target's rules, and T of a document as MongoDB would give it.
import { readFileSync } from 'node:fs'
import { BSON, ObjectId, type Document } from 'mongodb'
import { ROOT } from '../../lib/env.ts'
import { parseSchema } from '../../migration/dmmf.ts'
import type { LoadedEntry } from '../../migration/plan-types.ts'
import { PLAN } from '../../migration/plan.ts'
import { rulesOf, type ModelRules } from '../../migration/rules.ts'
import { treat, type Treated } from '../../migration/treat.ts'

export const SCHEMA = readFileSync(`${ROOT}/migration/schema.prisma`, 'utf8')
export const RULES = rulesOf(parseSchema(SCHEMA))

export function modelOf(name: string): ModelRules {
  const model = RULES.get(name)
  if (!model) throw new Error(`no model ${name}`)
  return model
}

/** The plan's entry of a collection that is loaded. */
export function loaded(collection: string): LoadedEntry | undefined {
  const entry = PLAN.collections[collection]
  return entry && 'model' in entry ? entry : undefined
}

/** T of a document of a legacy collection. */
export function T(collection: string, doc: Document | Map<string, unknown>): Treated {
  const entry = loaded(collection)
  if (!entry) throw new Error(`${collection} is not loaded`)
  return treat(entry.transform, modelOf(entry.model), BSON.serialize(doc))
}

/** T of a document that is loaded. */
export function loads(
  collection: string,
  doc: Document | Map<string, unknown>,
): Exclude<Treated, { quarantine: unknown }> {
  const treated = T(collection, doc)
  if ('quarantine' in treated) throw new Error(treated.quarantine.map(({ text }) => text).join('; '))
  return treated
}

/** The rules under which a document is quarantined; none when it is loaded. */
export function refusals(collection: string, doc: Document | Map<string, unknown>): string[] {
  const treated = T(collection, doc)
  return 'quarantine' in treated ? treated.quarantine.map(({ rule }) => rule) : []
}

/** A value as JSON that tells all types apart, and null from none. */
export const ejson = (value: unknown): string =>
  value === undefined ? 'none' : BSON.EJSON.stringify({ v: value }, { relaxed: false })

/** An ObjectId of so many seconds after 1970. */
export const oid = (seconds: number): ObjectId => ObjectId.createFromTime(seconds)
