// What a benchmark has measured, and how it is published.
import type { Machine } from '../stack/machine/machine.ts'
import type { Stack } from '../stack/stack.ts'

/** One number for each run, of one thing. */
export interface Figure {
  readonly name: string
  readonly unit: string
  /** Which one wins. */
  readonly better: 'less' | 'more'
  readonly ours: readonly number[]
  /** What a user would do otherwise; absent where there is nothing to compare with. */
  readonly other?: readonly number[]
  /** Target: so many times better than the other one, at least. */
  readonly atLeast?: number
  /** Target: our value, in its unit, is at most this. */
  readonly atMost?: number
  /** How it was measured, and beside what. */
  readonly conditions: Readonly<Record<string, unknown>>
}

/** Fills the stack and measures. */
export type Benchmark = (order: Order) => Promise<Figure[]>

export interface Order {
  readonly machine: Machine
  readonly stack: Stack
  readonly runs: number
  /** MiB of files; the benchmark's other data in proportion. */
  readonly megabytes: number
  /** Tells what is done just now. */
  readonly say: (text: string) => void
}

/** A figure as it is published: medians, and how many times better ours is. */
export interface Result {
  readonly name: string
  readonly unit: string
  readonly value: number
  readonly baseline: number | null
  readonly ratio: number | null
  readonly runs: number
  /** With the number of each run, and the targets. */
  readonly conditions: Readonly<Record<string, unknown>>
}

export function result({ name, unit, better, ours, other, atLeast, atMost, conditions }: Figure): Result {
  const value = median(ours)
  const baseline = other ? median(other) : null
  const ratio = baseline === null ? null : better === 'less' ? baseline / value : value / baseline
  const targets = { ...(atLeast !== undefined && { atLeast }), ...(atMost !== undefined && { atMost }) }
  return {
    name,
    unit,
    value,
    baseline,
    ratio,
    runs: ours.length,
    conditions: { ...conditions, better, values: ours, ...(other && { baselines: other }), ...targets },
  }
}

/** Whether it does not reach its target. */
export function missed(figure: Figure): boolean {
  const { value, ratio } = result(figure)
  const { atLeast, atMost } = figure
  const enough = atLeast === undefined || (ratio !== null && ratio >= atLeast)
  return !(enough && (atMost === undefined || value <= atMost))
}

/** The figures for people, one line each. */
export function table(figures: readonly Figure[]): string {
  const rows = [['', 'figure', 'ours', 'otherwise', 'times better', 'target'], ...figures.map(row)]
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((r) => r[i]?.length ?? 0))) ?? []
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  return rows.map((r) => `${line(r)}\n`).join('')
}

function row(figure: Figure): string[] {
  const { name, unit, value, baseline, ratio } = result(figure)
  const { atLeast, atMost } = figure
  const targets = [
    ...(atLeast === undefined ? [] : [`at least ${shown(atLeast)} times`]),
    ...(atMost === undefined ? [] : [`at most ${shown(atMost)} ${unit}`]),
  ]
  const mark = targets.length === 0 ? '' : missed(figure) ? '✖' : '✔'
  const other = baseline === null ? '–' : `${shown(baseline)} ${unit}`
  return [
    mark,
    name,
    `${shown(value)} ${unit}`,
    other,
    ratio === null ? '–' : shown(ratio),
    targets.join(', '),
  ]
}

const shown = (n: number): string => n.toLocaleString('en', { maximumSignificantDigits: 3 })

/** The middle one; of an even number the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return ((low ?? NaN) + (high ?? NaN)) / 2
}

/** How long it takes, in seconds. */
export async function seconds(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await act()
  return (performance.now() - began) / 1000
}
