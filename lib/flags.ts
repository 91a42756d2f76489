// The flags of a script: what may be typed, what --help says, and the line that runs one step alone.
import { join } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import { ROOT } from './env.ts'
import { sentence, usage } from './errors.ts'
import type { Context, Script } from './script.ts'
import type { Command } from './shell.ts'

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
  /** What is typed again to run one step of the same: without the flags that `alone` sets. */
  readonly again: readonly string[]
}

const NOT_AGAIN = ['env', 'stamp', 'plan', 'dry-run', 'only', 'from']

/**
 * Reads the flags of a script, its own and the shared ones; --help wins over everything.
 * @throws usage (exit 2) naming an unknown flag and the nearest known one.
 */
export function readFlags(name: string, spec: Script, args: readonly string[]): Parsed | 'help' {
  if (args.includes('--help') || args.includes('-h')) return 'help'
  const options = { ...spec.options, ...SHARED }
  try {
    const config = { args: [...args], options, strict: true, allowPositionals: true, tokens: true } as const
    const { values, positionals, tokens } = parseArgs(config)
    const flags = values as Parsed['flags']
    if (positionals.length > (spec.takesWords ?? 0))
      throw new Error(`Unexpected argument '${positionals[spec.takesWords ?? 0]}'`)
    if (flags.stamp !== undefined && !isStamp(flags.stamp))
      throw new Error('--stamp is a time, YYYYMMDD_HHMMSS')
    if (flags.only !== undefined && flags.from !== undefined)
      throw new Error('--only and --from exclude each other')
    const again = tokens.flatMap((token) => {
      if (token.kind === 'option-terminator') return '--'
      if (token.kind === 'positional') return token.value
      if (NOT_AGAIN.includes(token.name)) return []
      return token.value === undefined ? token.rawName : `${token.rawName}=${token.value}`
    })
    return { flags, words: positionals, given: args, again }
  } catch (error) {
    const why = unknownFlag(sentence(error), args, Object.keys(options)) ?? `${sentence(error)}.`
    throw usage(`${why}\nUsage: ${usageLine(name, spec)}\nMore: node --import tsx scripts/${name}.ts --help`)
  }
}

/** A time that there is: no month 13. */
function isStamp(text: string): boolean {
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)$/.exec(text) ?? []
  const iso = `${y}-${mo}-${d}T${h}:${mi}:${s}.000Z`
  const time = new Date(iso)
  return !Number.isNaN(time.getTime()) && time.toISOString() === iso
}

function unknownFlag(said: string, args: readonly string[], known: readonly string[]): string | undefined {
  const short = /^Unknown option '(-[^']*)'/.exec(said)?.[1]
  if (short === undefined) return undefined
  const typed = args.find((a) => a.startsWith(short))?.replace(/=.*/s, '') ?? short
  const word = typed.replace(/^-+/, '')
  const [near] = known.toSorted((a, b) => distance(a, word) - distance(b, word))
  const meant =
    near !== undefined && distance(near, word) <= 3 ? `Did you mean --${near}?` : 'There is no such flag.'
  return `Unknown flag ${typed}. ${meant}`
}

/** The command that runs step n of this script alone, from any folder; without n, the script itself. */
export function alone(
  file: string,
  { env, stamp, again }: { env: string; stamp: string; again: readonly string[] },
  n?: number,
): Command {
  const loader = join(ROOT, 'node_modules/tsx/dist/loader.mjs')
  const only = n === undefined ? [] : ['--only', String(n)]
  return { words: ['node', '--import', loader, file, '--env', env, '--stamp', stamp, ...only, ...again] }
}

function usageLine(name: string, spec: Script): string {
  return `node --import tsx scripts/${name}.ts${spec.takesWords ? ' [WORD…]' : ''} [flags]`
}

/** The text of --help: at most a screen. */
export function help(name: string, spec: Script): string {
  const asks = spec.asks === true || (spec.answer !== undefined && spec.answers === undefined)
  const running = [
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
    '  --env NAME     env/NAME.env, or a path (default: production)',
    ...(asks ? [] : running.map((l) => `  ${l}`)),
    '  --json         the answer, or the report of the run, as JSON',
    '  --verbose      with an error, where in the code it arose',
    '',
    'Examples:',
    ...spec.examples.map((l) => `  ${l}`),
    '',
    codes,
    ...(asks ? [] : ['Each run leaves its journal, log and report in STATE_DIR/runs/<stamp>-<script>/.']),
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
