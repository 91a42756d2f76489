// What an update starts from: what ran before it, noted in the run's folder before anything changes. The way back
// needs nothing else, so it is there after a SIGKILL too.
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { keptConfiguration, type KeptConfiguration } from '../configuration.ts'
import { docker, inspectImage } from '../docker.ts'
import type { Config } from '../env.ts'
import { writeWhole } from '../files.ts'
import { checkService, type Verdict } from '../health.ts'
import { pastRuns } from '../run.ts'
import { countDocuments, countFiles, countKeys, countsTold, type Tally } from '../sentinel.ts'
import type { Stack } from '../stack.ts'
import { mountedVolumes, type MountedVolume } from '../volumes.ts'
import type { Aside } from './aside.ts'
import { readEngines, type Engine } from '../engines.ts'
import { markEnvironments, type EnvironmentMark } from './environment.ts'

/** What somebody asked an update to touch. */
export interface Reach {
  /** Services by name; none: all that changed. */
  readonly words: readonly string[]
  readonly all: boolean
  /** Images to take, by service: a digest or an id. */
  readonly images: Readonly<Record<string, string>>
}

/** What an update must leave as it was, or bring back. */
export interface Baseline {
  readonly stamp: string
  readonly reach: Reach
  /** The image of each service, and the name under which Compose finds it. */
  readonly images: readonly { readonly service: string; readonly ref: string; readonly id: string }[]
  /** The containers that ran. */
  readonly ran: readonly { readonly service: string; readonly container: string }[]
  /** The services that must be healthy afterwards: those that were, optional ones excepted. */
  readonly healthy: readonly string[]
  readonly volumes: readonly MountedVolume[]
  readonly counts: Tally
  readonly engines: readonly Engine[]
  readonly salt: string
  readonly environment: Readonly<Record<string, EnvironmentMark>>
  /** The Compose files and .env that the containers were made from, where they have been edited since. */
  readonly configuration?: KeptConfiguration
  /** Where engines' files are kept aside, from just before they are copied. */
  readonly aside: readonly Aside[]
  /** The stamp of the set that was sealed before anything was stopped. */
  readonly set?: string
  /** Services were stopped by an earlier update that this one goes on from. */
  readonly stopped?: true
  /** It is on its way back, and must not go forward. */
  readonly aborted?: true
  /** The new version was found healthy, and nothing lost: there is no way back any more. */
  readonly verified?: true
  /** What the names of images mean since the pull. */
  readonly pulled?: readonly { readonly ref: string; readonly id: string }[]
}

const FILE = 'baseline.json'

/** Looks at the stack as it runs now. Only reads. `unwell` are the services that cannot fail the update. */
export async function takeBaseline(
  stack: Stack,
  stamp: string,
  reach: Reach,
): Promise<{ baseline: Baseline; unwell: Verdict[] }> {
  const running = stack.services.filter((s) => s.container?.State.Running)
  const needed = running.filter((s) => !s.about.optional)
  const verdicts = await Promise.all(needed.map((s) => checkService(stack, s.name)))
  const images = stack.services.flatMap(({ name, image, imageId, container }) => {
    const id = container?.Image ?? imageId
    return id === undefined || image === '' ? [] : [{ service: name, ref: image, id }]
  })
  const salt = randomBytes(16).toString('hex')
  const configuration = keptConfiguration(stack)
  const baseline: Baseline = {
    stamp,
    reach,
    images,
    ran: running.map((s) => ({ service: s.name, container: s.container?.Id ?? '' })),
    healthy: verdicts.filter((v) => v.ok).map((v) => v.service),
    volumes: await mountedVolumes(stack),
    counts: {
      documents: await countDocuments(stack),
      keys: await countKeys(stack),
      files: await countFiles(stack),
      told: await countsTold(stack),
    },
    engines: await readEngines(stack),
    salt,
    environment: await markEnvironments(stack.services, salt),
    ...(configuration && { configuration }),
    aside: [],
  }
  return { baseline, unwell: verdicts.filter((v) => !v.ok) }
}

/** Notes it in the run's folder, durably. To be called again when something is added. */
export const noteBaseline = (baseline: Baseline, dir: string): void =>
  writeWhole(join(dir, FILE), JSON.stringify(baseline))

/** Tags the images that ran as runbook/previous-<STACK_ID>:<service>, so that nobody's cleaning up takes them. */
export async function keepImages({ config }: Stack, { images }: Baseline): Promise<void> {
  for (const { service: name, id } of images) {
    if (await inspectImage(id)) await docker('tag', id, `runbook/previous-${config.STACK_ID}:${name}`)
  }
}

/** An update that was killed, or left the service down: its way back is still to what ran before it. */
export interface OpenUpdate {
  readonly run: string
  readonly baseline: Baseline
  /** It had begun to stop services: its backup is of the last moment before that. */
  readonly stopped: boolean
  /** It had failed, and was on its way back. */
  readonly undoing: boolean
}

/** The step whose beginning divides an update: before it nothing of the stack was touched. */
export const STOP = 'Stop the writers that change'

/** The last update, when it did not come to an end that was good or undone. Only reads. */
export function openBaseline(stateDir: string): OpenUpdate | undefined {
  const last = pastRuns(stateDir, 50).find((run) => existsSync(join(run.dir, FILE)))
  if (!last || (last.report && last.report.exitCode !== 10)) return undefined
  const baseline = readBaseline(last.dir)
  if (baseline.verified) return undefined
  return {
    run: last.id,
    baseline,
    stopped: baseline.stopped ?? last.journal.some((l) => l.kind === 'intent' && l.title === STOP),
    undoing: baseline.aborted ?? last.journal.some((l) => l.kind === 'undo'),
  }
}

/** What an earlier step of the same pipeline has noted, for a step that is run alone. */
export function baselineOf({ STATE_DIR }: Pick<Config, 'STATE_DIR'>, stamp: string): Baseline | undefined {
  const mine = pastRuns(STATE_DIR, 200).filter((run) => existsSync(join(run.dir, FILE)))
  const newest = mine.find((run) => basename(run.dir).startsWith(`${stamp}-update`))
  return newest && readBaseline(newest.dir)
}

/** Takes the kept configuration, which holds secrets, out of the notes of updates that need it no more. */
export function forgetConfigurations(stateDir: string): void {
  for (const { dir } of pastRuns(stateDir, 200)) {
    if (!existsSync(join(dir, FILE))) continue
    const { configuration, ...rest } = readBaseline(dir)
    if (configuration) noteBaseline(rest, dir)
  }
}

const readBaseline = (dir: string): Baseline => JSON.parse(readFileSync(join(dir, FILE), 'utf8')) as Baseline
