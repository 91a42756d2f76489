// What can be reached from staging's network. With `internal: true` its bridge has no way out, but it has an address of
// the server, and whatever of the server answers there, answers staging too.
//
// What is relied on, and tried all the same: since Docker 25 a container that is on internal networks alone has no
// default route; its firewall rules drop what leaves such a bridge for another one, and with it connections to ports
// that containers publish over IPv4; since 25.0.5 and 26.0.0 Docker's name server asks no other one for such a
// container (CVE-2024-29018, https://github.com/moby/moby/security/advisories/GHSA-mq39-4gv4-mvpx).
import { isIP } from 'node:net'
import { docker } from '../docker.ts'
import { exec } from '../shell.ts'
import type { OwnImage } from '../throwaway.ts'
import { classify, type What } from './banner.ts'
import {
  address6,
  addressOf,
  candidatesOf,
  canonical,
  gatewaysOf,
  inSubnetsOf,
  interfaceOf,
  isHere,
  kernel,
  listening,
  type Bridge,
  type WithPorts,
} from './host-ports.ts'
import { lookInside, type Inside, type Target } from './inside.ts'
import { networkNamed } from './objects.ts'

/** A port of this server that answers in the network. */
export interface HostPort {
  readonly port: number
  readonly what: What
  /** Why it is taken for that: `greets with 220 mail.example ESMTP`, `by its number 5432 (PostgreSQL); …`. */
  readonly evidence: string
  /** The server's address at which it answers. */
  readonly ip: string
  /** The container that publishes it. */
  readonly container?: string
}

/** The ports of this server that answer in the network, by number. */
export interface HostPorts {
  readonly ports: readonly HostPort[]
  readonly network: string
  /** The network's interface on the server, as a line of a firewall names it. */
  readonly bridge: string
  /** Why the server's own sockets are not among what was tried. */
  readonly skipped?: string
}

/** What can be asked for an address outside. */
export interface Other extends Target {
  readonly name: string
}

/**
 * The ports of this server that answer at the bridge's address, each tried from inside the network, and what they are.
 * Only TCP. Takes about 5 s at most. Where the sockets of Docker's machine cannot be seen from here, only what
 * containers publish is tried, and `skipped` says so.
 * @throws Error when there is no such network, or it could not be found out.
 */
export async function hostPorts(network: string, image: OwnImage, stackId: string): Promise<HostPorts> {
  const bridge = await bridgeNamed(network)
  const name = interfaceOf(bridge)
  const here = isHere(name, kernel('dev'))
  const sockets = here ? [...listening(kernel('tcp')), ...listening(kernel('tcp6'))] : []
  const gateways = gatewaysOf(bridge, here ? kernel('fib_trie') : '', here ? kernel('if_inet6') : '')
  const answer = { network, bridge: name, ...(here ? {} : { skipped: notHere(name) }) }
  if (gateways.length === 0)
    return { ...answer, ports: [], skipped: `the bridge ${name} has no known address` }

  const candidates = candidatesOf(sockets, await running(), gateways)
  const targets = gateways.flatMap((ip) => candidates.map((candidate) => ({ ...candidate, ip })))
  const { tries } = await lookInside(of(bridge), image, stackId, targets, { talk: true })
  const found = targets.flatMap(({ ip, port, container }, i): HostPort[] => {
    const tried = tries[i]
    if (tried?.state !== 'open') return []
    return [{ port, ip, ...classify(port, tried), ...(container === undefined ? {} : { container }) }]
  })
  // A server that speaks at one of the addresses only is what it is there.
  const known = (port: HostPort): boolean => port.what !== 'other'
  const ports = new Map<number, HostPort>()
  for (const port of found) if (!ports.has(port.port) || known(port)) ports.set(port.port, port)
  return { ...answer, ports: [...ports.values()].toSorted((a, b) => a.port - b.port) }
}

const notHere = (bridge: string): string =>
  `the interface ${bridge} is not on the machine that this runs on: Docker is elsewhere, and so are its sockets`

const of = ({ Id, Name }: Bridge): { id: string; name: string } => ({ id: Id, name: Name })

async function bridgeNamed(name: string): Promise<Bridge> {
  const network = await networkNamed(name)
  if (network) return network as Bridge // `docker network inspect` gives the whole of it
  throw new Error(`The network ${name} is not there.`)
}

/** The containers that run, with their ports. One that ends meanwhile is none. @throws Error with docker's words */
async function running(): Promise<WithPorts[]> {
  const ids = (await docker('ps', '-q', '--no-trunc')).split('\n').filter(Boolean)
  if (ids.length === 0) return []
  const words = ['docker', 'container', 'inspect', '--', ...ids] as const
  const { stdout, stderr, exitCode } = await exec({ words }, { anyCode: true })
  const other = stderr.split('\n').filter((l) => l !== '' && !/no such container/i.test(l))
  if (exitCode !== 0 && other.length > 0)
    throw new Error(`docker container inspect failed: ${other.join('\n')}`)
  return JSON.parse(stdout) as WithPorts[]
}

/** What answers, one line for each, for a person to read. */
export function portsText({ ports, network, skipped }: HostPorts): string {
  const lines = ports.map((p) => `  ${p.port}: ${p.what}, ${p.evidence}${by(p)}`)
  const found =
    ports.length === 0
      ? `no port of this server that was tried answers in the network ${network}`
      : `ports of this server that answer in the network ${network}:\n${lines.join('\n')}`
  return skipped === undefined ? found : `${found}\nthe server's own sockets: skipped, because ${skipped}`
}

const by = ({ container }: HostPort): string =>
  container === undefined ? '' : `, published by the container ${container}`

const COULD: Readonly<Record<Exclude<What, 'other'>, string>> = {
  mail: 'Staging could send mail',
  database: 'Staging could write into a database that is not its own',
}

/** One sentence for each port that staging must not reach, with what to do about it; none when there is none. */
export function refusedPorts({ ports, network, bridge }: HostPorts): string[] {
  // Docker's own name for the interface is another one after each deploy that was undone.
  const own = !/^br-[0-9a-f]{12}$/.test(bridge)
  const match = own ? bridge : 'br-+'
  return ports.flatMap((p) => {
    if (p.what === 'other') return []
    const loopback =
      p.container === undefined
        ? `Let it listen on 127.0.0.1 alone (which program it is: ss -ltnp 'sport = :${p.port}')`
        : `Let ${p.container} publish it on 127.0.0.1 alone (ports: 127.0.0.1:${p.port}:…)`
    const firewall = `${isIP(p.ip) === 6 ? 'ip6tables' : 'iptables'} -I INPUT -i ${match} -p tcp --dport ${p.port} -j DROP`
    const note = own ? '' : " (that closes it for production's networks too)"
    return [
      `${COULD[p.what]}: port ${p.port} of this server answers in its network ${network} at ${p.ip} ` +
        `(${p.evidence}${by(p)}). ${loopback}, or close it for Docker's networks${note}:\n  ${firewall}`,
    ]
  })
}

/**
 * Everything on this Docker that is not on the network: each running container, at its address in each of its networks
 * and each of its ports (80 where none is known), and this server itself at its addresses on other bridges.
 */
export async function othersOf(network: string): Promise<Other[]> {
  const bridge = await bridgeNamed(network)
  const containers = (await running()).filter((c) => !Object.hasOwn(c.NetworkSettings.Networks, network))
  const ids = (await docker('network', 'ls', '-q', '--no-trunc', '--filter', 'driver=bridge')).split('\n')
  const bridges = ids.filter((id) => id !== '' && id !== bridge.Id)
  const all = await Promise.all(bridges.map(inspected))
  return [...containers.flatMap(addressesOf), ...all.flat().flatMap(bridgeAddresses)]
}

/** One network; none when it is gone. */
async function inspected(id: string): Promise<Bridge[]> {
  const words = ['docker', 'network', 'inspect', '--', id] as const
  const { stdout, stderr, exitCode } = await exec({ words }, { anyCode: true })
  if (exitCode === 0) return JSON.parse(stdout) as Bridge[]
  if (/not found|no such network/i.test(stderr)) return []
  throw new Error(`docker network inspect ${id} failed: ${stderr.trim()}`)
}

const USUAL = 80 // a port that is as good as any other

function addressesOf({ Name, NetworkSettings }: WithPorts): Other[] {
  const ips = Object.values(NetworkSettings.Networks).flatMap((e) => [e.IPAddress, e.GlobalIPv6Address ?? ''])
  const tcp = Object.keys(NetworkSettings.Ports ?? {}).flatMap((key) => /^(\d+)\/tcp$/.exec(key)?.[1] ?? [])
  const ports = tcp.length > 0 ? tcp.map(Number) : [USUAL]
  const name = `the container ${Name.replace(/^\//, '')}`
  return ips
    .filter((ip) => isIP(ip))
    .flatMap((ip) => ports.map((port) => ({ name, ip: canonical(ip), port })))
}

const bridgeAddresses = (bridge: Bridge): Other[] =>
  gatewaysOf(bridge, '', '').map((ip) => ({
    name: `this server on the network ${bridge.Name}`,
    ip,
    port: USUAL,
  }))

const OUTSIDE = 'example.com' // reserved (RFC 2606), and known to every name server

/**
 * What can be reached from inside the network and should not: a route out of it, one of the others, or a name server
 * elsewhere. One sentence for each; none when there is nothing.
 * @throws Error when there is no such network, or one of them could not be tried.
 */
export async function beyond(
  network: string,
  image: OwnImage,
  stackId: string,
  others: readonly Other[],
): Promise<string[]> {
  const bridge = await bridgeNamed(network)
  const inside = await lookInside(of(bridge), image, stackId, others, { name: OUTSIDE })
  // Docker itself may know a container by that name.
  const resolved = inside.resolved.filter((ip) => !inSubnetsOf(bridge)(ip))
  return beyondText(network, others, { ...inside, resolved })
}

/** What `beyond` says of what was seen. */
export function beyondText(
  network: string,
  others: readonly Other[],
  { tries, routes, resolved }: Inside,
): string[] {
  const out = waysOut(routes)
  const reached = others.flatMap(({ name, ip, port }, i) => {
    const at = isIP(ip) === 6 ? `[${ip}]:${port}` : `${ip}:${port}`
    const state = tries[i]?.state
    if (state === 'open')
      return [`From the network ${network}, ${name} can be reached: ${at} accepts connections.`]
    // Somebody has answered that there is nobody. Behind a way out it is the other, or a firewall: in any case an answer.
    if (state === 'refused')
      return [`From the network ${network}, ${name} can be reached: ${at} answers, with a refusal.`]
    return []
  })
  const names =
    resolved.length === 0
      ? []
      : [
          `From the network ${network}, names of the internet are resolved (${OUTSIDE}: ${resolved.join(', ')}): ` +
            'what is asked goes out. Docker 25.0.5, 26.0.0 and later do not do that (CVE-2024-29018): update Docker.',
        ]
  return [
    ...out.map((via) => `The network ${network} has a way out: a route via ${via}.`),
    ...reached,
    ...names,
  ]
}

const [GATEWAY, REJECT] = [0x2, 0x200] // flags of a route, the same for both families

/** The gateways of routes that lead out of the network: any of a gateway's, and a default route without one. */
export function waysOut({ ipv4, ipv6 }: Inside['routes']): string[] {
  const leads = (flags: number, everywhere: boolean): boolean =>
    (flags & REJECT) === 0 && ((flags & GATEWAY) !== 0 || everywhere)
  const four = ipv4
    .split('\n')
    .slice(1)
    .flatMap((l) => {
      const [device, to, via = '', flags = '', , , , mask] = l.trim().split(/\s+/)
      const everywhere = to === '00000000' && mask === '00000000'
      return leads(Number.parseInt(flags, 16), everywhere) ? [`${device} to ${addressOf(via)}`] : []
    })
  const six = ipv6.split('\n').flatMap((l) => {
    const [to, bits, , , via = '', , , , flags = '', device] = l.trim().split(/\s+/)
    const everywhere = /^0+$/.test(to ?? '') && bits === '00' && device !== 'lo'
    return leads(Number.parseInt(flags, 16), everywhere) ? [`${device} to ${address6(via)}`] : []
  })
  return [...four, ...six]
}
