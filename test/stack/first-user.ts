// Runs inside the container of a server that asks for users and has none: only from there can the first one be made.
import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'

const { CONFIG = '', PASSWORD = '' } = process.env
const client = await new MongoClient('mongodb://127.0.0.1:27017/?directConnection=true').connect()
const admin = client.db('admin')
await admin.command({ replSetInitiate: JSON.parse(CONFIG) as object })
for (
  const end = Date.now() + 30_000;
  !(await admin.command({ hello: 1 })).isWritablePrimary;
  await delay(50)
) {
  if (Date.now() > end) throw new Error('The server did not become a primary.')
}
await admin.command({ createUser: 'root', pwd: PASSWORD, roles: ['root'] })
await client.close()
