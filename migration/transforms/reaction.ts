import type { Transform } from '../outcome.ts'
import { shaped } from '../shape.ts'

export const reaction: Transform = (doc, model) =>
  shaped(doc, model, { renamed: { anonymousId: ['anonymous-renamed', 'anonymousUserId'] } })
