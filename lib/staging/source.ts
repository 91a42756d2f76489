// From what staging is made: env/compose.yml, env/config/ and the operator's filled-in settings.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parse } from 'dotenv'
import { compose, type Project } from '../docker.ts'
import { ROOT, type Config } from '../env.ts'
import { usage } from '../errors.ts'
import { CommandFailed, exec, quote } from '../shell.ts'
import type { ComposeConfig } from '../stack.ts'

const ENV = join(ROOT, 'env')
export const COMPOSE_FILE = 'compose.yml'

/** The models of the translator in staging: a copy, production's volume for reading, or none. */
export type Models = 'copy' | 'share' | 'none'

/** The operator's settings for staging, as they are written and as they are read. */
export interface Settings {
  readonly file: string
  readonly text: string
  readonly values: Readonly<Record<string, string>>
}

/** Reads them. @throws usage (exit 2) when there are none, or others can read them */
export function settingsOf({ STAGING_ENV_FILE: file }: Config): Settings {
  if (!existsSync(file)) {
    throw usage(
      `There are no settings for staging, ${file}. Nothing was changed.\n` +
        'Make them from the example and fill them in:\n' +
        `  install -m 600 ${quote(join(ENV, 'example.stack.env'))} ${quote(file)}`,
    )
  }
  const mode = statSync(file).mode & 0o777
  if (mode & 0o077)
    throw usage(
      `${file} can be read by others (mode ${mode.toString(8)}). Nothing was changed.\n  chmod 600 ${quote(file)}`,
    )
  const text = readFileSync(file, 'utf8')
  return { file, text, values: parse(text) }
}

/** The project where its files come from, with settings from wherever they are: to ask Compose before anything is written. */
export const asSource = (): Project => ({ project: '', dir: ENV, files: [join(ENV, COMPOSE_FILE)] })

/**
 * The configuration as Compose resolves it with these settings and changes to them, without the services of a profile
 * that is off. @throws usage (exit 2) with Compose's words
 */
export async function resolve(
  { file }: Pick<Settings, 'file'>,
  changes: Readonly<Record<string, string>>,
): Promise<ComposeConfig> {
  try {
    const command = compose(asSource(), '--env-file', file, 'config', '--format', 'json')
    // What stands in its environment beats the file.
    const asked = await exec({ ...command, env: { ...command.env, ...changes } })
    return JSON.parse(asked.stdout) as ComposeConfig
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error
    throw usage(
      `Compose refuses ${COMPOSE_FILE} with these settings. Nothing was changed.\n${error.stderr.trim()}`,
    )
  }
}

/** A text of settings in which these keys have these values, each with what stood there before as a comment. */
export function withValues(text: string, values: Readonly<Record<string, string>>): string {
  const lines = text.split('\n')
  for (const [key, value] of Object.entries(values)) {
    const line = `${key}='${value}'`
    // Dotenv and Compose read `KEY = value` and `KEY: value`, too.
    const written = new RegExp(`^\\s*(?:export\\s+)?${key}\\s*[=:]`)
    const at = lines.findLastIndex((l) => written.test(l))
    if (at < 0) lines.push(line)
    else if (lines[at] !== line) lines.splice(at, 1, `# ${lines[at]}`, line)
  }
  return lines.join('\n')
}

/** What the mode of the models asks of the settings. */
export function modelsValues(
  models: Models,
  own: string,
  productions: string | undefined,
): Record<string, string> {
  if (models !== 'share') return { MODELS_VOLUME: own, MODELS_EXTERNAL: 'false', MODELS_READ_ONLY: 'false' }
  return { MODELS_VOLUME: productions ?? '', MODELS_EXTERNAL: 'true', MODELS_READ_ONLY: 'true' }
}

/** A file of staging's folder, to be written. */
export interface NewFile {
  /** In the folder. */
  readonly path: string
  readonly content: Buffer
  readonly mode: number
}

/** Every file that staging's folder gets, with these settings as its .env. */
export function filesOf(env: string): NewFile[] {
  const config = readdirSync(join(ENV, 'config'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ENV, join(entry.parentPath, entry.name)))
  // What containers read by a bind mount may be read by whatever user they run as; the folder above is private.
  const copies = [COMPOSE_FILE, ...config].map((path) => ({
    path,
    content: readFileSync(join(ENV, path)),
    mode: 0o644,
  }))
  return [...copies, { path: '.env', content: Buffer.from(env), mode: 0o600 }]
}
