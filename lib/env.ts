// The tool's own env file, env/<name>.env. (The stack's .env is Compose's: it is only ever parsed, in stack.ts.)
import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, isAbsolute, join, resolve } from 'node:path'
import { parse } from 'dotenv'
import { wrongTarget } from './backup/copy.ts'
import { sentence, usage } from './errors.ts'
import { wrongHeartbeat } from './heartbeat.ts'
import { SHORTEST } from './redact.ts'
import { quote } from './shell.ts'

/** The repository's folder: scripts work from any current directory. */
export const ROOT = resolve(import.meta.dirname, '..')

/** What the env file says, checked. Paths are absolute. */
export interface Config {
  /** The name after --env: the file is env/<name>.env, or a path. */
  readonly name: string
  readonly file: string
  /** The same before and after a switch. */
  readonly STACK_ID: string
  /** The folder that holds the stack's Compose file and its .env. */
  readonly STACK_DIR: string
  /** Runs, journals and the lock. */
  readonly STATE_DIR: string
  readonly BACKUP_DIR: string
  /** How old the newest good set may be, as 26h or 3d; empty: nobody judges. */
  readonly BACKUP_MAX_AGE: string
  /** Where sets are copied to, as rsync:user@host:/folder or rclone:remote:folder; empty: nowhere. */
  readonly BACKUP_COPY_TO: string
  /** Told of a backup's start and end; empty: nobody is. It holds a token: a secret. */
  readonly HEARTBEAT_URL: string
  /** The module that describes the stack. */
  readonly STACK_FILE: string
  /** The folder that holds the staging stack. */
  readonly STAGING_DIR: string
  /** Staging's settings, filled in: the .env of its folder is written from them. */
  readonly STAGING_ENV_FILE: string
  /** The Prisma schema that the images of the new stack must have been built with. */
  readonly SCHEMA: string
  /** Where to reach the proxy instead of asking DNS, as http://127.0.0.1:8080; empty means by public address. */
  readonly PROXY_ADDRESS: string
  readonly MONGODB_USER: string
  readonly MONGODB_PASSWORD: string
  readonly REDIS_PASSWORD: string
}

type Key = Exclude<keyof Config, 'name' | 'file'>
type Values = Readonly<Partial<Record<Key, string>>>

interface Rule {
  readonly default?: (values: Values) => string
  /** A path: it must be absolute, and is kept without `..` or a last slash. */
  readonly path?: true
  readonly wrong?: (value: string) => string | undefined
}

/** Every key of env/<name>.env: without a default it must be there. env/example.env explains each. */
export const KEYS: Readonly<Record<Key, Rule>> = {
  STACK_ID: {
    wrong: (v) =>
      /^[a-z0-9][a-z0-9-]{0,39}$/.test(v) ? undefined : 'must be a-z, 0-9 and hyphens, at most 40',
  },
  STACK_DIR: { path: true },
  STATE_DIR: { default: (v) => `/var/lib/runbook/${v.STACK_ID}`, path: true },
  BACKUP_DIR: { default: (v) => join(v.STACK_DIR ?? '/', 'backups'), path: true },
  BACKUP_MAX_AGE: {
    default: () => '',
    wrong: (v) => (/^[1-9]\d{0,4}[hd]$/.test(v) ? undefined : 'must be hours or days, as 26h or 3d'),
  },
  BACKUP_COPY_TO: { default: () => '', wrong: wrongTarget },
  HEARTBEAT_URL: { default: () => '', wrong: wrongHeartbeat },
  STACK_FILE: { default: () => join(ROOT, 'env/stack.ts'), path: true },
  PROXY_ADDRESS: {
    default: () => '',
    wrong: (v) => (/^https?:\/\/[^/]+$/.test(v) ? undefined : 'must be like http://127.0.0.1:8080'),
  },
  STAGING_DIR: { default: (v) => join(v.STACK_DIR ?? '/', 'staging'), path: true },
  STAGING_ENV_FILE: { default: () => join(ROOT, 'env/staging.stack.env'), path: true },
  SCHEMA: { default: () => join(ROOT, 'migration/schema.prisma'), path: true },
  MONGODB_USER: { default: () => '' },
  MONGODB_PASSWORD: { default: () => '', wrong: secret },
  REDIS_PASSWORD: { default: () => '', wrong: secret },
}

/** A BACKUP_MAX_AGE in ms. */
export const ageLimit = (text: string): number =>
  Number.parseInt(text, 10) * (text.endsWith('d') ? 24 : 1) * 60 * 60_000

function secret(value: string): string | undefined {
  return value.length >= SHORTEST
    ? undefined
    : `is shorter than ${SHORTEST} characters: it could not be kept out of logs`
}

/**
 * Reads env/<name>.env (or the file at a path) into a frozen object. Precedence: `overrides` (flags), then
 * RUNBOOK_<KEY> in the environment, then the file.
 * @throws usage (exit 2) naming every missing, unknown or invalid key at once; or that the file is missing, or
 *   that others can read it.
 */
export function loadConfig(name = 'production', overrides: Values = {}): Config {
  const file = name.includes('/') ? resolve(name) : join(ROOT, 'env', `${name}.env`)
  const text = privateText(file)
  const read = parse(text)
  const problems = [
    ...Object.keys(read)
      .filter((key) => !Object.hasOwn(KEYS, key) && key !== 'NAME')
      .map((key) => `${key}: unknown key`),
    ...[...text.matchAll(/^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=[ \t]*[^'"`\s#](?:[^#\n]*\S)?#/gm)].map(
      ([, key]) => `${key}: a # without quotes cuts the value short: put it in single quotes`,
    ),
  ]
  const asked = basename(name, '.env')
  if (read.NAME !== undefined && read.NAME !== asked) {
    problems.push(`NAME: the file is for '${read.NAME}', but '${asked}' was asked for`)
  }

  const values: Partial<Record<Key, string>> = {}
  for (const key of Object.keys(KEYS) as Key[]) {
    const rule = KEYS[key]
    const value = overrides[key] || process.env[`RUNBOOK_${key}`] || read[key]
    if (!value) {
      if (rule.default) values[key] = rule.default(values)
      else problems.push(`${key}: missing`)
      continue
    }
    values[key] = rule.path ? resolve(value) : value
    const wrong = rule.path && !isAbsolute(value) ? 'must be an absolute path' : rule.wrong?.(value)
    if (wrong) problems.push(`${key}: ${wrong}`)
  }
  if (problems.length > 0) {
    throw usage(`${file} cannot be used. Nothing was changed.\n${problems.map((p) => `  ${p}`).join('\n')}`)
  }
  return Object.freeze({ name, file, ...(values as Record<Key, string>) })
}

function privateText(file: string): string {
  if (!existsSync(file)) {
    throw usage(
      `There is no env file ${file}. Nothing was changed.\n` +
        `Make it from the example and fill it in:\n` +
        `  install -m 600 ${quote(join(ROOT, 'env/example.env'))} ${quote(file)}`,
    )
  }
  const { mode } = statSync(file)
  if (mode & 0o077) {
    throw usage(
      `${file} can be read by others (mode ${(mode & 0o777).toString(8)}). Nothing was changed.\n` +
        `  chmod 600 ${quote(file)}`,
    )
  }
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw usage(`The env file cannot be read: ${sentence(error)}. Nothing was changed.`)
  }
}
