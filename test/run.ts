// Runs the tests: node --import tsx test/run.ts unit|stack|faults|all [NAME…]
// But for unit alone it brings up what a real stack needs first, and takes down what it started. `all` is what
// `npm test` runs: every unit and stack test, and a seeded sample of the faults.
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
    let code = 0
    for (const files of batches) {
      code = Math.max(code, await nodeTest(files, { ...process.env, ...machine.env, ...sample }))
    }
    return code
  } finally {
    await machine.stop()
  }
}

function testsIn(folder: string, names: readonly string[]): string[] {
  return readdirSync(join(ROOT, folder))
    .filter((f) => f.endsWith('.test.ts') && (names.length === 0 || names.some((n) => f.startsWith(n))))
    .map((f) => join(folder, f))
}

/** One file after the other: each has the machine for itself. Ends with node's own exit code. */
function nodeTest(files: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const args = ['--test', '--test-reporter=spec', '--test-concurrency=1', '--test-timeout=1800000']
  const child = spawn(process.execPath, ['--import', 'tsx', ...args, ...files], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
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
