#!/usr/bin/env -S node --import tsx
// Updates the stack to the images that its Compose file names now: backup, pull, stop, remove, start, verify.
// Changes: the containers of the services whose image or configuration changed, and of what depends on them.
// Undo:    by itself when the new version does not become healthy: the old images run again. Volumes are never
//          touched; data that a new version has written stays as it left it.
import { backupMissing, findOrMakeSet } from '../lib/backup/make.ts'
import { compose } from '../lib/docker.ts'
import { sentence } from '../lib/errors.ts'
import { checkService, waitHealthy, waitStable } from '../lib/health.ts'
import { imagesOf, putTagsBack, type RanOn } from '../lib/images.ts'
import { script, type Context } from '../lib/script.ts'
import { countDocuments, countsTold, losses, type Counts } from '../lib/sentinel.ts'
import { exec, type Command } from '../lib/shell.ts'
import { readStack, service, withDependents, type Stack } from '../lib/stack.ts'
import type { Doing, Step } from '../lib/steps.ts'
import { changedVolumes, mountedVolumes } from '../lib/volumes.ts'

const MINUTE = 60_000 // ms

export async function steps({ config, flags, words, stamp, stack: before }: Context): Promise<Step[]> {
  const unknown = before.services.length === 0 // Docker is away: a plan shows ‹…›
  if (!unknown) for (const name of words) service(before, name)
  const images = imagesOf(before)
  const volumes = await mountedVolumes(before)
  const expected = new Set(mustBeHealthy(before))
  let counts: Counts = {}

  const now = (): Promise<Stack> => readStack(config)
  const onAffected =
    (...verb: readonly string[]) =>
    async (): Promise<Command | undefined> => {
      const names = unknown ? ['‹services›'] : affected(await now(), words, flags.all === true)
      return names.length === 0 ? undefined : compose(before, ...verb, ...names)
    }

  return [
    {
      title: 'Check the stack',
      read: true,
      limit: MINUTE,
      run: async (doing) => {
        for (const { service: name, ok, evidence } of await Promise.all(
          [...expected].map((n) => checkService(before, n)),
        )) {
          if (ok) continue
          expected.delete(name)
          doing.say(`${name} is not healthy before the update, so it cannot fail it: ${evidence}`)
        }
        counts = await countsTold(before)
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
      undo: { says: 'start them again', run: (doing) => bringBack(before, images, stamp, doing) },
    },
    {
      title: 'Count the data',
      read: true,
      limit: 5 * MINUTE,
      run: async (doing) => {
        counts = { ...counts, ...(await countDocuments(await now())) }
        doing.say(`${Object.keys(counts).length} counts, to be compared when the new version runs`)
      },
    },
    {
      title: 'Remove the old containers',
      limit: 5 * MINUTE,
      destructive: true,
      cmd: onAffected('rm', '-f'),
      undo: {
        says: 'create them again from the old images',
        run: (doing) => bringBack(before, images, stamp, doing),
      },
    },
    {
      title: 'Start the new version',
      limit: 60 * MINUTE,
      cmd: onAffected('up', '-d', '--no-build'),
    },
    {
      title: 'Verify health and data',
      limit: 60 * MINUTE,
      run: async (doing) => {
        await waitHealthy(before, [...expected], {
          onChange: (v) => doing.progress(`${v.service}: ${v.evidence}`),
        })
        await waitStable(before, [...expected], before.about.stability)
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

/** Every service that runs and is not optional. */
function mustBeHealthy(stack: Stack): string[] {
  return stack.services.filter((s) => s.container?.State.Running && !s.about.optional).map((s) => s.name)
}

/** Those whose image or configuration is not what their container runs, or that have none; and their dependents. */
function affected(stack: Stack, named: readonly string[], all: boolean): string[] {
  if (all) return stack.services.map((s) => s.name)
  const changed = stack.services.filter(
    ({ container, imageId, configHash }) =>
      container?.Image !== imageId ||
      container?.Config.Labels['com.docker.compose.config-hash'] !== configHash,
  )
  const mine = changed.filter((s) => named.length === 0 || named.includes(s.name))
  return withDependents(
    stack,
    mine.map((s) => s.name),
  ).map((s) => s.name)
}

/** The old version again, from whatever state in between; safe to repeat. */
async function bringBack(before: Stack, images: readonly RanOn[], run: string, doing: Doing): Promise<void> {
  const back = await putTagsBack(images, run)
  if (back.length > 0) doing.say(`old images again: ${back.join(', ')}`)
  const ran = before.services.filter((s) => s.container?.State.Running).map((s) => s.name)
  await exec(compose(before, 'up', '-d', '--no-build', '--pull', 'never', ...ran))
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
  async afterFailure({ config, stack }, { undone }) {
    const names = mustBeHealthy(stack)
    const verdicts = await waitHealthy(() => readStack(config), names).catch(sentence)
    if (typeof verdicts === 'string') {
      return {
        up: false,
        text: `The old version is NOT confirmed to be up:\n${verdicts}\nType: docker compose -p ${stack.project} ps -a; then task health`,
      }
    }
    const what = undone.length > 0 ? 'The version that ran before runs again' : 'What ran before runs'
    return {
      up: true,
      text: `${what}: ${verdicts.filter((v) => v.ok).length} of ${verdicts.length} services are healthy. Volumes were not touched.\nWhen the cause is mended, type: task update`,
    }
  },
})
