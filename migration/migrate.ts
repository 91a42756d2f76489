#!/usr/bin/env -S node --import tsx
// Migrates the legacy database into an empty one of the new shape, and proves it document by document.
// Changes: the target database alone; the source is only read. Leaves a folder with the report, and with what is not
// loaded. Undo: drop the target database; or run it again, which starts over.
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../lib/env.ts'
import { codeOf, EXIT, sentence, usage } from '../lib/errors.ts'
import { execute, onSignals } from '../lib/execute.ts'
import { redactor } from '../lib/redact.ts'
import { noRun } from '../lib/run.ts'
import { choose } from '../lib/steps.ts'
import { parseSchema } from './dmmf.ts'
import { acceptedFrom } from './engine/accept.ts'
import { addressFrom, secretsIn } from './engine/addresses.ts'
import { courseOf, type Course, type Wishes } from './engine/course.ts'
import { markdown } from './engine/markdown.ts'
import { PLAN } from './plan.ts'
import { rulesOf } from './rules.ts'

const HELP = `Usage: node --import tsx migration/migrate.ts [flags]

Migrates the legacy database into an empty one of the new shape (migration/plan.ts, migration/schema.prisma), and
proves it document by document. Only the target changes. A run that was ended starts over when it is run again.

  --dry-run         read and judge every document, write nothing, print the report
  --verify          compare a migrated target with what the source becomes now, write nothing
  --source URL      instead of SOURCE_URL, without a password: mongodb://host:27017/database
  --target URL      instead of DATABASE_URL, without a password
  --collections C,… these collections alone; checks that lead to others are skipped
  --accept RULE:IDS do without these documents, as the report names them (repeatable)
  --replace         make anew a target that was changed since it was migrated
  --out DIR         where the report and what is not loaded go: a new folder (default: in STATE_DIR, or here)
  --json            the report as JSON on standard output

Environment: SOURCE_URL, DATABASE_URL, SCHEMA (another schema file), STATE_DIR.
Exit codes: 0 done · 1 failed, the target is not good · 2 usage · 3 checks say no, nothing changed · 128+n signal
`

const OPTIONS = {
  source: { type: 'string' },
  target: { type: 'string' },
  'dry-run': { type: 'boolean' },
  verify: { type: 'boolean' },
  collections: { type: 'string' },
  accept: { type: 'string', multiple: true },
  replace: { type: 'boolean' },
  out: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

type Flags = ReturnType<typeof flagsFrom>

function flagsFrom(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, strict: true }).values
  } catch (error) {
    throw usage(`${sentence(error)}\nMore: node --import tsx migration/migrate.ts --help`)
  }
}

function wishesOf(flags: Flags): Wishes {
  const { SOURCE_URL, DATABASE_URL, SCHEMA, STATE_DIR } = process.env
  if (flags['dry-run'] && flags.verify) throw usage('--dry-run and --verify exclude each other.')
  const mode = flags['dry-run'] ? 'dry run' : flags.verify ? 'verification' : 'run'
  const source = addressFrom({ flag: '--source', given: flags.source, key: 'SOURCE_URL', set: SOURCE_URL })
  const target = addressFrom({
    flag: '--target',
    given: flags.target,
    key: 'DATABASE_URL',
    set: DATABASE_URL,
  })
  if (!source) throw usage('There is no source: SOURCE_URL or --source. Nothing was changed.')
  if (!target && mode !== 'dry run')
    throw usage('There is no target: DATABASE_URL or --target. Nothing was changed.')
  const file = resolve(SCHEMA || join(ROOT, 'migration/schema.prisma'))
  if (!existsSync(file)) throw usage(`There is no schema ${file} (SCHEMA). Nothing was changed.`)
  const schema = readFileSync(file, 'utf8')
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_')
  return {
    mode,
    plan: PLAN,
    rules: rulesOf(parseSchema(schema)),
    schema,
    source,
    ...(target && { target }),
    ...(flags.collections !== undefined && { collections: flags.collections.split(',') }),
    accepted: acceptedFrom(flags.accept ?? []),
    replace: flags.replace ?? false,
    out: resolve(flags.out ?? join(STATE_DIR || '.', `migration-${stamp}`)),
  }
}

async function main(): Promise<number> {
  const flags = flagsFrom(process.argv.slice(2))
  if (flags.help) {
    process.stdout.write(HELP)
    return EXIT.done
  }
  const wishes = wishesOf(flags)
  const course = courseOf(wishes)
  const redact = redactor(secretsIn([wishes.source, wishes.target]))
  const tell = (text: string): void => void process.stderr.write(redact(`${text}\n`))
  const interrupted = onSignals(tell)
  try {
    const showing = { interrupted, redact, silent: flags.json ?? false }
    const { failure } = await execute(choose(course.steps, {}), noRun, showing)
    const text = answer(course, wishes, flags)
    if (text !== undefined) process.stdout.write(redact(text))
    if (!failure) return EXIT.done
    tell(`\n${failure.step}: ${sentence(failure.error)}`)
    if (failure.changed)
      tell(
        `The target ${wishes.target?.shown} is not good, and marked so. Run the same again: it starts over.`,
      )
    return codeOf(failure.error)
  } finally {
    await course.close()
  }
}

/** What is printed on standard output. */
function answer(course: Course, { mode, out }: Wishes, { json }: Flags): string | undefined {
  const report = course.report()
  if (!report) return undefined
  if (json) return `${JSON.stringify(report)}\n`
  if (mode === 'dry run') return markdown(report)
  const { transformed, carried, renamed, read } = report.totals
  return mode === 'run' && report.verification
    ? `${transformed + carried + renamed} of ${read} documents are loaded, ${report.quarantined.length} quarantined. Report: ${join(out, 'report.md')}\n`
    : undefined
}

try {
  process.exitCode = await main()
} catch (error) {
  const secrets = secretsIn(
    [process.env.SOURCE_URL, process.env.DATABASE_URL].map((url) =>
      url ? { url, database: '', shown: '' } : undefined,
    ),
  )
  process.stderr.write(redactor(secrets)(`${sentence(error)}\n`))
  process.exitCode = codeOf(error)
}
