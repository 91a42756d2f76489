// What is not loaded, as files beside the report: archived and dropped collections, quarantined documents, and fields
// without a home. Documents as BSON, one after the other, in mongodump's layout, so that mongorestore takes them.
import { createHash } from 'node:crypto'
import { createWriteStream, fsyncSync, openSync, closeSync, type WriteStream } from 'node:fs'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { fileName } from '../../lib/backup/catalogue.ts'
import { makeFolder } from '../../lib/files.ts'

export interface AsideFile {
  /** Below the folder of the report. */
  readonly path: string
  readonly documents: number
  readonly bytes: number
  readonly sha256: string
}

export interface Aside {
  /** Appends to one of the files of a collection. */
  add(kind: AsideKind, collection: string, bytes: Uint8Array): Promise<void>
  /** Makes a file although nothing is in it. */
  touch(kind: AsideKind, collection: string): void
  /** Ends all files, on disk. */
  close(): Promise<readonly AsideFile[]>
}

/** `metadata` is what mongodump writes beside an archive; `quarantine` and `dropped` hold the documents themselves; the reasons are a line of JSON for each. */
export type AsideKind =
  'archive' | 'metadata' | 'quarantine' | 'reasons' | 'dropped' | 'dropped-reasons' | 'sidecar'

const PLACE: Readonly<Record<AsideKind, readonly [folder: string, ending: string]>> = {
  archive: ['archive', '.bson'],
  metadata: ['archive', '.metadata.json'],
  quarantine: ['quarantine', '.bson'],
  reasons: ['quarantine', '.reasons.jsonl'],
  dropped: ['dropped', '.bson'],
  'dropped-reasons': ['dropped', '.reasons.jsonl'],
  sidecar: ['sidecar', '.bson'],
}

interface Open {
  readonly path: string
  readonly stream: WriteStream
  readonly hash: ReturnType<typeof createHash>
  documents: number
  bytes: number
}

/** Files 0600 in folders 0700, below `dir`. A file is there only when something was put into it. */
export function openAside(dir: string): Aside {
  const open = new Map<string, Open>()
  const fileOf = (kind: AsideKind, collection: string): Open => {
    const [folder, ending] = PLACE[kind]
    const path = join(folder, `${fileName(collection)}${ending}`)
    const known = open.get(path)
    if (known) return known
    makeFolder(dirname(join(dir, path)))
    const stream = createWriteStream(join(dir, path), { mode: 0o600, flags: 'wx' })
    const file = { path, stream, hash: createHash('sha256'), documents: 0, bytes: 0 }
    stream.on('error', () => {}) // told when it is written to or ended
    open.set(path, file)
    return file
  }
  return {
    async add(kind, collection, bytes) {
      const file = fileOf(kind, collection)
      file.documents++
      file.bytes += bytes.length
      file.hash.update(bytes)
      if (file.stream.errored) throw file.stream.errored
      if (!file.stream.write(bytes)) await once(file.stream, 'drain')
    },
    touch: (kind, collection) => void fileOf(kind, collection),
    async close() {
      const files: AsideFile[] = []
      for (const { path, stream, hash, documents, bytes } of open.values()) {
        stream.end()
        if (!stream.closed) await once(stream, 'close')
        if (stream.errored) throw stream.errored
        sync(join(dir, path))
        files.push({ path, documents, bytes, sha256: hash.digest('hex') })
      }
      return files.toSorted((a, b) => (a.path < b.path ? -1 : 1))
    },
  }
}

function sync(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
