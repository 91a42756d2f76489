// The act in which everything is lost and comes back: a drill, damage, a restore, its proof, and a restore that is
// interrupted while the stack is down.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import { loadConfig, ROOT } from '../../lib/env.ts'
import { countDocuments, losses } from '../../lib/sentinel.ts'
import { readStack, type Stack as Seen } from '../../lib/stack.ts'
import { changedVolumes, mountedVolumes } from '../../lib/volumes.ts'
import type { Stack } from '../stack/stack.ts'
import type { Tool } from '../stack/tool.ts'
import type { Writer } from '../stack/writer.ts'
import { chapter, proven, task, type } from './telling.ts'

const STAMP = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '_')
const SET = `pre-update-${STAMP}`

/** Chapters from `first` on. The writer has stopped; what it wrote must all be there again. */
export async function restoreAct(stack: Stack, tool: Tool, writer: Writer, first: number): Promise<void> {
  const look = (): Promise<Seen> => readStack(loadConfig(tool.envFile))
  const before = await look()
  const [volumes, documents] = [await mountedVolumes(before), await countDocuments(before)]

  chapter(
    first,
    'A backup, and a drill that proves it',
    'The set is restored in throw-away containers without a network, and everything in it compared.',
  )
  const made = await type(stack, script('auto-backup', tool, '--stamp', STAMP))
  assert.equal(made, 0, 'the backup must be sealed')
  assert.equal(await task(stack, tool, 'drill', '--', SET), 0, 'the set must be proven')

  chapter(
    first + 1,
    'The accident',
    'Every upload is deleted, the collection of messages is dropped, Redis is flushed.',
  )
  await stack.docker('exec', '-u', '0', stack.container('gateway'), 'sh', '-c', 'rm -rf /app/uploads/*')
  await stack.docker('exec', stack.container('redis'), 'redis-cli', 'FLUSHALL')
  const client = await new MongoClient(await stack.mongoUrl()).connect()
  await client.db('meeshy').collection('Message').drop()
  await client.close()
  const damaged = await writer.check()
  assert.ok(damaged.lost.length > 0, 'the damage must be seen')
  proven(`of ${damaged.checked} acknowledged writes ${damaged.lost.length} are gone`)

  chapter(
    first + 2,
    'task restore',
    'Everything is prepared and compared beside what is there; the stack is down for stop, renames and start alone.',
  )
  assert.equal(await task(stack, tool, 'restore', '--', SET, '--confirm', SET), 0, 'the restore must succeed')
  const check = await writer.check()
  assert.deepEqual([check.lost, check.wrong], [[], []])
  proven(`all ${check.checked} acknowledged writes are there again`)
  const after = await look()
  assert.deepEqual(losses(documents, await countDocuments(after)), [])
  assert.deepEqual(changedVolumes(volumes, await mountedVolumes(after)), [])
  proven('every collection has its documents, in the same volumes')
  assert.equal(await task(stack, tool, 'restore', '--', '--commit', '--confirm', SET), 0)

  chapter(
    first + 3,
    'A restore that is interrupted in its middle',
    'Somebody presses Ctrl-C while the stack is down: what was there before must come back by itself.',
  )
  const ended = await type(stack, script('restore', tool, SET, '--confirm', SET), async (run) => {
    while (!/Start the engines/.test(run.printed())) await delay(20)
    process.kill(run.pid, 'SIGINT')
  })
  assert.equal(ended, 130, 'an interrupted restore ends with 130, when it could be taken back')
  assert.equal(await task(stack, tool, 'health'), 0)
  const still = await writer.check()
  assert.deepEqual([still.lost, still.wrong], [[], []])
  proven('what was there before is there, healthy, and nothing of it is lost')
}

const script = (name: string, { envFile }: Tool, ...words: string[]): [string, ...string[]] => [
  process.execPath,
  '--import',
  'tsx',
  join(ROOT, 'scripts', `${name}.ts`),
  '--env',
  envFile,
  ...words,
]
