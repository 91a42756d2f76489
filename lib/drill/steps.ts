// What the steps of a drill do: each part of the set is restored in a volume of the drill's, and compared.
import { readPart } from '../backup/archive.ts'
import { size } from '../backup/bytes.ts'
import { decompress } from '../backup/gzip.ts'
import { documents, type Manifest } from '../backup/manifest.ts'
import { mark } from '../backup/marks.ts'
import { inBackground } from '../backup/priority.ts'
import { progress } from '../backup/progress.ts'
import { readSeal } from '../backup/seal.ts'
import { docker } from '../docker.ts'
import { refusal } from '../errors.ts'
import type { Outcome } from '../execute.ts'
import type { Place } from '../place.ts'
import { wordOf } from '../restore/course.ts'
import { states } from '../restore/hidden.ts'
import { prepareMongo } from '../restore/mongodb.ts'
import { prepareRedis } from '../restore/redis.ts'
import { tooSmall } from '../restore/room.ts'
import { prepareVolume } from '../restore/volume.ts'
import { dockerAnswers } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { manifestOf, verified, type Course } from './course.ts'
import { ground, removeFetched } from './images.ts'
import { checkMade, makeVolumes, placesOf, removeAll, removeOld, targets } from './volumes.ts'

const telling =
  (doing: Doing) =>
  (text: string): void =>
    doing.progress(text)

const many = (n: number): string => n.toLocaleString('en')

/** Reads the set in full. */
export async function verify(course: Course, doing: Doing): Promise<void> {
  await dockerAnswers(() => docker('version')) // or reading it would be for nothing
  doing.say(course.set.path)
  for (const text of course.passedOver) doing.say(text)
  if (course.passedOver.length > 0) doing.fact('attention', course.passedOver)
  await inBackground(() => verified(course, telling(doing)))
  const manifest = manifestOf(course)
  doing.say(
    `the set of ${manifest.finished} is whole: ${many(documents(manifest))} documents, every part read`,
  )
}

/** Everything that the parts need: engines, volumes, space. What a killed drill left goes first. */
export async function make(course: Course, doing: Doing): Promise<void> {
  await removeOld(course, doing)
  const on = await ground(course, doing)
  await makeVolumes(course, doing)
  const wrong = await tooSmall(on, manifestOf(course), targets(course))
  if (wrong.length > 0) throw refusal(`${wrong.join('\n')} Nothing was changed.`)
  doing.say(`${placesOf(course).length} volumes, without anything in them; there is room`)
}

/** The files of every volume. @throws a sentence that names the volume which is not what was saved */
export async function restoreVolumes(course: Course, doing: Doing): Promise<void> {
  await checkMade(course)
  const on = await ground(course, doing)
  const { parts } = manifestOf(course)
  for (const { record, place } of targets(course).volumes) {
    const part = parts.find((p) => p.name === record.part)
    if (!part) throw new Error(`The set does not hold the volume ${record.key}.`)
    doing.progress(`${record.key}: ${record.files} files, ${size(record.bytes)}`)
    const tar = decompress(readPart(course.set.path, part))
    await inBackground(() => prepareVolume(on, course.context.stamp, place, { tar, record }))
    doing.say(`${record.key}: ${many(record.files)} files, ${size(record.bytes)}, as they were saved`)
  }
}

/** Every database. @throws a sentence that names the collections which are not what was saved */
export async function restoreMongo(course: Course, doing: Doing): Promise<void> {
  await checkMade(course)
  const on = await ground(course, doing)
  const { path } = course.set
  const manifest = manifestOf(course)
  const { replicaSet, me: member = 'localhost:27017', databases } = manifest.mongodb
  const collections = databases.flatMap((d) => d.collections)
  const all = collections.reduce((sum, c) => sum + c.bytes, 0)
  const loading = progress(telling(doing), 'loading', all)
  const source = {
    path,
    manifest,
    count: (label: string, { bytes }: { bytes: Buffer }): void => loading(label, bytes.length),
    say: telling(doing),
  }
  await inBackground(() =>
    prepareMongo(
      on,
      course.context.stamp,
      placeOf(course, 'mongodb'),
      { replicaSet, member, layout: [] },
      source,
    ),
  )
  const n = many(documents(manifest))
  doing.say(
    `${n} documents in ${collections.length} collections, their indexes and options: as they were saved`,
  )
}

/** All keys. @throws a sentence when they are not what was saved */
export async function restoreRedis(course: Course, doing: Doing): Promise<void> {
  await checkMade(course)
  const on = await ground(course, doing)
  const { path } = course.set
  const manifest = manifestOf(course)
  const { appendOnly, file: dbfilename, version, keys } = manifest.redis
  const settings = {
    appendOnly,
    dbfilename,
    appendfilename: 'appendonly.aof',
    appenddirname: Number(version.split('.')[0]) < 7 ? '' : 'appendonlydir',
  }
  await inBackground(() =>
    prepareRedis(on, course.context.stamp, placeOf(course, 'redis'), settings, { path, manifest }),
  )
  doing.say(`${many(keys)} keys${appendOnly ? ', as an append-only file, too' : ''}`)
}

function placeOf(course: Course, kind: 'mongodb' | 'redis'): Place {
  const place = targets(course).engines.find((e) => e.kind === kind)?.place
  if (!place) throw new TypeError(`there is no place for ${kind}`)
  return place
}

/** Notes beside the set that it is proven: only what lies compared in the drill's own volumes says so. */
export async function note(course: Course, doing: Doing): Promise<void> {
  const { context, set, seal } = course
  await checkMade(course)
  await inBackground(() => verified(course, telling(doing)))
  const found = await states(await ground(course, doing), context.stamp, placesOf(course))
  if (found.some((state) => state !== 'prepared'))
    throw new Error('Not every part of the set was restored: the steps before this one do that.')
  if (readSeal(set.path) !== seal) throw new Error(`${set.path} has another seal than when the drill began.`)
  mark(set.path, 'proven', { sha256: seal })
  const { keys, volumes } = counted(manifestOf(course))
  const ms = Math.round(performance.now() - course.began)
  doing.fact('proven', {
    set: set.path,
    sha256: seal,
    documents: documents(manifestOf(course)),
    keys,
    volumes,
    ms,
  })
}

const counted = ({ redis, volumes }: Manifest): { keys: number; volumes: number } => ({
  keys: redis.keys,
  volumes: volumes.filter((v) => v.part !== undefined && !v.coveredBy).length,
})

/** Removes what the drill made, and nothing else. Safe to repeat. */
export async function remove(course: Course, doing: Doing): Promise<void> {
  const n = await removeAll(course)
  await removeFetched(course)
  doing.say(`${n} volumes`)
}

/** The last line of a drill that proved its set. */
export function done(course: Course): string {
  const { flags } = course.context
  if ((flags.only ?? flags.from) !== undefined) return 'Done: these steps alone.\n'
  const manifest = manifestOf(course)
  const { keys, volumes } = counted(manifest)
  const seconds = ((performance.now() - course.began) / 1000).toFixed(1)
  const plural = (n: number, what: string): string => `${many(n)} ${what}${n === 1 ? '' : 's'}`
  const what = [plural(documents(manifest), 'document'), plural(keys, 'key'), plural(volumes, 'volume')]
  return `Proven: ${wordOf(course.set.name)} in ${seconds} s: ${what.join(', ')}.\n`
}

/** After a failure: what is true now, and what to type. */
export function afterFailure(course: Course | undefined, { notUndone }: Outcome): string {
  const { only, from } = course?.context.flags ?? {}
  const lines = ['Nothing of the stack was touched.']
  if (course) lines.unshift(`${wordOf(course.set.name)} is NOT proven by this drill.`)
  if (notUndone.length > 0 || (only ?? from) !== undefined)
    lines.push('What the drill made may still be there; the next one removes it.')
  return [...lines, 'To make another set and try that: task auto-backup, then task drill'].join('\n')
}
