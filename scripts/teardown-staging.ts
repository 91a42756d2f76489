#!/usr/bin/env -S node --import tsx
// Takes staging down: its containers, its network, what was written into its folder. Its volumes stay unless they are
// named.
// Changes: what carries the label of staging's project, and nothing else; production's proxy leaves staging's network.
// Undo:    task deploy-staging puts it up again, on the volumes that stayed.
import { script, type Context } from '../lib/script.ts'
import type { Step } from '../lib/steps.ts'
import * as does from '../lib/staging/teardown.ts'

const MINUTE = 60_000 // ms

let down: does.Down | undefined

export async function steps(context: Context): Promise<Step[]> {
  const it = (down = await does.find(context))
  return [
    { title: 'Disconnect the proxy', limit: 5 * MINUTE, run: (doing) => does.leaveProxy(it, doing) },
    { title: 'Remove the containers', limit: 30 * MINUTE, run: () => does.removeContainers(it) },
    { title: 'Remove network and named volumes', limit: 30 * MINUTE, run: (d) => does.removeObjects(it, d) },
    { title: 'Remove the files', limit: 5 * MINUTE, run: (doing) => does.removeFolder(it, doing) },
  ]
}

await script(import.meta, {
  about: 'Takes staging down: containers, network, files. Its volumes stay unless they are named.',
  changes: "what carries staging's label; production's proxy leaves staging's network.",
  undo: 'task deploy-staging puts it up again, on the volumes that stayed.',
  usage: ['VOLUME…         these volumes go, too', '--all-volumes   all of staging’s volumes go'],
  options: { 'all-volumes': { type: 'boolean' } },
  takesWords: 99,
  examples: ['task teardown-staging', 'node --import tsx scripts/teardown-staging.ts --all-volumes'],
  steps,
  confirms: async () => down && does.confirmation(down),
  done: () =>
    down
      ? `Staging is down. Volumes that stay: ${
          down.volumes
            .map((v) => v.Name)
            .filter((name) => !down?.named.includes(name))
            .join(', ') || 'none'
        }\n`
      : '',
  afterFailure: async () => ({
    up: true,
    text: 'Production was not touched, save its proxy’s connection. Typed again, it goes on: task teardown-staging',
  }),
})
