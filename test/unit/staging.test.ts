// What a deploy of staging decides, without Docker: its settings, its way through the proxy, what is in the way.
import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { chmodSync, writeFileSync } from 'node:fs'
import { after, describe, test } from 'node:test'
import { parse } from 'dotenv'
import { Stop } from '../../lib/errors.ts'
import { interruption } from '../../lib/shell.ts'
import { addressesOf, askAll, type Address } from '../../lib/staging/addresses.ts'
import { exposureProblems, modelsProblems, proxyProblems } from '../../lib/staging/checks.ts'
import {
  begin,
  configOf,
  modelsPlace,
  networkOf,
  ownModels,
  projectOf,
  type Course,
} from '../../lib/staging/course.ts'
import { isJoined, proxyOf } from '../../lib/staging/join.ts'
import { noteStaging } from '../../lib/staging/record.ts'
import { labelsOf, rulesOf, seenBy } from '../../lib/staging/routes.ts'
import { modelsValues, withValues } from '../../lib/staging/source.ts'
import type { Stack } from '../../lib/stack.ts'
import {
  about,
  config,
  container,
  context,
  course,
  folder,
  MODELS,
  mount,
  resolved,
  service,
  stack,
  withModels,
} from './staging-fixture.ts'

describe('settings in which keys get other values', () => {
  for (const [what, text, becomes] of [
    ['a value: what stood there is a comment', "A='1'\nB='2'\n", "# A='1'\nA='new'\nB='2'\n"],
    ['one that is the same already stays', "A='new'\nB='2'\n", "A='new'\nB='2'\n"],
    ['a key that is not there comes last', "B='2'", "B='2'\nA='new'"],
    ['nothing at all', '', "\nA='new'"],
    ['export', 'export A=1\n', "# export A=1\nA='new'\n"],
    ['export with a tab, indented', '\texport\tA=1\n', "# \texport\tA=1\nA='new'\n"],
    ['written twice: the last one, which counts', 'A=1\nB=2\nA=3\n', "A=1\nB=2\n# A=3\nA='new'\n"],
    ['a comment is none', "#A='1'\n# A='1'\n", "#A='1'\n# A='1'\n\nA='new'"],
    [
      'names that only begin or end so',
      'A_A=1\nAA=2\nB_A=3\nexportA=4\nB=A=5\n',
      "A_A=1\nAA=2\nB_A=3\nexportA=4\nB=A=5\n\nA='new'",
    ],
    ['line ends of Windows', 'A=1\r\nB=2\r\n', "# A=1\r\nA='new'\nB=2\r\n"],
    ['no value', 'A=\nB=2', "# A=\nA='new'\nB=2"],
  ] as const)
    test(what, () => {
      const changed = withValues(text, { A: 'new' })
      assert.equal(changed, becomes)
      assert.equal(withValues(changed, { A: 'new' }), changed)
      assert.deepEqual(parse(changed), { ...parse(text), A: 'new' })
    })

  test('several keys at once; none changes nothing', () => {
    const text = "A=1\nB=2\nC='3'\n"
    assert.equal(withValues(text, { B: 'b', A: 'a', D: 'd' }), "# A=1\nA='a'\n# B=2\nB='b'\nC='3'\n\nD='d'")
    assert.equal(withValues(text, {}), text)
  })

  for (const value of [
    '$(touch x) `id`',
    '${B} $B $$ $& $1',
    '"',
    'a#b # c',
    ' spaces ',
    '\\n\\',
    'two\nB=lines',
    '',
    'n@sha256:1',
  ])
    test(`as data: ${JSON.stringify(value)}`, () => {
      const text = 'B=\'$(id)\'\nA="$(old) ${B}"\nC=3\n'
      assert.deepEqual(parse(withValues(text, { A: value })), { B: '$(id)', A: value, C: '3' })
    })
})

describe('the models in the settings', () => {
  const shared = { MODELS_EXTERNAL: 'true', MODELS_READ_ONLY: 'true' }
  const own = { MODELS_EXTERNAL: 'false', MODELS_READ_ONLY: 'false' }

  test("are production's for reading alone, or staging's own", () => {
    assert.deepEqual(modelsValues('share', 'own', 'theirs'), { MODELS_VOLUME: 'theirs', ...shared })
    assert.deepEqual(modelsValues('share', 'own', undefined), { MODELS_VOLUME: '', ...shared })
    for (const mode of ['copy', 'none'] as const)
      assert.deepEqual(modelsValues(mode, 'own', 'theirs'), { MODELS_VOLUME: 'own', ...own })
  })

  const dir = folder()
  const COPY = "STACK_NAME='meeshy-staging'\nMODELS_VOLUME='own'\nMODELS_EXTERNAL=false\n"
  const SHARE =
    "STACK_NAME='meeshy-staging'\nMODELS_VOLUME='theirs'\nMODELS_EXTERNAL='true'\nMODELS_READ_ONLY='true'\n"
  /** A deploy with these flags and settings. */
  const begun = (
    models: string | boolean | undefined,
    text: string,
    production: Partial<Stack> = withModels(MODELS),
  ): Course => {
    const file = join(dir, 'staging.env')
    writeFileSync(file, text)
    chmodSync(file, 0o600)
    const its = config({ STAGING_ENV_FILE: file, STATE_DIR: dir })
    return begin(context(its, stack({ config: its, ...production }), models === undefined ? {} : { models }))
  }

  test('nothing said: as the settings say, and they stay as they are', () => {
    for (const [text, models, production] of [
      [COPY, 'copy', undefined],
      [SHARE, 'share', undefined],
      ['', 'copy', undefined],
      [COPY, 'none', { about: about({ models: undefined as never }) }],
    ] as const) {
      const it = begun(undefined, text, production)
      assert.equal(it.models, models)
      assert.deepEqual(it.changes, {})
      assert.deepEqual(it.env, { text, values: parse(text) })
    }
  })

  test('--models share', () => {
    const it = begun('share', COPY)
    const values = { MODELS_VOLUME: 'meeshy_models_data', ...shared }
    assert.equal(it.models, 'share')
    assert.deepEqual(it.changes, values)
    assert.deepEqual(it.env.values, { STACK_NAME: 'meeshy-staging', ...values })
    assert.deepEqual(parse(it.env.text), it.env.values)
    assert.match(it.env.text, /^# MODELS_EXTERNAL=false\nMODELS_EXTERNAL='true'$/m)
    assert.deepEqual([it.settings.text, it.settings.values], [COPY, parse(COPY)])
  })

  test("--models share, where production's are in no volume of their own: no volume is named", () => {
    for (const production of [
      withModels(mount('bind', '/srv/models', '/workspace/models')),
      withModels(mount('volume', 'everything', '/workspace')),
      { services: [] },
    ])
      assert.equal(begun('share', COPY, production).env.values.MODELS_VOLUME, '')
  })

  for (const models of ['copy', 'none'])
    test(`--models ${models}: staging's own, also where the settings share production's`, () => {
      const it = begun(models, COPY)
      assert.equal(it.models, models)
      assert.deepEqual(parse(it.env.text), {
        STACK_NAME: 'meeshy-staging',
        MODELS_VOLUME: 'own',
        ...own,
      })
      const was = begun(models, SHARE)
      assert.deepEqual(was.env.values, {
        STACK_NAME: 'meeshy-staging',
        MODELS_VOLUME: 'meeshy-staging-models-data',
        ...own,
      })
      assert.deepEqual(parse(was.env.text), was.env.values)
      assert.deepEqual(ownModels(was), {
        type: 'volume',
        source: 'meeshy-staging-models-data',
        folder: '.',
      })
    })

  for (const models of ['', 'Copy', 'copy,share', 'toString', true])
    test(`--models ${JSON.stringify(models)} is no mode`, () =>
      assert.throws(
        () => begun(models, COPY),
        (error) =>
          error instanceof Stop &&
          error.code === 2 &&
          error.message === '--models is one of copy, share, none. Nothing was changed.',
      ))

  test('a deploy that was killed before: what it noted is what is brought back', () => {
    assert.equal(begun(undefined, COPY).before, undefined)
    const before = {
      folder: true,
      files: [],
      volumes: [],
      network: true,
      joined: false,
      containers: true,
      ran: ['redis'],
    }
    noteStaging({ STATE_DIR: dir }, { dir, project: 'p', network: 'n', files: {}, joined: true, before })
    assert.deepEqual(begun(undefined, COPY).before, before)
  })

  test('where production has them: in its volume, in a folder of one, on the server', () => {
    const place = (...mounts: Parameters<typeof withModels>): object =>
      modelsPlace(stack(withModels(...mounts)))
    assert.deepEqual(place(MODELS), { type: 'volume', source: 'meeshy_models_data', folder: '.' })
    assert.deepEqual(place(mount('volume', 'all', '/workspace'), mount('volume', 'x', '/workspace/mod')), {
      type: 'volume',
      source: 'all',
      folder: 'models',
    })
    assert.deepEqual(place(mount('bind', '/srv/m', '/workspace/models')), {
      type: 'bind',
      source: '/srv/m',
      folder: '.',
    })
    assert.throws(() => place(mount('volume', 'x', '/elsewhere')), /translator keeps its data at/)
    assert.throws(
      () => modelsPlace(stack({ about: about({ models: undefined as never }) })),
      (error) => error instanceof Stop && error.code === 2 && error.message.includes('/e/stack.ts'),
    )
  })

  test('that cannot be shared are refused; those that are copied, or none, need no volume of their own', () => {
    const problems = (models: Course['models'], name: string, production: Partial<Stack>): string[] =>
      modelsProblems(course({ MODELS_VOLUME: name }, { models, production: stack(production) }))
    const inVolume = withModels(MODELS)
    const inFolder = withModels(mount('volume', 'meeshy_models_data', '/workspace'))
    const onServer = withModels(mount('bind', '/srv/m', '/workspace/models'))
    assert.deepEqual(problems('share', 'meeshy_models_data', inVolume), [])
    assert.deepEqual(problems('share', 'meeshy_models', inVolume), [
      'MODELS_VOLUME is not the volume that production mounts (meeshy_models_data).',
    ])
    for (const production of [inFolder, onServer]) {
      const [problem = '', ...more] = problems('share', 'meeshy_models_data', production)
      assert.match(problem, /: --models copy\.$/)
      assert.deepEqual(more, [])
      assert.deepEqual(problems('copy', 'own', production), [])
    }
    assert.deepEqual(problems('none', 'own', withModels()), [])
  })
})

describe('what staging is called', () => {
  const values = { STACK_NAME: 'meeshy-staging', NETWORK_NAME: 'inside', MONGODB_USER: 'app' }

  test('its project, its folder, its network', () => {
    const it = course(values)
    assert.deepEqual(projectOf(it), {
      project: 'meeshy-staging',
      dir: '/opt/meeshy/staging',
      files: ['/opt/meeshy/staging/compose.yml'],
    })
    assert.equal(networkOf(it), 'inside')
  })

  test("its tool's settings: nothing of production's but the way to the proxy", () => {
    const its = config({ PROXY_ADDRESS: 'http://127.0.0.1:1', STATE_DIR: '/s' })
    const open = configOf(its, values)
    assert.deepEqual(
      [open.STACK_ID, open.STACK_DIR, open.STATE_DIR, open.PROXY_ADDRESS],
      ['meeshy-staging', '/opt/meeshy/staging', '/s/staging', 'http://127.0.0.1:1'],
    )
    assert.deepEqual([open.MONGODB_USER, open.MONGODB_PASSWORD, open.REDIS_PASSWORD], ['', '', ''])
    const closed = configOf(its, { ...values, MONGODB_PASSWORD: 'secret' })
    assert.deepEqual([closed.MONGODB_USER, closed.MONGODB_PASSWORD], ['app', 'secret'])
  })
})

describe('what labels ask of the proxy', () => {
  test('labels as Compose resolves them, every $ once', () => {
    assert.deepEqual(labelsOf({}), {})
    assert.deepEqual(labelsOf({ labels: null }), {})
    assert.deepEqual(labelsOf({ labels: { users: 'a:$$2y$$05$$x,b:$$$$', other: 'x' } }), {
      users: 'a:$2y$05$x,b:$$',
      other: 'x',
    })
  })

  test('routers, their hosts in small letters, their service, a password', () => {
    const labels = {
      'traefik.enable': 'true',
      'traefik.http.routers.site.rule': 'Host(`Staging.Example.org`) || (Host(`b.test`) && Path(`/x`))',
      'traefik.http.routers.site.entrypoints': 'websecure',
      'traefik.http.routers.site.service': 'web',
      'traefik.http.routers.page.rule': 'Host(`traefik.test`)',
      'traefik.http.routers.page.service': 'api@internal',
      'traefik.http.routers.page.middlewares': 'headers,auth',
      'traefik.http.middlewares.auth.basicauth.users': 'a:$2y$05$x',
      'traefik.http.routers.plain.rule': 'PathPrefix(`/`)',
      'traefik.http.routers.plain.middlewares': 'headers,auth2',
      'traefik.http.services.web.loadbalancer.server.port': '80',
      'traefik.tcp.routers.tcp.rule': 'HostSNI(`tcp.test`)',
      'x.traefik.http.routers.not.rule': 'Host(`not.test`)',
    }
    assert.deepEqual(rulesOf(labels), [
      {
        router: 'site',
        hosts: ['staging.example.org', 'b.test'],
        middlewares: [],
        guarded: false,
        leadsTo: 'web',
      },
      {
        router: 'page',
        hosts: ['traefik.test'],
        middlewares: ['headers', 'auth'],
        guarded: true,
        leadsTo: 'api@internal',
      },
      { router: 'plain', hosts: [], middlewares: ['headers', 'auth2'], guarded: false, leadsTo: '' },
    ])
    assert.deepEqual(rulesOf({}), [])
  })

  test('the proxy sees what fits one of its constraints', () => {
    const one = seenBy(['traefik', '--Providers.Docker.Constraints=Label(`stack`,`prod`)'])
    assert.deepEqual([{ stack: 'prod' }, { stack: 'other' }, {}].map(one), [true, false, false])
    const two = seenBy(['--providers.docker.constraints=Label(`a.b`, `1`) || Label(`c`, ``)'])
    assert.deepEqual([{ 'a.b': '1' }, { c: '' }, { 'a.b': '' }, { c: '1' }].map(two), [
      true,
      true,
      false,
      false,
    ])
  })

  for (const words of [
    [],
    ['--providers.docker=true'],
    ['--providers.docker.constraints='],
    ['--providers.docker.constraints=Label(`a`,`b`) && Label(`c`,`d`)'],
    ['--providers.docker.constraints=Label(`a`,`b`) || !Label(`c`,`d`)'],
    ['--providers.docker.constraints=LabelRegex(`a`,`b.*`)'],
  ])
    test(`it sees everything, as far as can be told: ${words[0] ?? 'nothing said'}`, () =>
      assert.ok(seenBy(words)({ other: 'x' })))
})

describe("staging's addresses", () => {
  const labels = (name: string, rule: string, more: Readonly<Record<string, string>> = {}) => ({
    labels: {
      [`traefik.http.routers.${name}.rule`]: rule,
      [`traefik.http.routers.${name}.service`]: name,
      ...more,
    },
  })
  const services = {
    redis: { labels: { 'runbook.role': 'staging' } },
    gateway: labels('gateway', 'Host(`gate.test`)'),
    frontend: labels('frontend', 'Host(`test`) || Host(`www.test`)'),
    nosqlclient: labels('mongo', 'Host(`mongo.test`)', {
      'traefik.http.routers.mongo.middlewares': 'mongo-auth',
      'traefik.http.middlewares.mongo-auth.basicauth.users': 'admin:$$2y$$05$$x',
    }),
    traefik: labels('page', 'Host(`traefik.test`)', {
      'traefik.http.routers.page.service': 'api@internal',
    }),
  }
  const health = { port: 1, path: '/health', json: { status: ['up'] } }
  const its = about({
    services: {
      gateway: { deadline: 1, health },
      frontend: { deadline: 1, health: { port: 1, path: '/api' } },
      nosqlclient: { deadline: 1, health },
      traefik: { deadline: 1, health },
    },
  })
  const made = (PROXY_ADDRESS = ''): Address[] =>
    addressesOf(stack({ about: its, resolved: resolved(services), config: config({ PROXY_ADDRESS }) }))

  test('every host of every router, with the answer that it must give', () => {
    assert.deepEqual(made(), [
      { service: 'gateway', guarded: false, url: 'https://gate.test/health', json: { status: ['up'] } },
      { service: 'frontend', guarded: false, url: 'https://test/api' },
      { service: 'frontend', guarded: false, url: 'https://www.test/api' },
      { service: 'nosqlclient', guarded: true, url: 'https://mongo.test/', status: 401 },
      { service: 'traefik', guarded: false, url: 'https://traefik.test/' },
    ])
  })

  test('through the proxy where its address is said', () => {
    const via = 'http://127.0.0.1:8080'
    assert.deepEqual(
      made(via),
      made().map((a) => ({ ...a, via })),
    )
  })

  const open: ReturnType<typeof createServer>[] = []
  after(() => {
    for (const server of open) {
      server.close()
      server.closeAllConnections()
    }
  })
  /** The addresses, at a proxy that answers like this. */
  async function through(answer: RequestListener): Promise<Address[]> {
    const server = createServer(answer)
    open.push(server)
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
    return made(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  }
  const asIs: RequestListener = ({ url, headers: { host, authorization } }, answer) => {
    const guarded = host === 'mongo.test' && authorization === undefined
    const known = ['gate.test/health', 'test/api', 'www.test/api', 'traefik.test/', 'mongo.test/']
    answer.statusCode = guarded ? 401 : known.includes(`${host}${url}`) ? 200 : 404
    answer.end(host === 'gate.test' ? '{"status":"up"}' : 'page')
  }

  test('all good: asked once each, by their names, and not waited for', async () => {
    const asked: string[] = []
    const addresses = await through((request, answer) => {
      asked.push(`${request.headers.host}${request.url}`)
      asIs(request, answer)
    })
    const began = performance.now()
    const answers = await askAll(addresses, 60_000)
    assert.ok(performance.now() - began < 10_000)
    assert.deepEqual(
      answers.map((a) => [a.address, a.ok, a.evidence]),
      addresses.map((a) => [a, true, `answered ${a.guarded ? 401 : 200}`]),
    )
    assert.deepEqual(
      asked.toSorted(),
      ['gate.test/health', 'mongo.test/', 'test/api', 'traefik.test/', 'www.test/api'].toSorted(),
    )
  })

  test('one that becomes good later is waited for', async () => {
    let left = 2
    const addresses = await through((request, answer) => {
      if (request.headers.host !== 'www.test' || left-- <= 0) return asIs(request, answer)
      answer.statusCode = 404
      answer.end()
    })
    const answers = await askAll(addresses, 60_000)
    assert.ok(answers.every((a) => a.ok))
    assert.equal(left, -1)
  })

  test('at the deadline: what is not as it must be, and what it answered', async () => {
    const addresses = await through((request, answer) => {
      const { host } = request.headers
      if (host === 'mongo.test') return answer.end('come in')
      if (host === 'gate.test') return answer.end('{"status":"down"}')
      if (host === 'test') return request.socket.destroy()
      asIs(request, answer)
    })
    const began = performance.now()
    const answers = await askAll(addresses, 600)
    assert.ok(performance.now() - began >= 600)
    assert.deepEqual(
      answers.map(({ address: { url }, ok, evidence }) => [url, ok, evidence.replace(/: .*/, '')]),
      [
        ['https://gate.test/health', false, "answered 200, but status is 'down', expected 'up'"],
        ['https://test/api', false, 'no answer'],
        ['https://www.test/api', true, 'answered 200'],
        ['https://mongo.test/', false, 'answered 200, expected 401'],
        ['https://traefik.test/', true, 'answered 200'],
      ],
    )
  })

  test('a deadline that is over: asked once all the same', async () => {
    let asked = 0
    const [one, ...others] = await through((_, answer) => {
      asked++
      answer.statusCode = 503
      answer.end()
    })
    assert.ok(one && others.length > 0)
    const answers = await askAll([one], -1)
    assert.deepEqual([answers[0]?.ok, answers.length, asked], [false, 1, 1])
    assert.deepEqual(await askAll([], 60_000), [])
  })

  test('an interruption ends it', async () => {
    const ending = new AbortController()
    const addresses = await through((_, answer) => {
      ending.abort(new Error('interrupted by a person'))
      answer.statusCode = 503
      answer.end()
    })
    await interruption.run(ending.signal, () =>
      assert.rejects(askAll(addresses, 60_000), /interrupted by a person/),
    )
  })
})

describe("production's proxy", () => {
  const WORDS = [
    '--entrypoints.web.address=:80',
    '--entrypoints.websecure.address=:443',
    '--entryPoints.websecure.http.tls=true',
    '--certificatesresolvers.letsencrypt.acme.email=a@b.test',
  ]
  const production = (its?: ReturnType<typeof container>): Stack =>
    stack({ services: [service('redis', container({ Name: '/r' })), service('traefik', its)] })
  const asked = (args: readonly string[], values: Readonly<Record<string, string>> = {}) => {
    const said: string[] = []
    const its = production(container({ Args: args }))
    return { problems: proxyProblems(its, values, { say: (text) => said.push(text) }), said }
  }

  test('is the container of the service that the description names', () => {
    const its = container({ Name: '/t' })
    assert.equal(proxyOf(production(its)), its)
    assert.equal(proxyOf(production()), undefined)
    assert.equal(proxyOf(stack({ services: [service('redis', container())] })), undefined)
  })

  test('is in a network or not, whatever the network is called', () => {
    const its = container({ networks: ['meeshy', 'other'], running: false })
    assert.deepEqual(
      ['meeshy', 'other', 'meesh', '', 'constructor', '__proto__'].map((n) => isJoined(its, n)),
      [true, true, false, false, false, false],
    )
  })

  test('has what the labels name, as said or by default', () => {
    const none = { problems: [], said: [] }
    assert.deepEqual(asked(WORDS), none)
    assert.deepEqual(asked(WORDS, { PROXY_ENTRYPOINT: '', CERT_RESOLVER: '' }), none)
    assert.deepEqual(asked(WORDS, { PROXY_ENTRYPOINT: 'web', CERT_RESOLVER: 'letsencrypt' }), none)
  })

  test('has others: each named once', () => {
    assert.deepEqual(asked(WORDS, { PROXY_ENTRYPOINT: 'websec', CERT_RESOLVER: 'le' }), {
      problems: [
        "PROXY_ENTRYPOINT is 'websec', but the proxy has web, websecure.",
        "CERT_RESOLVER is 'le', but the proxy has letsencrypt.",
      ],
      said: [],
    })
  })

  test('says nothing of them: skipped, and told so', () => {
    for (const args of [[], ['entrypoints.x.address=:1', '--log.level=INFO', 'sh', '-c']]) {
      const { problems, said } = asked(args)
      assert.deepEqual(problems, [])
      assert.equal(said.length, 2)
      assert.match(said[0] ?? '', /PROXY_ENTRYPOINT 'websecure' was skipped, because/)
      assert.match(said[1] ?? '', /CERT_RESOLVER 'letsencrypt' was skipped, because/)
    }
  })

  test('does not run, or is not there', () => {
    for (const its of [container({ Args: WORDS, running: false }), undefined]) {
      const found = proxyProblems(production(its), {}, { say: assert.fail })
      assert.deepEqual(found, [
        "Production's proxy (service 'traefik') does not run: staging is reached through it.",
      ])
    }
  })
})

test('nothing of staging is published, and its networks have no way out', () => {
  const inside = { default: { name: 'inside', internal: true } }
  assert.deepEqual(
    exposureProblems(resolved({ redis: { ports: [] }, gateway: {} }, { networks: inside })),
    [],
  )
  assert.deepEqual(
    exposureProblems(
      resolved(
        { redis: { ports: [{ target: 6379 }] }, gateway: {}, web: { ports: ['80'] } },
        { networks: { ...inside, more: { name: 'open' }, said: { name: 'said', internal: false } } },
      ),
    ),
    [
      'redis would publish a port of this server: nothing of staging does.',
      'web would publish a port of this server: nothing of staging does.',
      'The network open would have a way out.',
      'The network said would have a way out.',
    ],
  )
})
