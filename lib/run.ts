// A run: what changes something leaves behind a journal, a log and a report in STATE_DIR/runs/<id>/.
import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { privateFolder, syncFolder, writeWhole } from './files.ts'

/** One line of journal.jsonl. An `intent` without its `done` is what a killed run was in the middle of. */
export interface JournalLine {
  readonly at: string
  readonly seq: number
  readonly kind: 'intent' | 'done' | 'undo' | 'undone'
  readonly title: string
  readonly detail?: unknown
}

type Kinds = readonly ['intent', 'done'] | readonly ['undo', 'undone']

export interface StepReport {
  readonly title: string
  readonly outcome: 'done' | 'failed' | 'skipped'
  readonly ms: number
  readonly why?: string
}

/** report.json. */
export interface Report {
  readonly id: string
  readonly script: string
  readonly stack: string
  readonly words: readonly string[]
  readonly started: string
  readonly ended: string
  readonly ms: number
  readonly exitCode: number
  readonly outcome: string
  readonly steps: readonly StepReport[]
  readonly undone: readonly string[]
  readonly facts: Readonly<Record<string, unknown>>
}

export interface Run {
  readonly id: string
  readonly dir: string
  /** Adds lines to log.txt, each with its time. */
  log(text: string): void
  /**
   * Performs one external effect between two fsynced lines of the journal: the intent before it, `done` after it.
   * `detail` is what an undo or the next command needs to know, such as an old value.
   */
  effect<T>(title: string, detail: unknown, act: () => Promise<T>, kinds?: Kinds): Promise<T>
  /** Adds a fact to the report. */
  fact(name: string, value: unknown): void
  /** Writes report.json, and returns it: the run has ended. */
  end(result: Pick<Report, 'exitCode' | 'outcome' | 'steps' | 'undone'>): Report
}

/** For a script that only asks: effects are plain calls, and nothing is written. */
export const noRun: Pick<Run, 'dir' | 'log' | 'effect' | 'fact'> = {
  dir: '',
  log() {},
  effect: (_title, _detail, act) => act(),
  fact() {},
}

/** Opens a new run. Every text that is written goes through `redact`. */
export function openRun(
  {
    stateDir,
    stamp,
    script,
    stack,
    words,
  }: { stateDir: string; stamp: string; script: string; stack: string; words: readonly string[] },
  redact: (text: string) => string,
): Run {
  const started = new Date()
  const runs = privateFolder(join(stateDir, 'runs'), 'STATE_DIR')
  let id = `${stamp}-${script}`
  for (let n = 2; existsSync(join(runs, id)); n++) id = `${stamp}-${script}-${n}`
  const dir = join(runs, id)
  mkdirSync(dir, { mode: 0o700 })
  syncFolder(runs)

  const journal = openSync(join(dir, 'journal.jsonl'), 'a', 0o600)
  const logFile = join(dir, 'log.txt')
  closeSync(openSync(logFile, 'a', 0o600))
  const facts: Record<string, unknown> = {}
  let seq = 0
  const write = (entry: Omit<JournalLine, 'at'>): void => {
    writeSync(journal, `${redact(JSON.stringify({ at: new Date().toISOString(), ...entry }))}\n`)
    fsyncSync(journal)
  }
  write({ seq, kind: 'intent', title: 'run', detail: { script, stack, words, pid: process.pid } })
  syncFolder(dir)

  return {
    id,
    dir,
    log(text) {
      const at = new Date().toISOString()
      appendFileSync(
        logFile,
        redact(text)
          .split('\n')
          .map((l) => `${at} ${l}\n`)
          .join(''),
      )
    },
    async effect(title, detail, act, [intent, done]: Kinds = ['intent', 'done']) {
      const mine = ++seq
      write({ seq: mine, kind: intent, title, detail })
      const result = await act()
      write({ seq: mine, kind: done, title })
      return result
    },
    fact(name, value) {
      facts[name] = value
    },
    end(result) {
      const ended = new Date()
      const ms = ended.getTime() - started.getTime()
      const times = { started: started.toISOString(), ended: ended.toISOString(), ms }
      const report: Report = { id, script, stack, words, ...times, ...result, facts }
      writeWhole(join(dir, 'report.json'), `${redact(JSON.stringify(report, null, 2))}\n`)
      closeSync(journal)
      return report
    },
  }
}

/** One run of the past. Without a report it never ended: it was killed, or is running now. */
export interface PastRun {
  readonly id: string
  readonly dir: string
  readonly journal: readonly JournalLine[]
  readonly report: Report | undefined
}

/** The runs of a stack, newest first. Only reads; a torn last line of a journal is left out. */
export function pastRuns(stateDir: string, most = 10): PastRun[] {
  const runs = join(stateDir, 'runs')
  if (!existsSync(runs)) return []
  const ids = readdirSync(runs).toSorted().toReversed().slice(0, most)
  return ids.map((id) => {
    const dir = join(runs, id)
    const file = (name: string): string =>
      existsSync(join(dir, name)) ? readFileSync(join(dir, name), 'utf8') : ''
    const journal = file('journal.jsonl')
      .split('\n')
      .flatMap((l): JournalLine[] => {
        try {
          return l ? [JSON.parse(l) as JournalLine] : []
        } catch {
          return []
        }
      })
    const report = file('report.json')
    return { id, dir, journal, report: report ? (JSON.parse(report) as Report) : undefined }
  })
}
