// The files in the legacy production's volumes: those that documents tell of, and those that are hard to copy.
import { createCipheriv, createHash } from 'node:crypto'
import { attachmentOf } from './collections/messages.ts'
import { avatarPath } from './collections/people.ts'
import { draw } from './draw.ts'
import { legacyWorld, type Scope } from './legacy.ts'
import { sentence } from './words.ts'
import type { World } from './world.ts'

/** A volume by its key in the Compose file. */
export type Volume =
  'gateway_uploads' | 'frontend_uploads' | 'models_data' | 'traefik_certs' | 'redis-ui-data'

export interface Upload {
  readonly volume: Volume
  /** Below the volume; unique in it. Its folders are not listed. */
  readonly path: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtime: Date
  /** The content; empty for a link. */
  bytes(): Buffer
  /** A symbolic link's text, or for a hard link the path of a file of the volume that is listed before. */
  readonly link?: { readonly kind: 'symbolic' | 'hard'; readonly to: string }
  /** Bytes of a hole before `bytes()`. */
  readonly hole?: number
}

export interface FilesScope extends Scope {
  /** Size of all models together; 20 MiB times the scale when left out. */
  readonly modelBytes?: number
}

const MIB = 2 ** 20
const THUMBNAIL = 1500 // bytes
const SPARSE = 8 * MIB
const ROOT = { uid: 0, gid: 0 }
/** The user that the applications run as. */
const APP = { uid: 1001, gid: 1001 }
const OCTOBER = new Date('2025-10-19T14:07:06.500Z')

const MAGIC: Readonly<Record<string, Buffer>> = {
  jpg: Buffer.from('ffd8ffe000104a46494600010100000100010000', 'hex'),
  png: Buffer.from('89504e470d0a1a0a', 'hex'),
  pdf: Buffer.from('%PDF-1.7\n'),
  webm: Buffer.from('1a45dfa3', 'hex'),
  mp4: Buffer.from('000000186674797069736f6d', 'hex'),
}

/** Names that are hard on whoever copies, quotes or prints them. */
const HARD_NAMES = [
  'photo de vacances.jpg',
  `l'été "à" la mer.jpg`,
  'deux\nlignes.txt',
  '-rf',
  '$(touch pwned).txt',
  '`id`; echo *.txt',
  'cafe\u0301.txt', // the accent as a character of its own
  'fin ',
  `${'long-'.repeat(48)}.txt`,
  'a'.repeat(90) + '/' + 'b'.repeat(90) + '/' + 'c'.repeat(90) + '.txt',
]

/** Every file and link of the volumes, the same for the same scope. */
export function* uploads({
  scale = 1,
  seed = 1,
  modelBytes = 20 * MIB * scale,
}: FilesScope = {}): Generator<Upload> {
  const world = legacyWorld(seed, scale)
  yield* attachments(world)
  yield* hardFiles(seed)
  yield* avatars(world)
  yield* models(seed, modelBytes)
  yield* settings(seed)
}

function* attachments(world: World): Generator<Upload> {
  for (let i = 0; i < world.size.MessageAttachment; i++) {
    const d = draw(world, 'MessageAttachment', i)
    const { isStored, path, thumbnail, bytes, message } = attachmentOf(d, i)
    if (!isStored) continue
    const mtime = d.timeOf('Message', message)
    const about = { volume: 'gateway_uploads', mode: 0o644, ...APP, mtime } as const
    yield { ...about, path: `attachments/${path}`, bytes: () => content(world.seed, path, bytes) }
    if (!thumbnail) continue
    yield {
      ...about,
      path: `attachments/${thumbnail}`,
      bytes: () => content(world.seed, thumbnail, THUMBNAIL),
    }
  }
}

function* hardFiles(seed: number): Generator<Upload> {
  const about = { volume: 'gateway_uploads', mode: 0o644, ...APP, mtime: OCTOBER } as const
  const text = (name: string) => () => content(seed, name, 700)
  const nothing = () => Buffer.alloc(0)
  for (const name of HARD_NAMES) yield { ...about, path: `attachments/2025/10/${name}`, bytes: text(name) }
  yield { ...about, path: 'attachments/2025/10/empty.txt', bytes: nothing }
  yield {
    ...about,
    path: 'attachments/2025/10/private.pdf',
    mode: 0o600,
    uid: 4242,
    gid: 4243,
    bytes: text('private.pdf'),
  }
  yield { ...about, path: 'attachments/2025/10/sparse.bin', hole: SPARSE, bytes: text('sparse.txt') }
  const [first] = HARD_NAMES as [string]
  yield {
    ...about,
    path: 'attachments/2025/10/soft.jpg',
    bytes: nothing,
    link: { kind: 'symbolic', to: first },
  }
  yield {
    ...about,
    path: 'attachments/2025/11/hard.jpg',
    bytes: nothing,
    link: { kind: 'hard', to: `attachments/2025/10/${first}` },
  }
}

function* avatars(world: World): Generator<Upload> {
  const places = Array.from({ length: world.size.User }, (_, place) => avatarPath(world, place))
  const groups = [1, 2, 3].map((n) => `i/2025/10/group_${n}.jpg`)
  for (const path of [...places, ...groups]) {
    if (!path) continue
    const bytes = () => content(world.seed, path, 4000)
    yield { volume: 'frontend_uploads', path, mode: 0o644, ...APP, mtime: OCTOBER, bytes }
  }
}

/** Laid out as the library that loads models does: links in a snapshot, the content below `blobs`. */
function* models(seed: number, total: number): Generator<Upload> {
  const about = { volume: 'models_data', mode: 0o644, ...ROOT, mtime: OCTOBER } as const
  const parts = [
    { model: 'models--facebook--nllb-200-distilled-600M', name: 'pytorch_model.bin', share: 0.7 },
    { model: 'models--facebook--nllb-200-distilled-600M', name: 'sentencepiece.bpe.model', share: 0.05 },
    { model: 'models--Helsinki-NLP--opus-mt-fr-en', name: 'pytorch_model.bin', share: 0.25 },
  ]
  for (const { model, name, share } of parts) {
    const blob = createHash('sha256').update(`${seed} ${model} ${name}`).digest('hex')
    const revision = createHash('sha1').update(model).digest('hex')
    const bytes = () => noise(`${seed} ${blob}`, Math.round(total * share))
    yield { ...about, path: `${model}/blobs/${blob}`, bytes }
    const link = { kind: 'symbolic', to: `../../blobs/${blob}` } as const
    yield { ...about, path: `${model}/snapshots/${revision}/${name}`, bytes: () => Buffer.alloc(0), link }
  }
}

function* settings(seed: number): Generator<Upload> {
  const key = noise(`${seed} acme`, 1200).toString('base64')
  const main = ['meeshy.me', 'gate.meeshy.me', 'static.meeshy.me']
  const acme = {
    letsencrypt: {
      Account: { PrivateKey: key },
      Certificates: main.map((name) => ({ domain: { main: name }, key })),
    },
  }
  const about = { ...ROOT, mtime: OCTOBER, mode: 0o600 }
  yield { ...about, volume: 'traefik_certs', path: 'acme.json', bytes: () => json(acme) }
  const connections = {
    list: [{ name: 'production', host: 'redis', port: 6379, id: 'p3x' }],
    version: '2025.4',
  }
  yield {
    ...about,
    volume: 'redis-ui-data',
    path: 'p3xrs-conns.json',
    mode: 0o644,
    bytes: () => json(connections),
  }
}

function json(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`)
}

/** So many bytes that begin as the name's ending says; text is text, everything else cannot be compressed. */
function content(seed: number, name: string, length: number): Buffer {
  const ending = name.slice(name.lastIndexOf('.') + 1)
  const random = noise(`${seed} ${name}`, length)
  if (ending !== 'txt') return Buffer.concat([MAGIC[ending] ?? Buffer.alloc(0), random]).subarray(0, length)
  const line = `${sentence('fr', random[0] ?? 0)}\n`
  return Buffer.from(line.repeat(Math.ceil(length / line.length))).subarray(0, length)
}

/** So many bytes that look random, the same for the same label. */
function noise(label: string, length: number): Buffer {
  const key = createHash('sha256').update(label).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}
