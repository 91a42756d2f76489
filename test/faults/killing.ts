// What tests of killed runs share.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Fixture } from '../stack/fixture.ts'
import { runScript, startScript, type Ended } from '../stack/tool.ts'

const SAMPLE = process.env.FAULTS_SAMPLE

/** All of the lines of a journal, or one chosen by the seed. */
export function chosen(count: number): number[] {
  const all = Array.from({ length: count }, (_, i) => i + 1)
  return SAMPLE === undefined ? all : [((Number(SAMPLE) * 13) % count) + 1]
}

/** How a script is run: its words, and what its environment has beside. */
interface How {
  readonly words?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
}

export const stampOf = (n: number): string => `20270101_${String(n).padStart(6, '0')}`

export interface Killing {
  /** Starts a script and ends it with SIGKILL as soon as its journal holds `lines` lines, if it ever does. */
  readonly killAfter: (lines: number, script: string, stamp: string, how?: How) => Promise<void>
  /** The same command typed again, once what the killed run had started has ended (exit 5 says so meanwhile). */
  readonly again: (script: string, stamp: string, how?: How) => Promise<Ended>
}

export function killing(fixture: Fixture): Killing {
  return {
    async killAfter(lines, script, stamp, how = {}) {
      const { stack, tool } = fixture
      const journal = join(tool.stateDir, 'runs', `${stamp}-${script}`, 'journal.jsonl')
      const run = startScript(stack, script, ['--stamp', stamp, ...(how.words ?? [])], how.env)
      let ended = false
      void run.ended.then(() => (ended = true))
      for (; !ended; await delay(5)) {
        if (!existsSync(journal) || readFileSync(journal, 'utf8').split('\n').length <= lines) continue
        process.kill(run.pid, 'SIGKILL')
        await run.ended
      }
    },
    async again(script, stamp, { words = [], env = {} } = {}) {
      const deadline = Date.now() + 120_000
      for (;;) {
        const ended = await runScript(fixture.stack, script, ['--stamp', stamp, ...words], env)
        if (ended.code !== 5 || Date.now() > deadline) return ended
        assert.match(ended.stderr, /A run was killed .* still works/)
        await delay(500)
      }
    },
  }
}
