// The seal of a set: <set>.tar.gz.sha256, as `sha256sum -c` reads it. An archive without it is not a backup.
//
//   writing     X.tar.gz.ID.partial
//   read back   X.tar.gz.ID.partial  X.tar.gz.ID.partial.sha256  the hash of the very bytes that were verified
//   sealing     X.tar.gz.ID.partial  X.tar.gz.sha256             killed here: cleanPartials checks the hash, goes on
//   sealed      X.tar.gz             X.tar.gz.sha256
//
// (ID is the stack's: two stacks may keep their sets in one folder, and each cleans up after itself alone.)
// So nothing without a seal ever has a final name, and nothing unverified can get a seal.
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, renameSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { syncFolder, writeWhole } from '../files.ts'
import { interruption, quote } from '../shell.ts'
import { rootOf } from './archive.ts'

export const PARTIAL = '.partial'
export const SEAL = '.sha256'

/** Where the set of a stamp is, once it is sealed. */
export const setPath = (dir: string, stamp: string): string => join(dir, `${rootOf(stamp)}.tar.gz`)

const UNFINISHED = /^(.*\.tar\.gz)\.([a-z0-9-]+)\.partial(?:\.sha256)?$/s

/** Where a stack writes the set that will have that path. */
export const partialPath = (final: string, stackId: string): string => `${final}.${stackId}${PARTIAL}`

/** The final path of an unfinished one. */
export const finalPath = (partial: string): string => partialOf(partial)?.set ?? partial

/** Which set an unfinished file (the archive, or its noted hash) is to become, and whose it is. */
export function partialOf(name: string): { set: string; stackId: string } | undefined {
  const [, set, stackId] = UNFINISHED.exec(name) ?? []
  return set === undefined || stackId === undefined ? undefined : { set, stackId }
}

/** Notes the hash of a partial archive that was just verified; sealSet makes it the seal. */
export function noteVerified(partial: string, sha256: string): void {
  writeWhole(partial + SEAL, `${sha256}  ${basename(finalPath(partial))}\n`)
}

/**
 * Seals a partial archive that verifySet found good, and returns its final path. A kill at any point leaves either
 * the partial archive or the sealed set.
 * @throws when it was not verified, or was changed since, or a set of that name exists.
 */
export async function sealSet(partial: string): Promise<string> {
  const final = finalPath(partial)
  const noted = partial + SEAL
  if (existsSync(final)) throw new Error(`${final} exists already: a set is never replaced.`)
  if (!existsSync(noted)) throw new Error(`${partial} was not read back yet: it cannot be sealed.`)
  if (statSync(noted, { bigint: true }).mtimeNs < statSync(partial, { bigint: true }).mtimeNs) {
    throw new Error(`${partial} was changed after it was read back: it cannot be sealed.`)
  }
  const file = await open(partial, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
  renameSync(noted, final + SEAL)
  syncFolder(dirname(final))
  renameSync(partial, final)
  syncFolder(dirname(final))
  return final
}

/** The hash that a set's seal names; undefined when there is no seal, or it is not one for this file. */
export function readSeal(path: string): string | undefined {
  if (!existsSync(path + SEAL)) return undefined
  const [, sha256, name] = /^([0-9a-f]{64}) [ *](.+)\n$/.exec(readFileSync(path + SEAL, 'utf8')) ?? []
  return name === basename(path) ? sha256 : undefined
}

/** Why a set counts as unsealed; undefined when its seal is one for it. */
export function sealProblem(path: string): string | undefined {
  if (readSeal(path) !== undefined) return undefined
  if (!existsSync(path + SEAL)) return 'it has no seal'
  const [, name] = /^[0-9a-f]{64} [ *](.+)\n$/.exec(readFileSync(path + SEAL, 'utf8')) ?? []
  return name === undefined ? 'its seal cannot be read' : `its seal is that of ${JSON.stringify(name)}`
}

/** The line that makes a seal for an archive that has lost its own. */
export const resealLine = (path: string): string =>
  `(cd ${quote(dirname(path))} && umask 077 && sha256sum -- ${quote(basename(path))} > ${quote(basename(path) + SEAL)})`

/** Compares every byte of a set with its seal. @throws a sentence when it has none or a byte is not as it was. */
export async function checkSeal(path: string): Promise<void> {
  const sealed = readSeal(path)
  if (sealed === undefined)
    throw new Error(`${path} has no seal (${basename(path)}${SEAL}): it is not verified.`)
  if ((await sha256Of(path)) !== sealed)
    throw new Error(`${path} is not what was sealed: it was changed or is damaged.`)
}

/** SHA-256 of a file, hexadecimal. */
export async function sha256Of(path: string): Promise<string> {
  const sum = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    interruption.getStore()?.throwIfAborted()
    sum.update(piece as Buffer)
  }
  return sum.digest('hex')
}
