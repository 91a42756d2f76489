// A Compose project that belongs to a rehearsal stack, as Docker knows it: by the label that Compose puts on everything.
import { rm } from 'node:fs/promises'
import { run } from './machine/command.ts'
import { dockerEnv, type Host } from './machine/images.ts'

const PROJECT = 'com.docker.compose.project'

/** The project of a rehearsal stack's staging. */
export const stagingName = (project: string): string => `${project}-staging`

/**
 * Removes the project's containers, networks and volumes, each by id or name, and its folder. Whatever else is connected
 * to one of its networks is disconnected first.
 */
export async function removeProject(host: Host, project: string, dir: string): Promise<void> {
  const docker = (...args: readonly string[]): Promise<string> =>
    run(host.docker, args, { env: dockerEnv(host) })
  const list = async (...what: readonly string[]): Promise<string[]> =>
    (await docker(...what, '--quiet', '--filter', `label=${PROJECT}=${project}`)).split('\n').filter(Boolean)

  const containers = await list('ps', '--all', '--no-trunc')
  if (containers.length > 0) await docker('rm', '--force', ...containers)
  const networks = await list('network', 'ls', '--no-trunc')
  for (const network of networks) {
    const format = '{{range $id, $_ := .Containers}}{{$id}} {{end}}'
    const guests = (await docker('network', 'inspect', '--format', format, network)).trim().split(' ')
    for (const guest of guests.filter(Boolean))
      await docker('network', 'disconnect', '--force', network, guest)
    await docker('network', 'rm', network)
  }
  const volumes = await list('volume', 'ls')
  if (volumes.length > 0) await docker('volume', 'rm', ...volumes)
  await rm(dir, { recursive: true, force: true })
}
