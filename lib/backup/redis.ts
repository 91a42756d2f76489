// The Redis part of a set: a snapshot that was begun by this run, and ended well.
import { setTimeout as pause } from 'node:timers/promises'
import { sentence } from '../errors.ts'
import { redisCli, redisContainer, redisInfo } from '../redis.ts'
import { interruption } from '../shell.ts'
import type { Stack } from '../stack.ts'
import type { ArchiveWriter, Meta, Part } from './archive.ts'
import { tap, type Bytes } from './bytes.ts'
import { compress } from './gzip.ts'
import type { RedisRecord } from './manifest.ts'
import { output } from './output.ts'
import { rdbCheck, type RdbReport } from './rdb.ts'
import { END, header, padding, toBytes } from './tar.ts'
import { entries } from './untar.ts'
import { survey, type Tally } from './volume.ts'

const DEADLINE = 10 * 60_000 // ms for a save: some GB on a slow disk
const INTERVAL = 100 // ms between two questions

/** How the server keeps its data, and how much there is. */
export interface RedisState {
  readonly version: string
  /** Its folder, and the snapshot's file name in it. */
  readonly dir: string
  readonly file: string
  /** It starts from its append-only file and ignores the snapshot. */
  readonly appendOnly: boolean
  /** Logical databases that hold anything. */
  readonly databases: number
  readonly keys: number
  readonly expiring: number
}

/** Asks the server. Only reads. @throws as redisCli does */
export async function redisState(stack: Stack): Promise<RedisState> {
  const setting = async (name: string): Promise<string> => {
    const reply = await redisCli(stack, 'CONFIG', 'GET', name)
    return reply.slice(reply.indexOf('\n') + 1)
  }
  const { redis_version: version = '' } = await redisInfo(stack, 'server')
  const spaces = Object.entries(await redisInfo(stack, 'keyspace')).filter(([db]) => /^db\d+$/.test(db))
  const sum = (what: string): number =>
    spaces.reduce((n, [, text]) => n + Number(new RegExp(`${what}=(\\d+)`).exec(text)?.[1] ?? 0), 0)
  return {
    version,
    dir: await setting('dir'),
    file: await setting('dbfilename'),
    appendOnly: (await setting('appendonly')) === 'yes',
    databases: spaces.length,
    keys: sum('keys'),
    expiring: sum('expires'),
  }
}

/**
 * Has Redis save now and waits for it. Only a save that began after this call counts: one that was under way before
 * is waited for, and does not count.
 * @throws a sentence when the save fails or does not end within 10 minutes.
 */
export async function freshSnapshot(stack: Stack): Promise<{ savedAt: string }> {
  const deadline = Date.now() + DEADLINE
  const wait = async (): Promise<void> => {
    interruption.getStore()?.throwIfAborted()
    if (Date.now() > deadline) {
      throw new Error(`Redis has not finished saving after ${DEADLINE / 60_000} minutes.`)
    }
    await pause(INTERVAL)
  }
  const idle = async (): Promise<Readonly<Record<string, string>>> => {
    for (;;) {
      const info = await redisInfo(stack, 'persistence')
      if (info.loading === '1') throw new Error('Redis is still loading its data: it cannot save yet.')
      if (info.rdb_bgsave_in_progress === '0' && info.aof_rewrite_in_progress === '0') return info
      await wait()
    }
  }
  const before = await idle()
  // LASTSAVE counts whole seconds: only from the next one on can a newer save be told from the last.
  while ((await seconds(stack)) <= Number(before.rdb_last_save_time)) await wait()
  for (let begun = false; !begun;) {
    try {
      await redisCli(stack, 'BGSAVE')
      begun = true
    } catch (error) {
      // A save or a rewrite of the server's own was faster: it may have begun before this call.
      if (!/in progress/i.test(sentence(error))) {
        throw new Error(`Redis refuses to save: ${sentence(error)}`, { cause: error })
      }
      await idle()
    }
  }
  const after = await idle()
  if (after.rdb_last_bgsave_status !== 'ok') {
    throw new Error(
      `Redis could not save its snapshot (rdb_last_bgsave_status: ${after.rdb_last_bgsave_status}): ` +
        `is its disk full, or its memory? It may refuse writes until a save succeeds. ` +
        `docker logs --tail 20 ${redisContainer(stack).slice(0, 12)}`,
    )
  }
  if (Number(after.rdb_last_save_time) <= Number(before.rdb_last_save_time)) {
    throw new Error('Redis says that it has saved, but its last save is not newer (LASTSAVE).')
  }
  return { savedAt: new Date(Number(after.rdb_last_save_time) * 1000).toISOString() }
}

/** The server's own clock, in whole seconds. */
const seconds = async (stack: Stack): Promise<number> =>
  Number((await redisCli(stack, 'TIME')).split('\n')[0])

/**
 * Writes a fresh snapshot, alone as redis/redis_dump_<stamp>.rdb and, when Redis has a volume, as the one file of
 * volumes/<key>.tar.gz.
 * @throws a sentence when the save failed or what arrives is not a whole snapshot.
 */
export async function writeRedis(
  stack: Stack,
  archive: ArchiveWriter,
  {
    stamp,
    key,
    count,
  }: { stamp: string; key: string | undefined; count: (label: string, bytes: number) => void },
): Promise<{ record: RedisRecord; volume?: Tally & { part: string } }> {
  const { savedAt } = await freshSnapshot(stack)
  const { version, dir, file, appendOnly, databases, ...counted } = await redisState(stack)
  const { rdb, meta, report } = await copySnapshot(
    stack,
    `${dir.replace(/\/$/, '')}/${file}`,
    stamp,
    archive,
    count,
  )
  // With more than one database in use only the server knows the sum.
  const held = databases <= 1 ? report.first : undefined
  const record = {
    version,
    rdbVersion: report.version,
    ...(held ?? counted),
    exact: held !== undefined,
    appendOnly,
    dir,
    file,
    savedAt,
  }
  if (key === undefined) return { record }
  let tally: Tally | undefined
  const inner = survey(
    snapshotTar(file, meta, rdb.bytes, archive.readBack(rdb)),
    'refuse',
    (t) => (tally = t),
  )
  const part = await archive.file(`volumes/${toBytes(key)}.tar.gz`, compress(inner), { packed: true })
  if (!tally) throw new Error('Redis: its volume was not written to the end.')
  return { record, volume: { ...tally, part: part.name } }
}

async function copySnapshot(
  stack: Stack,
  path: string,
  stamp: string,
  archive: ArchiveWriter,
  count: (label: string, bytes: number) => void,
): Promise<{ rdb: Part; meta: Meta; report: RdbReport }> {
  const check = rdbCheck()
  // A tar stream with one entry: it says owner and size before the content, and takes the path as it is.
  const copy = output({ words: ['docker', 'cp', `${redisContainer(stack)}:${path}`, '-'] })
  let found: { rdb: Part; meta: Meta } | undefined
  for await (const { type, mode, uid, gid, mtime, body } of entries(copy)) {
    if (found || type !== 'file') throw new Error(`Redis: ${path} is not one file.`)
    const seen = tap(body, (piece) => {
      check.see(piece)
      count('Redis', piece.length)
    })
    const rdb = await archive.file(`redis/redis_dump_${stamp}.rdb`, seen)
    found = { rdb, meta: { mode, uid, gid, mtime } }
  }
  if (!found) throw new Error(`Redis: there is no ${path} in its container.`)
  return { ...found, report: check.end() }
}

async function* snapshotTar(file: string, meta: Meta, size: number, content: Bytes): Bytes {
  yield header({ ...meta, name: `./${toBytes(file)}`, type: 'file', size, target: '' })
  yield* content
  yield padding(size)
  yield END
}
