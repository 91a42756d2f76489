// Staging beside a rehearsal stack: its names, and the env file that an operator would have filled in. What is made of
// them is the business of a script, or of a test.
import { encodeBase64, hashSync } from 'bcryptjs'
import { parse } from 'dotenv'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT } from '../../lib/env.ts'
import { SCHEMA } from './apps/images.ts'
import { imageRef } from './machine/images.ts'
import type { Machine } from './machine/machine.ts'
import { removeProject, stagingName } from './project.ts'
import type { Stack } from './stack.ts'

export interface Staging {
  /** The Compose project: the stack's with `-staging`. */
  readonly name: string
  /** The folder that will hold it; it is not made here. */
  readonly dir: string
  /** Where the operator's env file lies once `write` has been called. */
  readonly envFile: string
  readonly domain: string
  readonly hosts: Readonly<Record<'site' | 'gate' | 'ml' | 'static' | 'mongo' | 'redis' | 'traefik', string>>
  /** Real names of its volumes, save the proxy's own, which staging never has. */
  readonly volumes: readonly string[]
  /** Of `admin`, before the pages for administrators. */
  readonly password: string
  /** The Prisma schema with which the good images of the new stack were built. */
  readonly schema: string
  /** What `write` writes: the same for the same stack, every time. */
  readonly values: Readonly<Record<string, string>>
  /** Writes the env file, with other values where `changes` has them and without what is `undefined` there. */
  write(changes?: Readonly<Record<string, string | undefined>>): void
  /** Removes everything that carries the project's label, and its folder; the env file stays. */
  destroy(): Promise<void>
}

const PASSWORD = 'staging-rehearsal'
const CHEAP = 4 // the least that bcrypt takes: each request to these pages costs it
/** Our name and tag of what the example calls otherwise. */
const IMAGES: Readonly<Record<string, readonly [name: string, tag: string]>> = {
  DATABASE: ['mongo', '8.0'],
  REDIS: ['redis', '8-alpine'],
  STATIC: ['nginx', 'alpine'],
  NOSQLCLIENT: ['mongoclient', 'latest'],
  REDIS_UI: ['p3x-redis-ui', 'latest'],
  TRAEFIK: ['traefik', 'v3.3'],
}
const VERSIONED = { TRANSLATOR: 'translator', GATEWAY: 'gateway', FRONTEND: 'frontend' } as const

/** The staging stack that belongs to a rehearsal stack. Nothing is made or written yet. */
export function stagingFor(stack: Stack, machine: Machine): Staging {
  const name = stagingName(stack.project)
  const root = dirname(stack.dir)
  const [dir, envFile] = [join(root, 'staging'), join(root, 'runbook', 'staging.stack.env')]
  const domain = `staging.${stack.domain}`
  const values = valuesFor(stack, machine, { name, domain })
  return {
    name,
    dir,
    envFile,
    domain,
    hosts: {
      site: domain,
      gate: `gate.${domain}`,
      ml: `ml.${domain}`,
      static: `static.${domain}`,
      mongo: `mongo.${domain}`,
      redis: `redis.${domain}`,
      traefik: `traefik.${domain}`,
    },
    volumes: Object.entries(values).flatMap(([key, value]) =>
      key.endsWith('_VOLUME') && key !== 'CERTS_VOLUME' ? [value] : [],
    ),
    password: PASSWORD,
    schema: SCHEMA,
    values,
    write(changes = {}) {
      const lines = Object.entries({ ...values, ...changes }).map(([key, value]) =>
        value === undefined ? '' : `${key}='${value}'\n`,
      )
      mkdirSync(dirname(envFile), { recursive: true, mode: 0o700 })
      writeFileSync(envFile, lines.join(''))
      chmodSync(envFile, 0o600) // whatever the umask is, and when it was there already
    },
    destroy: () => removeProject(machine, name, dir),
  }
}

/** The example's own keys, in its order, each with what fits the rehearsal. */
function valuesFor(
  { project, timing }: Stack,
  machine: Machine,
  { name, domain }: { name: string; domain: string },
): Record<string, string> {
  const example = parse(readFileSync(join(ROOT, 'env/example.stack.env')))
  const one = (key: string, value: string): string => {
    const kind = key.slice(0, key.lastIndexOf('_'))
    if (key.endsWith('_IMAGE')) return imageFor(machine, kind, timing)
    if (key.endsWith('_CPUS')) return '1'
    if (key.endsWith('_MEMORY')) return key === 'DATABASE_MEMORY' ? '1g' : '512m'
    if (key === 'DOCKER_SOCKET') return machine.socket
    if (value === '***CHANGE_ME***') return secret(`${project} ${key}`, key.endsWith('_USERS'))
    return value.replaceAll('meeshy-staging', name).replaceAll('staging.meeshy.me', domain)
  }
  return Object.fromEntries(Object.entries(example).map(([key, value]) => [key, one(key, value)]))
}

function imageFor(machine: Machine, kind: string, timing: Stack['timing']): string {
  const tag = timing === 'fast' ? '2.0-fast' : '2.0'
  if (Object.hasOwn(VERSIONED, kind)) return imageRef(machine, VERSIONED[kind as keyof typeof VERSIONED], tag)
  const [name, fixed] = IMAGES[kind] ?? []
  if (name === undefined || fixed === undefined) throw new Error(`No stand-in is known for ${kind}_IMAGE.`)
  return imageRef(machine, name, fixed)
}

/** 32 bytes in base64, or the line of a password file: always the same for the same seed. */
function secret(seed: string, asUser: boolean): string {
  const bytes = createHash('sha256').update(seed).digest()
  if (!asUser) return bytes.toString('base64')
  const salt = `$2b$0${CHEAP}$${encodeBase64(bytes, 16)}`
  return `admin:${hashSync(PASSWORD, salt)}`
}
