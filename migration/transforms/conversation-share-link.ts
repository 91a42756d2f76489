import type { Transform } from '../outcome.ts'
import { patched } from '../shape.ts'
import { identifier } from './identifier.ts'

/** Carried, but for an identifier that is null. */
export const conversationShareLink: Transform = (doc, model) =>
  patched(doc, model, { fallbacks: identifier(doc, model) })
