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
import { restoreFact, type RestoreFact } from '../restore/standing.ts'
import { pastRuns, type PastRun } from '../run.ts'
import { interruption } from '../shell.ts'
import { stagingLines } from '../staging/standing.ts'
import { orphans, reconfigured, type Service, type Stack } from '../stack.ts'
import { within } from '../steps.ts'
import { openBaseline } from '../update/baseline.ts'
import { failedImages } from '../update/refused.ts'

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
  /** Why the volumes have no sizes: `not measured …`. */
  readonly unmeasured: string | undefined
  readonly backup: BackupState
  readonly sets: readonly SetLine[]
  /** What a run that was killed, or is at work, has to put back. */
  readonly owed: readonly string[]
  /** The restore that is open here: half, or with something kept aside. */
  readonly restore: RestoreFact | undefined
  /** How staging stands; nothing when there is none. */
  readonly staging: readonly string[]
  readonly runs: readonly RunFact[]
  readonly disks: readonly DiskFact[]
  readonly olderImages: readonly OldImage[]
  /** Images that an update has found broken and does not take again by itself. */
  readonly failedImages: readonly string[]
  /** What could not be looked at, and why: one sentence each. The rest stands. */
  readonly skipped: readonly string[]
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
  /** `service:path`, or `container NAME` of what is no service of the stack; none: an orphan. */
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

/** Everything; `sizes` are taken from an earlier look instead of measured. What is broken is told in `skipped`. */
export async function statusFacts(
  stack: Stack,
  sizes?: Sizes,
): Promise<{ readonly status: Status; readonly sizes: Sizes }> {
  const { config, project, dir } = stack
  const skipped: string[] = []
  /** A note that is damaged, or a folder that may not be read, must not hide all the rest. */
  const look = async <T>(what: string, ask: () => T | Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await ask()
    } catch (error) {
      interruption.getStore()?.throwIfAborted()
      skipped.push(`${what}, because ${sentence(error).split('\n')[0]}`)
      return otherwise
    }
  }
  const volumes = await mountsOf(stack)
  const measured = sizes ?? (await measure(stack, [...volumes.keys()]))
  const sets = await look(`The sets in ${config.BACKUP_DIR}`, () => setList(config), [])
  const changed = reconfigured(stack)
  const failed = await look('Images that failed', () => failedImages(config), [])
  const status: Omit<Status, 'skipped'> = {
    project,
    dir,
    services: await Promise.all(stack.services.map((s) => serviceFact(s, changed.includes(s.name)))),
    orphans: (await orphans(stack)).map((c) => ({
      container: c.Name.replace(/^\//, ''),
      service: c.Config.Labels['com.docker.compose.service'] ?? '',
      state: c.State.Status,
    })),
    volumes: Array.from(volumes, ([volume, mountedBy]) => ({
      volume,
      bytes: measured.of.get(volume),
      mountedBy,
    })),
    unmeasured: measured.why,
    backup: backupState(config, sets),
    sets,
    owed: (await look('What a run owes', () => owedNow(config), [])).map(owedText),
    restore: await look('What a restore keeps aside', () => restoreFact(stack), undefined),
    staging: await look('Staging', () => stagingLines(stack), []),
    runs: await runFacts(config.STATE_DIR, look),
    disks: await diskFacts(stack, look),
    olderImages: await look('Older images', () => olderImages(stack), []),
    failedImages: failed.map((f) => `${f.service}: ${f.digests[0] ?? f.id} (${f.why.split('\n')[0]})`),
  }
  return { status: { ...status, skipped }, sizes: measured }
}

type Look = <T>(what: string, ask: () => T | Promise<T>, otherwise: T) => Promise<T>

/** The project's volumes, and whatever its containers mount, by name, with who mounts them. */
async function mountsOf(stack: Stack): Promise<Map<string, string[]>> {
  const label = `label=com.docker.compose.project=${stack.project}`
  const found = new Map<string, Set<string>>()
  for (const name of (await docker('volume', 'ls', '-q', '--filter', label)).split('\n').filter(Boolean))
    found.set(name, new Set())
  for (const { name: service, containers } of stack.services) {
    for (const { Type, Name, Destination } of containers.flatMap((c) => c.Mounts)) {
      if (Type !== 'volume' || Name === undefined) continue
      found.set(Name, (found.get(Name) ?? new Set()).add(`${service}:${Destination}`))
    }
  }
  // An orphan container, or one of another project, may use what no service does: that is no orphan to be removed.
  for (const [name, by] of found) {
    if (by.size > 0) continue
    // The filter finds parts of names, too.
    const others = await docker(
      'ps',
      '-a',
      '--no-trunc',
      '--filter',
      `volume=${name}`,
      '--format',
      '{{json .}}',
    )
    for (const line of others.split('\n').filter(Boolean)) {
      const { Names, Mounts } = JSON.parse(line) as { Names: string; Mounts: string }
      if (Mounts.split(',').includes(name)) by.add(`container ${Names}`)
    }
  }
  return new Map([...found].toSorted(([a], [b]) => a.localeCompare(b)).map(([name, by]) => [name, [...by]]))
}

interface Sizes {
  readonly of: ReadonlyMap<string, number>
  readonly why: string | undefined
}

async function measure(stack: Stack, names: readonly string[]): Promise<Sizes> {
  try {
    return {
      of: await within(MEASURE, interruption.getStore(), async () => {
        await inspectVolumes(names) // one that is gone would be made anew by mounting it
        return volumeSizes(stack, names)
      }),
      why: undefined,
    }
  } catch (error) {
    interruption.getStore()?.throwIfAborted()
    const why = sentence(error).split('\n')[0] ?? ''
    const late = why.startsWith('timed out')
    return {
      of: new Map(),
      why: late ? `not measured in ${MEASURE / 1000} s` : `not measured, because ${why}`,
    }
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

async function runFacts(stateDir: string, look: Look): Promise<RunFact[]> {
  const open = await look('Which update is unfinished', () => openBaseline(stateDir), undefined)
  const runs = await look('The runs', () => pastRuns(stateDir, SHOWN), [])
  const facts = await Promise.all(
    runs.map((run) => look<RunFact | undefined>(`Run ${run.id}`, () => runFact(run, open), undefined)),
  )
  return facts.filter((f) => f !== undefined)
}

function runFact(run: PastRun, open: ReturnType<typeof openBaseline>): RunFact {
  const { id, report, journal } = run
  const { script: begun, pid } = (journal[0]?.detail ?? {}) as { script?: string; pid?: number }
  // A journal that cannot be read says nothing; the folder's name still does.
  const script = report?.script ?? begun ?? id.replace(/^\d{8}_\d{6}-/, '').replace(/-\d+$/, '')
  const running = report === undefined && pid !== undefined && existsSync(`/proc/${pid}`)
  return {
    run: id,
    script,
    exitCode: report?.exitCode,
    outcome: report?.outcome.split('\n')[0],
    failedStep: report?.steps.find((s) => s.outcome === 'failed')?.title,
    lastStep: journal.at(-1)?.title,
    running,
    next: running ? [] : nextFor(run, script, open),
  }
}

/** What ends a run that did not come to its end: on with it, or back. */
function nextFor({ id, report }: PastRun, script: string, open: ReturnType<typeof openBaseline>): string[] {
  if (open?.run === id)
    return [...(open.undoing ? [] : ['task update -- --resume']), 'task update -- --abort']
  // Of a restore or a deploy that was killed, what is open says what to type; when nothing is, it was ended since.
  const told = ['restore', 'deploy-staging', 'teardown-staging'].includes(script)
  return report !== undefined || told ? [] : [`task ${script}`]
}

/** The file systems that matter, each once. */
async function diskFacts({ config, dir }: Stack, look: Look): Promise<DiskFact[]> {
  const root = await look("Docker's disk", dockerRoot, undefined)
  const places: readonly (readonly [string, string])[] = [
    ...(root === undefined ? [] : [[root, 'Docker'] as const]),
    [dir, 'the stack'],
    [config.BACKUP_DIR, 'sets'],
    [config.STATE_DIR, 'runs'],
  ]
  const found = new Map<number, { holds: string[]; path: string; bytes: number; free: number }>()
  for (const [path, what] of places) {
    await look(
      `The disk of ${path}`,
      () => {
        let there = path
        while (!existsSync(there)) there = dirname(there)
        const { dev } = statSync(there)
        const known = found.get(dev)
        if (known) return void known.holds.push(what)
        const { bsize, blocks, bavail } = statfsSync(there)
        found.set(dev, { holds: [what], path: there, bytes: blocks * bsize, free: bavail * bsize })
      },
      undefined,
    )
  }
  return [...found.values()]
}

async function dockerRoot(): Promise<string> {
  const root = (await docker('info', '--format', '{{.DockerRootDir}}')).trim()
  if (!existsSync(root)) throw new Error(`its folder ${root} is not on this machine`)
  return root
}
