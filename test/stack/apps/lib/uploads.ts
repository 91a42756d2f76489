// Files that users send: written under a temporary name, synced, renamed; found again only below their folder.
import { mkdir, open, rename, stat } from 'node:fs/promises'
import { dirname, resolve, sep } from 'node:path'
import { HttpError } from './http.ts'

/** `YYYY/MM` of today. */
export function monthFolder(): string {
  return new Date().toISOString().slice(0, 7).replace('-', '/')
}

/** Stores bytes as `folder/path`; when it returns they are on the disk under that name. */
export async function store(folder: string, path: string, bytes: Buffer): Promise<void> {
  const file = resolve(folder, path)
  await mkdir(dirname(file), { recursive: true })
  const handle = await open(`${file}.part`, 'wx')
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(`${file}.part`, file)
  const directory = await open(dirname(file))
  await directory.sync()
  await directory.close()
}

/** The file at `folder/path`. Throws HttpError 404 when there is none or the path leaves the folder. */
export async function existing(folder: string, path: string): Promise<string> {
  const file = resolve(folder, path)
  const found = file.startsWith(folder + sep) && (await stat(file).catch(() => undefined))
  if (!found || !found.isFile()) throw new HttpError(404, 'no such file')
  return file
}
