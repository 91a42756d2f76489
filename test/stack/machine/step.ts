/** Does something, and says that it was done and how long it took. */
export type Step = <T>(title: string, action: () => Promise<T>) => Promise<T>

/** A `Step` that gives its lines, such as `started a registry  0.2 s`, to `say`. */
export function stepper(say: (line: string) => void): Step {
  return async (title, action) => {
    const start = performance.now()
    const result = await action()
    say(`${title}  ${((performance.now() - start) / 1_000).toFixed(1)} s`)
    return result
  }
}
