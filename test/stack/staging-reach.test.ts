// What can be reached from inside a network without a way out, on Docker's own networks: containers of another network,
// one that plays the internet, and this machine at the bridge's address.
//
// What staging would be refused for listens at the address of this test's own bridge alone: on all addresses it would
// be in the way of every other test that puts up a staging.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { containerIds, docker, inspectImage, removeContainers } from '../../lib/docker.ts'
import { lookInside } from '../../lib/staging/inside.ts'
import {
  beyond,
  hostPorts,
  othersOf,
  portsText,
  refusedPorts,
  type HostPort,
} from '../../lib/staging/reach.ts'
import type { OwnImage } from '../../lib/throwaway.ts'
import { ensureImages } from './apps/images.ts'
import { imageRef } from './machine/images.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'

const ID = 'rehearsal-reach'
const LABEL = 'rehearsal=reach'
const INSIDE = `${ID}-inside`
const PRODUCTION = `${ID}-production`
const INTERNET = `${ID}-internet`
const PORT = 8000 // of the listeners in containers
const DEADLINE = 20_000 // ms until a container listens: it takes about 1 s

let machine: Machine
let image: OwnImage
let gateway = ''
const servers: Server[] = []

before(
  async () => {
    machine = await ensureMachine()
    Object.assign(process.env, machine.env)
    await ensureImages(machine)
    const found = await inspectImage(imageRef(machine, 'mongo', '8.0'))
    assert.ok(found)
    image = { id: found.Id, volumes: found.Config.Volumes }
    await removeAll() // what a killed run has left
    const create = ['network', 'create', '--label', LABEL]
    await docker(...create, '--internal', INSIDE)
    await docker(...create, PRODUCTION)
    await docker(...create, INTERNET)
    gateway = (await docker('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Gateway}}', INSIDE)).trim()
    await container('production', ['--network', PRODUCTION], LISTENER)
    await container('internet', ['--network', INTERNET], LISTENER)
  },
  { timeout: 300_000 },
)
after(async () => {
  for (const server of servers) server.close()
  await removeAll()
  await machine.stop()
})

async function removeAll(): Promise<void> {
  await removeContainers(LABEL)
  const ids = await docker('network', 'ls', '-q', '--filter', `label=${LABEL}`)
  for (const id of ids.split('\n').filter(Boolean)) await docker('network', 'rm', id)
}

const LISTENER = [
  'node',
  '-e',
  `require('node:http').createServer((_, answer) => answer.end('here')).listen(${PORT}, '0.0.0.0')`,
]

/** Starts `rehearsal-reach-<name>` with its declared volumes in memory. */
async function container(
  name: string,
  options: readonly string[],
  [entrypoint = '', ...words]: readonly string[],
): Promise<void> {
  const declared = Object.keys(image.volumes ?? {}).map((path) => `--tmpfs=${path}`)
  const named = ['--name', `${ID}-${name}`, '--label', LABEL, ...declared, ...options]
  await docker('run', '--detach', ...named, '--entrypoint', entrypoint, image.id, ...words)
}

/** Its address in a network. */
async function addressOf(name: string, network: string): Promise<string> {
  const format = `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`
  return (await docker('container', 'inspect', '-f', format, `${ID}-${name}`)).trim()
}

/** A listener of this machine; gives its port. */
async function listen(server: Server, host: string): Promise<number> {
  servers.push(server)
  server.listen(0, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Talks to whoever connects; that they go is their business. */
const talking = (talk: (socket: Socket) => void): Server =>
  createServer((socket) => {
    socket.on('error', () => socket.destroy())
    talk(socket)
  })

/** A number that nobody listens at. */
async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listen(server, gateway)
  server.close()
  await once(server, 'close')
  return port
}

/** Asks until a port is what it should become. */
async function until(
  port: number,
  good: (found: HostPort | undefined) => boolean,
): Promise<HostPort | undefined> {
  for (const end = Date.now() + DEADLINE; ; await delay(200)) {
    const found = (await hostPorts(INSIDE, image, ID)).ports.find((p) => p.port === port)
    if (good(found) || Date.now() > end) return found
  }
}

describe('beyond', () => {
  test('nothing is reached from a network without a way out', async () => {
    const others = await othersOf(INSIDE)
    for (const [name, network] of [
      ['production', PRODUCTION],
      ['internet', INTERNET],
    ] as const) {
      const ip = await addressOf(name, network)
      // The image exposes MongoDB's port; the one that really listens is added here.
      assert.ok(
        others.some((o) => o.ip === ip && o.port === 27017 && o.name === `the container ${ID}-${name}`),
        `${name} is tried`,
      )
      others.push({ name: `${name}'s listener`, ip, port: PORT })
    }
    assert.ok(
      others.some((o) => o.name === `this server on the network ${PRODUCTION}`),
      'this server is tried at its other addresses',
    )
    assert.deepEqual(await beyond(INSIDE, image, ID, others), [])
  })

  test('the same questions find a listener, and the way out, where there are any', async () => {
    for (const [name, network] of [
      ['production', PRODUCTION],
      ['internet', INTERNET],
    ] as const) {
      const ip = await addressOf(name, network)
      const text = await beyond(network, image, ID, [{ name, ip, port: PORT }])
      assert.equal(text.length, 2, text.join('\n'))
      assert.match(text[0] ?? '', new RegExp(`^The network ${network} has a way out`))
      assert.match(text[1] ?? '', new RegExp(`${name} can be reached: ${ip}:${PORT} accepts`))
    }
  })

  test('what is on the network itself is none of the others', async () => {
    await container('joined', ['--network', PRODUCTION], LISTENER)
    const name = `the container ${ID}-joined`
    assert.ok((await othersOf(INSIDE)).some((o) => o.name === name))
    await docker('network', 'connect', INSIDE, `${ID}-joined`)
    assert.ok(!(await othersOf(INSIDE)).some((o) => o.name === name))
    await docker('rm', '-f', `${ID}-joined`)
  })

  test('a name is really looked up, and one that Docker itself knows is not the internet', async () => {
    await container('named', ['--network', INSIDE, '--network-alias', 'example.com'], LISTENER)
    const id = (await docker('network', 'inspect', '-f', '{{.Id}}', INSIDE)).trim()
    const network = { id, name: INSIDE }
    const { resolved } = await lookInside(network, image, ID, [], { name: 'example.com' })
    assert.deepEqual(resolved, [await addressOf('named', INSIDE)])
    assert.deepEqual(await beyond(INSIDE, image, ID, []), [])
    await docker('rm', '-f', `${ID}-named`)
    assert.deepEqual((await lookInside(network, image, ID, [], { name: 'example.com' })).resolved, [])
  })

  test('there is no answer for a network that is not there', async () => {
    await assert.rejects(beyond(`${ID}-none`, image, ID, []), /The network rehearsal-reach-none is not there/)
    await assert.rejects(hostPorts(`${ID}-none`, image, ID), /is not there/)
  })
})

describe('ports of this machine', () => {
  test('each that answers is told for what it is', async () => {
    const http = await listen(
      createHttp((_, answer) => answer.end('hello')),
      '0.0.0.0',
    )
    const loopback = await listen(
      createHttp((_, answer) => answer.end('hello')),
      '127.0.0.1',
    )
    const mail = await listen(
      talking((socket) => socket.write('220 mail.example \u001B[2J ESMTP\r\n')),
      gateway,
    )
    const redis = await listen(
      talking((socket) => socket.once('data', () => socket.end('-NOAUTH Authentication required.\r\n'))),
      gateway,
    )
    // As PostgreSQL: closes on what it does not understand, and answers its own question with one byte.
    const postgres = await listen(
      talking((socket) => socket.once('data', (data) => socket.end(data.length === 8 ? 'N' : ''))),
      gateway,
    )
    const silent = await listen(
      talking((socket) => socket.resume()),
      gateway,
    )

    const found = await hostPorts(INSIDE, image, ID)
    assert.equal(found.skipped, undefined)
    const seen = (port: number): string => {
      const { what, evidence } = found.ports.find((p) => p.port === port) ?? {}
      return `${what}: ${evidence}`
    }
    assert.equal(seen(http), 'other: answers HTTP: HTTP/1.1 200 OK')
    assert.equal(seen(loopback), 'undefined: undefined')
    assert.equal(seen(mail), 'mail: greets with 220 mail.example  [2J ESMTP')
    assert.equal(seen(redis), 'database: answers like Redis: -NOAUTH Authentication required.')
    assert.equal(seen(postgres), 'database: answers like PostgreSQL')
    assert.equal(seen(silent), 'other: accepts connections and says nothing')
    assert.match(portsText(found), new RegExp(`\n {2}${http}: other, answers HTTP`))

    const refused = refusedPorts(found).join('\n')
    for (const port of [mail, redis, postgres])
      assert.match(refused, new RegExp(`port ${port} of this server`))
    for (const port of [http, silent]) assert.doesNotMatch(refused, new RegExp(`port ${port} of`))
  })

  test('a real Redis, and a real MongoDB', async () => {
    const [redis, mongo] = [await freePort(), await freePort()]
    const at = ['--bind', gateway, '--port', String(redis)]
    await container('redis', ['--network', 'host'], ['redis-server', ...at, '--save', ''])
    const seen = await until(redis, (p) => p?.what === 'database')
    assert.match(`${seen?.what}: ${seen?.evidence}`, /^database: answers like Redis: -DENIED/)
    await docker('rm', '-f', `${ID}-redis`)

    const there = ['--bind_ip', gateway, '--port', String(mongo), '--dbpath', '/data/db']
    await container('mongo', ['--network', 'host'], ['mongod', ...there])
    const also = await until(mongo, (p) => p?.what === 'database')
    assert.equal(`${also?.what}: ${also?.evidence}`, 'database: answers like MongoDB: it says so')
    await docker('rm', '-f', `${ID}-mongo`)
  })

  test('a port that a container publishes: where Docker lets it through, and where not', async () => {
    const port = await freePort()
    await container('published', ['--network', PRODUCTION, '-p', `0.0.0.0:${port}:${PORT}`], LISTENER)
    const from = async (network: string): Promise<HostPort | undefined> =>
      (await hostPorts(network, image, ID)).ports.find((p) => p.port === port)
    const open = async (): Promise<HostPort | undefined> => {
      for (const end = Date.now() + DEADLINE; ; await delay(200)) {
        const found = await from(INTERNET)
        if (found?.evidence.startsWith('answers') || Date.now() > end) return found
      }
    }
    const { what, evidence, container: by } = (await open()) ?? {}
    assert.deepEqual(
      { what, evidence, by },
      { what: 'other', evidence: 'answers HTTP: HTTP/1.1 200 OK', by: `${ID}-published` },
    )
    // Docker's rules send it to the container's own network, and drop what comes from an internal one.
    assert.equal(await from(INSIDE), undefined)
    await docker('rm', '-f', `${ID}-published`)
  })

  test('what a killed run leaves is found by its labels, and ends by itself', async () => {
    const id = (await docker('network', 'inspect', '-f', '{{.Id}}', INSIDE)).trim()
    const port = await listen(
      talking((socket) => socket.resume()),
      gateway,
    )
    const network = { id, name: INSIDE }
    const labels = ['runbook=1', 'runbook.for=staging', `runbook.stack=${ID}`]
    const look = lookInside(network, image, ID, [{ ip: gateway, port }], { talk: true })
    let seen = 0
    let over = false
    const ended = look.finally(() => (over = true))
    while (!over) {
      seen = Math.max(seen, (await containerIds(...labels)).length)
      await delay(50)
    }
    await ended
    assert.equal(seen, 1)
    assert.deepEqual(await containerIds(...labels), [])
  })
})
