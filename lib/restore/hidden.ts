// The hidden folder of a restore: `.runbook-restore-<stamp>` inside the very folder whose content is restored, so that
// only renames are needed to put one content in the place of the other. What it holds tells how far that is:
//
//   new.partial      is being prepared
//   new              prepared and compared with the set
//   new, old         what was there is moving to `old`
//   old, in          what was prepared is moving into its place
//   old              done; and backwards the same way
//
// So whatever a kill leaves, either direction can go on from it. Its mode lets nobody but root list it.
import { inspectVolumes, removeContainers } from '../docker.ts'
import type { Place } from '../place.ts'
import { exec, quoteAll } from '../shell.ts'
import { CREATE, EXTRACT } from '../backup/helper.ts'
import { labels, onPlaces, type Ground } from './ground.ts'

/** The hidden folder of the restore with that stamp. */
export const hiddenFolder = (stamp: string): string => `.runbook-restore-${stamp}`

const MOVES = `set -e
W=$1; shift
like() { tar --directory="$1" --create ${quoteAll(CREATE)} --no-recursion --file=- . | tar --directory="$2" ${quoteAll(EXTRACT)} --file=-; }
away() { find . -mindepth 1 -maxdepth 1 ! -name '.runbook-*' -exec mv -t "$1" -- {} +; }
home() { find "$1" -mindepth 1 -maxdepth 1 -exec mv -t . -- {} +; }
`

const SWAP = `${MOVES}
for folder in "$@"; do (
  cd -- "$folder"
  if [ -d "$W/new" ]; then
    if [ ! -d "$W/old" ]; then
      mkdir -p -- "$W/old.partial"; like . "$W/old.partial"; mv -- "$W/old.partial" "$W/old"
    fi
    away "$W/old"
    sync . "$W" "$W/old"; mv -- "$W/new" "$W/in"
  fi
  if [ -d "$W/in" ]; then
    home "$W/in"; like "$W/in" .
    sync . "$W/in"; rmdir -- "$W/in"
  fi
  [ -d "$W/old" ]
); done`

const BACK = `${MOVES}
for folder in "$@"; do (
  cd -- "$folder"
  if [ -d "$W/old" ] && [ ! -d "$W/new" ]; then
    if [ ! -d "$W/in" ]; then
      mkdir -p -- "$W/in.partial"; like . "$W/in.partial"; mv -- "$W/in.partial" "$W/in"
    fi
    away "$W/in"
    sync . "$W" "$W/in"; mv -- "$W/in" "$W/new"
  fi
  if [ -d "$W/old" ]; then
    home "$W/old"; like "$W/old" .
    sync . "$W/old"; rmdir -- "$W/old"
  fi
); done`

// Renamed first: half of it must never be taken for the whole.
const REMOVING = `
for folder in "$@"; do (
  cd -- "$folder"; rm -rf -- "$W.gone"
  [ ! -e "$W" ] || { mv -- "$W" "$W.gone"; rm -rf -- "$W.gone"; }
); done`

const REMOVE = `set -e
W=$1; shift
${REMOVING}`

// What was there before the swap may be the only copy of it.
const DISCARD = `set -e
W=$1; shift
for folder in "$@"; do
  [ ! -e "$folder/$W/old" ] && [ ! -e "$folder/$W/in" ] || { echo "$folder/$W holds what was there before" >&2; exit 1; }
done
${REMOVING}`

const STATES = `W=$1; shift
for folder in "$@"; do
  if [ -d "$folder/$W/in" ] || { [ -d "$folder/$W/old" ] && [ ! -d "$folder/$W/new" ]; }; then echo swapped
  elif [ -d "$folder/$W/new" ]; then echo prepared; else echo nothing; fi
done`

const MEASURE = `set -e
W=$1; shift
for folder in "$@"; do
  cd -- "$folder"
  if [ -d "$W" ]; then du -s --block-size=1 -- "$W" | cut -f1; else echo 0; fi
done`

/**
 * Puts what was prepared in the place of what is there, by renames, in all places; what was there is kept as `old`.
 * Nothing may use them meanwhile. Safe to repeat, and to be called after `swapBack` was killed.
 * @throws CommandFailed when something was not prepared in one of them
 */
export const swapIn = async (ground: Ground, stamp: string, places: readonly Place[]): Promise<void> =>
  void (await run(ground, stamp, places, SWAP))

/**
 * The way back: what was there before the swap is in its place again; what had taken it is kept as `new`. Where
 * nothing was swapped it does nothing. Safe to repeat, and to be called after `swapIn` was killed.
 */
export const swapBack = async (ground: Ground, stamp: string, places: readonly Place[]): Promise<void> =>
  void (await run(ground, stamp, places, BACK))

/** Whether what belongs into each place lies prepared beside it, or in its place (perhaps only half). */
export async function states(
  ground: Ground,
  stamp: string,
  places: readonly Place[],
): Promise<('nothing' | 'prepared' | 'swapped')[]> {
  const lines = (await run(ground, stamp, places, STATES)).split('\n')
  return places.map((_, i) => {
    const state = lines[i]
    return state === 'prepared' || state === 'swapped' ? state : 'nothing'
  })
}

/**
 * Removes what was prepared. Safe to repeat.
 * @throws CommandFailed, and removes nothing, where a hidden folder holds what was there before a swap
 */
export const discardPrepared = async (
  ground: Ground,
  stamp: string,
  places: readonly Place[],
): Promise<void> => void (await run(ground, stamp, places, DISCARD))

/** Removes the hidden folders with all that they hold: there is no way back then. Safe to repeat. */
export const removeHidden = async (ground: Ground, stamp: string, places: readonly Place[]): Promise<void> =>
  void (await run(ground, stamp, places, REMOVE))

/** bytes on the disk that the hidden folders take, together. */
export async function hiddenBytes(ground: Ground, stamp: string, places: readonly Place[]): Promise<number> {
  const out = await run(ground, stamp, places, MEASURE)
  return out.split('\n').reduce((sum, line) => sum + Number(line), 0)
}

async function run(ground: Ground, stamp: string, places: readonly Place[], script: string): Promise<string> {
  if (places.length === 0) return ''
  // One that is gone would be made anew by mounting it.
  await inspectVolumes([...new Set(places.filter((p) => p.type === 'volume').map((p) => p.source))])
  return (await exec(onPlaces(ground, places, script, [hiddenFolder(stamp)]))).stdout
}

/** Ends and removes the containers that runs which are not alive any more left. The caller holds the stack's lock. */
export const removeLeft = (ground: Pick<Ground, 'purpose' | 'stackId'>): Promise<void> =>
  removeContainers(...labels(ground))
