// A stack whose database is a replica set of three services that ask for users: which server a backup reads, as whom,
// and what it makes of the members' own files.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import { createArchive } from '../../lib/backup/archive.ts'
import { readManifest } from '../../lib/backup/manifest.ts'
import { mongoState, writeMongo } from '../../lib/backup/mongodb.ts'
import { setPath } from '../../lib/backup/seal.ts'
import { checkSources } from '../../lib/backup/sources.ts'
import { loadConfig, ROOT } from '../../lib/env.ts'
import { sentence } from '../../lib/errors.ts'
import { connectMongo } from '../../lib/mongo.ts'
import { address, readStack, type Stack } from '../../lib/stack.ts'
import { bundle } from './apps/bundle.ts'
import { run } from './machine/command.ts'
import { dockerEnv } from './machine/images.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'
import { answering } from './mongods.ts'
import { destroyStack } from './stack.ts'
import { start, type Ended } from './tool.ts'

const ID = 'mongodb-members'
const PROJECT = `rehearsal-${ID}`
const PASSWORD = 'of-the-first-user'
const USERS: Readonly<Record<string, { pwd: string; roles: readonly unknown[] }>> = {
  least: { pwd: 'of-the-least-one', roles: ['backup', 'clusterMonitor'] },
  narrow: { pwd: 'of-one-database', roles: [{ role: 'readWrite', db: 'meeshy' }, 'settings'] },
  reader: { pwd: 'of-the-reader', roles: ['readAnyDatabase', 'clusterMonitor'] },
}
const DEADLINE = 60_000 // ms until the members have the data: it takes about 5 s

let machine: Machine
let dir: string
let root: MongoClient // at the primary, as root

const docker = (...args: readonly string[]): Promise<string> =>
  run(machine.docker, args, { env: dockerEnv(machine), cwd: dir })

/** The three members by a name of each kind; the second keeps its files elsewhere, the third in a folder of the server. */
function compose(): object {
  const owned = { rehearsal: ID }
  const member = (dbPath: string, volume: string, more: object = {}): object => ({
    image: machine.base,
    environment: { KEY: 'ofTheMembers' },
    entrypoint: [
      'sh',
      '-c',
      'printf %s "$$KEY" > /key; chmod 400 /key; mkdir -p "$$0"; exec mongod --dbpath "$$0" "$$@"',
      dbPath,
    ],
    command: [
      '--replSet',
      'rs0',
      '--bind_ip_all',
      '--keyFile',
      '/key',
      '--wiredTigerCacheSizeGB',
      '0.25',
      '--oplogSize',
      '64',
    ],
    volumes: [volume],
    labels: owned,
    ...more,
  })
  return {
    name: PROJECT,
    services: {
      m1: member('/data/db', 'one:/data/db'),
      m2: member('/srv/m2/db', 'two:/srv/m2', { container_name: `${PROJECT}-second` }),
      m3: member('/data/db', './three:/data/db', { networks: { default: { aliases: ['third'] } } }),
      redis: {
        image: machine.base,
        command: ['redis-server', '--dir', '/data'],
        volumes: ['redis:/data'],
        labels: owned,
      },
    },
    networks: { default: { labels: owned } },
    volumes: { one: { labels: owned }, two: { labels: owned }, redis: { labels: owned } },
  }
}

const CONFIG = {
  _id: 'rs0',
  members: [
    { _id: 0, host: 'm1:27017', priority: 0 },
    { _id: 1, host: `${PROJECT}-second:27017` },
    { _id: 2, host: 'third:27017', priority: 0, hidden: true },
  ],
  settings: { electionTimeoutMillis: 1_000 }, // the first election comes after this
}

before(
  async () => {
    machine = await ensureMachine()
    Object.assign(process.env, machine.env)
    await destroyStack(machine, ID) // what a killed run has left
    const place = await mkdtemp(join(tmpdir(), 'rehearsal-members-'))
    dir = join(place, PROJECT)
    await mkdir(dir)
    await writeFile(join(dir, 'docker-compose.yml'), JSON.stringify(compose()))
    await writeFile(
      join(place, 'stack.ts'),
      `export default ${JSON.stringify({
        database: { service: 'm1', port: 27017, name: 'meeshy' },
        redis: { service: 'redis', port: 6379 },
        proxy: { service: 'redis' },
        services: {},
        public: [],
        leaveOut: {},
        config: [],
        stability: 0,
        stopTimeout: 10_000,
      })}`,
    )
    await docker('compose', 'up', '--detach', '--quiet-pull')
    const stack = await as('', '')
    await Promise.all(['m1', 'm2', 'm3'].map(async (s) => (await answering(urlOf(stack, s))).close()))
    execFileSync(
      machine.docker,
      [
        'exec',
        '-i',
        '-e',
        'CONFIG',
        '-e',
        'PASSWORD',
        `${PROJECT}-second`,
        'node',
        '--input-type=module',
        '-',
      ],
      {
        input: await bundle(join(import.meta.dirname, 'first-user.ts')),
        env: { ...dockerEnv(machine), CONFIG: JSON.stringify(CONFIG), PASSWORD },
      },
    )
    root = new MongoClient(urlOf(stack, 'm2'), { auth: { username: 'root', password: PASSWORD } })
    const settings = ['replSetGetConfig', 'getCmdLineOpts', 'getParameter']
    const privileges = [{ resource: { cluster: true }, actions: settings }]
    await root.db('admin').command({ createRole: 'settings', privileges, roles: [] })
    for (const [user, about] of Object.entries(USERS)) {
      await root.db('admin').command({ createUser: user, ...about })
    }
    const db = root.db('meeshy')
    await db.collection('User').insertMany([{ name: 'a' }, { name: 'b' }])
    await db.createCollection('series', { timeseries: { timeField: 't' } })
    await db.collection('series').insertOne({ t: new Date(0) })
    await db.createCollection('view', { viewOn: 'User', pipeline: [] })
    await db.collection('system.js').insertOne({ value: 1 })
    for (const end = Date.now() + DEADLINE; ; await delay(100)) {
      const { members } = await root.db('admin').command({ replSetGetStatus: 1 })
      const states = (members as { stateStr: string }[]).map((m) => m.stateStr)
      if (states.join() === 'SECONDARY,PRIMARY,SECONDARY') break
      if (Date.now() > end) throw new Error(`The members are ${states.join()}.`)
    }
    // From now on none, also while members are paused.
    const { config } = await root.db('admin').command({ replSetGetConfig: 1 })
    config.version++
    config.settings.electionTimeoutMillis = 60_000
    await root.db('admin').command({ replSetReconfig: config })
  },
  { timeout: 300_000 },
)
after(async () => {
  await root?.close()
  await destroyStack(machine, ID)
  if (dir) await rm(join(dir, '..'), { recursive: true, force: true })
  await machine.stop()
})

const urlOf = (stack: Stack, service: string): string =>
  `mongodb://${address(stack, service)}:27017/?directConnection=true`

/** The env file with these credentials. */
async function envFile(user: string, password: string): Promise<string> {
  const place = join(dir, '..')
  const file = join(place, 'members.env')
  const values = {
    STACK_ID: PROJECT,
    STACK_DIR: dir,
    STATE_DIR: join(place, 'state'),
    BACKUP_DIR: join(place, 'backups'),
    STACK_FILE: join(place, 'stack.ts'),
    MONGODB_USER: user,
    MONGODB_PASSWORD: password,
  }
  const lines = Object.entries(values).map(([key, value]) => `${key}='${value}'\n`)
  await writeFile(file, lines.join(''), { mode: 0o600 })
  return file
}

const as = async (user: string, password: string): Promise<Stack> =>
  readStack(loadConfig(await envFile(user, password)))

async function backup(user: string, password: string, stamp: string): Promise<Ended> {
  const script = join(ROOT, 'scripts', 'auto-backup.ts')
  const words = ['--import', 'tsx', script, '--env', await envFile(user, password), '--stamp', stamp]
  return start([process.execPath, ...words], dockerEnv(machine)).ended
}

for (const [i, [user, password]] of [
  ['root', PASSWORD],
  ['least', USERS.least?.pwd ?? ''],
].entries()) {
  test(`as '${user}': the primary is read, and no member's own files are in the set`, async () => {
    const stamp = `20260102_03040${i}`
    const { code, stderr, stdout } = await backup(user as string, password as string, stamp)
    assert.equal(code, 0, stderr + stdout)
    const set = setPath(join(dir, '..', 'backups'), stamp)
    const manifest = await readManifest(set)
    assert.deepEqual(
      manifest?.volumes.map((v) => [v.name, v.coveredBy, v.part ?? '']),
      [
        [`${PROJECT}_one`, 'mongodb', ''],
        [`${PROJECT}_redis`, 'redis', 'volumes/redis.tar.gz'],
        [`${PROJECT}_two`, 'mongodb', ''],
      ],
    )
    assert.deepEqual(manifest.leftOut, [{ what: join(dir, 'three'), why: 'covered by the mongodb part' }])
    const names = String(execFileSync('tar', ['tzf', set]))
    assert.doesNotMatch(names, /WiredTiger|\.wt$/m)
    assert.equal(manifest.consistency.mongodb, 'snapshot')
    const users = manifest.mongodb.databases.find((d) => d.name === 'meeshy')?.collections
    assert.deepEqual(
      users?.map((c) => [c.name, c.documents]),
      [
        ['User', 2],
        ['series', 1],
        ['system.js', 1],
        ['view', 0],
      ],
    )
    const admin = manifest.mongodb.databases.find((d) => d.name === 'admin')?.collections
    assert.equal(admin?.find((c) => c.name === 'system.users')?.documents, 1 + Object.keys(USERS).length)
  })
}

test('a wrong password is refused before anything is written, and is not repeated', async () => {
  const { code, stderr, stdout } = await backup('least', 'not-the-password', '20260102_030409')
  assert.equal(code, 3, stderr + stdout)
  assert.match(
    stderr,
    /MongoDB \(service 'm1'\) refuses MONGODB_USER 'least' with MONGODB_PASSWORD at [\d.:]+: Authentication failed\.$/m,
  )
  assert.doesNotMatch(stderr + stdout, /not-the-password/)
  // Nor without what the script itself blackens.
  await assert.rejects(
    as('least', 'not-the-password').then(mongoState),
    (e) => !sentence(e).includes('not-the-password'),
  )
})

test('a user who may not see everything is refused: the server would leave out the rest without a word', async () => {
  const needs = 'The user needs the roles backup and clusterMonitor.'
  await assert.rejects(as('', '').then(mongoState), {
    message: `it asks for a user, and MONGODB_USER is not set. ${needs}`,
  })
  for (const user of ['narrow', 'reader']) {
    await assert.rejects(as(user, USERS[user]?.pwd ?? '').then(mongoState), {
      message: `MONGODB_USER '${user}' may not read all of it. ${needs}`,
    })
  }
})

test('the connection goes to the primary, or says where it is', async () => {
  const stack = await as('least', USERS.least?.pwd ?? '')
  const reached = async (from: Stack): Promise<unknown> => {
    const client = await connectMongo(from)
    try {
      return (await client.db('admin').command({ hello: 1 })).me
    } finally {
      await client.close()
    }
  }
  assert.equal(await reached(stack), `${PROJECT}-second:27017`)
  const name = `${PROJECT}-second`
  const without = stack.services.filter((s) => s.name !== 'm2')
  // Gone, and another server of the same name.
  const namesakes = without.filter((s) => s.name === 'm3').map((s) => ({ ...s, name }))
  for (const services of [without, [...without, ...namesakes]]) {
    await assert.rejects(reached({ ...stack, services }), {
      message:
        `MongoDB (service 'm1') is SECONDARY. The PRIMARY is ${name}:27017, and no service of this stack answers to ` +
        `that name. Let 'm1' become the PRIMARY (rs.stepDown() at ${name}:27017), or run this where ${name}:27017 is.`,
      code: 3,
    })
  }
})

test('what the majority does not have is not in the set', async () => {
  const stack = await as('least', USERS.least?.pwd ?? '')
  const containers = ['m1', 'm3'].map((s) => `${PROJECT}-${s}-1`)
  await docker('pause', ...containers)
  try {
    const collection = root.db('meeshy').collection('User')
    await collection.insertOne({ name: 'may be rolled back' }, { writeConcern: { w: 1 } })
    assert.equal(await collection.countDocuments(), 3)
    const archive = await createArchive(join(dir, '..', 'majority.tar.gz'), 'set')
    const dump = { stamp: '20260102_030408', main: 'meeshy', report: () => {}, count: () => {} }
    const { record } = await writeMongo(root, archive, dump)
    await archive.close()
    const users = record.databases.find((d) => d.name === 'meeshy')?.collections
    assert.equal(users?.[0]?.documents, 2)
    await assert.rejects(mongoState(stack), /MongoDB \(service 'm1'\) does not answer/)
  } finally {
    await docker('unpause', ...containers)
  }
})

test('a member that is stopped is covered too', async () => {
  await docker('compose', 'kill', 'm3') // a secondary takes 15 s to stop
  const { config, volumes } = await checkSources(await as('least', USERS.least?.pwd ?? ''))
  assert.deepEqual(
    config.leftOut.map((l) => l.what),
    [join(dir, 'three')],
  )
  assert.equal(volumes.filter((v) => v.coveredBy === 'mongodb').length, 2)
})
