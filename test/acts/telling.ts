// How the rehearsal tells its story: chapters, what a person would type with all that it prints, and what was proven.
import type { Stack } from '../stack/stack.ts'
import { start, type Tool } from '../stack/tool.ts'

export const say = (text = ''): void => void process.stdout.write(`${text}\n`)
export const proven = (text: string): void => say(`  ✔ ${text}`)

export function chapter(n: number, title: string, ...why: readonly string[]): void {
  say(`\n━━ ${n}. ${title}`)
  for (const line of why) say(`   ${line}`)
}

/** Runs what a person would type, shown as typed. `meanwhile` is given its process and what it has printed. */
export async function type(
  stack: Stack,
  words: readonly [string, ...string[]],
  meanwhile?: (run: { readonly pid: number; printed(): string }) => Promise<void>,
): Promise<number | null> {
  say(`\n   $ ${words.map((w) => (w === process.execPath ? 'node' : w)).join(' ')}`)
  const run = start(words, { ...process.env, ...stack.env }, { show: true })
  await meanwhile?.(run)
  const { code } = await run.ended
  say(`   (exit code ${code})\n`)
  return code
}

/** The same for a target of the Taskfile. */
export const task = (stack: Stack, tool: Tool, ...words: string[]): Promise<number | null> =>
  type(stack, ['task', '-x', ...words.slice(0, 1), `STACK=${tool.envFile}`, ...words.slice(1)])
