// Puts a benchmark's data into a running stack.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Document, MongoClient } from 'mongodb'
import { END, header, padding } from '../../lib/backup/tar.ts'
import type { Machine } from '../stack/machine/machine.ts'
import type { Stack } from '../stack/stack.ts'
import { DOCUMENT, documents, files, type Made } from './data.ts'

const APP = { uid: 1001, gid: 1001 } // the user that the applications run as
const SEED = 1
const BATCH = 5_000 // documents: about 4 MB
const WRITERS = 3 // batches on their way at once

/**
 * Writes so many bytes of files into the volumes, and gives their number. A tar in a container does it, so that owners
 * are right whoever we are.
 * @throws Error with what tar said when it fails
 */
export async function fillVolumes(stack: Stack, { docker, base }: Machine, bytes: number): Promise<number> {
  const made = [...files(bytes, SEED)]
  const volumes = [...new Set(made.map((f) => f.volume))]
  const mounts = volumes.flatMap((key) => ['--volume', `${stack.project}_${key}:/volumes/${key}`])
  const about = ['run', '--rm', '--interactive', '--network', 'none', '--label', `rehearsal=${stack.id}`]
  const words = [...about, ...mounts, base, 'tar', '--extract', '--directory', '/volumes']
  const child = spawn(docker, words, { env: stack.env, stdio: ['pipe', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const ended = once(child, 'close')
  await pipeline(Readable.from(tar(made)), child.stdin).catch((error: unknown) => (stderr += String(error)))
  const [code] = (await ended) as [number | null]
  if (code !== 0) throw new Error(`The volumes could not be filled (exit code ${code}).\n${stderr}`)
  return made.length
}

function* tar(made: readonly Made[]): Generator<Buffer> {
  for (const { volume, path, bytes, content } of made) {
    const name = `${volume}/${path}`
    yield header({ name, type: 'file', size: bytes, mode: 0o644, ...APP, mtime: '1760882826', target: '' })
    yield* content()
    yield padding(bytes)
  }
  yield END
}

/** Inserts messages of so many bytes together into a collection of their own, and gives their number. */
export async function fillDatabase(client: MongoClient, bytes: number): Promise<number> {
  const collection = client.db('meeshy').collection('BenchMessage')
  const source = documents(Math.ceil(bytes / DOCUMENT), SEED)
  let inserted = 0
  const write = async (): Promise<void> => {
    for (let batch = take(source, BATCH); batch.length > 0; batch = take(source, BATCH)) {
      const { insertedCount } = await collection.insertMany(batch, { ordered: false })
      inserted += insertedCount
    }
  }
  await Promise.all(Array.from({ length: WRITERS }, write))
  return inserted
}

function take(source: Iterator<Document>, most: number): Document[] {
  const taken: Document[] = []
  while (taken.length < most) {
    const next = source.next()
    if (next.done) break
    taken.push(next.value)
  }
  return taken
}
