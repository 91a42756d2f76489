// Debian packages: a few installed on the machine, most only unpacked into our cache.
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { attempt, isExecutable, run, systemEnv } from './command.ts'
import type { Paths } from './paths.ts'

/** Debian 13: its dockerd knows `start_interval` in health checks, and it has Compose v2; Debian 12 has neither. */
const SUITE = 'trixie'

/** The archive's own key: whatever mirror answers, packages that Debian did not sign are refused. */
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** What os-release says about this system; `debian` is the release number, 0 where it is not Debian. */
export async function system(): Promise<{ name: string; debian: number; codename: string }> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '')
  const value = (key: string) => new RegExp(`^${key}="?([^"\n]*)`, 'm').exec(text)?.[1] ?? ''
  return {
    name: value('PRETTY_NAME') || process.platform,
    debian: value('ID') === 'debian' ? Number(value('VERSION_ID')) : 0,
    codename: value('VERSION_CODENAME'),
  }
}

/**
 * Installs packages on the machine, without recommended ones, and removes none. The package lists are fetched only
 * when the packages cannot be had without, and a package manager that was interrupted is first put in order. Throws
 * with apt's words.
 */
export async function install(paths: Paths, packages: readonly string[]): Promise<void> {
  const env = { ...systemEnv(), DEBIAN_FRONTEND: 'noninteractive' }
  // The lock passes to the command: when a set-up was killed, the next one waits for the apt that it left at work.
  const locked = (...command: string[]) =>
    attempt('flock', ['--timeout', '600', paths.aptLock, ...command], { env })
  const options = ['--yes', '--no-install-recommends', '--no-remove', '-o', 'DPkg::Lock::Timeout=120']
  const wanted = ['apt-get', 'install', ...options, ...packages]
  if ((await locked(...wanted)).ok) return
  for (const command of [['dpkg', '--configure', '-a'], ['apt-get', 'update'], wanted]) {
    const { ok, failure } = await locked(...command)
    if (!ok) throw new Error(failure)
  }
}

/** Packages of Debian 13, each with the programs that we need of it, below `/`. */
export type Contents = Record<string, readonly string[]>

/** Names of those packages that are not, or not wholly, unpacked in the cache. */
export const notUnpacked = (paths: Paths, contents: Contents) =>
  Object.entries(contents)
    .filter(
      ([name, programs]) => !programs.every((file) => isExecutable(join(unpackedAt(paths, name), file))),
    )
    .map(([name]) => name)

/** The folder in the cache where a package is unpacked; its files lie below as they would below `/`. */
export const unpackedAt = (paths: Paths, name: string) => join(paths.debian, name)

/**
 * Unpacks packages of Debian 13 in the cache, in place of what is there. Nothing is installed, no script of a package
 * runs, and the system's own apt sources, lists and package database are not touched. Throws with apt's words.
 */
export async function unpack(paths: Paths, packages: readonly string[]): Promise<void> {
  const work = join(paths.partial, 'apt')
  const { env } = await privateApt(work)
  await run('apt-get', ['download', ...packages], { env, cwd: work })
  const archives = (await readdir(work)).filter((name) => name.endsWith('.deb'))
  await mkdir(paths.debian, { recursive: true })
  for (const name of packages) {
    const archive = archives.find((file) => file.startsWith(`${name}_`))
    if (archive === undefined) throw new Error(`apt-get download ${name} ended well but left no package.`)
    await run('dpkg-deb', ['--extract', join(work, archive), join(work, name)])
    await rm(unpackedAt(paths, name), { recursive: true, force: true })
    await rename(join(work, name), unpackedAt(paths, name))
  }
  await rm(work, { recursive: true })
}

/** The mirror of the Debian archive that this machine's apt uses. Throws when its sources name none that works. */
export async function debianMirror(paths: Paths): Promise<string> {
  const work = join(paths.partial, 'apt')
  const { mirror } = await privateApt(work)
  await rm(work, { recursive: true })
  return mirror
}

/** A Debian suite on a mirror as one line of apt's sources. */
export const sourceLine = (mirror: string, suite: string) =>
  `deb [signed-by=${KEYRING}] ${mirror} ${suite} main`

/**
 * An apt of our own in a new folder: own configuration, sources and package lists, those of Debian 13 fetched. `env`
 * makes apt-get use it. The mirror is one of those that the system's apt names for this system's own suite: the
 * first one that serves Debian, which the archive's key proves.
 */
async function privateApt(folder: string): Promise<{ env: NodeJS.ProcessEnv; mirror: string }> {
  await rm(folder, { recursive: true, force: true })
  for (const name of ['lists/partial', 'cache', 'none']) await mkdir(join(folder, name), { recursive: true })
  const settings = {
    'Dir::State::lists': 'lists',
    'Dir::Cache': 'cache',
    'Dir::Etc::sourcelist': 'sources.list',
    'Dir::Etc::sourceparts': 'none',
    'Dir::Etc::preferences': 'no-preferences',
    'Dir::Etc::preferencesparts': 'none',
  }
  const lines = Object.entries(settings).map(([key, value]) => `${key} "${join(folder, value)}";`)
  // The cache is private to us; apt's own user could not write there.
  const text = [...lines, 'APT::Sandbox::User "root";', ''].join('\n')
  await writeFile(join(folder, 'apt.conf'), text)
  const env = { ...systemEnv(), APT_CONFIG: join(folder, 'apt.conf') }

  const failures: string[] = []
  for (const mirror of await mirrors()) {
    await writeFile(join(folder, 'sources.list'), `${sourceLine(mirror, SUITE)}\n`)
    const update = await attempt('apt-get', ['update', '-o', 'APT::Update::Error-Mode=any'], { env })
    if (update.ok) return { env, mirror }
    failures.push(update.failure)
  }
  throw new Error(
    ["None of the sources that this machine's apt names serves Debian.", ...failures].join('\n'),
  )
}

/** The places from which the system's apt takes this system's own suite, in the order of its sources. */
async function mirrors(): Promise<string[]> {
  const { codename } = await system()
  // apt reads its own sources in whatever format; it prints what an update would fetch, and fetches nothing.
  const uris = await run('apt-get', ['update', '--print-uris'])
  const releases = uris.matchAll(/^'(.+)\/dists\/([^/]+)\/InRelease'/gm)
  return [...releases].filter(([, , suite]) => suite === codename).map(([, mirror]) => mirror!)
}
