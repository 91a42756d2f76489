// Files of ours: private, and whole or not there at all, also after a power cut.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { sentence, usage } from './errors.ts'

/** Makes a folder of ours, 0700 whatever the umask. @throws usage (exit 2) naming the folder and the reason. */
export function privateFolder(path: string, key: string): string {
  try {
    makeFolder(path)
    return path
  } catch (error) {
    throw usage(`${key} ${path} cannot be made: ${sentence(error)}. Nothing was changed.`)
  }
}

/**
 * Makes a folder and those above it, 0700, one level after the other: with `recursive`, Node 20 never returns below
 * /proc. @returns whether it was made. @throws what the system says.
 */
export function makeFolder(path: string): boolean {
  if (existsSync(path)) {
    if (statSync(path).isDirectory()) return false
    throw new Error(`${path} is not a folder`)
  }
  makeFolder(dirname(path))
  try {
    mkdirSync(path, { mode: 0o700 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error // another run was quicker
    return false
  }
}

/** Replaces a file atomically: written aside 0600, fsynced, renamed, its folder fsynced. */
export function writeWhole(path: string, content: string | Buffer): void {
  const aside = `${path}.partial`
  try {
    const fd = openSync(aside, 'w', 0o600)
    try {
      writeFileSync(fd, content)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(aside, path)
  } catch (error) {
    rmSync(aside, { force: true })
    throw error
  }
  syncFolder(dirname(path))
}

/** Makes the renames in a folder durable. */
export function syncFolder(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
