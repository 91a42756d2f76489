// What becomes of one legacy document.
import type { RepairName } from './repairs.ts'
import type { Fields, ModelRules } from './rules.ts'

/** Why a document cannot be loaded. */
export interface Reason {
  /** By which the operator accepts it: `type:User.role`, `missing:Message.content`, `reference:…`, `unique:…`. */
  readonly rule: string
  /** A sentence. */
  readonly text: string
}

/** That a rule changed a field, or gave it a value. */
export interface Applied {
  readonly rule: RepairName
  readonly field: string
}

export type Outcome =
  /** It is loaded byte for byte. */
  | { readonly same: true }
  | {
      readonly doc: Fields
      /** Fields without a home in the target. To be written as BSON: extended JSON refuses some of what they can hold. */
      readonly sidecar?: Fields
      readonly repairs: readonly Applied[]
    }
  | { readonly quarantine: readonly Reason[] }

/**
 * A function of one legacy document and the rules of its target model, and of nothing else: no clock, no randomness, no
 * database. It never throws. Numbers come as the classes of BSON (`promoteValues: false`), so that none is changed in
 * passing; sub-documents as objects or as Maps.
 */
export type Transform = (doc: Fields, model: ModelRules) => Outcome
