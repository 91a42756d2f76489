import type { CollectionName } from '../counts.ts'
import { conversationAnomalies } from './conversations.ts'
import { messageAnomalies } from './messages.ts'
import { peopleAnomalies } from './people.ts'
import type { Rule, Rules } from './rule.ts'

const RULES: Rules = { ...peopleAnomalies, ...conversationAnomalies, ...messageAnomalies }

/** The anomalies of a collection, each with its name. */
export function rulesOf(collection: CollectionName): (Rule & { readonly name: string })[] {
  return Object.entries(RULES[collection] ?? {}).map(([name, rule]) => ({ name, ...rule }))
}
