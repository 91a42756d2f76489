// An update on its way: what its steps hand on to each other. What a later command needs is on disk (baseline.ts);
// this is what the running one knows.
import type { LayerFinding } from '../backup/layer.ts'
import { compose } from '../docker.ts'
import { refusal } from '../errors.ts'
import type { Context } from '../script.ts'
import type { Command } from '../shell.ts'
import {
  changedServices,
  readContainers,
  readStack,
  service,
  withDependents,
  type Service,
  type Stack,
} from '../stack.ts'
import type { Doing } from '../steps.ts'
import { bringBack } from './back.ts'
import {
  baselineOf,
  openBaseline,
  takeBaseline,
  type Baseline,
  type OpenUpdate,
  type Reach,
} from './baseline.ts'
import type { Downtime, Watch } from '../downtime.ts'
import { foresee, namedIn, reachOf } from './reach.ts'

export interface Course {
  /** As it was when the update began; without services when Docker is away. */
  readonly stack: Stack
  readonly stamp: string
  readonly reach: Reach
  /** The update that did not end well, from which this one goes on. */
  readonly open: OpenUpdate | undefined
  /** Losses of data that somebody has named: they are meant. */
  readonly accepted: readonly string[]
  readonly saveLayer: boolean
  /** What the update that was killed had pulled is taken. */
  readonly resumed: boolean
  /** It is the whole update, not one step of it. */
  readonly whole: boolean
  /** As it is read once when everything is pulled: from then on only its containers change. */
  pulled?: Stack
  /** What this update replaces, by name; known when everything is pulled. */
  replaced?: readonly string[]
  /** ms that the way back took */
  backTook?: number
  /** For a plan: what would be replaced, by name. */
  foreseen?: readonly string[]
  baseline?: Baseline
  layers: readonly LayerFinding[]
  watch?: Watch
  downtimes?: readonly Downtime[] | string
  /** The way back, once begun. */
  back?: Promise<void>
}

/**
 * The update that was asked for, or the one that goes on: `--resume` has the reach of the one that was killed.
 * @throws refusal (exit 3) when there is none to go on with; usage (exit 2) naming an unknown service
 */
export async function begin(context: Context): Promise<Course> {
  const { stack, stamp, flags, config } = context
  const open = openBaseline(config.STATE_DIR)
  if (flags.resume && !open)
    throw refusal('There is no update to resume: the last one has come to its end. Nothing was changed.')
  if (flags.resume && open?.undoing) {
    throw refusal(
      'That update had failed and was on its way back. Nothing was changed.\n  task update -- --abort',
    )
  }
  const reach = flags.resume && open ? open.baseline.reach : reachOf(context)
  const unknown = stack.services.length === 0 // Docker is away: a plan shows ‹…›
  if (!unknown) for (const name of namedIn(reach)) service(stack, name)
  return {
    stack,
    stamp,
    reach,
    open,
    accepted: (flags.accept ?? []) as string[],
    saveLayer: flags['save-layer'] === true,
    whole: (flags.only ?? flags.from) === undefined,
    resumed: flags.resume === true && open?.baseline.pulled !== undefined,
    layers: [],
    ...(flags.plan && !unknown && { foreseen: (await foresee(stack, reach)).touched }),
  }
}

export const now = ({ stack, pulled }: Course): Promise<Stack> =>
  pulled ? readContainers(pulled) : readStack(stack.config)

/** What ran before: noted by the first step, by an update that did not end, or by an earlier step of this stamp. */
export async function baselineNow(course: Course): Promise<Baseline> {
  const { stack, stamp, open, reach } = course
  course.baseline ??=
    open?.baseline ??
    baselineOf(stack.config, stamp) ??
    (await takeBaseline(await now(course), stamp, reach)).baseline
  return course.baseline
}

/** The services whose containers are still to be replaced, or to be made, as things stand now; in start order. */
export async function stillToChange(course: Course): Promise<Service[]> {
  const { foreseen } = course
  if (foreseen) return course.stack.services.filter((s) => foreseen.includes(s.name))
  const stack = await now(course)
  const { all } = course.reach
  const changed = changedServices(stack, namedIn(course.reach))
  if (!all) return changed
  // Those that were replaced already are not replaced again.
  const ran = (course.baseline ?? course.open?.baseline ?? baselineOf(stack.config, course.stamp))?.ran
  const old = ({ name, container }: Service): boolean =>
    !ran || ran.some((r) => r.service === name && r.container === container?.Id)
  return stack.services.filter((s) => old(s) || changed.includes(s))
}

/** Of what is still to change: all of it; everything but the writers and what needs them, started first; the rest. */
export type Part = 'changing' | 'first' | 'rest'

/** The Compose command on these services; undefined where there is none. */
export async function composeOn(
  course: Course,
  part: Part,
  ...verb: readonly string[]
): Promise<Command | undefined> {
  const { stack } = course
  if (stack.services.length === 0) return compose(stack, ...verb, '‹services›')
  const changing = await stillToChange(course)
  const writers = changing.filter((s) => s.about.writer).map((s) => s.name)
  const later = withDependents(stack, writers).map((s) => s.name)
  const names = changing.map((s) => s.name)
  const of = {
    changing: names,
    first: names.filter((n) => !later.includes(n)),
    rest: names.filter((n) => later.includes(n)),
  }
  return of[part].length === 0 ? undefined : compose(stack, ...verb, ...of[part])
}

/** What ran before again, once, whichever step asks for it first. */
export async function bringBackOnce(course: Course, doing: Doing, why: unknown): Promise<void | 'stays'> {
  if (course.back) {
    return course.back.catch(() => {
      throw new Error('as said above')
    })
  }
  const baseline = await baselineNow(course)
  if (baseline.verified) {
    doing.say('the new version was verified: it stays')
    return 'stays'
  }
  const began = performance.now()
  await (course.back = bringBack(course.stack, baseline, {
    run: course.stamp,
    why,
    doing,
    accepted: course.accepted,
  }).finally(() => {
    course.backTook = performance.now() - began
  }))
}
