// What the steps of a deploy do, where that is more than a command.
import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { size } from '../backup/bytes.ts'
import { docker, inspectImage } from '../docker.ts'
import { refusal } from '../errors.ts'
import { makeFolder } from '../files.ts'
import { groundOf, imageOf } from '../restore/ground.ts'
import { valueOf } from '../stack-rules.ts'
import { readContainers, type Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'
import { waitHealthy } from '../wait.ts'
import { addressesOf, askAll } from './addresses.ts'
import { takeBefore } from './back.ts'
import * as checks from './checks.ts'
import { modelsPlace, networkOf, ownModels, projectOf, readStaging, type Course } from './course.ts'
import { differing, sha256, writeFiles } from './files.ts'
import { pin } from './images.ts'
import { join as joinProxy } from './join.ts'
import { copyModels } from './models.ts'
import { containersOf, networkNamed } from './objects.ts'
import { beyond, hostPorts, othersOf, portsText, refusedPorts } from './reach.ts'
import { initiate, listening, startInOrder } from './start.ts'
import { noteStaging, stagingHere, type Staging } from './record.ts'
import { compareSchemas, hashOfFile, schemaOfImage, type SchemaSeen } from './schema.ts'
import { filesOf, resolve, withValues, type NewFile } from './source.ts'

/** Everything that can be checked, all findings at once. Only reads. */
export async function check(it: Course, doing: Doing): Promise<void> {
  const { production, env, settings } = it
  const first = [
    ...(await checks.settingsProblems(it, doing)),
    ...checks.folderProblems(it),
    ...checks.standingProblems(it),
    ...checks.proxyProblems(production, env.values, doing),
    ...checks.modelsProblems(it),
  ]
  // What Compose makes of settings that are wrong would be a second list of the same.
  if (first.length > 0) throw refused(first)
  it.resolved = await resolve(settings, it.changes)
  const second = [
    ...(await checks.dockerProblems(it.resolved)),
    ...checks.exposureProblems(it.resolved),
    ...checks.bindProblems(it.resolved, it.context.config.STAGING_DIR),
    ...(await checks.collisions(it, it.resolved)),
  ]
  const { pins, problems } = await pin(it.resolved, doing)
  if (second.length + problems.length > 0) throw refused([...second, ...problems])
  pinImages(it, pins)
  if (valueOf(env.values, 'MONGODB_PASSWORD') === '')
    doing.say(
      "staging's MongoDB asks for no password (MONGODB_PASSWORD is empty): only its private network reaches it",
    )
}

const refused = (problems: readonly string[]): Error =>
  refusal(`Staging cannot be deployed like this:\n${problems.join('\n')}\nNothing was changed.`)

/** The settings name each image by its digest from now on. */
function pinImages(it: Course, pins: ReadonlyMap<string, string>): void {
  const changes = Object.fromEntries(
    Object.entries(it.env.values).flatMap(([key, value]) => {
      const pinned = key.endsWith('_IMAGE') ? pins.get(value) : undefined
      return pinned === undefined ? [] : [[key, pinned]]
    }),
  )
  it.env = { text: withValues(it.env.text, changes), values: { ...it.env.values, ...changes } }
}

/** What is written, for a step that runs alone too: then the folder's .env stays, with the digests that it has. */
async function newFiles(it: Course, doing: Doing): Promise<NewFile[]> {
  if (!it.resolved) await check(it, doing)
  return filesOf(it.env.text)
}

/** Notes how staging is now, and makes its folder. */
export async function makeFolders(it: Course, doing: Doing): Promise<void> {
  await noteBefore(it, await newFiles(it, doing))
  const { dir } = projectOf(it)
  if (makeFolder(dir)) doing.say(`made ${dir}`)
}

async function noteBefore(it: Course, files: readonly NewFile[]): Promise<void> {
  const { config } = it.context
  const paths = files.map((f) => f.path)
  const before = await takeBefore(it, paths)
  const here = stagingHere(config)
  const { project, dir } = projectOf(it)
  noteStaging(config, { files: {}, joined: false, ...here, dir, project, network: networkOf(it), before })
}

/** Writes what differs. */
export async function configure(it: Course, doing: Doing): Promise<void> {
  const { config } = it.context
  const files = await newFiles(it, doing)
  await noteBefore(it, files) // also when it runs alone
  const changed = differing(config.STAGING_DIR, files)
  const hashes = Object.fromEntries(files.map(({ path, content }) => [path, sha256(content)]))
  noteStaging(config, { ...standing(it), files: { ...standing(it).files, ...hashes } })
  await doing.effect('Write', { files: changed.map((f) => f.path) }, async () =>
    writeFiles(config.STAGING_DIR, changed),
  )
  doing.say(changed.length === 0 ? 'nothing differs' : `written: ${changed.map((f) => f.path).join(', ')}`)
}

/** @throws refusal when the steps before it were never run */
function standing(it: Course): Staging {
  const here = stagingHere(it.context.config)
  if (here) return here
  throw refusal('There is no staging here yet. Nothing was changed.\n  task deploy-staging')
}

/** Whether the images were built with one and the same schema, and with the project's. */
export async function compareImages(it: Course, doing: Doing): Promise<void> {
  const { production, context } = it
  const staging = await readStaging(it)
  const about = production.about.schema
  if (!about)
    return doing.say(`the schema of the images: skipped, because ${context.config.STACK_FILE} names none`)
  const seen: SchemaSeen[] = []
  for (const name of about.services) {
    const found = staging.services.find((s) => s.name === name)
    const image = found && (await inspectImage(found.image))
    seen.push(
      image ? await schemaOfImage(name, image, about) : { service: name, skipped: 'it has no image here' },
    )
  }
  const file = context.config.SCHEMA
  const wanted = existsSync(file) ? { name: basename(file), hash: await hashOfFile(file) } : undefined
  const { problems, skipped, hash } = compareSchemas(seen, wanted)
  for (const why of skipped) doing.say(`the schema of ${why}`)
  if (!wanted) doing.say(`the comparison with ${file}: skipped, because there is no such file`)
  doing.fact('schema', { hash, skipped, images: seen })
  if (problems.length > 0) throw new Error(problems.join('\n'))
  if (hash !== undefined) doing.say(`built with the schema ${hash.slice(0, 12)}`)
}

/** Compose makes network, volumes and containers; then it is asked what can be reached from there. */
export async function checkReach(it: Course, doing: Doing): Promise<void> {
  const { production, context } = it
  const network = networkOf(it)
  const image = await imageOf(production, production.about.database.service)
  const id = context.config.STACK_ID
  const ports = await hostPorts(network, image, id)
  doing.fact('hostPorts', ports)
  doing.say(portsText(ports))
  const out = await beyond(network, image, id, await othersOf(network))
  const problems = [...refusedPorts(ports), ...out]
  if (problems.length > 0) throw new Error(problems.join('\n'))
  doing.say("nothing else can be reached from staging's network")
}

/** Copies the models, or says why not. */
export async function bringModels(it: Course, doing: Doing): Promise<void> {
  const { models, production, context } = it
  if (models === 'none') return doing.say('none: the translator starts with what its volume has')
  if (models === 'share') return doing.say("production's are mounted, for reading alone: nothing to copy")
  const ground = await groundOf(production, 'staging')
  const to = ownModels(it)
  const free = (): Promise<void> => stopUsers(it, to.source, doing)
  const from = modelsPlace(production)
  const { copied, files, bytes } = await copyModels(ground, from, to, context.stamp, doing, free)
  doing.say(`${copied ? 'copied and compared' : 'the same already'}: ${files} files, ${size(bytes)}`)
}

/** Staging's own containers that use the volume: the next step starts them again. */
async function stopUsers(it: Course, volume: string, doing: Doing): Promise<void> {
  const all = await containersOf(projectOf(it).project)
  const users = all.filter((c) => c.State.Running && c.Mounts.some((m) => m.Name === volume))
  for (const { Id, Name } of users)
    await doing.effect('Stop', { container: Name }, () => docker('stop', '--', Id))
}

/** The engines, their replica set, the proxy's way in, then everything. */
export async function start(it: Course, doing: Doing): Promise<void> {
  const staging = await readStaging(it)
  const { database, redis } = staging.about
  await startInOrder(staging, [database.service, redis.service], doing)
  await listening(staging)
  if (await initiate(await readContainers(staging))) doing.say("MongoDB's replica set was initiated")

  const network = await networkNamed(networkOf(it))
  if (!network) throw new Error(`The network ${networkOf(it)} is not there.`)
  noteStaging(it.context.config, { ...standing(it), joined: true })
  await joinProxy(await readContainers(it.production), network, doing)
  const names = staging.services.map((s) => s.name)
  await startInOrder(staging, names, doing)
}

const PICK_UP = 30_000 // ms that the proxy may take to see a container that is healthy

/** Healthy by content, reached through the proxy, of the images that were pulled, and production as it was. */
export async function verify(it: Course, doing: Doing): Promise<void> {
  const { context, production } = it
  const staging = await readStaging(it)
  const names = staging.services.map((s) => s.name)
  await waitHealthy(staging, names, { onChange: (v) => doing.say(`${v.service}: ${v.evidence}`) })
  const other = (await readContainers(staging)).services.filter((s) => s.container?.Image !== s.imageId)
  if (other.length > 0)
    throw new Error(`Not the image that was pulled runs in ${other.map((s) => s.name).join(', ')}.`)

  const answers = await askAll(addressesOf(staging), PICK_UP)
  for (const { address, ok, evidence } of answers) doing.say(`${ok ? '✔' : '✖'} ${address.url}: ${evidence}`)
  doing.fact(
    'addresses',
    answers.map(({ address: { url }, ok, evidence }) => ({ url, ok, evidence })),
  )
  const wrong = answers.filter((a) => !a.ok)
  if (wrong.length > 0)
    throw new Error(wrong.map(({ address, evidence }) => `${address.url}: ${evidence}`).join('\n'))
  if (answers.some((a) => a.address.guarded))
    doing.say('that the right password opens the guarded ones: skipped, because only its hash is known here')

  const changed = await changedSince(production)
  if (changed.length > 0) doing.fact('attention', changed)
  else doing.say('production: the same containers, none restarted')
  const { before: _, ...now } = standing(it)
  noteStaging(context.config, now)
}

/** Containers of production that are not those from the beginning, or were started anew. */
async function changedSince(production: Stack): Promise<string[]> {
  const now = await readContainers(production)
  return now.services.flatMap(({ name, container }, i) => {
    const was = production.services[i]?.container
    const same = was?.Id === container?.Id && was?.State.StartedAt === container?.State.StartedAt
    return same ? [] : [`production's ${name} is not the container from before: task status`]
  })
}
