// Room for what a restore prepares beside what is there: on every file system concerned, bytes and files.
import { existsSync, statfsSync, statSync } from 'node:fs'
import { size } from '../backup/bytes.ts'
import type { Manifest } from '../backup/manifest.ts'
import { docker } from '../docker.ts'
import { exec } from '../shell.ts'
import { onPlaces, type Ground } from './ground.ts'
import type { Room } from './given.ts'
import type { Target } from './record.ts'
import type { Targets } from './targets.ts'

const MARGIN = 1.3 // MongoDB compresses documents; its indexes and journal come on top
const MONGODB = 400 * 2 ** 20 // bytes of a journal and an empty replica set
const HEADROOM = 64 * 2 ** 20 // bytes that stay free
const BLOCK = 4096 // bytes that a file of one byte takes

// Device, free blocks and files of each folder's file system, and the bytes that the folder holds.
const FREE = `shift
for folder in "$@"; do
  stat -c %d -- "$folder"; stat -f -c '%a %S %d %c' -- "$folder"
  du -s --block-size=1 --exclude='.runbook-*' -- "$folder" | cut -f1
done`

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
export async function tooSmall(
  ground: Ground,
  manifest: Manifest,
  targets: Pick<Targets, 'engines' | 'volumes'>,
  room?: Room,
): Promise<string[]> {
  const here = new Set((await docker('volume', 'ls', '-q')).split('\n'))
  // A volume that is not there yet would be made by looking at it; whoever makes it asks again.
  const all = [...targets.volumes, ...targets.engines].filter(
    ({ place }) => place.type === 'bind' || here.has(place.source),
  )
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
  let held = 0
  const disks = new Map<
    string,
    { free: number; inodes: number; needed: number; files: number; what: string[] }
  >()
  all.forEach((target, i) => {
    const device = lines[3 * i] ?? ''
    const [blocks = 0, block = 0, free = 0, inodes = 0] = (lines[3 * i + 1] ?? '').split(' ').map(Number)
    const need = needOf(target, manifest)
    const disk = disks.get(device) ?? {
      free: blocks * block,
      inodes: inodes > 0 ? free : Infinity, // some file systems have no fixed number of files
      needed: HEADROOM,
      files: 0,
      what: [],
    }
    const used = Number(lines[3 * i + 2] ?? 0)
    held += used
    if (room) disk.free += used
    disk.needed += need.bytes
    disk.files += need.files
    disk.what.push(target.what)
    disks.set(device, disk)
  })
  const scratch = room?.scratch
  const elsewhere = scratch === undefined ? [] : tooSmallScratch(scratch, held)
  const [where, less] =
    ground.purpose === 'drill'
      ? ['in volumes of its own', '']
      : room
        ? ['where everything else was removed', ', or restore fewer parts (--parts)']
        : [
            'beside what is there',
            ', or restore fewer parts (--parts); or let what is there be copied to another file system while the stack is ' +
              'down (--scratch DIR), or be given up (--in-place)',
          ]
  const tight = [...disks.values()].flatMap(({ free, inodes, needed, files, what }) => [
    ...(needed > free
      ? [
          `Too little space for ${what.join(', ')}: what is restored is prepared ${where}, which needs about ` +
            `${size(needed)}; free are ${size(free)}. Make room${less}.`,
        ]
      : []),
    ...(files > inodes
      ? [`Too few free inodes for ${what.join(', ')}: ${Math.ceil(files)} are needed, ${inodes} free.`]
      : []),
  ])
  return [...elsewhere, ...tight]
}

/** The scratch folder must be there, and hold what the places hold now. */
function tooSmallScratch(dir: string, bytes: number): string[] {
  if (!existsSync(dir) || !statSync(dir).isDirectory()) return [`--scratch ${dir} is not a folder.`]
  const { bavail, bsize } = statfsSync(dir)
  const free = bavail * bsize
  return bytes + HEADROOM <= free
    ? []
    : [`--scratch ${dir} has ${size(free)} free; what is there now takes ${size(bytes)}.`]
}
