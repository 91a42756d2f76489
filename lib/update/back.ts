// The way back of an update: what ran before it, again and healthy, from whatever state in between.
import { compose, docker, inspectImage } from '../docker.ts'
import { sentence } from '../errors.ts'
import { Interrupted } from '../execute.ts'
import { checkService } from '../health.ts'
import { countDocuments, countFiles, countKeys, countsTold, losses, type Loss } from '../sentinel.ts'
import { exec, quote } from '../shell.ts'
import { rejoin } from '../staging/join.ts'
import { readContainers, readStack, type Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { changedVolumes, mountedVolumes } from '../volumes.ts'
import { lastLines, waitHealthy } from '../wait.ts'
import { putBackAside, removeAside } from './aside.ts'
import { forgetConfigurations, type Baseline } from './baseline.ts'
import { putConfigurationBack } from '../configuration.ts'
import { environmentProblems } from './environment.ts'
import { noteFailed, type FailedImage } from './refused.ts'

/**
 * What is not as in the baseline, one sentence each: volumes, environments, documents, files, and what the services
 * tell of their data. Of Redis's keys only that none is left: applications write again.
 * @param accepted losses that somebody has named: they are meant
 */
export async function differences(
  stack: Stack,
  { volumes, counts, environment, salt }: Baseline,
  accepted: readonly string[],
): Promise<string[]> {
  const keys = await countKeys(stack)
  const emptied = Object.keys(counts.keys).filter((what) => (counts.keys[what] ?? 0) > 0 && keys[what] === 0)
  const lost = [
    ...losses(counts.documents, await countDocuments(stack)),
    ...losses(counts.files, await countFiles(stack)),
    ...losses(counts.told, await countsTold(stack)),
    ...losses(counts.keys, keys).filter((l) => emptied.includes(l.what)),
  ]
  return [
    ...changedVolumes(volumes, await mountedVolumes(stack)),
    ...(await environmentProblems(stack, environment, salt)),
    ...lossTexts(lost, accepted),
  ]
}

/** The losses that nobody has accepted, and how to. */
export function lossTexts(lost: readonly Loss[], accepted: readonly string[]): string[] {
  const left = lost.filter((l) => !accepted.includes(l.what))
  const way = left.map((l) => `--accept ${quote(l.what)}`).join(' ')
  return [
    ...left.map((l) => l.text),
    ...(left.length > 0 ? [`  (if that is meant: task update -- ${way})`] : []),
  ]
}

/**
 * Makes the local tags mean the old images again; whatever they meant meanwhile is kept as
 * runbook/failed-<run>:<STACK_ID>.<service>. Names by digest mean the same for ever and are left alone. Safe to repeat.
 * @returns the names that were put back.
 */
export async function putTagsBack(
  { config: { STACK_ID } }: Pick<Stack, 'config'>,
  { images }: Baseline,
  run: string,
): Promise<string[]> {
  const back: string[] = []
  for (const { service: name, ref, id } of images) {
    if (ref.includes('@') || back.includes(ref)) continue
    const now = await inspectImage(ref)
    if (now?.Id === id) continue
    if (now) await docker('tag', now.Id, `runbook/failed-${run.toLowerCase()}:${STACK_ID}.${name}`)
    await docker('tag', id, ref)
    back.push(ref)
  }
  return back
}

/** How somebody goes back. */
export interface Way {
  /** The stamp under which what is replaced is kept. */
  readonly run: string
  /** What ended the update. */
  readonly why: unknown
  readonly doing: Doing
  /** Losses that are meant. */
  readonly accepted: readonly string[]
}

/**
 * What ran before again and healthy; safe to repeat. Says first why the new version was not healthy, since its
 * containers and their logs go, and notes its images as failed, unless it was only interrupted. In this order: tags,
 * configuration, engines' files, containers; each in the run's journal.
 * @throws Error when a service does not become healthy, or something is not as in the baseline.
 */
export async function bringBack(
  stack: Stack,
  baseline: Baseline,
  { run, why, doing, accepted }: Way,
): Promise<void> {
  const found = await readContainers(stack)
  const failed = await whatFailed(found, baseline, { run, why, doing })
  try {
    noteFailed(stack.config, failed)
    for (const { service: name } of failed)
      doing.say(`${name}: its new image is not taken again until it is named`)
  } catch (error) {
    doing.say(`that it failed could not be noted: ${sentence(error)}`) // a full disk must not stop the way back
  }
  const undo = <T>(title: string, detail: unknown, act: () => Promise<T>): Promise<T> =>
    doing.effect(title, detail, act, ['undo', 'undone'])

  await undo('Put the tags back', { images: baseline.images }, async () => {
    const tags = await putTagsBack(stack, baseline, run)
    if (tags.length > 0) doing.say(`old images again: ${tags.join(', ')}`)
  })
  // Only this update has made them: nothing of the kind ran before.
  const added = found.services.filter((s) => s.container && !(s.name in baseline.environment))
  if (added.length > 0) {
    const names = added.map((s) => s.name)
    await undo('Remove what is new', { services: names }, async () => {
      await exec(compose(stack, 'rm', '-f', '-s', ...names))
      doing.say(`removed, since it did not run before: ${names.join(', ')}`)
    })
  }
  const { configuration } = baseline
  if (configuration) {
    await undo('Put the configuration back', { files: configuration.files.map((f) => f.path) }, async () => {
      const files = putConfigurationBack(configuration, run)
      if (files.length > 0)
        doing.say(`as before: ${files.join(', ')}; what was there now is <file>.failed-${run}`)
    })
  }
  const before = configuration ? await readStack(stack.config) : stack
  for (const aside of baseline.aside) {
    const container = found.services.find((s) => s.name === aside.service)?.container
    // The old image is the one that has, or could have, written last: the files are its own.
    const untouched = container?.Image === aside.image
    await undo(`Put the files of ${aside.service} back`, aside, async () => {
      if (untouched) return removeAside(aside)
      await exec(compose(before, 'rm', '-f', '-s', aside.service))
      await putBackAside(aside)
      doing.say(
        `${aside.service} has its files from before; what the new version wrote is kept as ${aside.failed} beside them`,
      )
    })
  }
  await undo('Start what ran', { services: baseline.ran.map((r) => r.service) }, () =>
    startWhatRan(before, baseline),
  )
  await rejoin(await readContainers(before), doing)
  await waitHealthy(before, baseline.healthy)

  const now = await readContainers(before)
  const wrong = await differences(now, baseline, accepted)
  if (wrong.length === 0) {
    // A full disk must not make a failure of this.
    try {
      forgetConfigurations(stack.config.STATE_DIR)
    } catch (error) {
      doing.say(`the noted configuration could not be struck out: ${sentence(error)}`)
    }
    return
  }
  const edited = now.services.some(
    (s) => (baseline.environment[s.name]?.hash ?? s.configHash) !== s.configHash,
  )
  const reason = edited
    ? ', since the Compose file or .env was changed before the update'
    : baseline.set === undefined
      ? ''
      : ` (the set from before: pre-update-${baseline.set})`
  throw new Error(`the old images run again, but not as before${reason}:\n${wrong.join('\n')}`)
}

async function startWhatRan(stack: Stack, baseline: Baseline): Promise<void> {
  const now = new Map((await readContainers(stack)).services.map((s) => [s.name, s.container]))
  const kept = baseline.ran.filter((r) => now.get(r.service)?.Id === r.container)
  const stopped = kept.filter((r) => !now.get(r.service)?.State.Running).map((r) => r.service)
  const gone = baseline.ran.filter((r) => !kept.includes(r)).map((r) => r.service)
  // In this order: what is stopped may need what is gone.
  if (gone.length > 0) await exec(compose(stack, 'up', '-d', '--no-build', '--pull', 'never', ...gone))
  if (stopped.length > 0) await exec(compose(stack, 'start', ...stopped))
}

/** The new images that are to blame; says what their services answered last. */
async function whatFailed(
  stack: Stack,
  baseline: Baseline,
  { run, why, doing }: Pick<Way, 'run' | 'why' | 'doing'>,
): Promise<FailedImage[]> {
  const failed: FailedImage[] = []
  const tried: FailedImage[] = [] // ran, and was healthy itself
  for (const { service: name, ref, id } of baseline.images) {
    const container = stack.services.find((s) => s.name === name)?.container
    if (!container || container.State.Status === 'created') continue
    const needed = baseline.healthy.includes(name)
    const { ok, evidence } = needed ? await checkService(stack, name) : { ok: true, evidence: '' }
    if (!ok) doing.say(`${name}: ${evidence}\n${await lastLines(container)}`)
    if (container.Image === id) continue
    const digests = ((await inspectImage(container.Image))?.RepoDigests ?? []).map((d) =>
      d.slice(d.indexOf('@') + 1),
    )
    const it = { service: name, ref, id: container.Image, digests, run, at: new Date().toISOString() }
    if (ok) tried.push({ ...it, why: sentence(why) })
    else failed.push({ ...it, why: evidence })
  }
  if (why instanceof Interrupted || why === undefined) return []
  return failed.length > 0 ? failed : tried
}
