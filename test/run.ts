// Runs the tests of one kind: node --import tsx test/run.ts unit|stack|faults [NAME…]
// For stack and faults it brings up what a real stack needs first, and takes down what it started.
import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../lib/env.ts'
import { ensureMachine } from './stack/machine/machine.ts'

const FOLDERS: Readonly<Record<string, string>> = {
  unit: 'test/unit',
  stack: 'test/stack',
  faults: 'test/faults',
}

async function main([kind = '', ...names]: readonly string[]): Promise<number> {
  const folder = FOLDERS[kind]
  if (folder === undefined) {
    process.stderr.write(`Usage: node --import tsx test/run.ts ${Object.keys(FOLDERS).join('|')} [NAME…]\n`)
    return 2
  }
  const words = names.filter((n) => !n.startsWith('--'))
  const flags = names.filter((n) => n.startsWith('--'))
  const files = readdirSync(join(ROOT, folder))
    .filter((f) => f.endsWith('.test.ts'))
    .filter((f) => words.length === 0 || words.some((w) => f.startsWith(w)))
    .map((f) => join(folder, f))
  const unknown = words.filter((w) => !files.some((f) => f.startsWith(join(folder, w))))
  if (files.length === 0 || unknown.length > 0) {
    process.stderr.write(`No test file in ${folder} begins with: ${unknown.join(', ')}\n`)
    return 2
  }
  if (kind === 'unit') return nodeTest(files, process.env)
  const machine = await ensureMachine({ install: flags.includes('--install') })
  try {
    const sample = flags.includes('--sample') ? { FAULTS_SAMPLE: process.env.FAULTS_SAMPLE ?? '1' } : {}
    return await nodeTest(files, { ...process.env, ...machine.env, ...sample })
  } finally {
    await machine.stop()
  }
}

/** One file after the other: each has the machine's two cores for itself. Ends with node's own exit code. */
function nodeTest(files: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const args = [
    '--import',
    'tsx',
    '--test',
    '--test-reporter=spec',
    '--test-concurrency=1',
    '--test-timeout=900000',
  ]
  const child = spawn(process.execPath, [...args, ...files], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
}

if (!existsSync(join(ROOT, 'node_modules'))) throw new Error('First: npm ci')
process.exitCode = await main(process.argv.slice(2))
