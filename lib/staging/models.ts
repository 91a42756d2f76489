// The translator's models, some gigabytes of files, copied from production's volume into staging's own. Production's
// is only ever mounted to be read. The copy is prepared in a hidden folder of staging's volume, read back and swapped
// in by renames, as a restore does it: whatever is killed, the volume holds what it held, or the whole copy.
import { size, tap } from '../backup/bytes.ts'
import { removePipes } from '../backup/helper.ts'
import { inBackground } from '../backup/priority.ts'
import { progress } from '../backup/progress.ts'
import { listen, type Remarks } from '../backup/remarks.ts'
import { show } from '../backup/tar.ts'
import { plain, type Tally } from '../backup/volume.ts'
import { docker, inspectContainers } from '../docker.ts'
import { refusal, sentence } from '../errors.ts'
import { mountOf, type Place } from '../place.ts'
import type { Ground } from '../restore/ground.ts'
import { onPlaces } from '../restore/ground.ts'
import {
  discardPrepared,
  hiddenFolder,
  removeHidden,
  removeLeft,
  states,
  swapBack,
  swapIn,
} from '../restore/hidden.ts'
import { extract, readBack, readPlace, surveyPlace } from '../restore/volume.ts'
import { exec, interruption } from '../shell.ts'
import type { Doing } from '../steps.ts'
import { volumeNamed } from './objects.ts'

/** What the source holds, and so the target now. */
export interface ModelsCopied {
  /** Regular files. */
  readonly files: number
  /** bytes of their content */
  readonly bytes: number
  /** Order-free over every entry: see `survey`. */
  readonly digest: string
  /** Whether anything was written: the target did not hold the same already. */
  readonly copied: boolean
}

type Telling = Pick<Doing, 'say' | 'progress' | 'effect'>

const TRIES = 2 // of reading files that change meanwhile
const SHOWN = 3 // names in a message
const BLOCK = 4096 // bytes that a file of one byte takes
const HEADROOM = 64 * 2 ** 20 // bytes that stay free: production may keep its data on the same disk

/**
 * Makes the target hold exactly what the source holds: paths, types, modes, owners, times, links, attributes, content.
 * Where it does already, nothing is written. The caller holds the stack's lock; what an earlier call that was killed
 * has left is finished or removed first. A call that fails leaves the target as it was.
 * @param free is called before anything is written: whoever uses the target stops
 * @throws refusal (exit 3), before anything is copied: source or target is not there, they are one and the same, the
 *   source holds no file, a container uses the target, there is no room. Error: the source changes while it is read,
 *   or the copy is not what was read; CommandFailed
 */
export async function copyModels(
  ground: Ground,
  from: Place,
  to: Place,
  stamp: string,
  doing: Telling,
  free: () => Promise<void> = async () => {},
): Promise<ModelsCopied> {
  await checkThere(from, to)
  await removeLeft(ground)
  removePipes(ground.stateDir)
  await finishLeft(ground, from, to, doing, free)
  return inBackground(async () => {
    for (let n = 1; n <= TRIES; n++) {
      const { changed, done } = await attempt(ground, from, to, `${OURS}${stamp}`, { ...doing, free })
      if (done) return done
      if (n < TRIES) doing.say(`changed while it was read, and read once more: ${changed}`)
      else
        throw new Error(
          `${from.source} changes while it is read (${changed}). Nothing was copied: ${to.source} is as it was.\n` +
            'Try again when the translator has loaded its models.',
        )
    }
    throw new RangeError('no attempt was made')
  })
}

/** One that is missing would be made, empty, by being mounted. */
async function checkThere(from: Place, to: Place): Promise<void> {
  for (const { type, source } of [from, to]) {
    if (type === 'bind' || (await volumeNamed(source))) continue
    throw refusal(
      `The models cannot be copied from ${from.source} to ${to.source}: there is no volume ${source}. Nothing was copied.`,
    )
  }
  if (from.type === to.type && from.source === to.source) throw same(from, to)
}

const same = (from: Place, to: Place): Error =>
  refusal(
    `${to.source} is ${from.source}, production's own: staging's copy must be a volume of its own. Nothing was copied.`,
  )

/** What is hidden in the target under such a name, this module has put there. */
const OURS = 'staging-'

// Both folders (the same one may have two names), how many files there are to copy and how much room there is for them,
// and the hidden folders.
const LOOK = `set -e
cd -- "$3"
stat -c '%d:%i' -- "$2" .
du -s --inodes --exclude='.runbook-*' -- "$2" | cut -f1
stat -f -c '%a %S %d %c' .
find . -mindepth 1 -maxdepth 1 -name "$1*" -printf '%f\\0'`

interface Look {
  /** Files, folders and links in the source. */
  readonly entries: number
  /** bytes and files that the target's file system has room for */
  readonly free: number
  readonly inodes: number
  /** Stamps of hidden folders that calls which are not alive any more left. */
  readonly left: readonly string[]
}

async function look(ground: Ground, from: Place, to: Place): Promise<Look> {
  const hidden = hiddenFolder(OURS)
  const words = [hidden, `/from/${from.folder}`]
  const { stdout } = await exec(onPlaces(ground, [to], LOOK, words, [`${mountOf(from, '/from')},readonly`]))
  const [source, target, entries, numbers = '', ...names] = stdout.split('\n')
  if (source === target) throw same(from, to)
  const [blocks = 0, block = 0, unused = 0, inodes = 0] = numbers.split(' ').map(Number)
  const stamps = names
    .join('\n')
    .split('\0')
    .flatMap((name) => {
      const stamp = name.slice(hiddenFolder('').length).replace(/\.gone$/, '')
      return /^[\w-]+$/.test(stamp) ? [stamp] : []
    })
  // Some file systems have no fixed number of files.
  return {
    entries: Number(entries),
    free: blocks * block,
    inodes: inodes > 0 ? unused : Infinity,
    left: [...new Set(stamps)],
  }
}

/** A copy that was swapped in, if only in part, is whole; any other is taken away. */
async function finishLeft(
  ground: Ground,
  from: Place,
  to: Place,
  doing: Telling,
  free: () => Promise<void>,
): Promise<void> {
  for (const left of (await look(ground, from, to)).left) {
    const [state] = await states(ground, left, [to])
    if (state !== 'nothing') {
      await free()
      await refuseUsed(to)
    }
    await doing.effect('Tidy up after a killed copy', { volume: to.source, left, state }, async () => {
      if (state === 'swapped') await swapIn(ground, left, [to])
      else await swapBack(ground, left, [to])
      await removeHidden(ground, left, [to])
    })
    doing.say(
      `what a killed copy had left in ${to.source} is ${state === 'swapped' ? 'in its place' : 'removed'}`,
    )
  }
}

/** Copies once. @returns names of what changed in the source meanwhile, when anything did: then nothing was copied */
async function attempt(
  ground: Ground,
  from: Place,
  to: Place,
  hidden: string,
  doing: Telling & { readonly free: () => Promise<void> },
): Promise<{ readonly changed?: string; readonly done?: ModelsCopied }> {
  const report = (verb: string, total: number): ((bytes: number) => void) => {
    const count = progress((text) => doing.progress(text), verb, total)
    return (bytes) => count('the models', bytes)
  }
  const heard = listen()
  const source = await surveyPlace(ground, from, '.', heard, report('reading', 0))
  const restless = changedIn(heard)
  if (restless !== undefined) return { changed: restless }
  const { files, bytes, digest } = source
  if (files === 0)
    throw refusal(
      `${from.source} holds no files: there are no models to copy. Nothing was copied.\n  --models none`,
    )
  const target = await surveyPlace(ground, to, '.', listen(), report('comparing', bytes))
  if (target.digest === digest) return { done: { files, bytes, digest, copied: false } }

  await doing.free()
  await refuseUsed(to)
  checkRoom(await look(ground, from, to), to, source)
  const changed = await orNothing(ground, to, hidden, async () => {
    const again = listen()
    const count = report('copying', bytes)
    const copy = async (): Promise<string | undefined> => {
      const tar = tap(readPlace(ground, from, '.', again), (piece) => count(piece.length))
      const read = await extract(ground, hidden, to, tar)
      const other = changedIn(again) ?? (read.digest === digest ? undefined : 'another digest')
      if (other === undefined) await readBack(ground, hidden, to, { key: to.source, files, digest })
      return other
    }
    const about = { from: from.source, to: to.source, files, bytes }
    const other = await doing.effect('Copy the models', about, copy)
    if (other !== undefined) {
      await discardPrepared(ground, hidden, [to])
      return other
    }
    await refuseUsed(to)
    await doing.effect('Put the copy in its place', about, async () => {
      await swapIn(ground, hidden, [to])
      await removeHidden(ground, hidden, [to])
    })
    return undefined
  })
  if (changed !== undefined) return { changed }
  for (const { what, why } of heard.leftOut()) doing.say(`not copied: ${what}: ${why}`)
  return { done: { files, bytes, digest, copied: true } }
}

function changedIn({ changed, gone }: Remarks): string | undefined {
  const names = [...new Set([...changed, ...gone])].map((name) => show(plain(name)) || 'its folder')
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''
  return names.length === 0 ? undefined : names.slice(0, SHOWN).join(', ') + more
}

/** The files would be taken away from whoever reads them. */
async function refuseUsed({ source }: Place): Promise<void> {
  const ids = (await docker('ps', '-q', '--no-trunc', '--filter', `volume=${source}`))
    .split('\n')
    .filter(Boolean)
  // Docker finds a volume by any part of its name, and containers of ours end by themselves.
  const users = (await inspectContainers(ids)).filter(
    (c) =>
      c.Config.Labels.runbook === undefined && c.Mounts.some((m) => m.Name === source || m.Source === source),
  )
  const names = users.map((c) => c.Name.slice(1))
  if (names.length > 0)
    throw refusal(
      `The models in ${source} cannot be replaced while they are used. Nothing was copied. Stop it first:\n` +
        `  docker stop ${names.join(' ')}`,
    )
}

function checkRoom({ entries, free, inodes }: Look, { source }: Place, { files, stored }: Tally): void {
  const bytes = stored + files * BLOCK + HEADROOM
  const nodes = entries + 2 // and the hidden folders
  const without = 'Nothing was copied.\nMake room, or: --models share, --models none'
  if (bytes > free)
    throw refusal(
      `Too little space for the models in ${source}: they are copied beside what is there, which needs about ` +
        `${size(bytes)} (${files} files, ${size(stored)}); free are ${size(free)}. ${without}`,
    )
  if (nodes > inodes)
    throw refusal(
      `Too few free inodes for the models in ${source}: ${nodes} are needed, ${inodes} free. ${without}`,
    )
}

/** Work that leaves the target as it was when it fails, also when a person ends it. */
async function orNothing<T>(ground: Ground, to: Place, hidden: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const back = async (): Promise<void> => {
      await removeLeft(ground)
      await swapBack(ground, hidden, [to])
      await discardPrepared(ground, hidden, [to])
    }
    try {
      await interruption.run(undefined, back)
    } catch (also) {
      const left = `What was prepared in ${to.source} could not be removed; the next deploy does it: ${sentence(also)}`
      throw new Error(`${sentence(error)}\n${left}`, { cause: error })
    }
    throw error
  }
}
