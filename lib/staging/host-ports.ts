// Which ports of this server might answer in a Docker network: found on the server itself, by sockets that listen and
// ports that containers publish. Whether one does answer is tried elsewhere.
import { existsSync, readFileSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { endianness } from 'node:os'
import type { ContainerInspect } from '../docker.ts'
import type { NetworkInspect } from './objects.ts'

/** What is used of a bridge's network. */
export interface Bridge extends NetworkInspect {
  readonly Driver: string
  readonly Options: Readonly<Record<string, string>> | null
  readonly IPAM: {
    readonly Config: readonly { readonly Subnet?: string; readonly Gateway?: string }[] | null
  }
}

/** A container with its ports: those that are exposed alone have no bindings. */
export interface WithPorts extends Pick<ContainerInspect, 'Id' | 'Name'> {
  readonly NetworkSettings: ContainerInspect['NetworkSettings'] & {
    readonly Ports?: Readonly<
      Record<string, readonly { readonly HostIp: string; readonly HostPort: string }[] | null>
    > | null
  }
}

/** A socket that listens. */
export interface Socket {
  readonly address: string
  readonly port: number
}

/** The name of the interface on the server. */
export const interfaceOf = ({ Id, Options }: Pick<Bridge, 'Id' | 'Options'>): string =>
  Options?.['com.docker.network.bridge.name'] ?? `br-${Id.slice(0, 12)}`

/**
 * Whether the network's bridge is an interface that this process sees, by the text of /proc/net/dev. Where it is not
 * (Docker on another machine, in a virtual machine, without root), its sockets are not those that we would read.
 */
export const isHere = (name: string, dev: string): boolean =>
  dev.split('\n').some((l) => l.trimStart().startsWith(`${name}:`))

const LISTEN = '0A'

/** The listening sockets in the text of /proc/net/tcp or tcp6. */
export function listening(text: string, order: 'LE' | 'BE' = endianness()): Socket[] {
  return text.split('\n').flatMap((l) => {
    const [, address = '', port = '', state] =
      /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) /.exec(l) ?? []
    if (state !== LISTEN) return []
    return [{ address: addressOf(address, order), port: Number.parseInt(port, 16) }]
  })
}

/** The kernel prints words of 32 bits, each as the processor has it. */
export function addressOf(hex: string, order: 'LE' | 'BE' = endianness()): string {
  const words = hex.match(/.{8}/g) ?? []
  const bytes = words.flatMap((w) => {
    const word = (w.match(/../g) ?? []).map((b) => Number.parseInt(b, 16))
    return order === 'LE' ? word.toReversed() : word
  })
  return ipOf(bytes)
}

/** An address of IPv6 as 32 digits, as the kernel prints it elsewhere. */
export const address6 = (hex: string): string => ipOf([...Buffer.from(hex, 'hex')])

/** The address of 4 or 16 bytes, in one way of writing; one of IPv4 within IPv6 is one of IPv4. */
function ipOf(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join('.')
  const mapped = bytes.slice(0, 10).every((b) => b === 0) && bytes[10] === 0xff && bytes[11] === 0xff
  if (mapped) return bytes.slice(12).join('.')
  const hex = Buffer.from(bytes).toString('hex').match(/.{4}/g) ?? []
  return canonical(hex.join(':'))
}

/** An address as everybody here writes it. */
export const canonical = (ip: string): string =>
  isIP(ip) === 6 ? new URL(`http://[${ip}]`).hostname.slice(1, -1) : ip

/**
 * The server's own addresses in a network, by what Docker says and what the kernel has. Docker names no gateway
 * where only a subnet was asked for.
 * @param trie the text of /proc/net/fib_trie
 * @param inet6 the text of /proc/net/if_inet6
 */
export function gatewaysOf(network: Bridge, trie: string, inet6: string): string[] {
  const config = network.IPAM.Config ?? []
  const named = config.flatMap(({ Gateway }) => (Gateway ? [Gateway.split('/')[0] ?? ''] : []))
  const within = inSubnetsOf(network)
  const local = [...trie.matchAll(/\|-- ([\d.]+)\s+\/32 host LOCAL/g)].map((m) => m[1] ?? '')
  const local6 = inet6.split('\n').flatMap((l) => {
    const [hex = ''] = l.split(' ')
    return hex.length === 32 ? [address6(hex)] : []
  })
  const all = [...named, ...[...local, ...local6].filter(within)]
  return [...new Set(all.filter((ip) => isIP(ip)).map(canonical))]
}

/** Whether an address is one of the network's. */
export function inSubnetsOf({ IPAM }: Pick<Bridge, 'IPAM'>): (ip: string) => boolean {
  const subnets = new BlockList()
  for (const { Subnet } of IPAM.Config ?? []) {
    const [net = '', bits] = (Subnet ?? '').split('/')
    if (isIP(net)) subnets.addSubnet(net, Number(bits), isIP(net) === 6 ? 'ipv6' : 'ipv4')
  }
  return (ip) => isIP(ip) !== 0 && subnets.check(ip, isIP(ip) === 6 ? 'ipv6' : 'ipv4')
}

/** A port that might answer at the bridge's address, and which container publishes it. */
export interface Candidate {
  readonly port: number
  readonly container?: string
}

const WILDCARDS: readonly string[] = ['0.0.0.0', '::']
const isLoopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1'

/**
 * The ports that might answer at these addresses: of sockets that are bound to all addresses or to one of these, and
 * those that containers publish other than on loopback. (Docker may publish one without any socket: by rules of the
 * firewall alone.) Each once, by number.
 */
export function candidatesOf(
  sockets: readonly Socket[],
  containers: readonly WithPorts[],
  gateways: readonly string[],
): Candidate[] {
  const found = new Map<number, Candidate>()
  for (const { address, port } of sockets)
    if (WILDCARDS.includes(address) || gateways.includes(address)) found.set(port, { port })
  for (const { Name, NetworkSettings } of containers)
    for (const [key, bindings] of Object.entries(NetworkSettings.Ports ?? {}))
      for (const { HostIp, HostPort } of bindings ?? []) {
        const port = Number(HostPort)
        if (key.endsWith('/tcp') && port > 0 && !isLoopback(HostIp))
          found.set(port, { port, container: Name.replace(/^\//, '') })
      }
  return [...found.values()].toSorted((a, b) => a.port - b.port)
}

/** A file of the kernel's, as this process sees it; empty where the kernel has none (no IPv6, or no Linux). */
export const kernel = (name: string): string => {
  const path = `/proc/net/${name}`
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}
