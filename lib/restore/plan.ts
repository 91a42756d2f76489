// What a restore will do, in words: printed before it is confirmed.
import { age } from '../backup/list.ts'
import { size } from '../backup/bytes.ts'
import { documents } from '../backup/manifest.ts'
import { outsideOf, roomOf, type Checked } from './check.ts'
import { whereOf } from './config.ts'
import type { Course } from './course.ts'
import type { Room } from './given.ts'
import { pastRuns } from '../run.ts'
import type { Downtime } from '../downtime.ts'
import { partsText } from './parts.ts'

const READ = 60e6 // bytes/s that are extracted and read back, on a small server
const LOAD = 40e3 // documents/s that are loaded, indexed and read back

/** Everything that somebody should know before typing the set's name. */
export function planText(course: Course, checked: Checked): string {
  const { parts, set, fresh } = course
  const stackDir = course.context.config.STACK_DIR
  const { manifest: m, targets, files, images, skipped, healthy } = checked
  const volumes = targets?.volumes ?? []
  const engines = targets?.engines ?? []
  const bytes = volumes.reduce((sum, v) => sum + v.record.bytes, 0)
  const seconds = (2 * bytes) / READ + (engines.some((e) => e.kind === 'mongodb') ? documents(m) / LOAD : 0)
  const lines = [
    `Restore of ${set?.name ?? course.record?.name ?? ''}, finished ${m.finished} (${age(m.finished)}): ${partsText(parts)}`,
    ...(set && set.suspect.length > 0 ? [`  It is SUSPECT: ${some(set.suspect, '; ')}`] : []),
    ...(m.complete ? [] : ['  It is NOT COMPLETE: backup-metadata.txt in it says what is missing.']),
    'Replaced, with everything that came since:',
    ...engines.map(({ kind }) =>
      kind === 'mongodb'
        ? `  MongoDB: all databases, ${documents(m).toLocaleString('en')} documents`
        : `  Redis: ${m.redis.keys.toLocaleString('en')} keys`,
    ),
    ...volumes.map(
      ({ record, place }) =>
        `  volume ${record.key} (${place.source}): ${record.files.toLocaleString('en')} files, ${size(record.bytes)}`,
    ),
    ...(parts.config
      ? [`  configuration, where it differs: ${some(files.map((f) => whereOf(f, stackDir)))}`]
      : []),
    ...outsideOf(course, checked).map((f) => `  OUTSIDE of the stack's folder (type: outside): ${f.source}`),
    ...(parts.images ? images.map((i) => `  image of ${i.service}: ${i.id.slice(0, 19)}`) : []),
  ]
  const kept = [
    ...(targets?.homeless ?? []).map((v) => `  volume ${v.key} of the set: no service mounts it now`),
    ...(targets?.others ?? []).map((key) => `  volume ${key}: the set does not have it; it stays as it is`),
    ...(parts.config || files.length === 0
      ? []
      : [
          `  configuration: ${files.length} files differ from the set (${some(files.map((f) => f.name))}); --parts data,config restores them`,
        ]),
    ...(parts.images || images.length === 0
      ? []
      : [
          `  images: ${images.map((i) => i.service).join(', ')} ran another one; --parts data,images restores them`,
        ]),
  ]
  const minutes = Math.ceil(seconds / 60)
  const room = roomOf(course)
  const time = fresh
    ? []
    : [
        ...timeText(room, minutes, targets?.touched ?? [], lastDowntime(course.context.config.STATE_DIR)),
        room && room.scratch === undefined
          ? 'When something fails it is not taken back: task restore -- --resume goes on with it.'
          : healthy.length === 0
            ? 'No service is healthy now: whether the applications become healthy is told, and takes nothing back.'
            : 'When something fails, or what is healthy now does not become healthy again, it is taken back.',
        ...(room
          ? []
          : ['What was there stays aside until task restore -- --commit; --undo brings it back.']),
      ]
  return [
    ...lines,
    ...(kept.length > 0 ? ['Not restored:', ...kept] : []),
    ...skipped.map((text) => `Not checked: ${text}`),
    ...time,
  ].join('\n')
}

/** What a visitor saw the last time that services here were stopped and started. */
function lastDowntime(stateDir: string): string {
  for (const { id, report } of pastRuns(stateDir, 50)) {
    const seen = report?.facts.downtime
    if (!Array.isArray(seen)) continue
    const most = Math.max(0, ...(seen as Downtime[]).map((d) => d.ms))
    if (most > 0) return `about ${(most / 1000).toFixed(1)} s, as ${id} measured it`
  }
  return 'as long as they take to stop and to start; it was never measured here'
}

function timeText(
  room: Room | undefined,
  minutes: number,
  touched: readonly string[],
  expected: string,
): string[] {
  const down = `${touched.join(', ')} are stopped`
  if (!room)
    return [
      `First everything is prepared beside what is there, while the stack runs: about ${minutes} min.`,
      `Then ${down}, swapped by renames, and started. Expected downtime: ${expected}.`,
    ]
  const first =
    room.scratch === undefined
      ? `${down}, and WHAT IS THERE NOW IS REMOVED: it is given up, and nothing can be undone. Only other sets hold any of it.`
      : `${down}, and what is there now is copied to ${room.scratch} and removed; --undo copies it back.`
  return [first, `Then the set is restored, about ${minutes} min, while the stack is down.`]
}

const some = (names: readonly string[], between = ', '): string =>
  names.length <= 5 ? names.join(between) : `${names.slice(0, 5).join(between)} and ${names.length - 5} more`
