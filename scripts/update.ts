#!/usr/bin/env -S node --import tsx
// Updates the stack to the images that its Compose file names now: backup, pull, stop, remove, start, verify.
// Changes: the containers of the services whose image or configuration changed, and of what depends on them.
// Undo:    by itself when the new version does not become healthy: the old images run again. Volumes are never
//          touched; data stays as the new version left it, unless an engine's format changed: then it goes back too.
import { backupMissing } from '../lib/backup/make.ts'
import { compose } from '../lib/docker.ts'
import { refusal, usage } from '../lib/errors.ts'
import { script, type Context } from '../lib/script.ts'
import type { Command } from '../lib/shell.ts'
import { service } from '../lib/stack.ts'
import type { Doing, Step, Undo } from '../lib/steps.ts'
import { abortSteps } from '../lib/update/abort.ts'
import { putTagsBack } from '../lib/update/back.ts'
import { STOP, type Reach } from '../lib/update/baseline.ts'
import { answerCheck } from '../lib/update/check.ts'
import {
  baselineNow,
  bringBackOnce,
  courseOf,
  inTwoParts,
  stillToChange,
  type Course,
} from '../lib/update/course.ts'
import { afterFailure, phases } from '../lib/update/end.ts'
import { guard } from '../lib/update/guards.ts'
import { foresee, imagesGiven, namedIn } from '../lib/update/reach.ts'
import * as does from '../lib/update/steps.ts'

const MINUTE = 60_000 // ms

let course: Course | undefined

const reachOf = ({ words, flags }: Pick<Context, 'words' | 'flags'>): Reach => ({
  words,
  all: flags.all === true,
  images: imagesGiven((flags.images ?? []) as string[]),
})

export async function steps(context: Context): Promise<Step[]> {
  const { stack, flags } = context
  const begun = courseOf(context, reachOf(context))
  const update = (course =
    flags.resume && begun.open ? { ...begun, reach: begun.open.baseline.reach } : begun)
  if (flags.abort) return abortSteps(update)
  if (flags.resume && !update.open)
    throw refusal('There is no update to resume: the last one has come to its end. Nothing was changed.')
  if (flags.resume && update.open?.undoing)
    throw refusal(
      'That update had failed and was on its way back. Nothing was changed.\n  task update -- --abort',
    )

  const unknown = stack.services.length === 0 // Docker is away: a plan shows ‹…›
  if (!unknown) for (const name of namedIn(update.reach)) service(stack, name)
  if (flags.plan && !unknown) update.foreseen = (await foresee(stack, update.reach)).touched
  const stopTimeout = String(stack.about.stopTimeout / 1000)
  const on =
    (which: (c: Course) => Promise<string[]>, ...verb: readonly string[]) =>
    async (): Promise<Command | undefined> => {
      const names = unknown ? ['‹services›'] : await which(update)
      return names.length === 0 ? undefined : compose(stack, ...verb, ...names)
    }
  const changing = async (c: Course): Promise<string[]> => (await stillToChange(c)).map((s) => s.name)
  const first = async (c: Course): Promise<string[]> => (await inTwoParts(c)).first
  const rest = async (c: Course): Promise<string[]> => (await inTwoParts(c)).rest
  const back = (says: string): Undo => ({
    says,
    run: (doing: Doing, why: unknown) => bringBackOnce(update, doing, why),
  })
  const named = Object.keys(update.reach.images).length > 0
  const resumed = flags.resume === true && update.open?.baseline.pulled !== undefined

  return [
    {
      title: 'Check the stack',
      read: true,
      limit: 30 * MINUTE,
      run: async (doing) => {
        if (update.open)
          doing.say(`${update.open.run} did not end well: the way back is to what ran before it`)
        const asking = { ...update, saveLayer: flags['save-layer'] === true }
        Object.assign(update, await guard(stack, asking, doing))
      },
    },
    { title: 'Back up', limit: 24 * 60 * MINUTE, run: (doing) => does.backUp(update, doing) },
    { title: 'Note what runs', limit: 5 * MINUTE, run: (doing) => does.noteWhatRuns(update, doing) },
    {
      title: 'Pull the new images',
      limit: 60 * MINUTE,
      ...(resumed
        ? { run: (doing: Doing) => does.pulledBefore(update, doing) }
        : named
          ? { run: (doing: Doing) => does.pullNamed(update, doing) }
          : { cmd: compose(stack, 'pull', '--ignore-buildable', ...update.reach.words) }),
      undo: {
        says: 'put the local tags back to the images that ran',
        run: async () => {
          const baseline = await baselineNow(update)
          if (!baseline.verified) await putTagsBack(stack, baseline, update.stamp)
        },
      },
    },
    {
      title: 'Check the new images',
      read: true,
      limit: 10 * MINUTE,
      run: (doing) => does.checkNew(update, doing),
    },
    {
      title: STOP,
      limit: 10 * MINUTE,
      destructive: true,
      cmd: on(changing, 'stop', '-t', stopTimeout),
      run: () => does.checkStopped(update),
      undo: back('start them again'),
    },
    {
      title: 'Count the data',
      read: true,
      limit: 5 * MINUTE,
      run: (doing) => does.countStopped(update, doing),
    },
    { title: 'Keep engine files aside', limit: 240 * MINUTE, run: (doing) => does.keepAside(update, doing) },
    {
      title: 'Remove the old containers',
      limit: 5 * MINUTE,
      destructive: true,
      cmd: on(changing, 'rm', '-f'),
      undo: back('create them again from the old images'),
    },
    {
      title: 'Start all but the writers',
      limit: 60 * MINUTE,
      destructive: true,
      // Not with --no-deps: it changes Compose's hash, and the next plain `up` would recreate what it started.
      cmd: on(first, 'up', '-d', '--no-build'),
      undo: back('bring what ran before back'),
    },
    {
      title: 'Compare the data',
      read: true,
      limit: 60 * MINUTE,
      run: (doing) => does.compareStopped(update, doing),
    },
    {
      title: 'Start the new version',
      limit: 60 * MINUTE,
      destructive: true,
      cmd: on(rest, 'up', '-d', '--no-build'),
      undo: back('bring what ran before back'),
    },
    { title: 'Verify health and data', limit: 120 * MINUTE, run: (doing) => does.verify(update, doing) },
    { title: 'Tidy up', limit: 30 * MINUTE, run: (doing) => does.tidy(update, doing) },
  ]
}

await script(import.meta, {
  about:
    'Updates the stack: backup, pull, stop, remove, start, verify; back to the old version when that fails.',
  changes:
    'the containers of services whose image or configuration changed, and of their dependents; never a volume.',
  undo: 'by itself on failure: the old images run again. Data stays as the new version left it (task restore).',
  usage: [
    'SERVICE…        only these (default: all that changed)',
    '--all           stop, remove and start every service',
    '--images S@D    exactly this image for service S: gateway@sha256:… (repeatable)',
    '--save-layer    copy files in the containers’ own layers into the set, and go on',
    '--accept WHAT   this loss of data is meant: as the message names it (repeatable)',
    '--check         what would change; exit code 0 nothing, 3 something, 1 not found out',
    '--resume        go on with an update that was killed',
    '--abort         bring back what ran before it',
  ],
  options: {
    all: { type: 'boolean' },
    images: { type: 'string', multiple: true },
    'save-layer': { type: 'boolean' },
    accept: { type: 'string', multiple: true },
    check: { type: 'boolean' },
    resume: { type: 'boolean' },
    abort: { type: 'boolean' },
  },
  takesWords: 99,
  typed: ({ flags, words }) => {
    const { images } = reachOf({ flags, words })
    const modes = ['check', 'resume', 'abort'].filter((name) => flags[name] === true)
    const more = words.length > 0 || flags.all === true || Object.keys(images).length > 0
    if (modes.length > 1 || (more && modes.some((m) => m !== 'check')))
      throw usage(
        '--check, --resume and --abort exclude each other; the last two take nothing else. Nothing was changed.',
      )
  },
  examples: [
    'task update',
    'task update -- --plan',
    'node --import tsx scripts/update.ts frontend',
    'node --import tsx scripts/update.ts --check',
  ],
  steps,
  answers: ['check'],
  stackless: ['check'],
  answer: (context) => answerCheck(context, reachOf(context)),
  backupMissing: ({ config }) => backupMissing(config),
  done: ({ stack, flags }, outcome) => {
    if (flags.abort) return `What ran before runs again. Healthy: ${course?.baseline?.healthy.join(', ')}.\n`
    if (flags.only !== undefined || flags.from !== undefined) return 'Done: these steps alone.\n'
    const what = course?.replaced?.length === 0 ? 'Nothing was to be replaced in' : 'Updated'
    return `${what} ${stack.project}. Healthy and stable: ${course?.baseline?.healthy.join(', ')}.\n${phases(outcome)}\n`
  },
  afterFailure: async (_, outcome) => (course ? afterFailure(course, outcome) : { up: false, text: '' }),
})
