import type { Transform } from '../outcome.ts'
import { shaped, valueOf } from '../shape.ts'

/** `lastSeenAt` has no home; new `canSend…` flags take the defaults of the schema. */
export const anonymousParticipant: Transform = (doc, model) =>
  shaped(doc, model, { fallbacks: { lastActiveAt: [['active-from-seen', valueOf(doc, 'lastSeenAt')]] } })
