// The way back of an update: what ran before it, noted before anything changes, and how to have it again.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { compose, docker, inspectImage } from './docker.ts'
import { refusal } from './errors.ts'
import { writeWhole } from './files.ts'
import { checkService, type Verdict } from './health.ts'
import { pastRuns } from './run.ts'
import { countDocuments, countsTold, losses, type Counts } from './sentinel.ts'
import { exec } from './shell.ts'
import { readContainers, reconfigured, service, type Stack } from './stack.ts'
import type { Doing } from './steps.ts'
import {
  anonymousWithData,
  changedVolumes,
  mountedVolumes,
  otherVolumes,
  type MountedVolume,
} from './volumes.ts'
import { lastLines, waitHealthy } from './wait.ts'

/** What an update must leave as it was, or bring back. */
export interface Baseline {
  /** The image of each service, and the name under which Compose finds it. */
  readonly images: readonly { readonly service: string; readonly ref: string; readonly id: string }[]
  /** The containers that ran. */
  readonly ran: readonly { readonly service: string; readonly container: string }[]
  /** The services that must be healthy afterwards: those that were, optional ones excepted. */
  readonly healthy: readonly string[]
  readonly volumes: readonly MountedVolume[]
  readonly counts: Counts
}

const FILE = 'baseline.json'

/** Looks at the stack as it runs now. Only reads. `unwell` are the services that cannot fail the update. */
export async function takeBaseline(stack: Stack): Promise<{ baseline: Baseline; unwell: Verdict[] }> {
  const running = stack.services.filter((s) => s.container?.State.Running)
  const needed = running.filter((s) => !s.about.optional)
  const verdicts = await Promise.all(needed.map((s) => checkService(stack, s.name)))
  const images = stack.services.flatMap(({ name, image, imageId, container }) => {
    const id = container?.Image ?? imageId
    return id === undefined || image === '' ? [] : [{ service: name, ref: image, id }]
  })
  const baseline = {
    images,
    ran: running.map((s) => ({ service: s.name, container: s.container?.Id ?? '' })),
    healthy: verdicts.filter((v) => v.ok).map((v) => v.service),
    volumes: await mountedVolumes(stack),
    counts: { ...(await countsTold(stack)), ...(await countDocuments(stack)) },
  }
  return { baseline, unwell: verdicts.filter((v) => !v.ok) }
}

/**
 * What an update starts from: the baseline of one that did not end well, or else what runs now. Says what cannot fail
 * it, and which services would come back with another configuration.
 * @throws refusal (exit 3) when a service would start on another volume than its data is on.
 */
export async function checkBaseline(
  stack: Stack,
  open: Baseline | undefined,
  doing: Doing,
): Promise<Baseline> {
  const mounted = await mountedVolumes(stack)
  const blocked = [...(await anonymousWithData(stack, mounted)), ...otherVolumes(stack, mounted)]
  if (blocked.length > 0) throw refusal(`${blocked.join('\n')}\nNothing was changed.`)
  if (open) return open
  const { baseline, unwell } = await takeBaseline(stack)
  for (const { service: name, evidence } of unwell) {
    doing.say(`${name} is not healthy before the update, so it cannot fail it: ${evidence}`)
  }
  for (const name of reconfigured(stack)) {
    doing.say(`${name} is configured anew: should this fail, its old image runs with the new configuration`)
  }
  return baseline
}

/**
 * Notes the baseline in the run's folder, and tags the images that ran as runbook/previous-<STACK_ID>:<service>, so
 * that nobody's cleaning up takes them. Safe to repeat.
 */
export async function noteBaseline({ config }: Stack, baseline: Baseline, dir: string): Promise<void> {
  writeWhole(join(dir, FILE), JSON.stringify(baseline))
  for (const { service: name, id } of baseline.images) {
    if (await inspectImage(id)) await docker('tag', id, `runbook/previous-${config.STACK_ID}:${name}`)
  }
}

/**
 * The baseline of the last update, when that was killed or left the service down: then what runs now is not what ran
 * before, and the way back is still its.
 */
export function openBaseline(stateDir: string): { run: string; baseline: Baseline } | undefined {
  const last = pastRuns(stateDir, 50).find((run) => existsSync(join(run.dir, FILE)))
  if (!last || (last.report && last.report.exitCode !== 10)) return undefined
  return { run: last.id, baseline: JSON.parse(readFileSync(join(last.dir, FILE), 'utf8')) as Baseline }
}

/** What is not as in the baseline: volumes and counts, one sentence each. */
export async function differences(stack: Stack, { volumes, counts }: Baseline): Promise<string[]> {
  const now = { ...(await countsTold(stack)), ...(await countDocuments(stack)) }
  return [...changedVolumes(volumes, await mountedVolumes(stack)), ...losses(counts, now)]
}

/**
 * Makes the local tags mean the old images again; whatever they meant meanwhile is kept as
 * runbook/failed-<run>:<service>. Names by digest mean the same for ever and are left alone. Safe to repeat.
 * @returns the names that were put back.
 */
export async function putTagsBack({ images }: Baseline, run: string): Promise<string[]> {
  const back: string[] = []
  for (const { service: name, ref, id } of images) {
    if (ref.includes('@') || back.includes(ref)) continue
    const now = await inspectImage(ref)
    if (now?.Id === id) continue
    if (now) await docker('tag', now.Id, `runbook/failed-${run.toLowerCase()}:${name}`)
    await docker('tag', id, ref)
    back.push(ref)
  }
  return back
}

/**
 * What ran before again and healthy, from whatever state in between; safe to repeat. Says first why the new version
 * was not healthy, since its containers and their logs go.
 * @throws Error when a service does not become healthy, or the volumes or counts are not those of the baseline.
 */
export async function bringBack(stack: Stack, baseline: Baseline, run: string, doing: Doing): Promise<void> {
  const found = await readContainers(stack)
  for (const name of baseline.healthy) {
    const { container } = service(found, name)
    if (!container || container.State.Status === 'created') continue
    const { ok, evidence } = await checkService(found, name)
    if (!ok) doing.say(`${name}: ${evidence}\n${await lastLines(container)}`)
  }
  const tags = await putTagsBack(baseline, run)
  if (tags.length > 0) doing.say(`old images again: ${tags.join(', ')}`)

  const now = new Map(found.services.map((s) => [s.name, s.container]))
  const kept = baseline.ran.filter((r) => now.get(r.service)?.Id === r.container)
  const stopped = kept.filter((r) => !now.get(r.service)?.State.Running).map((r) => r.service)
  const gone = baseline.ran.filter((r) => !kept.includes(r)).map((r) => r.service)
  if (stopped.length > 0) await exec(compose(stack, 'start', ...stopped))
  if (gone.length > 0) await exec(compose(stack, 'up', '-d', '--no-build', '--pull', 'never', ...gone))
  await waitHealthy(stack, baseline.healthy)

  const wrong = await differences(await readContainers(stack), baseline)
  if (wrong.length === 0) return
  throw new Error(
    `the old images run again, but not as before, since the Compose file or .env was changed before the update:\n${wrong.join('\n')}`,
  )
}
