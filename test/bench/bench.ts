// Measurements on a real, throw-away stack: npm run bench -- NAME… [--json FILE] [--runs N] [--megabytes N]
// Each figure is ours beside what a user would do otherwise, on the same data, in the same run, in turns.
import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { codeOf, EXIT, sentence, usage } from '../../lib/errors.ts'
import { Interrupted } from '../../lib/execute.ts'
import { lock } from '../stack/machine/lock.ts'
import { ensureMachine } from '../stack/machine/machine.ts'
import { Refusal } from '../stack/machine/refusal.ts'
import { createStack, destroyStack } from '../stack/stack.ts'
import { backup } from './backup.ts'
import { missed, result, table, type Benchmark, type Figure, type Order } from './figure.ts'
import { restore } from './restore.ts'
import { update } from './update.ts'

const BENCHMARKS: Readonly<Record<string, Benchmark>> = { backup, restore, update }
// What it measures is boots and waits: at their true lengths.
const TRUE_TIMES: readonly string[] = ['update']
const ID = 'bench' // of the stack

const USAGE = `npm run bench -- NAME… [--json FILE] [--runs N] [--megabytes N]
Measures ours beside what a user would do otherwise, on a throw-away stack. Names: ${Object.keys(BENCHMARKS).join(', ')}

  --json FILE     the results as an array, too
  --runs N        of each, in turns; the medians count (default: 3)
  --megabytes N   MiB of files, other data in proportion (default: 1024; the targets are for that)
  --install       install missing system packages without asking

Exit codes: 0 done, 1 a target was missed or something failed, 2 usage, 3 something is missing, 5 another benchmark
is running, 128+n signals.
`

interface Wanted extends Pick<Order, 'runs' | 'megabytes'> {
  readonly names: readonly string[]
  readonly json?: string
  readonly install: boolean
}

/** @throws usage */
function wanted(): Wanted {
  const { values, positionals: names } = parseArgs({
    options: {
      json: { type: 'string' },
      runs: { type: 'string', default: '3' },
      megabytes: { type: 'string', default: '1024' },
      install: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  })
  if (names.length === 0) throw usage('Which benchmark?')
  const unknown = names.filter((name) => !Object.hasOwn(BENCHMARKS, name))
  if (unknown.length > 0) throw usage(`There is no benchmark ${unknown.join(', ')}.`)
  const { json, install } = values
  const [runs, megabytes] = [Number(values.runs), Number(values.megabytes)]
  if (![runs, megabytes].every((n) => Number.isInteger(n) && n > 0))
    throw usage('--runs and --megabytes are whole numbers above 0.')
  return { names, runs, megabytes, install, ...(json !== undefined && { json }) }
}

async function main(): Promise<number> {
  const { names, json, runs, megabytes, install } = wanted()
  const machine = await ensureMachine({ install })
  const release = await lock(join(machine.cache, 'bench.lock'), 'exclusive', 0)
  try {
    if (!release) throw new Refusal(5, 'Another benchmark is running: they would measure each other.')
    Object.assign(process.env, machine.env)
    const figures: Figure[] = []
    for (const name of names) {
      const say = (text: string): void => void process.stderr.write(`${name}: ${text}\n`)
      figures.push(...(await measure(name, { machine, runs, megabytes, say })))
    }
    process.stdout.write(table(figures))
    if (json !== undefined) writeFileSync(json, `${JSON.stringify(figures.map(result), null, 2)}\n`)
    return figures.some(missed) ? EXIT.failed : EXIT.done
  } finally {
    release?.()
    await machine.stop()
  }
}

/** Runs a benchmark on a stack of its own, which goes whatever happens. */
async function measure(name: string, order: Omit<Order, 'stack'>): Promise<Figure[]> {
  const benchmark = BENCHMARKS[name] as Benchmark
  const { machine, megabytes, say } = order
  await destroyStack(machine, ID) // what a killed run has left
  say('making the stack')
  const stack = await createStack(machine, { id: ID, timing: TRUE_TIMES.includes(name) ? 'true' : 'fast' })
  try {
    const before = loadavg()
    const figures = await Promise.race([benchmark({ ...order, stack }), interruption()])
    const common = {
      processors: `${availableParallelism()} × ${cpus()[0]?.model.trim()}`,
      node: process.version,
      megabytes,
      load: { before, after: loadavg() },
    }
    return figures.map((f) => ({ ...f, conditions: { ...common, ...f.conditions } }))
  } finally {
    await stack.destroy()
  }
}

/** Rejects at Ctrl-C and the like, so that the stack is removed. */
function interruption(): Promise<never> {
  return new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.once(signal, () => reject(new Interrupted(signal)))
  })
}

try {
  process.exitCode = await main()
} catch (error) {
  const wrong = (error as NodeJS.ErrnoException).code?.toString().startsWith('ERR_PARSE_ARGS')
  process.exitCode = wrong ? EXIT.usage : error instanceof Refusal ? error.exitCode : codeOf(error)
  process.stderr.write(`${sentence(error)}\n${process.exitCode === EXIT.usage ? USAGE : ''}`)
}
