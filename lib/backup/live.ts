// A volume that is in use while it is saved: read from beginning to end, and what changed meanwhile once more. The
// newer copies follow the older ones in the same part; an extraction takes the later of two.
import { sentence } from '../errors.ts'
import { interruption } from '../shell.ts'
import type { Stack } from '../stack.ts'
import type { ArchiveWriter } from './archive.ts'
import { size, tap, type Bytes } from './bytes.ts'
import { VANISHED } from './config.ts'
import { compress, decompress } from './gzip.ts'
import { volumeTar, type Wish } from './helper.ts'
import type { LeftOut, VolumeRecord } from './manifest.ts'
import type { Report } from './progress.ts'
import { listen, type Remarks } from './remarks.ts'
import type { VolumeIdentity } from './sources.ts'
import { show, toBytes } from './tar.ts'
import { entries, wrongMap, type Entry } from './untar.ts'
import { plain, survey, surveyEntries, type Tally } from './volume.ts'

/** What became of a volume that was read while it was in use. Names are shown ones, as in a manifest. */
export interface Live {
  /** What was read, each copy of a file counted. */
  readonly tally: Tally
  /** Read twice; the later copy counts. */
  readonly again: readonly string[]
  /** Not certain to be as they were at any one time. */
  readonly changed: readonly string[]
}

/** Reads a volume as a tar stream, whole or as wished, and remarks what tar says. */
type Read = (remarks: Remarks, wish?: Wish) => Bytes

/** Adds a volume to the archive and tells what it holds. @throws a sentence when it cannot be read as a whole */
export async function writeVolume(
  stack: Stack,
  volume: VolumeIdentity,
  archive: ArchiveWriter,
  {
    count,
    report,
    leftOut,
  }: { count: (label: string, bytes: number) => void; report: Report; leftOut: LeftOut[] },
): Promise<VolumeRecord> {
  const read: Read = (remarks, wish) =>
    tap(volumeTar(stack, volume.name, remarks, wish), (piece) => count(volume.name, piece.length))
  let found: Live | undefined
  try {
    const content = compress(liveVolume(read, (live) => (found = live)))
    const part = await archive.file(`volumes/${toBytes(volume.key)}.tar.gz`, content, { packed: true })
    if (!found) throw new Error('it was not read to its end')
    const { again, changed } = found
    if (again.length > 0)
      report(`${volume.name}: ${again.length} files changed and were read twice; counting`)
    const { leftOut: _, ...tally } =
      again.length > 0 ? await superseded(archive.readBack(part), again) : found.tally
    leftOut.push(...found.tally.leftOut.map((l) => ({ ...l, what: `${volume.name}: ${l.what}` })))
    report(`${volume.name}: ${tally.files} files, ${size(tally.bytes)}`)
    return { ...volume, ...tally, part: part.name, changed, ...(again.length > 0 && { again }) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw error
    throw new Error(`The volume ${volume.name} could not be saved: ${sentence(error)}`, { cause: error })
  }
}

/**
 * What an extraction of a part yields. Which copies are superseded is known only at its end; to take them out of the
 * sum something would have to be kept of every file. So the part is read once more, just as verification will read
 * it: in constant memory, and only when something did come twice.
 */
async function superseded(part: Bytes, again: readonly string[]): Promise<Tally> {
  let found: Tally | undefined
  for await (const _ of survey(decompress(part), 'refuse', (tally) => (found = tally), again)) {
    interruption.getStore()?.throwIfAborted()
  }
  if (!found) throw new Error('it was not read back to its end')
  return found
}

/** A volume's tar stream for its part of the set. Tells at its end what became of it. */
export async function* liveVolume(read: Read, tell: (live: Live) => void): Bytes {
  const again = new Set<string>()
  const changed = new Set<string>()
  const leftOut: LeftOut[] = []
  let tally: Tally | undefined
  yield* surveyEntries(twice(), 'skip', (t) => (tally = t))
  const shown = (names: Iterable<string>): string[] => [
    ...new Set([...names].map((n) => show(plain(n)) || '.')),
  ]
  if (tally) {
    const all = { ...tally, leftOut: [...tally.leftOut, ...leftOut] }
    tell({ tally: all, again: shown(again), changed: shown(changed) })
  }

  async function* twice(): AsyncGenerator<Entry> {
    const first = listen()
    const linked = new Set<string>() // files that have further names
    const uneven = new Set<string>() // files that grew just when tar looked for their holes, and their further names
    for await (const entry of entries(read(first), 'sparse')) {
      const { name, type, target } = entry
      if (type === 'hardlink') linked.add(target)
      if (wrongMap(entry) || (type === 'hardlink' && uneven.has(target))) uneven.add(name)
      else yield entry
    }
    leftOut.push(...first.leftOut(), ...first.gone.map(vanished))

    // A newer copy is a file of its own: the further names would stay with the older one.
    const torn = [...new Set(first.changed)].filter((name) => !uneven.has(name))
    const single = torn.filter((name) => !linked.has(name))
    for await (const entry of newer(single, true)) {
      again.add(entry.name)
      yield entry
    }
    for (const name of torn) if (!again.has(name)) changed.add(name)

    const came = new Set<string>()
    for await (const entry of newer([...uneven], false)) {
      came.add(entry.name)
      yield entry
    }
    leftOut.push(...[...uneven].filter((name) => !came.has(name)).map(vanished))
  }

  /** These files as they are now, if they still are files. Notes those that changed once more. */
  async function* newer(names: readonly string[], sparse: boolean): AsyncGenerator<Entry> {
    if (names.length === 0) return
    const second = listen()
    const came = new Set<string>()
    for await (const entry of entries(read(second, { names, sparse }), 'sparse')) {
      const { name, type, target } = entry
      const whole = type === 'file' ? !wrongMap(entry) : type === 'hardlink' && came.has(target)
      if (!whole) continue
      came.add(name)
      yield entry
    }
    leftOut.push(...second.leftOut())
    for (const name of second.changed) changed.add(name)
  }
}

const vanished = (name: string): LeftOut => ({ what: show(plain(name)), why: VANISHED })
