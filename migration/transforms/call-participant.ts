import type { Transform } from '../outcome.ts'
import { shaped, valueOf } from '../shape.ts'
import { converted, isNone } from '../values.ts'

/** `anonymousId` was any text and is an ObjectId: what is none is kept aside. */
export const callParticipant: Transform = (doc, model) => {
  const guest = valueOf(doc, 'anonymousId')
  const isHomeless = !isNone(guest) && !converted('ObjectId', guest)
  return shaped(
    doc,
    model,
    isHomeless ? { homeless: ['anonymousId'], noted: [{ rule: 'guest-aside', field: 'anonymousId' }] } : {},
  )
}
