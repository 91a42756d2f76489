// What is seen from inside a Docker network: a script in a throw-away container that is on this network alone.
//
// The script is bash, since a database's image has that, and neither nc nor curl: `/dev/tcp` is bash's own. What others
// say comes out in base64, so that no byte of it is ever part of a line.
import { labels } from '../restore/ground.ts'
import { exec, type Command } from '../shell.ts'
import { throwAwayOn, type OwnImage } from '../throwaway.ts'

/** An address to connect to, over TCP. */
export interface Target {
  readonly ip: string
  readonly port: number
}

/** How a connection went. `silent`: nothing came back in time, as behind a firewall that drops. */
export type State = 'open' | 'refused' | 'unreachable' | 'silent'

/** What became of one target. */
export interface Try {
  readonly state: State
  /** What it said by itself. */
  readonly greeting: Buffer
  /** What it said to a line of HTTP; empty when it had greeted. */
  readonly answer: Buffer
  /** What it said to PostgreSQL's question for TLS; empty when it had said anything before. */
  readonly postgres: Buffer
}

/** What there is in the network, besides the targets. */
export interface Inside {
  readonly tries: readonly Try[]
  /** /proc/net/route and /proc/net/ipv6_route of the container. */
  readonly routes: { readonly ipv4: string; readonly ipv6: string }
  /** What a name that only a name server elsewhere knows resolves to; empty when it does not. */
  readonly resolved: readonly string[]
}

/**
 * One target: its words are address, port, and `talk` when it is to be listened to. A mail relay greets at once, so
 * a second is long. Two reads each: whoever speaks byte by byte is read on until the second is over.
 */
const ONE = String.raw`
trap '' PIPE
exec 3<>"/dev/tcp/$1/$2" || exit 9
printf 'open '
exec 2>/dev/null
[ "$3" = talk ] || exit 0
hear() { timeout 1 dd bs=300 count=2 <&3 | base64 -w0; }
greeting=$(hear) answer=
if [ -z "$greeting" ]; then
  printf 'GET / HTTP/1.0\r\n\r\n' >&3
  answer=$(hear)
fi
printf '.%s .%s .' "$greeting" "$answer"
if [ -z "$greeting$answer" ]; then
  exec 3>&-
  exec 3<>"/dev/tcp/$1/$2" || exit 0
  printf '\0\0\0\10\4\322\26\57' >&3
  hear
fi
`

/** All targets at once, a hundred at a time; a name; the routes. Each line of its output begins with what it is. */
const ALL = String.raw`
set -u
one=$1 mode=$2 name=$3
shift 3
for p in timeout dd base64 getent; do
  command -v "$p" >/dev/null || { echo "The image has no program $p." >&2; exit 3; }
done
printf 'ipv4 %s\n' "$(base64 -w0 </proc/net/route)"
[ ! -e /proc/net/ipv6_route ] || printf 'ipv6 %s\n' "$(base64 -w0 </proc/net/ipv6_route)"
if [ -n "$name" ]; then
  ( said=$(timeout 5 getent ahosts "$name" 2>&1); code=$?
    printf 'name %s %s\n' "$code" "$(printf %s "$said" | base64 -w0)" ) &
fi
i=0
while [ $# -gt 0 ]; do
  ( said=$(timeout 5 bash -c "$one" bash "$1" "$2" "$mode" 2>&1); code=$?
    printf 'try %s %s %s\n' "$i" "$code" "$(printf %s "$said" | base64 -w0)" ) &
  i=$((i + 1))
  shift 2
  [ $((i % 100)) -ne 0 ] || wait
done
wait
`

/**
 * Looks from inside a network, given by its id: about 5 s for each hundred targets, mostly less.
 * @param talk whether targets that accept a connection are listened to.
 * @param name is looked up when it is not empty.
 * @throws Error when the container cannot run, or leaves any question without an answer that is understood: nothing
 *   is taken for out of reach because the question was not put.
 */
export async function lookInside(
  network: { readonly id: string; readonly name: string },
  image: OwnImage,
  stackId: string,
  targets: readonly Target[],
  { talk = false, name = '' }: { talk?: boolean; name?: string } = {},
): Promise<Inside> {
  const words = targets.flatMap(({ ip, port }) => [ip, String(port)])
  const command = inNetwork(network, image, stackId, ALL, ONE, talk ? 'talk' : 'connect', name, ...words)
  const { stdout } = await exec(command)
  return readInside(stdout, targets, name)
}

const MEMORY = '512m'

/** A bash script in a container that is on one network alone and may do nothing but connect. */
function inNetwork(
  { id, name }: { readonly id: string; readonly name: string },
  image: OwnImage,
  stackId: string,
  script: string,
  ...words: readonly string[]
): Command {
  const ours = labels({ purpose: 'staging', stackId }).map((l) => `--label=${l}`)
  const shut = ['--userns=host', '--cap-drop=ALL', '--security-opt=no-new-privileges', '--user=65534:65534']
  const plain = [`--memory=${MEMORY}`, '--log-driver=none', '--env=LC_ALL=C', '--env=BASH_ENV=']
  // What a name server does not answer must not take longer than the rest.
  const quick = '--env=RES_OPTIONS=timeout:2 attempts:1'
  const options = [...shut, ...plain, quick, ...ours]
  return {
    ...throwAwayOn(id, image, options, 'bash', '-c', script, 'bash', ...words),
    brief: `docker run … (a script of the runbook's in the network ${name})`,
  }
}

/**
 * Reads what the script printed. The last field of each line is base64 and everything in it hostile.
 * @throws Error when a question has no answer, or one that is not known.
 */
export function readInside(output: string, targets: readonly Target[], name: string): Inside {
  const tries = new Map<number, Try>()
  const routes = { ipv4: '', ipv6: '' }
  let resolved: string[] | undefined
  for (const line of output.split('\n').filter(Boolean)) {
    const [what = '', ...fields] = line.split(' ')
    const text = Buffer.from(fields.at(-1) ?? '', 'base64').toString('latin1')
    const code = Number(fields.at(-2))
    if (what === 'ipv4' || what === 'ipv6') routes[what] = text
    else if (what === 'name') resolved = addressesOf(code, text, name)
    else if (what === 'try') {
      const i = Number(fields[0])
      const target = targets[i]
      if (target) tries.set(i, tryOf(code, text, target))
    }
  }
  const all = targets.map(({ ip, port }, i) => {
    const found = tries.get(i)
    if (!found)
      throw new Error(`It is not known whether ${ip}:${port} can be reached: the script said nothing.`)
    return found
  })
  if (routes.ipv4 === '') throw new Error('The routes of a container in the network could not be read.')
  if (name !== '' && !resolved)
    throw new Error(`It is not known whether ${name} resolves: the script said nothing.`)
  return { tries: all, routes, resolved: resolved ?? [] }
}

const KILLED = 124 // timeout's own exit code
const NOTHING = Buffer.alloc(0)

/** What bash says when it cannot connect, in the C locale. */
const STATES: readonly (readonly [RegExp, State])[] = [
  [/connection refused/i, 'refused'],
  [
    /unreachable|no route to host|cannot assign requested address|not supported by protocol|not permitted|permission denied/i,
    'unreachable',
  ],
  [/timed out/i, 'silent'],
]

function tryOf(code: number, said: string, { ip, port }: Target): Try {
  const nothing = { greeting: NOTHING, answer: NOTHING, postgres: NOTHING }
  if (said.startsWith('open ')) {
    // Whoever was cut off while it listened has connected all the same.
    const [, greeting = NOTHING, answer = NOTHING, postgres = NOTHING] = said.split(' ').map(bytesOf)
    return { state: 'open', greeting, answer, postgres }
  }
  if (code === KILLED) return { state: 'silent', ...nothing }
  const state = STATES.find(([pattern]) => pattern.test(said))?.[1]
  if (state) return { state, ...nothing }
  throw new Error(`It is not known whether ${ip}:${port} can be reached: exit code ${code}, ${said.trim()}`)
}

/** A field begins with a dot, so that an empty one is one, too. */
const bytesOf = (field: string): Buffer => Buffer.from(field.slice(1), 'base64')

const NOT_FOUND = 2 // getent's exit code

function addressesOf(code: number, said: string, name: string): string[] {
  if (code === NOT_FOUND || code === KILLED) return []
  if (code !== 0)
    throw new Error(`It is not known whether ${name} resolves: exit code ${code}, ${said.trim()}`)
  return [...new Set(said.split('\n').flatMap((l) => /^\S+/.exec(l)?.[0] ?? []))]
}
