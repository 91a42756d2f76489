// The image from which all stand-ins are built: Debian 12 with Redis, nginx and small tools, the real mongod, Node.
import { createHash } from 'node:crypto'
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { attempt, run } from './command.ts'
import { debianMirror, sourceLine } from './debian.ts'
import { dockerEnv, type Host, imageRef, provide } from './images.ts'
import type { Paths } from './paths.ts'
import { MONGOD, programOf } from './python.ts'
import type { Step } from './step.ts'

/**
 * The stand-ins' servers, what their health checks call (curl, wget, netstat), what mongod is linked to, and a far end
 * for copies of sets (rsync, an ssh server).
 */
const PACKAGES =
  'redis-server,nginx-light,curl,wget,net-tools,procps,rsync,openssh-server,zstd,openssl,ca-certificates,libcurl4,liblzma5'
const SUITE = 'bookworm'

const DOCKERFILE = `ARG DEBIAN
FROM \${DEBIAN}
COPY mongod node /usr/local/bin/
RUN node --version && mongod --version
`

/**
 * Has `rehearsal/base:1` in Docker and in the registry, and gives its name. Node is this process's own program, so
 * another version of Node makes another base. Throws when it cannot be built, or when this Node does not run in it.
 */
export async function ensureBase(paths: Paths, host: Host, step: Step): Promise<string> {
  const debian = imageRef(host, 'debian', '1')
  const recipe = { packages: PACKAGES, suite: SUITE }
  const { id } = await provide(host, debian, sha256(recipe), step, () =>
    buildDebian(paths, host, debian, sha256(recipe)),
  )
  const base = imageRef(host, 'base', '1')
  const content = sha256({ id, DOCKERFILE, node: process.version, mongod: MONGOD.version })
  await provide(host, base, content, step, () => buildBase(paths, host, { base, debian, content }))
  return base
}

async function buildDebian(paths: Paths, host: Host, ref: string, content: string): Promise<void> {
  const tar = join(paths.partial, 'debian.tar')
  const source = sourceLine(await debianMirror(paths), SUITE)
  await run('mmdebstrap', ['--variant=minbase', `--include=${PACKAGES}`, SUITE, tar, source])
  const labels = ['--change', `LABEL rehearsal=1 rehearsal.content=${content}`]
  await run(host.docker, ['import', ...labels, tar, ref], { env: dockerEnv(host) })
  await rm(tar)
}

async function buildBase(
  paths: Paths,
  host: Host,
  { base, debian, content }: { base: string; debian: string; content: string },
): Promise<void> {
  const context = join(paths.partial, 'base')
  await mkdir(context, { recursive: true })
  await copyFile(programOf(paths, MONGOD), join(context, 'mongod'))
  await copyFile(process.execPath, join(context, 'node'))
  await writeFile(join(context, 'Dockerfile'), DOCKERFILE)
  const labels = ['--label', 'rehearsal=1', '--label', `rehearsal.content=${content}`]
  const options = ['--quiet', '--tag', base, ...labels, '--build-arg', `DEBIAN=${debian}`]
  const env = { ...dockerEnv(host), DOCKER_BUILDKIT: '0' }
  const build = await attempt(host.docker, ['build', ...options, context], { env })
  if (!build.ok)
    throw new Error(
      `The base image could not be built. If it is node that does not run there: ${process.execPath} needs ` +
        `libraries that Debian 12 does not have; run the set-up with an official build of Node.\n${build.failure}`,
    )
  await rm(context, { recursive: true })
}

const sha256 = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex')
