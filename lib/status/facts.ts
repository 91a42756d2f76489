// How the stack is: asked of Docker, of the disk, and of what the runbook has kept. Only reads.
import { existsSync, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { volumeSizes } from '../backup/helper.ts'
import { setList, type SetLine } from '../backup/list.ts'
import { backupState, type BackupState } from '../backup/state.ts'
import { docker, inspectImage, inspectVolumes } from '../docker.ts'
import { sentence } from '../errors.ts'
import { olderImages, type OldImage } from '../images.ts'
import { owedNow, owedText } from '../owed.ts'
import { pastRuns, type PastRun } from '../run.ts'
import { interruption } from '../shell.ts'
import { orphans, reconfigured, type Service, type Stack } from '../stack.ts'
import { within } from '../steps.ts'
import { openBaseline } from '../update/baseline.ts'
import { failedImages } from '../update/refused.ts'
import { mountedVolumes } from '../volumes.ts'

export interface Status {
  readonly project: string
  readonly dir: string
  readonly services: readonly ServiceFact[]
  /** Containers of the project that its Compose file does not know. */
  readonly orphans: readonly {
    readonly container: string
    readonly service: string
    readonly state: string
  }[]
  readonly volumes: readonly VolumeFact[]
  /** Why the volumes were not measured. */
  readonly unmeasured: string | undefined
  readonly backup: BackupState
  readonly sets: readonly SetLine[]
  /** What a run that was killed, or is at work, has to put back. */
  readonly owed: readonly string[]
  readonly runs: readonly RunFact[]
  readonly disks: readonly DiskFact[]
  readonly olderImages: readonly OldImage[]
  /** Images that an update has found broken and does not take again by itself. */
  readonly failedImages: readonly string[]
}

export interface ServiceFact {
  readonly service: string
  /** What Docker's health check says, or the container's state; of several containers each. */
  readonly state: string
  readonly image: string
  readonly imageId: string | undefined
  /** ISO 8601: when the image was built. */
  readonly built: string | undefined
  /** ISO 8601 */
  readonly since: string | undefined
  readonly restarts: number
  /** The image's name means another one here by now. */
  readonly newer: boolean
  /** The Compose file or .env were changed since. */
  readonly reconfigured: boolean
}

export interface VolumeFact {
  readonly volume: string
  readonly bytes: number | undefined
  /** `service:path`; none: an orphan. */
  readonly mountedBy: readonly string[]
}

export interface RunFact {
  readonly run: string
  readonly script: string
  readonly exitCode: number | undefined
  readonly outcome: string | undefined
  readonly failedStep: string | undefined
  readonly lastStep: string | undefined
  readonly running: boolean
  /** What to type for a run that did not come to its end. */
  readonly next: readonly string[]
}

export interface DiskFact {
  /** What lies there. */
  readonly holds: readonly string[]
  readonly path: string
  readonly bytes: number
  readonly free: number
}

const MEASURE = 20_000 // ms that the volumes may take

/** Everything; `sizes` are taken from an earlier look instead of measured. */
export async function statusFacts(
  stack: Stack,
  sizes?: Sizes,
): Promise<{ readonly status: Status; readonly sizes: Sizes }> {
  const { config, project, dir } = stack
  const mounts = await mountedVolumes(stack)
  const label = `label=com.docker.compose.project=${project}`
  const named = (await docker('volume', 'ls', '-q', '--filter', label)).split('\n').filter(Boolean)
  const names = [...new Set([...named, ...mounts.map((m) => m.name)])].toSorted()
  const measured =
    sizes ??
    (await measure(
      stack,
      (await inspectVolumes(names)).map((v) => v.Name),
    ))
  const sets = await setList(config)
  const changed = reconfigured(stack)
  const status: Status = {
    project,
    dir,
    services: await Promise.all(stack.services.map((s) => serviceFact(s, changed.includes(s.name)))),
    orphans: (await orphans(stack)).map((c) => ({
      container: c.Name.replace(/^\//, ''),
      service: c.Config.Labels['com.docker.compose.service'] ?? '',
      state: c.State.Status,
    })),
    volumes: names.map((volume) => ({
      volume,
      bytes: measured.of.get(volume),
      mountedBy: mounts.filter((m) => m.name === volume).map((m) => `${m.service}:${m.destination}`),
    })),
    unmeasured: measured.why,
    backup: backupState(config, sets),
    sets,
    owed: owedNow(config).map(owedText),
    runs: runFacts(config.STATE_DIR),
    disks: await diskFacts(stack),
    olderImages: await olderImages(stack),
    failedImages: failedImages(config).map(
      (f) => `${f.service}: ${f.digests[0] ?? f.id} (${f.why.split('\n')[0]})`,
    ),
  }
  return { status, sizes: measured }
}

interface Sizes {
  readonly of: ReadonlyMap<string, number>
  readonly why: string | undefined
}

async function measure(stack: Stack, names: readonly string[]): Promise<Sizes> {
  try {
    return {
      of: await within(MEASURE, interruption.getStore(), () => volumeSizes(stack, names)),
      why: undefined,
    }
  } catch (error) {
    interruption.getStore()?.throwIfAborted()
    return { of: new Map(), why: sentence(error).split('\n')[0] }
  }
}

async function serviceFact(s: Service, changed: boolean): Promise<ServiceFact> {
  const { name, image, imageId, container, containers } = s
  const states = containers.map((c) => c.State.Health?.Status ?? c.State.Status)
  return {
    service: name,
    state: states.length === 0 ? 'no container' : states.join(', '),
    image,
    imageId: container?.Image,
    built: container && (await inspectImage(container.Image))?.Created,
    since: container?.State.StartedAt,
    restarts: containers.reduce((sum, c) => sum + c.RestartCount, 0),
    newer: container !== undefined && imageId !== undefined && container.Image !== imageId,
    reconfigured: changed,
  }
}

const SHOWN = 5 // runs

function runFacts(stateDir: string): RunFact[] {
  const open = openBaseline(stateDir)
  return pastRuns(stateDir, SHOWN).map((run): RunFact => {
    const { id, report, journal } = run
    const { script = '', pid } = (journal[0]?.detail ?? {}) as { script?: string; pid?: number }
    const running = report === undefined && existsSync(`/proc/${pid}`)
    return {
      run: id,
      script: report?.script ?? script,
      exitCode: report?.exitCode,
      outcome: report?.outcome.split('\n')[0],
      failedStep: report?.steps.find((s) => s.outcome === 'failed')?.title,
      lastStep: journal.at(-1)?.title,
      running,
      next: running ? [] : nextFor(run, script, open),
    }
  })
}

/** What ends a run that did not come to its end: on with it, or back. */
function nextFor({ id, report }: PastRun, script: string, open: ReturnType<typeof openBaseline>): string[] {
  if (open?.run === id)
    return [...(open.undoing ? [] : ['task update -- --resume']), 'task update -- --abort']
  return report === undefined ? [`task ${script}`] : []
}

/** The file systems that matter, each once. */
async function diskFacts({ config, dir }: Stack): Promise<DiskFact[]> {
  const root = (await docker('info', '--format', '{{.DockerRootDir}}')).trim()
  const places = {
    [root]: 'Docker',
    [dir]: 'the stack',
    [config.BACKUP_DIR]: 'sets',
    [config.STATE_DIR]: 'runs',
  }
  const found = new Map<number, { holds: string[]; path: string; bytes: number; free: number }>()
  for (const [path, what] of Object.entries(places)) {
    let there = path
    while (!existsSync(there)) there = dirname(there)
    if (what === 'Docker' && there !== path) continue // its daemon is on another machine
    const { dev } = statSync(there)
    const { bsize, blocks, bavail } = statfsSync(there)
    const known = found.get(dev)
    if (known) known.holds.push(what)
    else found.set(dev, { holds: [what], path: there, bytes: blocks * bsize, free: bavail * bsize })
  }
  return [...found.values()]
}
