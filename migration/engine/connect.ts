// Connections to the two databases, and whether they are two.
import { MongoClient, MongoServerError, type Db } from 'mongodb'
import { sentence, usage } from '../../lib/errors.ts'
import type { Address } from './addresses.ts'

const PATIENCE = 5_000 // ms
const UNAUTHORIZED = 13

export interface Connected {
  readonly client: MongoClient
  readonly db: Db
  /** The replica set, or undefined for a server of its own. */
  readonly set?: string
  readonly version: string
}

/** Connects; the caller closes the client. @throws one sentence with what the server answered */
export async function connect(address: Address, what: string): Promise<Connected> {
  const client = new MongoClient(address.url, {
    appName: 'runbook',
    serverSelectionTimeoutMS: PATIENCE,
    connectTimeoutMS: PATIENCE,
  })
  try {
    await client.connect()
    const admin = client.db('admin')
    const { setName } = await admin.command({ hello: 1 })
    const { version } = await admin.command({ buildInfo: 1 })
    return {
      client,
      db: client.db(address.database),
      version: String(version),
      ...(setName !== undefined && { set: String(setName) }),
    }
  } catch (error) {
    await client.close()
    throw new Error(
      `The ${what} ${address.shown} does not answer: ${sentence(error)}\n` +
        `If the names in its replica set cannot be reached from here, add directConnection=true to the address.`,
      { cause: error },
    )
  }
}

/** @throws usage (exit 2) when both are the same database of the same server */
export async function refuseSame(source: Connected, target: Connected): Promise<void> {
  if (source.db.databaseName !== target.db.databaseName) return
  const [one, other] = [await identity(source), await identity(target)]
  if (one.process === other.process || (one.set !== '' && one.set === other.set))
    throw usage(
      `Source and target are the same database, ${source.db.databaseName}, of the same server. Nothing was changed.`,
    )
}

/** What no two servers share, by whatever name they were reached; and no two replica sets. */
async function identity({ client, set }: Connected): Promise<{ process: string; set: string }> {
  const admin = client.db('admin')
  const { topologyVersion } = await admin.command({ hello: 1 })
  return { process: String(topologyVersion.processId), set: set === undefined ? '' : await setId(client) }
}

async function setId(client: MongoClient): Promise<string> {
  try {
    const { config } = await client.db('admin').command({ replSetGetConfig: 1 })
    return String(config.settings?.replicaSetId ?? '')
  } catch (error) {
    if (error instanceof MongoServerError && error.code === UNAUTHORIZED) return '' // the process alone has to do
    throw error
  }
}
