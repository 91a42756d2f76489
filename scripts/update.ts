#!/usr/bin/env -S node --import tsx
// Updates the stack to the images that its Compose file names now: backup, pull, stop, remove, start, verify.
// Changes: the containers of the services whose image or configuration changed, and of what depends on them.
// Undo:    by itself when the new version does not become healthy: the old images run again. Volumes are never
//          touched; data that a new version has written stays as it left it.
import { backupMissing, findOrMakeSet } from '../lib/backup/make.ts'
import {
  bringBack,
  checkBaseline,
  differences,
  noteBaseline,
  openBaseline,
  putTagsBack,
  takeBaseline,
  type Baseline,
} from '../lib/baseline.ts'
import { compose } from '../lib/docker.ts'
import { checkService } from '../lib/health.ts'
import { script, type Context } from '../lib/script.ts'
import { countDocuments, newDatabases } from '../lib/sentinel.ts'
import { quote, type Command } from '../lib/shell.ts'
import { changedServices, readStack, service, type Stack } from '../lib/stack.ts'
import type { Doing, Step } from '../lib/steps.ts'
import { waitHealthy, waitStable } from '../lib/wait.ts'

const MINUTE = 60_000 // ms

let baseline: Baseline | undefined // what ran before
let back: Promise<void> | undefined // the way back, once begun

export async function steps({ config, flags, words, stamp, stack: before }: Context): Promise<Step[]> {
  const unknown = before.services.length === 0 // Docker is away: a plan shows ‹…›
  if (!unknown) for (const name of words) service(before, name)
  const open = openBaseline(config.STATE_DIR)

  const now = (): Promise<Stack> => readStack(config)
  const known = async (): Promise<Baseline> =>
    (baseline ??= open?.baseline ?? (await takeBaseline(await now())).baseline)
  const onAffected =
    (...verb: readonly string[]) =>
    async (): Promise<Command | undefined> => {
      if (unknown) return compose(before, ...verb, '‹services›')
      const stack = await now()
      const touched = flags.all === true ? stack.services : changedServices(stack, words)
      return touched.length === 0 ? undefined : compose(before, ...verb, ...touched.map((s) => s.name))
    }
  const bringBackOnce = async (doing: Doing): Promise<void> =>
    (back ??= bringBack(before, await known(), stamp, doing))

  return [
    {
      title: 'Check the stack',
      read: true,
      limit: 5 * MINUTE,
      run: async (doing) => {
        if (open) doing.say(`the update ${open.run} did not end well: the way back is to what ran before it`)
        baseline = await checkBaseline(before, open?.baseline, doing)
      },
    },
    {
      title: 'Back up',
      limit: 24 * 60 * MINUTE,
      run: async (doing) => void (await findOrMakeSet(await now(), stamp, doing)),
    },
    {
      title: 'Note what runs',
      limit: 5 * MINUTE,
      run: async (doing) => noteBaseline(before, await known(), doing.dir),
    },
    {
      title: 'Pull the new images',
      limit: 60 * MINUTE,
      cmd: compose(before, 'pull', ...words),
      undo: {
        says: 'put the local tags back to the images that ran',
        run: async () => void (await putTagsBack(await known(), stamp)),
      },
    },
    {
      title: 'Stop the services that change',
      limit: 10 * MINUTE,
      destructive: true,
      cmd: onAffected('stop', '-t', String(before.about.stopTimeout / 1000)),
      undo: { says: 'start them again', run: bringBackOnce },
    },
    {
      title: 'Count the data',
      read: true,
      limit: 5 * MINUTE,
      run: async (doing) => {
        const stack = await now()
        const was = await known()
        if (open) doing.say('what the update that did not end well had counted stands')
        else if (service(stack, stack.about.database.service).container?.State.Running) {
          baseline = { ...was, counts: { ...was.counts, ...(await countDocuments(stack)) } }
          doing.say(`${Object.keys(baseline.counts).length} counts, to be compared when the new version runs`)
        } else doing.say('the database itself is updated: what was counted before the stop stands')
      },
    },
    {
      title: 'Remove the old containers',
      limit: 5 * MINUTE,
      destructive: true,
      cmd: onAffected('rm', '-f'),
      undo: { says: 'create them again from the old images', run: bringBackOnce },
    },
    {
      title: 'Start the new version',
      limit: 60 * MINUTE,
      destructive: true,
      // Not with --no-deps: it changes Compose's hash, and the next plain `up` would recreate what it started.
      cmd: onAffected('up', '-d', '--no-build'),
      undo: { says: 'bring what ran before back', run: bringBackOnce },
    },
    {
      title: 'Verify health and data',
      limit: 60 * MINUTE,
      run: async (doing) => {
        const was = await known()
        await waitHealthy(before, was.healthy, {
          onChange: (v) => doing.progress(`${v.service}: ${v.evidence}`),
        })
        await waitStable(before, was.healthy, before.about.stability)
        const wrong = await differences(await now(), was)
        if (wrong.length > 0) throw new Error(wrong.join('\n'))
        const counts = Object.keys(was.counts).length
        doing.say(
          `healthy and stable: ${was.healthy.join(', ')}; the same volumes; ${counts} counts as before or more`,
        )
      },
    },
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
  ],
  options: { all: { type: 'boolean' } },
  takesWords: 99,
  examples: ['task update', 'node --import tsx scripts/update.ts frontend', 'task update -- --plan'],
  steps,
  backupMissing: ({ config }) => backupMissing(config),
  done: ({ stack, flags }) =>
    flags.only !== undefined || flags.from !== undefined
      ? 'Done: these steps alone.\n'
      : `Updated ${stack.project}. Healthy and stable: ${baseline?.healthy.join(', ')}.\n`,
  async afterFailure({ config, stack }, { notUndone }) {
    const look = `docker compose --project-directory ${quote(stack.dir)} -p ${stack.project} ps -a`
    const down = `The service is NOT confirmed to be as it was. Look: task health, then ${look}`
    if (notUndone.length > 0) return { up: false, text: down }
    const now = await readStack(config)
    const looks = await Promise.all((baseline?.healthy ?? []).map((name) => checkService(now, name)))
    const unwell = looks.filter((v) => !v.ok).map((v) => `${v.service}: ${v.evidence}`)
    if (unwell.length > 0) return { up: false, text: `${unwell.join('\n')}\n${down}` }
    const text = back
      ? [
          'The version that ran before runs again and is healthy, on the same volumes.',
          ...newDatabases(baseline?.counts ?? {}, await countDocuments(now)),
        ]
      : ['What ran before still runs and is healthy: nothing of it was stopped.']
    text.push('When the cause is mended, type: task update')
    return { up: true, text: text.join('\n') }
  },
})
