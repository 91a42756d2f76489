// Writes a set aside: MongoDB first, then Redis, then the files. An orphan file is harmless, a dangling reference is
// not.
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { makeFolder } from '../files.ts'
import { connectMongo } from '../mongo.ts'
import { readContainers, runningWriters, type Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { createArchive, rootOf, type ArchiveWriter } from './archive.ts'
import { countedTar, layerTar, type LayerFinding, type LayerTally } from './layer.ts'
import { once, size, tap } from './bytes.ts'
import { writeConfig } from './config.ts'
import { composeHash, serviceRecords, suspicions, toolVersion } from './facts.ts'
import { compress } from './gzip.ts'
import { removeHelpers } from './helper.ts'
import { writeVolume } from './live.ts'
import { metadataText, type LayerRecord, type LeftOut, type Manifest, type VolumeRecord } from './manifest.ts'
import { writeMongo } from './mongodb.ts'
import { progress, type Report } from './progress.ts'
import { writeRedis } from './redis.ts'
import { restoreGuide } from './guide.ts'
import { partialOf, partialPath, SEAL, setPath } from './seal.ts'
import { newestGood } from './sets.ts'
import type { Sources, VolumeIdentity } from './sources.ts'
import { spaceGuard } from './space.ts'
import type { Tally } from './volume.ts'
import { withLongWindow } from './window.ts'

type Count = (label: string, bytes: number) => void

interface Writing {
  readonly stamp: string
  /** Containers' own files that the set must hold. */
  readonly layers?: readonly Pick<LayerFinding, 'service' | 'container' | 'roots'>[]
  readonly doing: Pick<Doing, 'say' | 'progress' | 'effect'>
}

/**
 * Writes BACKUP_DIR/pre-update-<stamp>.tar.gz.<STACK_ID>.partial, 0600 in a folder that is made 0700, and returns
 * its path. The caller holds the stack's lock. Whatever fails, the unfinished file is removed.
 * @throws a sentence that says what could not be read, or that the disk is full.
 */
export async function writeSet(
  stack: Stack,
  sources: Sources,
  { stamp, doing, layers = [] }: Writing,
): Promise<string> {
  const report = (text: string): void => doing.progress(text)
  const { BACKUP_DIR, STACK_ID } = stack.config
  privateFolder(BACKUP_DIR, (text) => doing.say(text))
  const final = setPath(BACKUP_DIR, stamp)
  const partial = partialPath(final, STACK_ID)
  if (existsSync(final)) throw new Error(`${final} exists already: a set is never replaced.`)
  const other = readdirSync(BACKUP_DIR)
    .map(partialOf)
    .find((p) => p?.set === basename(final))
  if (other && other.stackId !== STACK_ID) {
    throw new Error(
      `The stack '${other.stackId}' is writing a set of the same name. Give each stack a BACKUP_DIR of its own, or ` +
        `another minute.`,
    )
  }
  await removeHelpers(stack)
  const archive = await createArchive(partial, rootOf(stamp))
  try {
    await writeParts(stack, sources, archive, { stamp, doing, layers })
    await archive.close()
    report(`written: ${partial}, ${size(archive.size())}`)
    return partial
  } catch (error) {
    await archive.close()
    rmSync(partial, { force: true })
    rmSync(partial + SEAL, { force: true })
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    throw new Error(
      `The disk of ${BACKUP_DIR} has become full, or nearly so, after ${size(archive.size())} of the set. The unfinished file was ` +
        `removed; nothing else was changed. Make room there (ls -lh ${BACKUP_DIR}) and start again.`,
      { cause: error },
    )
  }
}

/** Makes the folder 0700. One that is there already stays as it is: it may be somebody's /tmp. */
function privateFolder(dir: string, report: Report): void {
  const made = makeFolder(dir)
  const { mode } = statSync(dir)
  if (!made && mode & 0o077) {
    report(
      `${dir} can be entered by others (${(mode & 0o777).toString(8)}); the sets in it cannot be read. chmod 700 ${dir}`,
    )
  }
}

async function writeParts(
  stack: Stack,
  sources: Sources,
  archive: ArchiveWriter,
  { stamp, doing, layers = [] }: Writing,
): Promise<void> {
  const report = (text: string): void => doing.progress(text)
  const started = new Date().toISOString()
  const { BACKUP_DIR, STACK_ID: stackId } = stack.config
  const shown = progress(report, 'reading', sources.bytes)
  const guard = spaceGuard(BACKUP_DIR)
  const count: Count = (label, bytes) => {
    shown(label, bytes)
    guard(bytes)
  }
  const quiet = runningWriters(stack).length === 0
  const times = { mongodb: started, redis: '', files: '' }
  const { record: mongodb, shape } = await dumpMongo(stack, archive, {
    stamp,
    doing,
    count,
    bytes: sources.mongodb.bytes,
  })

  times.redis = new Date().toISOString()
  const redisVolume = sources.volumes.find((v) => v.coveredBy === 'redis')
  const { record: redis, volume: snapshot } = await writeRedis(stack, archive, {
    stamp,
    key: redisVolume?.key,
    count,
  })
  report(`Redis: snapshot of ${redis.savedAt}, ${redis.keys} keys`)

  times.files = new Date().toISOString()
  const leftOut: LeftOut[] = [...sources.leftOut, ...sources.config.leftOut]
  const volumes: VolumeRecord[] = []
  for (const { bytes: _, ...volume } of sources.volumes) {
    if (!volume.coveredBy) volumes.push(await writeVolume(stack, volume, archive, { count, report, leftOut }))
    else volumes.push(coveredVolume(volume, volume.name === redisVolume?.name ? snapshot : undefined))
  }
  const config = await writeConfig(stack, sources, archive, { count, leftOut })
  const saved = await writeLayers(layers, archive, count)

  // Before and after: nothing was started in between.
  const quiesced = quiet && runningWriters(await readContainers(stack)).length === 0
  const suspect = suspicions(await newestGood(BACKUP_DIR, { stackId }), { shape, mongodb, redis, volumes })
  for (const what of suspect) doing.say(`suspect: ${what}`)
  const manifest: Omit<Manifest, 'parts'> = {
    format: 1,
    tool: toolVersion(),
    stackId,
    project: stack.project,
    stamp,
    started,
    finished: new Date().toISOString(),
    complete: true,
    suspect,
    consistency: {
      mongodb: mongodb.clusterTime !== '' ? 'snapshot' : quiesced ? 'quiesced' : 'fuzzy',
      redis: 'snapshot',
      files: quiesced ? 'quiesced' : 'live',
      times,
    },
    shape,
    arch: process.arch,
    compose: { files: stack.files, hash: composeHash(stack) },
    services: await serviceRecords(stack),
    mongodb,
    redis,
    volumes,
    config,
    ...(saved.length > 0 && { layers: saved }),
    leftOut,
    missing: sources.config.missing,
    read: bytesRead({ mongodb, volumes }, archive),
  }
  await archive.file('backup-metadata.txt', once(Buffer.from(metadataText(manifest))))
  await archive.file('RESTORE.md', once(Buffer.from(restoreGuide(manifest, stack))))
  await archive.finish(`${JSON.stringify({ ...manifest, parts: archive.parts }, null, 1)}\n`)
}

async function writeLayers(
  layers: NonNullable<Writing['layers']>,
  archive: ArchiveWriter,
  count: Count,
): Promise<LayerRecord[]> {
  const records: LayerRecord[] = []
  for (const { service, container, roots } of layers) {
    for (const path of roots) {
      const n = records.filter((r) => r.service === service).length + 1
      let tally: LayerTally = { files: 0, bytes: 0 }
      const tar = tap(layerTar(container, path), (piece) => count(`${service}: ${path}`, piece.length))
      const { name: part } = await archive.file(
        `layers/${service}/${n}.tar.gz`,
        compress(countedTar(tar, (t) => (tally = t))),
        { packed: true },
      )
      records.push({ service, container, path, part, ...tally })
    }
  }
  return records
}

/** bytes before compression, counted as checkSources estimates them. */
function bytesRead(
  { mongodb, volumes }: Pick<Manifest, 'mongodb' | 'volumes'>,
  { parts }: ArchiveWriter,
): number {
  const plain = parts.filter((p) => /^(redis|config)\//.test(p.name)).map((p) => p.bytes)
  const collections = mongodb.databases.flatMap((d) => d.collections).map((c) => c.bytes)
  const files = volumes.map((v) => v.stored ?? v.bytes)
  return [...collections, ...files, ...plain].reduce((sum, bytes) => sum + bytes, 0)
}

async function dumpMongo(
  stack: Stack,
  archive: ArchiveWriter,
  { stamp, doing, count, bytes }: Writing & { count: Count; bytes: number },
): ReturnType<typeof writeMongo> {
  const client = await connectMongo(stack)
  const report = (text: string): void => doing.say(text)
  try {
    return await withLongWindow(client, stack, bytes, doing, () =>
      writeMongo(client, archive, { stamp, main: stack.about.database.name, report, count }),
    )
  } finally {
    await client.close()
  }
}

/** Of MongoDB's own volume nothing is kept as files; of Redis's the snapshot. */
function coveredVolume(volume: VolumeIdentity, snapshot?: Tally & { part: string }): VolumeRecord {
  const { files, bytes, digest, part } = snapshot ?? { files: 0, bytes: 0, digest: '' }
  return { ...volume, files, bytes, digest, changed: [], ...(part !== undefined && { part }) }
}
