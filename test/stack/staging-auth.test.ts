// Staging whose MongoDB asks for a password: a key file, a user, and every other script on it as on any stack.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { MongoClient } from 'mongodb'
import { ROOT } from '../../lib/env.ts'
import { useStack, type Fixture } from './fixture.ts'
import { stagingFor, type Staging } from './staging.ts'
import { runScript, toolFor, type Ended } from './tool.ts'

const PASSWORD = randomBytes(24).toString('hex')

let staging: Staging
let envFile: string
let backups: string

const fixture: Fixture = useStack({ id: 'stagauth', scale: 0.005 }, async ({ stack, machine, tool }) => {
  staging = stagingFor(stack, machine)
  toolFor(stack, { STAGING_DIR: staging.dir, STAGING_ENV_FILE: staging.envFile, SCHEMA: staging.schema })
  staging.write({ MONGODB_USER: 'meeshy', MONGODB_PASSWORD: PASSWORD })
  const root = join(tool.stateDir, '..')
  envFile = join(root, 'staging.env')
  backups = join(root, 'staging-backups')
  const values = {
    STACK_ID: staging.name,
    STACK_DIR: staging.dir,
    STATE_DIR: join(root, 'staging-state'),
    BACKUP_DIR: backups,
    PROXY_ADDRESS: `http://127.0.0.1:${stack.proxyPort}`,
    STACK_FILE: join(ROOT, 'test/stack/fast.ts'),
    MONGODB_USER: 'meeshy',
    MONGODB_PASSWORD: PASSWORD,
  }
  const lines = Object.entries(values).map(([key, value]) => `${key}='${value}'\n`)
  writeFileSync(envFile, lines.join(''), { mode: 0o600 })
})

const said = ({ stdout, stderr }: Ended): string => stdout + stderr
/** One of the tool's scripts on staging, as on any stack. */
const on = (script: string, ...args: string[]): Promise<Ended> =>
  runScript(fixture.stack, script, ['--env', envFile, ...args])

async function good(ended: Promise<Ended>): Promise<Ended> {
  const end = await ended
  assert.equal(end.code, 0, said(end))
  assert.ok(!said(end).includes(PASSWORD), 'no password is told')
  return end
}

async function address(): Promise<string> {
  const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'
  return (await fixture.stack.docker('inspect', '--format', format, `${staging.name}-database-1`)).trim()
}

async function withClient<T>(
  auth: { username: string; password: string } | undefined,
  work: (client: MongoClient) => Promise<T>,
): Promise<T> {
  const options = { directConnection: true, serverSelectionTimeoutMS: 5_000, ...(auth && { auth }) }
  const client = new MongoClient(`mongodb://${await address()}:27017/`, options)
  try {
    return await work(await client.connect())
  } finally {
    await client.close()
  }
}
const me = { username: 'meeshy', password: PASSWORD }
const notes = (client: MongoClient) => client.db('meeshy').collection('test_notes')

describe('with a password', () => {
  test('it is put up; nobody is let in without', async () => {
    const ended = await good(runScript(fixture.stack, 'deploy-staging', ['--models', 'none']))
    assert.doesNotMatch(said(ended), /asks for no password/)
    await assert.rejects(
      withClient(undefined, (client) => notes(client).countDocuments()),
      /requires authentication/,
    )
    await assert.rejects(
      withClient({ ...me, password: 'wrong-password-of-24-chars' }, (c) => notes(c).countDocuments()),
      /Authentication failed/,
    )
    await withClient(me, async (client) => {
      await notes(client).insertOne({ text: 'before' })
      const { parsed } = await client.db('admin').command({ getCmdLineOpts: 1 })
      assert.ok((parsed as { security?: { keyFile?: string } }).security?.keyFile)
    })
  })

  test('the password stands in no argument of a process and in no record of the run', async () => {
    const top = await fixture.stack.docker('top', `${staging.name}-database-1`, '-eo', 'pid,args')
    assert.match(top, /mongod/)
    assert.ok(!top.includes(PASSWORD))
    const runs = join(fixture.tool.stateDir, 'runs')
    for (const run of readdirSync(runs))
      for (const file of readdirSync(join(runs, run)))
        assert.ok(!readFileSync(join(runs, run, file), 'latin1').includes(PASSWORD), file)
  })

  test('health, status, auto-backup, restore, drill and update work on it', async () => {
    await good(on('health'))
    await good(on('status'))
    await good(on('auto-backup'))
    const [set = ''] = readdirSync(backups).filter((name) => name.endsWith('.tar.gz'))
    await withClient(me, (client) => notes(client).insertOne({ text: 'after' }))
    await good(on('restore', 'latest', '--confirm', set.replace('.tar.gz', '')))
    const texts = await withClient(me, (client) => notes(client).distinct('text'))
    assert.deepEqual(texts, ['before'])
    await good(on('restore', '--commit', '--confirm', set.replace('.tar.gz', '')))
    await good(on('drill'))
    await good(on('update', '--all'))
    await good(on('health'))
  })

  test('a second deploy leaves it as it is', async () => {
    await good(runScript(fixture.stack, 'deploy-staging', ['--models', 'none']))
    const texts = await withClient(me, (client) => notes(client).distinct('text'))
    assert.deepEqual(texts, ['before'])
  })

  test('models: copied over what has changed there, though it is used; shared for reading', async () => {
    const { stack } = fixture
    const inTranslator = (...words: string[]): Promise<string> =>
      stack.docker('exec', '-u', '0', `${staging.name}-translator-1`, ...words)
    await inTranslator('touch', '/workspace/models/another')
    const copied = await good(runScript(stack, 'deploy-staging'))
    assert.match(said(copied), /copied and compared/)
    await assert.rejects(inTranslator('ls', '/workspace/models/another'))
    const look = ['find', '/workspace/models', '-mindepth', '1', '-printf', '%p %y %m %U %G %T@ %s %l\\n']
    const sorted = (text: string): string[] => text.split('\n').toSorted()
    const theirs = await stack.docker('exec', stack.container('translator'), ...look)
    assert.deepEqual(sorted(await inTranslator(...look)), sorted(theirs))

    await good(runScript(stack, 'deploy-staging', ['--models', 'share']))
    const format = '{{range .Mounts}}{{.Name}} {{.RW}}{{end}}'
    const mount = await stack.docker('inspect', '--format', format, `${staging.name}-translator-1`)
    assert.equal(mount.trim(), `${stack.project}_models_data false`)
    await assert.rejects(inTranslator('touch', '/workspace/models/another'), /Read-only/)
    await good(runScript(stack, 'deploy-staging', ['--models', 'none']))
  })

  test('an update of production that makes the proxy anew connects it to staging again', async () => {
    const { stack } = fixture
    const before = await stack.docker('inspect', '--format', '{{.Id}}', stack.container('traefik'))
    await good(runScript(stack, 'update', ['--all']))
    const after = await stack.docker('inspect', '--format', '{{.Id}}', stack.container('traefik'))
    assert.notEqual(after, before)
    await good(on('health'))

    await stack.compose('up', '-d', '--force-recreate', '--no-deps', 'traefik')
    await stack.ready()
    assert.match(
      (await good(runScript(stack, 'status'))).stdout,
      /proxy is not connected to .*: task deploy-staging/,
    )
    await good(runScript(stack, 'deploy-staging', ['--models', 'none']))
    await good(on('health'))
  })

  test('another password than its files have is told, and staging is as it was', async () => {
    staging.write({ MONGODB_USER: 'meeshy', MONGODB_PASSWORD: randomBytes(24).toString('hex') })
    const ended = await runScript(fixture.stack, 'deploy-staging', ['--models', 'none'])
    assert.equal(ended.code, 1, said(ended))
    assert.match(said(ended), /refuses MONGODB_USER/)
    const texts = await withClient(me, (client) => notes(client).distinct('text'))
    assert.deepEqual(texts, ['before'])
  })
})
