// The runbook's own settings for a rehearsal stack, and its scripts run as a person runs them: as processes.
import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../lib/env.ts'
import type { Stack } from './stack.ts'

/** The env file and the folders of the tool for one rehearsal stack. */
export interface Tool {
  readonly envFile: string
  readonly stateDir: string
  readonly backupDir: string
}

/** Writes the env file for a rehearsal stack; `settings` are added to it or replace what it says. */
export function toolFor(stack: Stack, settings: Readonly<Record<string, string>> = {}): Tool {
  const root = join(stack.dir, '..', 'runbook')
  mkdirSync(root, { recursive: true, mode: 0o700 })
  const tool = {
    envFile: join(root, 'rehearsal.env'),
    stateDir: join(root, 'state'),
    backupDir: join(root, 'backups'),
  }
  const values = {
    STACK_ID: stack.project,
    STACK_DIR: stack.dir,
    STATE_DIR: tool.stateDir,
    BACKUP_DIR: tool.backupDir,
    PROXY_ADDRESS: `http://127.0.0.1:${stack.proxyPort}`,
    ...(stack.timing === 'fast' ? { STACK_FILE: join(ROOT, 'test/stack/fast.ts') } : {}),
    ...settings,
  }
  const lines = Object.entries(values).map(([key, value]) => `${key}='${value}'\n`)
  writeFileSync(tool.envFile, lines.join(''), { mode: 0o600 })
  return tool
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A command that runs, and its end. */
export interface Running {
  readonly pid: number
  readonly ended: Promise<Ended>
  /** What it has printed so far, both streams. */
  printed(): string
}

/** Starts a command with Docker's environment for the rehearsal; `show` also prints what it prints. */
export function start(
  words: readonly [string, ...string[]],
  env: NodeJS.ProcessEnv,
  { show = false, cwd = ROOT }: { show?: boolean; cwd?: string } = {},
): Running {
  const [file, ...args] = words
  const child = spawn(file, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  const out = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      out[name] += text
      if (show) process[name].write(text)
    })
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, ...out }))
  })
  return { pid: child.pid ?? -1, ended, printed: () => out.stdout + out.stderr }
}

/** Starts one script of the runbook alone, as in an incident: without Task. */
export function startScript(
  stack: Stack,
  name: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Running {
  const file = join(ROOT, 'scripts', `${name}.ts`)
  const { envFile } = toolPaths(stack)
  return start([process.execPath, '--import', 'tsx', file, '--env', envFile, ...args], {
    ...process.env,
    ...stack.env,
    ...env,
  })
}

/** Runs one script of the runbook to its end. */
export function runScript(
  stack: Stack,
  name: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  return startScript(stack, name, args, env).ended
}

const toolPaths = (stack: Stack): Pick<Tool, 'envFile'> => ({
  envFile: join(stack.dir, '..', 'runbook', 'rehearsal.env'),
})

/**
 * A description of the stack to which the gateway is healthy only while it tells of that many users: with other data
 * it never becomes so. Gives the file's path.
 */
export function pickyDescription({ stateDir }: Pick<Tool, 'stateDir'>, users: number): string {
  const file = join(stateDir, 'picky.ts')
  const fast = JSON.stringify(join(ROOT, 'test/stack/fast.ts'))
  const health = `{ ...fast.services.gateway.health, json: { 'services.database.userCount': [${users}] } }`
  const services = `{ ...fast.services, gateway: { ...fast.services.gateway, health: ${health} } }`
  writeFileSync(file, `import fast from ${fast}\nexport default { ...fast, services: ${services} }\n`)
  return file
}
