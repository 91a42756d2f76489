// What an operator did before there was this tool: the procedure of the guide's script, each part one after the other,
// and everything compressed a second time at the end.
import { cp, mkdir, open } from 'node:fs/promises'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { MongoClient } from 'mongodb'
import { unwrap } from '../../lib/backup/bson.ts'
import { catalogue, fileName, findAll, rawBatches, storedAs } from '../../lib/backup/catalogue.ts'
import { attempt, run } from '../stack/machine/command.ts'
import type { Machine } from '../stack/machine/machine.ts'
import type { Stack } from '../stack/stack.ts'

const POLL = 100 // ms
const DEADLINE = 60_000 // ms for Redis to save

export interface Subject {
  readonly stack: Stack
  readonly machine: Machine
  readonly client: MongoClient
  /** The volumes that hold files. */
  readonly volumes: readonly { readonly key: string; readonly name: string }[]
}

/** Makes a backup in a folder that does not exist, and gives the archive's path. @throws Error when a part fails */
export async function olderProcedure(subject: Subject, folder: string): Promise<string> {
  const { stack, machine, volumes } = subject
  const set = join(folder, 'set')
  for (const part of ['volumes', 'database', 'redis', 'config'])
    await mkdir(join(set, part), { recursive: true })
  for (const { key, name } of volumes) {
    const mounts = ['--volume', `${name}:/v:ro`, '--volume', `${join(set, 'volumes')}:/out`]
    const tar = ['tar', 'czf', `/out/${key}.tar.gz`, '-C', '/v', '.']
    await stack.docker('run', '--rm', '--label', `rehearsal=${stack.id}`, ...mounts, machine.base, ...tar)
  }
  await dump(subject, join(set, 'database'))
  await saveRedis(stack, join(set, 'redis', 'dump.rdb'))
  for (const file of ['docker-compose.yml', '.env'])
    await cp(join(stack.dir, file), join(set, 'config', file))
  const archive = join(folder, 'backup.tar.gz')
  await run('tar', ['czf', archive, '-C', folder, 'set'])
  return archive
}

/** Whether the database's image has mongodump. */
export async function hasMongodump(stack: Stack, { docker }: Machine): Promise<boolean> {
  const words = ['exec', stack.container('database'), 'mongodump', '--version']
  return (await attempt(docker, words, { env: stack.env })).ok
}

/** Dumps the database into a folder, uncompressed: with mongodump, or with our reader where there is none. */
async function dump({ stack, machine, client }: Subject, folder: string): Promise<void> {
  if (await hasMongodump(stack, machine)) return mongodump(stack, machine, join(folder, 'dump.archive'))
  for (const collection of await catalogue(client)) {
    if (collection.type === 'view') continue
    const file = await open(join(folder, `${collection.db}.${fileName(collection.name)}.bson`), 'wx')
    try {
      for await (const batch of rawBatches(client.db(collection.db), findAll(storedAs(collection))))
        await file.writeFile(unwrap(batch, () => {}))
    } finally {
      await file.close()
    }
  }
}

/** Runs the image's own mongodump into a file. @throws Error with its exit code */
export async function mongodump(stack: Stack, { docker }: Machine, path: string): Promise<void> {
  const file = await open(path, 'wx')
  try {
    const words = ['exec', stack.container('database'), 'mongodump', '--quiet', '--archive']
    const child = spawn(docker, words, { env: stack.env, stdio: ['ignore', file.fd, 'inherit'] })
    const [code] = (await once(child, 'close')) as [number | null]
    if (code !== 0) throw new Error(`mongodump ended with exit code ${code}.`)
  } finally {
    await file.close()
  }
}

async function saveRedis(stack: Stack, to: string): Promise<void> {
  const redis = stack.container('redis')
  const cli = (...words: string[]): Promise<string> => stack.docker('exec', redis, 'redis-cli', ...words)
  await cli('BGSAVE')
  for (const end = performance.now() + DEADLINE; ; await delay(POLL)) {
    if ((await cli('INFO', 'persistence')).includes('rdb_bgsave_in_progress:0')) break
    if (performance.now() > end) throw new Error(`Redis has not saved within ${DEADLINE / 1000} s.`)
  }
  await stack.docker('cp', `${redis}:/data/dump.rdb`, to)
}
