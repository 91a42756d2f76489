// MongoDB at the address of the stack's own container: nothing needs to be published.
import { MongoClient } from 'mongodb'
import { sentence } from './errors.ts'
import { address, type Stack } from './stack.ts'

const PATIENCE = 5_000 // ms: a server on the same machine that has not answered by then does not answer

/**
 * Connects to the stack's database, straight to the one server, with the env file's credentials when there are any.
 * The caller closes it.
 * @throws refusal when its container does not run; otherwise one sentence that says what the server answered.
 */
export async function connectMongo(stack: Stack): Promise<MongoClient> {
  const { service, port } = stack.about.database
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
    await client.db('admin').command({ ping: 1 })
    return client
  } catch (error) {
    await client.close()
    throw new Error(`MongoDB (service '${service}') does not answer at ${at}: ${sentence(error)}`, {
      cause: error,
    })
  }
}
