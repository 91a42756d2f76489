// Images of the rehearsal: built from a folder, kept as 127.0.0.1:<port>/rehearsal/<name>:<tag> and nowhere else,
// pushed to the registry of the rehearsal.
//
//   buildImage(machine, { name, tag, context, dockerfile? }, step?): Promise<{ ref, id, digest }>
//
// The Dockerfile begins with `ARG BASE` and `FROM ${BASE}`; BASE is 127.0.0.1:<port>/rehearsal/base:1.
import { createHash } from 'node:crypto'
import { readFile, readdir, readlink, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { attempt, run, systemEnv } from './command.ts'
import { lock } from './lock.ts'
import type { Step } from './step.ts'

/** What is needed of a machine to work with images; a `Machine` is one. */
export interface Host {
  /** variables to use docker with, over those of the process */
  env: Record<string, string>
  /** path of the docker command */
  docker: string
  /** `127.0.0.1:<port>` */
  registry: string
  /** folder of everything that the set-up keeps */
  cache: string
}

export interface ImageSource {
  /** the last part of the image's name, e.g. `gateway` */
  name: string
  tag: string
  /** folder that holds all that goes into the image */
  context: string
  /** path below `context`; `Dockerfile` when left out */
  dockerfile?: string
}

export interface Image {
  /** `127.0.0.1:<port>/rehearsal/<name>:<tag>` */
  ref: string
  /** `sha256:…`, the image as Docker has it */
  id: string
  /** `sha256:…`, the manifest as the registry has it: `127.0.0.1:<port>/rehearsal/<name>@<digest>` can be pulled */
  digest: string
}

/** Name of an image in the registry of the rehearsal. */
export const imageRef = (host: Host, name: string, tag: string) => `${host.registry}/rehearsal/${name}:${tag}`

/** Environment for a command that talks to Docker. */
export const dockerEnv = (host: Host): NodeJS.ProcessEnv => ({ ...systemEnv(), ...host.env })

const PATIENCE = 600 // s: ten times what the slowest image takes

const silently: Step = (_title, action) => action()

/**
 * Builds an image FROM the base image and pushes it. One that was built from the same files on the same base, here or
 * in the registry, is taken as it is. The image carries the labels `rehearsal=1` and `rehearsal.content=<sha256>`.
 * `step` is told of what was done and how long it took. Throws with docker's words when the build or the push fails.
 */
export async function buildImage(host: Host, source: ImageSource, step: Step = silently): Promise<Image> {
  const { context, dockerfile = 'Dockerfile' } = source
  const base = imageRef(host, 'base', '1')
  const baseImage = await inspect(host, base)
  if (!baseImage) throw new Error(`The image ${base} is missing. Next: node --import tsx test/stack/setup.ts`)
  const content = await contentOf(context, [dockerfile, baseImage.id])
  const ref = imageRef(host, source.name, source.tag)
  return provide(host, ref, content, step, async () => {
    const labels = ['--label', 'rehearsal=1', '--label', `rehearsal.content=${content}`]
    const options = ['--quiet', '--tag', ref, ...labels, '--build-arg', `BASE=${base}`]
    // The classic builder: it is in every daemon and uses local images as a base without asking a registry.
    const env = { ...dockerEnv(host), DOCKER_BUILDKIT: '0' }
    await run(host.docker, ['build', ...options, '--file', join(context, dockerfile), context], { env })
  })
}

/**
 * Has an image with this content label under this name, in Docker and in the registry: what is there is used,
 * otherwise `make` is called, which must leave the image tagged `ref` and labelled. One image at a time, whoever asks.
 */
export async function provide(
  host: Host,
  ref: string,
  content: string,
  step: Step,
  make: () => Promise<void>,
): Promise<Image> {
  const unlock = await lock(join(host.cache, 'images.lock'), 'exclusive', PATIENCE)
  if (!unlock) throw new Error(`Another process has been busy with images for more than ${PATIENCE} s.`)
  try {
    return await provideAlone(host, ref, content, step, make)
  } finally {
    unlock()
  }
}

async function provideAlone(
  host: Host,
  ref: string,
  content: string,
  step: Step,
  make: () => Promise<void>,
): Promise<Image> {
  const env = dockerEnv(host)
  let image = await inspect(host, ref)
  if (!image && (await digestInRegistry(ref))) {
    await step(`pulled ${ref}`, () => run(host.docker, ['pull', '--quiet', ref], { env }))
    image = await inspect(host, ref)
  }
  if (image?.content !== content) {
    await step(`built ${ref}`, make)
    image = await inspect(host, ref)
    if (image?.content !== content) throw new Error(`The image ${ref} is not what was built just now.`)
  }
  const known = await digestInRegistry(ref)
  if (known && image.digests.includes(known)) return { ref, id: image.id, digest: known }
  await step(`pushed ${ref}`, () => run(host.docker, ['push', '--quiet', ref], { env }))
  const digest = await digestInRegistry(ref)
  if (!digest) throw new Error(`The image ${ref} was pushed, but the registry does not have it.`)
  return { ref, id: image.id, digest }
}

interface Inspected {
  id: string
  content: string | undefined
  digests: string[]
}

/** An image as Docker has it, or undefined. */
async function inspect(host: Host, ref: string): Promise<Inspected | undefined> {
  const found = await attempt(host.docker, ['image', 'inspect', ref], { env: dockerEnv(host) })
  if (!found.ok) {
    if (/No such image/i.test(found.failure)) return undefined
    throw new Error(found.failure)
  }
  const [image] = JSON.parse(found.stdout) as [
    { Id: string; RepoDigests: string[] | null; Config: { Labels: Record<string, string> | null } },
  ]
  return {
    id: image.Id,
    content: image.Config.Labels?.['rehearsal.content'],
    digests: (image.RepoDigests ?? []).map((digest) => digest.slice(digest.indexOf('@') + 1)),
  }
}

/** Digest under which the registry has an image, or undefined. Throws when the registry does not answer. */
async function digestInRegistry(ref: string): Promise<string | undefined> {
  const [, registry, name, tag] = /^([^/]+)\/(.+):([^:]+)$/.exec(ref)!
  const accept = [
    'application/vnd.docker.distribution.manifest.v2+json',
    'application/vnd.oci.image.manifest.v1+json',
    'application/vnd.oci.image.index.v1+json',
  ]
  const answer = await fetch(`http://${registry}/v2/${name}/manifests/${tag}`, {
    method: 'HEAD',
    headers: { accept: accept.join(', ') },
    signal: AbortSignal.timeout(10_000),
  }).catch((cause: unknown) => {
    throw new Error(`The registry ${registry} does not answer. Next: node --import tsx test/stack/setup.ts`, {
      cause,
    })
  })
  if (answer.status === 404) return undefined
  if (!answer.ok) throw new Error(`The registry ${registry} answers ${answer.status} for ${ref}.`)
  return answer.headers.get('docker-content-digest') ?? undefined
}

/** sha256 over a folder (paths, execute bits, bytes, targets of links) and over further words. */
async function contentOf(folder: string, words: string[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(words))
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => ({
      entry,
      path: join(entry.parentPath, entry.name),
    }))
  for (const { entry, path } of paths.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    const bytes = entry.isSymbolicLink() ? Buffer.from(await readlink(path)) : await readFile(path)
    const executable = !entry.isSymbolicLink() && ((await stat(path)).mode & 0o111) !== 0
    hash.update(JSON.stringify([relative(folder, path), executable, bytes.length])).update(bytes)
  }
  return hash.digest('hex')
}
