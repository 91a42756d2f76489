import assert from 'node:assert/strict'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { EXIT, Stop } from '../../lib/errors.ts'
import { redactor } from '../../lib/redact.ts'
import { openRun, pastRuns, type JournalLine, type Report, type Run } from '../../lib/run.ts'
import { HOSTILE } from './fixtures/hostile.ts'

let state: string
beforeEach(() => (state = mkdtempSync(join(tmpdir(), 'run-'))))
afterEach(() => rmSync(state, { recursive: true }))

const STAMP = '20261124_101112'
const plain = (text: string): string => text

function open(redact = plain, script = 'sample'): Run {
  return openRun({ stateDir: state, stamp: STAMP, script, stack: 'sample', words: [script, '--x'] }, redact)
}
const journalOf = (run: Run): JournalLine[] =>
  readFileSync(join(run.dir, 'journal.jsonl'), 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((l) => JSON.parse(l) as JournalLine)
const brief = (lines: readonly JournalLine[]): string[] => lines.map((l) => `${l.seq} ${l.kind} ${l.title}`)
const NOTHING = { exitCode: 0, outcome: 'done', steps: [], undone: [], notUndone: [] }

describe('the journal', () => {
  test('holds the intent before the effect, and its end after it', async () => {
    const run = open()
    const seen = await run.effect('outer', { old: 1 }, async () => {
      await run.effect('inner', undefined, async () => {})
      return brief(journalOf(run))
    })
    assert.deepEqual(seen, ['0 intent run', '1 intent outer', '2 intent inner', '2 done inner'])
    assert.deepEqual(brief(journalOf(run)).at(-1), '1 done outer')
    assert.deepEqual(journalOf(run)[1]?.detail, { old: 1 })
    assert.deepEqual(journalOf(run)[0]?.detail, {
      script: 'sample',
      stack: 'sample',
      words: ['sample', '--x'],
      pid: process.pid,
    })
    for (const { at } of journalOf(run)) assert.match(at, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  })

  test('an effect that fails has no end', async () => {
    const run = open()
    await assert.rejects(
      run.effect('breaks', {}, async () => Promise.reject(new Error('broken'))),
      /broken/,
    )
    await run.effect('undo: breaks', {}, async () => {}, ['undo', 'undone'])
    run.end({ ...NOTHING, exitCode: 1 })
    assert.deepEqual(brief(journalOf(run)), [
      '0 intent run',
      '1 intent breaks',
      '2 undo undo: breaks',
      '2 undone undo: breaks',
      '0 done run',
    ])
  })

  test('effects at the same time keep their numbers', async () => {
    const run = open()
    await Promise.all(
      ['a', 'b', 'c'].map((name) => run.effect(name, {}, () => new Promise((r) => setTimeout(r, 5)))),
    )
    const lines = journalOf(run).slice(1)
    assert.deepEqual(
      lines.filter((l) => l.kind === 'intent').map((l) => l.seq),
      [1, 2, 3],
    )
    for (const end of lines.filter((l) => l.kind === 'done'))
      assert.equal(lines.find((l) => l.kind === 'intent' && l.seq === end.seq)?.title, end.title)
  })

  test('hostile texts stay on their lines', async () => {
    const run = open()
    for (const text of HOSTILE) await run.effect(text, { text }, async () => {})
    const lines = journalOf(run).slice(1)
    assert.equal(lines.length, HOSTILE.length * 2)
    assert.deepEqual(
      lines.filter((l) => l.kind === 'intent').map((l) => l.detail),
      HOSTILE.map((text) => ({ text })),
    )
  })
})

describe('what a run leaves', () => {
  test('is private under umask 0', async () => {
    const umask = process.umask(0)
    const run = open()
    run.log('x')
    run.end(NOTHING)
    process.umask(umask)
    const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8)
    assert.equal(mode(join(state, 'runs')), '700')
    assert.equal(mode(run.dir), '700')
    assert.deepEqual(
      readdirSync(run.dir).map((f) => [f, mode(join(run.dir, f))]),
      [
        ['journal.jsonl', '600'],
        ['log.txt', '600'],
        ['report.json', '600'],
      ],
    )
  })

  test('has a name of its own', () => {
    assert.deepEqual(
      [open(), open(), open(plain, 'other')].map((r) => r.id),
      [`${STAMP}-sample`, `${STAMP}-sample-2`, `${STAMP}-other`],
    )
  })

  test('a log with a time on each line', () => {
    const run = open()
    run.log('one\ntwo')
    assert.match(readFileSync(join(run.dir, 'log.txt'), 'utf8'), /^20\S+Z one\n20\S+Z two\n$/)
  })

  test('a report', () => {
    const run = open()
    run.fact('sets', { newest: 'a' })
    const steps = [{ title: 'One', outcome: 'done', ms: 5 }] as const
    const report = run.end({ ...NOTHING, steps, undone: ['One: put back'], notUndone: ['Two: failed'] })
    const written = JSON.parse(readFileSync(join(run.dir, 'report.json'), 'utf8')) as Report
    assert.deepEqual(written, report)
    assert.ok(Date.parse(report.ended) - Date.parse(report.started) === report.ms)
    assert.deepEqual(
      { ...report, started: '', ended: '', ms: 0 },
      {
        id: run.id,
        script: 'sample',
        stack: 'sample',
        words: ['sample', '--x'],
        started: '',
        ended: '',
        ms: 0,
        ...NOTHING,
        steps,
        undone: ['One: put back'],
        notUndone: ['Two: failed'],
        facts: { sets: { newest: 'a' } },
      },
    )
    assert.deepEqual(readdirSync(run.dir), ['journal.jsonl', 'log.txt', 'report.json'])
  })

  test('no secret, and files that can be read whatever the secret is', async () => {
    // Secrets that are words of our own files, and one that breaks JSON where it is replaced in the text.
    const secrets = ['intent', 'journal', '"title":"', `it's "quoted"`, 'sample']
    const run = open(redactor(secrets))
    for (const secret of secrets) {
      run.log(secret)
      run.fact('said', secret)
      await run.effect(secret, { [`command`]: `echo '${secret.replaceAll("'", "'\\''")}'` }, async () => {})
    }
    run.end({ ...NOTHING, outcome: secrets.join(' ') })
    const lines = journalOf(run)
    assert.equal(lines.length, secrets.length * 2 + 2)
    assert.equal(lines[1]?.kind, 'intent') // what a program reads is no text
    const values = JSON.stringify([
      ...lines.map((l) => [l.title, l.detail]),
      pastRuns(state)[0]?.report?.outcome,
      pastRuns(state)[0]?.report?.facts,
    ])
    const log = readFileSync(join(run.dir, 'log.txt'), 'utf8')
    for (const secret of secrets) {
      assert.ok(!values.includes(JSON.stringify(secret).slice(1, -1)), `${secret} in ${values}`)
      assert.ok(!log.includes(secret), log)
    }
  })
})

test('no run without a record', () => {
  writeFileSync(join(state, 'runs'), 'a file')
  assert.throws(open, (e) => e instanceof Stop && e.code === EXIT.usage && /cannot be made/.test(e.message))
})

describe('runs of the past', () => {
  test('none', () => assert.deepEqual(pastRuns(join(state, 'nowhere')), []))

  test('the one that moved last first, whatever its name', async () => {
    const [a, b, c] = [open(plain, 'b-second'), open(plain, 'c-third'), open(plain, 'a-first')]
    for (const [run, at] of [
      [a, 3000],
      [b, 1000],
      [c, 2000],
    ] as const)
      utimesSync(join(run.dir, 'journal.jsonl'), at, at)
    mkdirSync(join(state, 'runs', 'lost+found'))
    writeFileSync(join(state, 'runs', 'note.txt'), '')
    assert.deepEqual(
      pastRuns(state).map((r) => r.id),
      [a.id, c.id, b.id],
    )
    assert.deepEqual(
      pastRuns(state, 1).map((r) => r.id),
      [a.id],
    )
  })

  test('one that never ended has no report; a torn last line is left out', async () => {
    const run = open()
    await run.effect('done', {}, async () => {})
    appendFileSync(join(run.dir, 'journal.jsonl'), '{"at":"2026-11-24T10:11:12.000Z","seq":2,"kind":"inte')
    const [past] = pastRuns(state)
    assert.equal(past?.report, undefined)
    assert.deepEqual(brief(past?.journal ?? []), ['0 intent run', '1 intent done', '1 done done'])
  })

  test('a half-written report is none', () => {
    const run = open()
    writeFileSync(join(run.dir, 'report.json'), '{"id":')
    assert.equal(pastRuns(state)[0]?.report, undefined)
    assert.ok(existsSync(run.dir))
  })
})
