// What must be so before staging is touched: its settings, its folder, and that nothing of it is, or would be taken for,
// somebody else's. Everything that is wrong is told at once.
import { existsSync, lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { docker, inspectContainers, containerIds, type ContainerInspect } from '../docker.ts'
import { quote } from '../shell.ts'
import { valueOf } from '../stack-rules.ts'
import { problemsOf, problemsText, unknownKeys } from '../stack-env.ts'
import type { ComposeConfig, Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { misread } from '../update/environment.ts'
import { credentialsProblems } from './credentials.ts'
import { modelsPlace, networkOf, projectOf, type Course } from './course.ts'
import { proxyOf } from './join.ts'
import { containersOf, networkNamed, ownerOf, PROJECT, volumeNamed, type NetworkInspect } from './objects.ts'
import { stagingHere } from './record.ts'
import { labelsOf, rulesOf, seenBy } from './routes.ts'
import { asSource } from './source.ts'

/** What is wrong with the settings themselves, each with the line to write. Asks Compose how it reads them. */
export async function settingsProblems(it: Course, doing: Pick<Doing, 'say'>): Promise<string[]> {
  const { settings, env, production } = it
  const read = await misread(asSource(), settings.file)
  const theirs = { ...environmentsOf(production), ...production.env }
  const problems = problemsOf(env.values, { role: 'staging', production: theirs, misread: read })
  const unknown = unknownKeys(env.values)
  if (unknown.length > 0) doing.say(`nothing reads ${unknown.join(', ')} in ${settings.file}`)
  return [
    ...(problems.length > 0 ? [`${settings.file}:\n${problemsText(problems)}`] : []),
    ...credentialsProblems(it),
  ]
}

/** What production's containers were given: a secret may stand in its Compose file alone. */
const environmentsOf = ({ services }: Stack): Record<string, string> =>
  Object.fromEntries(
    services.flatMap(({ name, containers }) =>
      containers
        .flatMap((c) => c.Config.Env ?? [])
        // Two services may have the same key with another value.
        .map((l) => [`${name}.${l.slice(0, l.indexOf('='))}`, l.slice(l.indexOf('=') + 1)] as const),
    ),
  )

/** What is wrong with the folder: somebody else's files in it, or a place where it cannot be. */
export function folderProblems({ context: { config } }: Course): string[] {
  const dir = config.STAGING_DIR
  if (`${config.STACK_DIR}/`.startsWith(`${dir}/`))
    return [`STAGING_DIR ${dir} holds production's own folder.`]
  const there = lstatSync(dir, { throwIfNoEntry: false })
  if (!there) return []
  if (!there.isDirectory()) return [`STAGING_DIR ${dir} is not a folder.`]
  const linked = ['config', ...readdirSync(dir)].filter((name) =>
    lstatSync(join(dir, name), { throwIfNoEntry: false })?.isSymbolicLink(),
  )
  if (linked.length > 0)
    return [`STAGING_DIR ${dir} holds links, which are not followed: ${[...new Set(linked)].join(', ')}.`]
  if (stagingHere(config)?.dir === dir) return []
  const foreign = readdirSync(dir).filter((name) => !['secrets', 'backups'].includes(name))
  if (foreign.length === 0) return []
  return [
    `STAGING_DIR ${dir} holds files that this tool did not put there: ${foreign.slice(0, 5).join(', ')}. ` +
      'Where staging still stands: task teardown-staging. ' +
      `An older one? Take it down and move it away: mv ${quote(dir)} ${quote(`${dir}-old`)}`,
  ]
}

/** Another staging than these settings name stands here already. */
export function standingProblems(it: Course): string[] {
  const here = stagingHere(it.context.config)
  if (!here) return []
  const { project, dir } = projectOf(it)
  const now = [project, networkOf(it), dir]
  const was = [here.project, here.network, here.dir]
  return now.every((n, i) => n === was[i])
    ? []
    : [
        `Staging stands here as ${was.join(', ')}; these settings name ${now.join(', ')}. First: task teardown-staging`,
      ]
}

/** Models that cannot be shared, or of which there are none. */
export function modelsProblems({ models, production, env }: Course): string[] {
  if (models === 'none') return []
  const { type, source, folder } = modelsPlace(production)
  if (models === 'copy') return []
  if (type !== 'volume' || folder !== '.')
    return ['Production keeps its models in a folder, not in a volume of their own: --models copy.']
  return valueOf(env.values, 'MODELS_VOLUME') === source
    ? []
    : [`MODELS_VOLUME is not the volume that production mounts (${source}).`]
}

const LEAST_API = [1, 44] as const // Docker 25: health checks with a start interval

/** What this Docker cannot do. */
export async function dockerProblems(resolved: ComposeConfig): Promise<string[]> {
  const format = '{{.Server.Version}} {{.Server.APIVersion}}'
  const [version = '', api = ''] = (await docker('version', '--format', format)).trim().split(' ')
  const cpus = (await docker('info', '--format', '{{.NCPU}}')).trim()
  const [major = 0, minor = 0] = api.split('.').map(Number)
  const old = major < LEAST_API[0] || (major === LEAST_API[0] && minor < LEAST_API[1])
  const greedy = Object.entries(resolved.services).filter(([, s]) => Number(s.cpus ?? 0) > Number(cpus))
  return [
    ...(old
      ? [
          `Docker here is ${version}: the new stack needs Docker 25 or later (health checks with start_interval).`,
        ]
      : []),
    ...greedy.map(
      ([name]) => `${name} may use more processors than this server has (${cpus}): lower its …_CPUS.`,
    ),
  ]
}

/** What is somebody else's already: the project's name, a network, a volume, a host, a router. */
export async function collisions(it: Course, resolved: ComposeConfig): Promise<string[]> {
  const { production } = it
  const { project, dir } = projectOf(it)
  const others = (await containersOf(project)).filter(
    (c) => c.Config.Labels[`${PROJECT}.working_dir`] !== dir,
  )
  const problems = others.map(
    (c) =>
      `The project ${project} has a container elsewhere: ${c.Name.replace(/^\//, '')}. Take another STACK_NAME.`,
  )
  if (project === production.project) problems.push(`STACK_NAME is production's project: ${project}.`)
  for (const { name } of Object.values(resolved.networks ?? {})) {
    const network = await networkNamed(name)
    if (network && ownerOf(network) !== project)
      problems.push(`The network ${name} exists and is not staging's. Take another NETWORK_NAME.`)
    else if (network) problems.push(...(await guestsOf(network, project, production)))
  }
  for (const [key, { name, external }] of Object.entries(resolved.volumes ?? {})) {
    const volume = await volumeNamed(name)
    if (external && !volume)
      problems.push(`The volume ${name} (${key}) does not exist; staging may not make it.`)
    if (!external && volume && ownerOf(volume) !== project)
      problems.push(`The volume ${name} (${key}) exists and is not staging's. Take another name.`)
  }
  return [...problems, ...(await routeProblems(production, project, resolved))]
}

/** Containers on staging's network that are neither staging's, nor the proxy, nor this tool's own. */
export async function guestsOf(
  network: NetworkInspect,
  project: string,
  production: Stack,
): Promise<string[]> {
  const proxy = proxyOf(production)?.Id
  const all = await inspectContainers(Object.keys(network.Containers))
  return all
    .filter(
      (c) => c.Id !== proxy && c.Config.Labels[PROJECT] !== project && c.Config.Labels.runbook === undefined,
    )
    .map(
      ({ Name }) =>
        `${Name.slice(1)} is connected to staging's network and is not staging's:\n` +
        `  docker network disconnect ${quote(network.Name)} ${quote(Name.slice(1))}`,
    )
}

/** Hosts, routers and middlewares that another stack's containers declare already, or that are declared nowhere. */
async function routeProblems(production: Stack, project: string, resolved: ComposeConfig): Promise<string[]> {
  const seen = seenBy(proxyOf(production)?.Args ?? [])
  const running = await inspectContainers(await containerIds('traefik.enable=true'))
  const theirs = running.filter((c) => c.Config.Labels[PROJECT] !== project && seen(c.Config.Labels))
  const own = Object.values(resolved.services).map((s) => labelsOf(s))
  const problems = own.every((labels) => seen({ ...labels, [PROJECT]: project }))
    ? []
    : [
        "The proxy takes only containers with certain labels (--providers.docker.constraints), which staging's lack.",
      ]
  for (const c of theirs) {
    const name = c.Name.replace(/^\//, '')
    const labels = c.Config.Labels
    for (const host of own.flatMap(rulesOf).flatMap((r) => r.hosts))
      if (rulesOf(labels).some((r) => r.hosts.includes(host)))
        problems.push(`${host} leads to ${name} already. Take that stack down first, or take another DOMAIN.`)
    const taken = new Set(Object.keys(labels).flatMap(objectOf))
    const both = [...new Set(own.flatMap((l) => Object.keys(l).flatMap(objectOf)))].filter((o) =>
      taken.has(o),
    )
    for (const object of both)
      problems.push(`The proxy knows ${object} from ${name} already. Take another STACK_NAME.`)
  }
  const middlewares = new Set(own.flatMap((l) => Object.keys(l).flatMap(objectOf)))
  const missing = own
    .flatMap(rulesOf)
    .flatMap((r) => r.middlewares)
    .filter((m) => !middlewares.has(`middlewares ${m}`))
  return [
    ...new Set([
      ...problems,
      ...missing.map((m) => `A router names the middleware ${m}, which nothing declares.`),
    ]),
  ]
}

/** `routers x` of a label `traefik.http.routers.x.rule`. */
const objectOf = (label: string): string[] => {
  const [, kind, name] = /^traefik\.http\.(routers|middlewares|services)\.([^.]+)\./.exec(label) ?? []
  return kind === undefined ? [] : [`${kind} ${name}`]
}

/** Nothing of staging is published on the server, and its network has no way out. */
export function exposureProblems(resolved: ComposeConfig): string[] {
  const published = Object.entries(resolved.services).filter(([, s]) => (s.ports ?? []).length > 0)
  const open = Object.values(resolved.networks ?? {}).filter((n) => !n.internal)
  return [
    ...published.map(([name]) => `${name} would publish a port of this server: nothing of staging does.`),
    ...open.map((n) => `The network ${n.name} would have a way out.`),
  ]
}

/** Files that Compose would bind and that the folder will not have. (Docker puts a folder in their place.) */
export function bindProblems(resolved: ComposeConfig, dir: string): string[] {
  const env = asSource().dir
  return Object.entries(resolved.services).flatMap(([name, s]) =>
    (s.volumes ?? []).flatMap(({ type, source = '' }) => {
      if (type !== 'bind') return []
      const inFolder = source.startsWith(`${env}/`) ? join(dir, source.slice(env.length + 1)) : source
      return existsSync(source) || existsSync(inFolder)
        ? []
        : [`${name} mounts ${inFolder}, which does not exist.`]
    }),
  )
}

/** Whether the proxy of production has what staging's labels name. It reads that from its own words, where it has them. */
export function proxyProblems(
  production: Stack,
  values: Readonly<Record<string, string>>,
  doing: Pick<Doing, 'say'>,
): string[] {
  const proxy: ContainerInspect | undefined = proxyOf(production)
  if (!proxy?.State.Running)
    return [
      `Production's proxy (service '${production.about.proxy.service}') does not run: staging is reached through it.`,
    ]
  const words = proxy.Args.filter((w) => w.startsWith('--'))
  const named = (option: string): string[] =>
    words.flatMap((w) => new RegExp(`^--${option}\\.([^.=]+)`, 'i').exec(w)?.[1] ?? [])
  const wants: [string, string, string][] = [
    ['entrypoints', 'PROXY_ENTRYPOINT', values.PROXY_ENTRYPOINT || 'websecure'],
    ['certificatesresolvers', 'CERT_RESOLVER', values.CERT_RESOLVER || 'letsencrypt'],
  ]
  return wants.flatMap(([option, key, value]) => {
    const has = [...new Set(named(option))]
    if (has.includes(value)) return []
    if (has.length > 0) return [`${key} is '${value}', but the proxy has ${has.join(', ')}.`]
    doing.say(
      `whether the proxy knows ${key} '${value}' was skipped, because its command line does not name any`,
    )
    return []
  })
}
