import type { Transform } from '../outcome.ts'
import { shaped } from '../shape.ts'

/** All five fields are copied, the role as it is. */
export const communityMember: Transform = (doc, model) => shaped(doc, model, { nulls: ['leftAt'] })
