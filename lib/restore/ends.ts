// How a restore ends: taken away before its swap, undone after it, or committed.
import { exec, sh } from '../shell.ts'
import { readStack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { size } from '../backup/bytes.ts'
import { waitHealthy } from '../wait.ts'
import { present, startFor, stop } from './back.ts'
import { filesBack, forgetFiles, keepFiles } from './config.ts'
import { ground, note, now, recorded, type Course } from './course.ts'
import { removeSockets } from './engine.ts'
import { forgetScratch, loadFromScratch } from './given.ts'
import { discardPrepared, hiddenBytes, removeHidden, removeLeft, swapBack } from './hidden.ts'
import { untagImages } from './images.ts'
import { forgetRestore, halfText, type Restore } from './record.ts'

/**
 * Nothing of the stack is touched, or not any more: what was prepared goes, and what was made. Safe to repeat.
 * @throws when the restore is half-way: then it stays as it is, for --abort
 */
export async function takeAway(course: Course, record: Restore): Promise<void | 'stays'> {
  const { config } = course.context
  if (record.phase === 'swapped') return 'stays'
  if (record.phase !== 'preparing') throw new Error(halfText(record))
  await removeLeft({ purpose: 'restore', stackId: config.STACK_ID })
  removeSockets(config.STATE_DIR)
  const places = record.targets.map((t) => t.place)
  if (places.length > 0) await discardPrepared(await ground(course), record.stamp, places)
  // Never started; their volumes stay, as every volume does.
  const { scratch } = record.room ?? {}
  if (scratch !== undefined) await forgetScratch(await ground(course), record.stamp, scratch)
  for (const id of record.made) await exec(sh`docker rm -f -- ${id}`, { anyCode: true })
  filesBack(record.files)
  forgetFiles(config, record.stamp)
  forgetRestore(config)
}

/** What was there before the restore in its place again; what was restored is kept aside. Safe to repeat. */
export async function undo(course: Course, doing: Doing): Promise<void> {
  const { config } = course.context
  const { targets, stamp, files, images, after, room } = recorded(course)
  const places = targets.map((t) => t.place)
  if (room?.scratch === undefined) await swapBack(await ground(course), stamp, places)
  else await loadFromScratch(await ground(course), stamp, places, room.scratch)
  if (files.length + images.length > 0) {
    // For the case that this has to be taken back.
    if (!after) {
      const refs = new Map((await now(course)).services.map((s) => [s.image, s.imageId]))
      const paths = files.map((f) => f.path)
      note(course, {
        after: {
          files: keepFiles(config, stamp, 'after', paths),
          images: images.map(({ ref }) => ({
            ref,
            ...(refs.get(ref) !== undefined && { id: refs.get(ref) ?? '' }),
          })),
        },
      })
    }
    filesBack(files)
    await untagImages(images)
    course.stack = await readStack(config)
  }
  const kept = room ? 'what was restored is gone' : 'what was restored is kept aside'
  doing.say(`what was there before the restore is in its place again; ${kept}`)
}

/** Starts what was stopped for it, and waits until what was healthy before is so. */
export async function startAgain(course: Course, doing: Doing): Promise<void> {
  const { touched, healthy } = recorded(course)
  await startFor(course, touched)
  await waitHealthy(await now(course), present(await now(course), healthy), {
    onChange: (v) => doing.progress(`${v.service}: ${v.evidence}`),
  })
  note(course, { phase: 'undone' })
  doing.say(`healthy: ${healthy.join(', ') || 'nothing was healthy before'}`)
}

/** From here on the stack is down, and a kill needs --resume or --abort. */
export async function stopForUndo(course: Course): Promise<void> {
  const { touched } = recorded(course)
  note(course, { phase: 'undoing' })
  await stop(await now(course), touched)
}

/** What is kept aside is given up: there is no way back then. */
export async function commit(course: Course, doing: Doing): Promise<void> {
  const { config } = course.context
  const { targets, stamp, phase, room } = recorded(course)
  await removeHidden(
    await ground(course),
    stamp,
    targets.map((t) => t.place),
  )
  if (room?.scratch !== undefined) await forgetScratch(await ground(course), stamp, room.scratch)
  forgetFiles(config, stamp)
  forgetRestore(config)
  doing.say(
    phase === 'undone' ? 'what had been restored is gone' : 'what was there before the restore is gone',
  )
}

/** What is kept aside, in words, with its size. */
export async function keptText(course: Course): Promise<string> {
  const { targets, stamp, phase, name, room } = recorded(course)
  if (room?.scratch !== undefined)
    return `The restore of ${name}: what was there before it is kept in ${room.scratch}.`
  const bytes = await hiddenBytes(
    await ground(course),
    stamp,
    targets.map((t) => t.place),
  )
  const what = phase === 'undone' ? 'what had been restored' : 'what was there before it'
  return `The restore of ${name}: ${what} is kept aside, ${size(bytes)} in ${targets.map((t) => t.what).join(', ')}.`
}
