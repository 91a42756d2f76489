// What a restore will do, in words: printed before it is confirmed.
import { age } from '../backup/list.ts'
import { size } from '../backup/bytes.ts'
import { documents } from '../backup/manifest.ts'
import type { Checked } from './check.ts'
import type { Course } from './course.ts'
import { partsText } from './parts.ts'

const READ = 60e6 // bytes/s that are extracted and read back, on a small server
const LOAD = 40e3 // documents/s that are loaded, indexed and read back

/** Everything that somebody should know before typing the set's name. */
export function planText(course: Course, checked: Checked): string {
  const { parts, set, fresh } = course
  const { manifest: m, targets, files, images, skipped, healthy } = checked
  const volumes = targets?.volumes ?? []
  const engines = targets?.engines ?? []
  const bytes = volumes.reduce((sum, v) => sum + v.record.bytes, 0)
  const seconds = (2 * bytes) / READ + (engines.some((e) => e.kind === 'mongodb') ? documents(m) / LOAD : 0)
  const lines = [
    `Restore of ${set?.name ?? course.record?.name ?? ''}, finished ${m.finished} (${age(m.finished)}): ${partsText(parts)}`,
    ...(set?.suspect ?? []).map((why) => `  It is SUSPECT: ${why}`),
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
    ...(parts.config ? [`  configuration: ${files.length} files and folders that differ`] : []),
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
  const time = fresh
    ? []
    : [
        `First everything is prepared beside what is there, while the stack runs: about ${Math.ceil(seconds / 60)} min.`,
        `Then ${targets?.touched.join(', ')} are stopped, swapped by renames, and started: as long as that takes them.`,
        healthy.length === 0
          ? 'No service is healthy now: whether the applications become healthy is told, and takes nothing back.'
          : 'When something fails, or what is healthy now does not become healthy again, it is taken back.',
        'What was there stays aside until task restore -- --commit; --undo brings it back.',
      ]
  return [
    ...lines,
    ...(kept.length > 0 ? ['Not restored:', ...kept] : []),
    ...skipped.map((text) => `Not checked: ${text}`),
    ...time,
  ].join('\n')
}

const some = (names: readonly string[]): string =>
  names.length <= 5 ? names.join(', ') : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`
