// Runs the tests: node --import tsx test/run.ts unit|stack|faults|all [NAME…]
// But for unit alone it brings up what a real stack needs first, and takes down what it started. `all` is what
// `npm test` runs: every unit and stack test, and a seeded sample of the faults. Files that need the real stack run
// two at a time, each on stacks of its own, since they wait for most of their time; what a file prints comes in one
// piece when it has ended.
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../lib/env.ts'
import { ensureMachine } from './stack/machine/machine.ts'
import { Refusal } from './stack/machine/refusal.ts'

const FOLDERS: Readonly<Record<string, string>> = {
  unit: 'test/unit',
  stack: 'test/stack',
  faults: 'test/faults',
}

const { values: flags, positionals } = parseArgs({
  options: { sample: { type: 'boolean' }, install: { type: 'boolean' } },
  allowPositionals: true,
})

async function main([kind = '', ...names]: readonly string[]): Promise<number> {
  const folders = kind === 'all' ? Object.values(FOLDERS) : [FOLDERS[kind]]
  const batches = folders.map((folder) => (folder === undefined ? [] : testsIn(folder, names)))
  if (batches.some((files) => files.length === 0)) {
    const which = names.length > 0 ? `No test file of '${kind}' begins with ${names.join(' or ')}.\n` : ''
    process.stderr.write(`${which}Usage: node --import tsx test/run.ts unit|stack|faults|all [NAME…]\n`)
    return 2
  }
  if (kind === 'unit') return nodeTest(batches.flat(), process.env)

  const machine = await ensureMachine({ install: flags.install ?? false, copyTools: true })
  try {
    const sampled = kind === 'all' || flags.sample
    const sample = sampled ? { FAULTS_SAMPLE: process.env.FAULTS_SAMPLE ?? '1' } : {}
    const env = { ...process.env, ...machine.env, ...sample }
    const [units, files] = kind === 'all' ? [batches[0] ?? [], batches.slice(1).toReversed().flat()] : [[], batches.flat()]
    const before = units.length > 0 ? await nodeTest(units, env) : 0
    return Math.max(before, await inLanes(files, env))
  } finally {
    await machine.stop()
  }
}

function testsIn(folder: string, names: readonly string[]): string[] {
  return readdirSync(join(ROOT, folder))
    .filter((f) => f.endsWith('.test.ts') && (names.length === 0 || names.some((n) => f.startsWith(n))))
    .map((f) => join(folder, f))
}

const LANES = 2
const COUNTED = ['tests', 'pass', 'fail', 'cancelled', 'skipped', 'todo'] as const

/** Runs files that need the real stack, and says at the end how long each took and what all of them counted. */
async function inLanes(files: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const waiting = [...files]
  const counts = new Map<string, number>()
  const times: string[] = []
  let code = 0
  const lane = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const began = performance.now()
      let out = ''
      code = Math.max(code, await nodeTest([file], env, (text) => (out += text)))
      const took = `${file}  ${((performance.now() - began) / 1000).toFixed(1)} s`
      process.stdout.write(`\n── ${took}\n${out}`)
      times.push(took)
      for (const name of COUNTED) {
        const found = new RegExp(`^ℹ ${name} (\\d+)$`, 'm').exec(out)
        counts.set(name, (counts.get(name) ?? 0) + Number(found?.[1] ?? 0))
      }
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  const total = COUNTED.map((name) => `${counts.get(name) ?? 0} ${name}`).join(', ')
  process.stdout.write(`\n${times.join('\n')}\nOn the real stack: ${total}\n`)
  return code
}

/** Ends with node's own exit code; what it prints goes to `print`, or is shown as it comes. */
function nodeTest(
  files: readonly string[],
  env: NodeJS.ProcessEnv,
  print?: (text: string) => void,
): Promise<number> {
  const args = ['--test', '--test-reporter=spec', '--test-concurrency=1', '--test-timeout=1800000']
  const child = spawn(process.execPath, ['--import', 'tsx', ...args, ...files], {
    cwd: ROOT,
    env,
    stdio: ['ignore', print ? 'pipe' : 'inherit', 'inherit'],
  })
  if (print) child.stdout?.setEncoding('utf8').on('data', print)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
}

try {
  process.exitCode = await main(positionals)
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = error.exitCode
}
