// The file of credentials for push messages that staging may have: a real one, and not production's.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { valueOf } from '../stack-rules.ts'
import { quote } from '../shell.ts'
import type { Stack } from '../stack.ts'
import type { Course } from './course.ts'

interface Account {
  readonly private_key?: unknown
  readonly private_key_id?: unknown
  readonly client_email?: unknown
}

const KEY = 'FIREBASE_CREDENTIALS'
const LARGEST = 64 * 1024 // bytes

/** What is wrong with it, one sentence each; nothing when there is none. */
export function credentialsProblems({ env, production, context }: Course): string[] {
  const named = valueOf(env.values, KEY)
  if (named === '') return []
  const file = isAbsolute(named) ? named : join(context.config.STAGING_DIR, named)
  if (!existsSync(file))
    return [`${KEY} names ${file}, which does not exist:\n      install -D -m 644 YOUR-FILE ${quote(file)}`]
  const account = accountIn(file)
  if (!account)
    return [`${KEY} ${file} is no service account: it must be JSON with private_key and client_email.`]
  const theirs = productions(production)
  const same = theirs.some(
    (a) =>
      a.private_key === account.private_key ||
      (a.client_email !== undefined && a.client_email === account.client_email),
  )
  return same ? [`${KEY} ${file} is production's account: staging would send real push messages.`] : []
}

function accountIn(file: string): Account | undefined {
  if (!statSync(file).isFile() || statSync(file).size > LARGEST) return undefined
  try {
    const account = JSON.parse(readFileSync(file, 'utf8')) as Account | null
    const { private_key: key, client_email: email } = account ?? {}
    return typeof key === 'string' && key.includes('PRIVATE KEY') && typeof email === 'string'
      ? (account ?? undefined)
      : undefined
  } catch {
    return undefined // no JSON: it is not one
  }
}

/** Every account that production has: what its containers mount, and what lies in secrets/. */
function productions({ dir, services }: Stack): Account[] {
  const mounted = services.flatMap((s) =>
    (s.container?.Mounts ?? []).filter((m) => m.Type === 'bind').map((m) => m.Source),
  )
  const secrets = join(dir, 'secrets')
  const kept = existsSync(secrets) ? readdirSync(secrets).map((name) => join(secrets, name)) : []
  const files = [...mounted, ...kept].filter((f) => existsSync(f))
  return files.flatMap((f) => accountIn(f) ?? [])
}
