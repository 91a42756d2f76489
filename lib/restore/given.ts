// Where there is no room to prepare beside what is there: that is removed first, while the stack is down, and given up
// (`--in-place`), or copied to another file system before (`--scratch DIR`).
import { CREATE, EXTRACT } from '../backup/helper.ts'
import type { Place } from '../place.ts'
import { exec, quoteAll } from '../shell.ts'
import { field } from '../throwaway.ts'
import { onPlaces, type Ground } from './ground.ts'

export interface Room {
  /** Another file system; without it what was there is given up. */
  readonly scratch?: string
  /** It is being removed, or was: from here on nothing is beside it any more. */
  readonly made: boolean
}

/** The folder in the scratch folder that holds the copy. */
export const scratchFolder = (stamp: string): string => `runbook-replaced-${stamp}`

const EMPTYING = `
for folder in "$@"; do ( cd -- "$folder"; find . -mindepth 1 -maxdepth 1 ! -name '.runbook-*' -exec rm -rf -- {} + ); done`

const EMPTY = `set -e
shift
${EMPTYING}`

// What tar could not read must not count as copied: a pipe tells only how its last command ended.
const COPIES = `set -e
S="/scratch/$1"; shift
copy() {
  rm -f -- "$S/unread"
  { tar --directory="$1" --create ${quoteAll(CREATE)} --sparse --anchored --exclude='./.runbook-*' --file=- . || : > "$S/unread"; } |
    tar --directory="$2" ${quoteAll(EXTRACT)} --file=-
  [ ! -e "$S/unread" ]
}
`

const SAVE = `${COPIES}
mkdir -p -m 700 -- "$S"; i=0
for folder in "$@"; do
  if [ ! -d "$S/$i" ]; then
    rm -rf -- "$S/$i.partial"; mkdir -- "$S/$i.partial"
    copy "$folder" "$S/$i.partial"
    sync -f "$S"; mv -- "$S/$i.partial" "$S/$i"
  fi
  i=$((i + 1))
done
sync -f "$S"`

const LOAD = `${COPIES}
i=0
for folder in "$@"; do [ -d "$S/$i" ]; i=$((i + 1)); done
${EMPTYING}
i=0
for folder in "$@"; do copy "$S/$i" "$folder"; i=$((i + 1)); sync -f "$folder"; done`

const FORGET = `set -e
rm -rf -- "/scratch/$1"`

/** Removes what is there; not what restores keep hidden. Safe to repeat. */
export const removeWhatIsThere = (ground: Ground, stamp: string, places: readonly Place[]): Promise<void> =>
  run(ground, stamp, places, EMPTY)

/** Copies what is there to the scratch folder, whole or not at all. Nothing may use it meanwhile. Safe to repeat. */
export const saveToScratch = (
  ground: Ground,
  stamp: string,
  places: readonly Place[],
  dir: string,
): Promise<void> => run(ground, stamp, places, SAVE, dir)

/** What was copied, in the place of whatever is there now. Safe to repeat. @throws when it is not in the folder */
export const loadFromScratch = (
  ground: Ground,
  stamp: string,
  places: readonly Place[],
  dir: string,
): Promise<void> => run(ground, stamp, places, LOAD, dir)

/** Removes the copy. Safe to repeat. */
export const forgetScratch = (ground: Ground, stamp: string, dir: string): Promise<void> =>
  run(ground, stamp, [], FORGET, dir)

async function run(
  ground: Ground,
  stamp: string,
  places: readonly Place[],
  script: string,
  dir?: string,
): Promise<void> {
  const mount = dir === undefined ? [] : [`--mount=type=bind,${field(`src=${dir}`)},dst=/scratch`]
  await exec(onPlaces(ground, places, script, [scratchFolder(stamp)], mount))
}
