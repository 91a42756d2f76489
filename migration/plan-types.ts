// The words of a plan: what becomes of each legacy collection, and everything that depends on more than one document.
import type { ObjectId } from 'mongodb'
import type { Transform } from './outcome.ts'
import type { Fields } from './rules.ts'

export interface Bounds {
  readonly min: number
  readonly max: number
}

/** `transform` rebuilds every document; `carry` and `rename` keep the bytes of those that the model can hold. */
export interface LoadedEntry {
  readonly decision: 'transform' | 'carry' | 'rename'
  /** The model that takes them; it names the collection. */
  readonly model: string
  readonly transform: Transform
  readonly why: string
}

/** Kept as BSON with its sha256 beside the report, and not loaded. */
export interface ArchivedEntry {
  readonly decision: 'archive'
  readonly why: string
}

/** Archived too, and announced: outside the bounds the plan stops and asks. */
export interface DroppedEntry {
  readonly decision: 'drop'
  readonly why: string
  readonly bounds: Bounds
}

/** One collection of the source. */
export type Entry = LoadedEntry | ArchivedEntry | DroppedEntry

/** What one call of a derivation is given: everything of one value of its field `by`. */
export interface Group {
  readonly id: ObjectId
  /** Legacy rows; fields that a row lacked are filled in by the look-up. */
  readonly rows: readonly Fields[]
  /** Loaded documents of `beside`, with the fields that are named there. */
  readonly beside: readonly Fields[]
}

/** Rows of a target collection that has no source of its own: made by rule, and no part of the sum of the counts. */
export interface Derivation {
  readonly decision: 'derive'
  readonly model: string
  /** The legacy collection of the rows. */
  readonly from: string
  /** The field by which rows are grouped; it names a document of `of`, which has to be loaded. */
  readonly by: string
  readonly of: string
  /** Where a row lacks the field: the same field of the loaded document that another field of the row names. */
  readonly lookUp?: { readonly model: string; readonly by: string }
  /** Loaded documents that have the same value in `by`. */
  readonly beside: { readonly model: string; readonly by: string; readonly fields: readonly string[] }
  /** Fields of the rows that have to name loaded documents; a row of which one does not makes nothing. */
  readonly needs: readonly { readonly field: string; readonly model: string }[]
  /** Pure, and the same for any order of rows and documents. */
  readonly make: (group: Group) => Fields[]
  readonly why: string
}

/** A field whose value comes from other loaded documents: those of `from` that name this one by `by`. */
export interface Computed {
  readonly model: string
  readonly field: string
  readonly from: string
  readonly by: string
  /** Only documents that have these values count. */
  readonly where?: Fields
  readonly value:
    | { readonly kind: 'count' }
    /** The newest date of a field. */
    | { readonly kind: 'newest'; readonly of: string }
    /** How often each text of a field occurs, as one object. */
    | { readonly kind: 'tally'; readonly of: string }
  /** A value of the legacy document is kept. */
  readonly onlyWhereAbsent?: true
  readonly why: string
}

/**
 * What happens to a document that names one which is not loaded: it is quarantined; loaded and listed; loaded with null
 * in the field; or left out.
 */
export type Dangling = 'quarantine' | 'list' | 'null' | 'drop'

export interface Reference {
  readonly model: string
  readonly field: string
  readonly to: string
  readonly toField: string
  readonly dangling: Dangling
}

/** A reference that the schema does not declare, or judges otherwise. */
export interface OwnReference extends Omit<Reference, 'toField'> {
  readonly why: string
}

/** A legacy field without a home that should equal a field of another document; where it does not, it is listed. */
export interface Comparison {
  /** Of the legacy collection. */
  readonly collection: string
  readonly field: string
  readonly by: string
  readonly with: string
  readonly withField: string
  readonly why: string
}

export interface IndexSpec {
  readonly name: string
  readonly key: Readonly<Record<string, 1 | -1>>
  readonly unique?: true
  readonly partialFilterExpression?: Readonly<Record<string, { readonly $type: string }>>
}

/** An index beside those that the schema declares. */
export interface OwnIndex extends IndexSpec {
  readonly model: string
  readonly why: string
}

/** A legacy index that must not come along. */
export interface StaleIndex {
  readonly collection: string
  readonly fields: readonly string[]
  readonly why: string
}

/** Quarantines under a rule that are foreseen: more of them, or any under another rule, are for a person to accept. */
export interface Expected {
  readonly rule: string
  readonly atMost: number
  readonly why: string
}

/** A field that keeps its default although its meaning depends on other documents. */
export interface NotComputed {
  readonly model: string
  readonly field: string
  readonly why: string
}

export interface Plan {
  /** By the name of the legacy collection. */
  readonly collections: Readonly<Record<string, Entry>>
  readonly derived: readonly Derivation[]
  readonly computed: readonly Computed[]
  readonly notComputed: readonly NotComputed[]
  readonly references: readonly OwnReference[]
  readonly comparisons: readonly Comparison[]
  readonly indexes: readonly OwnIndex[]
  readonly staleIndexes: readonly StaleIndex[]
  readonly expected: readonly Expected[]
}
