// How a restore ends: taken away before its swap, undone after it, or committed.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { refusal } from '../errors.ts'
import { checkService } from '../health.ts'
import { exec, sh } from '../shell.ts'
import { readStack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { size } from '../backup/bytes.ts'
import { waitHealthy } from '../wait.ts'
import { present, startFor, stop } from './back.ts'
import { filesBack, forgetFiles, keepFiles } from './config.ts'
import { ground, note, now, recorded, type Course } from './course.ts'
import { removeSockets } from './engine.ts'
import { otherUsers } from './check.ts'
import { forgetScratch, loadFromScratch, scratchFolder } from './given.ts'
import { discardPrepared, hiddenBytes, removeHidden, removeLeft, states, swapBack } from './hidden.ts'
import { untagImages, type ImageBefore } from './images.ts'
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
  const { scratch } = record.room ?? {}
  if (scratch !== undefined) await forgetScratch(await ground(course), record.stamp, scratch)
  // Never started; their volumes stay, as every volume does.
  for (const id of record.made) await exec(sh`docker rm -f -- ${id}`, { anyCode: true })
  filesBack(record.files)
  forgetFiles(config, record.stamp)
  forgetRestore(config)
  return undefined
}

/** What was there before the restore in its place again; what was restored is kept aside. Safe to repeat. */
export async function undo(course: Course, doing: Doing): Promise<void> {
  const { config } = course.context
  const { targets, stamp, files, images, room } = recorded(course)
  const places = targets.map((t) => t.place)
  if (room?.scratch === undefined) {
    const on = await ground(course)
    await swapBack(on, stamp, places)
    const left = (await states(on, stamp, places)).filter((state) => state !== 'prepared')
    if (left.length > 0) throw new Error(`${left.length} of ${places.length} places were not swapped back.`)
  } else await loadFromScratch(await ground(course), stamp, places, room.scratch)
  if (files.length + images.length > 0) {
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

/**
 * Whether what was there before is whole, and nobody else uses its place.
 * @throws refusal (exit 3) with the reason
 */
export async function checkUndo(course: Course, doing: Doing): Promise<void> {
  const { targets, stamp, room, phase } = recorded(course)
  const places = targets.map((t) => t.place)
  const stack = await now(course)
  const wrong: string[] = []
  if (room?.scratch !== undefined) {
    if (!existsSync(join(room.scratch, scratchFolder(stamp))))
      wrong.push(`${room.scratch} does not hold the copy of what was there: is its disk mounted?`)
  } else if (phase !== 'undoing') {
    const found = await states(await ground(course), stamp, places)
    for (const [i, target] of targets.entries())
      if (found[i] !== 'swapped')
        wrong.push(`${target.what}: what was there before is not beside it any more.`)
  }
  wrong.push(...(await otherUsers(stack, { targets, touched: recorded(course).touched })))
  if (wrong.length > 0) throw refusal(`The undo is refused. Nothing was changed.\n${wrong.join('\n')}`)
  doing.say('what was there before is whole')
}

/** How things are now, for the case that the undo has to be taken back. */
async function noteAfter(course: Course): Promise<void> {
  const { config } = course.context
  const { stamp, files, images, touched } = recorded(course)
  const { services } = await now(course)
  const refs = new Map(services.map((s) => [s.image, s.imageId]))
  const running = services.filter((s) => s.container?.State.Running)
  const verdicts = await Promise.all(
    running.filter((s) => !s.about.optional).map(async (s) => checkService(await now(course), s.name)),
  )
  const after = {
    files:
      files.length > 0
        ? keepFiles(
            config,
            stamp,
            'after',
            files.map((f) => f.path),
          )
        : [],
    images: images.map(({ ref }): ImageBefore => {
      const id = refs.get(ref)
      return id === undefined ? { ref } : { ref, id }
    }),
    ran: running
      .filter((s) => touched.includes(s.name))
      .map((s) => ({ service: s.name, container: s.container?.Id ?? '' })),
    healthy: verdicts.filter((v) => v.ok).map((v) => v.service),
  }
  note(course, { after })
}

/** From here on the stack is down, and a kill needs --resume or --abort. */
export async function stopForUndo(course: Course): Promise<void> {
  const { touched, phase } = recorded(course)
  if (phase === 'swapped') await noteAfter(course)
  note(course, { phase: 'undoing' })
  await stop(await now(course), touched)
}

/** What is kept aside is given up: there is no way back then. */
export async function commit(course: Course, doing: Doing): Promise<void> {
  const { config } = course.context
  const { targets, stamp, phase, room } = recorded(course)
  if (phase !== 'committing') note(course, { phase: 'committing' })
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
