// Makes the user whom the official image makes: MONGO_INITDB_ROOT_USERNAME, root of the whole server.
import { MongoClient } from 'mongodb'
import { readFileSync } from 'node:fs'

const { MONGO_INITDB_ROOT_USERNAME: user = '', MONGO_INITDB_ROOT_PASSWORD_FILE: file = '' } = process.env
const pwd = readFileSync(file, 'utf8').replace(/\n+$/, '') // as `$(<file)` reads it
const client = new MongoClient('mongodb://127.0.0.1:27017/?directConnection=true')
try {
  await client.db('admin').command({ createUser: user, pwd, roles: [{ role: 'root', db: 'admin' }] })
} finally {
  await client.close()
}
