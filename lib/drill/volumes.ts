// The volumes of a drill: made for it, named and labelled, so that nothing else is ever taken for one of them.
import { setTimeout as delay } from 'node:timers/promises'
import { removePipes } from '../backup/helper.ts'
import { docker, inspectVolumes } from '../docker.ts'
import { refusal } from '../errors.ts'
import { volumePlace, type Place } from '../place.ts'
import { removeSockets } from '../restore/engine.ts'
import { labels } from '../restore/ground.ts'
import { removeLeft } from '../restore/hidden.ts'
import type { Targets } from '../restore/targets.ts'
import { CommandFailed } from '../shell.ts'
import type { Doing } from '../steps.ts'
import { manifestOf, type Course } from './course.ts'

const PATIENCE = 10_000 // ms: a container that has just ended holds its volume for a moment
const POLL = 100 // ms

/** Where each part of the set goes: the root of a volume of its own. */
export function targets(course: Course): Pick<Targets, 'volumes' | 'engines'> {
  const { config, stamp } = course.context
  let n = 0
  const place = (): Place => volumePlace(`runbook-drill-${config.STACK_ID}-${stamp}-${++n}`)
  const files = manifestOf(course).volumes.filter((v) => v.part !== undefined && !v.coveredBy)
  return {
    volumes: files.map((record) => ({ what: record.key, kind: 'volume', place: place(), record })),
    engines: (['mongodb', 'redis'] as const).map((kind) => ({ what: kind, kind, place: place() })),
  }
}

/** The places of the set's parts. */
export function placesOf(course: Course): Place[] {
  const { volumes, engines } = targets(course)
  return [...volumes, ...engines].map((t) => t.place)
}

const namesOf = (course: Course): string[] => placesOf(course).map((p) => p.source)

/** The labels of whatever a drill of this stack makes. */
function ours({ context }: Course): string[] {
  return ['runbook=1', ...labels({ purpose: 'drill', stackId: context.config.STACK_ID })]
}

/** A proof is of one archive: volumes that were made for another one are not taken for its. */
const sealLabel = ({ seal }: Course): string => `runbook.set=${seal}`

async function labelled(all: readonly string[]): Promise<string[]> {
  const out = await docker('volume', 'ls', '--quiet', ...all.flatMap((l) => ['--filter', `label=${l}`]))
  return out.split('\n').filter(Boolean)
}

/** @throws Error when the volumes of this drill are not there */
export async function checkMade(course: Course): Promise<void> {
  const made = await labelled([...ours(course), sealLabel(course)])
  if (namesOf(course).every((name) => made.includes(name))) return
  throw new Error('The volumes of this drill are not there: its second step makes them.')
}

/** Makes the volumes that are not there yet. @throws refusal when somebody else's has such a name */
export async function makeVolumes(course: Course, doing: Doing): Promise<void> {
  const mine = [...ours(course), sealLabel(course)]
  const made = await labelled(mine)
  const options = mine.flatMap((label) => ['--label', label])
  for (const name of namesOf(course).filter((n) => !made.includes(n))) {
    await doing.effect('Make a volume', { name }, () => docker('volume', 'create', ...options, '--', name))
    // Docker takes one that is there without a word.
    const [{ Labels } = { Labels: null }] = await inspectVolumes([name])
    if (mine.some((label) => `${label.split('=')[0]}=${Labels?.[label.split('=')[0] ?? '']}` !== label))
      throw refusal(`There is a volume ${name} that no drill of this stack has made. Nothing was changed.`)
  }
}

/** Removes what drills that are not alive any more left. The caller holds the stack's lock. */
export async function removeOld(course: Course, doing: Pick<Doing, 'say'>): Promise<void> {
  await endContainers(course)
  const kept = new Set(namesOf(course))
  const now = await labelled([...ours(course), sealLabel(course)])
  const old = (await labelled(ours(course))).filter((name) => !kept.has(name) || !now.includes(name))
  for (const name of old) await removeVolume(name)
  if (old.length > 0) doing.say(`a drill that did not end had left, removed: ${old.join(', ')}`)
}

/** Removes every container, folder and volume of drills of this stack. Safe to repeat. @returns how many volumes */
export async function removeAll(course: Course): Promise<number> {
  await endContainers(course)
  const names = await labelled(ours(course))
  for (const name of names) await removeVolume(name)
  return names.length
}

async function endContainers({ context }: Course): Promise<void> {
  const { STACK_ID, STATE_DIR } = context.config
  await removeLeft({ purpose: 'drill', stackId: STACK_ID })
  removeSockets(STATE_DIR)
  removePipes(STATE_DIR)
}

async function removeVolume(name: string): Promise<void> {
  for (const deadline = performance.now() + PATIENCE; ; await delay(POLL)) {
    try {
      return void (await docker('volume', 'rm', '--', name))
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error
      if (/no such volume/i.test(error.stderr)) return
      if (!/in use/i.test(error.stderr) || performance.now() > deadline) throw error
    }
  }
}
