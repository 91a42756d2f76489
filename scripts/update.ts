#!/usr/bin/env -S node --import tsx
// Updates the stack to the images that its Compose file names now: backup, pull, stop, remove, start, verify.
// Changes: the containers of the services whose image or configuration changed, and of what depends on them.
// Undo:    by itself when the new version does not become healthy: the old images run again. Volumes are never
//          touched; data stays as the new version left it, unless an engine's format changed: then it goes back too.
import { backupMissing } from '../lib/backup/make.ts'
import { compose } from '../lib/docker.ts'
import { script, type Context } from '../lib/script.ts'
import type { Step, Undo } from '../lib/steps.ts'
import { abortSteps } from '../lib/update/abort.ts'
import { STOP } from '../lib/update/baseline.ts'
import { answerCheck } from '../lib/update/check.ts'
import { begin, bringBackOnce, composeOn, type Course } from '../lib/update/course.ts'
import { afterFailure, done } from '../lib/update/end.ts'
import { checkTyped, reachOf } from '../lib/update/reach.ts'
import * as does from '../lib/update/steps.ts'

const MINUTE = 60_000 // ms

let update: Course | undefined

export async function steps(context: Context): Promise<Step[]> {
  const it = (update = await begin(context))
  if (context.flags.abort) return abortSteps(it)

  const { stack, reach } = it
  const stopTimeout = String(stack.about.stopTimeout / 1000)
  const pull: Pick<Step, 'run' | 'cmd'> = it.resumed
    ? { run: (doing) => does.pulledBefore(it, doing) }
    : Object.keys(reach.images).length > 0
      ? { run: (doing) => does.pullNamed(it, doing) }
      : { cmd: compose(stack, 'pull', '--ignore-buildable', ...reach.words) }
  const back = (says: string): Undo => ({ says, run: (doing, why) => bringBackOnce(it, doing, why) })
  const takes = (minutes: number): Pick<Step, 'limit'> => ({ limit: minutes * MINUTE })

  return [
    { title: 'Check the stack', read: true, ...takes(30), run: (doing) => does.check(it, doing) },
    { title: 'Back up', ...takes(24 * 60), run: (doing) => does.backUp(it, doing) },
    { title: 'Note what runs', ...takes(5), run: (doing) => does.noteWhatRuns(it, doing) },
    {
      title: 'Pull the new images',
      ...takes(60),
      ...pull,
      undo: { says: 'put the local tags back to the images that ran', run: () => does.unpull(it) },
    },
    { title: 'Check the new images', read: true, ...takes(10), run: (doing) => does.checkNew(it, doing) },
    {
      title: STOP,
      destructive: true,
      ...takes(10),
      cmd: () => composeOn(it, 'rest', 'stop', '-t', stopTimeout),
      undo: back('start them again'),
    },
    { title: 'Count the data', read: true, ...takes(5), run: (doing) => does.countStopped(it, doing) },
    {
      title: 'Stop the others that change',
      destructive: true,
      ...takes(10),
      cmd: () => composeOn(it, 'first', 'stop', '-t', stopTimeout),
      run: () => does.checkStopped(it),
      undo: back('start them again'),
    },
    { title: 'Keep engine files aside', ...takes(240), run: (doing) => does.keepAside(it, doing) },
    {
      title: 'Remove the old containers',
      destructive: true,
      ...takes(5),
      cmd: () => composeOn(it, 'changing', 'rm', '-f'),
      undo: back('create them again from the old images'),
    },
    {
      title: 'Start all but the writers',
      destructive: true,
      ...takes(60),
      // Not with --no-deps: it changes Compose's hash, and the next plain `up` would recreate what it started.
      cmd: () => composeOn(it, 'first', 'up', '-d', '--no-build'),
      undo: back('bring what ran before back'),
    },
    { title: 'Compare the data', read: true, ...takes(60), run: (doing) => does.compareStopped(it, doing) },
    {
      title: 'Start the new version',
      destructive: true,
      ...takes(60),
      cmd: () => composeOn(it, 'rest', 'up', '-d', '--no-build'),
      undo: back('bring what ran before back'),
    },
    { title: 'Verify health and data', ...takes(120), run: (doing) => does.verify(it, doing) },
    { title: 'Tidy up', ...takes(30), run: (doing) => does.tidy(it, doing) },
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
  typed: checkTyped,
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
  done: (context, outcome) => done(update, context, outcome),
  afterFailure: (_, outcome) => afterFailure(update, outcome),
})
