// How the stack's engines run, for what is prepared for them: asked of them, or, where one does not answer, read from
// the words that it is started with.
import type { Manifest } from '../backup/manifest.ts'
import { sentence } from '../errors.ts'
import { connectMongo } from '../mongo.ts'
import { redisCli } from '../redis.ts'
import { service, type Stack } from '../stack.ts'
import type { MongoSettings } from './mongodb.ts'
import type { RedisSettings } from './redis.ts'

/** What was found out; `unsure`: why it was not asked of the engine itself. */
export interface Found<T> {
  readonly settings: T
  /** Where it keeps its files, in its container. */
  readonly dir: string
  readonly version?: string
  readonly unsure?: string
}

export interface MongoFound extends Found<MongoSettings> {
  /** Members of its replica set. */
  readonly members: number
  /** Which shape the data has: `legacy` or a schema's hash. */
  readonly shape?: string
}

const LAYOUT = ['--directoryperdb', '--wiredTigerDirectoryForIndexes'] as const

/** How MongoDB runs, or is started. */
export async function mongoSettings(stack: Stack, { mongodb }: Manifest): Promise<MongoFound> {
  try {
    return await askMongo(stack)
  } catch (error) {
    const { service: name, port } = stack.about.database
    const words = wordsOf(stack, name)
    const replicaSet = option(words, '--replSet') ?? mongodb.replicaSet
    const settings = {
      replicaSet,
      member: mongodb.me ?? `${name}:${option(words, '--port') ?? port}`,
      layout: LAYOUT.filter((w) => words.includes(w)),
    }
    const dir = option(words, '--dbpath') ?? '/data/db'
    return { settings, dir, members: 1, unsure: sentence(error).split('\n')[0] ?? '' }
  }
}

async function askMongo(stack: Stack): Promise<MongoFound> {
  const client = await connectMongo(stack)
  try {
    const admin = client.db('admin')
    const { setName, me } = await admin.command({ hello: 1 })
    const { version } = await admin.command({ buildInfo: 1 })
    const { parsed } = await admin.command({ getCmdLineOpts: 1 })
    const { storage = {} } = parsed as {
      storage?: {
        dbPath?: string
        directoryPerDB?: boolean
        wiredTiger?: { engineConfig?: { directoryForIndexes?: boolean } }
      }
    }
    const on = [storage.directoryPerDB, storage.wiredTiger?.engineConfig?.directoryForIndexes]
    const { config } = setName === undefined ? {} : await admin.command({ replSetGetConfig: 1 })
    const marker = await client
      .db(stack.about.database.name)
      .collection('_runbook')
      .findOne({ schemaHash: { $type: 'string' } })
    return {
      settings: {
        replicaSet: String(setName ?? ''),
        member: String(me ?? ''),
        layout: LAYOUT.filter((_, i) => on[i] === true),
      },
      dir: storage.dbPath ?? '/data/db',
      version: String(version),
      members: (config?.members as unknown[] | undefined)?.length ?? 1,
      shape: marker === null ? 'legacy' : String(marker.schemaHash),
    }
  } finally {
    await client.close()
  }
}

/** How Redis runs, or is started. */
export async function redisSettings(stack: Stack, { redis }: Manifest): Promise<Found<RedisSettings>> {
  const words = wordsOf(stack, stack.about.redis.service)
  try {
    const setting = async (name: string): Promise<string> => {
      const reply = await redisCli(stack, 'CONFIG', 'GET', name)
      return reply.includes('\n') ? reply.slice(reply.indexOf('\n') + 1) : ''
    }
    const settings = {
      appendOnly: (await setting('appendonly')) === 'yes',
      dbfilename: await setting('dbfilename'),
      appendfilename: await setting('appendfilename'),
      appenddirname: await setting('appenddirname'),
    }
    return { settings, dir: await setting('dir') }
  } catch (error) {
    const said = option(words, '--appendonly')
    const file = words.find((w) => w.endsWith('.conf')) // what it says cannot be seen from here
    const appendOnly = said === undefined && file !== undefined ? redis.appendOnly : said === 'yes'
    const settings = {
      appendOnly,
      dbfilename: option(words, '--dbfilename') ?? redis.file,
      appendfilename: option(words, '--appendfilename') ?? 'appendonly.aof',
      appenddirname: option(words, '--appenddirname') ?? (major(redis.version) < 7 ? '' : 'appendonlydir'),
    }
    return {
      settings,
      dir: option(words, '--dir') ?? redis.dir,
      unsure: sentence(error).split('\n')[0] ?? '',
    }
  }
}

const major = (version: string): number => Number(version.split('.')[0])

/** What the service's container runs; without one, what the Compose file says. */
function wordsOf(stack: Stack, name: string): readonly string[] {
  const { container } = service(stack, name)
  return container ? [container.Path, ...container.Args] : (stack.resolved.services[name]?.command ?? [])
}

/** The value of an option, as `--name value` or `--name=value`, in any case. */
function option(words: readonly string[], name: string): string | undefined {
  const lower = name.toLowerCase()
  const at = words.findIndex((w) => w.toLowerCase() === lower)
  if (at >= 0) return words[at + 1]
  return words.find((w) => w.toLowerCase().startsWith(`${lower}=`))?.slice(name.length + 1)
}
