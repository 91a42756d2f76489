// Staging beside production on the real stack: put up, broken, put up again, taken down, while users use production.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { once } from 'node:events'
import { get } from 'node:http'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { publicAddresses } from '../../lib/health.ts'
import { readLedger } from '../../lib/ledger.ts'
import { startProber, type Prober } from '../../lib/prober.ts'
import { imageRef } from './machine/images.ts'
import { lives, useStack, type Fixture } from './fixture.ts'
import { stagingFor, type Staging } from './staging.ts'
import { runScript, toolFor, type Ended } from './tool.ts'
import { startWriter, type Writer } from './writer.ts'

let staging: Staging
let writer: Writer | undefined
let prober: Prober | undefined
let production: Record<string, string>

const fixture: Fixture = useStack({ id: 'staging', scale: 0.02 }, async (made) => {
  const { stack, machine } = made
  staging = stagingFor(stack, machine)
  toolFor(stack, { STAGING_DIR: staging.dir, STAGING_ENV_FILE: staging.envFile, SCHEMA: staging.schema })
  staging.write()
  production = lives(await made.look())
  writer = await startWriter(stack)
  const file = join(stack.dir, '..', 'prober.jsonl')
  prober = await startProber({ addresses: publicAddresses(await made.look()), file })
})
after(async () => {
  await writer?.stop()
  await prober?.stop()
})

const deploy = (...args: string[]): Promise<Ended> => runScript(fixture.stack, 'deploy-staging', args)
const teardown = (...args: string[]): Promise<Ended> => runScript(fixture.stack, 'teardown-staging', args)
const docker = (...args: string[]): Promise<string> => fixture.stack.docker(...args)
const list = async (...what: string[]): Promise<string[]> =>
  (await docker(...what, '--filter', `label=com.docker.compose.project=${staging.name}`))
    .split('\n')
    .filter(Boolean)
    .toSorted()

/** Everything that Docker has of staging. */
const objects = async (): Promise<{ containers: string[]; volumes: string[]; networks: string[] }> => ({
  containers: await list('ps', '-a', '--no-trunc', '--format', '{{.Names}} {{.ID}}'),
  volumes: await list('volume', 'ls', '--format', '{{.Name}}'),
  networks: await list('network', 'ls', '--format', '{{.Name}}'),
})

const networksOfProxy = async (): Promise<string[]> => {
  const { stack } = fixture
  const format = '{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}'
  return (await docker('inspect', '--format', format, stack.container('traefik')))
    .trim()
    .split(' ')
    .toSorted()
}

const said = ({ stdout, stderr }: Ended): string => stdout + stderr

async function nothingOfStaging(): Promise<void> {
  assert.deepEqual(await objects(), { containers: [], volumes: [], networks: [] })
  assert.ok(!existsSync(staging.dir), 'its folder is not there')
  assert.deepEqual(await networksOfProxy(), [fixture.stack.network])
  assert.ok(!existsSync(join(fixture.tool.stateDir, 'staging.json')))
}

/** An answer through production's proxy, with a name and a password when `auth` is given. */
const ask = (host: string, path = '/', auth?: string): Promise<{ status: number; body: string }> =>
  new Promise((resolve, reject) => {
    const { proxyPort: port } = fixture.stack
    get(
      { host: '127.0.0.1', port, path, headers: { host }, agent: false, ...(auth && { auth }) },
      (answer) => {
        let body = ''
        answer.setEncoding('utf8').on('data', (text: string) => (body += text))
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }))
      },
    ).on('error', reject)
  })

async function gatewayAnswers(): Promise<void> {
  const { status, body } = await ask(staging.hosts.gate, '/health')
  assert.equal(status, 200)
  assert.equal(
    (JSON.parse(body) as { services: { database: { status: string } } }).services.database.status,
    'up',
  )
}

describe('before anything is touched', () => {
  test('S25: whatever is wrong with the settings is listed in one message', async () => {
    const old = (await fixture.look()).env
    staging.write({
      JWT_SECRET: old.JWT_SECRET,
      ENCRYPTION_MASTER_KEY: undefined,
      ATTACHMENT_MASTER_KEY: 'dG9vIHNob3J0',
      ADMIN_PASSWORD: '***CHANGE_ME***',
      ATABETH_ROLE: 'user',
      FORCE_DB_RESET: 'true',
      SMTP_HOST: 'smtp.example.org',
      VAPID_PRIVATE_KEY: 'a-live-push-key-of-somebody',
      TRAEFIK_USERS: 'admin:password',
    })
    const ended = await deploy()
    assert.equal(ended.code, 3, said(ended))
    const keys =
      'JWT_SECRET ENCRYPTION_MASTER_KEY ATTACHMENT_MASTER_KEY ADMIN_PASSWORD ATABETH_ROLE FORCE_DB_RESET SMTP_HOST VAPID_PRIVATE_KEY TRAEFIK_USERS'
    for (const key of keys.split(' ')) assert.match(said(ended), new RegExp(`^ *${key} `, 'm'), key)
    assert.match(said(ended), /Nothing was changed/)
    assert.ok(!said(ended).includes(old.JWT_SECRET ?? '?'), 'no secret is told')
    staging.write()
    await nothingOfStaging()
  })

  test("what is somebody else's is refused: a volume, a project, a folder, a host", async () => {
    const { stack } = fixture
    staging.write({ REDIS_VOLUME: `${stack.project}_gateway_uploads`, NETWORK_NAME: stack.network })
    const ended = await deploy()
    assert.equal(ended.code, 3, said(ended))
    assert.match(said(ended), /The volume \S+_gateway_uploads .* exists and is not staging's/)
    assert.match(said(ended), /The network \S+ exists and is not staging's/)
    staging.write({ DOMAIN: stack.domain })
    assert.equal((await deploy()).code, 3)
    staging.write({ GATEWAY_IMAGE: `${staging.values.GATEWAY_IMAGE}-of-nobody`, GATEWAY_CPUS: '64' })
    const unknown = await deploy()
    assert.equal(unknown.code, 3)
    assert.match(said(unknown), /-of-nobody/)
    assert.match(said(unknown), /GATEWAY_CPUS|gateway may use more processors/)
    staging.write()
    await nothingOfStaging()
  })

  test('--plan and --dry-run write nothing', async () => {
    const plan = await deploy('--plan')
    assert.equal(plan.code, 0, said(plan))
    assert.equal(plan.stdout.match(/^# \d\/8 /gm)?.length, 8)
    const dry = await deploy('--dry-run')
    assert.equal(dry.code, 0, said(dry))
    await nothingOfStaging()
  })
})

describe('put up', () => {
  test('S26: a first deploy that fails leaves nothing behind', async () => {
    staging.write({ GATEWAY_IMAGE: imageRef(fixture.machine, 'gateway', '2.0-never-healthy') })
    const ended = await deploy('--models', 'none')
    assert.equal(ended.code, 1, said(ended))
    assert.match(said(ended), /gateway did not become healthy/)
    assert.match(said(ended), /Nothing of staging is left/)
    staging.write()
    await nothingOfStaging()
  })

  test('D1, D2: eight steps; the six addresses answer, three of them only with a password', async () => {
    const ended = await deploy()
    assert.equal(ended.code, 0, said(ended))
    assert.match(said(ended), /asks for no password/)
    const { hosts } = staging
    await gatewayAnswers()
    assert.equal((await ask(hosts.site)).status, 200)
    assert.match((await ask(hosts.ml, '/health')).body, /"healthy"/)
    assert.equal((await ask(hosts.static, '/health')).status, 200)
    for (const host of [hosts.mongo, hosts.redis, hosts.traefik]) {
      assert.equal((await ask(host)).status, 401, host)
      assert.equal((await ask(host, '/', 'admin:another-password')).status, 401, host)
      assert.equal((await ask(host, '/', `admin:${staging.password}`)).status, 200, host)
    }
    assert.equal(statSync(staging.dir).mode & 0o777, 0o700)
    assert.equal(statSync(join(staging.dir, '.env')).mode & 0o777, 0o600)
  })

  test('no name of an image means another one; every container runs what was pulled by its digest', async () => {
    const env = readFileSync(join(staging.dir, '.env'), 'utf8')
    assert.equal(env.match(/^\w+_IMAGE='[^']+@sha256:[0-9a-f]{64}'$/gm)?.length, 8)
    await fixture.stack.compose('up', '-d')
    assert.deepEqual(lives(await fixture.look()), production, 'a plain up in production recreates nothing')
  })

  test('nothing of staging is published; its own volumes, labelled', async () => {
    for (const line of await list('ps', '--format', '{{.Names}}|{{.Ports}}'))
      assert.doesNotMatch(line, /->/, line)
    const { volumes } = await objects()
    assert.deepEqual(volumes, [...staging.volumes].toSorted())
  })

  test('production cannot be reached from there, nor can anything else', async () => {
    const { stack } = fixture
    const targets = [`${await stack.address('database')}:27017`, `${await stack.address('gateway')}:3000`]
    const look = `const [h, p] = process.argv[1].split(':');
      const s = require('net').connect({ host: h, port: +p, timeout: 2000 }, () => { console.log('reached'); process.exit() });
      s.on('timeout', () => { console.log('no'); process.exit() }).on('error', (e) => { console.log('no', e.code); process.exit() })`
    for (const target of targets) {
      const inside = await docker('exec', `${staging.name}-gateway-1`, 'node', '-e', look, target)
      assert.match(inside, /^no/, target)
    }
    const own = await docker('exec', `${staging.name}-gateway-1`, 'node', '-e', look, 'database:27017')
    assert.match(own, /^reached/, 'the question can be answered with yes')
  })

  test('a second run changes nothing; another value, only its service and what waits for it', async () => {
    const before = await objects()
    const again = await deploy()
    assert.equal(again.code, 0, said(again))
    assert.deepEqual(await objects(), before)
    staging.write({ STATIC_IMAGE: staging.values.STATIC_IMAGE, JWT_EXPIRES_IN: '8d' })
    const changed = await deploy()
    assert.equal(changed.code, 0, said(changed))
    const now = await objects()
    // Compose makes what waits for a service anew together with it.
    const others = (o: typeof now): string[] => o.containers.filter((c) => !/-(gateway|frontend)-/.test(c))
    assert.deepEqual(others(now), others(before))
    assert.notDeepEqual(now.containers, before.containers)
    staging.write()
  })

  test('a mail relay that this server offers to it is refused, and staging is as it was', async () => {
    const before = await objects()
    const relay: Server = createServer((s) => s.on('error', () => {}).write('220 mail.example ESMTP\r\n'))
    // At this network's own address alone: other stacks' stagings are tried at the same time.
    const format = '{{(index .IPAM.Config 0).Gateway}}'
    relay.listen(0, (await docker('network', 'inspect', '--format', format, staging.name)).trim())
    await once(relay, 'listening')
    try {
      staging.write({ JWT_EXPIRES_IN: '9d' })
      const ended = await deploy()
      assert.equal(ended.code, 1, said(ended))
      assert.match(said(ended), /mail/)
    } finally {
      relay.close()
      staging.write()
    }
    const now = await objects()
    assert.deepEqual(now.volumes, before.volumes)
    assert.equal(now.containers.length, before.containers.length)
    assert.match(readFileSync(join(staging.dir, '.env'), 'utf8'), /^JWT_EXPIRES_IN='8d'$/m)
    await gatewayAnswers()
  })

  test('a version that is never healthy: the one before runs again', async () => {
    staging.write({ GATEWAY_IMAGE: imageRef(fixture.machine, 'gateway', '2.0-never-healthy') })
    const before = await objects()
    const ended = await deploy()
    assert.equal(ended.code, 1, said(ended))
    assert.match(said(ended), /Staging is as it was before/)
    staging.write()
    assert.deepEqual((await objects()).volumes, before.volumes)
    const good = await deploy()
    assert.equal(good.code, 0, said(good))
    await gatewayAnswers()
  })
})

describe('what else is in the way', () => {
  test("a stranger on staging's network is refused, at a deploy and at a teardown", async () => {
    const { stack } = fixture
    const name = stack.container('nosqlclient')
    await docker('network', 'connect', staging.name, name)
    try {
      const ended = await deploy()
      assert.equal(ended.code, 3, said(ended))
      assert.match(said(ended), /nosqlclient is connected to staging's network/)
      assert.match(said(ended), /docker network disconnect/)
      assert.equal((await teardown('--confirm', staging.name)).code, 3)
    } finally {
      await docker('network', 'disconnect', staging.name, name)
    }
  })

  test("a note that is damaged is named, and spoils nothing of production's", async () => {
    const note = join(fixture.tool.stateDir, 'staging.json')
    const whole = readFileSync(note)
    writeFileSync(note, '{"dir":')
    try {
      const ended = await deploy()
      assert.equal(ended.code, 3, said(ended))
      assert.match(said(ended), /staging\.json, cannot be read/)
      assert.equal((await runScript(fixture.stack, 'status')).code, 0)
    } finally {
      writeFileSync(note, whole)
    }
  })

  test("without its note a teardown takes what the settings name; never production's project", async () => {
    const note = join(fixture.tool.stateDir, 'staging.json')
    const whole = readFileSync(note)
    rmSync(note)
    try {
      staging.write({ STACK_NAME: fixture.stack.project })
      const ended = await teardown('--all-volumes', '--confirm', fixture.stack.project)
      assert.equal(ended.code, 3, said(ended))
      assert.match(said(ended), /not staging's/)
    } finally {
      writeFileSync(note, whole)
      staging.write()
    }
  })

  test('a password that is set later is refused by the files, and staging is as it was', async () => {
    staging.write({ MONGODB_USER: 'meeshy', MONGODB_PASSWORD: '0123456789abcdef0123' })
    const ended = await deploy()
    staging.write()
    assert.equal(ended.code, 1, said(ended))
    assert.match(said(ended), /Staging is as it was before/)
    await gatewayAnswers()
  })

  test('a step alone that fails says what it leaves', async () => {
    staging.write({ MONGODB_USER: 'meeshy', MONGODB_PASSWORD: '0123456789abcdef0123' })
    const ended = await deploy('--from', '7')
    staging.write()
    assert.equal(ended.code, 1, said(ended))
    assert.match(said(ended), /Staging is as this run left it/)
    assert.equal((await deploy()).code, 0)
  })
})

describe('taken down', () => {
  test('it asks, and knows whose volume is whose', async () => {
    const unasked = await teardown()
    assert.equal(unasked.code, 4, said(unasked))
    assert.match(said(unasked), /stays: the volume/)
    const foreign = await teardown(`${fixture.stack.project}_gateway_uploads`, '--confirm', staging.name)
    assert.equal(foreign.code, 2, said(foreign))
  })

  test('its volumes stay, the proxy is disconnected, and it can be put up on them again', async () => {
    const { volumes } = await objects()
    const ended = await teardown('--confirm', staging.name)
    assert.equal(ended.code, 0, said(ended))
    assert.deepEqual(await objects(), { containers: [], volumes, networks: [] })
    assert.deepEqual(await networksOfProxy(), [fixture.stack.network])
    assert.ok(!existsSync(staging.dir))
    const again = await deploy()
    assert.equal(again.code, 0, said(again))
    assert.match(said(again), /the same already/)
  })

  test('all of its volumes go when that is asked for; production has noticed nothing', async () => {
    const ended = await teardown('--all-volumes', '--confirm', staging.name)
    assert.equal(ended.code, 0, said(ended))
    await nothingOfStaging()
    assert.deepEqual(
      lives(await fixture.look()),
      production,
      'the same containers of production, none restarted',
    )
    assert.ok(prober && writer)
    await prober.stop()
    const ledger = await readLedger(prober.file)
    assert.equal(ledger.length, publicAddresses(await fixture.look()).length)
    for (const { address, requests, failed } of ledger) {
      assert.ok(requests > 1_000, address)
      assert.equal(failed, 0, address)
    }
    const summary = await writer.stop()
    assert.ok(summary.acknowledged > 500)
    assert.equal(summary.failed, 0, 'not one failed request')
    const checked = await writer.check()
    assert.deepEqual([...checked.lost, ...checked.wrong], [])
  })
})
