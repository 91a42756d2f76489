// Services around a swap: stopped, started, and the way back when something fails.
import { connectMongo } from '../mongo.ts'
import { compose } from '../docker.ts'
import { redisCli } from '../redis.ts'
import { exec, interruption } from '../shell.ts'
import { readStack, service, type Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { lastLines, waitHealthy } from '../wait.ts'
import { setTimeout as delay } from 'node:timers/promises'
import { filesBack } from './config.ts'
import { ground, note, now, recorded, type Course } from './course.ts'
import { loadFromScratch } from './given.ts'
import { removeHidden, swapBack, swapIn } from './hidden.ts'
import { untagImages } from './images.ts'
import { halfText, isGivenUp, openRestore } from './record.ts'

const POLL = 100 // ms

/** Those that the Compose file still has: it may have been edited since a restore was noted. */
export const present = ({ services }: Stack, names: readonly string[]): string[] =>
  services.map((s) => s.name).filter((name) => names.includes(name))

/** Stops services, with the time that they need to finish. */
export async function stop(stack: Stack, names: readonly string[]): Promise<void> {
  const there = present(stack, names).filter((name) => service(stack, name).container)
  if (there.length === 0) return
  await exec(compose(stack, 'stop', '-t', String(stack.about.stopTimeout / 1000), ...there))
}

/**
 * Starts services: their own containers, since whatever was edited since they were made is not part of a restore; or,
 * where there is none, a new one.
 */
async function start(stack: Stack, names: readonly string[]): Promise<void> {
  const [missing, there] = [false, true].map((has) =>
    present(stack, names).filter((name) => (service(stack, name).container !== undefined) === has),
  ) as [string[], string[]]
  if (missing.length > 0) await exec(compose(stack, 'up', '-d', '--no-build', '--pull', 'never', ...missing))
  if (there.length > 0) await exec(compose(stack, 'start', ...there))
}

/** Waits until both engines answer. @throws when one ends, or its deadline passes, with the last lines of its log */
export async function enginesAnswer(stack: Stack, names: readonly string[]): Promise<void> {
  const { database, redis } = stack.about
  const asks = {
    [database.service]: async () => {
      const client = await connectMongo(stack)
      try {
        const { setName, isWritablePrimary } = await client.db('admin').command({ hello: 1 })
        if (setName !== undefined && !isWritablePrimary) throw new Error('it is not PRIMARY yet')
      } finally {
        await client.close()
      }
    },
    [redis.service]: async () => {
      if (/LOADING/.test(await redisCli(stack, 'PING'))) throw new Error('it is still loading')
    },
  }
  for (const name of names) {
    const ask = asks[name]
    if (!ask) continue
    const deadline = performance.now() + service(stack, name).about.deadline
    for (;;) {
      interruption.getStore()?.throwIfAborted()
      try {
        await ask()
        break
      } catch (error) {
        const { container } = service(stack, name)
        if (performance.now() > deadline)
          throw new Error(`${name} does not answer: ${String(error)}\n${await lastLines(container)}`, {
            cause: error,
          })
      }
      await delay(POLL)
    }
  }
}

/** What was there before, again, once, whichever step asks for it first. */
export async function bringBackOnce(course: Course, doing: Doing): Promise<void | 'stays'> {
  if (course.back) {
    return course.back.catch(() => {
      throw new Error('as said above')
    })
  }
  if (!course.record && !openRestore(course.context.config)) return 'stays' // nothing was begun
  const { phase, name } = recorded(course)
  if (phase === 'swapped') {
    doing.say(`what was restored from ${name} stays`)
    return 'stays'
  }
  await (course.back = bringBack(course, doing))
}

/** Safe to repeat, from whatever a kill left. */
async function bringBack(course: Course, doing: Doing): Promise<void> {
  const undo = <T>(title: string, detail: unknown, act: () => Promise<T>): Promise<T> =>
    doing.effect(title, detail, act, ['undo', 'undone'])
  const { phase } = recorded(course)
  const forward = phase === 'undoing' // the undo of a restore is taken back by restoring again
  if (!forward) note(course, { backwards: true })
  if (isGivenUp(recorded(course)) || (forward && recorded(course).room))
    throw new Error(`there is nothing to go back to: ${halfText(recorded(course))}`)
  const { stamp, touched, targets, room, ...record } = recorded(course)
  const { files, images, ran, healthy } = forward ? (record.after ?? record) : record
  const places = targets.map((t) => t.place)
  await undo('Stop what was started', { services: touched }, async () => stop(await now(course), touched))
  await undo('Swap the data back', { places }, async () =>
    (forward ? swapIn : swapBack)(await ground(course), stamp, places),
  )
  if (room?.made && room.scratch !== undefined) {
    const { scratch } = room
    await undo('Copy the data back', { scratch }, async () => {
      const on = await ground(course)
      await removeHidden(on, stamp, places) // it takes the space that is needed
      await loadFromScratch(on, stamp, places, scratch)
    })
  }
  doing.say(
    forward ? 'the restored data is in its place again' : 'the data from before is in its place again',
  )
  if (files.length > 0)
    await undo('Put the configuration back', { files: files.map((f) => f.path) }, async () =>
      filesBack(files),
    )
  if (images.length > 0) await undo('Put the tags back', { images }, () => untagImages(images))
  if (files.length + images.length > 0) course.stack = await readStack(course.context.config)
  await undo('Start what ran', { services: ran.map((r) => r.service) }, () =>
    startFor(
      course,
      ran.map((r) => r.service),
    ),
  )
  await waitHealthy(await now(course), present(await now(course), healthy))
  note(course, { phase: forward ? 'swapped' : 'preparing' }) // nothing of the stack is touched any more
}

/** Starts services of a restore: where it changes the configuration or images, their containers are made anew. */
export async function startFor(course: Course, names: readonly string[]): Promise<void> {
  const { files, images } = recorded(course)
  if (names.length === 0) return
  const stack = await now(course)
  if (files.length + images.length === 0 || course.fresh) return start(stack, names)
  await exec(compose(stack, 'up', '-d', '--no-build', '--pull', 'never', ...present(stack, names)))
}
