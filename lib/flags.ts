// The flags of a script: what may be typed, what --help says, and the line that runs one step alone.
import { join } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import { ROOT } from './env.ts'
import { sentence, usage } from './errors.ts'
import type { Context, Script } from './script.ts'
import type { Command } from './shell.ts'
import type { Step } from './steps.ts'

const SHARED = {
  env: { type: 'string', default: 'production' },
  stamp: { type: 'string' },
  plan: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  only: { type: 'string' },
  from: { type: 'string' },
  confirm: { type: 'string', multiple: true },
  json: { type: 'boolean' },
  verbose: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const satisfies NonNullable<ParseArgsConfig['options']>

/** The flags that every script knows. */
export type SharedFlags = {
  env: string
  stamp?: string
  plan?: boolean
  'dry-run'?: boolean
  only?: string
  from?: string
  confirm?: string[]
  json?: boolean
  verbose?: boolean
  help?: boolean
}

/** What was typed. */
export interface Parsed {
  readonly flags: SharedFlags & Context['flags']
  readonly words: string[]
  readonly given: readonly string[]
}

/**
 * Reads the flags of a script, its own and the shared ones; --help wins over everything.
 * @throws usage (exit 2) naming an unknown flag and the nearest known one.
 */
export function readFlags(name: string, spec: Script, args: readonly string[]): Parsed | 'help' {
  if (args.includes('--help') || args.includes('-h')) return 'help'
  try {
    const options = { ...spec.options, ...SHARED }
    const { values, positionals } = parseArgs({
      args: [...args],
      options,
      strict: true,
      allowPositionals: true,
    })
    const flags = values as Parsed['flags']
    if (positionals.length > (spec.takesWords ?? 0)) {
      throw new Error(`Unexpected argument '${positionals[spec.takesWords ?? 0]}'`)
    }
    if (flags.stamp !== undefined && !/^\d{8}_\d{6}$/.test(flags.stamp))
      throw new Error('--stamp is YYYYMMDD_HHMMSS')
    if (flags.only !== undefined && flags.from !== undefined)
      throw new Error('--only and --from exclude each other')
    return { flags, words: positionals, given: args }
  } catch (error) {
    const unknown = /Unknown option '(--?[\w-]+)'/.exec(sentence(error))?.[1]
    const known = Object.keys({ ...spec.options, ...SHARED }).map((o) => `--${o}`)
    const near = unknown && known.toSorted((a, b) => distance(a, unknown) - distance(b, unknown))[0]
    const why = unknown ? `Unknown flag ${unknown}. Did you mean ${near}?` : `${sentence(error)}.`
    throw usage(`${why}\nUsage: ${usageLine(name, spec)}\nMore: node --import tsx scripts/${name}.ts --help`)
  }
}

/** The number after --only or --from, from 1. @throws usage (exit 2) listing the steps there are. */
export function numberOf(flag: string, text: string | undefined, steps: readonly Step[]): number | undefined {
  if (text === undefined) return undefined
  const n = Number(text)
  if (Number.isInteger(n) && n >= 1 && n <= steps.length) return n
  const list = steps.map((s, i) => `  ${i + 1} ${s.title}`).join('\n')
  throw usage(`${flag} ${text}: there is no such step. The steps are:\n${list}`)
}

/** The command that runs step n of this script alone, from any folder. */
export function alone(file: string, n: number, stamp: string, given: readonly string[]): Command {
  const kept: string[] = []
  for (let i = 0; i < given.length; i++) {
    const word = given[i] ?? ''
    if (/^--(plan|dry-run)$/.test(word)) continue
    if (/^--(only|from|stamp)$/.test(word))
      i++ // and its value
    else if (!/^--(only|from|stamp)=/.test(word)) kept.push(word)
  }
  const loader = join(ROOT, 'node_modules/tsx/dist/loader.mjs')
  return { words: ['node', '--import', loader, file, ...kept, '--stamp', stamp, '--only', String(n)] }
}

function usageLine(name: string, spec: Script): string {
  return `node --import tsx scripts/${name}.ts${spec.takesWords ? ' [WORD…]' : ''} [flags]`
}

/** The text of --help: at most a screen. */
export function help(name: string, spec: Script): string {
  const shared =
    spec.asks || spec.answer
      ? ['--env NAME     env/NAME.env, or a path (default: production)', '--json         the answer as JSON']
      : [
          '--env NAME     env/NAME.env, or a path (default: production)',
          '--plan         change nothing; print each step as one line to paste',
          '--dry-run      run what only reads, print the rest',
          '--only N       this step alone      --from N   this one and those after it',
          '--stamp S      the pipeline’s stamp, YYYYMMDD_HHMMSS UTC',
          '--confirm WORD the word that would be typed (repeatable, in order)',
        ]
  const codes =
    'Exit codes: 0 done · 1 failed, undone · 2 usage or configuration · 3 checks say no, nothing changed ·\n' +
    '  4 not confirmed · 5 another run holds the lock · 10 failed and the service is not confirmed to be up · 128+n signal'
  return [
    `Usage: ${usageLine(name, spec)}`,
    '',
    spec.about,
    '',
    `Changes: ${spec.changes}`,
    `Undo:    ${spec.undo}`,
    '',
    ...(spec.usage ?? []).map((l) => `  ${l}`),
    ...shared.map((l) => `  ${l}`),
    '',
    'Examples:',
    ...spec.examples.map((l) => `  ${l}`),
    '',
    codes,
    'Each run leaves its journal, log and report in STATE_DIR/runs/<stamp>-<script>/.',
    '',
  ].join('\n')
}

/** How many letters differ: to name the flag that was meant. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, x] of a.split('').entries()) {
    const next = [i + 1]
    for (const [j, y] of b.split('').entries()) {
      next.push(Math.min((next[j] ?? 0) + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (x === y ? 0 : 1)))
    }
    row = next
  }
  return row[b.length] ?? 0
}
