// The containers that a restore or a drill works with: of images that are on the server, without a network, gone when
// they end. What a killed run left of them is removed by its label.
import { CPU_SHARES } from '../backup/helper.ts'
import { inspectImage } from '../docker.ts'
import { refusal } from '../errors.ts'
import { mountOf, type Place } from '../place.ts'
import type { Command } from '../shell.ts'
import { service, type Stack } from '../stack.ts'
import { throwAway, type OwnImage } from '../throwaway.ts'

/** With what, and on whose behalf, something is prepared. */
export interface Ground {
  readonly stackId: string
  readonly stateDir: string
  /** Has mongod, and the tools: tar, find, mv. */
  readonly mongod: OwnImage
  readonly redis: OwnImage
  /** The label of its containers and volumes. What is copied for staging gives way to production. */
  readonly purpose: 'restore' | 'drill' | 'staging'
}

/** The ground of a stack: the images that its engines run, or would run. @throws refusal when one is not here */
export async function groundOf(stack: Stack, purpose: Ground['purpose']): Promise<Ground> {
  const { database, redis } = stack.about
  return {
    stackId: stack.config.STACK_ID,
    stateDir: stack.config.STATE_DIR,
    mongod: await imageOf(stack, database.service),
    redis: await imageOf(stack, redis.service),
    purpose,
  }
}

/** The image that a service runs, or would run. @throws refusal when it is not here */
export async function imageOf(stack: Stack, name: string): Promise<OwnImage> {
  const { container, imageId, image } = service(stack, name)
  const found = await inspectImage(container?.Image ?? imageId ?? image)
  if (found) return { id: found.Id, volumes: found.Config.Volumes }
  throw refusal(
    `The image of ${name} (${image}) is not on this server. Nothing was changed.\n  docker pull ${image}`,
  )
}

const MEMORY = '2g' // at most; a container takes what it needs

// The disk, too, goes to production first.
const GIVE_WAY = 'if command -v ionice >/dev/null; then ionice -c 2 -n 7 -p $$; fi\n'

const OWNERS = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'SETFCAP'].map((c) => `--cap-add=${c}`)

/** The labels by which the next run finds what a killed one left. */
export const labels = ({ purpose, stackId }: Pick<Ground, 'purpose' | 'stackId'>): string[] => [
  `runbook.for=${purpose}`,
  `runbook.stack=${stackId}`,
]

/** A container of ours with these options and nothing else. */
export function contained(
  ground: Ground,
  image: OwnImage,
  options: readonly string[],
  program: string,
  ...args: readonly string[]
): Command {
  const alone = ['--userns=host', '--cap-drop=ALL', '--security-opt=no-new-privileges']
  const low = ground.purpose === 'staging' ? [`--cpu-shares=${CPU_SHARES}`] : []
  const shut = [...alone, `--memory=${MEMORY}`, ...low, '--env=LC_ALL=C']
  const ours = labels(ground).map((l) => `--label=${l}`)
  return throwAway(image, [...shut, '--log-driver=none', ...ours, ...options], program, ...args)
}

/**
 * A shell script as root on places, whose folders it gets as its words after those given. It may change owners; what
 * it is given stays data, since no word of it is part of the script.
 */
export function onPlaces(
  ground: Ground,
  places: readonly Place[],
  script: string,
  words: readonly string[],
  options: readonly string[] = [],
): Command {
  const mounts = places.map((place, i) => mountOf(place, `/p/${i}`))
  const folders = places.map(({ folder }, i) => `/p/${i}/${folder}`)
  const all = ['--user=0:0', ...OWNERS, ...mounts, ...options]
  const on = places.map((p) => p.source).join(', ')
  const whole = ground.purpose === 'staging' ? GIVE_WAY + script : script
  return {
    ...contained(ground, ground.mongod, all, 'sh', '-c', whole, 'sh', ...words, ...folders),
    brief: `docker run … (a script of the runbook's on ${on})`,
  }
}
