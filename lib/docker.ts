// Docker, asked and told through its command line.
import { CommandFailed, exec, sh, type Command } from './shell.ts'

/** What is used of `docker inspect CONTAINER`. */
export interface ContainerInspect {
  readonly Id: string
  readonly Name: string
  readonly Created: string
  readonly Image: string
  /** The program that it runs, and its words. */
  readonly Path: string
  readonly Args: readonly string[]
  readonly RestartCount: number
  readonly State: {
    readonly Status: string
    readonly Running: boolean
    readonly ExitCode: number
    readonly StartedAt: string
    readonly FinishedAt: string
    readonly Health?: { readonly Status: string; readonly Log?: readonly { readonly Output: string }[] }
  }
  readonly Config: {
    readonly Image: string
    readonly Env: readonly string[] | null
    readonly Labels: Readonly<Record<string, string>>
    readonly Volumes: Readonly<Record<string, unknown>> | null
    readonly Healthcheck?: unknown
    readonly User: string
    readonly Hostname?: string
  }
  readonly HostConfig: {
    readonly RestartPolicy: { readonly Name: string }
    readonly Tmpfs?: Readonly<Record<string, string>> | null
  }
  readonly Mounts: readonly Mount[]
  readonly NetworkSettings: { readonly Networks: Readonly<Record<string, Endpoint>> }
}

/** A container on one network. The lists hold names under which others find it there. */
export interface Endpoint {
  readonly IPAddress: string
  readonly GlobalIPv6Address?: string
  readonly Aliases?: readonly string[] | null
  /** Engine 25 and later. */
  readonly DNSNames?: readonly string[] | null
}

/** One mount of a container: a named or anonymous volume, a bind, a tmpfs. */
export interface Mount {
  readonly Type: string
  readonly Name?: string
  readonly Source: string
  readonly Destination: string
  readonly Driver?: string
  readonly RW: boolean
}

export interface VolumeInspect {
  readonly Name: string
  readonly Driver: string
  readonly Mountpoint: string
  readonly CreatedAt: string
  readonly Labels: Readonly<Record<string, string>> | null
}

export interface ImageInspect {
  readonly Id: string
  readonly RepoTags: readonly string[] | null
  readonly RepoDigests: readonly string[] | null
  readonly Created: string
  readonly Size: number
  readonly Architecture: string
  readonly Config: {
    readonly Env?: readonly string[] | null
    readonly Labels?: Readonly<Record<string, string>> | null
    readonly Volumes?: Readonly<Record<string, unknown>> | null
  }
}

/** Runs docker with the words given and returns its standard output. @throws CommandFailed */
export async function docker(...words: readonly string[]): Promise<string> {
  return (await exec({ words: ['docker', ...words] })).stdout
}

/** The ids of containers, running or not, that carry every one of these labels (`key=value`, or `key`). */
export async function containerIds(...labels: readonly string[]): Promise<string[]> {
  const out = await docker('ps', '-aq', '--no-trunc', ...labels.flatMap((l) => ['--filter', `label=${l}`]))
  return out.split('\n').filter(Boolean)
}

/** Ends and removes the containers that carry every one of these labels. */
export async function removeContainers(...labels: readonly string[]): Promise<void> {
  for (const id of await containerIds(...labels)) {
    try {
      await docker('rm', '-f', id)
    } catch (error) {
      // Its own --rm may have been faster.
      if (!(error instanceof CommandFailed) || !/no such container|already in progress/i.test(error.stderr))
        throw error
    }
  }
}

/** Inspects containers by id, in the order given. @throws CommandFailed when one is gone. */
export async function inspectContainers(ids: readonly string[]): Promise<ContainerInspect[]> {
  if (ids.length === 0) return []
  return JSON.parse(await docker('container', 'inspect', '--', ...ids)) as ContainerInspect[]
}

/** Inspects volumes by name. @throws CommandFailed when one is gone. */
export async function inspectVolumes(names: readonly string[]): Promise<VolumeInspect[]> {
  if (names.length === 0) return []
  return JSON.parse(await docker('volume', 'inspect', '--', ...names)) as VolumeInspect[]
}

/** Inspects an image by reference or id; undefined when this server does not have it. */
export async function inspectImage(ref: string): Promise<ImageInspect | undefined> {
  const { stdout, stderr, exitCode } = await exec(sh`docker image inspect -- ${ref}`, { anyCode: true })
  if (exitCode === 0) return (JSON.parse(stdout) as ImageInspect[])[0]
  if (/no such image/i.test(stderr)) return undefined
  throw new Error(`docker image inspect ${ref} failed: ${stderr.trim()}`)
}

/**
 * The environment in which Compose is run: just enough to find Docker. Whatever else the operator's shell exports
 * would beat the stack's own .env (https://docs.docker.com/compose/how-tos/environment-variables/envvars-precedence/).
 */
export function minimalEnvironment(): Record<string, string> {
  const kept = [
    'PATH',
    'HOME',
    'DOCKER_HOST',
    'DOCKER_CONTEXT',
    'DOCKER_CONFIG',
    'DOCKER_CERT_PATH',
    'DOCKER_TLS_VERIFY',
  ]
  return Object.fromEntries(kept.flatMap((k) => (process.env[k] === undefined ? [] : [[k, process.env[k]]])))
}

/** Where a Compose project is: its name, its folder, and the files it was created from. */
export interface Project {
  readonly project: string
  readonly dir: string
  readonly files: readonly string[]
}

/**
 * A `docker compose` command for one project, with the files that the running stack was created from. Without a
 * project's name Compose derives it itself, as a plain `docker compose up` in that folder would.
 */
export function compose({ project, dir, files }: Project, ...words: readonly string[]): Command {
  const named = [...(project === '' ? [] : ['-p', project]), ...files.flatMap((f) => ['-f', f])]
  return {
    words: ['docker', 'compose', '--project-directory', dir, ...named, ...words],
    env: minimalEnvironment(),
  }
}
