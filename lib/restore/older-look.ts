// The first reading of an archive of the older procedure: what each file in it is, and what has to be known before
// anything is written. The guide calls this layout "Structure des Backups".
import { BSON, type Document } from 'mongodb'
import { ejson, fromEjson } from '../backup/bson.ts'
import type { Bytes } from '../backup/bytes.ts'
import { fileName, storedAs } from '../backup/catalogue.ts'
import type { CollectionRecord, LeftOut } from '../backup/manifest.ts'
import type { Report } from '../backup/progress.ts'
import { show, toBytes } from '../backup/tar.ts'
import { entries, type Entry } from '../backup/untar.ts'
import { eachEntry, gunzipped, unusable } from './older-read.ts'
import { shapeOf, type Shape } from './older-volume.ts'

/** A collection's part of a dump: the names of its folder and its file, as byte strings. */
interface DumpFile {
  /** The folder that mongodump wrote to, below database/. */
  readonly dump: string
  readonly db: string
  readonly base: string
  /** By gzip. */
  readonly packed: boolean
}

/** What a file of the archive is. */
export type Role =
  | ({ readonly is: 'documents' } & DumpFile)
  | ({ readonly is: 'metadata' } & DumpFile)
  | { readonly is: 'snapshot'; readonly packed: boolean }
  | { readonly is: 'volume'; readonly key: string; readonly name: string }
  | { readonly is: 'config' | 'about' | 'nothing' }
  | {
      readonly is: 'left'
      readonly why: string
      /** It may be data. */
      readonly lost?: true
    }

/** What a .metadata.json says, as a manifest holds it. */
export type Metadata = Pick<CollectionRecord, 'name' | 'type' | 'uuid' | 'options' | 'indexes'>

/** A collection of the dump, and the names of its files without their endings; a view has no documents. */
export interface Dumped extends Metadata {
  readonly db: string
  readonly documents?: string
  /** Undefined: there is none, and what stands here is what a collection has without one. */
  readonly metadata?: string
}

export interface Found {
  /** By the name below the archive's folder, a byte string. */
  readonly roles: ReadonlyMap<string, Role>
  readonly collections: readonly Dumped[]
  /** Of each volume, by that name. */
  readonly shapes: ReadonlyMap<string, Shape>
  readonly leftOut: readonly LeftOut[]
  /** What should be there and is not. */
  readonly suspect: readonly string[]
  /** Nothing of MongoDB, Redis and the volumes is missing, as far as can be seen. */
  readonly complete: boolean
}

const UNKNOWN = 'it is no part of a backup that is known'
const OPLOG = 'what was written during the dump: nothing here applies it'
// What every collection has, as the server's catalogue gives it.
const ID_INDEX = '{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"}'
const LONGEST = 16 * 2 ** 20 // bytes of a .metadata.json

// Copies of the files of an engine that ran. Its own part of the archive covers it, and is whole.
const LIVE = [
  { part: 'mongodb', at: 'database/', key: /(^|[_-])(database|mongo(db)?)([_-]?data)?$/ },
  { part: 'redis', at: 'redis/', key: /(^|[_-])redis([_-]?data)?$/ },
] as const

/** Reads the archive to its end, writes nothing. @throws a sentence when it cannot be used */
export async function lookThrough(path: string, project: string, report: Report): Promise<Found> {
  const roles = new Map<string, Role>()
  const metadata = new Map<string, Metadata>()
  const shapes = new Map<string, Shape>()
  await eachEntry(path, { report, verb: 'looking through' }, async (name, entry) => {
    const role = roleOf(name, entry, project)
    roles.set(name, role)
    if (role.is === 'metadata') metadata.set(name, await readMetadata(contentOf(entry, role), role.base))
    if (role.is !== 'volume') return
    const shape = await shapeOf(entries(gunzipped(entry.body), 'sparse'), [role.key, role.name])
    shapes.set(name, shape)
    if (shape.kept !== undefined)
      report(
        `${show(name)}: everything in it lies in the folder ${JSON.stringify(show(shape.kept))}, and stays there`,
      )
  })
  try {
    return { ...settled(roles, metadata), roles, shapes }
  } catch (error) {
    throw unusable(path, 'what it holds', error)
  }
}

/** A file's content, unpacked. */
export const contentOf = ({ body }: Entry, { packed }: { readonly packed: boolean }): Bytes =>
  packed ? gunzipped(body) : body

function roleOf(name: string, { type }: Entry, project: string): Role {
  const [top, ...below] = name.split('/')
  // In a set of ours, absolute paths lie below config/_outside.
  if (top === 'config' && below[0] === '_outside') return { is: 'left', why: UNKNOWN }
  if (top === 'config') return { is: name === 'config' ? 'nothing' : 'config' }
  if (type === 'folder') return { is: 'nothing' }
  if (name === 'backup-metadata.txt') return { is: 'about' }
  const file = below.at(-1) ?? ''
  if (top === 'volumes' && below.length === 1) {
    const [, volume] = /^(.+)\.tar\.gz$/s.exec(file) ?? []
    if (volume !== undefined) return { is: 'volume', name: volume, key: keyOf(volume, project) }
  }
  if (top === 'redis' && below.length === 1 && /\.rdb(\.gz)?$/.test(file)) {
    return { is: 'snapshot', packed: file.endsWith('.gz') }
  }
  if (top === 'volumes' || top === 'redis') return { is: 'left', why: UNKNOWN, lost: true }
  if (top !== 'database') return { is: 'left', why: UNKNOWN }
  if (/^prelude\.json(\.gz)?$/.test(file)) return { is: 'left', why: "mongodump's own note about the server" }
  const [, base, what, gz] = /^(.+)\.(bson|metadata\.json)(\.gz)?$/s.exec(file) ?? []
  const [db, ...dump] = below.slice(0, -1).toReversed()
  if (db === undefined && base === 'oplog') return { is: 'left', why: OPLOG }
  if (base === undefined || db === undefined) return { is: 'left', why: UNKNOWN, lost: true }
  if (db === 'local' || db === 'config') return { is: 'left', why: "it is the database server's own" }
  const is = what === 'bson' ? 'documents' : 'metadata'
  return { is, db, base, dump: dump.toReversed().join('/'), packed: gz !== undefined }
}

/** The Compose key, where the file bears the real name that Compose makes of it. */
const keyOf = (volume: string, project: string): string =>
  project !== '' && volume.startsWith(`${project}_`) ? volume.slice(project.length + 1) || volume : volume

async function readMetadata(content: Bytes, base: string): Promise<Metadata> {
  const pieces: Buffer[] = []
  let length = 0
  for await (const piece of content) {
    pieces.push(piece)
    length += piece.length
    if (length > LONGEST) throw new Error(`it is longer than ${LONGEST} bytes`)
  }
  try {
    return parseMetadata(Buffer.concat(pieces).toString('utf8'), base)
  } catch (error) {
    throw new Error('it is no metadata of a collection as mongodump writes it', { cause: error })
  }
}

/** By way of BSON: the text becomes the very one that the server's own catalogue gives, whoever wrote it. */
function parseMetadata(text: string, base: string): Metadata {
  const all = fromEjson(text)
  const canonical = (value: unknown): string => {
    if (!(value instanceof Map)) throw new TypeError('not a document')
    return ejson(Buffer.from(BSON.serialize(value as unknown as Document)))
  }
  if (!(all instanceof Map)) throw new TypeError('not a document')
  const { options = new Map(), indexes = [], uuid, collectionName: name, type } = Object.fromEntries(all)
  if (!Array.isArray(indexes)) throw new TypeError('indexes that are no list')
  const said =
    type ?? (options.has('viewOn') ? 'view' : options.has('timeseries') ? 'timeseries' : 'collection')
  if (said !== 'collection' && said !== 'view' && said !== 'timeseries')
    throw new TypeError('an unknown type')
  return {
    name: typeof name === 'string' ? name : unescaped(base),
    type: said,
    uuid: typeof uuid === 'string' && said !== 'view' ? uuid : '',
    options: canonical(options),
    indexes: indexes.map(canonical).toSorted(),
  }
}

/** The name of a collection by that of its file, for tools that did not write it down. */
function unescaped(base: string): string {
  try {
    return decodeURIComponent(show(base))
  } catch {
    return show(base) // written before names were escaped
  }
}

/** What the whole inventory says. Marks in `roles` what is left out. @throws a sentence when it is not one backup */
function settled(
  roles: Map<string, Role>,
  metadata: ReadonlyMap<string, Metadata>,
): Pick<Found, 'collections' | 'leftOut' | 'suspect' | 'complete'> {
  const suspect: string[] = []
  const collections = collectionsOf(roles, metadata, suspect)
  const snapshots = [...roles].filter(([, role]) => role.is === 'snapshot').map(([name]) => name)
  if (snapshots.length > 1) throw new Error(`more than one snapshot of Redis: ${quoted(snapshots)}`)
  const volumes = [...roles].flatMap(([name, role]) =>
    role.is === 'volume' ? [{ name, key: role.key }] : [],
  )
  const twice = volumes.find((v) => volumes.some((other) => other !== v && other.key === v.key))
  if (twice) throw new Error(`more than one volume ${JSON.stringify(show(twice.key))}`)
  const configured = [...roles.values()].some((role) => role.is === 'config')
  if (collections.length + snapshots.length + volumes.length === 0 && !configured) {
    throw new Error('it has no part of a backup that is known')
  }

  const has = { mongodb: collections.length > 0, redis: snapshots.length > 0 }
  for (const { name, key } of volumes) {
    const covered = LIVE.find((live) => has[live.part] && live.key.test(key))
    if (!covered) continue
    roles.set(name, { is: 'left', why: `a copy of files in use: ${covered.at} holds the same, and whole` })
  }
  const absent = [
    ...(has.mongodb ? [] : [{ what: 'MongoDB', why: 'the archive has no dump of it in database/' }]),
    ...(has.redis ? [] : [{ what: 'Redis', why: 'the archive has no snapshot of it in redis/' }]),
    ...(volumes.length > 0 ? [] : [{ what: 'volumes', why: 'the archive has none in volumes/' }]),
  ]
  const left = [...roles].flatMap(([name, role]) => (role.is === 'left' ? [{ name, ...role }] : []))
  return {
    collections,
    suspect,
    leftOut: [...absent, ...left.map(({ name, why }) => ({ what: show(name), why }))],
    complete: absent.length === 0 && suspect.length === 0 && !left.some((role) => role.lost),
  }
}

const quoted = (names: Iterable<string>): string => [...names].map((n) => JSON.stringify(show(n))).join(', ')

/** Brings the dump's files together, two for each collection. What lacks one is told to `suspect`. */
function collectionsOf(
  roles: Map<string, Role>,
  metadata: ReadonlyMap<string, Metadata>,
  suspect: string[],
): Dumped[] {
  const files = { documents: new Map<string, string>(), metadata: new Map<string, string>() }
  const keyed = ({ dump, db }: DumpFile, base: string): string => `${dump}/${db}/${base}`
  for (const [name, role] of roles) {
    if (role.is !== 'documents' && role.is !== 'metadata') continue
    const key = keyed(role, role.base)
    if (files[role.is].has(key)) throw new Error(`${quoted([name])} is there compressed, and as it is`)
    files[role.is].set(key, name)
  }
  const oplogs = [...files.documents].filter(([key]) => key.endsWith('/oplog') && !files.metadata.has(key))
  for (const [key, name] of oplogs) {
    files.documents.delete(key)
    roles.set(name, { is: 'left', why: OPLOG })
  }
  const dumps = new Set([...roles.values()].flatMap((role) => ('dump' in role ? [role.dump] : [])))
  if (dumps.size > 1) throw new Error(`more than one dump of MongoDB: ${quoted(dumps)}`)

  const found: Dumped[] = []
  const { documents } = files
  for (const name of files.metadata.values()) {
    const role = roles.get(name) as Role & DumpFile
    const about = metadata.get(name) as Metadata
    const { db, base } = role
    const stored = about.type === 'timeseries' ? toBytes(fileName(storedAs(about))) : base
    if (about.type === 'view') found.push({ ...about, db, metadata: base })
    else if (documents.delete(keyed(role, stored)))
      found.push({ ...about, db, metadata: base, documents: stored })
    else {
      suspect.push(`${shown(db, about.name)} has no documents in the archive: the dump was cut short`)
      roles.set(name, { is: 'left', why: 'there are no documents to it', lost: true })
    }
  }
  for (const name of documents.values()) {
    const { db, base } = roles.get(name) as Role & DumpFile
    suspect.push(`${shown(db, show(base))} has no metadata in the archive: without its options and indexes`)
    if (base.startsWith('system.buckets.')) {
      roles.set(name, { is: 'left', why: 'a time series without its metadata', lost: true })
    } else {
      const bare = { type: 'collection', uuid: '', options: '{}', indexes: [ID_INDEX] } as const
      found.push({ ...bare, name: unescaped(base), db, documents: base })
    }
  }
  const names = found.map(({ db, name }) => shown(db, name))
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new Error(`the collection ${JSON.stringify(twice)} twice`)
  return found
}

const shown = (db: string, collection: string): string => `${show(db)}.${collection}`
