#!/usr/bin/env -S node --import tsx
// Tells how the stack is: services and their images, volumes and what mounts them, orphans, sets, runs.
// Changes: nothing.
import { existsSync } from 'node:fs'
import { size } from '../lib/backup/bytes.ts'
import { age, setList, standing, type SetLine } from '../lib/backup/list.ts'
import { backupState, type BackupState } from '../lib/backup/state.ts'
import { docker, inspectVolumes } from '../lib/docker.ts'
import { owedNow, owedText } from '../lib/owed.ts'
import { pastRuns } from '../lib/run.ts'
import { script, type Context } from '../lib/script.ts'
import { mountedVolumes } from '../lib/volumes.ts'

const SHOWN = 7 // sets

async function answer({ stack, config, flags, redact }: Context): Promise<number> {
  const services = stack.services.map(({ name, image, imageId, container }) => ({
    service: name,
    state: container ? (container.State.Health?.Status ?? container.State.Status) : 'no container',
    since: container?.State.StartedAt,
    image,
    imageId: container?.Image,
    newer: container !== undefined && imageId !== undefined && container.Image !== imageId,
  }))
  const mounts = await mountedVolumes(stack)
  const named = await docker(
    'volume',
    'ls',
    '-q',
    '--filter',
    `label=com.docker.compose.project=${stack.project}`,
  )
  const volumes = (await inspectVolumes(named.split('\n').filter(Boolean))).map(({ Name }) => ({
    volume: Name,
    mountedBy: mounts.filter((m) => m.name === Name).map((m) => `${m.service}:${m.destination}`),
  }))
  const sets = await setList(config)
  const backup = backupState(config, sets)
  const runs = pastRuns(config.STATE_DIR, 5).map(({ id, report, journal }) => {
    const { script: name, pid } = (journal[0]?.detail ?? {}) as { script?: string; pid?: number }
    return {
      run: id,
      script: report?.script ?? name ?? '',
      exitCode: report?.exitCode,
      outcome: report?.outcome.split('\n')[0],
      failedStep: report?.steps.find((s) => s.outcome === 'failed')?.title,
      lastStep: journal.at(-1)?.title,
      running: report === undefined && existsSync(`/proc/${pid}`),
    }
  })
  const owed = owedNow(config).map(owedText)
  const all = { project: stack.project, dir: stack.dir, services, volumes, backup, sets, owed, runs }
  process.stdout.write(redact(flags.json ? `${JSON.stringify(all)}\n` : text(all)))
  return backup.problems.length === 0 ? 0 : 3
}

interface Status {
  readonly project: string
  readonly dir: string
  readonly services: readonly {
    service: string
    state: string
    image: string
    since: string | undefined
    newer: boolean
  }[]
  readonly volumes: readonly { volume: string; mountedBy: readonly string[] }[]
  readonly backup: BackupState
  readonly sets: readonly SetLine[]
  /** What a run that was killed, or is at work, has to put back. */
  readonly owed: readonly string[]
  readonly runs: readonly RunLine[]
}

interface RunLine {
  readonly run: string
  readonly script: string
  readonly exitCode: number | undefined
  readonly outcome: string | undefined
  readonly failedStep: string | undefined
  readonly lastStep: string | undefined
  readonly running: boolean
}

function lineOf(r: RunLine): string {
  if (r.running) return `${r.run}  runs now, at: ${r.lastStep}`
  if (r.exitCode === undefined) return `${r.run}  NEVER ENDED, last at: ${r.lastStep}. Type: task ${r.script}`
  return `${r.run}  ${r.failedStep ? `exit code ${r.exitCode}, ${r.failedStep}: ` : ''}${r.outcome}`
}

function text({ project, dir, services, volumes, backup, sets, owed, runs }: Status): string {
  const width = Math.max(...services.map((s) => s.service.length), 0)
  return [
    `${project} in ${dir}`,
    '',
    ...(owed.length === 0
      ? []
      : ['Owed by a run that was killed or is at work', ...owed.map((o) => `  ${o}`), '']),
    'Services',
    ...services.map(
      (s) =>
        `  ${s.service.padEnd(width)}  ${s.state.padEnd(12)}  ${s.image}${s.newer ? '  (a newer image is here: task update)' : ''}  since ${s.since ?? '-'}`,
    ),
    '',
    'Volumes',
    ...volumes.map((v) => `  ${v.volume}  ${v.mountedBy.join(', ') || 'orphan: mounted by nothing'}`),
    '',
    `Newest good set: ${backup.newestGood ? `${backup.newestGood.name}, made ${age(backup.newestGood.date)}` : 'none: task auto-backup'}`,
    ...backup.problems.map((p) => `  ✖ ${p}`),
    ...backup.notes.map((n) => `  ${n}`),
    ...sets.slice(0, SHOWN).map((s) => `  ${s.name}  ${size(s.bytes)}  ${age(s.date)}  ${standing(s)}`),
    ...(sets.length > SHOWN ? [`  and ${sets.length - SHOWN} more: task restore -- --list`] : []),
    '',
    'Runs, newest first',
    ...(runs.length === 0 ? ['  none'] : runs.map((r) => `  ${lineOf(r)}`)),
    '',
  ].join('\n')
}

await script(import.meta, {
  about:
    'Tells how the stack is: services, images, volumes and what mounts them, orphans, sets, runs. Exit code 3 when ' +
    'the newest good set, or its copy, is older than BACKUP_MAX_AGE.',
  changes: 'nothing.',
  undo: 'nothing to undo.',
  examples: ['task status', 'node --import tsx scripts/status.ts --json'],
  answer,
})
