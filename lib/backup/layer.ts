// Files in a container's own layer: they go with the container. This is how uploads were once lost.
import { dirname } from 'node:path'
import type { Readable } from 'node:stream'
import { size, type Bytes } from './bytes.ts'
import { END, padding, show } from './tar.ts'
import { entries } from './untar.ts'
import { containerIds, docker, inspectContainers, type ContainerInspect } from '../docker.ts'
import { sentence } from '../errors.ts'
import { sh, stream } from '../shell.ts'
import { service, type Stack } from '../stack.ts'

/** What one container of a service would take with it. */
export interface LayerFinding {
  readonly service: string
  readonly container: string
  /** What a set must hold of it: paths in the container, a folder with all that is in it. */
  readonly roots: readonly string[]
  /** In words: what and how much. */
  readonly text: string
}

/** One line of `docker diff`. */
export interface Changed {
  readonly kind: 'A' | 'C' | 'D'
  readonly path: string
}

/** What a tar of a container holds besides folders. */
export interface LayerTally {
  readonly files: number
  /** bytes of their content */
  readonly bytes: number
}

const LIMIT = 2 ** 20 // bytes that a container may keep outside volumes, temporary folders and logs
const SHOWN = 5 // paths in a message
const TEMPORARY = ['/tmp', '/var/tmp', '/run', '/var/run', '/dev', '/proc', '/sys', '/var/log']
const DOCKERS = ['/sbin/docker-init', '/usr/sbin/docker-init'] // what `init: true` mounts there, empty in the layer

/**
 * What the containers of these services keep in their own layers, running or stopped: any file below a path of state,
 * or more than 1 MiB elsewhere. In the ordinary case three questions to Docker for each container, none of which reads
 * a file. What cannot be read is a finding, too.
 * @throws CommandFailed when Docker does not tell what a container has changed
 */
export async function layerFindings(stack: Stack, names: readonly string[]): Promise<LayerFinding[]> {
  const label = 'com.docker.compose'
  const findings: LayerFinding[] = []
  for (const name of names) {
    const ids = await containerIds(`${label}.project=${stack.project}`, `${label}.service=${name}`)
    for (const container of await inspectContainers(ids)) {
      // An update leaves what `docker compose run` has started alone.
      if (container.Config.Labels[`${label}.oneoff`] === 'True') continue
      const found = await findingIn(container, service(stack, name).about.state ?? [])
      if (found) findings.push({ service: name, container: container.Id, ...found })
    }
  }
  return findings
}

async function findingIn(
  { Id, Mounts, HostConfig }: ContainerInspect,
  state: readonly string[],
): Promise<Pick<LayerFinding, 'roots' | 'text'> | undefined> {
  const changed = parseDiff(await docker('diff', '--', Id))
  const mounts = [...Mounts.map((m) => m.Destination), ...Object.keys(HostConfig.Tmpfs ?? {})]
  const bare = state.map(trimmed).filter((path) => !mounts.some((m) => within(path, m)))
  const roots: string[] = []
  const texts: string[] = []
  for (const path of bare) {
    const below = changed.filter((c) => within(c.path, path))
    const found = await measure(Id, layerRoots(below, mounts), -1)
    if (found.files === 0) continue
    // All of it, whatever the names in it: Docker's list cannot spell each of them.
    roots.push(...(mounts.some((m) => within(m, path)) ? found.roots : [path]))
    texts.push(`${found.text} in its own layer, below a path of state`)
  }
  if (Number((await docker('inspect', '--size', '--format', '{{.SizeRw}}', '--', Id)).trim()) > LIMIT) {
    const elsewhere = layerRoots(changed, [...mounts, ...TEMPORARY, ...DOCKERS, ...bare], 'no logs')
    const found = await measure(Id, elsewhere, LIMIT, isLog)
    if (found.bytes > LIMIT) {
      roots.push(...found.roots)
      texts.push(`${found.text} in its own layer`)
    }
  }
  return roots.length === 0 ? undefined : { roots, text: texts.join('; and ') }
}

/** The lines of `docker diff`: a line that is none goes on from the one before, since a name may hold a line break. */
export function parseDiff(text: string): Changed[] {
  const found: { kind: Changed['kind']; path: string }[] = []
  for (const line of text.replace(/\n$/, '').split('\n')) {
    const [, kind, path] = /^([ACD]) (\/.*)$/s.exec(line) ?? []
    const last = found.at(-1)
    if (kind !== undefined && path !== undefined) found.push({ kind: kind as Changed['kind'], path })
    else if (last) last.path += `\n${line}`
  }
  return found
}

/**
 * Where the files of the layer are: topmost added paths, of which all lies in it, and changed ones that have nothing
 * changed below them. (Such a folder is not of the layer, only its mode or time is.)
 * @param apart folders that are looked at by themselves or not at all: no root lies in one, or holds one
 */
export function layerRoots(
  changed: readonly Changed[],
  apart: readonly string[],
  logs: 'with logs' | 'no logs' = 'with logs',
): Changed[] {
  const is = changed.filter((c) => c.kind !== 'D')
  const parents = new Set(is.map((c) => dirname(c.path)))
  const there = is.filter((c) => !apart.some((folder) => within(c.path, folder)))
  const whole = new Set(
    there.filter((c) => c.kind === 'A' && !apart.some((folder) => within(folder, c.path))).map((c) => c.path),
  )
  return there.filter(({ kind, path }) => {
    if (logs === 'no logs' && isLog(path, parents.has(path) ? 'folder' : 'file')) return false
    if (kind === 'C') return !parents.has(path)
    return whole.has(path) && !above(path).some((p) => whole.has(p))
  })
}

/** The folders above a path. */
function above(path: string): string[] {
  const parent = dirname(path)
  return parent === '/' || parent === path ? [] : [parent, ...above(parent)]
}

const trimmed = (path: string): string => path.replace(/\/+$/, '')

const within = (path: string, folder: string): boolean => `${path}/`.startsWith(`${trimmed(folder)}/`)

/** Whether it lies in a folder of logs, or is a file that is one. */
const isLog = (path: string, type: string): boolean =>
  path.split('/').includes('logs') || (type !== 'folder' && path.endsWith('.log'))

type Ignored = (path: string, type: string) => boolean

interface Measured extends LayerTally {
  /** Those that hold files, or may hold some. */
  readonly roots: readonly string[]
  readonly text: string
}

/** Counts the files at these roots, not further than what it takes to know that they are more than `enough` bytes. */
async function measure(
  container: string,
  among: readonly Changed[],
  enough: number,
  ignored: Ignored = () => false,
): Promise<Measured> {
  let [files, bytes, untold] = [0, 0, false]
  const roots: string[] = []
  const told: string[] = []
  for (const { kind, path } of among) {
    const clear = bytes > enough && told.length >= SHOWN
    try {
      if (clear && kind === 'A') {
        untold = true
        roots.push(path)
        continue
      }
      const one = await countAt(container, path, kind, ignored)
      if (one.files === 0) continue
      files += one.files
      bytes += one.bytes
      roots.push(path)
      told.push(
        `${JSON.stringify(path)} (${one.files} files, ${size(one.bytes)}${one.more ? ' and more' : ''})`,
      )
    } catch (error) {
      files++
      bytes += LIMIT + 1 // what cannot be looked at may be anything
      roots.push(path)
      told.push(`${JSON.stringify(path)} (it cannot be read: ${sentence(error).trim().split('\n').at(-1)})`)
    }
  }
  const rest = untold || told.length > SHOWN ? ', …' : ''
  return { files, bytes, roots, text: `${told.slice(0, SHOWN).join(', ')}${rest}` }
}

const MOST = 64 * 2 ** 20 // bytes of one root that are looked at: more makes no difference

async function countAt(
  container: string,
  root: string,
  kind: Changed['kind'],
  ignored: Ignored,
): Promise<LayerTally & { more: boolean }> {
  let [files, bytes] = [0, 0]
  for await (const { type, name, size: length } of entries(layerTar(container, root))) {
    if (type === 'folder' && kind === 'C') break // the image's own
    const path = `${dirname(root)}/${show(name)}`.replace(/^\/+/, '/')
    if (type === 'folder' || ignored(path, type)) continue
    files++
    bytes += length
    if (bytes > MOST) return { files, bytes, more: true }
  }
  return { files, bytes, more: false }
}

/** A path of a container as a tar stream, running or not. @throws CommandFailed, before the stream ends */
export async function* layerTar(container: string, path: string): Bytes {
  const { child, ended } = stream(sh`docker cp -- ${`${container}:${path}`} -`)
  const out = child.stdout as Readable & Bytes
  try {
    yield* out
    await ended
  } finally {
    out.destroy()
    await Promise.allSettled([ended]) // whoever stops early waits until docker is gone
  }
}

/** Passes such a stream on and tells at its end what is in it. @throws when it is no whole tar */
export async function* countedTar(source: Bytes, tell: (tally: LayerTally) => void): Bytes {
  let [files, bytes] = [0, 0]
  for await (const { type, size: length, raw, body } of entries(source)) {
    if (type !== 'folder') files++
    bytes += length
    yield raw
    yield* body
    yield padding(length)
  }
  yield END
  tell({ files, bytes })
}

/** What a person reads who is stopped by it. */
export const layerText = ({ service: name, text }: LayerFinding): string =>
  `${name} keeps ${text}: it would be lost with the container. Mount a named volume there in the Compose file, after ` +
  'copying the files into it; or let them be saved in the set and go on: task update -- --save-layer'
