// The way back of a deploy: staging as it was before, or nothing where there was none. It looks before it acts, so that
// it may meet any step done, half done or not begun.
import { existsSync, readdirSync, rmdirSync } from 'node:fs'
import { parse } from 'dotenv'
import { compose, docker } from '../docker.ts'
import { exec } from '../shell.ts'
import { readContainers } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { networkOf, projectOf, readStaging, type Course } from './course.ts'
import { filesBefore, putFilesBack, sha256 } from './files.ts'
import { leave } from './join.ts'
import { containersOf, networkNamed, ownerOf, removeContainersOf, serviceOf, volumesOf } from './objects.ts'
import { startInOrder } from './start.ts'
import { forgetStaging, noteStaging, stagingHere, type Before, type Staging } from './record.ts'

/** How staging is now, noted before the first change. A deploy that was killed before this one keeps its own note. */
export async function takeBefore(it: Course, paths: readonly string[]): Promise<Before> {
  const { config } = it.context
  const here = stagingHere(config)
  if (here?.before) return here.before
  const { project } = projectOf(it)
  const containers = await containersOf(project)
  return {
    folder: existsSync(config.STAGING_DIR),
    files: filesBefore(config.STAGING_DIR, [...new Set([...paths, ...Object.keys(here?.files ?? {})])]),
    volumes: (await volumesOf(project)).map((v) => v.Name),
    network: (await networkNamed(networkOf(it))) !== undefined,
    joined: here?.joined ?? false,
    containers: containers.length > 0,
    ran: containers.filter((c) => c.State.Running).map(serviceOf),
  }
}

let done: Promise<void | 'stays'> | undefined

/** Brings back what was there before the deploy. Once for a run, whichever steps ask for it. */
export const bringBackOnce = (it: Course, doing: Doing): Promise<void | 'stays'> =>
  (done ??= bringBack(it, doing))

async function bringBack(it: Course, doing: Doing): Promise<void | 'stays'> {
  const { config, stack } = it.context
  const here = stagingHere(config)
  if (!here?.before) return 'stays' // a step run alone: what was there before it was never noted
  const { before, ...rest } = here
  const seconds = stack.about.stopTimeout / 1000
  if (!before.joined) await leave(await readContainers(stack), here.network, doing)

  const containers = await containersOf(here.project)
  if (!before.containers) {
    await doing.effect('Remove containers', { names: containers.map((c) => c.Name) }, () =>
      removeContainersOf(containers, seconds),
    )
  }
  putFilesBack(here.dir, Object.keys(here.files), before.files)
  // From here on staging is what these say, its password too.
  const env = before.files.find((f) => f.path === '.env')
  if (env) {
    const text = Buffer.from(env.base64, 'base64').toString('utf8')
    it.env = { text, values: parse(text) }
  }
  if (before.containers) {
    // The same names, volumes and network with the files from before: Compose makes anew what differs.
    const project = { project: here.project, dir: here.dir, files: projectOf(it).files }
    await doing.effect('Make what differs anew', {}, () => exec(compose(project, 'create', '--no-build')))
    const idle = (await containersOf(here.project)).filter(
      (c) => c.State.Running && !before.ran.includes(serviceOf(c)),
    )
    for (const { Id, Name } of idle)
      await doing.effect('Stop', { container: Name }, () => docker('stop', '--', Id))
    await startInOrder(await readStaging(it), before.ran, doing)
  }
  await removeNew(here, before, doing)
  if (!before.folder && existsSync(here.dir) && readdirSync(here.dir).length === 0) rmdirSync(here.dir)
  if (before.containers || before.files.length > 0)
    noteStaging(config, { ...rest, files: hashes(before), joined: before.joined })
  else forgetStaging(config)
}

const hashes = ({ files }: Before): Staging['files'] =>
  Object.fromEntries(files.map(({ path, base64 }) => [path, sha256(Buffer.from(base64, 'base64'))]))

/** Volumes and the network that came with the deploy. */
async function removeNew({ project, network: name }: Staging, before: Before, doing: Doing): Promise<void> {
  for (const { Name } of await volumesOf(project)) {
    if (before.volumes.includes(Name)) continue
    await doing.effect('Remove a volume of the deploy', { volume: Name }, () =>
      docker('volume', 'rm', '--', Name),
    )
  }
  const network = await networkNamed(name)
  if (network && !before.network && ownerOf(network) === project)
    await doing.effect('Remove the network', { network: name }, () =>
      docker('network', 'rm', '--', network.Id),
    )
}
