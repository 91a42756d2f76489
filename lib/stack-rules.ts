// What a value of a stack's .env must look like: checks that answer with what is wrong, or with undefined. None repeats
// the value.

export type Role = 'staging' | 'production'
export type Values = Readonly<Record<string, string>>

/** What a check may look at besides the value: the whole file, and production's where it is known. */
export interface Context {
  readonly role: Role
  readonly env: Values
  readonly production?: Values | undefined
}

/** Of a value that is not empty: what is wrong with it, as the end of a sentence that begins with its name. */
export type Check = (value: string, context: Context) => string | undefined

/** The value of a key that the file itself holds. */
export const valueOf = (env: Values | undefined, key: string): string =>
  env !== undefined && Object.hasOwn(env, key) ? (env[key] ?? '') : ''

export const matches =
  (pattern: RegExp, why: string): Check =>
  (value) =>
    pattern.test(value) ? undefined : why

export const oneOf = (...allowed: readonly string[]): Check =>
  matches(new RegExp(`^(?:${allowed.join('|')})$`), `must be ${allowed.join(' or ')}`)

/** One check for staging, another one for production. */
export const byRole =
  (staging: Check, production: Check): Check =>
  (value, context) =>
    (context.role === 'staging' ? staging : production)(value, context)

const good: Check = () => undefined

export const boolean = oneOf('true', 'false')
export const number = matches(/^\d{1,9}$/, 'must be a whole number')
export const port = matches(/^[1-9]\d{0,4}$/, 'must be a port')
export const published = matches(
  /^(?:\d{1,3}(?:\.\d{1,3}){3}:)?[1-9]\d{0,4}$/,
  'must be a port, or address:port',
)
export const memory = matches(/^[1-9]\d{0,5}[mg]$/, 'must be like 512m or 2g')
export const processors = matches(/^(?:0\.\d*[1-9]|[1-9]\d*(?:\.\d+)?)$/, 'must be a number of processors')
export const score = matches(/^(?:-?[1-9]\d{0,2}|-?1000|0)$/, 'must be -1000 to 1000')
export const email = matches(/^[^\s@'"]+@[^\s@'"]+\.[^\s@'"]+$/, 'must be an e-mail address')
export const language = matches(/^[a-z]{2,3}(?:-[A-Za-z]{2,4})?$/, 'must be a language code, as fr or pt-BR')
export const duration = matches(/^[1-9]\d*[smhdwy]?$/, 'must be a time, as 7d')
export const name = matches(/^[\w.-]+$/, 'must be letters, digits and . _ -')
export const absolute = matches(/^\/[^\0]+$/, 'must be an absolute path')
export const projectName = matches(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be a-z, 0-9 and hyphens, at most 40')
export const objectName = matches(/^[a-zA-Z0-9][\w.-]+$/, 'must be a name, as Docker takes one')
export const image = matches(
  /^(?:[a-z0-9.-]+(?::\d+)?\/)?[a-z0-9][a-z0-9._/-]*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/,
  'must be an image, as name:tag or name@sha256:…',
)

/** 32 bytes in the standard alphabet, as `openssl rand -base64 32` writes them. */
export const key32: Check = (value) => {
  const bytes = Buffer.from(value, 'base64')
  return bytes.length === 32 && bytes.toString('base64') === value ? undefined : 'must be 32 bytes in base64'
}

/** Production's own may be older than the rule: staging's are new. */
export const longInStaging = (characters: number): Check =>
  byRole(
    (value) => (value.length >= characters ? undefined : `must have at least ${characters} characters`),
    good,
  )

/** As Traefik takes them in a label: user:hash, several with commas. */
export const htpasswd: Check = (value) =>
  value.split(',').every((entry) => /^[^\s:,]+:\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$/.test(entry))
    ? undefined
    : 'must be user:bcrypt hash, every $ written once, in single quotes'

const IN_ADDRESS = 'must be letters, digits and . _ ~ - only (it stands in an address)'
export const mongoUser = matches(/^[\w.~-]+$/, IN_ADDRESS)
export const mongoPassword = matches(
  /^[\w.~-]{16,}$/,
  `${IN_ADDRESS}, at least 16, or empty: no authentication`,
)

const HOST = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/

/** Whether it is a whole host name, in small letters. */
export const isHost = (value: string): boolean => HOST.test(value)

const named = (value: string): boolean => value.includes('staging')

export const domain: Check = (value, { role }) => {
  if (!isHost(value)) return 'must be a host name, in small letters'
  return role === 'production' && named(value) ? "must be production's: it says staging" : undefined
}

/** The rule for the site: DOMAIN, and in production also www. before it. */
export const siteRule: Check = (value, { role, env }) => {
  const site = valueOf(env, 'DOMAIN')
  const hosts = value.split('||').map((part) => /^Host\(`([^`]+)`\)$/.exec(part.trim())?.[1])
  const allowed = role === 'production' ? [site, `www.${site}`] : [site]
  if (hosts.every((host) => host !== undefined && allowed.includes(host)) && hosts.includes(site))
    return undefined
  return `must be Host(\`…\`) for DOMAIN${role === 'production' ? ', and for www. before it' : ' alone'}`
}

/** https:// and DOMAIN, or a host below it; of production none that says staging. */
export const origin: Check = (value, { role, env }) => {
  const site = valueOf(env, 'DOMAIN')
  const host = URL.canParse(value) ? new URL(value).hostname : ''
  const whole = URL.canParse(value) && new URL(value).origin === value && value.startsWith('https://')
  if (!whole) return 'must be https:// and a host, nothing after it'
  if (host !== site && !host.endsWith(`.${site}`)) return 'must be DOMAIN or a host below it'
  return role === 'production' && named(host) ? "must be production's: it says staging" : undefined
}

export const origins: Check = (value, context) =>
  value
    .split(',')
    .map((one) => origin(one, context))
    .find((why) => why !== undefined)

const SINK =
  /^(?:[a-z0-9][a-z0-9-]*|(?:[a-z0-9-]+\.)+(?:test|invalid|localhost|example)|127(?:\.\d{1,3}){3})$/

/** In staging only a sink: a service by its name, or a name that nobody on the internet can have. */
export const mailHost: Check = byRole(
  matches(
    SINK,
    'is a way out of staging: leave it empty, or name a sink (a service of the stack, a host of .test)',
  ),
  (value) => (isHost(value) || /^\d{1,3}(\.\d{1,3}){3}$/.test(value) ? undefined : 'must be a host name'),
)

/** Staging has none of production's, save models that it only reads. */
export const volume: Check = (value, { role, env, production }) => {
  const unfit = objectName(value, { role, env, production })
  if (unfit !== undefined) return unfit
  const names = (values: Values = {}): string[] =>
    Object.entries(values).flatMap(([key, v]) => (key.endsWith('_VOLUME') && v === value ? [key] : []))
  if (names(env).length > 1) return 'names the volume of another variable'
  const shared = valueOf(env, 'MODELS_VOLUME') === value && valueOf(env, 'MODELS_READ_ONLY') === 'true'
  return role === 'staging' && names(production).length > 0 && !shared
    ? 'is a volume of production'
    : undefined
}

/** Models that exist already are production's. */
export const readOnlyModels: Check = (value, context) =>
  context.role === 'staging' && valueOf(context.env, 'MODELS_EXTERNAL') === 'true' && value !== 'true'
    ? 'must be true: models of another stack are only read'
    : boolean(value, context)

/** A file of the stack's folder, or an absolute path. */
export const file: Check = (value) =>
  /^\.?\/[^\0]+$/.test(value) && !value.split('/').includes('..')
    ? undefined
    : 'must be a path, as ./secrets/file'

/** What nobody has filled in. */
export const isPlaceholder = (value: string): boolean =>
  /change[-_ ]?me/i.test(value) || /^(?:\*{2,}.*\*{2,}|<.*>|\.{3}|x{3,}|todo|tbd|placeholder)$/is.test(value)
