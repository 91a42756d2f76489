#!/usr/bin/env -S node --import tsx
// Proves a set: restores it in throw-away containers without a network, in volumes of its own, at the versions that
// made it, and compares everything with what was saved. Made for cron: it never asks.
// Changes: nothing of the stack; notes beside the set that it is proven, or damaged.
// Undo:    what it made is removed at the end, whatever fails; what a killed drill left is removed by the next.
import { usage } from '../lib/errors.ts'
import { begin, type Course } from '../lib/drill/course.ts'
import * as does from '../lib/drill/steps.ts'
import { script, type Context } from '../lib/script.ts'
import type { Doing, Step } from '../lib/steps.ts'

const MINUTE = 60_000 // ms
const DAY = 24 * 60 * MINUTE // ms

let drill: Course | undefined

export async function steps(context: Context): Promise<Step[]> {
  const it = (drill = await begin(context))
  const away = { says: 'remove what was made', run: (d: Doing) => does.remove(it, d) }
  return [
    { title: 'Verify the set', read: true, limit: DAY, run: (d) => does.verify(it, d) },
    { title: 'Make the volumes', limit: 60 * MINUTE, run: (d) => does.make(it, d), undo: away },
    { title: 'Restore the volumes', limit: DAY, run: (d) => does.restoreVolumes(it, d) },
    { title: 'Restore MongoDB', limit: DAY, run: (d) => does.restoreMongo(it, d) },
    { title: 'Restore Redis', limit: 240 * MINUTE, run: (d) => does.restoreRedis(it, d) },
    // Before the removal: what was restored and compared is the evidence.
    { title: 'Note that it is proven', limit: DAY, run: (d) => does.note(it, d) },
    { title: 'Remove what was made', limit: 60 * MINUTE, run: (d) => does.remove(it, d) },
  ]
}

await script(import.meta, {
  about:
    'Proves a set: restores it in throw-away containers, compares everything, and notes that it is proven.',
  changes: 'nothing of the stack; notes beside the set that it is proven, or damaged.',
  undo: 'what it made for itself is removed at the end, whatever happens.',
  usage: ['[SET]          its name, its stamp, its path, or latest (default: the newest good one)'],
  takesWords: 1,
  examples: [
    'task drill',
    'task drill -- pre-update-20260102_030405',
    'node --import tsx scripts/drill.ts --json',
  ],
  typed({ words }) {
    if (words[0] === '') throw usage('The set is an empty word. Nothing was changed.')
  },
  stackless: true,
  steps,
  done: () => (drill ? does.done(drill) : ''),
  afterFailure: async (_, outcome) => ({ up: true, text: does.afterFailure(drill, outcome) }),
})
