// Progress in lines: how much, how fast, how long still.
import { size } from './bytes.ts'

export type Report = (line: string) => void

const EVERY = 2_000 // ms between two lines about the same thing

/**
 * Counts bytes towards an expected total (0: not known) and reports every 2 s.
 * @returns a function that adds bytes read; the label says what they belong to.
 */
export function progress(
  report: Report,
  verb: string,
  total: number,
): (label: string, bytes: number) => void {
  const began = Date.now()
  let done = 0
  let last = began
  return (label, bytes) => {
    done += bytes
    const now = Date.now()
    if (now - last < EVERY) return
    last = now
    const rate = done / ((now - began) / 1000)
    const of = total > done ? ` of about ${size(total)}, ${Math.ceil((total - done) / rate)} s left` : ''
    report(`${verb} ${label}: ${size(done)}${of}, ${size(rate)}/s`)
  }
}
