// Files in a container's own layer: they go with the container. This is how uploads were once lost.
import { dirname } from 'node:path'
import type { Readable } from 'node:stream'
import { size, type Bytes } from '../backup/bytes.ts'
import { show } from '../backup/tar.ts'
import { entries } from '../backup/untar.ts'
import { containerIds, docker, inspectContainers, type ContainerInspect } from '../docker.ts'
import { sentence } from '../errors.ts'
import { sh, stream } from '../shell.ts'
import { service, type Stack } from '../stack.ts'

/** What a container of a service would take with it. */
export interface LayerFinding {
  readonly service: string
  readonly container: string
  /** Paths in the container: files, or folders that lie in its layer with all that is in them. */
  readonly roots: readonly string[]
  /** In words: what and how much. */
  readonly text: string
}

/** One line of `docker diff`. */
export interface Changed {
  readonly kind: 'A' | 'C' | 'D'
  readonly path: string
}

const LIMIT = 2 ** 20 // bytes that a container may keep outside volumes, temporary folders and logs
const SHOWN = 5 // paths in a message

/**
 * What the containers of these services keep in their own layers: anything below a path of state, or more than 1 MiB
 * elsewhere. In the ordinary case two questions to Docker for each container. What cannot be read is a finding, too.
 */
export async function layerFindings(stack: Stack, names: readonly string[]): Promise<LayerFinding[]> {
  const findings: LayerFinding[] = []
  for (const name of names) {
    const label = 'com.docker.compose'
    const ids = await containerIds(`${label}.project=${stack.project}`, `${label}.service=${name}`)
    for (const container of await inspectContainers(ids)) {
      findings.push(...(await findingsIn(container, name, service(stack, name).about.state ?? [])))
    }
  }
  return findings
}

async function findingsIn(
  container: ContainerInspect,
  name: string,
  state: readonly string[],
): Promise<LayerFinding[]> {
  const { Id } = container
  const roots = layerRoots(parseDiff(await docker('diff', '--', Id)), outside(container))
  const stateful = roots.filter((root) => state.some((path) => within(root, path) || within(path, root)))
  const found = { service: name, container: Id }
  const below = await measure(Id, stateful, container, 0)
  if (below.bytes > 0 || below.files > 0) {
    return [{ ...found, roots: stateful, text: `${below.text} in its own layer, below a path of state` }]
  }
  const all = Number((await docker('inspect', '--size', '--format', '{{.SizeRw}}', '--', Id)).trim())
  if (all <= LIMIT) return []
  const total = await measure(Id, roots, container, LIMIT)
  if (total.bytes <= LIMIT) return []
  return [{ ...found, roots, text: `${total.text} in its own layer` }]
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
 * The paths of which all lies in the layer: topmost added ones, and changed ones that have nothing changed below them.
 * @param left tells which paths do not count
 */
export function layerRoots(changed: readonly Changed[], left: (path: string) => boolean): string[] {
  const added = new Set(changed.filter((c) => c.kind === 'A').map((c) => c.path))
  const parents = new Set(changed.map((c) => dirname(c.path)))
  return changed
    .filter(({ kind, path }) => {
      if (kind === 'D' || left(path)) return false
      if (kind === 'A') return !above(path).some((p) => added.has(p))
      return !parents.has(path)
    })
    .map((c) => c.path)
}

/** The folders above a path. */
function above(path: string): string[] {
  const parent = dirname(path)
  return parent === '/' || parent === path ? [] : [parent, ...above(parent)]
}

const within = (path: string, folder: string): boolean =>
  `${path}/`.startsWith(`${folder.replace(/\/$/, '')}/`)

const TEMPORARY = ['/tmp', '/var/tmp', '/run', '/var/run', '/dev', '/proc', '/sys', '/var/log']

/** What is no loss with the container: mounts, temporary folders, logs. */
function outside({
  Mounts,
  HostConfig,
}: Pick<ContainerInspect, 'Mounts' | 'HostConfig'>): (path: string) => boolean {
  const folders = [...TEMPORARY, ...Mounts.map((m) => m.Destination), ...Object.keys(HostConfig.Tmpfs ?? {})]
  return (path) => folders.some((f) => within(path, f)) || isLog(path)
}

export const isLog = (path: string): boolean => path.split('/').includes('logs') || path.endsWith('.log')

/** Counts the files below these roots; gives up counting when there are more than `enough` bytes. */
async function measure(
  container: string,
  roots: readonly string[],
  about: ContainerInspect,
  enough: number,
): Promise<{ files: number; bytes: number; text: string }> {
  const left = outside(about)
  let [files, bytes] = [0, 0]
  const told: string[] = []
  for (const root of roots) {
    if (bytes > enough && told.length >= SHOWN) break
    try {
      const one = await countIn(container, root, left)
      files += one.files
      bytes += one.bytes
      if (one.files > 0)
        told.push(
          `${JSON.stringify(root)} (${one.files} files, ${size(one.bytes)}${one.more ? ' and more' : ''})`,
        )
    } catch (error) {
      files++
      bytes += LIMIT + 1 // what cannot be looked at may be anything
      told.push(`${JSON.stringify(root)} (it cannot be read: ${sentence(error).split('\n')[0]})`)
    }
  }
  const rest = roots.length > SHOWN && told.length >= SHOWN ? ', …' : ''
  return { files, bytes, text: `${told.slice(0, SHOWN).join(', ')}${rest}` }
}

const MOST = 64 * 2 ** 20 // bytes of one root that are looked at: more makes no difference

async function countIn(
  container: string,
  root: string,
  left: (path: string) => boolean,
): Promise<{ files: number; bytes: number; more: boolean }> {
  let [files, bytes, more] = [0, 0, false]
  const { tar, ended } = layerTar(container, root)
  try {
    for await (const entry of entries(tar)) {
      const path = `${dirname(root)}/${show(entry.name)}`.replace(/^\/\//, '/').replace(/\/$/, '')
      if (entry.type === 'folder' || left(path)) continue
      files++
      bytes += entry.size
      more = bytes > MOST
      if (more) break
    }
  } finally {
    tar.destroy()
    await ended.catch((error: unknown) => {
      if (!more) throw error // docker says that nobody reads any more
    })
  }
  return { files, bytes, more }
}

/** A path of a container as a tar stream, running or not. Whoever reads it awaits `ended` as well. */
export function layerTar(container: string, root: string): { tar: Readable & Bytes; ended: Promise<void> } {
  const { child, ended } = stream(sh`docker cp -- ${`${container}:${root}`} -`)
  if (!child.stdout) throw new Error('docker cp has no output.')
  return { tar: child.stdout as Readable & Bytes, ended }
}

/** What a person reads who is stopped by it. */
export const layerText = ({ service: name, text }: LayerFinding): string =>
  `${name} keeps ${text}: it would be lost with the container. Mount a named volume there in the Compose file, after ` +
  'copying the files into it; or let them be saved in the set and go on: task update -- --save-layer'
