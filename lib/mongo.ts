// MongoDB at the address of the stack's own containers: nothing needs to be published.
import { MongoClient, MongoServerError, type Document } from 'mongodb'
import { refusal, sentence } from './errors.ts'
import { address, type Service, type Stack } from './stack.ts'

const PATIENCE = 5_000 // ms: a server on the same machine that has not answered by then does not answer
const AUTHENTICATION_FAILED = 18

/**
 * Connects to the stack's database, straight to the one server, with the env file's credentials when there are any.
 * When that one is SECONDARY and another service of the stack is the PRIMARY, to the PRIMARY. The caller closes it.
 * @throws refusal when its container does not run, or the PRIMARY is no service of the stack; otherwise one sentence
 *   that says what the server answered.
 */
export async function connectMongo(stack: Stack): Promise<MongoClient> {
  const { service, port } = stack.about.database
  const { client, hello } = await connectTo(stack, service, port)
  const primary = hello.secondary ? (hello.primary as string | undefined) : undefined
  if (primary === undefined) return client
  await client.close()
  const found = member(stack, primary)
  const there = found && (await connectTo(stack, found.service.name, found.port))
  if (there?.hello.me === primary) return there.client
  await there?.client.close()
  throw refusal(
    `MongoDB (service '${service}') is SECONDARY. The PRIMARY is ${primary}, and no service of this stack answers to ` +
      `that name. Let '${service}' become the PRIMARY (rs.stepDown() at ${primary}), or run this where ${primary} is.`,
  )
}

/** Where a MongoDB server that is a service of the stack keeps its files, in its container. */
export interface DataFolder {
  readonly service: string
  readonly dir: string
}

/**
 * The data folders of the database and of every other member of its replica set that is a service of the stack, hidden
 * ones and arbiters too. A member that cannot be asked may have any folder that another one has.
 */
export async function dataFolders(stack: Stack, client: MongoClient): Promise<DataFolder[]> {
  const admin = client.db('admin')
  const { setName } = await admin.command({ hello: 1 })
  const { config } = setName === undefined ? {} : await admin.command({ replSetGetConfig: 1 })
  const hosts = ((config?.members ?? []) as { host: string }[]).map((m) => m.host)
  const { service: own, port } = stack.about.database
  const members = new Map(hosts.flatMap((h) => member(stack, h) ?? []).map((m) => [m.service.name, m.port]))
  members.set(own, members.get(own) ?? port)
  const asked = await Promise.all(
    Array.from(members, async ([service, at]) => ({
      service,
      dir: await askFolder(stack, service, at).catch(() => undefined), // stopped, or an arbiter: it knows no users
    })),
  )
  const known = new Set([await dataFolder(client), ...asked.flatMap(({ dir }) => dir ?? [])])
  return asked.flatMap(({ service, dir }) =>
    Array.from(dir === undefined ? known : [dir], (d) => ({ service, dir: d })),
  )
}

async function askFolder(stack: Stack, service: string, port: number): Promise<string> {
  const { client } = await connectTo(stack, service, port)
  try {
    return await dataFolder(client)
  } finally {
    await client.close()
  }
}

async function dataFolder(client: MongoClient): Promise<string> {
  const { parsed } = await client.db('admin').command({ getCmdLineOpts: 1 })
  return (parsed as { storage?: { dbPath?: string } }).storage?.dbPath ?? '/data/db'
}

/** The service that a replica set's configuration means by `host:port`, by any name that Docker gives it. */
function member({ services }: Stack, host: string): { service: Service; port: number } | undefined {
  const colon = host.lastIndexOf(':')
  const name = host.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  const service = services.find((s) => s.name === name) ?? services.find((s) => names(s).includes(name))
  return service && { service, port: Number(host.slice(colon + 1)) }
}

function names({ container }: Service): string[] {
  if (!container) return []
  const { Name, Config, NetworkSettings } = container
  const onNetworks = Object.values(NetworkSettings.Networks).flatMap((n) => [
    n.IPAddress,
    n.GlobalIPv6Address,
    ...(n.Aliases ?? []),
    ...(n.DNSNames ?? []),
  ])
  return [Name.replace(/^\//, ''), Config.Hostname, ...onNetworks].filter((name) => name !== undefined)
}

async function connectTo(
  stack: Stack,
  service: string,
  port: number,
): Promise<{ client: MongoClient; hello: Document }> {
  const { MONGODB_USER: username, MONGODB_PASSWORD: password } = stack.config
  const at = `${address(stack, service)}:${port}`
  const client = new MongoClient(`mongodb://${at}/`, {
    appName: 'runbook',
    directConnection: true,
    serverSelectionTimeoutMS: PATIENCE,
    connectTimeoutMS: PATIENCE,
    ...(username === '' ? {} : { auth: { username, password } }),
  })
  try {
    await client.connect()
    return { client, hello: await client.db('admin').command({ hello: 1 }) }
  } catch (error) {
    await client.close()
    const refused = error instanceof MongoServerError && error.code === AUTHENTICATION_FAILED
    const how = refused ? `refuses MONGODB_USER '${username}' with MONGODB_PASSWORD` : 'does not answer'
    throw new Error(`MongoDB (service '${service}') ${how} at ${at}: ${sentence(error)}`, { cause: error })
  }
}
