// No secret in a log, a journal, a report or an error.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import type { Config } from './env.ts'
import { sentence, usage } from './errors.ts'

const SECRET_KEY = /(PASS|PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|KEY|CREDENTIAL)S?$|USERS$|^HEARTBEAT_URL$/i
const ADDRESS_KEY = /(URI|URL)$/i

/** Characters: a shorter secret cannot be hidden. Redacting a `1` would spoil every text. */
export const SHORTEST = 6

/** The values in an env file that must never be shown, by the names of their keys. */
export function secretsOf(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env).flatMap(([key, value]) => {
    if (SECRET_KEY.test(key)) return [value]
    const password = ADDRESS_KEY.test(key) ? /:\/\/[^/\s:@]*:([^/\s]+)@/.exec(value)?.[1] : undefined
    return password === undefined ? [] : [value, password, plain(password)]
  })
}

/** As it was before it was written into an address. */
function plain(password: string): string {
  try {
    return decodeURIComponent(password)
  } catch {
    return password // its % was meant as a %
  }
}

/** A function that replaces every one of the secrets in a text, in whatever way it was quoted on the way. */
export function redactor(secrets: readonly string[]): (text: string) => string {
  const inShell = (s: string): string => s.replaceAll("'", "'\\''")
  const inJson = (s: string): string => JSON.stringify(s).slice(1, -1)
  const forCompose = (s: string): string => s.replaceAll('$', '$$$$')
  const byCompose = (s: string): string => s.replaceAll('$$', '$')
  const forms = new Set(
    // Of a key of several lines, output that comes line by line shows one at a time.
    secrets
      .flatMap((s) => [s, ...s.split('\n')])
      .filter((s) => s.trim().length >= SHORTEST)
      .flatMap((s) => [s, encodeURIComponent(s), forCompose(s), byCompose(s)])
      .flatMap((s) => [s, inShell(s), inJson(s), inJson(inShell(s))]),
  )
  const longestFirst = [...forms].toSorted((a, b) => b.length - a.length)
  return (text) => longestFirst.reduce((t, secret) => t.replaceAll(secret, '[redacted]'), text)
}

/**
 * The redactor for a stack: hides the secrets of the tool's env file, of the stack's own .env, and of staging's.
 * @throws usage (exit 2) when one of them cannot be read.
 */
export function redactorFor(config: Config): (text: string) => string {
  const { STACK_DIR, STAGING_DIR, STAGING_ENV_FILE } = config
  const files = [join(STACK_DIR, '.env'), join(STAGING_DIR, '.env'), STAGING_ENV_FILE].filter(existsSync)
  return redactor([...secretsOf({ ...config }), ...files.map(read).flatMap(secretsIn)])
}

/** Compose reads some values differently (it keeps an unquoted #): those as they are written are hidden too. */
function secretsIn(text: string): string[] {
  const lines = [...text.matchAll(/^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*=[ \t]*(.*?)[ \t\r]*$/gm)]
  const written = Object.fromEntries(lines.map(([, key = '', value = '']) => [key, value]))
  return [...secretsOf(parse(text)), ...secretsOf(written)]
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw usage(`A stack's own settings cannot be read: ${sentence(error)}. Nothing was changed.`)
  }
}
