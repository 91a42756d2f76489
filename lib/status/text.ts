// The status for people: what needs them first.
import { size } from '../backup/bytes.ts'
import { age, standing } from '../backup/list.ts'
import type { RunFact, ServiceFact, Status } from './facts.ts'

const SHOWN = 7 // sets, and older images

/** A screen of text. */
export function statusText(s: Status): string {
  const open = s.runs.filter((r) => r.next.length > 0)
  return [
    `${s.project} in ${s.dir}`,
    '',
    ...open.flatMap((r) => [`NOT ENDED: ${runText(r)}`, ...r.next.map((line) => `  ${line}`), '']),
    ...(s.restore ? [s.restore.text, ...s.restore.next.map((line) => `  ${line}`), ''] : []),
    ...section('Staging', s.staging),
    ...section('Owed by a run that was killed or is at work', s.owed),
    ...section('Services', serviceLines(s.services)),
    ...section(
      'Orphan containers: the Compose file has no such service',
      s.orphans.map((o) => `${o.container}  ${o.service}  ${o.state}`),
    ),
    ...section(`Volumes${s.unmeasured === undefined ? '' : ` (${s.unmeasured})`}`, volumeLines(s)),
    `Newest good set: ${s.backup.newestGood ? `${s.backup.newestGood.name}, made ${age(s.backup.newestGood.date)}` : 'none: task auto-backup'}`,
    ...s.backup.problems.map((p) => `  ✖ ${p}`),
    ...s.backup.notes.map((n) => `  ${n}`),
    ...s.sets.slice(0, SHOWN).map((x) => `  ${x.name}  ${size(x.bytes)}  ${age(x.date)}  ${standing(x)}`),
    ...(s.sets.length > SHOWN ? [`  and ${s.sets.length - SHOWN} more: task restore -- --list`] : []),
    '',
    ...section('Runs, newest first', s.runs.length === 0 ? ['none'] : s.runs.map(runText)),
    ...section(
      'Disk',
      s.disks.map((d) => `${d.path} (${d.holds.join(', ')}): ${size(d.free)} free of ${size(d.bytes)}`),
    ),
    ...section('Images that failed here, not taken again until they are named', s.failedImages),
    ...section(
      'Older images of the same repositories that nothing here uses (docker image rm ID)',
      imageLines(s),
    ),
    ...section('Not looked at', s.skipped),
  ]
    .map((l) => l.replace(/\p{C}/gu, ' ')) // names and labels come from outside: no terminal obeys them
    .join('\n')
}

function imageLines({ olderImages: all }: Status): string[] {
  const lines = all
    .slice(0, SHOWN)
    .map((i) => `${i.id.slice(7, 19)}  ${size(i.bytes)}  built ${age(i.created)}  ${i.names[0]}`)
  return all.length > SHOWN ? [...lines, `and ${all.length - SHOWN} more: task status -- --json`] : lines
}

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : [title, ...lines.map((l) => `  ${l}`), '']

function serviceLines(services: readonly ServiceFact[]): string[] {
  const width = (of: (s: ServiceFact) => string): number => Math.max(0, ...services.map((s) => of(s).length))
  const [names, states] = [width((s) => s.service), width((s) => s.state)]
  return services.map((s) => {
    const notes = [
      s.restarts > 0 ? `restarted ${s.restarts} times` : '',
      s.newer ? 'a newer image is here: task update' : '',
      s.reconfigured ? 'its configuration was changed: task update' : '',
    ].filter(Boolean)
    const built = s.built === undefined ? '' : `, built ${age(s.built)}`
    const up = s.since === undefined || s.since.startsWith('0001') ? '' : `, started ${age(s.since)}`
    const image = `${s.image} ${s.imageId?.slice(7, 19) ?? ''}`.trimEnd()
    return `${s.service.padEnd(names)}  ${s.state.padEnd(states)}  ${image}${built}${up}${notes.map((n) => `  (${n})`).join('')}`
  })
}

function volumeLines({ volumes }: Status): string[] {
  const width = Math.max(0, ...volumes.map((v) => v.volume.length))
  return volumes.map((v) => {
    const bytes = (v.bytes === undefined ? '?' : size(v.bytes)).padStart(8)
    return `${v.volume.padEnd(width)}  ${bytes}  ${v.mountedBy.join(', ') || 'orphan: mounted by nothing'}`
  })
}

function runText(r: RunFact): string {
  if (r.running) return `${r.run}  runs now, at: ${r.lastStep}`
  if (r.exitCode === undefined)
    return `${r.run}  NEVER ENDED, last at: ${r.lastStep ?? 'unknown, its journal cannot be read'}`
  return `${r.run}  ${r.failedStep ? `exit code ${r.exitCode}, ${r.failedStep}: ` : ''}${r.outcome}`
}
