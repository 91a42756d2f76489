/** The set-up may not or cannot go on, and has changed nothing. `exitCode` is what a script ends with. */
export class Refusal extends Error {
  /** 3: something is missing · 4: not confirmed · 5: in use by somebody else */
  readonly exitCode: 3 | 4 | 5

  constructor(exitCode: 3 | 4 | 5, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}
