// What the steps of an update do, where that is more than one command.
import { layerFindings } from '../backup/layer.ts'
import { findOrMakeSet } from '../backup/make.ts'
import { newestGood } from '../backup/sets.ts'
import { keepConfiguration } from '../configuration.ts'
import { compose, docker, inspectImage } from '../docker.ts'
import { sentence } from '../errors.ts'
import { countDocuments, countKeys, losses } from '../sentinel.ts'
import { exec, sh } from '../shell.ts'
import { rejoin } from '../staging/join.ts'
import { readStack, service, type Service } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { waitHealthy, waitStable } from '../wait.ts'
import { checkAside, copyAside, placeAside, removeAside } from './aside.ts'
import { differences, lossTexts, putTagsBack } from './back.ts'
import { forgetConfigurations, keepImages, noteBaseline, type Baseline } from './baseline.ts'
import { baselineNow, now, stillToChange, type Course } from './course.ts'
import { endedByKill, engineNames } from '../engines.ts'
import { doors, versionText } from './doors.ts'
import { downtimeText, endWatch, watchAddresses } from '../downtime.ts'
import { olderText } from './end.ts'
import { guard } from './guards.ts'
import { hasName } from './reach.ts'
import { clearFailed, failedImages, refusedText } from './refused.ts'
import { repositoryOf } from './registry.ts'

/** Changes what is noted, in memory and on disk; in a dry run there is no folder, and nothing is written. */
async function note(course: Course, more: Partial<Baseline>, { dir }: Doing): Promise<void> {
  course.baseline = { ...(await baselineNow(course)), ...more }
  if (dir !== '') noteBaseline(course.baseline, dir)
}

/** Everything that can be checked before anything is changed. @throws refusal (exit 3) */
export async function check(course: Course, doing: Doing): Promise<void> {
  if (course.open) doing.say(`${course.open.run} did not end well: the way back is to what ran before it`)
  const { baseline, layers } = await guard(course.stack, course, doing)
  course.baseline = baseline
  course.layers = layers
}

/** A sealed set from before the first service was stopped. @throws as a backup does */
export async function backUp(course: Course, doing: Doing): Promise<void> {
  const { stack, stamp, open, layers } = course
  const { BACKUP_DIR, STACK_ID: stackId } = stack.config
  const before = open?.stopped ? open.baseline.set : undefined
  const sealed =
    before === undefined || layers.length > 0
      ? undefined
      : await newestGood(BACKUP_DIR, { stackId, stamp: before, suspectToo: true })
  if (sealed) doing.say(`sealed before anything was stopped: ${sealed.path}`)
  // What they hold now: files may have come since the check.
  const services = [...new Set(layers.map((l) => l.service))]
  const fresh = layers.length > 0 ? await layerFindings(stack, services) : []
  const path = sealed?.path ?? (await findOrMakeSet(await now(course), stamp, doing, fresh))
  const set = /(\d{8}_\d{6})\.tar\.gz$/.exec(path)?.[1]
  course.baseline = { ...(await baselineNow(course)), ...(set !== undefined && { set }) }
}

/** What is needed for the way back, on disk. */
export async function noteWhatRuns(course: Course, doing: Doing): Promise<void> {
  await note(course, {}, doing)
  await keepImages(course.stack, await baselineNow(course))
  keepConfiguration(await now(course))
}

/** Lets the local tags mean the images that ran; not when a new version was found good. */
export async function unpull(course: Course): Promise<void> {
  const baseline = await baselineNow(course)
  if (!baseline.verified) await putTagsBack(course.stack, baseline, course.stamp)
}

/** Lets the names mean what the update that was killed had pulled, whatever they mean by now. */
export async function pulledBefore({ open }: Course, doing: Doing): Promise<void> {
  for (const { ref, id } of open?.baseline.pulled ?? []) {
    if (ref.includes('@') || (await inspectImage(ref))?.Id === id) continue
    await docker('tag', id, ref)
    doing.say(`${ref} is again what was pulled`)
  }
  doing.say('pulled already')
}

/** Pulls the services that were named, and images that were named by digest, and lets the names of the Compose file mean them. */
export async function pullNamed(course: Course, doing: Doing): Promise<void> {
  const stack = await now(course)
  const { words, images } = course.reach
  const free = words.filter((name) => images[name] === undefined)
  if (free.length > 0)
    await exec(compose(stack, 'pull', '--ignore-buildable', ...free), {
      onLine: (text) => doing.progress(text),
    })
  for (const [name, digest] of Object.entries(images)) {
    const { image, container } = service(stack, name)
    const candidates = [image, container?.Image].map((ref) =>
      ref === undefined ? undefined : inspectImage(ref),
    )
    const here = (await Promise.all([...candidates, inspectImage(digest)])).find(
      (i) => i && hasName(i, digest),
    )
    const exact = `${repositoryOf(image)}@${digest}`
    if (!here) {
      doing.say(`$ docker pull ${exact}`)
      await exec(sh`docker pull --quiet -- ${exact}`, { onLine: (text) => doing.progress(text) })
    }
    if (image.includes('@')) continue // the Compose file itself says which one
    const id = here?.Id ?? (await inspectImage(exact))?.Id ?? exact
    await docker('tag', id, image)
    doing.say(`${image} is ${digest} here now`)
  }
}

/**
 * Looks at what was pulled, before anything is stopped: images that have failed before, and engines' one-way doors.
 * Then begins to measure the downtime.
 */
export async function checkNew(course: Course, doing: Doing): Promise<void> {
  const stack = await readStack(course.stack.config)
  course.pulled = stack
  const baseline = await baselineNow(course)
  const touched = await stillToChange(course)
  const was = new Map(baseline.images.map((i) => [i.service, i.id]))
  const changed = touched.filter((s) => was.has(s.name) && s.imageId !== was.get(s.name))
  const failed = failedImages(stack.config)
    .filter((f) => course.reach.images[f.service] === undefined)
    .filter((f) => changed.some((s) => s.name === f.service && s.imageId === f.id))
  if (failed.length > 0 && course.accepted.length === 0) throw new Error(failed.map(refusedText).join('\n'))

  const ids = new Map(changed.map((s) => [s.name, s.imageId]))
  const { crossed, problems } = await doors(stack, baseline.engines, async (name) => {
    const id = ids.get(name)
    return id === undefined ? undefined : inspectImage(id)
  })
  if (problems.length > 0) throw new Error(problems.join('\n'))
  // Of an engine whose container is gone the update that did not end has noted the place.
  const fresh = crossed.filter((d) => !baseline.aside.some((a) => a.service === d.service))
  const aside = fresh.map((door) => placeAside(stack, door, baseline.stamp))
  for (const [i, place] of aside.entries()) {
    await checkAside(place)
    const door = fresh[i]
    if (door)
      doing.say(
        `${versionText(door)}: a one-way door. Its files are kept aside while it is stopped, and go back together with the old version`,
      )
  }
  const pulled = stack.services.flatMap(({ image: ref, imageId: id }) =>
    id === undefined ? [] : [{ ref, id }],
  )
  await note(course, { aside: [...baseline.aside, ...aside], pulled }, doing)
  course.replaced = touched.map((s) => s.name)
  doing.say(touched.length === 0 ? 'nothing is to be replaced' : `to be replaced: ${names(touched)}`)
  if (course.whole && doing.dir !== '' && touched.length > 0)
    course.watch = await watchAddresses(stack, doing.dir)
}

const names = (services: readonly Service[]): string => services.map((s) => s.name).join(', ')

/** @throws when an engine was killed instead of finishing: then its files are not what it would have left */
export async function checkStopped(course: Course): Promise<void> {
  const killed = endedByKill(await now(course))
  if (killed.length > 0) {
    throw new Error(
      `${killed.join(', ')} did not end in ${course.stack.about.stopTimeout / 1000} s and was killed by Docker. ` +
        'Its data is safe as after a power cut, but nothing newer may start on it before it has run and ended well.',
    )
  }
}

/** Counts while the writers that change are stopped and the engines still run. */
export async function countStopped(course: Course, doing: Doing): Promise<void> {
  const stack = await now(course)
  const { counts } = await baselineNow(course)
  if (course.open?.stopped) return doing.say('what the update that did not end had counted stands')
  const down = engineNames(stack).filter((name) => !service(stack, name).container?.State.Running)
  if (down.length > 0)
    return doing.say(`${down.join(', ')} does not run: what was counted before the stop stands`)
  const [documents, keys] = await Promise.all([countDocuments(stack), countKeys(stack)])
  await note(course, { counts: { ...counts, documents, keys } }, doing)
  doing.say(`${Object.keys(documents).length} collections and Redis's keys, to be compared`)
}

/** Keeps the files of engines aside that go through a one-way door. Slow by nature: within the downtime. */
export async function keepAside(course: Course, doing: Doing): Promise<void> {
  const { aside } = await baselineNow(course)
  if (aside.length === 0) return doing.say('no engine changes its format')
  const stack = await now(course)
  for (const place of aside) {
    // While the old image is the one, a copy from before may be stale: it may have run since.
    if (service(stack, place.service).container?.Image === place.image) await removeAside(place)
    doing.say(`copying the files of ${place.service} to ${place.copy} beside them`)
    await copyAside(place)
  }
}

/** Compares what was counted with what the engines hold now, before any writer starts on it. */
export async function compareStopped(course: Course, doing: Doing): Promise<void> {
  const { counts, healthy, ran } = await baselineNow(course)
  const engines = engineNames(course.stack).filter((name) => healthy.includes(name))
  const same = (name: string): boolean =>
    ran.some((r) => r.service === name && r.container === service(found, name).container?.Id)
  const found = await now(course)
  if (engines.every(same)) return doing.say('the engines were not touched')
  await waitHealthy(course.stack, engines, { onChange: (v) => doing.progress(`${v.service}: ${v.evidence}`) })
  const stack = await now(course)
  const [documents, keys] = await Promise.all([countDocuments(stack), countKeys(stack)])
  const lost = [...losses(counts.documents, documents), ...losses(counts.keys, keys)]
  const wrong = lossTexts(lost, course.accepted)
  if (wrong.length > 0) throw new Error(wrong.join('\n'))
  doing.say('the engines hold what they held')
}

/** Healthy, stable, and nothing lost; then the ledger. What was kept aside for the way back goes. */
export async function verify(course: Course, doing: Doing): Promise<void> {
  const { stack } = course
  const was = await baselineNow(course)
  await rejoin(await now(course), doing)
  await waitHealthy(stack, was.healthy, { onChange: (v) => doing.progress(`${v.service}: ${v.evidence}`) })
  // What was not touched has been stable for as long as it runs.
  if (course.replaced?.length !== 0 || course.open)
    await waitStable(stack, was.healthy, stack.about.stability)
  const wrong = await differences(await now(course), was, course.accepted)
  if (wrong.length > 0) throw new Error(wrong.join('\n'))
  await note(course, { verified: true }, doing)
  if (course.watch) course.downtimes = await endWatch(course.watch)
  const counted = Object.values(was.counts).reduce((sum, c) => sum + Object.keys(c).length, 0)
  doing.say(`healthy and stable: ${was.healthy.join(', ')}`)
  doing.say(`the same volumes and environments; ${counted} counts as before or more`)
  if (course.downtimes !== undefined) {
    doing.fact('downtime', course.downtimes)
    doing.say(downtimeText(course.downtimes))
  }
}

/** What only the way back needed is not needed any more. What goes wrong here spoils nothing, and is told. */
export async function tidy(course: Course, doing: Doing): Promise<void> {
  try {
    const stack = await now(course)
    const { aside } = await baselineNow(course)
    for (const place of aside) {
      await removeAside(place)
      doing.say(`${place.copy} of ${place.service} was removed: the new version runs`)
    }
    clearFailed(
      stack.config,
      stack.services.flatMap((s) => s.container?.Image ?? []),
    )
    keepConfiguration(stack)
    forgetConfigurations(stack.config.STATE_DIR)
    for (const text of await olderText(stack)) doing.say(text)
  } catch (error) {
    doing.fact('attention', [`The new version runs, but not everything was tidied up: ${sentence(error)}`])
  }
}
