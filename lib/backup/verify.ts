// Reads a set back, every byte of it, and compares it with what its manifest says.
import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { sentence } from '../errors.ts'
import { countedTar, type LayerTally } from './layer.ts'
import { MANIFEST, readArchive, rootOf, unsafeName } from './archive.ts'
import { documentsIn } from './bson.ts'
import { size, tap } from './bytes.ts'
import { orderFree } from './digest.ts'
import { decompress } from './gzip.ts'
import {
  readManifest,
  type CollectionRecord,
  type LayerRecord,
  type Manifest,
  type VolumeRecord,
} from './manifest.ts'
import { progress, type Report } from './progress.ts'
import { rdbCheck } from './rdb.ts'
import { noteVerified, PARTIAL, readSeal } from './seal.ts'
import { show } from './tar.ts'
import { type Entry } from './untar.ts'
import { survey, type Tally } from './volume.ts'

/**
 * Reads an archive completely: its structure, every part's size and hash, every document's framing, every
 * collection's count and digest, every volume's entries and digest, the Redis snapshot's checksum; of a sealed set
 * the seal too. A partial archive that is good may be sealed afterwards.
 * @throws a sentence that names the first damaged part.
 */
export async function verifySet(path: string, report: Report): Promise<Manifest> {
  if (!existsSync(path)) throw new Error(`There is no ${path}.`)
  const damaged = (what: string, error: unknown): Error =>
    new Error(`${path} is damaged, it must not be relied on: ${what}: ${sentence(error)}`, { cause: error })
  const manifest = await readManifest(path).catch((error: unknown) => {
    throw damaged(MANIFEST, error)
  })
  if (!manifest) throw new Error(`${path} has no manifest: it is of an older procedure, or cut short.`)
  const whole = createHash('sha256')
  const count = progress(report, 'verifying', statSync(path).size)
  let current: string = MANIFEST
  try {
    const expected = expectations(manifest)
    current = 'its beginning'
    const read = readArchive(path, (piece) => {
      whole.update(piece)
      count(current, piece.length)
    })
    for await (const entry of read) {
      current = show(entry.name)
      await checkEntry(entry, manifest, expected)
    }
    current = 'its end'
    const [lost] = expected.keys()
    if (lost !== undefined) throw new Error(`${lost} is not in it`)
  } catch (error) {
    throw damaged(current, error)
  }
  const sha256 = whole.digest('hex')
  if (path.endsWith(PARTIAL)) noteVerified(path, sha256)
  else {
    const sealed = readSeal(path)
    if (sealed !== undefined && sealed !== sha256)
      throw damaged('its seal', new Error('it is not what was sealed'))
  }
  report(`verified: ${basename(path)}, ${size(statSync(path).size)}`)
  return manifest
}

/** What one entry of the archive must be. */
type Expectation =
  | { readonly kind: 'part'; readonly bytes: number; readonly sha256: string; readonly content?: Content }
  | { readonly kind: 'link'; readonly target: string }

type Content =
  | { readonly is: 'collection'; readonly record: CollectionRecord }
  | { readonly is: 'volume'; readonly record: VolumeRecord }
  | { readonly is: 'layer'; readonly record: LayerRecord }
  | { readonly is: 'rdb' }

function expectations({
  parts,
  mongodb,
  redis,
  volumes,
  layers = [],
  config,
  stamp,
}: Manifest): Map<string, Expectation> {
  const contents = new Map<string, Content>()
  // Only an adopted archive of the older procedure may have none, and says so.
  const rdb = `redis/redis_dump_${stamp}.rdb`
  if (redis.rdbVersion > 0 || parts.some((p) => p.name === rdb)) contents.set(rdb, { is: 'rdb' })
  for (const { collections } of mongodb.databases) {
    for (const record of collections) if (record.part) contents.set(record.part, { is: 'collection', record })
  }
  for (const record of volumes) if (record.part) contents.set(record.part, { is: 'volume', record })
  for (const record of layers) contents.set(record.part, { is: 'layer', record })
  const expected = new Map<string, Expectation>()
  for (const { name, bytes, sha256 } of parts) {
    const content = contents.get(name)
    contents.delete(name)
    expected.set(name, { kind: 'part', bytes, sha256, ...(content && { content }) })
  }
  const [unlisted] = contents.keys()
  if (unlisted !== undefined) throw new Error(`its manifest does not list the part ${unlisted}`)
  for (const { name, target } of config)
    if (target !== undefined) expected.set(name, { kind: 'link', target })
  return expected
}

async function checkEntry(
  entry: Entry,
  { stamp }: Manifest,
  expected: Map<string, Expectation>,
): Promise<void> {
  const root = `${rootOf(stamp)}/`
  const wrong = unsafeName(entry.name) ?? (entry.name.startsWith(root) ? undefined : `not below ${root}`)
  if (wrong) throw new Error(`it is refused: ${wrong}`)
  const name = show(entry.name.slice(root.length))
  if (entry.type === 'folder') return
  if (entry.type === 'file' && name === MANIFEST) return // read and parsed before; its bytes are under the checksum
  const what = expected.get(name)
  if (!what) throw new Error('its manifest does not know it')
  expected.delete(name)
  if (what.kind === 'link') return checkLink(entry, name, what.target)
  if (entry.type !== 'file') throw new Error(`it is refused: not a file but a ${entry.type}`)
  if (entry.size !== what.bytes) throw new Error(`it has ${entry.size} bytes instead of ${what.bytes}`)
  const sum = createHash('sha256')
  const body = tap(entry.body, (piece) => sum.update(piece))
  const wrongContent = await checkContent(body, what.content)
  if (sum.digest('hex') !== what.sha256) throw new Error('its bytes are not those that were written')
  if (wrongContent) throw new Error(wrongContent)
}

/** A link of the configuration: it must stay below config/. */
function checkLink(entry: Entry, name: string, target: string): void {
  const steps = [...name.split('/').slice(0, -1), ...show(entry.target).split('/')]
  let depth = 0
  for (const step of steps) {
    if (step !== '.' && step !== '') depth += step === '..' ? -1 : 1
    if (depth < 1) throw new Error('it is refused: a link that leads out')
  }
  if (entry.type !== 'link' || entry.target.startsWith('/'))
    throw new Error('it is refused: a link that leads out')
  if (show(entry.target) !== target) throw new Error('it points somewhere else than it did')
}

/** Reads a part to its end. Returns what is wrong with its content, told only when its bytes are as written. */
async function checkContent(
  body: AsyncIterable<Buffer>,
  content: Content | undefined,
): Promise<string | undefined> {
  if (content?.is === 'collection') return checkCollection(body, content.record)
  if (content?.is === 'volume') return checkVolume(body, content.record)
  if (content?.is === 'layer') return checkLayer(body, content.record)
  const rdb = content?.is === 'rdb' ? rdbCheck() : undefined
  for await (const piece of body) rdb?.see(piece)
  rdb?.end()
  return undefined
}

async function checkCollection(
  body: AsyncIterable<Buffer>,
  record: CollectionRecord,
): Promise<string | undefined> {
  const digest = orderFree()
  let documents = 0
  const next = documentsIn((document) => {
    digest.add(document)
    documents++
  })
  for await (const piece of body) next(piece)
  next()
  if (documents !== record.documents) return `it has ${documents} documents instead of ${record.documents}`
  return digest.hex() === record.digest ? undefined : 'its documents are not those that were read'
}

async function checkLayer(
  body: AsyncIterable<Buffer>,
  { files, bytes }: LayerRecord,
): Promise<string | undefined> {
  let found: LayerTally | undefined
  for await (const _ of countedTar(decompress(body), (tally) => (found = tally)));
  if (found?.files === files && found.bytes === bytes) return undefined
  return `it has ${found?.files} files with ${found?.bytes} bytes instead of ${files} with ${bytes}`
}

async function checkVolume(body: AsyncIterable<Buffer>, record: VolumeRecord): Promise<string | undefined> {
  let found: Tally | undefined
  for await (const _ of survey(decompress(body), 'refuse', (tally) => (found = tally), record.again));
  if (found?.files !== record.files) return `it has ${found?.files} files instead of ${record.files}`
  return found.digest === record.digest ? undefined : 'its files are not those that were read'
}
