// Runs inside a container of the base image: writes the legacy files below /volumes, one folder for each volume.
import {
  chown,
  lchown,
  link,
  lutimes,
  mkdir,
  open,
  readdir,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { uploads, type Upload } from './data/files.ts'

const VOLUMES = '/volumes'

const [scale, seed] = process.argv.slice(2).map(Number)
const made = new Set<string>()
for (const upload of uploads({ scale: scale ?? 1, seed: seed ?? 1 })) await write(upload)

// A volume that nothing was written to is an orphan: what it holds was left by somebody.
for (const volume of await readdir(VOLUMES)) {
  const entries = await readdir(join(VOLUMES, volume))
  if (entries.length === 0) await writeFile(join(VOLUMES, volume, 'leftover.bin'), Buffer.alloc(4096, volume))
}

async function write(upload: Upload): Promise<void> {
  const { volume, path, mode, uid, gid, mtime, link: target, hole } = upload
  const root = join(VOLUMES, volume)
  const file = join(root, path)
  await makeFolder(dirname(file), root, uid, gid)
  if (target?.kind === 'hard') return await link(join(root, target.to), file)
  if (target) {
    await symlink(target.to, file)
    await lchown(file, uid, gid)
    return await lutimes(file, mtime, mtime)
  }
  const handle = await open(file, 'wx')
  try {
    await handle.write(upload.bytes(), 0, undefined, hole ?? 0)
    await handle.chown(uid, gid)
    await handle.chmod(mode)
  } finally {
    await handle.close()
  }
  await utimes(file, mtime, mtime)
}

async function makeFolder(folder: string, root: string, uid: number, gid: number): Promise<void> {
  if (folder === root || made.has(folder)) return
  await makeFolder(dirname(folder), root, uid, gid)
  made.add(folder)
  const first = await mkdir(folder, { recursive: true })
  if (first) await chown(folder, uid, gid)
}
