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
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { refusal, sentence } from './errors.ts'
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
  readonly notUndone: readonly string[]
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
  end(result: Pick<Report, 'exitCode' | 'outcome' | 'steps' | 'undone' | 'notUndone'>): Report
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
  const logFile = join(dir, 'log.txt')
  const facts: Record<string, unknown> = {}
  let journal = -1
  let seq = 0
  let unwritable = false
  const write = ({ seq, kind, ...texts }: Omit<JournalLine, 'at'>): void => {
    const entry = { at: new Date().toISOString(), seq, kind, ...hidden(texts) }
    appendFileSync(journal, `${JSON.stringify(entry)}\n`)
    fsyncSync(journal)
  }
  /** What goes on even when STATE_DIR's disk is full: the undo most of all. */
  const unlessFull = (act: () => void): void => {
    try {
      act()
    } catch (error) {
      if (!unwritable)
        process.stderr.write(`${dir} cannot be written: ${sentence(error)}. Going on without it.\n`)
      unwritable = true
    }
  }
  /** Redacted text by text: a secret that looks like a piece of JSON must not break the file. */
  const hidden = <T>(value: T): T =>
    JSON.parse(JSON.stringify(value, (_, v: unknown) => (typeof v === 'string' ? redact(v) : v))) as T
  try {
    mkdirSync(dir, { mode: 0o700 })
    closeSync(openSync(logFile, 'a', 0o600))
    journal = openSync(join(dir, 'journal.jsonl'), 'a', 0o600)
    write({ seq, kind: 'intent', title: 'run', detail: { script, stack, words, pid: process.pid } })
    syncFolder(dir)
    syncFolder(runs)
  } catch (error) {
    throw refusal(`The run cannot be recorded in ${dir}: ${sentence(error)}. Nothing was changed.`)
  }

  return {
    id,
    dir,
    log(text) {
      const at = new Date().toISOString()
      const lines = redact(text).split('\n')
      unlessFull(() => appendFileSync(logFile, lines.map((l) => `${at} ${l}\n`).join('')))
    },
    async effect(title, detail, act, [intent, done]: Kinds = ['intent', 'done']) {
      const mine = ++seq
      const before = (): void => write({ seq: mine, kind: intent, title, detail })
      if (intent === 'undo') unlessFull(before)
      else before()
      const result = await act()
      const after = (): void => write({ seq: mine, kind: done, title })
      if (done === 'undone') unlessFull(after)
      else after()
      return result
    },
    fact(name, value) {
      facts[name] = value
    },
    end(result) {
      const ended = new Date()
      const ms = ended.getTime() - started.getTime()
      const times = { started: started.toISOString(), ended: ended.toISOString(), ms }
      const report: Report = { id, script, stack, ...times, ...hidden({ words, ...result, facts }) }
      unlessFull(() => {
        write({ seq: 0, kind: 'done', title: 'run' })
        writeWhole(join(dir, 'report.json'), `${JSON.stringify(report, null, 2)}\n`)
      })
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

/** The runs of a stack, the one that moved last first. Only reads; a torn last line of a journal is left out. */
export function pastRuns(stateDir: string, most = 10): PastRun[] {
  const runs = join(stateDir, 'runs')
  if (!existsSync(runs)) return []
  return readdirSync(runs)
    .map((id) => ({ id, dir: join(runs, id), journal: join(runs, id, 'journal.jsonl') }))
    .filter(({ journal }) => existsSync(journal))
    .map((run) => ({ ...run, moved: statSync(run.journal).mtimeMs }))
    .toSorted((a, b) => b.moved - a.moved)
    .slice(0, most)
    .map(({ id, dir, journal }) => {
      const report = join(dir, 'report.json')
      return {
        id,
        dir,
        journal: readFileSync(journal, 'utf8')
          .split('\n')
          .flatMap(parsed<JournalLine>),
        report: existsSync(report) ? parsed<Report>(readFileSync(report, 'utf8'))[0] : undefined,
      }
    })
}

function parsed<T>(text: string): T[] {
  try {
    return [JSON.parse(text) as T]
  } catch {
    return []
  }
}
