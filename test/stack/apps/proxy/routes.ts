// From the labels of containers to routes, as Traefik reads them.
import type { Container } from './docker.ts'

export interface Router {
  readonly name: string
  readonly hosts: readonly string[]
  /** `user:bcrypt hash`, or undefined when everybody may pass. */
  readonly users: readonly string[] | undefined
  /** `address:port` of each container behind it; none for the proxy's own dashboard. */
  readonly servers: readonly string[]
  readonly dashboard: boolean
}

export interface Routes {
  readonly routers: readonly Router[]
  /** Why a container or a router is left out, for the log and the dashboard. */
  readonly problems: readonly string[]
}

const DASHBOARD = 'api@internal'
const PREFIX = 'traefik.http.'

/**
 * The routes that these containers ask for. A container that is not running, is paused, or has a health check and is
 * not `healthy` has none. A router whose middleware does not exist, or is defined differently by two containers, is
 * disabled, as in Traefik.
 */
export function routesOf(containers: readonly Container[], defaultNetwork: string): Routes {
  const problems: string[] = []
  const usable = containers.filter(
    ({ State, Config }) =>
      Config.Labels['traefik.enable'] === 'true' &&
      State.Running &&
      !State.Paused &&
      (State.Health === undefined || State.Health.Status === 'healthy'),
  )
  const middlewares = new Map<string, Set<string>>()
  for (const { Config } of usable) {
    for (const [name, users] of named(Config.Labels, 'middlewares', 'basicauth.users')) {
      middlewares.set(name, (middlewares.get(name) ?? new Set()).add(users))
    }
  }

  const routers = new Map<string, Router>()
  for (const container of usable) {
    const labels = container.Config.Labels
    for (const [name, rule] of named(labels, 'routers', 'rule')) {
      const hosts = hostsOf(rule)
      const service = label(labels, 'routers', name, 'service')
      const server = service === DASHBOARD ? [] : serverOf(container, service, defaultNetwork)
      const users = usersOf(label(labels, 'routers', name, 'middlewares'), middlewares)
      if (!hosts) problems.push(`router ${name}: the rule ${rule} is not understood`)
      else if (!server) problems.push(`router ${name}: ${container.Name} has no address and port`)
      else if (users === 'broken') problems.push(`router ${name}: its middleware is missing or ambiguous`)
      else {
        const servers = [...(routers.get(name)?.servers ?? []), ...server]
        routers.set(name, { name, hosts, users, servers, dashboard: service === DASHBOARD })
      }
    }
  }
  return { routers: [...routers.values()], problems }
}

type Labels = Container['Config']['Labels']

function label(labels: Labels, kind: string, name: string, option: string): string | undefined {
  return labels[`${PREFIX}${kind}.${name}.${option}`]
}

/** Name and value of each `traefik.http.<kind>.<name>.<option>` label. */
function named(labels: Labels, kind: string, option: string): [string, string][] {
  const [start, end] = [`${PREFIX}${kind}.`, `.${option}`]
  return Object.entries(labels).flatMap(([key, value]): [string, string][] =>
    key.startsWith(start) && key.endsWith(end) ? [[key.slice(start.length, -end.length), value]] : [],
  )
}

/** The hosts of ``Host(`a`) || Host(`b`)``; undefined for any other rule. */
function hostsOf(rule: string): string[] | undefined {
  const hosts = rule.split('||').map((part) => /^\s*Host\(`([^`]+)`\)\s*$/.exec(part)?.[1]?.toLowerCase())
  return hosts.every((host) => host !== undefined) ? hosts : undefined
}

function usersOf(
  names: string | undefined,
  known: Map<string, Set<string>>,
): string[] | undefined | 'broken' {
  if (!names) return undefined
  const users: string[] = []
  for (const name of names.split(',')) {
    const definitions = known.get(name.trim().replace(/@docker$/, ''))
    if (definitions?.size !== 1) return 'broken'
    users.push(...[...definitions].join(',').split(','))
  }
  return users
}

function serverOf(container: Container, service: string | undefined, network: string): string[] | undefined {
  const labels = container.Config.Labels
  const ports = named(labels, 'services', 'loadbalancer.server.port')
  const port = (ports.find(([name]) => name === service) ?? ports[0])?.[1]
  // A network that the container is not in is ignored for the first one that it is in.
  const { Networks } = container.NetworkSettings
  const wanted = Networks[labels['traefik.docker.network'] ?? network] ?? Object.values(Networks)[0]
  return port && wanted?.IPAddress ? [`${wanted.IPAddress}:${port}`] : undefined
}
