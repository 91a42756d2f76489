// The Compose files and .env from which the containers were made: kept while they are in use, so that an update that
// fails after somebody has edited them can go back to what ran.
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { privateFolder, writeWhole } from './files.ts'
import { CONFIG_HASH, reconfigured, type Stack } from './stack.ts'

interface KeptFile {
  readonly path: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly base64: string
}

export interface KeptConfiguration {
  /** Compose's hash of each service's configuration. */
  readonly hashes: Readonly<Record<string, string>>
  readonly files: readonly KeptFile[]
}

const LARGEST = 2 ** 20 // bytes: what is larger is no configuration
const FILE = 'configuration.json'

/** Keeps the configuration as it is now, if it is the one that every container was made from; otherwise does nothing. */
export function keepConfiguration(stack: Stack): void {
  if (stack.services.every((s) => !s.container) || reconfigured(stack).length > 0) return
  const files = composesFiles(stack).map((path): KeptFile => {
    const { mode, uid, gid } = statSync(path)
    return { path, mode: mode & 0o7777, uid, gid, base64: readFileSync(path).toString('base64') }
  })
  const kept: KeptConfiguration = {
    hashes: Object.fromEntries(stack.services.map((s) => [s.name, s.configHash])),
    files,
  }
  writeWhole(join(privateFolder(stack.config.STATE_DIR, 'STATE_DIR'), FILE), JSON.stringify(kept))
}

/** The Compose files, .env, and what lies beside them and is named in them (env_file, extends). */
function composesFiles({ dir, files }: Stack): string[] {
  const texts = files.map((f) => readFileSync(f, 'utf8')).join('\n')
  const beside = readdirSync(dir).filter(
    (name) => name === '.env' || (/env|\.ya?ml$/.test(name) && texts.includes(name)),
  )
  const all = new Set([...files, ...beside.map((name) => join(dir, name))])
  return [...all].filter(
    (path) => existsSync(path) && statSync(path).isFile() && statSync(path).size <= LARGEST,
  )
}

/**
 * The configuration from which the containers that run were made, where the files are another one now and it was kept;
 * undefined when it was not.
 */
export function keptConfiguration(stack: Stack): KeptConfiguration | undefined {
  const file = join(stack.config.STATE_DIR, FILE)
  if (!existsSync(file)) return undefined
  const kept = JSON.parse(readFileSync(file, 'utf8')) as KeptConfiguration
  const fits = stack.services.every(
    ({ name, container }) => !container || kept.hashes[name] === container.Config.Labels[CONFIG_HASH],
  )
  return fits ? kept : undefined
}

/**
 * Puts the kept files where they were; what is there now is kept beside as `<file>.failed-<stamp>`. Safe to repeat.
 * @returns the names of the files that were put back.
 */
export function putConfigurationBack({ files }: KeptConfiguration, stamp: string): string[] {
  const back: string[] = []
  for (const { path, mode, uid, gid, base64 } of files) {
    const content = Buffer.from(base64, 'base64')
    if (existsSync(path) && readFileSync(path).equals(content)) continue
    if (existsSync(path)) {
      copyFileSync(path, `${path}.failed-${stamp}`)
      chmodSync(`${path}.failed-${stamp}`, 0o600)
    }
    const aside = `${path}.runbook`
    writeWhole(aside, content)
    chmodSync(aside, mode)
    chownSync(aside, uid, gid)
    renameSync(aside, path)
    back.push(basename(path))
  }
  return back
}
