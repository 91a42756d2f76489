// Production and staging as a deploy sees them, made up: for tests that need no Docker.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import type { StackDescription } from '../../lib/description.ts'
import type { ContainerInspect } from '../../lib/docker.ts'
import type { Config } from '../../lib/env.ts'
import type { Context } from '../../lib/script.ts'
import type { Course } from '../../lib/staging/course.ts'
import type { ComposeConfig, Service, Stack } from '../../lib/stack.ts'

/** A private folder that is removed when the file's tests are done. */
export function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'runbook-staging-'))
  after(() => rmSync(dir, { recursive: true }))
  return dir
}

export const config = (more: Partial<Config> = {}): Config => ({
  name: 'production',
  file: '/e/production.env',
  STACK_ID: 'meeshy',
  STACK_DIR: '/opt/meeshy',
  STATE_DIR: '/nowhere/state',
  BACKUP_DIR: '/nowhere/backups',
  BACKUP_MAX_AGE: '',
  BACKUP_COPY_TO: '',
  HEARTBEAT_URL: '',
  STACK_FILE: '/e/stack.ts',
  STAGING_DIR: '/opt/meeshy/staging',
  STAGING_ENV_FILE: '/e/staging.stack.env',
  SCHEMA: '/e/schema.prisma',
  PROXY_ADDRESS: '',
  MONGODB_USER: 'root',
  MONGODB_PASSWORD: 'of production',
  REDIS_PASSWORD: 'of production',
  ...more,
})

type Parts = Partial<Omit<ContainerInspect, 'State' | 'NetworkSettings'>> & {
  readonly running?: boolean
  readonly networks?: readonly string[]
}

export const container = ({ running = true, networks = [], ...more }: Parts = {}): ContainerInspect => ({
  Id: 'c'.repeat(64),
  Name: '/meeshy-traefik',
  Created: '2026-01-02T03:04:05Z',
  Image: `sha256:${'1'.repeat(64)}`,
  Path: '/entrypoint.sh',
  Args: [],
  RestartCount: 0,
  State: {
    Status: running ? 'running' : 'exited',
    Running: running,
    ExitCode: 0,
    StartedAt: '2026-01-02T03:04:05Z',
    FinishedAt: '',
  },
  Config: { Image: 'traefik', Env: null, Labels: {}, Volumes: null, User: '' },
  HostConfig: { RestartPolicy: { Name: 'always' } },
  Mounts: [],
  ...more,
  NetworkSettings: { Networks: Object.fromEntries(networks.map((n) => [n, { IPAddress: '' }])) },
})

export const mount = (Type: 'volume' | 'bind', source: string, Destination: string) => ({
  Type,
  ...(Type === 'volume' && { Name: source }),
  Source: Type === 'volume' ? `/var/lib/docker/volumes/${source}/_data` : source,
  Destination,
  RW: true,
})

export const about = (more: Partial<StackDescription> = {}): StackDescription => ({
  database: { service: 'database', port: 27017, name: 'meeshy' },
  redis: { service: 'redis', port: 6379 },
  proxy: { service: 'traefik' },
  services: {},
  public: [],
  models: { service: 'translator', path: '/workspace/models' },
  leaveOut: {},
  config: [],
  stability: 0,
  stopTimeout: 0,
  ...more,
})

/** A service that runs in this container, or has none. */
export const service = (name: string, its?: ContainerInspect): Service => ({
  name,
  about: { deadline: 1 },
  image: '',
  imageId: undefined,
  configHash: '',
  dependsOn: [],
  container: its,
  containers: its ? [its] : [],
})

export const resolved = (
  services: ComposeConfig['services'],
  more: Partial<ComposeConfig> = {},
): ComposeConfig => ({ name: 'meeshy-staging', services, ...more })

export const stack = (more: Partial<Stack> = {}): Stack => ({
  project: 'meeshy',
  dir: '/opt/meeshy',
  files: ['/opt/meeshy/docker-compose.yml'],
  config: config(),
  about: about(),
  services: [],
  resolved: resolved({}),
  env: {},
  ...more,
})

/** Production whose translator mounts this. */
export const withModels = (...mounts: ReturnType<typeof mount>[]): Partial<Stack> => ({
  services: [service('translator', container({ Mounts: mounts }))],
})

export const MODELS = mount('volume', 'meeshy_models_data', '/workspace/models')

/** What a script is given. */
export const context = (its: Config, production: Stack, flags: Context['flags'] = {}): Context => ({
  config: its,
  flags,
  words: [],
  stamp: '20260102_030405',
  stack: production,
  redact: (text) => text,
})

/** A deploy with these settings of staging. */
export const course = (
  values: Readonly<Record<string, string>>,
  { its = config(), production = stack(), ...more }: Partial<Course> & { its?: Config } = {},
): Course => ({
  context: context(its, production),
  production,
  settings: { file: its.STAGING_ENV_FILE, text: '', values },
  models: 'copy',
  changes: {},
  env: { text: '', values },
  resolved: undefined,
  before: undefined,
  ...more,
})
