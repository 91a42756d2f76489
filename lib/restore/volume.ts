// A volume of a set, extracted beside what the volume holds now, and read back: it must be what was saved.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { tap, type Bytes } from '../backup/bytes.ts'
import { EXTRACT, pipeMount, piped, writeTar } from '../backup/helper.ts'
import type { VolumeRecord } from '../backup/manifest.ts'
import { listen, type Remarks } from '../backup/remarks.ts'
import { survey, type Tally } from '../backup/volume.ts'
import { mountOf, type Place } from '../place.ts'
import { exec, quoteAll, stream, type Command } from '../shell.ts'
import { contained, onPlaces, type Ground } from './ground.ts'
import { hiddenFolder } from './hidden.ts'

// Its mode lets nobody but root list it, and an engine's user pass.
const MAKE = `set -e
W=$1; cd -- "$2"
mkdir -p -m 711 -- "$W"; chmod 711 -- "$W"; rm -rf -- "$W/new.partial" "$W/new"; mkdir -m 700 -- "$W/new.partial"
`
const FILL = `${MAKE}
cd -- "$W/new.partial"; tar ${quoteAll(EXTRACT)} --file=-; sync -f .`

const KEEP = `set -e
W=$1; cd -- "$2"; sync -f .; mv -- "$W/new.partial" "$W/new"; sync . "$W"`

/**
 * Extracts a volume's tar stream into the hidden folder of a place and compares what it has become, entry by entry,
 * with what was saved. The place itself, and whoever uses it, notices nothing.
 * @throws CommandFailed as tar does (no space, for one); a sentence when it is not what was saved
 */
export async function prepareVolume(
  ground: Ground,
  stamp: string,
  place: Place,
  { tar, record }: { tar: Bytes; record: Pick<VolumeRecord, 'key' | 'files' | 'digest' | 'again'> },
): Promise<void> {
  const saved = await extract(ground, stamp, place, tar, record.again)
  if (saved.digest !== record.digest) throw wrong(record, 'its files are not those that were read')
  await readBack(ground, stamp, place, record)
}

const wrong = ({ key }: Pick<VolumeRecord, 'key'>, what: string): Error =>
  new Error(`the volume ${key}: ${what}`)

/**
 * Extracts a tar stream into the hidden folder of a place. It is nothing yet before `readBack`.
 * @returns what the stream held. @throws CommandFailed as tar does; what broke the stream
 */
export async function extract(
  ground: Ground,
  stamp: string,
  place: Place,
  tar: Bytes,
  again?: readonly string[],
): Promise<Tally> {
  let saved: Tally | undefined
  const checked = survey(tar, 'refuse', (tally) => (saved = tally), again)
  await feed(inHidden(ground, stamp, place, FILL, ['--interactive']), checked)
  if (!saved) throw new Error('what was to be extracted was not read to its end')
  return saved
}

/**
 * Compares what was extracted with what it should be, and keeps it for the swap.
 * @throws a sentence when it is something else
 */
export async function readBack(
  ground: Ground,
  stamp: string,
  place: Place,
  record: Pick<VolumeRecord, 'key' | 'files' | 'digest'>,
): Promise<void> {
  const found = await surveyPlace(ground, place, `${hiddenFolder(stamp)}/new.partial`)
  if (found.files !== record.files)
    throw wrong(record, `${found.files} files were extracted instead of ${record.files}`)
  if (found.digest !== record.digest) throw wrong(record, 'what was extracted is not what was saved')
  await keep(ground, stamp, place)
}

/** A folder of a place as a tar stream, read as a backup reads a volume: it cannot be written to. */
export const readPlace = (ground: Ground, place: Place, below: string, heard: Remarks): Bytes =>
  piped(ground.stateDir, heard, (folder) =>
    contained(
      ground,
      ground.mongod,
      ['--user=0:0', '--cap-add=DAC_OVERRIDE', `${mountOf(place, '/v/0')},readonly`, pipeMount(folder)],
      ...writeTar(`/v/0/${place.folder}/${below}`, { sparse: true }),
      '.',
    ),
  )

/** What a folder of a place holds, read as a backup reads it. `count` is told of the bytes as they pass. */
export async function surveyPlace(
  ground: Ground,
  place: Place,
  below: string,
  heard = listen(),
  count: (bytes: number) => void = () => {},
): Promise<Tally> {
  let found: Tally | undefined
  const tar = tap(readPlace(ground, place, below, heard), (piece) => count(piece.length))
  for await (const _ of survey(tar, 'refuse', (tally) => (found = tally)));
  if (!found) throw new Error(`${place.source} could not be read to its end`)
  return found
}

/** The folder in which an engine's files are prepared, empty and with the owner and mode of the engine's own. */
const EMPTY = `${MAKE}
stat -c '%u:%g' .; chmod --reference=. -- "$W/new.partial"; chown --reference=. -- "$W/new.partial"`

/** Makes the empty folder for an engine's files. @returns whose it is, as `uid:gid` */
export async function makeEmpty(ground: Ground, stamp: string, place: Place): Promise<string> {
  return (await exec(inHidden(ground, stamp, place, EMPTY))).stdout.trim()
}

/** What was prepared is whole, durably: from now on it can be swapped in. */
export const keep = async (ground: Ground, stamp: string, place: Place): Promise<void> =>
  void (await exec(inHidden(ground, stamp, place, KEEP)))

const inHidden = (
  ground: Ground,
  stamp: string,
  place: Place,
  script: string,
  options: readonly string[] = [],
): Command => onPlaces(ground, [place], script, [hiddenFolder(stamp)], options)

/**
 * Gives a command a stream as its standard input, and waits for its end.
 * @throws what broke the stream, if anything did; otherwise CommandFailed
 */
export async function feed(command: Command, source: Bytes): Promise<void> {
  let broken: { readonly why: unknown } | undefined
  async function* watched(): Bytes {
    try {
      yield* source
    } catch (error) {
      broken = { why: error }
      throw error
    }
  }
  const { child, ended } = stream(command, ['pipe', 'ignore', 'pipe'])
  if (!child.stdin) throw new TypeError('a command without standard input cannot be fed')
  const sent = pipeline(Readable.from(watched(), { objectMode: false }), child.stdin)
  const [sending, ending] = await Promise.allSettled([sent, ended])
  if (broken) throw broken.why
  if (ending.status === 'rejected') throw ending.reason
  if (sending.status === 'rejected') throw sending.reason
}
