// MongoDB servers in containers of their own, without a stack, for tests of what only the database sees.
import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import { run } from './machine/command.ts'
import { dockerEnv } from './machine/images.ts'
import type { Machine } from './machine/machine.ts'

const DEADLINE = 30_000 // ms until a server answers, or becomes a primary: it takes about 3 s
const POLL = 50 // ms

/**
 * Starts `rehearsal-<id>` with its data in memory, reached at its bridge address, and gives a client of it. With a
 * set's name it is made the primary of a replica set of one. It carries the label rehearsal=<label>.
 */
export async function startMongod(
  machine: Machine,
  { id, label, set }: { id: string; label: string; set?: string },
): Promise<MongoClient> {
  const env = dockerEnv(machine)
  const named = ['--name', `rehearsal-${id}`, '--label', `rehearsal=${label}`, '--tmpfs', '/data/db']
  const options = ['--bind_ip_all', '--dbpath', '/data/db', '--wiredTigerCacheSizeGB', '0.5']
  const member = set === undefined ? [] : ['--replSet', set, '--oplogSize', '256']
  await run(machine.docker, ['run', '--detach', ...named, machine.base, 'mongod', ...options, ...member], {
    env,
  })
  const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'
  const at = await run(machine.docker, ['inspect', '--format', format, `rehearsal-${id}`], { env })
  const url = `mongodb://${at.trim()}:27017/?directConnection=true`
  const client = await answering(url)
  if (set !== undefined) {
    const members = [{ _id: 0, host: '127.0.0.1:27017' }]
    await client.db('admin').command({ replSetInitiate: { _id: set, members } })
    await primary(client)
  }
  return client
}

/** A client of a server, once it listens. */
export async function answering(url: string): Promise<MongoClient> {
  for (const end = Date.now() + DEADLINE; ; await delay(POLL)) {
    const client = new MongoClient(url, { serverSelectionTimeoutMS: 500 })
    try {
      await client.db('admin').command({ ping: 1 })
      return client
    } catch (error) {
      await client.close()
      if (Date.now() > end) throw error
    }
  }
}

/** Waits until the server is the primary of its set. */
export async function primary(client: MongoClient): Promise<void> {
  for (const end = Date.now() + DEADLINE; ; await delay(POLL)) {
    const { isWritablePrimary } = await client.db('admin').command({ hello: 1 })
    if (isWritablePrimary) return
    if (Date.now() > end) throw new Error('The server did not become a primary.')
  }
}
