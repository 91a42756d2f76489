// A far end for copies of sets: a real ssh server with rsync in a container, keys of its own, and an ssh here that
// knows it by the aliases of a configuration of its own, as an operator's ~/.ssh/config would.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { run, which } from './machine/command.ts'
import { dockerEnv } from './machine/images.ts'
import type { Machine } from './machine/machine.ts'
import { until } from './machine/processes.ts'

/** The far end. `/target` there is the folder `target` here. */
export interface Far {
  readonly target: string
  /** Folder with an `ssh` that reads our configuration: to be put first on PATH. */
  readonly bin: string
  /** Settings of an sftp remote for rclone. */
  readonly sftp: Readonly<Record<string, string>>
  /** Makes a folder below the target that belongs to the user over there, and gives its path here. */
  folder(name: string): string
  /** Runs a command over there, as root. */
  exec(...words: string[]): Promise<string>
  remove(): Promise<void>
}

const NAME = 'rehearsal-copy-far'

/**
 * Starts the far end in a private folder. Aliases: `far` lets us in; `norsync` does, and has no rsync; `stranger` has
 * a key that is not known there; `unknown` and `changed` show a host key that is not, or not the one, known here;
 * nothing listens at `refused`; `hole` accepts and never says a word. Over there `/full` has room for 40 MiB, and
 * `/keys` is read-only.
 */
export async function startFar(machine: Machine, root: string): Promise<Far> {
  const env = dockerEnv(machine)
  const docker = (...words: string[]): Promise<string> => run(machine.docker, words, { env })
  const remove = async (): Promise<void> => {
    const left = await docker('ps', '--all', '--quiet', '--filter', `name=^${NAME}$`)
    if (left.trim() !== '') await docker('rm', '--force', NAME)
  }
  const [keys, target, bin] = ['keys', 'target', 'bin'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ]
  mkdirSync(root, { mode: 0o700 })
  for (const dir of [keys, target, bin]) mkdirSync(dir)
  for (const dir of [keys, target]) chmodSync(dir, 0o755) // the user over there is another one
  await remove() // what a killed run has left

  for (const name of ['host', 'other-host', 'user', 'other-user'])
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(root, name)])
  copyFileSync(join(root, 'host'), join(keys, 'host'))
  copyFileSync(join(root, 'user.pub'), join(keys, 'authorized_keys'))
  chmodSync(join(keys, 'host'), 0o600)
  chmodSync(join(keys, 'authorized_keys'), 0o644)
  writeFileSync(
    join(keys, 'sshd_config'),
    'HostKey /keys/host\nAuthorizedKeysFile /keys/authorized_keys\nPasswordAuthentication no\n' +
      'KbdInteractiveAuthentication no\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\nMatch User games\n  SetEnv PATH=/nowhere\n',
  )

  const uid = process.getuid?.() || 34 // not root, and a user whose files we can read
  const own = (path: string): string => {
    if (process.getuid?.() === 0) chownSync(path, uid, uid)
    return path
  }
  const folder = (name: string): string => {
    const parent = dirname(name)
    if (parent !== '.' && !existsSync(join(target, parent))) folder(parent)
    mkdirSync(join(target, name))
    return own(join(target, name))
  }
  own(target)
  folder('home')
  const setUp =
    'install -d /run/sshd && usermod --shell /bin/sh games && ' +
    `usermod --shell /bin/sh --home /target/home --non-unique --uid ${uid} backup && ` +
    'exec /usr/sbin/sshd -D -e -f /keys/sshd_config'
  const mounts = ['--volume', `${keys}:/keys:ro`, '--volume', `${target}:/target`]
  const full = ['--tmpfs', '/full:size=40m,mode=1777']
  const start = ['run', '--detach', '--name', NAME, '--label', 'rehearsal=1', '--publish', '127.0.0.1::22']
  await docker(...start, ...mounts, ...full, '--entrypoint', 'sh', machine.base, '-c', setUp)
  const [, port = ''] = /127\.0\.0\.1:(\d+)/.exec(await docker('port', NAME, '22')) ?? []

  const hole = createServer()
  const held = new Set<Socket>()
  hole.on('connection', (socket) => held.add(socket))
  await new Promise<void>((resolve) => hole.listen(0, '127.0.0.1', resolve))
  const closed = createServer()
  await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve))
  const { port: closedPort } = closed.address() as AddressInfo
  await new Promise((resolve) => closed.close(resolve))

  const known = async (file: string, key: string): Promise<string> => {
    const [type, text] = (await readFile(join(root, `${key}.pub`), 'utf8')).split(' ')
    writeFileSync(join(root, file), `[127.0.0.1]:${port} ${type} ${text}\n`)
    return join(root, file)
  }
  const alias = (name: string, settings: Record<string, string | number>): string =>
    [`Host ${name}`, ...Object.entries(settings).map(([key, value]) => `  ${key} ${value}`), ''].join('\n')
  const good = await known('known', 'host')
  const config = [
    alias('norsync', { User: 'games' }),
    alias('stranger', { IdentityFile: join(root, 'other-user') }),
    alias('unknown', { UserKnownHostsFile: '/dev/null' }),
    alias('changed', { UserKnownHostsFile: await known('changed', 'other-host') }),
    alias('refused', { Port: closedPort }),
    alias('hole', { Port: (hole.address() as AddressInfo).port }),
    alias('* !stranger', { IdentityFile: join(root, 'user') }),
    alias('far norsync stranger unknown changed refused hole', {
      HostName: '127.0.0.1',
      Port: port,
      User: 'backup',
      IdentitiesOnly: 'yes',
      UserKnownHostsFile: good,
      GlobalKnownHostsFile: '/dev/null',
    }),
  ]
  writeFileSync(join(root, 'ssh_config'), config.join(''))
  // ssh takes the home folder from the list of users, not from HOME: this is the way to another configuration.
  const wrapper = `#!/bin/sh\nexec ${which('ssh') ?? 'ssh'} -F '${join(root, 'ssh_config')}' "$@"\n`
  writeFileSync(join(bin, 'ssh'), wrapper, { mode: 0o755 })

  if (!(await until(() => greets(Number(port)), 15_000)))
    throw new Error(`The ssh server does not answer:\n${await docker('logs', NAME)}`)
  return {
    target,
    bin,
    sftp: {
      type: 'sftp',
      host: '127.0.0.1',
      port,
      user: 'backup',
      key_file: join(root, 'user'),
      known_hosts_file: good,
    },
    folder,
    exec: (...words) => docker('exec', NAME, ...words),
    async remove() {
      hole.close()
      for (const socket of held) socket.destroy()
      await remove()
    },
  }
}

/** Whether an ssh server says its name there. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const settle = (good: boolean): void => {
      resolve(good)
      socket.destroy()
    }
    socket.setTimeout(2_000, () => settle(false))
    socket.once('data', (text) => settle(text.toString().startsWith('SSH-')))
    socket.once('error', () => settle(false))
    socket.once('close', () => settle(false))
  })
}
