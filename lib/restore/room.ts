// Room for what a restore prepares beside what is there: on every file system concerned, bytes and files.
import { size } from '../backup/bytes.ts'
import type { Manifest } from '../backup/manifest.ts'
import { exec } from '../shell.ts'
import { onPlaces, type Ground } from './ground.ts'
import type { Target } from './record.ts'
import type { Targets } from './targets.ts'

const MARGIN = 1.3 // MongoDB compresses documents; its indexes and journal come on top
const MONGODB = 400 * 2 ** 20 // bytes of a journal and an empty replica set
const HEADROOM = 64 * 2 ** 20 // bytes that stay free
const BLOCK = 4096 // bytes that a file of one byte takes

// Device, free bytes and free inodes of each folder's file system.
const FREE = `shift
for folder in "$@"; do stat -c %d -- "$folder"; stat -f -c '%a %S %d %c' -- "$folder"; done`

/** bytes and files that a target needs beside what is there. */
function needOf(
  { what, kind }: Target,
  { mongodb, volumes, redis, parts }: Manifest,
): { bytes: number; files: number } {
  if (kind === 'mongodb') {
    const bson = mongodb.databases.flatMap((d) => d.collections).reduce((sum, c) => sum + c.bytes, 0)
    return { bytes: bson * MARGIN + MONGODB, files: 1000 }
  }
  const { bytes = 0 } = parts.find((p) => p.name.startsWith('redis/')) ?? {}
  if (kind === 'redis') return { bytes: bytes * (redis.appendOnly ? 3 : 2), files: 10 }
  const volume = volumes.find((v) => v.key === what)
  const files = volume?.files ?? 0
  return { bytes: (volume?.stored ?? volume?.bytes ?? 0) + files * BLOCK, files: files * 1.2 }
}

/** Where there is too little space for what is prepared, with the numbers. */
export async function tooSmall(ground: Ground, manifest: Manifest, targets: Targets): Promise<string[]> {
  const all = [...targets.volumes, ...targets.engines]
  if (all.length === 0) return []
  const { stdout } = await exec(
    onPlaces(
      ground,
      all.map((t) => t.place),
      FREE,
      [''],
    ),
  )
  const lines = stdout.trim().split('\n')
  const disks = new Map<
    string,
    { free: number; inodes: number; needed: number; files: number; what: string[] }
  >()
  all.forEach((target, i) => {
    const device = lines[2 * i] ?? ''
    const [blocks = 0, block = 0, free = 0, inodes = 0] = (lines[2 * i + 1] ?? '').split(' ').map(Number)
    const need = needOf(target, manifest)
    const disk = disks.get(device) ?? {
      free: blocks * block,
      inodes: inodes > 0 ? free : Infinity, // some file systems have no fixed number of files
      needed: HEADROOM,
      files: 0,
      what: [],
    }
    disk.needed += need.bytes
    disk.files += need.files
    disk.what.push(target.what)
    disks.set(device, disk)
  })
  return [...disks.values()].flatMap(({ free, inodes, needed, files, what }) => [
    ...(needed > free
      ? [
          `Too little space for ${what.join(', ')}: what is restored is prepared beside what is there, which needs about ` +
            `${size(needed)}; free are ${size(free)}. Make room, or restore fewer parts (--parts).`,
        ]
      : []),
    ...(files > inodes
      ? [`Too few free inodes for ${what.join(', ')}: ${Math.ceil(files)} are needed, ${inodes} free.`]
      : []),
  ])
}
