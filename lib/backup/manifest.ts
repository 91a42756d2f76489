// What a set says about itself: to machines (manifest.json) and to people (backup-metadata.txt, RESTORE.md).
import { readManifestText, type Part } from './archive.ts'
import { size } from './bytes.ts'

/** Something that is not in the set, and why. */
export interface LeftOut {
  readonly what: string
  readonly why: string
}

export interface CollectionRecord {
  readonly name: string
  readonly type: 'collection' | 'view' | 'timeseries'
  readonly documents: number
  /** bytes of BSON */
  readonly bytes: number
  /** Order-free digest of its documents; see digest.ts. */
  readonly digest: string
  /** Hexadecimal, no hyphens; empty for a view. */
  readonly uuid: string
  /** Canonical extended JSON, keys in their order. */
  readonly options: string
  /** One per index, canonical extended JSON. */
  readonly indexes: readonly string[]
  /** It was read outside the snapshot: not the same instant as the rest. */
  readonly fuzzy: boolean
  /** The part that holds its documents; absent for a view. */
  readonly part?: string
  /** The part that holds its options and indexes. */
  readonly metadata: string
}

export interface MongoRecord {
  readonly version: string
  /** featureCompatibilityVersion */
  readonly fcv: string
  /** The replica set's name; empty for a standalone server. */
  readonly replicaSet: string
  /** Its own name in the replica set, `host:port`. Sets of older versions have none. */
  readonly me?: string
  /** The one instant that was read, as `seconds,increment`; empty for a standalone server. */
  readonly clusterTime: string
  readonly databases: readonly { readonly name: string; readonly collections: readonly CollectionRecord[] }[]
}

export interface RedisRecord {
  readonly version: string
  readonly rdbVersion: number
  /** Keys in the snapshot. */
  readonly keys: number
  /** Those of them that expire by themselves. */
  readonly expiring: number
  /** Whether the numbers come from the snapshot itself, or from the server just after it. */
  readonly exact: boolean
  /** The server persists by its append-only file, and ignores dump.rdb when it starts. */
  readonly appendOnly: boolean
  /** Its folder and the snapshot's file name in it. */
  readonly dir: string
  readonly file: string
  /** ISO 8601 */
  readonly savedAt: string
}

export interface VolumeRecord {
  /** Its key in the Compose file; names the part. */
  readonly key: string
  /** Its real name on the server. */
  readonly name: string
  readonly driver: string
  readonly mounts: readonly { readonly service: string; readonly path: string }[]
  /** `mongodb` or `redis`: it is covered by that logical part. */
  readonly coveredBy?: 'mongodb' | 'redis'
  readonly part?: string
  /** Regular files in it, and the bytes of their content. */
  readonly files: number
  readonly bytes: number
  /** bytes of that which are stored: without the holes of sparse files. Absent: all. */
  readonly stored?: number
  /** Order-free digest of every entry with its content, as an extraction yields it; see volume.ts. */
  readonly digest: string
  /** Files that changed while they were read, and were read once more: the part holds both, the later one counts. */
  readonly again?: readonly string[]
  /** What changed while it was read, and that last time too; and folders that did: something may have moved. */
  readonly changed: readonly string[]
}

export interface ConfigRecord {
  /** Below the set's folder: config/… */
  readonly name: string
  /** Where it was on the server. */
  readonly source: string
  /** Of a link: what it points to. */
  readonly target?: string
  /** It is a folder. In the archive it is root's, 0700; below are its own mode and owner. */
  readonly folder?: true
  /** It was written to whenever it was read: it may be torn. */
  readonly changed?: true
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** Files of a container's own layer, saved by an update that was told to. */
export interface LayerRecord {
  readonly service: string
  readonly container: string
  /** In the container: a file, or a folder with all that was in it. */
  readonly path: string
  /** A gzipped tar, as `docker cp` takes it. */
  readonly part: string
  /** What is in it besides folders, and the bytes of that. */
  readonly files: number
  readonly bytes: number
}

export interface ServiceRecord {
  readonly image: string
  /** The image that its container runs; empty when it has no container. */
  readonly imageId: string
  readonly digests: readonly string[]
  readonly configHash: string
  readonly state: string
}

export interface Manifest {
  readonly format: 1
  readonly tool: string
  readonly stackId: string
  readonly project: string
  /** UTC, YYYYMMDD_HHMMSS */
  readonly stamp: string
  /** ISO 8601 */
  readonly started: string
  readonly finished: string
  /** Every component is in it. */
  readonly complete: boolean
  /** Why somebody should look before relying on it; empty is good. */
  readonly suspect: readonly string[]
  /** What was really reached, and when each part was read. */
  readonly consistency: {
    /**
     * `snapshot`: one instant over all databases. `quiesced`: one after the other, while no writer ran. `fuzzy`: one
     * after the other, while they ran.
     */
    readonly mongodb: 'snapshot' | 'quiesced' | 'fuzzy'
    readonly redis: 'snapshot'
    /** `live`: read while the applications ran. `quiesced`: while no writer ran. */
    readonly files: 'live' | 'quiesced'
    readonly times: Readonly<Record<'mongodb' | 'redis' | 'files', string>>
  }
  /** `legacy`, or the hash of the schema that the data was migrated to. */
  readonly shape: string
  /** The server's processor architecture. */
  readonly arch: string
  readonly compose: { readonly files: readonly string[]; readonly hash: string }
  readonly services: Readonly<Record<string, ServiceRecord>>
  readonly mongodb: MongoRecord
  readonly redis: RedisRecord
  readonly volumes: readonly VolumeRecord[]
  readonly config: readonly ConfigRecord[]
  readonly layers?: readonly LayerRecord[]
  readonly leftOut: readonly LeftOut[]
  /** Bind sources that the running containers name and the server does not have. */
  readonly missing: readonly string[]
  /** bytes read before compression */
  readonly read: number
  readonly parts: readonly Part[]
}

/**
 * The manifest of an archive, without reading the rest of it; undefined when it has none.
 * @throws when the manifest is damaged, or of a format that this version does not know.
 */
export async function readManifest(path: string): Promise<Manifest | undefined> {
  const text = await readManifestText(path)
  return text === undefined ? undefined : parseManifest(text)
}

/** @throws when it is no manifest that this version knows. */
export function parseManifest(text: string): Manifest {
  const manifest = JSON.parse(text) as Partial<Manifest>
  if (manifest.format !== 1) throw new Error(`its manifest has format ${manifest.format}, known is 1`)
  const { stackId, stamp, parts, mongodb, volumes, config } = manifest
  const { layers = [] } = manifest // sets of older versions have none
  const lists = [parts, mongodb?.databases, volumes, config, layers]
  const whole = stackId && stamp && lists.every(Array.isArray)
  if (!whole) throw new Error('its manifest is incomplete')
  return manifest as Manifest
}

/** Documents of all collections. */
export const documents = ({ mongodb }: Pick<Manifest, 'mongodb'>): number =>
  mongodb.databases.flatMap((d) => d.collections).reduce((sum, c) => sum + c.documents, 0)

/** backup-metadata.txt: what is in the set, for people. Names from outside are quoted, so that none can forge a line. */
export function metadataText(m: Omit<Manifest, 'parts'>): string {
  const q = (name: string): string => (/^[\w.@:/+-]+$/.test(name) ? name : JSON.stringify(name))
  const named = (names: readonly string[], what: string): string =>
    names.length === 0 ? '' : `, ${names.length} ${what}: ${names.map(q).join(' ')}`
  const rows = (lines: readonly string[], none: string): string[] =>
    (lines.length > 0 ? lines : [none]).map((l) => `  ${l}`)
  return [
    `Backup of ${q(m.stackId)} (Compose project ${q(m.project)})`,
    `Stamp:     ${m.stamp} UTC`,
    `Taken:     ${m.started} to ${m.finished}`,
    `Complete:  ${m.complete ? 'yes' : 'no'}`,
    `Suspect:   ${m.suspect.length > 0 ? m.suspect.map(q).join('; ') : 'no'}`,
    `Data:      ${m.shape === 'legacy' ? 'legacy' : `migrated to schema ${q(m.shape)}`}`,
    `Tool:      runbook ${m.tool}`,
    'It holds passwords and private data: keep it as you keep those.',
    '',
    `MongoDB ${m.mongodb.version} (feature compatibility ${m.mongodb.fcv}), ${
      {
        snapshot: `one point in time, ${m.mongodb.clusterTime}`,
        quiesced: 'read while no writer ran',
        fuzzy: 'not one point in time',
      }[m.consistency.mongodb]
    }`,
    ...m.mongodb.databases.flatMap(({ name, collections }) => [
      `  ${q(name)}`,
      ...collections.map(
        (c) =>
          `    ${q(c.name)}: ${c.type === 'view' ? 'view' : `${c.documents} documents, ${size(c.bytes)}`}${c.fuzzy ? ', fuzzy' : ''}`,
      ),
    ]),
    '',
    `Redis ${m.redis.version}, snapshot of ${m.redis.savedAt}: ${m.redis.exact ? '' : 'about '}${m.redis.keys} keys, ${m.redis.expiring} of them expire`,
    '',
    `Volumes, read while ${m.consistency.files === 'quiesced' ? 'no writer ran' : 'the applications ran'}`,
    ...m.volumes.map(
      (v) =>
        `  ${q(v.key)} (${q(v.name)}): ${
          v.coveredBy ? `covered by ${v.coveredBy}` : `${v.files} files, ${size(v.bytes)}`
        }${named(v.again ?? [], 'changed and were read once more')}${named(v.changed, 'changed while they were read')}`,
    ),
    '',
    'Configuration',
    ...rows(
      m.config.map(
        (c) =>
          `${q(c.name)}${c.folder ? '/' : ''}${c.target === undefined ? '' : ` -> ${q(c.target)}`}${c.changed ? ', changed while it was read' : ''}`,
      ),
      'none',
    ),
    '',
    ...((m.layers ?? []).length === 0
      ? []
      : [
          "Files of containers' own layers",
          ...(m.layers ?? []).map(
            (l) => `  ${q(l.part)}: ${q(l.service)}, ${q(l.path)}, ${l.files} files, ${size(l.bytes)}`,
          ),
          '',
        ]),
    'Left out',
    ...rows(
      m.leftOut.map(({ what, why }) => `${q(what)}: ${why}`),
      'nothing',
    ),
    '',
    'Bind sources that were missing on the server',
    ...rows(m.missing.map(q), 'none'),
    '',
    'Images',
    ...Object.entries(m.services).map(
      ([name, s]) => `  ${q(name)}: ${q(s.image)} ${s.imageId} ${s.digests.map(q).join(' ')}`,
    ),
    '',
  ].join('\n')
}
