// One-way doors of the engines: a newer MongoDB or Redis may write what the older one cannot read.
import type { ImageInspect } from '../docker.ts'
import { connectMongo, dataFolders } from '../mongo.ts'
import { redisCli, redisInfo } from '../redis.ts'
import { exec } from '../shell.ts'
import { service, type Stack } from '../stack.ts'
import { throwAway } from '../throwaway.ts'

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

/** An engine's change to another format. */
export interface Door extends Engine {
  readonly to: string
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
 * The doors that the images which the names mean now would go through, and why they must not.
 * @returns `crossed`: data must be kept aside before the new version starts. `problems`: one sentence each.
 */
export async function doors(
  stack: Stack,
  engines: readonly Engine[],
  imageOf: (service: string) => Promise<ImageInspect | undefined>,
): Promise<{ crossed: Door[]; problems: string[] }> {
  const crossed: Door[] = []
  const problems: string[] = []
  for (const engine of engines) {
    const image = await imageOf(engine.service)
    if (!image) continue
    const to = await versionOf(engine, image)
    const wrong = forbidden(engine, to)
    if (wrong !== undefined) problems.push(`${engine.service}: ${wrong}`)
    else if (format(engine.version) !== format(to)) crossed.push({ ...engine, to })
    if (engine.appendOnly === false && saysAppendOnly(stack, engine.service)) {
      problems.push(
        `${engine.service}: the Compose file turns the append-only file on, but Redis has none yet and would start empty. ` +
          'First, while it runs: redis-cli CONFIG SET appendonly yes',
      )
    }
  }
  return { crossed, problems }
}

/** Numbers of a version; of what is none, nothing. */
const numbers = (version: string): number[] =>
  (/^\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number)

/** What decides about the format on disk: `8.0` of `8.0.4`. */
const format = (version: string): string => numbers(version).slice(0, 2).join('.')

/** Whether a version is of an older release, by its first two numbers. */
export const older = (a: string, b: string): boolean => {
  const [[a1 = 0, a2 = 0], [b1 = 0, b2 = 0]] = [numbers(a), numbers(b)]
  return a1 < b1 || (a1 === b1 && a2 < b2)
}

const BEFORE_5 = ['3.6', '4.0', '4.2', '4.4', '5.0'] // each needs the one before it, as later every whole number does

/** Why an engine must not become that version; undefined when it may. */
export function forbidden(
  { engine, version, fcv }: Pick<Engine, 'engine' | 'version' | 'fcv'>,
  to: string,
): string | undefined {
  if (!/^\d+\.\d+/.test(to))
    return `its new image does not tell which version of ${engine} it holds (${to || 'nothing'})`
  if (older(to, version)) {
    return `its new image holds ${engine} ${to}, older than the ${version} that runs: it may not read the data. To go back, restore an older set`
  }
  if (engine !== 'MongoDB') return undefined
  const [from, next] = [rank(version), rank(to)]
  if (next > from + 1) {
    return `from MongoDB ${version} to ${to} leaves out a major version: go one at a time, each with its setFeatureCompatibilityVersion`
  }
  if (next === from + 1 && fcv !== undefined && rank(fcv) < from) {
    return (
      `MongoDB ${to} does not start on data with feature compatibility ${fcv}. First, in mongosh: ` +
      `db.adminCommand({ setFeatureCompatibilityVersion: '${format(version)}' })`
    )
  }
  return undefined
}

/** The place of a MongoDB release in the order in which they must follow each other. */
export function rank(version: string): number {
  const early = BEFORE_5.indexOf(format(version))
  return early >= 0 ? early : (numbers(version)[0] ?? 0) - 5 + BEFORE_5.length - 1
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

/** Whether the service's command asks for an append-only file. (What a file of its own says cannot be seen.) */
function saysAppendOnly(stack: Stack, name: string): boolean {
  const words = stack.resolved.services[name]?.command ?? []
  return words[words.indexOf('--appendonly') + 1]?.toLowerCase() === 'yes' && words.includes('--appendonly')
}

/** For a person. */
export const versionText = ({ engine, version, to }: Door): string => `${engine} ${version} → ${to}`

/** The services that are engines. */
export const engineNames = ({ about }: Stack): string[] => [about.database.service, about.redis.service]

/** Whether an engine ended as it was asked to: one that Docker killed may have left half of something. */
export function endedByKill(stack: Stack): string[] {
  return engineNames(stack).filter((name) => {
    const { container } = service(stack, name)
    return container?.State.Status === 'exited' && container.State.ExitCode === 137
  })
}
