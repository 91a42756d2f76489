// An archive of the older procedure, adopted: converted into an archive of ours with a manifest of what was found in
// it. From then on it is handled like any set. What its tools did not write down stays empty in the manifest: the
// engines' versions, the services, when each part was read.
import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createArchive, rootOf, type ArchiveWriter } from '../backup/archive.ts'
import { documentsIn, fields } from '../backup/bson.ts'
import { once, size, tap } from '../backup/bytes.ts'
import { metadataJson } from '../backup/catalogue.ts'
import { orderFree } from '../backup/digest.ts'
import { toolVersion } from '../backup/facts.ts'
import { compress } from '../backup/gzip.ts'
import {
  metadataText,
  type CollectionRecord,
  type ConfigRecord,
  type LeftOut,
  type Manifest,
  type RedisRecord,
  type VolumeRecord,
} from '../backup/manifest.ts'
import type { Report } from '../backup/progress.ts'
import { rdbCheck } from '../backup/rdb.ts'
import { show } from '../backup/tar.ts'
import { entries, type Entry } from '../backup/untar.ts'
import { verifySet } from '../backup/verify.ts'
import { surveyEntries, type Tally } from '../backup/volume.ts'
import { contentOf, lookThrough, type Dumped, type Found, type Role } from './older-look.ts'
import { eachEntry, gunzipped } from './older-read.ts'
import { reshaped } from './older-volume.ts'

/** What the archive does not know of itself. */
export interface Adopting {
  readonly stackId: string
  readonly project: string
  /** Of the set that it becomes. */
  readonly stamp: string
  /** The stack's folder, where its configuration belongs. */
  readonly dir: string
  /** Redis's folder, and the name of the snapshot in it. */
  readonly redis: { readonly dir: string; readonly file: string }
  /** The applications' database, whose marker tells the data's shape. Without it the marker of any database counts. */
  readonly main?: string
  readonly report: Report
}

/**
 * Converts an archive of the older procedure into one of ours at `into`, which must not exist, reads that back in
 * full, and returns its manifest. The archive is read twice, and left as it is; nothing of it is held in memory. What
 * fails leaves no file behind.
 * @throws a sentence that names what in the archive is damaged or would lead out; or that the disk is full
 */
export async function adopt(path: string, into: string, about: Adopting): Promise<Manifest> {
  const { project, stamp, report } = about
  if (!existsSync(path)) throw new Error(`There is no ${path}. Nothing was changed.`)
  if (existsSync(into)) throw new Error(`${into} exists already: it is never replaced. Nothing was changed.`)
  const found = await lookThrough(path, project, report)
  const archive = await createArchive(into, rootOf(stamp))
  try {
    const manifest = await convert(path, found, archive, about)
    await archive.file('backup-metadata.txt', once(Buffer.from(metadataText(manifest))))
    await archive.finish(`${JSON.stringify({ ...manifest, parts: archive.parts }, null, 1)}\n`)
    await archive.close()
    return await verifySet(into, report)
  } catch (error) {
    await archive.close()
    rmSync(into, { force: true })
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    throw new Error(
      `The disk has become full after ${size(archive.size())} of ${into}, which was removed. Nothing else was changed. ` +
        `Make room there and start again.`,
      { cause: error },
    )
  }
}

type Counted = Pick<CollectionRecord, 'documents' | 'bytes' | 'digest'> & { readonly part: string }

/** What was written so far. */
interface Converted {
  readonly archive: ArchiveWriter
  readonly about: Adopting
  /** The folder of the dump in the archive. */
  readonly dump: string
  /** By database and file, as byte strings. */
  readonly documents: Map<string, Counted>
  readonly metadata: Map<string, string>
  readonly volumes: VolumeRecord[]
  readonly config: ConfigRecord[]
  readonly leftOut: LeftOut[]
  redis: RedisRecord
  shape: string
}

async function convert(
  path: string,
  found: Found,
  archive: ArchiveWriter,
  about: Adopting,
): Promise<Omit<Manifest, 'parts'>> {
  const { stackId, project, stamp, report, redis } = about
  const none = {
    version: '',
    rdbVersion: 0,
    keys: 0,
    expiring: 0,
    exact: false,
    appendOnly: false,
    savedAt: '',
  }
  const written: Converted = {
    archive,
    about,
    dump: `database/mongodb_${stamp}`,
    documents: new Map(),
    metadata: new Map(),
    volumes: [],
    config: [],
    leftOut: [...found.leftOut],
    redis: { ...none, ...redis },
    shape: 'legacy',
  }
  await eachEntry(path, { report, verb: 'converting' }, async (name, entry) => {
    const role = found.roles.get(name)
    if (!role) throw new Error('it was not there when the archive was looked through')
    await add(name, entry, role, found, written)
  })
  const databases = await databasesOf(found.collections, written)
  const date = statSync(path).mtime.toISOString()
  const { volumes, config, leftOut, shape } = written
  return {
    format: 1,
    tool: toolVersion(),
    stackId,
    project,
    stamp,
    started: date,
    finished: date,
    complete: found.complete,
    suspect: found.suspect,
    consistency: {
      mongodb: 'fuzzy',
      redis: 'snapshot',
      files: 'live',
      times: { mongodb: '', redis: '', files: '' },
    },
    shape,
    arch: '',
    compose: { files: [], hash: '' },
    services: {},
    mongodb: { version: '', fcv: '', replicaSet: '', clusterTime: '', databases },
    redis: written.redis,
    volumes,
    config,
    leftOut,
    missing: [],
    read:
      archive.parts.reduce((sum, p) => sum + (p.name.startsWith('volumes/') ? 0 : p.bytes), 0) +
      volumes.reduce((sum, v) => sum + (v.stored ?? v.bytes), 0),
  }
}

async function add(name: string, entry: Entry, role: Role, found: Found, written: Converted): Promise<void> {
  const { archive, dump } = written
  if (role.is === 'documents') return addDocuments(entry, role, written)
  if (role.is === 'metadata') {
    const { db, base } = role
    const part = await archive.file(`${dump}/${db}/${base}.metadata.json`, contentOf(entry, role))
    written.metadata.set(`${db}/${base}`, part.name)
  }
  if (role.is === 'snapshot') return addSnapshot(entry, role, written)
  if (role.is === 'volume') return addVolume(name, entry, role, found, written)
  if (role.is === 'config') return addConfig(name, entry, written)
  if (role.is === 'about') await archive.file('backup-metadata.older.txt', entry.body)
}

async function addDocuments(
  entry: Entry,
  role: Role & { is: 'documents' },
  written: Converted,
): Promise<void> {
  const { archive, dump, about } = written
  const { db, base } = role
  const isMarker = base === '_runbook' && (about.main ?? show(db)) === show(db)
  const digest = orderFree()
  let documents = 0
  const next = documentsIn((document) => {
    digest.add(document)
    documents++
    if (isMarker) written.shape = markedShape(document) ?? written.shape
  })
  const part = await archive.file(`${dump}/${db}/${base}.bson`, tap(contentOf(entry, role), next))
  next()
  written.documents.set(`${db}/${base}`, {
    documents,
    bytes: part.bytes,
    digest: digest.hex(),
    part: part.name,
  })
}

const STRING = 2 // BSON's type: a length, the text, a zero

function markedShape(document: Buffer): string | undefined {
  const marker = [...fields(document)].find(({ type, name }) => name === 'schemaHash' && type === STRING)
  return marker?.value.toString('utf8', 4, marker.value.length - 1)
}

async function addSnapshot(entry: Entry, role: Role & { is: 'snapshot' }, written: Converted): Promise<void> {
  const { archive, about } = written
  const check = rdbCheck()
  const content = tap(contentOf(entry, role), (piece) => check.see(piece))
  await archive.file(`redis/redis_dump_${about.stamp}.rdb`, content)
  const { version, first } = check.end()
  // Not exact: these are the keys of the first logical database, and only a server knows the others.
  written.redis = { ...written.redis, rdbVersion: version, ...first, savedAt: dateOf(entry.mtime) }
}

/** ISO 8601; empty when it is no date. */
function dateOf(mtime: string): string {
  const date = new Date(Number(mtime) * 1000)
  return Number.isNaN(date.getTime()) ? '' : date.toISOString()
}

async function addVolume(
  name: string,
  entry: Entry,
  role: Role & { is: 'volume' },
  { shapes }: Found,
  { archive, volumes, leftOut, about }: Converted,
): Promise<void> {
  const shape = shapes.get(name)
  if (!shape) throw new Error('it was no volume when the archive was looked through')
  let tally: Tally | undefined
  const content = reshaped(entries(gunzipped(entry.body), 'sparse'), shape)
  const tar = surveyEntries(content, 'skip', (t) => (tally = t))
  const part = await archive.file(`volumes/${role.key}.tar.gz`, compress(tar), { packed: true })
  if (!tally) throw new Error('it was not read to its end')
  const { leftOut: dropped, ...held } = tally
  const what = show(name)
  leftOut.push(...dropped.map((l) => ({ ...l, what: `${what}: ${l.what}` })))
  if (shape.missing.size > 0) {
    const why = 'it does not have them: they get 0755, and the owner of the first entry in them'
    leftOut.push({ what: `${what}: owner and mode of ${shape.missing.size} folders`, why })
  }
  const identity = { key: show(role.key), name: show(role.name), driver: '', mounts: [] }
  volumes.push({ ...identity, ...held, part: part.name, changed: [] })
  about.report(`${what}: ${held.files} files, ${size(held.bytes)}`)
}

async function addConfig(name: string, entry: Entry, { archive, config, about }: Converted): Promise<void> {
  const { type, mode, uid, gid, mtime, target } = entry
  const meta = { mode, uid, gid, mtime }
  const source = join(about.dir, show(name.slice('config/'.length)))
  const record = { name: show(name), source, mode, uid, gid }
  if (type === 'folder') {
    await archive.folder(name)
    config.push({ ...record, folder: true })
  } else if (type === 'link') {
    await archive.link(name, target, meta)
    config.push({ ...record, target: show(target) })
  } else {
    await archive.file(name, entry.body, { meta })
    config.push(record)
  }
}

/** The collections' records, sorted as a backup sorts them. Writes the metadata of those that have none. */
async function databasesOf(
  collections: readonly Dumped[],
  written: Converted,
): Promise<Manifest['mongodb']['databases']> {
  const found = new Map<string, CollectionRecord[]>()
  for (const collection of collections.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const records = found.get(collection.db) ?? []
    found.set(collection.db, [...records, await recordOf(collection, written)])
  }
  return [...found]
    .map(([db, records]) => ({ name: show(db), collections: records }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

async function recordOf(
  collection: Dumped,
  { archive, dump, ...written }: Converted,
): Promise<CollectionRecord> {
  const { db, documents, metadata, ...about } = collection
  const none = { documents: 0, bytes: 0, digest: orderFree().hex() }
  const counted = documents === undefined ? none : written.documents.get(`${db}/${documents}`)
  const bare = once(Buffer.from(metadataJson({ ...collection, capped: false })))
  const described =
    metadata === undefined
      ? (await archive.file(`${dump}/${db}/${documents}.metadata.json`, bare)).name
      : written.metadata.get(`${db}/${metadata}`)
  if (!counted || described === undefined)
    throw new Error(`The collection ${show(db)}.${about.name} has gone from the archive while it was read.`)
  return { ...about, ...counted, fuzzy: about.type !== 'view', metadata: described }
}
