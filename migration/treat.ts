// T: what becomes of the bytes of one legacy document.
import { BSON } from 'mongodb'
import { decode, replacedByServer } from './decode.ts'
import type { Applied, Reason, Transform } from './outcome.ts'
import type { Fields, ModelRules } from './rules.ts'

export type Treated =
  | {
      /** The target's document; those of the source themselves when it is carried. */
      readonly bytes: Uint8Array
      readonly isCarried: boolean
      /** The fields in `bytes`. */
      readonly doc: Fields
      readonly sidecar?: Fields
      readonly repairs: readonly Applied[]
    }
  | { readonly quarantine: readonly Reason[] }

const LARGEST = 16 * 1024 * 1024 // bytes of a document

/**
 * T of one document of a loaded collection. A function of its arguments alone; never throws. What cannot be written as
 * it was found is quarantined, unless its own bytes are carried.
 */
export function treat(transform: Transform, model: ModelRules, source: Uint8Array): Treated {
  const refused = (text: string): Treated => ({ quarantine: [{ rule: `bytes:${model.name}`, text }] })
  const decoded = decode(source)
  if ('unreadable' in decoded) return refused(decoded.unreadable)
  const [zero] = replacedByServer(decoded.doc)
  if (zero !== undefined)
    return refused(
      `Its field ${JSON.stringify(zero)} is an empty Timestamp, which the server replaces by its clock.`,
    )
  const outcome = transform(decoded.doc, model)
  if ('quarantine' in outcome) return outcome
  if ('same' in outcome) return { bytes: source, isCarried: true, doc: decoded.doc, repairs: [] }
  if (!decoded.isFaithful)
    return refused('It has values that only its own bytes keep, and a rule changes it.')
  try {
    const bytes = BSON.serialize(outcome.doc)
    if (bytes.length > LARGEST) return refused('With the fields that are new it is larger than 16 MiB.')
    return { ...outcome, bytes, isCarried: false }
  } catch (error) {
    return refused(`It cannot be written: ${(error as Error).message}.`)
  }
}
