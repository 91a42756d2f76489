#!/usr/bin/env -S node --import tsx
// Tells how the stack is: services and their images, volumes and what mounts them, orphans, sets, runs.
// Changes: nothing.
import { existsSync } from 'node:fs'
import { size } from '../lib/backup/bytes.ts'
import { listSets, type SetInfo } from '../lib/backup/sets.ts'
import { docker, inspectVolumes } from '../lib/docker.ts'
import { pastRuns } from '../lib/run.ts'
import { script, type Context } from '../lib/script.ts'
import { mountedVolumes } from '../lib/volumes.ts'

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
  const found = await listSets(config.BACKUP_DIR, config.STACK_ID)
  const sets = found.slice(0, 5).map(({ name, bytes, date, sealed, suspect, problem }) => {
    return { name, bytes, date, sealed, suspect, problem }
  })
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
  const all = { project: stack.project, dir: stack.dir, services, volumes, sets, runs }
  process.stdout.write(redact(flags.json ? `${JSON.stringify(all)}\n` : text(all)))
  return 0
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
  readonly sets: readonly Pick<SetInfo, 'name' | 'bytes' | 'date' | 'sealed' | 'suspect' | 'problem'>[]
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

function ago(date: string): string {
  const hours = (Date.now() - Date.parse(date)) / 3_600_000
  return hours < 48 ? `${hours.toFixed(1)} h old` : `${Math.round(hours / 24)} days old`
}

function text({ project, dir, services, volumes, sets, runs }: Status): string {
  const width = Math.max(...services.map((s) => s.service.length), 0)
  return [
    `${project} in ${dir}`,
    '',
    'Services',
    ...services.map(
      (s) =>
        `  ${s.service.padEnd(width)}  ${s.state.padEnd(12)}  ${s.image}${s.newer ? '  (a newer image is here: task update)' : ''}  since ${s.since ?? '-'}`,
    ),
    '',
    'Volumes',
    ...volumes.map((v) => `  ${v.volume}  ${v.mountedBy.join(', ') || 'orphan: mounted by nothing'}`),
    '',
    'Backup sets, newest first',
    ...(sets.length === 0
      ? ['  none: task auto-backup']
      : sets.map(
          (s) =>
            `  ${s.name}  ${size(s.bytes)}  ${ago(s.date)}  ${[s.sealed ? 'sealed' : 'unverified', ...s.suspect.map((w) => `SUSPECT: ${w}`), ...(s.problem ? [s.problem] : [])].join(', ')}`,
        )),
    '',
    'Runs, newest first',
    ...(runs.length === 0 ? ['  none'] : runs.map((r) => `  ${lineOf(r)}`)),
    '',
  ].join('\n')
}

await script(import.meta, {
  about: 'Tells how the stack is: services, images, volumes and what mounts them, orphans, sets, runs.',
  changes: 'nothing.',
  undo: 'nothing to undo.',
  examples: ['task status', 'node --import tsx scripts/status.ts --json'],
  answer,
})
