// What the machine has of its own accord.
import { delimiter } from 'node:path'
import { attempt, systemEnv, which } from './command.ts'
import { daemonRuns } from './daemon.ts'
import type { Paths } from './paths.ts'
import { Refusal } from './refusal.ts'

export interface Found {
  /** our environment without what an earlier set-up had exported into it */
  env: NodeJS.ProcessEnv
  /** path of the machine's docker command */
  docker: string | undefined
  /** socket of a Docker that runs and is not ours; not looked for while ours runs */
  socket: string | undefined
  /** whether the docker command knows Compose v2 */
  compose: boolean
}

/** Looks at the machine and changes nothing. Throws a `Refusal` when Docker runs, but on another machine. */
export async function look(paths: Paths): Promise<Found> {
  const env = withoutOurs(systemEnv(), paths)
  const docker = which('docker', env)
  if (!docker) return { env, docker, socket: undefined, compose: false }
  const compose = (await attempt(docker, ['compose', 'version'], { env })).ok
  const ours = daemonRuns(paths)
  const socket = ours ? undefined : await runningDocker(docker, env)
  return { env, docker, socket, compose }
}

async function runningDocker(docker: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if (!(await attempt(docker, ['version'], { env, timeout: 20_000 })).ok) return undefined
  const format = '{{.Endpoints.docker.Host}}'
  const endpoint = await attempt(docker, ['context', 'inspect', '--format', format], { env })
  const socket = /^unix:\/\/(\/.+)$/.exec(endpoint.stdout.trim())?.[1]
  if (socket) return socket
  throw new Refusal(
    3,
    `Docker answers at ${endpoint.stdout.trim()}, which is not a socket of this machine; the rehearsal stack needs ` +
      'its ports and folders here. Nothing was changed. Next: unset DOCKER_HOST and DOCKER_CONTEXT, and try again.',
  )
}

function withoutOurs(env: NodeJS.ProcessEnv, paths: Paths): NodeJS.ProcessEnv {
  const rest = { ...env }
  if (rest['DOCKER_HOST'] === `unix://${paths.socket}`) delete rest['DOCKER_HOST']
  if (rest['DOCKER_CONFIG'] === paths.dockerConfig) delete rest['DOCKER_CONFIG']
  rest['PATH'] = (rest['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => folder !== paths.bin)
    .join(delimiter)
  return rest
}
