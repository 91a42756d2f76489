/**
 * The exit codes that every script promises (a number above 128 is 128 + the signal that ended the run).
 */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  unconfirmed: 4,
  locked: 5,
  down: 10,
} as const

/** An end that the tool chose: its message is the whole sentence that the person reads, its code the exit code. */
export class Stop extends Error {
  readonly code: number
  constructor(code: number, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Wrong flags, or a configuration that cannot be used: exit 2, nothing was changed. */
export const usage = (message: string): Stop => new Stop(EXIT.usage, message)

/** A check says no: exit 3, nothing was changed. */
export const refusal = (message: string): Stop => new Stop(EXIT.refused, message)

const REFUSALS: readonly number[] = [EXIT.usage, EXIT.refused, EXIT.unconfirmed, EXIT.locked]

/** Whether it was said by something that had changed nothing: exit 2 to 5. */
export const isRefusal = (error: unknown): boolean => error instanceof Stop && REFUSALS.includes(error.code)

/** The exit code that an error ends a script with. */
export const codeOf = (error: unknown): number => (error instanceof Stop ? error.code : EXIT.failed)

/** The sentence of any thrown thing, without a stack trace. */
export function sentence(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(sentence).join('\n')
  return error instanceof Error ? error.message : String(error)
}
