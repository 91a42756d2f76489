// A small, whole set made by the same writers as a real one, for tests that need no engine.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { BSON } from 'mongodb'
import { createArchive, type ArchiveWriter } from '../../lib/backup/archive.ts'
import { once, type Bytes } from '../../lib/backup/bytes.ts'
import { orderFree } from '../../lib/backup/digest.ts'
import { compress } from '../../lib/backup/gzip.ts'
import type { Manifest } from '../../lib/backup/manifest.ts'
import { partialPath, sealSet, setPath } from '../../lib/backup/seal.ts'
import { END, header, padding, toBytes } from '../../lib/backup/tar.ts'
import { verifySet } from '../../lib/backup/verify.ts'
import { survey, type Tally } from '../../lib/backup/volume.ts'

export const STAMP = '20260102_030405'

/** A private folder that is removed when the file's tests are done. */
export function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'runbook-backup-'))
  after(() => rmSync(dir, { recursive: true }))
  return dir
}

/** A Redis 7.0.15 snapshot with two keys, one of which expires. */
export const RDB = Buffer.from(
  'UkVESVMwMDEw+glyZWRpcy12ZXIGNy4wLjE1+gpyZWRpcy1iaXRzwED6BWN0aW1lwvINBmv6CHVzZWQtbWVtwji1DgD6CGFvZi1iYXNlwAD+' +
    'APsCAfz8W5wVogEAAAABYsACAAFhwAH/BPKLleMb+Zw=',
  'base64',
)

/** A tar header with its content, as a helper container's tar would send it. */
export function tarEntry(
  name: string,
  content = '',
  more: Partial<Parameters<typeof header>[0]> = {},
): Buffer {
  const bytes = Buffer.from(content)
  const size = more.type === undefined || more.type === 'file' ? bytes.length : 0
  const h = {
    name: toBytes(name),
    type: 'file' as const,
    mode: 0o644,
    uid: 1,
    gid: 2,
    mtime: '7',
    target: '',
  }
  return Buffer.concat([header({ ...h, size, ...more }), bytes, padding(size)])
}

/** Everything of a stream. */
export async function whole(source: Bytes): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of source) pieces.push(piece)
  return Buffer.concat(pieces)
}

export const documents = Array.from({ length: 50 }, (_, i) =>
  Buffer.from(BSON.serialize({ _id: i, name: `n${i}` })),
)

export interface Wishes {
  readonly stamp?: string
  readonly stackId?: string
  readonly finished?: string
  readonly suspect?: readonly string[]
  readonly complete?: boolean
  /** The volume's tar stream. */
  readonly volume?: Buffer
  /** Changes the manifest before it is written. */
  readonly lie?: (manifest: Manifest) => object
  /** Adds to the archive before its manifest. */
  readonly add?: (archive: ArchiveWriter) => Promise<unknown>
}

/** Writes a partial set into a folder and returns its path. */
export async function writeFixture(dir: string, wishes: Wishes = {}): Promise<string> {
  const stamp = wishes.stamp ?? STAMP
  const path = partialPath(setPath(dir, stamp), wishes.stackId ?? 'meeshy')
  const archive = await createArchive(path, `pre-update-${stamp}`)
  const digest = orderFree()
  for (const d of documents) digest.add(d)
  const part = await archive.file(`database/mongodb_${stamp}/meeshy/User.bson`, once(...documents))
  const metadata = await archive.file(
    `database/mongodb_${stamp}/meeshy/User.metadata.json`,
    once(Buffer.from('{}')),
  )
  await archive.file(`redis/redis_dump_${stamp}.rdb`, once(RDB))
  let tally: Tally = { files: 0, bytes: 0, stored: 0, digest: '', leftOut: [] }
  const tar = wishes.volume ?? Buffer.concat([tarEntry('./a', 'hello'), tarEntry('./b/c', 'world'), END])
  const passed = await whole(survey(once(tar), 'skip', (t) => (tally = t)))
  const volume = await archive.file('volumes/uploads.tar.gz', compress(once(passed)), { packed: true })
  await archive.file('config/.env', once(Buffer.from('A=1\n')), {
    meta: { mode: 0o640, uid: 3, gid: 4, mtime: '9' },
  })
  const collection = {
    name: 'User',
    type: 'collection',
    documents: documents.length,
    bytes: part.bytes,
    digest: digest.hex(),
    uuid: '',
    options: '{}',
    indexes: [],
    fuzzy: false,
    part: part.name,
    metadata: metadata.name,
  } as const
  const { leftOut: _, ...held } = tally
  const manifest: Omit<Manifest, 'parts'> = {
    format: 1,
    tool: '0.1.0',
    stackId: wishes.stackId ?? 'meeshy',
    project: 'meeshy',
    stamp,
    started: '2026-01-02T03:04:05.000Z',
    finished: wishes.finished ?? '2026-01-02T03:05:00.000Z',
    complete: wishes.complete ?? true,
    suspect: wishes.suspect ?? [],
    consistency: {
      mongodb: 'snapshot',
      redis: 'snapshot',
      files: 'live',
      times: { mongodb: '', redis: '', files: '' },
    },
    shape: 'legacy',
    arch: 'x64',
    compose: { files: ['/opt/meeshy/docker-compose.yml'], hash: 'h' },
    services: {
      database: { image: 'mongo:8.0', imageId: 'sha256:1', digests: [], configHash: 'c', state: 'running' },
    },
    mongodb: {
      version: '8.0.1',
      fcv: '8.0',
      replicaSet: 'rs0',
      clusterTime: '1,1',
      databases: [{ name: 'meeshy', collections: [collection] }],
    },
    redis: {
      version: '7.0.15',
      rdbVersion: 10,
      keys: 2,
      expiring: 1,
      exact: true,
      appendOnly: false,
      dir: '/data',
      file: 'dump.rdb',
      savedAt: '2026-01-02T03:04:06.000Z',
    },
    volumes: [
      {
        key: 'uploads',
        name: 'meeshy_uploads',
        driver: 'local',
        mounts: [],
        ...held,
        changed: [],
        part: volume.name,
      },
    ],
    config: [{ name: 'config/.env', source: '/opt/meeshy/.env', mode: 0o640, uid: 3, gid: 4 }],
    leftOut: [],
    missing: [],
    read: 100,
  }
  await wishes.add?.(archive)
  const full: Manifest = { ...manifest, parts: [...archive.parts] }
  await archive.finish(JSON.stringify(wishes.lie?.(full) ?? full))
  await archive.close()
  return path
}

/** Writes, verifies and seals a set, and returns its path. */
export async function sealedFixture(dir: string, wishes: Wishes = {}): Promise<string> {
  const partial = await writeFixture(dir, wishes)
  await verifySet(partial, () => {})
  return sealSet(partial)
}
