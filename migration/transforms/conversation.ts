import type { Transform } from '../outcome.ts'
import { shaped, valueOf } from '../shape.ts'
import { identifier } from './identifier.ts'

/**
 * The encryption stays as it is. `image` and `isArchived` have no home. `memberCount`, and `lastMessageAt` where it is
 * missing, come from other documents: the plan declares them, and what stands here is what holds without any.
 */
export const conversation: Transform = (doc, model) =>
  shaped(doc, model, {
    fallbacks: { ...identifier(doc, model), avatar: [['avatar-from-image', valueOf(doc, 'image')]] },
  })
