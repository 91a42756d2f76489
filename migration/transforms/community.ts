import type { Transform } from '../outcome.ts'
import { shaped } from '../shape.ts'
import { identifier } from './identifier.ts'

/** `isPrivate` is copied: a private community stays private. */
export const community: Transform = (doc, model) =>
  shaped(doc, model, { fallbacks: identifier(doc, model), nulls: ['deletedAt', 'banner'] })
