// What the registry has now under the names of the Compose file, asked without pulling anything.
import { docker, inspectImage, type ImageInspect } from '../docker.ts'
import { exec, sh } from '../shell.ts'
import type { Service, Stack } from '../stack.ts'

/** What an image's name means in its registry now. */
export interface Published {
  /** Digests by which it can be named: its own, and, of an index, those for the platforms. */
  readonly digests: readonly string[]
  /** Ids that the image has on a server: the digests of its configurations. */
  readonly ids: readonly string[]
  /** Layers as they are downloaded: digest and bytes, compressed. */
  readonly layers: ReadonlyMap<string, number>
  /** It is an index of images for several platforms. */
  readonly index: boolean
}

/** What `docker manifest inspect --verbose` prints: one of these, or for an index one for each platform. */
interface Entry {
  readonly Descriptor: { readonly digest: string; readonly platform?: Platform }
  readonly SchemaV2Manifest?: ManifestV2
  readonly OCIManifest?: ManifestV2
}
interface Platform {
  readonly architecture?: string
  readonly os?: string
}
interface ManifestV2 {
  readonly config: { readonly digest: string }
  readonly layers: readonly { readonly digest: string; readonly size: number }[]
}

/**
 * Asks the registry what a name means. @throws Error with Docker's words when it does not answer or does not know it
 * (https://docs.docker.com/reference/cli/docker/manifest/inspect/).
 */
export async function published(ref: string): Promise<Published> {
  const insecure = (await isInsecure(registryOf(ref))) ? ['--insecure'] : []
  const { stdout } = await exec(sh`docker manifest inspect --verbose ${insecure} -- ${ref}`)
  const answer = JSON.parse(stdout) as Entry | Entry[]
  const entries = (Array.isArray(answer) ? answer : [answer]).filter(runsHere)
  const manifests = entries.flatMap((e) => e.SchemaV2Manifest ?? e.OCIManifest ?? [])
  return {
    digests: entries.map((e) => e.Descriptor.digest),
    ids: manifests.map((m) => m.config.digest),
    index: Array.isArray(answer),
    layers: new Map(manifests.flatMap((m) => m.layers.map((l) => [l.digest, l.size] as const))),
  }
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: '386',
}

function runsHere({ Descriptor: { platform } }: Entry): boolean {
  const { architecture, os } = platform ?? {}
  return (os ?? 'linux') === 'linux' && (!architecture || architecture === ARCHITECTURES[process.arch])
}

/** Whether a local image is the one that is published; undefined where that cannot be told before a pull. */
export function isPublished(image: ImageInspect, { digests, ids, index }: Published): boolean | undefined {
  const named = (image.RepoDigests ?? []).map((d) => d.slice(d.indexOf('@') + 1))
  if (ids.includes(image.Id) || digests.some((d) => named.includes(d))) return true
  // Docker's containerd image store names an image by its index, whose digest the registry's answer does not hold.
  return index && named.includes(image.Id) ? undefined : false
}

/** bytes that a pull would download: the layers that the image which runs does not have. */
export async function toDownload(published_: Published, running: ImageInspect | undefined): Promise<number> {
  const had = running?.RepoDigests?.[0]
  // An old image that its registry does not have any more shares nothing that we know of.
  const shared = had === undefined ? undefined : await published(had).catch(() => undefined)
  return [...published_.layers].reduce(
    (sum, [digest, size]) => (shared?.layers.has(digest) ? sum : sum + size),
    0,
  )
}

/** Services whose image comes from a registry: not those that are built here. */
export function pulled({ services, resolved }: Stack): Service[] {
  return services.filter(({ name, image }) => {
    const { build, pull_policy: policy } = resolved.services[name] ?? {}
    return image !== '' && build === undefined && policy !== 'never' && policy !== 'build'
  })
}

/** `registry.example:5000` of a reference; `docker.io` when it names none. */
export function registryOf(ref: string): string {
  const [first = '', ...rest] = ref.split('/')
  return rest.length > 0 && (/[.:]/.test(first) || first === 'localhost') ? first : 'docker.io'
}

/** Docker's command line does not know what the daemon was told: which registries speak plain HTTP. */
async function isInsecure(registry: string): Promise<boolean> {
  const host = registry.replace(/:\d+$/, '')
  if (/^(127\.|localhost$|\[::1\]$)/.test(host)) return true
  const said = JSON.parse(
    await docker('info', '--format', '{{json .RegistryConfig.IndexConfigs}}'),
  ) as Record<string, { Secure?: boolean }> | null
  return said?.[registry]?.Secure === false
}

/** The repository of a reference: without its tag and digest. */
export const repositoryOf = (ref: string): string => ref.replace(/@.*$/, '').replace(/:[^:/]*$/, '')

/** An image by id, as this server has it. @throws when it has not */
export async function localImage(id: string): Promise<ImageInspect> {
  const found = await inspectImage(id)
  if (found) return found
  throw new Error(`This server does not have the image ${id} any more.`)
}
