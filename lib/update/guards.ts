// What must be so before an update changes anything. Whatever is wrong is named at once; what cannot be checked is said.
import { existsSync, statfsSync } from 'node:fs'
import { size } from '../backup/bytes.ts'
import { layerFindings, layerText, type LayerFinding } from '../backup/layer.ts'
import { compose, docker } from '../docker.ts'
import { refusal, sentence } from '../errors.ts'
import { exec, sh } from '../shell.ts'
import { reconfigured, service, type Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { anonymousWithData, mountedVolumes, otherVolumes } from '../volumes.ts'
import { takeBaseline, type Baseline, type OpenUpdate, type Reach } from './baseline.ts'
import { changingKeys, misread } from './environment.ts'
import { foresee, type Asked, type Foresight } from './reach.ts'
import { failedImages, isFailed, refusedText } from './refused.ts'
import { registryOf, toDownload } from './registry.ts'

/** What is asked of an update. */
export interface Asking {
  readonly reach: Reach
  readonly stamp: string
  readonly open: OpenUpdate | undefined
  /** Losses of data that are meant. */
  readonly accepted: readonly string[]
  readonly saveLayer: boolean
}

export interface Guarded {
  readonly baseline: Baseline
  /** Files in containers' own layers that the set of this update must hold. */
  readonly layers: readonly LayerFinding[]
}

/**
 * Checks everything that can be checked before an update, and notes in memory what runs. Only reads.
 * @param open an update that did not end well: what ran before it stays the way back
 * @throws refusal (exit 3) with everything that is in the way, each with what to do
 */
export async function guard(
  stack: Stack,
  { reach, stamp, open, accepted, saveLayer }: Asking,
  doing: Pick<Doing, 'say'>,
): Promise<Guarded> {
  if (!open && stack.services.every((s) => !s.container)) {
    throw refusal(
      `No container of ${stack.dir} exists: there is nothing to update. Nothing was changed.\n` +
        '  Was the folder moved or renamed? Then its containers belong to the old path: docker compose ls --all',
    )
  }
  const foreseen = await foresee(stack, reach)
  const layers = await layerFindings(stack, foreseen.touched)
  const blocked = await blockers(stack, foreseen, { reach, accepted, layers: saveLayer ? [] : layers }, doing)
  if (blocked.length > 0) throw refusal(`${blocked.join('\n')}\nNothing was changed.`)
  await tell(stack, foreseen, doing)
  if (saveLayer)
    for (const found of layers) doing.say(`to be saved in the set: ${found.service}: ${found.text}`)
  if (open) return { baseline: goneOn(stack, open, reach), layers }
  const { baseline, unwell } = await takeBaseline(stack, stamp, reach)
  for (const { service: name, evidence } of unwell) {
    doing.say(`${name} is not healthy before the update, so it cannot fail it: ${evidence}`)
  }
  const edited = reconfigured(stack)
  if (edited.length > 0 && !baseline.configuration) {
    doing.say(
      `how ${edited.join(', ')} ${edited.length > 1 ? 'were' : 'was'} configured before is not known here: should this fail, the old images run with the new configuration`,
    )
  }
  return { baseline, layers }
}

/** Everything that an update would be refused for, one sentence each, with what to do. Only reads. */
export async function blockers(
  stack: Stack,
  foreseen: Foresight,
  { reach, accepted, layers }: Pick<Asking, 'reach' | 'accepted'> & { layers: readonly LayerFinding[] },
  doing: Pick<Doing, 'say'>,
): Promise<string[]> {
  const mounted = (await mountedVolumes(stack)).filter((m) => foreseen.touched.includes(m.service))
  const there = { ...stack, services: stack.services.filter((s) => foreseen.touched.includes(s.name)) }
  const found = [
    ...(await otherProject(stack)),
    ...(await anonymousWithData(stack, mounted)),
    ...otherVolumes(there, mounted),
    ...layers.map(layerText),
    // Whoever accepts what failed an image has named it as well as by its digest.
    ...(accepted.length > 0 ? [] : refused(stack, foreseen, reach)),
    ...(await registriesAway(foreseen.asked)),
    ...(await tooLittleSpace(foreseen.asked, doing)),
  ]
  return [...new Set(found)]
}

/** The way back of an update that did not end, for the one that goes on from it: names that are new since are put back too. */
function goneOn({ services }: Stack, { baseline, stopped }: OpenUpdate, reach: Reach): Baseline {
  const { images } = baseline
  const since = services.flatMap(({ name, image: ref }) => {
    const was = images.find((i) => i.service === name)
    return was && was.ref !== ref ? [{ ...was, ref }] : []
  })
  return { ...baseline, reach, images: [...images, ...since], ...(stopped && { stopped: true }) }
}

/** What a person should know, and what blocks nothing. */
async function tell(stack: Stack, { changes, asked }: Foresight, { say }: Pick<Doing, 'say'>): Promise<void> {
  say(
    changes.length === 0
      ? 'nothing has changed'
      : `to be replaced: ${changes.map((c) => `${c.service} (${c.text})`).join(', ')}`,
  )
  for (const name of reconfigured(stack)) {
    const keys = await changingKeys(stack, service(stack, name))
    say(`${name} is configured anew${keys.length > 0 ? `; in its environment: ${keys.join(', ')}` : ''}`)
  }
  for (const { name, about, container } of stack.services) {
    const bare = (about.state ?? []).filter(
      (path) =>
        container &&
        !container.Mounts.some((m) => `${path}/`.startsWith(`${m.Destination.replace(/\/$/, '')}/`)),
    )
    for (const path of bare)
      say(`${name} keeps ${path} on no volume: what it writes there is lost with its container`)
  }
  for (const { ref, problem } of asked)
    if (problem !== undefined)
      say(`${ref} could not be compared in advance: ${sentence(problem).split('\n').at(-1)}`)
  for (const { key, safe } of await misread(stack))
    say(`.env: Compose does not read ${key} as it is written. If it is meant as written:\n  ${safe}`)
}

/** A plain `docker compose up` would make another project, with volumes of its own. */
async function otherProject(stack: Stack): Promise<string[]> {
  const plain = await exec(compose({ ...stack, project: '' }, 'config', '--format', 'json'))
  const { name } = JSON.parse(plain.stdout) as { name: string }
  if (name === stack.project) return []
  return [
    `The containers belong to the project '${stack.project}', but the Compose file and its folder make it '${name}': a plain ` +
      `docker compose up would start beside them, with empty volumes. Say 'name: ${stack.project}' at the top of the Compose ` +
      `file, or COMPOSE_PROJECT_NAME=${stack.project} in .env.`,
  ]
}

/** Images that have failed here before, and that nobody has named. */
function refused(stack: Stack, { asked, touched }: Foresight, { images }: Reach): string[] {
  return failedImages(stack.config).flatMap((failed) => {
    const s = stack.services.find((x) => x.name === failed.service)
    if (!s || !touched.includes(s.name) || images[s.name] !== undefined) return []
    const found = asked.find((a) => a.ref === s.image)?.published
    return found && isFailed(failed, found) ? [refusedText(failed)] : []
  })
}

/**
 * Registries that do not answer. Docker's command line asks them itself, and may not be able to where the daemon is
 * (behind a proxy): before it counts the daemon is asked for what runs, which it has.
 */
export async function registriesAway(asked: readonly Asked[]): Promise<string[]> {
  const mute = new Map(asked.filter((a) => a.problem !== undefined).map((a) => [registryOf(a.ref), a]))
  const answers = [...mute].map(async ([registry, { ref, running, problem }]) => {
    const known = running?.RepoDigests?.find((d) => registryOf(d) === registry)
    const why = known === undefined ? sentence(problem) : await pullFails(known)
    if (why === undefined || /unknown|not found|no such manifest|denied|unauthorized/i.test(why)) return []
    return [`The registry ${registry} does not answer (${ref}): ${why.trim().split('\n').at(-1)}`]
  })
  return (await Promise.all(answers)).flat()
}

async function pullFails(ref: string): Promise<string | undefined> {
  const { exitCode, stderr } = await exec(sh`docker pull --quiet -- ${ref}`, { anyCode: true })
  return exitCode === 0 ? undefined : stderr
}

const UNPACKED = 4 // a layer while it is pulled: itself, and about three times that unpacked
const HEADROOM = 256 * 2 ** 20 // bytes that stay free: the database lives on the same disk

/** Whether the disk has room for what will be pulled. */
export async function tooLittleSpace(asked: readonly Asked[], { say }: Pick<Doing, 'say'>): Promise<string[]> {
  const sizes = await Promise.all(
    asked.flatMap((a) => (a.published ? [toDownload(a.published, a.running)] : [])),
  )
  const bytes = sizes.reduce((sum, n) => sum + n, 0)
  if (bytes === 0) return []
  const root = (await docker('info', '--format', '{{.DockerRootDir}}')).trim()
  if (!existsSync(root)) {
    say(
      `whether there is room for ${size(bytes)} of new layers was skipped, because Docker's folder ${root} is not on this machine`,
    )
    return []
  }
  const { bavail, bsize } = statfsSync(root)
  return spaceProblem(bytes, bavail * bsize, root)
}

/** The sentence when `bytes` of compressed layers do not fit into `free` bytes. */
export function spaceProblem(bytes: number, free: number, root: string): string[] {
  const needed = bytes * UNPACKED + HEADROOM
  if (needed <= free) return []
  return [
    `Too little space for the new images in ${root}: ${size(bytes)} of layers may need ${size(needed)}, free are ${size(free)}. ` +
      'Older images that nothing uses: task status',
  ]
}
