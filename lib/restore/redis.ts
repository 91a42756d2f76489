// Redis of a set, prepared beside the files of the live one: the snapshot loaded by a helper Redis, its keys counted,
// and for a server that starts from its append-only file such a file made of it, by Redis itself.
import { setTimeout as delay } from 'node:timers/promises'
import { readPart } from '../backup/archive.ts'
import type { Manifest, RedisRecord } from '../backup/manifest.ts'
import type { Place } from '../place.ts'
import { exec, interruption } from '../shell.ts'
import { answers, dataIn, SOCKET, startAside, type Aside } from './engine.ts'
import { onPlaces, type Ground } from './ground.ts'
import { hiddenFolder } from './hidden.ts'
import { feed, keep, makeEmpty } from './volume.ts'

const REWRITE = 30 * 60_000 // ms: some GB on a slow disk
const POLL = 200 // ms

/** How the server runs that will use the files. */
export interface RedisSettings {
  /** It starts from its append-only file and ignores the snapshot. */
  readonly appendOnly: boolean
  /** Names of its files. */
  readonly dbfilename: string
  readonly appendfilename: string
  readonly appenddirname: string
}

// The snapshot is the owner's of the folder, as the server itself would have written it.
const WRITE = `set -e
cd -- "$3/$1/new.partial"; cat > "$2"; chmod 600 -- "$2"; chown --reference=. -- "$2"; sync "$2"`

/** Prepares the Redis of a set at a place. @throws a sentence when it does not become what was saved */
export async function prepareRedis(
  ground: Ground,
  stamp: string,
  place: Place,
  settings: RedisSettings,
  { path, manifest }: { readonly path: string; readonly manifest: Manifest },
): Promise<void> {
  const name = `redis/redis_dump_${manifest.stamp}.rdb`
  const part = manifest.parts.find((p) => p.name === name)
  if (!part) throw new Error(`The set holds no ${name}.`)
  const user = await makeEmpty(ground, stamp, place)
  const { dbfilename } = settings
  const write = onPlaces(ground, [place], WRITE, [hiddenFolder(stamp), dbfilename], ['--interactive'])
  await feed(write, readPart(path, part))
  await withRedis(ground, stamp, place, user, settings, async (aside) => {
    const wrong = unequalKeys(await keysOf((...words) => ask(aside, ...words)), manifest.redis)
    if (wrong !== undefined) throw new Error(wrong)
    if (settings.appendOnly) await makeAppendOnly(aside)
  })
  await keep(ground, stamp, place)
}

async function withRedis(
  ground: Ground,
  stamp: string,
  place: Place,
  user: string,
  { dbfilename, appendfilename, appenddirname }: RedisSettings,
  work: (aside: Aside) => Promise<void>,
): Promise<void> {
  const options = {
    port: '0',
    unixsocket: `${SOCKET}/redis.sock`,
    unixsocketperm: '777',
    dir: dataIn(place, stamp),
    dbfilename,
    save: '',
    appendonly: 'no',
    appendfilename,
    logfile: `${SOCKET}/log`,
    daemonize: 'no',
    // Redis before 7 has no folder for it, and no such setting.
    ...(appenddirname !== '' && { appenddirname }),
  }
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
  const image = ground.redis
  const aside = await startAside(ground, { image, place, stamp, user, words: ['redis-server', ...words] })
  try {
    await answers(aside, async () => {
      const info = await ask(aside, 'INFO', 'persistence')
      if (!/^loading:0/m.test(info)) throw new Error('it is still loading')
    })
    await work(aside)
    await ask(aside, 'SHUTDOWN', 'NOSAVE')
    const code = await aside.ended
    if (code !== 0)
      throw new Error(`The Redis that prepares the data ended with code ${code}:\n${aside.log()}`)
  } finally {
    await aside.end()
  }
}

async function ask({ id }: Aside, ...words: readonly string[]): Promise<string> {
  const cli = ['redis-cli', '-e', '-s', `${SOCKET}/redis.sock`]
  const { stdout, stderr, exitCode } = await exec(
    { words: ['docker', 'exec', id, ...cli, ...words] },
    { anyCode: true },
  )
  if (exitCode === 0 || words[0] === 'SHUTDOWN') return stdout
  throw new Error(
    `The Redis that prepares the data answers to ${words[0]}: ${stderr.trim() || stdout.trim()}`,
  )
}

/** Has Redis write its append-only file from what it holds, and waits for it. */
async function makeAppendOnly(aside: Aside): Promise<void> {
  await ask(aside, 'CONFIG', 'SET', 'appendonly', 'yes')
  for (const deadline = performance.now() + REWRITE; ; await delay(POLL)) {
    interruption.getStore()?.throwIfAborted()
    const info = await ask(aside, 'INFO', 'persistence')
    const value = (name: string): string | undefined => new RegExp(`^${name}:(\\w+)`, 'm').exec(info)?.[1]
    if (value('aof_rewrite_in_progress') === '0' && value('aof_rewrite_scheduled') === '0') {
      if (value('aof_enabled') === '1' && value('aof_last_bgrewrite_status') === 'ok') return
      throw new Error(`Redis could not write its append-only file:\n${aside.log()}`)
    }
    if (performance.now() > deadline)
      throw new Error(`Redis has not written its append-only file after ${REWRITE / 60_000} minutes.`)
  }
}

/** Keys, and those of them that expire, of all databases. `ask` is redis-cli. */
export async function keysOf(
  ask: (...words: string[]) => Promise<string>,
): Promise<{ keys: number; expiring: number }> {
  const info = await ask('INFO', 'keyspace')
  const sum = (what: string): number =>
    [...info.matchAll(new RegExp(`^db\\d+:.*\\b${what}=(\\d+)`, 'gm'))].reduce((n, m) => n + Number(m[1]), 0)
  return { keys: sum('keys'), expiring: sum('expires') }
}

/** What is not as in the set; undefined when all keys are there that do not expire by themselves. */
export function unequalKeys(
  is: { readonly keys: number; readonly expiring: number },
  was: RedisRecord,
): string | undefined {
  if (!was.exact) return undefined
  const [found, saved] = [is.keys - is.expiring, was.keys - was.expiring]
  return found === saved ? undefined : `Redis: ${found} keys that do not expire instead of ${saved}`
}
