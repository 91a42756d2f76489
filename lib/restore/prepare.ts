// What a restore does while the stack still stands: checked, noted, and everything prepared beside what is there.
import { readPart } from '../backup/archive.ts'
import { size } from '../backup/bytes.ts'
import { decompress } from '../backup/gzip.ts'
import { removePipes } from '../backup/helper.ts'
import { documents as documentsOf } from '../backup/manifest.ts'
import { inBackground } from '../backup/priority.ts'
import { compose } from '../docker.ts'
import type { Place } from '../place.ts'
import { exec } from '../shell.ts'
import type { Doing } from '../steps.ts'
import { mountedVolumes } from '../volumes.ts'
import { checked, checkStack, roomOf, type Checked } from './check.ts'
import { keepFiles, pathsOf, writeFiles } from './config.ts'
import { ground, note, now, recorded, wordOf, type Course } from './course.ts'
import { takeAway } from './ends.ts'
import { removeSockets } from './engine.ts'
import type { Ground } from './ground.ts'
import { removeLeft, states } from './hidden.ts'
import { fetchImages, imagesBefore } from './images.ts'
import { prepareMongo } from './mongodb.ts'
import { noteRestore, openRestore, type Restore } from './record.ts'
import { prepareRedis } from './redis.ts'
import { prepareVolume } from './volume.ts'

const sayTo =
  (doing: Doing) =>
  (text: string): void =>
    doing.progress(text)

/** Reads the set in full, and checks that it can be restored here. */
export async function check(course: Course, doing: Doing): Promise<void> {
  const { manifest, targets, skipped } = await checked(course, sayTo(doing))
  doing.say(`the set of ${manifest.finished} is whole: ${documentsOf(manifest)} documents, every part read`)
  if (targets)
    doing.say(
      `space, versions and places are right; to be stopped: ${targets.touched.join(', ') || 'nothing'}`,
    )
  for (const text of skipped) doing.say(`not checked: ${text}`)
}

/** What a later command needs, on disk before anything is changed. What a killed restore had prepared goes first. */
export async function begin(course: Course, doing: Doing): Promise<void> {
  const { context, stamp } = course
  const left = openRestore(context.config)
  if (left && left.stamp !== stamp) {
    doing.say(`what the restore of ${left.name} had prepared before it was killed is removed`)
    await takeAway(course, left)
  }
  await removeLeft({ purpose: 'restore', stackId: context.config.STACK_ID })
  removeSockets(context.config.STATE_DIR)
  removePipes(context.config.STATE_DIR)
  await noteBeginning(course, await checked(course, sayTo(doing)))
}

async function noteBeginning(course: Course, about: Checked): Promise<void> {
  const { context, stamp, parts, record: before } = course
  const { path, targets, stack, images, healthy } = about
  const room = roomOf(course)
  const touched = targets?.touched ?? []
  const ran = (stack?.services ?? [])
    .filter((s) => touched.includes(s.name) && s.container?.State.Running)
    .map((s) => ({ service: s.name, container: s.container?.Id ?? '' }))
  const all = [...(targets?.volumes ?? []), ...(targets?.engines ?? [])]
  const record: Restore = {
    stamp,
    set: path,
    name: before?.name ?? wordOf(course.set?.name ?? ''),
    parts,
    phase: 'preparing',
    keepStopped: before?.keepStopped ?? context.flags['keep-stopped'] === true,
    targets: all.map(({ what, kind, place }) => ({ what, kind, place })),
    touched,
    ran,
    healthy,
    ...(room && { room }),
    volumes: stack ? await mountedVolumes(stack) : [],
    made: before?.made ?? [],
    files: before?.files ?? [],
    images: parts.images && stack ? imagesBefore(images, stack) : [],
  }
  course.record = record
  noteRestore(context.config, record)
}

/** On a new server: the set's configuration, and then containers and volumes as it says, not started. */
export async function makeStack(course: Course, doing: Doing): Promise<void> {
  const { config } = course.context
  const set = await checked(course, sayTo(doing))
  if (course.fresh) {
    const paths = pathsOf(set.files, config.STACK_DIR)
    note(course, { files: keepFiles(config, course.stamp, 'before', paths) })
    await writeFiles(set, config, set.files)
    doing.say(`${set.files.length} files and folders are in ${config.STACK_DIR} as they were`)
  }
  const stack = await now(course)
  const missing = stack.services.filter((s) => !s.container).map((s) => s.name)
  if (missing.length === 0) return doing.say('every service has its container')
  // It pulls images that are missing, and makes volumes and networks with the names of the Compose file.
  await exec(compose(stack, 'create', '--no-build', '--no-recreate', ...missing), { onLine: sayTo(doing) })
  const made = (await now(course)).services.filter((s) => missing.includes(s.name))
  note(course, { made: [...recorded(course).made, ...made.flatMap((s) => s.container?.Id ?? [])] })
  doing.say(`made, not started: ${missing.join(', ')}`)
  // Places and space are known only now.
  const more = { ...set, ...(await checkStack(course, await now(course), set.manifest)) }
  course.checking = Promise.resolve(more)
  await noteBeginning(course, more)
}

/** Each volume beside what it holds, read back. One that was prepared before a kill is taken as it is. */
export async function prepareVolumes(course: Course, doing: Doing): Promise<void> {
  recorded(course)
  const { targets, path, manifest } = await checked(course, sayTo(doing))
  const volumes = targets?.volumes ?? []
  const parts = new Map(manifest.parts.map((p) => [p.name, p]))
  const on = await ground(course)
  const ready = await states(
    on,
    course.stamp,
    volumes.map((v) => v.place),
  )
  for (const [i, { record, place }] of volumes.entries()) {
    const part = parts.get(record.part ?? '')
    if (!part) throw new Error(`The set does not hold the volume ${record.key}.`)
    if (ready[i] === 'prepared') {
      doing.say(`${record.key} was prepared already`)
      continue
    }
    doing.progress(`${record.key}: ${record.files} files, ${size(record.bytes)}`)
    await doing.effect('Prepare a volume', { volume: record.key, place }, () =>
      inBackground(() =>
        prepareVolume(on, course.stamp, place, { tar: decompress(readPart(path, part)), record }),
      ),
    )
    doing.say(`${record.key}: ${record.files} files, ${size(record.bytes)}, as they were saved`)
  }
  if (volumes.length === 0) doing.say('no volume is to be restored')
}

/** The database beside its own files. */
export async function prepareDatabase(course: Course, doing: Doing): Promise<void> {
  const it = await unprepared(course, doing, 'mongodb')
  if (!it?.about.mongo) return
  const { about, place, on } = it
  const all = documentsOf(about.manifest)
  const began = performance.now()
  let done = 0
  const count = (label: string, { documents }: { documents: number }): void => {
    done += documents
    const rate = done / ((performance.now() - began) / 1000)
    const left = Math.max(0, Math.ceil((all - done) / rate))
    doing.progress(`loading ${label}: ${done} of ${all} documents, ${Math.round(rate)}/s, ${left} s left`)
  }
  const { path, manifest } = about
  const { settings } = it.about.mongo
  await inBackground(() =>
    prepareMongo(on, course.stamp, place, settings, { path, manifest, count, say: sayTo(doing) }),
  )
  doing.say(`${all} documents, their indexes and options, read back: as they were saved`)
}

/** Redis beside its own files. */
export async function prepareKeys(course: Course, doing: Doing): Promise<void> {
  const it = await unprepared(course, doing, 'redis')
  if (!it?.about.redis) return
  const { about, place, on } = it
  const { settings } = it.about.redis
  await prepareRedis(on, course.stamp, place, settings, about)
  doing.say(`${about.manifest.redis.keys} keys${settings.appendOnly ? ', as an append-only file, too' : ''}`)
}

/** An engine's place, when its part is to be restored and was not prepared before a kill. Says so otherwise. */
async function unprepared(
  course: Course,
  doing: Doing,
  kind: 'mongodb' | 'redis',
): Promise<{ about: Checked; place: Place; on: Ground } | undefined> {
  recorded(course)
  const about = await checked(course, sayTo(doing))
  const place = about.targets?.engines.find((e) => e.kind === kind)?.place
  if (!place) {
    doing.say('it is not to be restored')
    return undefined
  }
  const on = await ground(course)
  if ((await states(on, course.stamp, [place]))[0] === 'prepared') {
    doing.say('it was prepared already')
    return undefined
  }
  return { about, place, on }
}

/** Images that the set names, on this server before anything is stopped. */
export async function fetch(course: Course, doing: Doing): Promise<void> {
  const { images } = await checked(course, sayTo(doing))
  await fetchImages(images)
  doing.say(
    images.length === 0
      ? 'every service runs the image of the set'
      : `here: ${images.map((i) => i.service).join(', ')}`,
  )
}
