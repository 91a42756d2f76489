// Writes a set aside: MongoDB first, then Redis, then the files. An orphan file is harmless, a dangling reference is
// not.
import { existsSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { sentence } from '../errors.ts'
import { makeFolder } from '../files.ts'
import { connectMongo } from '../mongo.ts'
import type { Stack } from '../stack.ts'
import { createArchive, rootOf, type ArchiveWriter } from './archive.ts'
import { once, size, tap, type Bytes } from './bytes.ts'
import { bytes as asPath, configItems, orNothing, VANISHED } from './config.ts'
import { composeHash, serviceRecords, suspicions, toolVersion } from './facts.ts'
import { compress } from './gzip.ts'
import { removeHelpers, volumeTar } from './helper.ts'
import {
  metadataText,
  type ConfigRecord,
  type LeftOut,
  type Manifest,
  type VolumeRecord,
} from './manifest.ts'
import { writeMongo } from './mongodb.ts'
import { progress, type Report } from './progress.ts'
import { writeRedis } from './redis.ts'
import { restoreGuide } from './guide.ts'
import { PARTIAL, SEAL } from './seal.ts'
import { newestSealed } from './sets.ts'
import type { Sources, VolumeIdentity } from './sources.ts'
import { show, toBytes } from './tar.ts'
import { survey, type Tally } from './volume.ts'

type Count = (label: string, bytes: number) => void

/**
 * Writes BACKUP_DIR/pre-update-<stamp>.tar.gz.partial, 0600 in a folder that is made 0700, and returns its path.
 * The caller holds the stack's lock. Whatever fails, the unfinished file is removed.
 * @throws a sentence that says what could not be read, or that the disk is full.
 */
export async function writeSet(
  stack: Stack,
  sources: Sources,
  { stamp, report }: { stamp: string; report: Report },
): Promise<string> {
  const { BACKUP_DIR } = stack.config
  privateFolder(BACKUP_DIR, report)
  const final = join(BACKUP_DIR, `${rootOf(stamp)}.tar.gz`)
  const partial = final + PARTIAL
  if (existsSync(final)) throw new Error(`${final} exists already: a set is never replaced.`)
  await removeHelpers(stack)
  const archive = await createArchive(partial, rootOf(stamp))
  try {
    await writeParts(stack, sources, archive, { stamp, report })
    await archive.close()
    report(`written: ${partial}, ${size(archive.size())}`)
    return partial
  } catch (error) {
    await archive.close()
    rmSync(partial, { force: true })
    rmSync(partial + SEAL, { force: true })
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    throw new Error(
      `The disk of ${BACKUP_DIR} became full after ${size(archive.size())} of the set. The unfinished file was ` +
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
  { stamp, report }: { stamp: string; report: Report },
): Promise<void> {
  const started = new Date().toISOString()
  const count = progress(report, 'reading', sources.bytes)
  const times = { mongodb: started, redis: '', files: '' }
  const { record: mongodb, shape } = await dumpMongo(stack, archive, { stamp, report, count })

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

  const { BACKUP_DIR, STACK_ID: stackId } = stack.config
  const suspect = suspicions(await newestSealed(BACKUP_DIR, { stackId }), { shape, mongodb, volumes })
  for (const what of suspect) report(`suspect: ${what}`)
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
      mongodb: mongodb.clusterTime === '' ? 'fuzzy' : 'snapshot',
      redis: 'snapshot',
      files: 'live',
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
    leftOut,
    missing: sources.config.missing,
    read: bytesRead({ mongodb, volumes }, archive),
  }
  await archive.file('backup-metadata.txt', once(Buffer.from(metadataText(manifest))))
  await archive.file('RESTORE.md', once(Buffer.from(restoreGuide(manifest, stack))))
  await archive.finish(`${JSON.stringify({ ...manifest, parts: archive.parts }, null, 1)}\n`)
}

/** bytes before compression, counted as checkSources estimates them. */
function bytesRead(
  { mongodb, volumes }: Pick<Manifest, 'mongodb' | 'volumes'>,
  { parts }: ArchiveWriter,
): number {
  const plain = parts.filter((p) => /^(redis|config)\//.test(p.name))
  const counted = [...mongodb.databases.flatMap((d) => d.collections), ...volumes, ...plain]
  return counted.reduce((sum, { bytes }) => sum + bytes, 0)
}

async function dumpMongo(
  stack: Stack,
  archive: ArchiveWriter,
  { stamp, report, count }: { stamp: string; report: Report; count: Count },
): ReturnType<typeof writeMongo> {
  const client = await connectMongo(stack)
  try {
    return await writeMongo(client, archive, { stamp, main: stack.about.database.name, report, count })
  } finally {
    await client.close()
  }
}

async function writeVolume(
  stack: Stack,
  volume: VolumeIdentity,
  archive: ArchiveWriter,
  { count, report, leftOut }: { count: Count; report: Report; leftOut: LeftOut[] },
): Promise<VolumeRecord> {
  const changed: string[] = []
  let tally: Tally | undefined
  const tar = tap(
    volumeTar(stack, volume.name, (path) => changed.push(path)),
    (piece) => count(volume.name, piece.length),
  )
  const content = compress(survey(tar, 'skip', (t) => (tally = t)))
  try {
    const part = await archive.file(`volumes/${toBytes(volume.key)}.tar.gz`, content, { packed: true })
    if (!tally) throw new Error('it was not read to its end')
    const { leftOut: devices, ...found } = tally
    leftOut.push(...devices.map((d) => ({ ...d, what: `${volume.name}: ${d.what}` })))
    report(`${volume.name}: ${found.files} files, ${size(found.bytes)}`)
    return { ...volume, ...found, part: part.name, changed }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw error
    throw new Error(`The volume ${volume.name} could not be saved: ${sentence(error)}`, { cause: error })
  }
}

/** Of MongoDB's own volume nothing is kept as files; of Redis's the snapshot. */
function coveredVolume(volume: VolumeIdentity, snapshot?: Tally & { part: string }): VolumeRecord {
  const { files, bytes, digest, part } = snapshot ?? { files: 0, bytes: 0, digest: '' }
  return { ...volume, files, bytes, digest, changed: [], ...(part !== undefined && { part }) }
}

async function writeConfig(
  stack: Stack,
  sources: Sources,
  archive: ArchiveWriter,
  { count, leftOut }: { count: Count; leftOut: LeftOut[] },
): Promise<ConfigRecord[]> {
  const records: ConfigRecord[] = []
  for await (const { path, name, meta, target } of configItems(stack, sources.config, (l) =>
    leftOut.push(l),
  )) {
    if (target !== undefined) await archive.link(name, target, meta)
    else {
      const file = await orNothing(open(asPath(path)))
      if (!file) {
        leftOut.push({ what: show(path), why: VANISHED })
        continue
      }
      const content = file.createReadStream() as Bytes // it closes the file
      await archive.file(
        name,
        tap(content, (piece) => count('configuration', piece.length)),
        { meta },
      )
    }
    const { mode, uid, gid } = meta
    const link = target !== undefined && { target: show(target) }
    records.push({ name: show(name), source: show(path), ...link, mode, uid, gid })
  }
  return records
}
