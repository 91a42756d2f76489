// The environment of containers: the same before and after an update, byte for byte; and values of the stack's .env
// that Compose reads differently than they are written.
import { createHmac } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { compose, inspectImage, minimalEnvironment, type ContainerInspect, type Project } from '../docker.ts'
import { secretsOf } from '../redact.ts'
import { exec } from '../shell.ts'
import { CONFIG_HASH, type Service, type Stack } from '../stack.ts'

type Values = ReadonlyMap<string, string>

/**
 * A container's environment as it may be noted: no value, but what tells whether it is the same one. `image` is that
 * of its image, `hash` Compose's hash of the configuration that it was made from.
 */
export interface EnvironmentMark {
  readonly hash: string
  readonly own: Readonly<Record<string, string>>
  readonly image: Readonly<Record<string, string>>
}

/** What marks are made with: another one for each update, so that no mark tells of a value elsewhere. */
export type Salt = string

const valuesOf = (lines: readonly string[] | null | undefined): Values =>
  new Map((lines ?? []).map((l) => [l.slice(0, l.indexOf('=')), l.slice(l.indexOf('=') + 1)]))

const hidden = (values: Values, salt: Salt): Record<string, string> =>
  Object.fromEntries([...values].map(([k, v]) => [k, createHmac('sha256', salt).update(v).digest('hex')]))

/** Marks what the containers of these services have; services without one are left out. */
export async function markEnvironments(
  services: readonly Service[],
  salt: Salt,
): Promise<Record<string, EnvironmentMark>> {
  const marks: Record<string, EnvironmentMark> = {}
  for (const { name, container } of services) if (container) marks[name] = await markOf(container, salt)
  return marks
}

async function markOf({ Image, Config }: ContainerInspect, salt: Salt): Promise<EnvironmentMark> {
  const image = valuesOf((await inspectImage(Image))?.Config.Env)
  const hash = Config.Labels[CONFIG_HASH] ?? ''
  return { hash, own: hidden(valuesOf(Config.Env), salt), image: hidden(image, salt) }
}

/** Keys whose values differ between two marks of one service, where the images' own values do not explain it. */
export function differingKeys(before: EnvironmentMark, after: EnvironmentMark): string[] {
  return [...new Set([...Object.keys(before.own), ...Object.keys(after.own)])]
    .filter((key) => {
      const [was, is] = [before.own[key], after.own[key]]
      return was !== is && !(isImages(was, before.image[key]) && isImages(is, after.image[key]))
    })
    .toSorted()
}

/** It is the image's value, or there is none. */
const isImages = (own: string | undefined, image: string | undefined): boolean =>
  own === undefined || own === image

/**
 * What is wrong with the environments after an update, one sentence each: a service whose configuration is the same
 * has another value, or a service that was configured anew has not what the Compose file and .env say.
 */
export async function environmentProblems(
  stack: Stack,
  marks: Readonly<Record<string, EnvironmentMark>>,
  salt: Salt,
): Promise<string[]> {
  const problems: string[] = []
  for (const { name, container } of stack.services) {
    const before = marks[name]
    if (!before || !container) continue
    const after = await markOf(container, salt)
    if (before.hash === after.hash) {
      const keys = differingKeys(before, after)
      if (keys.length > 0) problems.push(`${name}: its environment is not what it was: ${keys.join(', ')}`)
    } else {
      const has = valuesOf(container.Config.Env)
      const wrong = [...declared(stack, name)]
        .filter(([key, value]) => has.get(key) !== value)
        .map(([key]) => key)
      if (wrong.length > 0)
        problems.push(
          `${name}: its environment is not what the Compose file and .env say: ${wrong.join(', ')}`,
        )
    }
  }
  return problems
}

/** Keys of a service's container whose values the Compose file and .env would change now. */
export async function changingKeys(stack: Stack, { name, container }: Service): Promise<string[]> {
  if (!container) return []
  const has = valuesOf(container.Config.Env)
  const image = valuesOf((await inspectImage(container.Image))?.Config.Env)
  const will = new Map([...image, ...declared(stack, name)])
  return [...new Set([...has.keys(), ...will.keys()])]
    .filter((key) => has.get(key) !== will.get(key))
    .toSorted()
}

/** What the Compose file says, every variable resolved. A key without a value is not set: our shell gives none. */
function declared({ resolved }: Stack, name: string): Values {
  const all = Object.entries(resolved.services[name]?.environment ?? {})
  return new Map(all.flatMap(([key, value]) => (value === null ? [] : [[key, plain(value)] as const])))
}

/** Compose prints every `$` doubled, so that what it prints is a Compose file again. */
const plain = (value: string): string => value.replaceAll('$$', '$')

/** A value of .env that Compose does not read as it is written, and the line that says the same to both. */
export interface Misread {
  readonly key: string
  readonly safe: string
}

/**
 * The values of a stack's .env that Compose reads differently than dotenv: an unescaped `$`, a `#`, a quote. Compose
 * itself is asked (https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/). A secret is
 * not repeated.
 */
export async function misread(project: Project, file = join(project.dir, '.env')): Promise<Misread[]> {
  if (!existsSync(file)) return []
  const own = Object.keys(minimalEnvironment()) // Compose takes these from us, not from the file
  const text = readFileSync(file, 'utf8')
  const written = Object.entries(parse(text)).filter(
    ([key]) => /^[A-Za-z_]\w*$/.test(key) && !own.includes(key),
  )
  if (written.length === 0) return []
  const environment = Object.fromEntries(written.map(([key]) => [key, `\${${key}}`]))
  const asked = { services: { values: { image: 'none', environment } } }
  const command = compose({ ...project, files: ['-'] }, '--env-file', file, 'config', '--format', 'json')
  const { stdout } = await exec({ ...command, input: JSON.stringify(asked) })
  const read = (JSON.parse(stdout) as Stack['resolved']).services.values?.environment ?? {}
  return written.flatMap(([key, value]) =>
    plain(read[key] ?? '') === value ? [] : [{ key, safe: safeLine(key, value, text) }],
  )
}

function safeLine(key: string, value: string, text: string): string {
  const lines = text.split('\n')
  const number =
    lines.findLastIndex((l) =>
      l
        .trim()
        .replace(/^export\s+/, '')
        .startsWith(`${key}=`),
    ) + 1
  const where = `${key} in line ${number}`
  // No way of writing a quote inside quotes means the same to both.
  if (value.includes("'")) return `${where}: no quoting reads the same everywhere; take a value without '`
  const secret = secretsOf({ [key]: value }).length > 0
  return secret
    ? `${where}: put the value as it stands between single quotes: ${key}='…'`
    : `${where}: ${key}='${value}'`
}
