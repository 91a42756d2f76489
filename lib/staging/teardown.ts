// Taking staging down: what carries its project's label, and nothing else.
import { existsSync } from 'node:fs'
import { size } from '../backup/bytes.ts'
import { volumeSizes } from '../backup/helper.ts'
import { docker, type ContainerInspect, type VolumeInspect } from '../docker.ts'
import { refusal, usage } from '../errors.ts'
import { settingsOf } from './source.ts'
import { readContainers } from '../stack.ts'
import { valueOf } from '../stack-rules.ts'
import type { Context } from '../script.ts'
import type { Doing } from '../steps.ts'
import { removeWritten, writtenIn } from './files.ts'
import { leave } from './join.ts'
import { guestsOf } from './checks.ts'
import {
  containersOf,
  networkNamed,
  ownerOf,
  removeContainersOf,
  ROLE,
  volumesOf,
  type NetworkInspect,
} from './objects.ts'
import { forgetStaging, stagingHere, type Staging } from './record.ts'

/** What is there to take down. */
export interface Down {
  readonly context: Context
  readonly staging: Staging
  readonly containers: readonly ContainerInspect[]
  readonly volumes: readonly VolumeInspect[]
  /** Those that are to go, by name. */
  readonly named: readonly string[]
  readonly network: NetworkInspect | undefined
}

/**
 * Looks what stands as staging. @throws refusal when nothing does; usage when a volume is named that is not staging's
 */
export async function find(context: Context): Promise<Down> {
  const { config, flags, words } = context
  const staging = stagingHere(config) ?? fromSettings(context)
  const containers = await containersOf(staging.project)
  const noted = stagingHere(config) !== undefined
  // Without its note only what says of itself that it is staging's, or is named in its settings.
  const volumes = (await volumesOf(staging.project)).filter(
    (v) => noted || v.Labels?.[ROLE] === 'staging' || namesOf(context).includes(v.Name),
  )
  const network = await networkNamed(staging.network)
  if (!noted && containers.length + volumes.length === 0)
    throw refusal('No staging stands here. Nothing was changed.')
  // A project of the same name is not enough: what a deploy makes says that it is staging's.
  const foreign = containers.filter((c) => c.Config.Labels[ROLE] !== 'staging').map((c) => c.Name.slice(1))
  if (foreign.length > 0)
    throw refusal(
      `The project ${staging.project} has containers that are not staging's: ${foreign.join(', ')}. Nothing was changed.`,
    )
  if (staging.project === context.stack.project)
    throw refusal(`${staging.project} is production's own project, not staging's. Nothing was changed.`)
  const guests = network ? await guestsOf(network, staging.project, context.stack) : []
  if (guests.length > 0) throw refusal(`${guests.join('\n')}\nNothing was changed.`)
  const all = volumes.map((v) => v.Name)
  const unknown = words.filter((w) => !all.includes(w))
  if (unknown.length > 0) {
    throw usage(
      `Staging has no volume ${unknown.map((w) => `'${w}'`).join(', ')}. Nothing was changed. ` +
        `It has: ${all.join(', ') || 'none'}.`,
    )
  }
  const own = network && ownerOf(network) === staging.project ? network : undefined
  const named = flags['all-volumes'] === true ? all : words
  return { context, staging, containers, volumes, named, network: own }
}

/** Names of volumes in staging's settings. */
function namesOf({ config }: Context): string[] {
  const { values } = settingsOf(config)
  return Object.entries(values).flatMap(([key, value]) => (key.endsWith('_VOLUME') ? [value] : []))
}

/** Without its note (another STATE_DIR, a lost disk) the settings say what it is called. */
function fromSettings({ config }: Context): Staging {
  const { values } = settingsOf(config)
  const [project, network] = [valueOf(values, 'STACK_NAME'), valueOf(values, 'NETWORK_NAME')]
  if (project === '' || network === '') throw refusal('No staging stands here. Nothing was changed.')
  const dir = config.STAGING_DIR
  return { dir, project, network, files: writtenIn(dir), joined: true }
}

/** What will go and what stays, and the word for it. */
export async function confirmation(down: Down): Promise<{ will: string; words: readonly string[] }> {
  const { staging, containers, volumes, named, network, context } = down
  const sizes = await volumeSizes(
    context.stack,
    volumes.map((v) => v.Name),
  ).catch(() => undefined)
  const told = (v: VolumeInspect): string => `${v.Name}${sizes ? ` (${size(sizes.get(v.Name) ?? 0)})` : ''}`
  const go = volumes.filter((v) => named.includes(v.Name)).map(told)
  const stay = volumes.filter((v) => !named.includes(v.Name)).map(told)
  const lines = [
    `Staging (${staging.project}) is taken down. Its data is nowhere else: it is staging's own.`,
    `  goes:  ${containers.length} containers: ${containers.map((c) => c.Name.replace(/^\//, '')).join(', ') || 'none'}`,
    ...(network ? [`  goes:  the network ${network.Name}, and production's proxy's connection to it`] : []),
    ...(existsSync(staging.dir) ? [`  goes:  what was written into ${staging.dir}`] : []),
    ...go.map((v) => `  GOES:  the volume ${v}`),
    ...stay.map((v) => `  stays: the volume ${v}`),
    ...(stay.length > 0 ? ['  (a volume goes when it is named; all of them with --all-volumes)'] : []),
  ]
  return { will: lines.join('\n'), words: [staging.project] }
}

/** The proxy first: it must not be connected to what goes. */
export async function leaveProxy({ context, staging }: Down, doing: Doing): Promise<void> {
  await leave(await readContainers(context.stack), staging.network, doing)
}

export async function removeContainers({ containers, context }: Down): Promise<void> {
  await removeContainersOf(containers, context.stack.about.stopTimeout / 1000)
}

/** The volumes that were named, each alone, and the network. All that fails is told. */
export async function removeObjects(down: Down, doing: Doing): Promise<void> {
  const { named, volumes, network } = down
  const problems: string[] = []
  const attempt = async (what: string, act: () => Promise<unknown>): Promise<void> => {
    try {
      await doing.effect(`Remove ${what}`, {}, act)
      doing.say(`removed: ${what}`)
    } catch (error) {
      problems.push(`${what}: ${String(error instanceof Error ? error.message : error)}`)
    }
  }
  for (const { Name } of volumes.filter((v) => named.includes(v.Name)))
    await attempt(`the volume ${Name}`, () => docker('volume', 'rm', '--', Name))
  if (network) await attempt(`the network ${network.Name}`, () => docker('network', 'rm', '--', network.Id))
  if (problems.length > 0) throw new Error(problems.join('\n'))
}

/** The files that were written, and the note. */
export async function removeFolder({ staging, context }: Down, doing: Doing): Promise<void> {
  const left = removeWritten(staging)
  if (left.length > 0) doing.say(`stays in ${staging.dir}: ${left.join(', ')}`)
  forgetStaging(context.config)
}
