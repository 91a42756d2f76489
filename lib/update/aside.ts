// An engine's files, kept aside while a new version of it starts on them: the way back through a one-way door.
//
// The copy lies in a hidden folder beside the files themselves, in the same volume. It is made and put back by renames
// that can be repeated: killed at any moment, the same call goes on. The engine must not run meanwhile.
import { size } from '../backup/bytes.ts'
import { inspectImage } from '../docker.ts'
import { mountOf, placeOf, type Place } from '../place.ts'
import { exec } from '../shell.ts'
import { service, type Stack } from '../stack.ts'
import { throwAway } from '../throwaway.ts'
import type { Engine } from '../engines.ts'

/** Where an engine's files are, and where their copy is or will be. */
export interface Aside extends Place {
  readonly service: string
  /** Id of the image that ran: it has the tools, and needs nothing from elsewhere. */
  readonly image: string
  /** The copy's name in that folder; it exists when the copy is whole. */
  readonly copy: string
  /** What a new version has written is kept under this name. */
  readonly failed: string
}

/** Where the copy of an engine's files goes. @throws Error when they lie in no mount */
export function placeAside(stack: Stack, { service: name, dir }: Engine, stamp: string): Aside {
  const { container } = service(stack, name)
  if (!container) throw new Error(`${name} has no container: its files cannot be kept aside.`)
  return {
    ...placeOf(stack, name, dir),
    service: name,
    image: container.Image,
    copy: `.runbook-before-${stamp}`,
    failed: `.runbook-failed-${stamp}`,
  }
}

// Each name but ours, whatever it looks like; and one rename after the other, so that a killed one can go on.
const EACH = `
each() { for f in * .[!.]* ..?*; do
  case "$f" in .runbook-*) continue ;; esac
  if [ -e "$f" ] || [ -L "$f" ]; then "$@" "$f"; fi
done; }`

const MEASURE = `cd -- "$1" && du -sk . && df -Pk .`

const COPY = `set -e
${EACH}
cd -- "$1"; [ -d "$2" ] && exit 0
rm -rf -- "$2.partial"; mkdir -m 700 -- "$2.partial"
into() { cp -a -- "$1" "$P/"; }
P="$2.partial"; each into
sync; mv -- "$2.partial" "$2"`

const PUT_BACK = `set -e
${EACH}
cd -- "$1"
if [ -d "$2" ]; then
  mkdir -p -m 700 -- "$3"
  away() { mv -- "$1" "$F/"; }
  F="$3"; each away
  sync; mv -- "$2" "$2.back"
fi
if [ -d "$2.back" ]; then
  up() { mv -- "$1" ..; }
  cd -- "$2.back"; each up
  cd ..; rmdir -- "$2.back"; sync
fi`

// Renamed first: half a copy must never be taken for a whole one.
const REMOVE = `set -e
cd -- "$1"; rm -rf -- "$2.gone" "$2.partial"
[ ! -d "$2" ] || mv -- "$2" "$2.gone"
rm -rf -- "$2.gone"`

/**
 * bytes that the copy needs, and bytes that are free for it; with what a copy that is there already has taken.
 * @throws Error when there is too little, with the numbers
 */
export async function checkAside(aside: Aside): Promise<number> {
  const [used, ...free] = (await run(aside, MEASURE)).split('\n').filter(Boolean)
  const needed = Number(used?.split(/\s/)[0]) * 1024
  const available = Number(free.at(-1)?.trim().split(/\s+/)[3]) * 1024
  if (!(needed * 1.05 < available)) {
    throw new Error(
      `${aside.service}: its files must be kept aside while the new version starts on them; that needs ${size(needed)}, free are ${size(available)}`,
    )
  }
  return needed
}

/** Copies an engine's files aside, whole or not at all. Safe to repeat. */
export const copyAside = async (aside: Aside): Promise<void> => void (await run(aside, COPY))

/** The files as they were, if a whole copy is there; what lies in their place now is kept under `failed`. Safe to repeat. */
export const putBackAside = async (aside: Aside): Promise<void> => void (await run(aside, PUT_BACK))

/** Removes the copy, whole or half. Safe to repeat. */
export const removeAside = async (aside: Aside): Promise<void> => void (await run(aside, REMOVE))

async function run(aside: Aside, script: string): Promise<string> {
  const { image, folder, copy, failed } = aside
  const volumes = (await inspectImage(image))?.Config.Volumes
  const words = ['-c', script, 'sh', `/runbook/${folder}`, copy, failed]
  const options = ['--user=0:0', mountOf(aside, '/runbook')]
  const command = throwAway({ id: image, volumes }, options, 'sh', ...words)
  return (await exec(command)).stdout
}
