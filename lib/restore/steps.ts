// What a restore does while the stack is down, and after: stop, swap, start, compare, verify.
import { connectMongo } from '../mongo.ts'
import { redisCli } from '../redis.ts'
import { rejoin } from '../staging/join.ts'
import { readStack, service } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { downtimeText, endWatch, watchAddresses } from '../downtime.ts'
import { endedByKill } from '../engines.ts'
import { changedVolumes, mountedVolumes, otherVolumes } from '../volumes.ts'
import { waitHealthy, waitStable } from '../wait.ts'
import { refusal } from '../errors.ts'
import { enginesAnswer, present, startFor, stop } from './back.ts'
import { manifestOf } from './check.ts'
import { keepFiles, otherFiles, pathsOf, writeFiles } from './config.ts'
import { ground, note, now, recorded, type Course } from './course.ts'
import { removeWhatIsThere, saveToScratch } from './given.ts'
import { removeHidden, swapIn } from './hidden.ts'
import { otherImages, tagImages } from './images.ts'
import { unequal } from './mongodb.ts'
import { forgetRestore } from './record.ts'
import { keysOf, unequalKeys } from './redis.ts'

/** From here on the stack is down, and a kill needs --resume or --abort. */
export async function stopTouched(course: Course, doing: Doing): Promise<void> {
  const { touched } = recorded(course)
  const stack = await now(course)
  course.watch ??= await watchAddresses(stack, doing.dir)
  note(course, { phase: 'swapping' })
  await stop(stack, touched)
  for (const name of endedByKill(await now(course)))
    doing.say(
      `${name} did not end in time and was killed by Docker: its files, which are kept aside, are as after a power cut`,
    )
}

/** The set's configuration and images in the place of what there is. Safe to repeat. */
export async function replaceConfig(course: Course, doing: Doing): Promise<void> {
  const { config } = course.context
  const { parts, stamp } = course
  const { set: path, files } = recorded(course)
  const manifest = await manifestOf(course)
  if (!manifest) throw new Error(`${path} has no manifest any more.`)
  if (parts.config && !course.fresh) {
    const other = await otherFiles(manifest, config.STACK_DIR)
    // What a killed run has kept already is what was there before.
    if (files.length === 0)
      note(course, { files: keepFiles(config, stamp, 'before', pathsOf(other, config.STACK_DIR)) })
    await writeFiles({ path, manifest }, config, other)
    course.stack = await readStack(config)
    const volumes = otherVolumes(course.stack, await mountedVolumes(course.stack))
    if (volumes.length > 0)
      throw new Error(`The configuration of the set names other volumes:\n${volumes.join('\n')}`)
    doing.say(`${other.length} files and folders as they were; what they replaced is kept until --commit`)
  }
  if (parts.images) {
    const images = otherImages(await now(course), manifest)
    await tagImages(images)
    course.stack = await readStack(config)
    doing.say(
      `the names mean what they meant: ${images.map((i) => i.service).join(', ') || 'nothing changed'}`,
    )
  }
}

/** Where there is no room beside what is there: that is copied elsewhere, or given up, before anything is prepared. */
export async function makeRoom(course: Course, doing: Doing): Promise<void> {
  const { room, stamp, targets } = recorded(course)
  if (!room || room.made) return doing.say('made already')
  const places = targets.map((t) => t.place)
  const on = await ground(course)
  const { scratch } = room
  if (scratch !== undefined) {
    await doing.effect('Copy what is there', { scratch }, () => saveToScratch(on, stamp, places, scratch))
    doing.say(`what is there is copied to ${scratch}`)
  }
  note(course, { room: { ...room, made: true } })
  await doing.effect('Remove what is there', { places }, () => removeWhatIsThere(on, stamp, places))
}

/** Only renames. */
export async function swap(course: Course, doing: Doing): Promise<void> {
  const { targets, stamp, phase, touched } = recorded(course)
  if (phase !== 'swapping')
    throw refusal('What uses the data is not stopped: the step before this one does that.')
  const stack = await now(course)
  const running = present(stack, touched).filter((name) => service(stack, name).container?.State.Running)
  if (running.length > 0) throw refusal(`${running.join(', ')} runs: nothing may use what is swapped.`)
  await swapIn(
    await ground(course),
    stamp,
    targets.map((t) => t.place),
  )
  doing.say(`in place: ${targets.map((t) => t.what).join(', ')}`)
}

/** The engines alone, and what costs the same at any size is compared before any application writes. */
export async function startEngines(course: Course, doing: Doing): Promise<void> {
  const { keepStopped, targets } = recorded(course)
  const { database, redis } = (await now(course)).about
  const kinds = targets.filter((t) => t.kind !== 'volume').map((t) => t.kind)
  const names = kinds.map((kind) => (kind === 'mongodb' ? database.service : redis.service))
  if (names.length === 0) return doing.say('no engine was restored')
  await startFor(course, names)
  await enginesAnswer(await now(course), names)
  if (keepStopped) doing.say('they are compared and stopped again')
}

/** Collections, counts, options and indexes; keys. @throws what is otherwise than in the set */
export async function compare(course: Course, doing: Doing): Promise<void> {
  const manifest = await manifestOf(course)
  const { targets } = recorded(course)
  const stack = await now(course)
  const wrong: string[] = []
  if (manifest && targets.some((t) => t.kind === 'mongodb')) {
    const client = await connectMongo(stack)
    try {
      wrong.push(...(await unequal(client, manifest.mongodb, 'counts')))
    } finally {
      await client.close()
    }
  }
  if (manifest && targets.some((t) => t.kind === 'redis')) {
    const keys = unequalKeys(await keysOf((...words) => redisCli(stack, ...words)), manifest.redis)
    if (keys !== undefined) wrong.push(keys)
  }
  if (wrong.length > 0) throw new Error(`It is not what was saved:\n${wrong.join('\n')}`)
  doing.say('the engines hold what was saved')
}

/** The rest of what is touched. On a stack of which nothing ran, all of it. */
export async function startRest(course: Course, doing: Doing): Promise<void> {
  const { touched, keepStopped } = recorded(course)
  if (keepStopped) {
    await stop(await now(course), touched)
    return doing.say('stopped, as was asked for: docker compose up -d')
  }
  await startFor(course, touched)
  doing.say(`started: ${touched.join(', ')}`)
}

/** From here on only health decides: the applications write. */
export async function verify(course: Course, doing: Doing): Promise<void> {
  const { healthy, keepStopped, volumes, touched, ran, room, stamp, targets } = recorded(course)
  const places = targets.map((t) => t.place)
  if (keepStopped) {
    note(course, { phase: 'swapped' })
    return doing.say('health is not looked at: everything was left stopped')
  }
  const onChange = (v: { service: string; evidence: string }): void =>
    doing.progress(`${v.service}: ${v.evidence}`)
  await rejoin(await now(course), doing)
  await waitHealthy(await now(course), healthy, { onChange })
  await waitStable(await now(course), healthy, (await now(course)).about.stability)
  const wrong = changedVolumes(volumes, await mountedVolumes(await now(course)))
  if (wrong.length > 0) throw new Error(wrong.join('\n'))
  note(course, { phase: 'swapped' })
  if (room) {
    const on = await ground(course)
    await removeHidden(on, stamp, places) // the places were empty: nothing is in it
    if (room.scratch === undefined) forgetRestore(course.context.config)
  }
  if (course.watch) course.downtimes = await endWatch(course.watch)
  if (course.downtimes !== undefined) doing.fact('downtime', course.downtimes)
  // What was not healthy before is waited for as well; but it takes nothing back: it was no better.
  const others = touched.filter((name) => !healthy.includes(name) && !optional(course, name))
  course.stays = true
  if (others.length > 0) await waitHealthy(await now(course), others, { onChange })
  doing.say(`healthy and stable: ${[...healthy, ...others].join(', ')}`)
  if (course.downtimes !== undefined && ran.length > 0) doing.say(downtimeText(course.downtimes))
}

const optional = ({ stack }: Course, name: string): boolean =>
  stack ? service(stack, name).about.optional === true : false
