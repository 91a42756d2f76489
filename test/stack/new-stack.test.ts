// The stand-ins of the new stack on env/compose.yml, started by plain Compose beside the old production: that a test of
// a script fails because of the script.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFile, cp, mkdir, readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { parse } from 'dotenv'
import { MongoClient, MongoServerError } from 'mongodb'
import { ROOT } from '../../lib/env.ts'
import { problemsOf, problemsText } from '../../lib/stack-env.ts'
import { useStack } from './fixture.ts'
import { imageRef } from './machine/images.ts'
import { stagingFor, type Staging } from './staging.ts'

const PASSWORD = 'a-password.of~the_database'
const UNAUTHORIZED = 13

const made: { staging?: Staging } = {}
const fixture = useStack({ id: 'newer', scale: 0.005 }, async ({ machine, stack }) => {
  made.staging = stagingFor(stack, machine)
})
const staging = (): Staging => made.staging as Staging

const compose = (...args: readonly string[]): Promise<string> =>
  fixture.stack.docker('compose', '--project-directory', staging().dir, '--ansi', 'never', ...args)

/** A client of staging's database at its container's address. */
async function client(credentials = ''): Promise<MongoClient> {
  const id = (await compose('ps', '--quiet', 'database')).trim()
  const format = `{{(index .NetworkSettings.Networks "${staging().name}").IPAddress}}`
  const address = (await fixture.stack.docker('inspect', '--format', format, id)).trim()
  return new MongoClient(`mongodb://${credentials}${address}:27017/?directConnection=true`, {
    serverSelectionTimeoutMS: 5000,
  })
}

async function withClient<T>(credentials: string, work: (client: MongoClient) => Promise<T>): Promise<T> {
  const connection = await client(credentials)
  try {
    return await work(connection)
  } finally {
    await connection.close()
  }
}

/** Lays the folder out and starts everything as an operator would, without the script. */
async function start(credentials = ''): Promise<void> {
  const { dir, envFile, name } = staging()
  await mkdir(dir, { mode: 0o700 })
  await copyFile(join(ROOT, 'env/compose.yml'), join(dir, 'compose.yml'))
  await cp(join(ROOT, 'env/config'), join(dir, 'config'), { recursive: true })
  await copyFile(envFile, join(dir, '.env'))
  await compose('up', '--detach', '--wait', 'database', 'redis')
  await withClient(credentials, async (connection) => {
    const members = [{ _id: 0, host: 'database:27017' }]
    await connection.db('admin').command({ replSetInitiate: { _id: 'rs0', members } })
  })
  await compose('up', '--detach', '--wait')
  await fixture.stack.docker('network', 'connect', name, fixture.stack.container('traefik'))
}

interface Asked {
  readonly method?: string
  readonly login?: string
  readonly body?: unknown
}

/** Asks through the old production's proxy. */
function ask(
  host: string,
  path: string,
  { method = 'GET', login, body }: Asked = {},
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const authorization = login && `Basic ${Buffer.from(login).toString('base64')}`
    const headers = { host, ...(authorization && { authorization }) }
    const signal = AbortSignal.timeout(5000)
    const port = fixture.stack.proxyPort
    request({ host: '127.0.0.1', port, path, method, headers, agent: false, signal }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (piece: string) => (text += piece))
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
    })
      .on('error', reject)
      .end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** The proxy takes changes over every two seconds. */
async function routed(): Promise<void> {
  for (let n = 0; n < 50 && (await ask(staging().hosts.traefik, '/')).status === 404; n++) await delay(100)
}

async function statuses(login?: string): Promise<Record<string, number>> {
  const { hosts } = staging()
  const paths = { gate: '/health', ml: '/health', static: '/health' } as const
  const asked = Object.entries(hosts).map(async ([name, host]) => {
    const path = paths[name as keyof typeof paths] ?? '/'
    return [name, (await ask(host, path, login === undefined ? {} : { login })).status] as const
  })
  return Object.fromEntries(await Promise.all(asked))
}

/** Writes and reads through the gateway's API, as a user's browser. */
async function gatewayWorks(): Promise<void> {
  const { gate } = staging().hosts
  const [conversation] = JSON.parse((await ask(gate, '/api/v1/conversations')).text) as {
    id: string
    members: string[]
  }[]
  assert.ok(conversation, 'the boot has made conversations')
  const body = { conversationId: conversation.id, senderId: conversation.members[0], content: 'été' }
  const posted = await ask(gate, '/api/v1/messages', { method: 'POST', body })
  assert.equal(posted.status, 201, posted.text)
  const { id, statusId } = JSON.parse(posted.text) as { id: string; statusId: string }
  const read = JSON.parse((await ask(gate, `/api/v1/messages/${id}`)).text) as Record<string, unknown>
  assert.equal(read.content, 'été')
  assert.deepEqual(read.status, [{ id: statusId, userId: body.senderId }])
}

/** Everything in Docker that belongs to staging. */
async function left(): Promise<string> {
  const { docker } = fixture.stack
  const label = `label=com.docker.compose.project=${staging().name}`
  const lists = await Promise.all([
    docker('ps', '--all', '--quiet', '--filter', label),
    docker('network', 'ls', '--quiet', '--filter', label),
    docker('volume', 'ls', '--quiet', '--filter', label),
  ])
  return lists.join('')
}

const everywhere = { site: 200, gate: 200, ml: 200, static: 200 }

test('the env file of staging is a good one', async () => {
  const { stack } = fixture
  staging().write({ HF_TOKEN: undefined })
  const production = parse(await readFile(join(stack.dir, '.env')))
  const written = parse(await readFile(staging().envFile))
  assert.equal('HF_TOKEN' in written, false)
  const problems = problemsOf(staging().values, { role: 'staging', production })
  assert.equal(problemsText(problems), '')
  assert.deepEqual(stagingFor(stack, fixture.machine).values, staging().values, 'the same every time')
})

test('images tell of their schema: all in a file, the gateway also in a label', async () => {
  const { machine, stack } = fixture
  const told = async (name: string, tag: string): Promise<[file: string, label: string]> => {
    const image = imageRef(machine, name, tag)
    const run = ['run', '--rm', '--network=none', `--label=rehearsal=${stack.id}`, '--entrypoint=sha256sum']
    const file = (await stack.docker(...run, image, '/app/schema.prisma')).slice(0, 64)
    const format = '{{index .Config.Labels "prisma.schema.sha256"}}'
    return [file, (await stack.docker('image', 'inspect', '--format', format, image)).trim()]
  }
  const ours = createHash('sha256')
    .update(await readFile(staging().schema))
    .digest('hex')
  assert.deepEqual(await told('gateway', '2.0-fast'), [ours, ours])
  assert.deepEqual(await told('translator', '2.0-fast'), [ours, ''])
  const [file, label] = await told('gateway', '2.0-other-schema')
  assert.equal(file, label)
  assert.notEqual(file, ours)
})

describe('without a password', () => {
  before(async () => {
    staging().write()
    const began = performance.now()
    await start()
    process.stdout.write(`# a start takes ${Math.round(performance.now() - began)} ms\n`)
    await routed()
  })

  test('its seven hosts answer through the old proxy', async () => {
    assert.deepEqual(await statuses(), { ...everywhere, mongo: 401, redis: 401, traefik: 401 })
    const login = `admin:${staging().password}`
    assert.deepEqual(await statuses(login), { ...everywhere, mongo: 200, redis: 200, traefik: 200 })
    const dashboard = await ask(staging().hosts.traefik, '/', { login })
    assert.match(dashboard.text, new RegExp(`"name":"${staging().name}-gateway"`))
  })

  test('the gateway works', gatewayWorks)

  test('the gateway writes the new shape, and answers 500 to what Prisma cannot read', async () => {
    const { gate } = staging().hosts
    await withClient('', async (connection) => {
      const db = connection.db('meeshy')
      const names = (await db.listCollections().toArray()).map(({ name }) => name).toSorted()
      assert.deepEqual(names, ['Conversation', 'ConversationMember', 'Message', 'MessageStatusEntry', 'User'])
      const user = await db.collection('User').findOne({ username: 'admin' })
      assert.deepEqual([user?.blockedUserIds, user?.lastSeen], [[], undefined])

      const message = await db.collection('Message').findOne()
      assert.ok(message)
      const url = `/api/v1/messages/${String(message._id)}`
      assert.equal((await ask(gate, url)).status, 200)
      const createdAt = (message.createdAt as Date).toISOString()
      await db.collection('Message').updateOne({ _id: message._id }, { $set: { createdAt } })
      const read = await ask(gate, url)
      assert.equal(read.status, 500)
      assert.match(read.text, /Message\.createdAt/)

      await db.collection('Conversation').updateOne({ identifier: 'meeshy' }, { $unset: { updatedAt: 1 } })
      assert.equal((await ask(gate, '/api/v1/conversations')).status, 500)
      assert.equal((await ask(gate, '/health')).status, 200, 'a count reads no document')
    })
  })

  test('its volumes are those that are told, and its network has no way out', async () => {
    const { docker } = fixture.stack
    const { name, volumes } = staging()
    const label = `label=com.docker.compose.project=${name}`
    const there = (await docker('volume', 'ls', '--quiet', '--filter', label)).trim().split('\n')
    assert.deepEqual(there.toSorted(), volumes.toSorted())
    assert.equal((await docker('network', 'inspect', '--format', '{{.Internal}}', name)).trim(), 'true')
  })

  test('the static host has its own origin', async () => {
    const conf = await compose('exec', '-T', 'static-files', 'cat', '/etc/nginx/conf.d/default.conf')
    assert.match(conf, /server_name static\.staging\.rehearsal\.test;/)
    assert.match(conf, /Allow-Origin https:\/\/staging\.rehearsal\.test;/)
    // A variable with the name of one of nginx's own.
    const all = await compose('run', '--rm', '--no-deps', '-T', '--env=uri=x', 'static-files', 'nginx', '-T')
    assert.match(all, /server_name static\.staging\.rehearsal\.test;[^]*try_files \$uri =404;/)
  })

  test('what is removed is only its own: the proxy stays in its own network', async () => {
    const { docker, container, network } = fixture.stack
    await staging().destroy()
    assert.equal(await left(), '')
    const format = '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}'
    assert.equal((await docker('inspect', '--format', format, container('traefik'))).trim(), network)
    await fixture.stack.ready()
  })
})

describe('with a password', () => {
  before(async () => {
    staging().write({ MONGODB_USER: 'meeshy', MONGODB_PASSWORD: PASSWORD })
    const began = performance.now()
    await start(`meeshy:${PASSWORD}@`)
    process.stdout.write(`# a start takes ${Math.round(performance.now() - began)} ms\n`)
    await routed()
  })

  test('nobody reads without it, the gateway works with it', async () => {
    const count = (connection: MongoClient): Promise<number> =>
      connection.db('meeshy').collection('User').countDocuments()
    const refused = await withClient('', count).catch((error: unknown) => error)
    assert.ok(refused instanceof MongoServerError)
    assert.equal(refused.code, UNAUTHORIZED)
    assert.equal(await withClient(`meeshy:${PASSWORD}@`, count), 3)
    assert.equal((await statuses()).gate, 200)
    await gatewayWorks()
  })

  test('the password is in no argument', async () => {
    const seen = await compose('top')
    assert.match(seen, /mongod .*--keyFile/)
    assert.doesNotMatch(seen, new RegExp(PASSWORD))
  })

  test('a restart makes no second user and keeps the first', async () => {
    await compose('restart', 'database')
    await compose('up', '--detach', '--wait')
    const users = await withClient(`meeshy:${PASSWORD}@`, (connection) =>
      connection.db('admin').command({ usersInfo: 1 }),
    )
    assert.deepEqual(
      (users.users as { user: string }[]).map(({ user }) => user),
      ['meeshy'],
    )
  })
})

test('with the stack goes its staging', async () => {
  await fixture.stack.destroy()
  assert.equal(await left(), '')
})
