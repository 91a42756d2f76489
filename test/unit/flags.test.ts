import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { EXIT, Stop } from '../../lib/errors.ts'
import { alone, help, readFlags, type Parsed } from '../../lib/flags.ts'
import type { Script } from '../../lib/script.ts'

const SPEC: Script = {
  about: 'Does it.',
  changes: 'this.',
  undo: 'that.',
  usage: ['--all  everything'],
  options: { all: { type: 'boolean' }, parts: { type: 'string' } },
  takesWords: 2,
  examples: ['task it'],
}

const parsed = (...args: string[]): Parsed => {
  const result = readFlags('it', SPEC, args)
  return result === 'help' ? assert.fail('help') : result
}

function refused(...args: string[]): string {
  try {
    readFlags('it', SPEC, args)
  } catch (error) {
    assert.ok(error instanceof Stop, String(error))
    assert.equal(error.code, EXIT.usage)
    assert.match(error.message, /\nUsage: .*it\.ts \[WORD…\] \[flags\]\nMore: .* --help$/)
    return error.message.split('\n')[0] ?? ''
  }
  return assert.fail('it was accepted')
}

describe('what is typed', () => {
  test('own flags, shared ones and words, in any order', () => {
    const { flags, words } = parsed(
      'one',
      '--all',
      '--env',
      'staging',
      '--confirm',
      'a',
      '--confirm=b',
      '--parts=x',
      'two',
    )
    assert.deepEqual({ ...flags }, { env: 'staging', all: true, confirm: ['a', 'b'], parts: 'x' })
    assert.deepEqual(words, ['one', 'two'])
  })

  test('production is the default', () => assert.equal(parsed().flags.env, 'production'))

  test('a stamp keeps its zeros', () =>
    assert.equal(parsed('--stamp', '00010203_040506').flags.stamp, '00010203_040506'))

  test('--help wins over everything', () => {
    assert.equal(readFlags('it', SPEC, ['--nonsense', '--help']), 'help')
    assert.equal(readFlags('it', SPEC, ['-h', 'too', 'many', 'words']), 'help')
  })
})

describe('what is refused', () => {
  test('an unknown flag names itself and the nearest known one', () => {
    assert.equal(refused('--plam'), 'Unknown flag --plam. Did you mean --plan?')
    assert.equal(refused('--dryrun'), 'Unknown flag --dryrun. Did you mean --dry-run?')
    assert.equal(refused('--part=x'), 'Unknown flag --part. Did you mean --parts?')
    assert.equal(refused('--conifrm', 'x'), 'Unknown flag --conifrm. Did you mean --confirm?')
    assert.equal(refused('-plan'), 'Unknown flag -plan. Did you mean --plan?')
    assert.equal(refused('--$(id)'), 'Unknown flag --$(id). There is no such flag.')
  })

  test('the rest', () => {
    assert.equal(refused('a', 'b', 'c'), "Unexpected argument 'c'.")
    assert.match(refused('--env'), /^Option '--env <value>' argument missing/)
    assert.match(refused('--all=yes'), /^Option '--all' does not take an argument/)
    assert.equal(refused('--stamp', '2026-11-24'), '--stamp is a time, YYYYMMDD_HHMMSS.')
    assert.equal(refused('--only', '1', '--from=2'), '--only and --from exclude each other.')
  })
})

describe('the command of one step', () => {
  const again = (...args: string[]): readonly string[] =>
    alone(
      '/r/scripts/it.ts',
      { env: '/abs/x.env', stamp: '20261124_101112', again: parsed(...args).again },
      3,
    ).words.slice(3)

  test('has what was typed, without what it sets itself', () => {
    assert.deepEqual(
      again(
        'one',
        '--plan',
        '--only',
        '2',
        '--env=x',
        '--stamp=20200101_000000',
        '--all',
        '--parts',
        'a b',
        '--dry-run',
      ),
      [
        '/r/scripts/it.ts',
        '--env',
        '/abs/x.env',
        '--stamp',
        '20261124_101112',
        '--only',
        '3',
        'one',
        '--all',
        '--parts=a b',
      ],
    )
  })

  test('words that look like flags stay words', () => {
    assert.deepEqual(again('--from', '2', '--', '--only', '--plan').slice(-3), ['--', '--only', '--plan'])
    assert.deepEqual(again('--parts=--plan').at(-1), '--parts=--plan')
  })

  test('can be read again', () => {
    const [, , , , ...words] = again('one', '--confirm', 'x', '--', '-two')
    const { words: read, flags } = parsed('--env', ...words.slice(0))
    assert.deepEqual(read, ['one', '-two'])
    assert.deepEqual([flags.only, flags.confirm], ['3', ['x']])
  })
})

describe('help', () => {
  test('is a screen, and tells what a tired person needs', () => {
    const text = help('it', SPEC)
    assert.ok(text.split('\n').length <= 30, text)
    for (const part of [
      'Usage: node --import tsx scripts/it.ts',
      'Does it.',
      'Changes: this.',
      'Undo:    that.',
      '--all  everything',
      '--plan',
      '--dry-run',
      '--only N',
      '--from N',
      '--confirm WORD',
      '--json',
      '--verbose',
      'task it',
      'Exit codes: 0 done',
      '10 failed',
      'STATE_DIR/runs/',
    ])
      assert.ok(text.includes(part), part)
  })

  test('of a script that only asks says nothing of runs', () => {
    const text = help('it', { ...SPEC, answer: async () => 0 })
    assert.doesNotMatch(text, /--only|STATE_DIR/)
  })
})
