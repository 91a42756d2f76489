import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTcp, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { ContainerInspect } from '../../lib/docker.ts'
import { checkPublic, checkService, publicAddresses, type Verdict } from '../../lib/health.ts'
import { waitHealthy, waitStable } from '../../lib/wait.ts'
import { interruption } from '../../lib/shell.ts'
import type { ServiceDescription } from '../../lib/description.ts'
import type { Stack } from '../../lib/stack.ts'

// A docker that knows one command: the log of a container, on both streams, as docker prints it with --timestamps.
const PATH = process.env.PATH
let dir: string
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'health-'))
  const log = `#!/bin/sh
[ "$*" = "logs --timestamps --tail 20 -- $6" ] || exit 9
for i in 10 11 12 13 14 15 16 17 18 19 20 21 22 23; do echo "2026-01-25T10:00:00.0000000\${i}Z line $i of $6"; done
printf '2026-01-25T10:00:00.000000024Z TypeError: \\033[31mboom\\n' >&2
`
  writeFileSync(join(dir, 'docker'), log)
  chmodSync(join(dir, 'docker'), 0o755)
  process.env.PATH = `${dir}:${PATH}`
})
after(() => {
  process.env.PATH = PATH
  rmSync(dir, { recursive: true })
  for (const server of servers) server.close().closeAllConnections()
})

const servers: ReturnType<typeof createServer>[] = []
async function listen(handler: RequestListener): Promise<number> {
  const server = createServer(handler)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

type State = Partial<ContainerInspect['State']>

function container(state: State = {}, id = 'c1'): ContainerInspect {
  return {
    Id: id,
    Name: id,
    Created: '',
    Image: '',
    Path: '',
    Args: [],
    RestartCount: 0,
    State: {
      Status: 'running',
      Running: (state.Status ?? 'running') === 'running',
      ExitCode: 0,
      StartedAt: '2026-01-25T10:00:00Z',
      FinishedAt: '0001-01-01T00:00:00Z',
      ...state,
    },
    Config: { Image: '', Env: [], Labels: {}, Volumes: null, User: '' },
    HostConfig: { RestartPolicy: { Name: 'unless-stopped' } },
    Mounts: [],
    NetworkSettings: { Networks: { net: { IPAddress: '127.0.0.1' } } },
  }
}

interface Part {
  readonly about?: Partial<ServiceDescription>
  readonly container?: ContainerInspect | undefined
  readonly dependsOn?: readonly string[]
}

function stackOf(parts: Readonly<Record<string, Part>>, more: Partial<Stack> = {}): Stack {
  const services = Object.entries(parts).map(([name, part]) => ({
    name,
    about: { deadline: 5_000, ...part.about },
    image: '',
    imageId: undefined,
    configHash: '',
    dependsOn: part.dependsOn ?? [],
    container: 'container' in part ? part.container : container({}, name),
  }))
  return {
    project: 'test',
    dir: '/opt/test',
    files: [],
    config: { PROXY_ADDRESS: '', MONGODB_USER: '', REDIS_PASSWORD: '' } as Stack['config'],
    about: {
      database: { service: 'database', port: 1, name: 'test' },
      redis: { service: 'redis', port: 1 },
      proxy: { service: 'proxy' },
      services: Object.fromEntries(services.map((s) => [s.name, s.about])),
      public: [],
      leaveOut: {},
      config: [],
      stability: 0,
      stopTimeout: 0,
    },
    services: services.map((s) => ({ ...s, containers: s.container ? [s.container] : [] })),
    resolved: { name: 'test', services: {} },
    env: {},
    ...more,
  }
}

/** Answers 200 with this JSON. */
const says = (body: unknown) => (): Promise<number> => listen((_, a) => void a.end(JSON.stringify(body)))
const up = says({ status: 'up' })
const asks = (port: number): Partial<ServiceDescription> => ({
  health: { port, path: '/health', json: { status: ['up'] } },
})
const seen = async (part: Part): Promise<string> => {
  const { ok, evidence } = await checkService(stackOf({ gateway: part }), 'gateway')
  return `${ok ? 'healthy' : 'not healthy'}: ${evidence.replace(/127.0.0.1:\d+/, 'IP')}`
}

describe('checkService', () => {
  test('judges the container, what it answers, and what Docker says', async () => {
    const good = await up()
    const down = await says({ status: 'down' })()
    const health = (Status: string): State => ({
      Health: { Status, Log: [{ Output: 'old' }, { Output: 'curl: (7)\n' }] },
    })
    assert.equal(await seen({ about: asks(good) }), 'healthy: http://IP/health: answered 200')
    assert.equal(
      await seen({ about: asks(down) }),
      "not healthy: http://IP/health: answered 200, but status is 'down', expected 'up'",
    )
    assert.equal(
      await seen({ about: asks(1) }),
      'not healthy: http://IP/health: no answer: connect ECONNREFUSED 127.0.0.1:1',
    )
    assert.equal(await seen({ container: container(health('healthy')) }), 'healthy: it runs')
    assert.equal(
      await seen({ container: container(health('starting')), about: asks(good) }),
      "not healthy: http://IP/health: answered 200, but Docker's health check says starting: curl: (7)",
    )
    assert.match(
      await seen({ container: container(health('unhealthy')) }),
      /^not healthy: .*says unhealthy: curl/,
    )
    assert.equal(await seen({ container: undefined }), 'not healthy: it has no container')
    for (const [Status, text] of [
      ['created', 'it is created'],
      ['paused', 'it is paused'],
      ['restarting', 'it is restarting (exit code 1)'],
      ['exited', 'it is exited (exit code 1)'],
    ] as const) {
      assert.equal(
        await seen({ container: container({ Status, ExitCode: 1 }), about: asks(good) }),
        `not healthy: ${text}`,
      )
    }
  })

  test('a database or a Redis that does not answer is evidence, not an error', async () => {
    const stack = stackOf({ database: {}, redis: {} })
    const [database, redis] = await Promise.all([
      checkService(stack, 'database'),
      checkService(stack, 'redis'),
    ])
    assert.match(database.evidence, /does not answer at 127.0.0.1:1: connect ECONNREFUSED/)
    assert.equal(redis.evidence, 'connect ECONNREFUSED 127.0.0.1:1')
    assert.deepEqual([database.ok, redis.ok], [false, false])
  })

  test('Redis is asked over the network: PONG is healthy, an error reply is not, a password goes first', async () => {
    let heard = ''
    let replies = ''
    const server = createTcp((socket) => {
      socket
        .on('error', () => {})
        .on('data', (bytes) => {
          heard += bytes.toString()
          socket.write(replies.slice(0, 3))
          setTimeout(() => socket.write(replies.slice(3)), 20) // a reply may come in pieces
        })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const look = async (text: string, password = ''): Promise<Verdict> => {
      replies = text
      const stack = stackOf({ redis: {} })
      const about = { ...stack.about, redis: { service: 'redis', port } }
      return checkService({ ...stack, about, config: { ...stack.config, REDIS_PASSWORD: password } }, 'redis')
    }
    assert.deepEqual(
      { ...(await look('+PONG\r\n')), ms: 0 },
      { service: 'redis', ok: true, optional: false, evidence: 'it answers PONG', ms: 0 },
    )
    assert.equal(heard, '*1\r\n$4\r\nPING\r\n')
    const loading = await look('-LOADING Redis is loading the dataset in memory\r\n')
    assert.deepEqual(
      [loading.ok, loading.evidence],
      [false, 'it answers LOADING Redis is loading the dataset in memory'],
    )
    heard = ''
    assert.equal((await look('+OK\r\n+PONG\r\n', 'pä ss\r\nword')).ok, true)
    assert.equal(heard, '*2\r\n$4\r\nAUTH\r\n$12\r\npä ss\r\nword\r\n*1\r\n$4\r\nPING\r\n')
    const refused = await look('-WRONGPASS invalid\r\n-NOAUTH Authentication required.\r\n', 'wrong-one')
    assert.deepEqual([refused.ok, refused.evidence], [false, 'it answers NOAUTH Authentication required.'])
    assert.match((await look('HTTP/1.1 200 OK '.repeat(200))).evidence, /^it answers HTTP/)
    server.close()
  })

  test('a service that others await to complete', async () => {
    const resolved = {
      name: 'test',
      services: { gateway: { depends_on: { init: { condition: 'service_completed_successfully' } } } },
    }
    const look = async (state: State): Promise<Verdict> =>
      checkService(stackOf({ init: { container: container(state) } }, { resolved }), 'init')
    assert.equal((await look({ Status: 'exited' })).ok, true)
    assert.equal((await look({ Status: 'exited', ExitCode: 1 })).evidence, 'it is exited (exit code 1)')
    assert.equal((await look({})).evidence, 'it has not completed yet')
  })

  test('an unknown service is a mistake of the caller', async () => {
    await assert.rejects(
      checkService(stackOf({ gateway: {} }), 'gatewy'),
      /no service 'gatewy'. It has: gateway/,
    )
  })
})

describe('public addresses', () => {
  test('are asked by way of the proxy when there is one, by content', async () => {
    const hosts: string[] = []
    const port = await listen((request, answer) => {
      hosts.push(`${request.headers.host}${request.url}`)
      answer.end('{"status":"down"}')
    })
    const stack = stackOf({ gateway: {}, page: { about: { optional: true } } })
    const verdicts = await checkPublic({
      ...stack,
      env: { DOMAIN: 'example.test' },
      config: { ...stack.config, PROXY_ADDRESS: `http://127.0.0.1:${port}` },
      about: {
        ...stack.about,
        public: [
          { service: 'gateway', url: 'https://gate.{DOMAIN}/health', json: { status: ['up'] } },
          { service: 'page', url: 'https://{DOMAIN}/' },
        ],
      },
    })
    assert.deepEqual(
      verdicts.map((v) => ({ ...v, ms: 0 })),
      [
        {
          service: 'gateway',
          address: 'https://gate.example.test/health',
          ok: false,
          optional: false,
          evidence: "answered 200, but status is 'down', expected 'up'",
          ms: 0,
        },
        {
          service: 'page',
          address: 'https://example.test/',
          ok: true,
          optional: true,
          evidence: 'answered 200',
          ms: 0,
        },
      ],
    )
    assert.deepEqual(hosts.toSorted(), ['example.test/', 'gate.example.test/health'])
  })

  test('need their keys in the .env of the stack, and these must be hosts', () => {
    const stack = stackOf({})
    const about = { ...stack.about, public: [{ service: 'gateway', url: 'https://gate.{DOMAIN}/' }] }
    assert.throws(
      () => publicAddresses({ ...stack, about }),
      /needs DOMAIN in \/opt\/test\/.env, as a host name; it is ''/,
    )
    assert.throws(() => publicAddresses({ ...stack, about, env: { DOMAIN: 'x/../$(id)' } }), /needs DOMAIN/)
  })
})

/** The texts that were told, and how long it took, in ms. */
async function waited(
  source: () => Stack,
  names: readonly string[],
): Promise<{ told: string[]; ms: number; error?: string; verdicts: readonly Verdict[] }> {
  const told: string[] = []
  const began = performance.now()
  const onChange = (v: Verdict): void =>
    void told.push(`${v.service}: ${v.evidence.replace(/127.0.0.1:\d+/, 'IP')}`)
  const result = await waitHealthy(async () => source(), names, { onChange }).catch((e: Error) => e.message)
  const ms = performance.now() - began
  return typeof result === 'string'
    ? { told, ms, error: result, verdicts: [] }
    : { told, ms, verdicts: result }
}

describe('waitHealthy', () => {
  test('a service that needs 2 s costs no more than 2.3 s, and its dependents no more', async () => {
    const began = performance.now()
    const port = await listen(
      (_, a) => void a.end(JSON.stringify({ status: performance.now() - began > 2_000 ? 'up' : 'starting' })),
    )
    const stack = stackOf({ gateway: { about: asks(port) }, frontend: { about: asks(await up()) } })
    const { ms, told, error } = await waited(() => stack, ['gateway', 'frontend'])
    assert.equal(error, undefined)
    assert.ok(ms > 1_900 && ms < 2_300 + 100, `${ms} ms`)
    assert.equal(told.length, 3)
    const ofGateway = told.filter((t) => t.startsWith('gateway'))
    assert.match(ofGateway[0] ?? '', /but status is 'starting', expected 'up'$/)
    assert.equal(ofGateway[1], 'gateway: http://IP/health: answered 200')
  })

  test('ends at the deadline, with what was answered last and the log', async () => {
    const stack = stackOf({
      translator: { about: { ...asks(await says({ status: 'loading' })()), deadline: 400 } },
      gateway: { about: asks(1) },
      frontend: { about: asks(await up()) },
    })
    const { ms, error = '' } = await waited(() => stack, ['translator', 'gateway', 'frontend'])
    assert.ok(ms >= 400 && ms < 1_200, `${ms} ms`)
    const lines = error.split('\n')
    assert.match(
      lines[0] ?? '',
      /^translator did not become healthy in 0.\d s: http:.* status is 'loading', expected 'up'$/,
    )
    assert.equal(lines[1], '  the last lines of its log:')
    assert.equal(lines[2], '    line 10 of translator')
    assert.equal(lines[16], '    TypeError:  [31mboom')
    assert.match(lines[17] ?? '', /^gateway is not healthy yet: .*ECONNREFUSED/)
    assert.equal(lines.length, 18)
  })

  test('a container that has ended for good ends the wait at once; one that is replaced does not', async () => {
    const port = await up()
    const dead = container({ Status: 'exited', ExitCode: 137 }, 'old')
    const gone = await waited(() => stackOf({ gateway: { container: dead, about: asks(port) } }), ['gateway'])
    assert.ok(gone.ms < 1_000, `${gone.ms} ms`)
    assert.match(
      gone.error ?? '',
      /^gateway did not become healthy and has ended: it is exited \(exit code 137\)\n {2}the last lines/,
    )
    assert.match(
      gone.told[0] ?? '',
      /^gateway: it is exited \(exit code 137\)\n {2}the last lines of its log:\n {4}line 10/,
    )
    assert.equal(gone.told.length, 1)

    const lives = [dead, undefined, container({ Status: 'created' }, 'new'), container({}, 'new')]
    const replaced = (): Stack =>
      stackOf({
        gateway: { container: lives.length > 1 ? lives.shift() : lives[0], about: asks(port) },
      })
    const fine = await waited(replaced, ['gateway'])
    assert.equal(fine.error, undefined)
    assert.deepEqual(
      fine.told.map((t) => t.split('\n')[0]),
      [
        'gateway: it is exited (exit code 137)',
        'gateway: it has no container',
        'gateway: it is created',
        'gateway: http://IP/health: answered 200',
      ],
    )
  })

  test('a restart is told at once, does not extend the deadline, and may still end well', async () => {
    const port = await up()
    const began = performance.now()
    const start = (): number => Math.floor((performance.now() - began) / 300)
    const crashing = (): Stack =>
      stackOf({
        gateway: {
          about: { ...asks(1), deadline: 1_500 },
          container: container({ StartedAt: `start ${start()}` }),
        },
      })
    const { ms, told, error } = await waited(crashing, ['gateway'])
    assert.match(error ?? '', /did not become healthy in 1.\d s/)
    assert.ok(ms >= 1_500 && ms < 2_500, `${ms} ms`)
    assert.ok(told.filter((t) => t.startsWith('gateway: it was restarted; now')).length >= 3, told.join('\n'))

    let looks = 0
    const recovers = (): Stack =>
      stackOf({
        gateway: {
          about: asks(port),
          container:
            looks++ < 3
              ? container({ Status: 'restarting', ExitCode: 1 })
              : container({ StartedAt: 'later' }),
        },
      })
    const fine = await waited(recovers, ['gateway'])
    assert.equal(fine.error, undefined)
    assert.equal(fine.told.length, 2, fine.told.join('\n'))
    assert.match(fine.told[0] ?? '', /^gateway: it is restarting \(exit code 1\)\n/)
  })

  test('one that was healthy and ends while another is waited for is noticed', async () => {
    const port = await up()
    let looks = 0
    const stack = (): Stack =>
      stackOf({
        database2: {
          about: asks(port),
          container: ++looks < 3 ? container() : container({ Status: 'exited', ExitCode: 14 }),
        },
        gateway: { about: { ...asks(1), deadline: 60_000 } },
      })
    const { ms, error = '' } = await waited(stack, ['database2', 'gateway'])
    assert.match(error, /database2 did not become healthy and has ended: it is exited \(exit code 14\)/)
    assert.ok(ms < 3_000, `${ms} ms`)
  })

  test('all of them are healthy at one and the same look', async () => {
    const began = performance.now()
    const elapsed = (): number => performance.now() - began
    const flapping = await listen((_, a) => {
      a.end(JSON.stringify({ status: elapsed() > 200 && elapsed() < 1_200 ? 'down' : 'up' }))
    })
    const slow = await listen((_, a) => void a.end(JSON.stringify({ status: elapsed() > 600 ? 'up' : 'no' })))
    const stack = stackOf({ gateway: { about: asks(flapping) }, frontend: { about: asks(slow) } })
    const { ms, error } = await waited(() => stack, ['gateway', 'frontend'])
    assert.equal(error, undefined)
    assert.ok(ms > 1_100 && ms < 2_000, `${ms} ms`)
  })

  test('one that has not started, because what it depends on is not healthy yet, is not charged for that', async () => {
    const began = performance.now()
    const ready = (): boolean => performance.now() - began > 1_000
    const port = await listen((_, a) => void a.end(JSON.stringify({ status: ready() ? 'up' : 'starting' })))
    const stack = (): Stack =>
      stackOf({
        gateway: { about: asks(port) },
        frontend: {
          about: { ...asks(port), deadline: 300 },
          dependsOn: ['gateway'],
          container: container({ Status: ready() ? 'running' : 'created' }),
        },
      })
    assert.equal((await waited(stack, ['gateway', 'frontend'])).error, undefined)
  })

  test('optional services are told, and neither waited for nor fatal', async () => {
    const stack = stackOf({
      gateway: { about: asks(await up()) },
      console: { about: { optional: true }, container: container({ Status: 'exited', ExitCode: 1 }) },
    })
    const { ms, verdicts } = await waited(() => stack, ['console', 'gateway'])
    assert.ok(ms < 500, `${ms} ms`)
    assert.deepEqual(
      verdicts.map((v) => [v.service, v.ok, v.optional]),
      [
        ['console', false, true],
        ['gateway', true, false],
      ],
    )
  })

  test('an interruption ends it between two looks', async () => {
    const controller = new AbortController()
    const stack = stackOf({ gateway: { about: { ...asks(1), deadline: 60_000 } } })
    const waiting = interruption.run(controller.signal, () => waitHealthy(async () => stack, ['gateway']))
    setTimeout(() => controller.abort(new Error('interrupted by SIGINT')), 300)
    await assert.rejects(waiting, /^Error: interrupted by SIGINT$/)
  })
})

describe('waitStable', () => {
  const stable = async (source: () => Stack, windowMs: number): Promise<{ ms: number; error?: string }> => {
    const began = performance.now()
    const error = await waitStable(async () => source(), Object.keys(source().about.services), windowMs).then(
      () => undefined,
      (e: Error) => e.message,
    )
    const ms = performance.now() - began
    return error === undefined ? { ms } : { ms, error }
  }

  test('takes the window, no more', async () => {
    const stack = stackOf({
      gateway: { about: asks(await up()) },
      console: { about: { optional: true }, container: undefined },
    })
    const { ms, error } = await stable(() => stack, 700)
    assert.equal(error, undefined)
    assert.ok(ms >= 700 && ms < 1_000, `${ms} ms`)
  })

  test('finds a crash at two thirds of the window, also when it is over at the next look', async () => {
    const port = await up()
    const began = performance.now()
    const stack = (): Stack =>
      stackOf({
        gateway: {
          about: asks(port),
          container: container({ StartedAt: performance.now() - began > 800 ? 'again' : 'first' }),
        },
      })
    const { ms, error } = await stable(stack, 1_200)
    assert.match(
      error ?? '',
      /^gateway did not stay healthy: after [01].\d s of 1.2 s, its container was restarted or replaced; now http.* answered 200\n {2}the last lines/,
    )
    assert.ok(ms >= 800 && ms < 1_200, `${ms} ms`)
  })

  test('finds a replacement, and an answer that turns bad', async () => {
    const port = await up()
    let looks = 0
    const replaced = (): Stack =>
      stackOf({ gateway: { about: asks(port), container: container({}, ++looks > 3 ? 'new' : 'old') } })
    assert.match((await stable(replaced, 5_000)).error ?? '', /restarted or replaced/)

    let answers = 0
    const turning = await listen(
      (_, a) => void a.end(JSON.stringify({ status: ++answers > 2 ? 'down' : 'up' })),
    )
    const { error } = await stable(() => stackOf({ gateway: { about: asks(turning) } }), 5_000)
    assert.match(error ?? '', /after [01].\d s of 5.0 s, http.*but status is 'down', expected 'up'/)
  })
})
