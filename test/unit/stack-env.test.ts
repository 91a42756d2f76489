// The stack's own .env: the rules, the example and env/compose.yml say the same; what is wrong is told all at once and
// without a secret; and what Compose makes of the example for staging and for production differs as it should.
import assert from 'node:assert/strict'
import { hashSync } from 'bcryptjs'
import { parse } from 'dotenv'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { compose } from '../../lib/docker.ts'
import { ROOT } from '../../lib/env.ts'
import { exec } from '../../lib/shell.ts'
import { problemsOf, problemsText, RULES, unknownKeys, type Against } from '../../lib/stack-env.ts'
import type { Role, Values } from '../../lib/stack-rules.ts'

const read = (name: string): string => readFileSync(join(ROOT, 'env', name), 'utf8')
const composeText = read('compose.yml')
const example = read('example.stack.env')

/** The example as that stack's file, each secret filled in with one of its own. */
function filled(role: Role): Record<string, string> {
  const production = parse(example.replaceAll(/^# production: (.*)\n\w+=.*$/gm, '$1'))
  const env = role === 'production' ? production : parse(example)
  for (const [key, value] of Object.entries(env)) {
    if (value !== '***CHANGE_ME***') continue
    const random = randomBytes(32).toString('base64')
    env[key] = key.endsWith('_USERS') ? `admin:${hashSync(random, 4)}` : random
  }
  return env
}

const staging = filled('staging')
const production = filled('production')
const keysOf = (env: Values, against: Against): string[] => problemsOf(env, against).map((p) => p.key)
const one = (key: string, value: string, role: Role = 'staging') => {
  const env = { ...(role === 'staging' ? staging : production), [key]: value }
  return problemsOf(env, { role, production }).find((p) => p.key === key)
}

describe('the rules, the example and compose.yml', () => {
  const named = [...composeText.matchAll(/\$\{(\w+)/g)].map(([, key]) => key ?? '')
  const known = Object.entries(RULES)

  test('have the same variables', () => {
    const own = known.filter(([, rule]) => !rule.byCompose).map(([key]) => key)
    assert.deepEqual([...new Set(named)].toSorted(), own.toSorted())
    assert.deepEqual(Object.keys(parse(example)), Object.keys(RULES))
  })
  test('need the same ones', () => {
    const asked = [...composeText.matchAll(/\$\{(\w+):\?\}/g)].map(([, key]) => key ?? '')
    const needed = known.filter(([, rule]) => rule.need === 'always').map(([key]) => key)
    assert.deepEqual([...new Set(asked)].toSorted(), needed.toSorted())
  })
  test('what starts MongoDB is a shell script', () => {
    assert.equal(spawnSync('sh', ['-n', join(ROOT, 'env/config/mongodb/start.sh')]).status, 0)
  })
  test('every variable of the example stands below a comment', () => {
    for (const block of example.split(/\n\n+/)) if (/^\w+=/m.test(block)) assert.match(block, /^# /)
  })
  test('what is proposed is what the example says', () => {
    for (const role of ['staging', 'production'] as const) {
      const env = role === 'staging' ? staging : production
      for (const { key, line } of problemsOf({}, { role })) {
        // A list of origins may be longer than what is needed.
        if (!line.startsWith('printf') && !key.endsWith('_ORIGINS'))
          assert.equal(parse(line)[key], env[key], key)
      }
    }
  })
})

describe('a file', () => {
  test('the example is not filled in, and nothing else', () => {
    const open = Object.entries(parse(example)).flatMap(([key, v]) => (v === '***CHANGE_ME***' ? [key] : []))
    assert.ok(open.length >= 9)
    assert.deepEqual(keysOf(parse(example), { role: 'staging' }), open)
  })
  test('filled in, it is good for both', () => {
    assert.deepEqual(problemsOf(staging, { role: 'staging', production }), [])
    assert.deepEqual(problemsOf(production, { role: 'production' }), [])
  })
  test('every proposed line makes it right', () => {
    for (const role of ['staging', 'production'] as const) {
      const env: Record<string, string> = {}
      for (const { key, line } of problemsOf(env, { role })) {
        const shell = line.replace('htpasswd -nB admin', `printf %s '${staging[key]}'`)
        const { stdout } = spawnSync('sh', [
          '-c',
          line.startsWith('printf') ? shell : 'printf %s "$1"',
          'sh',
          line,
        ])
        Object.assign(env, parse(stdout))
        assert.ok(key in env, line)
      }
      assert.deepEqual(problemsOf(env, { role }), [])
    }
  })
  test('S25: everything at once, with the line to write and no secret', () => {
    const env: Record<string, string> = {
      ...staging,
      TRAEFIK_USERS: '***CHANGE_ME***',
      ATTACHMENT_MASTER_KEY: randomBytes(31).toString('base64'),
      ATABETH_ROLE: 'user',
      JWT_SECRET: production.JWT_SECRET ?? '',
      MONGO_USERS: production.MONGO_USERS ?? '',
      SMTP_HOST: 'smtp-relay.brevo.com',
      SMTP_PASSWORD: 'xsmtpsib-0123456789',
      VAPID_PRIVATE_KEY: 'live-vapid-key',
      TWILIO_AUTH_TOKEN: 'live-twilio-token',
      FORCE_DB_RESET: 'true',
      OLD_API_TOKEN: production.ADMIN_PASSWORD ?? '',
    }
    delete env.ENCRYPTION_MASTER_KEY
    const problems = problemsOf(env, { role: 'staging', production })
    assert.deepEqual(
      problems.map(({ key, why }) => [key, why]),
      [
        ['TRAEFIK_USERS', 'is not filled in'],
        ['ENCRYPTION_MASTER_KEY', 'is missing'],
        ['ATTACHMENT_MASTER_KEY', 'must be 32 bytes in base64'],
        ['ATABETH_ROLE', 'must be USER or ADMIN or MODERATOR or BIGBOSS or AUDIT or ANALYST'],
        ['FORCE_DB_RESET', 'must be false'],
        [
          'SMTP_HOST',
          'is a way out of staging: leave it empty, or name a sink (a service of the stack, a host of .test)',
        ],
        ['SMTP_PASSWORD', 'is a way out of staging: leave it empty'],
        ['VAPID_PRIVATE_KEY', 'is a way out of staging: leave it empty'],
        ['TWILIO_AUTH_TOKEN', 'is a way out of staging: leave it empty'],
        ['MONGO_USERS', 'is a secret of production'],
        ['JWT_SECRET', 'is a secret of production'],
        ['OLD_API_TOKEN', 'is a secret of production'],
      ],
    )
    const lines = new Map(problems.map(({ key, line }) => [key, line]))
    const key32 = `printf "ENCRYPTION_MASTER_KEY='%s'\\n" "$(openssl rand -base64 32)"`
    assert.equal(lines.get('ENCRYPTION_MASTER_KEY'), key32)
    assert.equal(lines.get('ATABETH_ROLE'), "ATABETH_ROLE='USER'")
    assert.equal(lines.get('FORCE_DB_RESET'), "FORCE_DB_RESET='false'")
    assert.equal(lines.get('SMTP_HOST'), "SMTP_HOST=''")
    assert.equal(lines.get('OLD_API_TOKEN'), "OLD_API_TOKEN=''")
    assert.match(lines.get('TRAEFIK_USERS') ?? '', /htpasswd -nB admin/)
    const text = problemsText(problems)
    for (const { key, why, line } of problems) assert.ok(text.includes(`${key} ${why}\n      ${line}`))
    for (const secret of [
      env.JWT_SECRET,
      env.MONGO_USERS,
      env.SMTP_PASSWORD,
      'live-',
      env.ATTACHMENT_MASTER_KEY,
    ])
      assert.ok(secret && !text.includes(secret))
  })
  test('keys without a rule are named and not judged', () => {
    const env = { ...staging, constructor: 'x', LEGACY: '***CHANGE_ME***' }
    assert.deepEqual(unknownKeys(env), ['constructor', 'LEGACY'])
    assert.deepEqual(problemsOf(env, { role: 'staging', production }), [])
  })
  test('what would let Compose work on something else is refused in staging', () => {
    for (const key of ['COMPOSE_FILE', 'COMPOSE_ENV_FILES', 'DOCKER_HOST'])
      assert.deepEqual(keysOf({ ...staging, [key]: 'x' }, { role: 'staging' }), [key])
    assert.deepEqual(keysOf({ ...staging, COMPOSE_PROFILES: '' }, { role: 'staging' }), [])
  })
  test('a name of the project that would beat STACK_NAME is refused', () => {
    const env = { ...production, COMPOSE_PROJECT_NAME: '' }
    assert.deepEqual(keysOf(env, { role: 'production' }), ['COMPOSE_PROJECT_NAME'])
    assert.deepEqual(unknownKeys(env), [])
  })
  test('what Compose reads differently is told as well', () => {
    const misread = [{ key: 'ADMIN_PASSWORD', safe: "ADMIN_PASSWORD in line 3: … ADMIN_PASSWORD='…'" }]
    const [problem] = problemsOf(staging, { role: 'staging', production, misread })
    assert.equal(problem?.key, 'ADMIN_PASSWORD')
    assert.match(problem.line, /in line 3/)
  })
})

describe('values', () => {
  const refused: readonly [key: string, value: string, role?: Role][] = [
    ['STACK_ROLE', 'production'],
    ['STACK_ROLE', 'staging', 'production'],
    ['STACK_NAME', 'meeshy-production'],
    ['STACK_NAME', '-p$(reboot)'],
    ['NETWORK_NAME', '--help'],
    ['NETWORK_INTERNAL', 'false'],
    ['NETWORK_INTERNAL', 'true', 'production'],
    ['COMPOSE_PROFILES', 'proxy'],
    ['COMPOSE_PROFILES', 'proxy,debug', 'production'],
    ['NODE_ENV', 'staging', 'production'],
    ['NODE_ENV', 'Production'],
    ['DOMAIN', 'meeshy.me'],
    ['DOMAIN', 'staging.meeshy.me', 'production'],
    ['DOMAIN', 'meeshy.me`) || Host(`bank.example'],
    ['DOMAIN', 'localhost'],
    ['DOMAIN', 'meeshy.me.'],
    ['SITE_RULE', 'Host(`staging.meeshy.me`) || Host(`www.staging.meeshy.me`)'],
    ['SITE_RULE', 'Host(`staging.meeshy.me`) || PathPrefix(`/`)'],
    ['SITE_RULE', 'Host(`www.meeshy.me`)', 'production'],
    ['CORS_ORIGINS', 'https://staging.meeshy.me,https://meeshy.me'],
    ['CORS_ORIGINS', 'https://staging.meeshy.me,*'],
    ['CORS_ORIGINS', 'https://staging.meeshy.me, https://gate.staging.meeshy.me'],
    ['CORS_ORIGINS', 'https://meeshy.me,https://staging.meeshy.me', 'production'],
    ['PUBLIC_URL', 'http://gate.staging.meeshy.me'],
    ['PUBLIC_URL', 'https://gate.staging.meeshy.me/'],
    ['PUBLIC_URL', 'https://evil.example\\@staging.meeshy.me'],
    ['PUBLIC_URL', 'https://user:pass@staging.meeshy.me'],
    ['PUBLIC_URL', 'https://evilstaging.meeshy.me'],
    ['PUBLIC_URL', 'javascript:alert(1)'],
    ['TRAEFIK_USERS', 'admin:admin'],
    ['TRAEFIK_USERS', 'admin:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00'],
    ['TRAEFIK_USERS', `admin:$$2y$$05$$${'a'.repeat(53)}`],
    ['TRAEFIK_USERS', `admin:$2y$05$${'a'.repeat(53)},`],
    ['ENCRYPTION_MASTER_KEY', randomBytes(33).toString('base64')],
    ['ENCRYPTION_MASTER_KEY', randomBytes(32).toString('hex')],
    ['ENCRYPTION_MASTER_KEY', `${Buffer.alloc(32, 255).toString('base64url')}=`],
    ['ENCRYPTION_MASTER_KEY', `${'A'.repeat(42)}B=`],
    ['ENCRYPTION_MASTER_KEY', `${randomBytes(32).toString('base64')}\n`],
    ['ENCRYPTION_MASTER_KEY', '$(openssl rand -base64 32)'],
    ['JWT_SECRET', 'short'],
    ['JWT_SECRET', 'Change-Me-please-this-is-long-enough-to-pass'],
    ['ADMIN_PASSWORD', '<a password>'],
    ['ADMIN_PASSWORD', 'two lines\nof a password'],
    ['MONGODB_PASSWORD', 'p@ss:word/with?address#characters'],
    ['DATABASE_IMAGE', '--privileged mongo'],
    ['DATABASE_IMAGE', 'mongo:8.0@sha256:abc'],
    ['DATABASE_VOLUME', '/srv/data'],
    ['DATABASE_VOLUME', '../data'],
    ['GATEWAY_UPLOADS_VOLUME', 'meeshy_gateway_uploads'],
    ['GATEWAY_UPLOADS_VOLUME', 'meeshy_frontend_uploads'],
    ['GATEWAY_UPLOADS_VOLUME', 'meeshy_frontend_uploads', 'production'],
    ['GATEWAY_UPLOADS_EXTERNAL', 'true'],
    ['GATEWAY_UPLOADS_EXTERNAL', 'yes', 'production'],
    ['MODELS_VOLUME', 'meeshy_models_data'],
    ['DATABASE_MEMORY', '2 GB'],
    ['DATABASE_CPUS', '0'],
    ['OOM_SCORE_ADJ', '1001'],
    ['PROXY_HTTP', '[::]:80'],
    ['SMTP_HOST', 'smtp.gmail.com'],
    ['SMTP_HOST', 'mail.test.example.com'],
    ['SMTP_HOST', '10.0.0.5'],
    ['ENABLE_PUSH_NOTIFICATIONS', 'true'],
    ['FORCE_DB_RESET', 'true', 'production'],
    ['FORCE_DB_RESET', 'TRUE'],
    ['FIREBASE_CREDENTIALS', '', 'production'],
    ['FIREBASE_CREDENTIALS', './../secrets/firebase-admin-sdk.json'],
    ['CERTBOT_EMAIL', '', 'production'],
  ]
  for (const [key, value, role] of refused)
    test(`${role ?? 'staging'}: not ${key}=${JSON.stringify(value).slice(0, 60)}`, () => {
      const problem = one(key, value, role)
      assert.ok(problem)
      assert.match(problem.line, new RegExp(`^(?:printf ")?${key}='`))
      // Neither what is said nor what is proposed comes from the value.
      assert.equal(problem.line, one(key, '***', role)?.line)
      if (value.length > 12) assert.ok(!problem.why.includes(value))
    })

  const taken: readonly [key: string, value: string, role?: Role][] = [
    ['COMPOSE_PROFILES', 'proxy', 'production'],
    ['NODE_ENV', 'production'],
    ['SITE_RULE', 'Host(`meeshy.me`)', 'production'],
    ['NETWORK_NAME', 'meeshy_staging-network'],
    ['PUBLIC_URL', 'https://gate.staging.meeshy.me:8443'],
    ['TRAEFIK_USERS', `a:$2y$05$${'a'.repeat(53)},b:$2b$10$${'./Z0'.repeat(13)}a`],
    ['ADMIN_PASSWORD', `pa$$word#1 "l'été" $(id) \`id\` \\n ***`],
    ['JWT_SECRET', 'old and short', 'production'],
    ['DATABASE_IMAGE', `127.0.0.1:5050/rehearsal/mongo:8.0@sha256:${'0a'.repeat(32)}`],
    ['DATABASE_CPUS', '0.5'],
    ['PROXY_HTTP', '127.0.0.1:20001'],
    ['SMTP_HOST', 'mailpit'],
    ['SMTP_HOST', 'sink.staging.test'],
    ['SMTP_HOST', 'smtp-relay.brevo.com', 'production'],
    ['BREVO_API_KEY', 'xkeysib-live', 'production'],
    ['MONGODB_PASSWORD', ''],
  ]
  for (const [key, value, role] of taken)
    test(`${role ?? 'staging'}: ${key}=${JSON.stringify(value).slice(0, 60)}`, () => {
      assert.equal(one(key, value, role), undefined)
    })

  test('models of production are shared when they are only read', () => {
    const shared = { ...staging, MODELS_VOLUME: 'meeshy_models_data', MODELS_EXTERNAL: 'true' }
    const against = { role: 'staging', production } as const
    assert.deepEqual(keysOf(shared, against), ['MODELS_VOLUME', 'MODELS_READ_ONLY'])
    assert.equal(problemsOf(shared, against)[1]?.line, "MODELS_READ_ONLY='true'")
    assert.deepEqual(keysOf({ ...shared, MODELS_READ_ONLY: 'true' }, against), [])
  })
  test('a password of MongoDB wants its user, and must be said even when there is none', () => {
    const env: Record<string, string> = { ...staging, MONGODB_PASSWORD: randomBytes(24).toString('hex') }
    assert.deepEqual(keysOf(env, { role: 'staging', production }), ['MONGODB_USER'])
    delete env.MONGODB_PASSWORD
    assert.deepEqual(problemsOf(env, { role: 'staging', production }), [
      { key: 'MONGODB_PASSWORD', why: 'is missing', line: "MONGODB_PASSWORD=''" },
    ])
  })
  test('another domain makes other proposals', () => {
    const proposed = (env: Values, key: string, theirs: Values = { DOMAIN: 'example.org' }) =>
      problemsOf(env, { role: 'staging', production: theirs }).find((p) => p.key === key)?.line
    assert.equal(proposed({}, 'PUBLIC_URL'), "PUBLIC_URL='https://gate.staging.example.org'")
    assert.equal(proposed({ DOMAIN: 'example.org' }, 'DOMAIN'), "DOMAIN='staging.example.org'")
    assert.equal(
      proposed({ DOMAIN: 'test.example.org' }, 'SITE_RULE'),
      "SITE_RULE='Host(`test.example.org`)'",
    )
    assert.equal(
      proposed({ DOMAIN: "x'; id" }, 'PUBLIC_URL', {}),
      "PUBLIC_URL='https://gate.staging.meeshy.me'",
    )
  })
})

const withCompose = spawnSync('docker', ['compose', 'version']).status === 0
describe('what Compose makes of it', { skip: withCompose ? false : 'docker compose is not here' }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'stack-env-'))
  after(() => rmSync(dir, { recursive: true }))

  /** Every value of the resolved configuration by its path; the stack's name in a label's name stands as {STACK_NAME}. */
  async function resolved(name: string, env: Values): Promise<Map<string, string>> {
    const folder = join(dir, name)
    mkdirSync(folder)
    cpSync(join(ROOT, 'env/compose.yml'), join(folder, 'compose.yml'))
    cpSync(join(ROOT, 'env/config'), join(folder, 'config'), { recursive: true })
    const lines = Object.entries(env).map(([key, value]) => `${key}='${value}'\n`)
    writeFileSync(join(folder, '.env'), lines.join(''), { mode: 0o600 })
    const config = compose({ project: '', dir: folder, files: [] }, 'config', '--format', 'json')
    const { stdout, stderr } = await exec(config)
    assert.equal(stderr, '')
    const values = new Map<string, string>()
    const visit = (value: unknown, path: readonly string[]): void => {
      if (typeof value === 'object' && value !== null && Object.keys(value).length > 0)
        for (const [key, inner] of Object.entries(value)) visit(inner, [...path, key])
      else values.set(path.join(' '), String(value).replace(folder, '.').replaceAll('$$', '$'))
    }
    visit(JSON.parse(stdout.replaceAll(`.${env.STACK_NAME}-`, '.{STACK_NAME}-')), [])
    for (const path of values.keys()) if (path.startsWith('x-')) values.delete(path) // they were merged
    return values
  }

  const SECRETS =
    'JWT_SECRET|ENCRYPTION_MASTER_KEY|ATTACHMENT_MASTER_KEY|ADMIN_PASSWORD|MEESHY_PASSWORD|ATABETH_PASSWORD'
  const HOSTS =
    'DOMAIN|CORS_ORIGINS|ALLOWED_ORIGINS|FRONTEND_URL|PUBLIC_URL|NEXT_PUBLIC_\\w+_URL|ROOT_URL|STATIC_\\w+|\\w+_EMAIL'
  const router = 'labels traefik\\.http\\.routers\\.\\{STACK_NAME\\}-\\w+'
  /** What may differ, and must: where, and each side's values. */
  const DIFFERENCES: readonly [what: string, where: RegExp, staging: RegExp, production: RegExp][] = [
    ['project', /^(secrets mongodb-password )?name$/, /^meeshy-staging/, /^meeshy-production/],
    ['role', /^(services|networks|volumes) \S+ labels runbook\.role$/, /^staging$/, /^production$/],
    [
      'NODE_ENV',
      /^services (translator|gateway|frontend) environment NODE_ENV$/,
      /^staging$/,
      /^production$/,
    ],
    ['network', /^networks private name$/, /^meeshy-staging$/, /^meeshy-production$/],
    ['no way out', /^networks private internal$/, /^true$/, /^undefined$/],
    ['network of routes', /labels traefik\.docker\.network$/, /^meeshy-staging$/, /^meeshy-production$/],
    [
      'names in labels',
      new RegExp(`${router}\\.(service|middlewares)$`),
      /^meeshy-staging-/,
      /^meeshy-production-/,
    ],
    [
      'hosts of routes',
      new RegExp(`${router}\\.rule$`),
      /^Host\(`(\w+\.)?staging\.meeshy\.me`\)$/,
      /^Host\(`(\w+\.)?meeshy\.me`\)( \|\| Host\(`www\.meeshy\.me`\))?$/,
    ],
    [
      'hosts, origins, addresses',
      new RegExp(`^services \\S+ environment (${HOSTS})$`),
      /staging\.meeshy\.me/,
      /^(?!.*staging).*meeshy\.me/,
    ],
    [
      'new volumes',
      /^volumes (database_data|database_config|redis_data) name$/,
      /^meeshy-staging-[a-z-]+$/,
      /^meeshy-production-[a-z-]+$/,
    ],
    [
      'volumes taken over',
      /^volumes (redis-ui-data|models_data|gateway_uploads|frontend_uploads) name$/,
      /^meeshy-staging-[a-z-]+$/,
      /^meeshy_[\w-]+$/,
    ],
    [
      'external',
      /^volumes (redis-ui-data|models_data|gateway_uploads|frontend_uploads) external$/,
      /^undefined$/,
      /^true$/,
    ],
    ['push', /^services gateway environment ENABLE_(PUSH_NOTIFICATIONS|FCM_PUSH)$/, /^false$/, /^true$/],
    [
      'Firebase',
      /^services gateway environment FIREBASE_\w+$/,
      /^$/,
      /^\/app\/secrets\/firebase-admin-sdk\.json$/,
    ],
    [
      'its file',
      /^services gateway volumes 1 source$/,
      /^\.\/config\/gateway\/no-firebase\.json$/,
      /^\.\/secrets\/firebase-admin-sdk\.json$/,
    ],
    ['models by download', /^services translator environment HF_HUB_OFFLINE$/, /^1$/, /^0$/],
    ['share of processors', /^services \S+ cpu_shares$/, /^256$/, /^1024$/],
    ['who ends first without memory', /^services \S+ oom_score_adj$/, /^500$/, /^(0|undefined)$/],
    ['secrets', new RegExp(`^services gateway environment (${SECRETS})$`), /^\S{44}$/, /^\S{44}$/],
    [
      'users of pages',
      /labels traefik\.http\.middlewares\.\{STACK_NAME\}-\w+-auth\.basicauth\.users$/,
      /:\$2/,
      /:\$2/,
    ],
  ]

  const differing = (a: Map<string, string>, b: Map<string, string>) =>
    [...new Set([...a.keys(), ...b.keys()])].flatMap((path) => {
      const [was, will] = [String(a.get(path)), String(b.get(path))]
      return was === will ? [] : [{ path, was, will }]
    })

  test('the README has exactly this table', () => {
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
    const [, table = ''] = readme.split('| what | staging | production |\n|---|---|---|\n')
    const rows = (table.split('\n\n')[0] ?? '').split('\n').map((row) => row.split('|')[1]?.trim())
    assert.deepEqual(
      rows,
      DIFFERENCES.map(([what]) => what),
    )
  })

  test('staging and production differ in exactly this', async () => {
    const [a, b] = [await resolved('a', staging), await resolved('b', production)]
    const seen = new Set<string>()
    for (const { path, was, will } of differing(a, b)) {
      const row = DIFFERENCES.find(([, where]) => where.test(path))
      assert.ok(row, `${path}: '${was}' and '${will}'`)
      const [what, , inStaging, inProduction] = row
      assert.match(was, inStaging, path)
      assert.match(will, inProduction, path)
      seen.add(what)
    }
    assert.deepEqual([...seen].toSorted(), DIFFERENCES.map(([what]) => what).toSorted())

    for (const [path, value] of b) assert.doesNotMatch(`${path} ${value}`, /staging/)
    for (const [path, value] of a) assert.doesNotMatch(value, /(?<!staging\.)meeshy\.me/, path)
    for (const all of [a, b]) {
      const paths = [...all.keys()]
      assert.ok(!paths.some((p) => / (ports|container_name) ?/.test(p)))
      const users = all.get(
        'services nosqlclient labels traefik.http.middlewares.{STACK_NAME}-mongo-auth.basicauth.users',
      )
      assert.equal(users, (all === a ? staging : production).MONGO_USERS)
    }
  })
  test('everything is labelled, limited, watched, on the private network alone', async () => {
    const all = await resolved('g', { ...staging, COMPOSE_PROFILES: 'proxy' })
    const under = (start: string): string[] =>
      [...all.keys()].flatMap((path) =>
        path.startsWith(`${start} `) ? [path.split(' ')[start.split(' ').length] ?? ''] : [],
      )
    const services = [...new Set(under('services'))]
    assert.equal(services.length, 9)
    for (const name of services) {
      const of = (path: string): string => all.get(`services ${name} ${path}`) ?? ''
      assert.equal(of('labels runbook.role'), 'staging', name)
      assert.equal(of('restart'), 'unless-stopped', name)
      assert.deepEqual(under(`services ${name} networks`), ['private'])
      for (const path of ['mem_limit', 'cpus', 'healthcheck start_period', 'stop_grace_period'])
        assert.ok(of(path), name)
      assert.match(of('healthcheck start_interval'), /^\d+ms$/, name)
    }
    assert.equal(all.get('services database stop_grace_period'), '2m0s')
    assert.equal(all.get('networks private labels runbook.role'), 'staging')
    for (const name of ['database_data', 'database_config', 'redis_data'])
      assert.equal(all.get(`volumes ${name} labels runbook.role`), 'staging')

    const label = 'labels traefik.http.'
    const rules = [...all].filter(([path]) => path.includes(`${label}routers.`) && path.endsWith('.rule'))
    assert.equal(rules.length, 7)
    for (const [path, rule] of rules) {
      const router = path.slice(0, -'.rule'.length)
      assert.match(router, /routers\.\{STACK_NAME\}-\w+$/)
      const admin = /^Host\(`(mongo|redis|traefik)\./.test(rule)
      const guard = all.get(`${router}.middlewares`)?.replace('meeshy-staging-', '{STACK_NAME}-')
      assert.equal(guard !== undefined, admin, path)
      const users = `${router.split(' ').slice(0, 2).join(' ')} ${label}middlewares.${guard}.basicauth.users`
      if (admin) assert.match(all.get(users) ?? '', /^admin:\$2/)
    }
  })
  test('the profile adds the proxy and its certificates', async () => {
    const [before, after_] = [
      await resolved('c', production),
      await resolved('d', { ...production, COMPOSE_PROFILES: 'proxy' }),
    ]
    const added = differing(before, after_)
    assert.ok(added.length > 0)
    for (const { path, was } of added) {
      assert.match(path, /^(services traefik|volumes traefik_certs) /)
      assert.equal(was, 'undefined')
    }
    assert.equal(after_.get('volumes traefik_certs name'), 'meeshy_traefik_certs')
    assert.equal(after_.get('volumes traefik_certs external'), 'true')
    assert.equal(after_.get('services traefik ports 1 published'), '443')
  })
  test('a password of MongoDB stands in the addresses and in no argument', async () => {
    const secret = randomBytes(24).toString('hex')
    const all = await resolved('e', { ...staging, MONGODB_USER: 'meeshy', MONGODB_PASSWORD: secret })
    const holders = [...all].filter(([, value]) => value.includes(secret)).map(([path]) => path)
    assert.deepEqual(holders.toSorted(), [
      'services gateway environment DATABASE_URL',
      'services nosqlclient environment MONGOCLIENT_DEFAULT_CONNECTION_URL',
      'services translator environment DATABASE_URL',
    ])
    const address = `mongodb://meeshy:${secret}@database:27017/meeshy?replicaSet=rs0&directConnection=true&authSource=admin`
    assert.equal(all.get('services gateway environment DATABASE_URL'), address)
    assert.equal(all.get('secrets mongodb-password environment'), 'MONGODB_PASSWORD')
  })
  test('models are shared read-only', async () => {
    const all = await resolved('f', {
      ...staging,
      MODELS_VOLUME: 'meeshy_models_data',
      MODELS_EXTERNAL: 'true',
      MODELS_READ_ONLY: 'true',
    })
    assert.equal(all.get('services translator volumes 0 read_only'), 'true')
    assert.equal(all.get('volumes models_data external'), 'true')
  })
})
