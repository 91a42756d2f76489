#!/usr/bin/env -S node --import tsx
// Updates the stack to the images that its Compose file names now: backup, pull, stop, remove, start, verify.
// Changes: the containers of the services whose image or configuration changed, and of what depends on them.
// Undo:    by itself when the new version does not become healthy: the old images run again. Volumes are never
//          touched; data that a new version has written stays as it left it.
import { backupMissing, findOrMakeSet } from '../lib/backup/make.ts'
import { compose } from '../lib/docker.ts'
import { refusal } from '../lib/errors.ts'
import { checkService, waitHealthy, waitStable } from '../lib/health.ts'
import { bringBack, imagesOf, putTagsBack } from '../lib/images.ts'
import { script, type Context } from '../lib/script.ts'
import { countDocuments, countsTold, losses, newDatabases, type Counts } from '../lib/sentinel.ts'
import { quote, type Command } from '../lib/shell.ts'
import { changedServices, readStack, service, type Service, type Stack } from '../lib/stack.ts'
import type { Doing, Step } from '../lib/steps.ts'
import { anonymousWithData, changedVolumes, mountedVolumes } from '../lib/volumes.ts'

const MINUTE = 60_000 // ms

let counts: Counts = {} // what there was to lose
let back: Promise<void> | undefined // the way back, once begun

export async function steps({ config, flags, words, stamp, stack: before }: Context): Promise<Step[]> {
  const unknown = before.services.length === 0 // Docker is away: a plan shows ‹…›
  if (!unknown) for (const name of words) service(before, name)
  const images = imagesOf(before)
  const volumes = await mountedVolumes(before)
  const expected = new Set(before.services.filter((s) => !s.about.optional).map((s) => s.name))

  const now = (): Promise<Stack> => readStack(config)
  const onAffected =
    (...verb: readonly string[]) =>
    async (): Promise<Command | undefined> => {
      if (unknown) return compose(before, ...verb, '‹services›')
      const stack = await now()
      const touched = flags.all === true ? stack.services : changedServices(stack, words)
      return touched.length === 0 ? undefined : compose(before, ...verb, ...touched.map((s) => s.name))
    }

  // The undo of stopping and that of removing need the same, once.
  const bringBackOnce = (doing: Doing): Promise<void> =>
    (back ??= bringBack(before, images, [...expected], stamp, doing))

  return [
    {
      title: 'Check the stack',
      read: true,
      limit: MINUTE,
      run: async (doing) => {
        const blocked = await anonymousWithData(before, volumes)
        if (blocked.length > 0) throw refusal(`${blocked.join('\n')}\nNothing was changed.`)
        const running = before.services.filter((s) => s.container?.State.Running && expected.has(s.name))
        for (const { service: name, ok, evidence } of await Promise.all(
          running.map((s) => checkService(before, s.name)),
        )) {
          if (ok) continue
          expected.delete(name)
          doing.say(`${name} is not healthy before the update, so it cannot fail it: ${evidence}`)
        }
        counts = { ...(await countsTold(before)), ...(await countDocuments(before)) }
      },
    },
    {
      title: 'Back up',
      limit: 24 * 60 * MINUTE,
      run: async (doing) => void (await findOrMakeSet(await now(), stamp, doing)),
    },
    {
      title: 'Pull the new images',
      limit: 60 * MINUTE,
      cmd: compose(before, 'pull', ...words),
      detail: { images },
      undo: {
        says: 'put the local tags back to the images that ran',
        run: async () => void (await putTagsBack(images, stamp)),
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
        if (service(stack, stack.about.database.service).container?.State.Running) {
          counts = { ...counts, ...(await countDocuments(stack)) }
          doing.say(`${Object.keys(counts).length} counts, to be compared when the new version runs`)
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
      // Not with --no-deps: it changes Compose's hash, and the next plain `up` would recreate what it started.
      cmd: onAffected('up', '-d', '--no-build'),
    },
    {
      title: 'Verify health and data',
      limit: 60 * MINUTE,
      run: async (doing) => {
        const started = await now()
        const names = [...expected].filter(
          (name) => !leftStopped(service(before, name), service(started, name)),
        )
        await waitHealthy(before, names, { onChange: (v) => doing.progress(`${v.service}: ${v.evidence}`) })
        await waitStable(before, names, before.about.stability)
        const after = await now()
        const wrong = [
          ...changedVolumes(volumes, await mountedVolumes(after)),
          ...losses(counts, { ...(await countsTold(after)), ...(await countDocuments(after)) }),
        ]
        if (wrong.length > 0) throw new Error(wrong.join('\n'))
        doing.say(
          `healthy and stable; the same ${volumes.length} mounts; ${Object.keys(counts).length} counts as before or more`,
        )
      },
    },
  ]
}

/** Somebody had stopped it before the update, and the update did not touch it. */
function leftStopped({ container: was }: Service, { container: is }: Service): boolean {
  return was !== undefined && !was.State.Running && is?.Id === was.Id && !is.State.Running
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
  done: ({ stack }) => `Updated. Every service of ${stack.project} is healthy and stable.\n`,
  async afterFailure({ config, stack }, { notUndone }) {
    if (notUndone.length > 0) {
      const look = `docker compose --project-directory ${quote(stack.dir)} -p ${stack.project} ps -a`
      return { up: false, text: `The old version is NOT confirmed to be up. Look: task health, then ${look}` }
    }
    const text = back
      ? [
          'The version that ran before runs again and is healthy. Volumes were not touched.',
          ...newDatabases(counts, await countDocuments(await readStack(config))),
        ]
      : ['What ran before still runs: nothing of it was stopped.']
    text.push('When the cause is mended, type: task update')
    return { up: true, text: text.join('\n') }
  },
})
