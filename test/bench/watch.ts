// Looks at what is being measured, from outside and while it runs.
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LedgerLine } from '../../lib/prober.ts'

const EVERY = 100 // ms
const BLOCK = 512 // bytes of a block as stat counts them

/** Looks every 100 ms until it is stopped, and then once more. */
function sample(look: () => void): () => void {
  look()
  const timer = setInterval(look, EVERY).unref() // when what is watched fails, nobody stops it
  return () => {
    clearInterval(timer)
    look()
  }
}

/** Watches the blocks that files below some folders take. The function ends it and gives the most, in bytes. */
export function watchDisk(...folders: readonly string[]): () => number {
  const used = (): number => folders.reduce((sum, folder) => sum + blocks(folder), 0)
  const before = used()
  let most = 0
  const stop = sample(() => (most = Math.max(most, used() - before)))
  return () => {
    stop()
    return most
  }
}

function blocks(path: string): number {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat) return 0
  const inside = stat.isDirectory() ? unlessGone(() => readdirSync(path), []) : []
  return inside.reduce((sum, name) => sum + blocks(join(path, name)), stat.blocks * BLOCK)
}

/** What is looked at may go at any moment. */
function unlessGone<T>(look: () => T, otherwise: T): T {
  try {
    return look()
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return otherwise
    throw error
  }
}

/**
 * Watches the most that a process has had in memory, as the kernel counts it (VmHWM): the process itself, without its
 * children. The function ends it and gives bytes.
 */
export function watchMemory(pid: number): () => number {
  let most = 0
  const stop = sample(() => {
    const status = unlessGone(() => readFileSync(`/proc/${pid}/status`, 'utf8'), '')
    const [, kib] = /^VmHWM:\s*(\d+) kB$/m.exec(status) ?? []
    most = Math.max(most, Number(kib ?? 0) * 1024)
  })
  return () => {
    stop()
    return most
  }
}

/** What a prober's requests were answered that started between two times (ms since the epoch). */
export interface Answers {
  readonly requests: number
  readonly failed: number
  /** ms: 99 of 100 were faster. */
  readonly p99: number
  /** ms */
  readonly slowest: number
}

/** @throws Error when nothing was asked in that time */
export function answersBetween(lines: readonly LedgerLine[], from: number, to: number): Answers {
  const asked = lines.filter((line) => 'ok' in line && line.t >= from && line.t <= to) as Extract<
    LedgerLine,
    { ok: boolean }
  >[]
  const ms = asked.map((line) => line.ms).toSorted((a, b) => a - b)
  const [p99, slowest] = [ms[Math.ceil(ms.length * 0.99) - 1], ms.at(-1)]
  if (p99 === undefined || slowest === undefined) throw new Error('The prober asked nothing in that time.')
  return { requests: ms.length, failed: asked.filter((line) => !line.ok).length, p99, slowest }
}

/** The lines of a prober that was stopped. */
export const linesOf = (file: string): LedgerLine[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LedgerLine)
