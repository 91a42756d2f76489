// Several things at a time.

/** Does work for each thing, `width` at a time. @throws the first error, once what was begun has ended */
export async function inLanes<T>(
  things: readonly T[],
  width: number,
  work: (thing: T) => Promise<void>,
): Promise<void> {
  const waiting = things.values()
  let failed: { readonly error: unknown } | undefined
  const lane = async (): Promise<void> => {
    for (const thing of waiting) {
      if (failed) return
      try {
        await work(thing)
      } catch (error) {
        failed ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: width }, lane))
  if (failed) throw failed.error
}
