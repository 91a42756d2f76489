// The engines of a stack, MongoDB and Redis: what they are, which version an image holds, how versions follow each other.
import type { ImageInspect } from './docker.ts'
import { connectMongo, dataFolders } from './mongo.ts'
import { redisCli, redisInfo } from './redis.ts'
import { exec } from './shell.ts'
import { service, type Stack } from './stack.ts'
import { throwAway } from './throwaway.ts'

/** An engine as it runs. */
export interface Engine {
  readonly service: string
  readonly engine: 'MongoDB' | 'Redis'
  readonly version: string
  /** MongoDB's featureCompatibilityVersion. */
  readonly fcv?: string
  /** Redis keeps an append-only file. */
  readonly appendOnly?: boolean
  /** Where it keeps its data, in its container. */
  readonly dir: string
}

/** Asks both engines what they are. @throws when one does not answer */
export async function readEngines(stack: Stack): Promise<Engine[]> {
  const { database, redis } = stack.about
  const client = await connectMongo(stack)
  try {
    const admin = client.db('admin')
    const { version } = await admin.command({ buildInfo: 1 })
    const { featureCompatibilityVersion: fcv } = await admin.command({
      getParameter: 1,
      featureCompatibilityVersion: 1,
    })
    const own = (await dataFolders(stack, client)).find((f) => f.service === database.service)
    const { redis_version: redisVersion = '' } = await redisInfo(stack, 'server')
    const { aof_enabled: aof } = await redisInfo(stack, 'persistence')
    const dir = (await redisCli(stack, 'CONFIG', 'GET', 'dir')).split('\n')[1] ?? '/data'
    return [
      {
        service: database.service,
        engine: 'MongoDB',
        version: String(version),
        fcv: String((fcv as { version: string }).version),
        dir: own?.dir ?? '/data/db',
      },
      { service: redis.service, engine: 'Redis', version: redisVersion, appendOnly: aof === '1', dir },
    ]
  } finally {
    await client.close()
  }
}

/**
 * The version that an image holds: as the official images say in their environment, as a label says that is not its
 * base's, or by asking the program itself.
 */
export async function versionOf({ engine }: Pick<Engine, 'engine'>, image: ImageInspect): Promise<string> {
  const variable = engine === 'MongoDB' ? 'MONGO_VERSION=' : 'REDIS_VERSION='
  const said = image.Config.Env?.find((l) => l.startsWith(variable))?.slice(variable.length)
  if (said !== undefined) return said
  const labels = image.Config.Labels ?? {}
  const label = labels['org.opencontainers.image.version']
  const base = /^(ubuntu|debian|alpine|rhel|ubi\d*)$/i.test(labels['org.opencontainers.image.ref.name'] ?? '')
  if (label !== undefined && !base && /^\d+\.\d+/.test(label)) return label
  const program = engine === 'MongoDB' ? 'mongod' : 'redis-server'
  const asked = throwAway({ id: image.Id, volumes: image.Config.Volumes }, [], program, '--version')
  const { stdout } = await exec(asked)
  return /\bv=?(\d+\.\d+[\w.]*)/.exec(stdout)?.[1] ?? ''
}

/** Numbers of a version; of what is none, nothing. */
const numbers = (version: string): number[] =>
  (/^\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number)

/** What decides about the format on disk: `8.0` of `8.0.4`. */
export const format = (version: string): string => numbers(version).slice(0, 2).join('.')

/** Whether a version is of an older release, by its first two numbers. */
export const older = (a: string, b: string): boolean => {
  const [[a1 = 0, a2 = 0], [b1 = 0, b2 = 0]] = [numbers(a), numbers(b)]
  return a1 < b1 || (a1 === b1 && a2 < b2)
}

const BEFORE_5 = ['3.6', '4.0', '4.2', '4.4', '5.0'] // each needs the one before it, as later every whole number does

/** The place of a MongoDB release in the order in which they must follow each other. */
export function rank(version: string): number {
  const early = BEFORE_5.indexOf(format(version))
  return early >= 0 ? early : (numbers(version)[0] ?? 0) - 5 + BEFORE_5.length - 1
}

/** The services that are engines. */
export const engineNames = ({ about }: Stack): string[] => [about.database.service, about.redis.service]

/** Whether an engine ended as it was asked to: one that Docker killed may have left half of something. */
export function endedByKill(stack: Stack): string[] {
  return engineNames(stack).filter((name) => {
    const { container } = service(stack, name)
    return container?.State.Status === 'exited' && container.State.ExitCode === 137
  })
}
