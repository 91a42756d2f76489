#!/usr/bin/env -S node --import tsx
// Puts up staging, of the new stack, beside production on the same server: checks, folder, configuration, images,
// volumes, models, start, health.
// Changes: containers, volumes and a network of staging's own; its folder; and the one thing of production's: its proxy
//          is connected to staging's network.
// Undo:    by itself when it fails: staging is as it was before, or not there. Later: task teardown-staging.
import { compose } from '../lib/docker.ts'
import { script, type Context } from '../lib/script.ts'
import { bringBackOnce } from '../lib/staging/back.ts'
import { begin, projectOf, type Course } from '../lib/staging/course.ts'
import { afterFailure, deployed } from '../lib/staging/end.ts'
import * as does from '../lib/staging/steps.ts'
import type { Step, Undo } from '../lib/steps.ts'

const MINUTE = 60_000 // ms

let deploy: Course | undefined

export function steps(context: Context): Step[] {
  const it = (deploy = begin(context))
  const staging = projectOf(it)
  const undo: Undo = { says: 'staging as it was before', run: (doing) => bringBackOnce(it, doing) }
  const takes = (minutes: number): Pick<Step, 'limit'> => ({ limit: minutes * MINUTE })

  return [
    { title: 'Check everything', read: true, ...takes(10), run: (doing) => does.check(it, doing) },
    { title: 'Make the folder', ...takes(5), undo, run: (doing) => does.makeFolders(it, doing) },
    { title: 'Write the configuration', ...takes(5), undo, run: (doing) => does.configure(it, doing) },
    {
      title: 'Pull the images',
      ...takes(60),
      undo,
      cmd: compose(staging, 'pull', '--policy', 'missing'),
      run: (doing) => does.compareImages(it, doing),
    },
    {
      title: 'Create network and volumes',
      ...takes(10),
      undo,
      cmd: compose(staging, 'create', '--no-build'),
      run: (doing) => does.checkReach(it, doing),
    },
    { title: 'Bring the models', ...takes(24 * 60), undo, run: (doing) => does.bringModels(it, doing) },
    { title: 'Start the services', ...takes(60), undo, run: (doing) => does.start(it, doing) },
    { title: 'Verify health and addresses', ...takes(120), undo, run: (doing) => does.verify(it, doing) },
  ]
}

await script(import.meta, {
  about: 'Puts up staging beside production: its own project, network, volumes and secrets, and no way out.',
  changes:
    "what is staging's own; production's proxy is connected to its network. Nothing else of production.",
  undo: 'by itself on failure; later: task teardown-staging.',
  usage: ['--models M      copy production’s (default), share them for reading, or none'],
  options: { models: { type: 'string' } },
  examples: [
    'task deploy-staging',
    'task deploy-staging -- --plan',
    'node --import tsx scripts/deploy-staging.ts --models none',
  ],
  steps,
  done: () => (deploy ? deployed(deploy) : ''),
  afterFailure: (_, outcome) => afterFailure(deploy, outcome),
})
