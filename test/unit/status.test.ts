// The status as lines of text: what a person reads.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RunFact, ServiceFact, Status } from '../../lib/status/facts.ts'
import { statusText } from '../../lib/status/text.ts'

const service: ServiceFact = {
  service: 'gateway',
  state: 'healthy',
  image: 'registry.test/gateway:latest',
  imageId: `sha256:${'ab'.repeat(32)}`,
  built: new Date(Date.now() - 3 * 24 * 3_600_000).toISOString(),
  since: new Date(Date.now() - 5 * 60_000).toISOString(),
  restarts: 0,
  newer: false,
  reconfigured: false,
}

const run: RunFact = {
  run: '20260125_031700-update',
  script: 'update',
  exitCode: 0,
  outcome: 'done',
  failedStep: undefined,
  lastStep: 'run',
  running: false,
  next: [],
}

function status(more: Partial<Status> = {}): Status {
  return {
    project: 'meeshy',
    dir: '/opt/meeshy',
    services: [service],
    orphans: [],
    volumes: [],
    unmeasured: undefined,
    backup: { newestGood: undefined, newestCopied: undefined, problems: [], notes: [] },
    sets: [],
    owed: [],
    restore: undefined,
    staging: [],
    runs: [run],
    disks: [],
    olderImages: [],
    failedImages: [],
    skipped: [],
    ...more,
  }
}

const lines = (more: Partial<Status>): string[] => statusText(status(more)).split('\n')

test('a service is one line: state, image, its id and age, since when it runs', () => {
  assert.ok(
    lines({}).includes(
      '  gateway  healthy  registry.test/gateway:latest abababababab, built 3 days ago, started 5 min ago',
    ),
  )
})

test('restarts, a newer image and a changed configuration are told, each with what to type', () => {
  const [line] = lines({ services: [{ ...service, restarts: 3, newer: true, reconfigured: true }] }).filter(
    (l) => l.startsWith('  gateway'),
  )
  assert.match(line ?? '', /\(restarted 3 times\) {2}\(a newer image is here: task update\)/)
  assert.match(line ?? '', /\(its configuration was changed: task update\)$/)
})

test('a service without a container has no time of start', () => {
  const gone = { ...service, state: 'no container', imageId: undefined, built: undefined, since: undefined }
  assert.ok(lines({ services: [gone] }).includes('  gateway  no container  registry.test/gateway:latest'))
})

test('what has not ended is told before anything else, with every line that ends it', () => {
  const killed = {
    ...run,
    exitCode: undefined,
    lastStep: 'Start',
    next: ['task update -- --resume', 'task update -- --abort'],
  }
  assert.deepEqual(lines({ runs: [killed] }).slice(2, 5), [
    `NOT ENDED: ${run.run}  NEVER ENDED, last at: Start`,
    '  task update -- --resume',
    '  task update -- --abort',
  ])
})

test('a run without a readable journal says so instead of a step', () => {
  const damaged = { ...run, exitCode: undefined, lastStep: undefined, next: ['task update'] }
  assert.match(statusText(status({ runs: [damaged] })), /NEVER ENDED, last at: unknown, its journal/)
})

test('a volume: its size, who mounts it, and an orphan by name', () => {
  const text = lines({
    volumes: [
      { volume: 'a_data', bytes: 1_300_000, mountedBy: ['gateway:/app', 'container former'] },
      { volume: 'b', bytes: undefined, mountedBy: [] },
    ],
    unmeasured: 'not measured in 20 s',
  })
  assert.ok(text.includes('Volumes (not measured in 20 s)'))
  assert.ok(text.includes('  a_data    1.3 MB  gateway:/app, container former'))
  assert.ok(text.includes('  b              ?  orphan: mounted by nothing'))
})

test('of many older images the first seven are told, and how many more there are', () => {
  const image = { names: ['registry.test/gateway'], bytes: 5_000_000, created: service.built ?? '' }
  const olderImages = Array.from({ length: 9 }, (_, i) => ({
    ...image,
    id: `sha256:${String(i).repeat(64)}`,
  }))
  const text = lines({ olderImages })
  assert.ok(text.includes('  000000000000  5.0 MB  built 3 days ago  registry.test/gateway'))
  assert.ok(text.includes('  and 2 more: task status -- --json'))
  assert.equal(text.filter((l) => l.includes('registry.test/gateway') && l.includes('MB')).length, 7)
})

test('what could not be looked at is told with its reason', () => {
  const text = lines({ skipped: ["Docker's disk, because its folder /d is not on this machine"] })
  assert.ok(text.includes('Not looked at'))
  assert.ok(text.includes("  Docker's disk, because its folder /d is not on this machine"))
})

test('a label from outside cannot move the cursor or make a line of its own', () => {
  const orphans = [{ container: 'c', service: 'x\u001b[2J\nNOT ENDED: y', state: 'created' }]
  const text = statusText(status({ orphans }))
  assert.ok(!text.includes('\u001b'))
  assert.doesNotMatch(text, /^NOT ENDED/m)
})
