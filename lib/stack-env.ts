// The stack's own .env as data: one rule for every variable of env/compose.yml, and everything that is wrong with such
// a file at once, each with the line to write. No text holds a secret of the file.
import { SHORTEST, secretsOf } from './redact.ts'
import * as is from './stack-rules.ts'
import { valueOf, type Check, type Context, type Role, type Values } from './stack-rules.ts'
import type { Misread } from './update/environment.ts'

/** What is wrong with a variable, and the line to write into the file; of a secret, a command that prints that line. */
export interface Problem {
  readonly key: string
  readonly why: string
  readonly line: string
}

export interface Rule {
  /** When it must be there and not be empty. */
  readonly need?: 'always' | ((context: Context) => boolean)
  /** Asked of a value that is not empty. */
  readonly check?: Check
  /** A way out: empty in staging. */
  readonly out?: true
  /** Staging's must be another one than production's. (Secrets are compared in any case.) */
  readonly own?: true
  /** What to propose: a value (nothing, when it is left out), */
  readonly value?: string | ((context: Context) => string)
  /** or a shell command that prints one; with a value besides, that is for a key that is not there at all. */
  readonly command?: string
  /** Compose reads it itself: compose.yml does not name it. */
  readonly byCompose?: true
}

const by =
  (staging: string, production: string) =>
  ({ role }: Context): string =>
    role === 'staging' ? staging : production
const inProduction = ({ role }: Context): boolean => role === 'production'

/** The site's host: DOMAIN where it is a good one; otherwise one to propose. */
const site = (context: Context): string => {
  const { role, env, production } = context
  const said = valueOf(env, 'DOMAIN')
  const theirs = role === 'staging' ? valueOf(production, 'DOMAIN') : ''
  if (is.domain(said, context) === undefined && said !== theirs) return said
  return is.isHost(theirs) ? `staging.${theirs}` : by('staging.meeshy.me', 'meeshy.me')(context)
}
const at = (before: string) => (context: Context) => `https://${before}${site(context)}`

const must = (check: Check, rest: Omit<Rule, 'need' | 'check'> = {}): Rule => ({
  need: 'always',
  check,
  ...rest,
})
const may = (check: Check, value = ''): Rule => ({ check, value })
const text: Rule = {}
const out: Rule = { out: true }

const fixed = (staging: string, production: string): Rule =>
  must(is.byRole(is.oneOf(staging), is.oneOf(production)), { value: by(staging, production) })
const users = must(is.htpasswd, { command: 'htpasswd -nB admin' })
const image = (value: string): Rule => must(is.image, { value })
const volume = (staging: string, production: string): Rule =>
  must(is.volume, { value: by(staging, production) })
const takenOver = must(is.byRole(is.oneOf('false'), is.boolean), { value: by('false', 'true') })
const masterKey = must(is.key32, { command: 'openssl rand -base64 32' })
const password = must(is.longInStaging(12), { command: 'openssl rand -base64 24' })
const account = (user: string): Rule => must(is.email, { value: (c) => `${user}@${site(c)}` })
const push: Rule = may(is.byRole(is.oneOf('false'), is.boolean), 'false')

/** Every variable, in the order of env/example.stack.env, which says what each is. */
export const RULES: Readonly<Record<string, Rule>> = {
  STACK_ROLE: fixed('staging', 'production'),
  STACK_NAME: must(is.projectName, { own: true, value: by('meeshy-staging', 'meeshy-production') }),
  DOMAIN: must(is.domain, { own: true, value: site }),
  SITE_RULE: must(is.siteRule, {
    value: (c) =>
      [site(c), ...(inProduction(c) ? [`www.${site(c)}`] : [])].map((h) => `Host(\`${h}\`)`).join(' || '),
  }),
  NODE_ENV: must(is.byRole(is.oneOf('staging', 'production'), is.oneOf('production')), {
    value: by('staging', 'production'),
  }),
  NETWORK_NAME: must(is.objectName, { own: true, value: by('meeshy-staging', 'meeshy-production') }),
  NETWORK_INTERNAL: fixed('true', 'false'),
  COMPOSE_PROFILES: {
    check: is.byRole(() => "must be empty: the host's proxy routes to staging", is.oneOf('proxy')),
    byCompose: true,
  },
  CPU_SHARES: may(is.number, '1024'),
  OOM_SCORE_ADJ: may(is.score, '0'),

  PROXY_ENTRYPOINT: may(is.name, 'websecure'),
  CERT_RESOLVER: may(is.name, 'letsencrypt'),
  CERTBOT_EMAIL: { need: inProduction, check: is.email, value: (c) => `admin@${site(c)}` },
  PROXY_HTTP: may(is.published, '80'),
  PROXY_HTTPS: may(is.published, '443'),
  DOCKER_SOCKET: may(is.absolute, '/var/run/docker.sock'),
  TRAEFIK_USERS: users,
  MONGO_USERS: users,
  REDIS_USERS: users,

  DATABASE_IMAGE: image('mongo:8.0'),
  REDIS_IMAGE: image('redis:8-alpine'),
  TRANSLATOR_IMAGE: image('isopen/meeshy-translator:latest'),
  GATEWAY_IMAGE: image('isopen/meeshy-gateway:latest'),
  FRONTEND_IMAGE: image('isopen/meeshy-web:latest'),
  STATIC_IMAGE: image('nginx:alpine'),
  NOSQLCLIENT_IMAGE: image('mongoclient/mongoclient:latest'),
  REDIS_UI_IMAGE: image('patrikx3/p3x-redis-ui:latest'),
  TRAEFIK_IMAGE: image('traefik:v3.6'),

  DATABASE_VOLUME: volume('meeshy-staging-database-data', 'meeshy-production-mongodb'),
  DATABASE_CONFIG_VOLUME: volume('meeshy-staging-database-config', 'meeshy-production-mongodb-config'),
  REDIS_VOLUME: volume('meeshy-staging-redis-data', 'meeshy-production-redis'),
  REDIS_UI_VOLUME: volume('meeshy-staging-redis-ui-data', 'meeshy_redis-ui-data'),
  REDIS_UI_EXTERNAL: takenOver,
  MODELS_VOLUME: volume('meeshy-staging-models-data', 'meeshy_models_data'),
  MODELS_EXTERNAL: must(is.boolean, { value: by('false', 'true') }),
  MODELS_READ_ONLY: must(is.readOnlyModels, {
    value: (c) => (c.role === 'staging' && valueOf(c.env, 'MODELS_EXTERNAL') === 'true' ? 'true' : 'false'),
  }),
  GATEWAY_UPLOADS_VOLUME: volume('meeshy-staging-gateway-uploads', 'meeshy_gateway_uploads'),
  GATEWAY_UPLOADS_EXTERNAL: takenOver,
  FRONTEND_UPLOADS_VOLUME: volume('meeshy-staging-web-uploads', 'meeshy_frontend_uploads'),
  FRONTEND_UPLOADS_EXTERNAL: takenOver,
  CERTS_VOLUME: volume('meeshy-staging-traefik-certs', 'meeshy_traefik_certs'),
  CERTS_EXTERNAL: takenOver,

  DATABASE_MEMORY: may(is.memory, '2g'),
  DATABASE_CPUS: may(is.processors, '2'),
  REDIS_MEMORY: may(is.memory, '1g'),
  TRANSLATOR_MEMORY: may(is.memory, '8g'),
  TRANSLATOR_CPUS: may(is.processors, '2'),
  GATEWAY_MEMORY: may(is.memory, '2g'),
  GATEWAY_CPUS: may(is.processors, '2'),
  FRONTEND_MEMORY: may(is.memory, '1g'),
  FRONTEND_CPUS: may(is.processors, '1'),

  MONGODB_DATABASE: may(is.name, 'meeshy'),
  MONGODB_USER: {
    need: ({ env }) => valueOf(env, 'MONGODB_PASSWORD') !== '',
    check: is.mongoUser,
    value: 'meeshy',
  },
  // Compose makes a file of it, and refuses to when the key is not there.
  MONGODB_PASSWORD: {
    need: ({ env }) => !Object.hasOwn(env, 'MONGODB_PASSWORD'),
    check: is.mongoPassword,
    value: '',
    command: 'openssl rand -hex 24',
  },

  JWT_SECRET: must(is.longInStaging(32), { command: 'openssl rand -base64 32' }),
  JWT_EXPIRES_IN: may(is.duration, '7d'),
  ENCRYPTION_MASTER_KEY: masterKey,
  ATTACHMENT_MASTER_KEY: masterKey,

  CORS_ORIGINS: must(is.origins, { value: (c) => `${at('')(c)},${at('gate.')(c)}` }),
  ALLOWED_ORIGINS: must(is.origins, { value: at('') }),
  FRONTEND_URL: must(is.origin, { value: at('') }),
  PUBLIC_URL: must(is.origin, { value: at('gate.') }),

  ADMIN_PASSWORD: password,
  ADMIN_EMAIL: account('admin'),
  MEESHY_PASSWORD: password,
  MEESHY_EMAIL: account('meeshy'),
  ATABETH_PASSWORD: password,
  ATABETH_EMAIL: account('atabeth'),
  ATABETH_USERNAME: may(is.name, 'atabeth'),
  ATABETH_FIRST_NAME: text,
  ATABETH_LAST_NAME: text,
  ATABETH_ROLE: may(is.oneOf('USER', 'ADMIN', 'MODERATOR', 'BIGBOSS', 'AUDIT', 'ANALYST'), 'USER'),
  ADMIN_SYSTEM_LANGUAGE: may(is.language, 'en'),
  ADMIN_REGIONAL_LANGUAGE: may(is.language, 'fr'),
  ADMIN_CUSTOM_DESTINATION_LANGUAGE: may(is.language),
  MEESHY_SYSTEM_LANGUAGE: may(is.language, 'en'),
  MEESHY_REGIONAL_LANGUAGE: may(is.language, 'fr'),
  MEESHY_CUSTOM_DESTINATION_LANGUAGE: may(is.language),
  ATABETH_SYSTEM_LANGUAGE: may(is.language, 'fr'),
  ATABETH_REGIONAL_LANGUAGE: may(is.language, 'fr'),
  ATABETH_CUSTOM_DESTINATION_LANGUAGE: may(is.language, 'en'),
  FORCE_DB_RESET: may(is.oneOf('false'), 'false'),

  EMAIL_PROVIDER: may(is.name),
  SMTP_HOST: may(is.mailHost),
  SMTP_PORT: may(is.port, '587'),
  SMTP_SECURE: may(is.boolean, 'false'),
  SMTP_USER: text,
  SMTP_PASSWORD: out,
  SMTP_FROM: text,
  BREVO_API_KEY: out,
  SENDGRID_API_KEY: out,
  ENABLE_PUSH_NOTIFICATIONS: push,
  ENABLE_FCM_PUSH: push,
  ENABLE_APNS_PUSH: push,
  APNS_KEY_ID: out,
  APNS_TEAM_ID: out,
  VAPID_PUBLIC_KEY: out,
  VAPID_PRIVATE_KEY: out,
  FIREBASE_CREDENTIALS: {
    need: inProduction,
    check: is.file,
    value: by('', './secrets/firebase-admin-sdk.json'),
  },
  TWILIO_ACCOUNT_SID: out,
  TWILIO_AUTH_TOKEN: out,
  TURN_SERVERS: text,
  TURN_SECRET: text,
  TURN_CREDENTIAL_TTL: may(is.number, '86400'),

  HF_HUB_OFFLINE: may(is.oneOf('0', '1'), '0'),
  HF_TOKEN: out,
  PRISMA_SCHEMA_PATH: text,
  UPLOAD_PATH: may(is.absolute, '/app/uploads/attachments'),
  NEXT_PUBLIC_DISABLE_CLIENT_TRANSLATION: may(is.boolean, 'true'),
  NEXT_PUBLIC_USE_API_TRANSLATION_ONLY: may(is.boolean, 'true'),
  NEXT_PUBLIC_DEBUG_LOGS: may(is.boolean, 'false'),
}

/** What a stack's file is held against. */
export interface Against {
  readonly role: Role
  /** Production's own .env, parsed: for staging, which may have none of its secrets. */
  readonly production?: Values
  /** What Compose reads otherwise than it is written (lib/update/environment.ts asks it). */
  readonly misread?: readonly Misread[]
}

/** Everything that is wrong with a stack's .env, in the order of the example. Keys without a rule are not judged. */
export function problemsOf(env: Values, { role, production, misread = [] }: Against): Problem[] {
  const context: Context = { role, env, production }
  const problems = Object.entries(RULES).flatMap(([key, rule]): Problem[] => {
    const why = wrong(key, rule, context)
    return why === undefined ? [] : [{ key, why, line: lineFor(key, rule, context) }]
  })
  const told = new Set(problems.map((p) => p.key))
  if (Object.hasOwn(env, 'COMPOSE_PROJECT_NAME')) {
    const line = '# COMPOSE_PROJECT_NAME'
    problems.push({ key: 'COMPOSE_PROJECT_NAME', why: 'beats STACK_NAME: take it out', line })
  }
  for (const key of role === 'staging' ? Object.keys(env) : []) {
    if (Object.hasOwn(RULES, key) || key === 'COMPOSE_PROJECT_NAME' || !/^(COMPOSE|DOCKER)_/.test(key))
      continue
    problems.push({ key, why: 'changes what Compose works on: take it out', line: `# ${key}` })
  }
  for (const key of role === 'staging' ? sharedSecrets(env, production) : []) {
    if (told.has(key) || (Object.hasOwn(RULES, key) && RULES[key]?.check === is.file)) continue
    const rule = Object.hasOwn(RULES, key) ? RULES[key] : undefined
    problems.push({ key, why: 'is a secret of production', line: lineFor(key, rule ?? text, context) })
  }
  const read = misread.map(({ key, safe }) => ({ key, why: 'is not what Compose reads', line: safe }))
  return [...problems, ...read]
}

function wrong(key: string, { need, check, out: isOut, own }: Rule, context: Context): string | undefined {
  const { role, env, production } = context
  const value = valueOf(env, key)
  if (value === '') {
    const needed = need === 'always' || (need !== undefined && need(context))
    return needed ? (Object.hasOwn(env, key) ? 'is empty' : 'is missing') : undefined
  }
  if (/\p{Cc}/u.test(value)) return 'holds a line break or another control character'
  if (is.isPlaceholder(value)) return 'is not filled in'
  if (isOut && role === 'staging') return 'is a way out of staging: leave it empty'
  if (own && role === 'staging' && value === valueOf(production, key)) return "is production's"
  return check?.(value, context)
}

/** Keys, with a rule or without, whose secret is one of production's under whatever name. */
function sharedSecrets(env: Values, production: Values = {}): string[] {
  const theirs = new Set(secretsOf(production).filter((s) => s.length >= SHORTEST))
  return Object.entries(env).flatMap(([key, value]) =>
    secretsOf({ [key]: value }).some((secret) => theirs.has(secret)) ? [key] : [],
  )
}

function lineFor(key: string, { value, command }: Rule, context: Context): string {
  const absent = !Object.hasOwn(context.env, key)
  if (command !== undefined && !(absent && value !== undefined))
    return `printf "${key}='%s'\\n" "$(${command})"`
  return `${key}='${typeof value === 'function' ? value(context) : (value ?? '')}'`
}

/** Keys of the file that the table does not know: nothing reads them. */
export const unknownKeys = (env: Values): string[] =>
  Object.keys(env).filter((key) => !Object.hasOwn(RULES, key) && key !== 'COMPOSE_PROJECT_NAME')

/** All of it as one message. */
export const problemsText = (problems: readonly Problem[]): string =>
  problems.map(({ key, why, line }) => `  ${key} ${why}\n      ${line}`).join('\n')
