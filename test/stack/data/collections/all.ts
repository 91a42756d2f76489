import type { COUNTS, CollectionName } from '../counts.ts'
import type { Draw, Fields } from '../draw.ts'
import { conversations } from './conversations.ts'
import { messages } from './messages.ts'
import { people } from './people.ts'
import { traces } from './traces.ts'

type Filled = { [N in CollectionName]: (typeof COUNTS)[N] extends 0 ? never : N }[CollectionName]

/** How an ordinary document of each collection that has any is made, as the legacy schema of December 2025 says. */
export const ORDINARY: Readonly<Record<Filled, (d: Draw) => Fields>> = {
  ...people,
  ...conversations,
  ...messages,
  ...traces,
}
