// The proxy of production and staging's network: the one thing of production that a staging changes. The proxy gets a
// second network beside its own, so that it reaches staging's services; nothing of production is reached from there
// but the proxy itself.
import { docker, type ContainerInspect } from '../docker.ts'
import { sentence } from '../errors.ts'
import type { Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { networkNamed, type NetworkInspect } from './objects.ts'
import { stagingHere } from './record.ts'

/** Whether a container is connected to a network, also while it is stopped. */
export const isJoined = (container: ContainerInspect, network: string): boolean =>
  Object.hasOwn(container.NetworkSettings.Networks, network)

/** The container of the stack's proxy; undefined when it has none. */
export const proxyOf = ({ services, about }: Stack): ContainerInspect | undefined =>
  services.find((s) => s.name === about.proxy.service)?.container

/** Connects the stack's proxy to a network. Safe to repeat. @returns whether it was not before */
export async function join(
  stack: Stack,
  network: NetworkInspect,
  doing: Pick<Doing, 'effect' | 'say'>,
): Promise<boolean> {
  const proxy = proxyOf(stack)
  if (!proxy) throw new Error(`The proxy (service '${stack.about.proxy.service}') has no container.`)
  if (isJoined(proxy, network.Name)) return false
  const name = proxy.Name.replace(/^\//, '')
  await doing.effect('Connect the proxy', { container: name, network: network.Name }, () =>
    docker('network', 'connect', '--', network.Id, proxy.Id),
  )
  doing.say(`production's proxy, ${name}, is connected to ${network.Name}`)
  return true
}

/**
 * Disconnects the stack's proxy from a network. Safe to repeat. Also where the network is gone: a stopped container that
 * names a network which is not there cannot be started.
 */
export async function leave(stack: Stack, name: string, doing: Pick<Doing, 'effect' | 'say'>): Promise<void> {
  const proxy = proxyOf(stack)
  if (!proxy || !isJoined(proxy, name)) return
  await doing.effect(
    'Disconnect the proxy',
    { container: proxy.Name.replace(/^\//, ''), network: name },
    () => docker('network', 'disconnect', '-f', '--', name, proxy.Id),
  )
  doing.say(`production's proxy is disconnected from ${name}`)
}

/**
 * Connects the proxy again where it was made anew since: a recreated container has lost the connection. Does nothing
 * where no staging stands. What goes wrong is told, and fails nothing: staging is not this run's business.
 */
export async function rejoin(stack: Stack, doing: Pick<Doing, 'effect' | 'say'>): Promise<void> {
  const proxy = proxyOf(stack)
  try {
    const staging = stagingHere(stack.config)
    if (!staging?.joined || !proxy || isJoined(proxy, staging.network)) return
    const network = await networkNamed(staging.network)
    if (network) await join(stack, network, doing)
    else
      doing.say(`staging's network ${staging.network} is gone: task teardown-staging, or task deploy-staging`)
  } catch (error) {
    doing.say(`the proxy could not be connected to staging again: ${sentence(error)}\n  task deploy-staging`)
  }
}
