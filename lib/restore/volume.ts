// A volume of a set, extracted beside what the volume holds now, and read back: it must be what was saved.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Bytes } from '../backup/bytes.ts'
import { EXTRACT, pipeMount, piped, writeTar } from '../backup/helper.ts'
import type { VolumeRecord } from '../backup/manifest.ts'
import { listen } from '../backup/remarks.ts'
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
  const wrong = (what: string): Error => new Error(`the volume ${record.key}: ${what}`)
  let saved: Tally | undefined
  const checked = survey(tar, 'refuse', (tally) => (saved = tally), record.again)
  await feed(inHidden(ground, stamp, place, FILL, ['--interactive']), checked)
  if (saved?.digest !== record.digest) throw wrong('its files are not those that were read')

  const found = await surveyPlace(ground, place, `${hiddenFolder(stamp)}/new.partial`)
  if (found.files !== record.files)
    throw wrong(`${found.files} files were extracted instead of ${record.files}`)
  if (found.digest !== record.digest) throw wrong('what was extracted is not what was saved')
  await keep(ground, stamp, place)
}

/** What a folder of a place holds, read as a backup reads it. */
async function surveyPlace(ground: Ground, place: Place, below: string): Promise<Tally> {
  const heard = listen()
  const tar = piped(ground.stateDir, heard, (folder) =>
    contained(
      ground,
      ground.mongod,
      ['--user=0:0', '--cap-add=DAC_OVERRIDE', `${mountOf(place, '/v/0')},readonly`, pipeMount(folder)],
      ...writeTar(`/v/0/${place.folder}/${below}`, { sparse: true }),
      '.',
    ),
  )
  let found: Tally | undefined
  for await (const _ of survey(tar, 'refuse', (tally) => (found = tally)));
  if (!found) throw new Error('what was extracted could not be read back')
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
