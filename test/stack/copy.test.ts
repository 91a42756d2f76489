// Copies of sets at a real far end: ssh, rsync and rclone as they are.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import { copySet, copyTarget, writeCopy } from '../../lib/backup/copy.ts'
import { SEAL } from '../../lib/backup/seal.ts'
import { interruption } from '../../lib/shell.ts'
import { sealedFixture } from '../unit/backup-fixture.ts'
import { startFar, type Far } from './far.ts'
import { run, which } from './machine/command.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'
import { processes, until, type Process } from './machine/processes.ts'

const root = mkdtempSync(join(tmpdir(), 'rehearsal-copy-'))
const made: { machine?: Machine; far?: Far; set?: string; middling?: string; big?: string } = {}
let hole: Promise<string> | undefined // ssh takes its 10 s to give up: meanwhile the other tests run
const MB = 1_000_000
const PATH = process.env.PATH ?? ''

before(
  async () => {
    const machine = await ensureMachine({ copyTools: true })
    made.machine = machine
    if (machine.noCopies) return
    made.far = await startFar(machine, join(root, 'far'))
    process.env.PATH = `${made.far.bin}:${PATH}`
    await configureRclone(made.far.sftp)
    process.umask(0o077) // as the scripts; over there it is 022
    made.set = await sealedFixture(sets('small'))
    for (const path of [made.set, made.set + SEAL]) chmodSync(path, 0o644) // as somebody may have left them
    chmodSync(dirname(made.set), 0o755)
    hole = fails(made.set, 'rsync:hole:/target', /hole does not answer/, 20_000)
    hole.catch(() => {}) // told by its test
    made.middling = fabricated(sets('middling'), 'pre-update-20260103_000000.tar.gz', 30 * MB)
    made.big = fabricated(sets('big'), 'pre-update-20260103_000000.tar.gz', 100 * MB)
  },
  { timeout: 300_000 },
)
/** Where the remotes of rclone keep their files. */
const there = (name: string): string => join(root, 'rclone', name)

/** `far` is a folder here, `dark` is one where names and bytes are encrypted: it has no hashes; `nas` is over ssh. */
async function configureRclone(sftp: Far['sftp']): Promise<void> {
  const password = (await run('rclone', ['obscure', 'a long password'])).trim()
  const remotes: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    far: { type: 'alias', remote: there('far') },
    dark: { type: 'crypt', remote: there('dark'), password },
    nas: sftp,
  }
  const text = Object.entries(remotes).flatMap(([name, settings]) => [
    `[${name}]`,
    ...Object.entries(settings).map(([key, value]) => `${key} = ${value}`),
  ])
  mkdirSync(there('far'), { recursive: true })
  process.env.RCLONE_CONFIG = join(root, 'rclone.conf')
  writeFileSync(process.env.RCLONE_CONFIG, `${text.join('\n')}\n`, { mode: 0o600 })
}

after(async () => {
  await made.far?.remove()
  await made.machine?.stop()
  rmSync(root, { recursive: true })
})

/** Registers a test that needs the far end; without one it is skipped, and says why. */
function copying(name: string, body: (far: Far, t: TestContext) => Promise<void>): void {
  test(name, async (t) => {
    if (made.machine?.noCopies) t.skip(made.machine.noCopies)
    else if (made.far) await body(made.far, t)
    else throw new Error('there is no far end')
  })
}

function sets(name: string): string {
  const dir = join(root, `sets-${name}`)
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  return dir
}

/** An archive of noise with its seal: nobody looks into a set to copy it. */
function fabricated(dir: string, name: string, bytes: number): string {
  const path = join(dir, name)
  const content = randomBytes(bytes)
  writeFileSync(path, content, { mode: 0o600 })
  writeFileSync(path + SEAL, `${createHash('sha256').update(content).digest('hex')}  ${name}\n`, {
    mode: 0o600,
  })
  return path
}

interface Copied {
  readonly verified: string
  readonly said: string[]
}

async function copy(set: string, to: string): Promise<Copied> {
  const said: string[] = []
  const copied = await copySet(set, copyTarget(to), { report: (text) => said.push(text) })
  return { ...copied, said }
}

/** That a copy fails, with these words, in bounded time (ms), and says that the set itself is whole. */
async function fails(set: string, to: string, says: RegExp, limit = 10_000): Promise<string> {
  const began = performance.now()
  const error = await copy(set, to).then(
    () => assert.fail(`copied to ${to}`),
    (e: unknown) => e,
  )
  assert.ok(error instanceof Error)
  assert.match(error.message, says)
  assert.doesNotMatch(error.message, /\n\s+at /)
  const ms = performance.now() - began
  assert.ok(ms < limit, `${to}: ${ms} ms`)
  return error.message
}

function same(set: string, dir: string): void {
  for (const file of [set, set + SEAL])
    assert.ok(readFileSync(file).equals(readFileSync(join(dir, basename(file)))), `${file} in ${dir}`)
}

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8)

/** Changes one byte of a file and leaves its size and time as they are. */
function flip(path: string, at: number): void {
  const { atime, mtime } = statSync(path)
  const bytes = readFileSync(path)
  bytes[at] = (bytes[at] ?? 0) ^ 0xff
  writeFileSync(path, bytes)
  utimesSync(path, atime, mtime)
}

/** The running programs of a copy to that place, those over there too. */
const copiers = (place: string): Process[] =>
  processes().filter(
    ({ exe, args }) => /\/(rsync|ssh|sshd|rclone)$/.test(exe) && args.join(' ').includes(place),
  )

/** Kills what we have started to copy to that place, with all that it has started, as a reboot would. */
function kill(to: string): void {
  const [ours] = copiers(to).filter(({ parent }) => parent === process.pid)
  assert.ok(ours)
  process.kill(-ours.pid, 'SIGKILL')
}

/** Bytes of the largest file below a folder, hidden ones and what is half there too. */
function largest(dir: string): number {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((e) => e.isFile())
  return Math.max(
    0,
    ...files.map((e) => statSync(join(e.parentPath, e.name), { throwIfNoEntry: false })?.size ?? 0),
  )
}

describe('rsync over ssh', () => {
  copying('a good copy: compared by hash, private, the archive first and its seal last', async (far) => {
    const { set = '' } = made
    const dir = far.folder('good')
    const seen: string[] = []
    const watcher = watch(dir, (_, name) => void (name && seen.at(-1) !== name && seen.push(name)))
    try {
      const { verified, said } = await copy(set, 'rsync:far:/target/good')
      assert.equal(verified, 'hash')
      assert.match(said.join('\n'), /tar\.gz: [\d.]+ kB sent\n.*sha256: 100 B sent$/)
      assert.ok(await until(() => seen.includes(basename(set + SEAL)), 2_000), seen.join(' '))
    } finally {
      watcher.close()
    }
    const final = seen.filter((n) => !n.startsWith('.'))
    assert.deepEqual([...new Set(final)], [basename(set), basename(set + SEAL)], seen.join(' '))
    same(set, dir)
    assert.deepEqual(readdirSync(dir).toSorted(), [basename(set), basename(set + SEAL)])
    for (const name of readdirSync(dir)) assert.equal(mode(join(dir, name)), '600')
  })

  copying('a folder that is not there is made, for its owner alone; the one above it is not', async (far) => {
    const { set = '' } = made
    await copy(set, 'rsync:far:/target/made')
    assert.equal(mode(join(far.target, 'made')), '700')
    same(set, join(far.target, 'made'))
    const to = `rsync:far:/target/no/it's there`
    const said = await fails(
      set,
      to,
      /there is no folder \/target\/no on far\. Make it by hand: ssh far mkdir/,
    )
    assert.equal(existsSync(join(far.target, 'no')), false)
    await run('sh', ['-c', /by hand: (.*)$/m.exec(said)?.[1] ?? 'false'], { env: process.env })
    await copy(set, to)
    assert.equal(mode(join(far.target, `no/it's there`)), '700')
  })

  copying('a folder that held copies and is gone is not made anew: its disk is not mounted', async (far) => {
    const set = fabricated(sets('unmounted'), 'pre-update-20260104_000000.tar.gz', 1000)
    const to = 'rsync:far:/target/unmounted'
    writeCopy(set, { to, ok: true, verified: 'hash' })
    await fails(set, to, /is not there any more, though sets were copied to it\. Is its disk mounted\?/)
    assert.equal(existsSync(join(far.target, 'unmounted')), false)
    writeCopy(set, { to, ok: false, why: 'x' })
    await copy(set, to)
  })

  copying('a second run sends nothing and compares all', async (far) => {
    const { middling = '' } = made
    const dir = far.folder('twice')
    await copy(middling, 'rsync:far:/target/twice')
    const before = statSync(join(dir, basename(middling)))
    const { said, verified } = await copy(middling, 'rsync:far:/target/twice')
    assert.equal(verified, 'hash')
    assert.deepEqual(said, [
      `${basename(middling)}: was there already`,
      `${basename(middling)}${SEAL}: was there already`,
    ])
    const now = statSync(join(dir, basename(middling)))
    assert.deepEqual([now.ino, now.ctimeMs], [before.ino, before.ctimeMs])
  })

  copying('killed in the middle, it goes on where it stopped, and never looks complete', async (far) => {
    const { big = '' } = made
    const dir = far.folder('killed')
    const broken = copy(big, 'rsync:far:/target/killed')
    broken.catch(() => {})
    assert.ok(await until(() => largest(dir) > 20 * MB, 10_000))
    kill('far:/target/killed')
    await assert.rejects(broken, /ended by SIGKILL/)
    assert.ok(await until(() => existsSync(join(dir, '.runbook-partial', basename(big))), 5_000))
    assert.deepEqual(readdirSync(dir), ['.runbook-partial'])
    const held = largest(dir)
    assert.ok(held < 100 * MB)

    const { said } = await copy(big, 'rsync:far:/target/killed')
    const [, sent = ''] = /tar\.gz: ([\d.]+) MB sent/.exec(said.join('\n')) ?? []
    assert.ok(Number(sent) * MB < 100 * MB - held + MB, `${sent} MB sent, ${held} bytes were there`)
    same(big, dir)
    assert.deepEqual(readdirSync(dir).toSorted(), [basename(big), basename(big + SEAL)])
  })

  copying('interrupted, it ends with all that it started, and says so', async (far) => {
    const { big = '' } = made
    const dir = far.folder('interrupted')
    const stop = new AbortController()
    const reason = new Error('interrupted by SIGINT')
    const copied = interruption.run(stop.signal, () => copy(big, 'rsync:far:/target/interrupted'))
    copied.catch(() => {})
    assert.ok(await until(() => largest(dir) > 5 * MB, 10_000))
    stop.abort(reason)
    await assert.rejects(copied, /interrupted by SIGINT/)
    assert.deepEqual(copiers('far:/target/interrupted'), [])
    assert.ok(await until(() => copiers('/target/interrupted').length === 0, 5_000), 'nor over there')
    assert.equal(existsSync(join(dir, basename(big))), false)
  })

  copying('a full disk over there: said, nothing complete, gone on with when there is room', async (far) => {
    const { middling = '' } = made
    await far.exec('dd', 'if=/dev/zero', 'of=/full/filler', 'bs=1M', 'count=20')
    await fails(middling, 'rsync:far:/full', /\/full on far is full\. .*The set itself is whole here\./s)
    assert.doesNotMatch(await far.exec('ls', '/full'), /pre-update/)
    await far.exec('rm', '/full/filler')
    const { said } = await copy(middling, 'rsync:far:/full')
    const [, sent = '999'] = /tar\.gz: ([\d.]+) MB sent/.exec(said.join('\n')) ?? []
    assert.ok(Number(sent) < 20, `${sent} MB sent`)
    assert.match(await far.exec('sh', '-c', 'cd /full && sha256sum -c *.sha256'), /: OK\n$/)
  })

  copying('a folder that cannot be written', async (far) => {
    const { set = '' } = made
    for (const folder of ['/keys', '/root/x', '/etc'])
      await fails(set, `rsync:far:${folder}`, new RegExp(`${folder} on far cannot be written`))
    writeFileSync(join(far.folder('file'), 'x'), '')
    await fails(set, 'rsync:far:/target/file/x', /cannot be written|Not a directory/)
  })

  copying('whom we do not know, or who does not know us: refused at once, with the way out', async () => {
    const { set = '' } = made
    await fails(
      set,
      'rsync:unknown:/target',
      /the host key of unknown is not known here.*by hand.*: ssh unknown\n/,
    )
    await fails(set, 'rsync:changed:/target', /changed shows another host key .* Find out why/)
    await fails(set, 'rsync:stranger:/target', /stranger does not let this user in.*ssh-copy-id stranger/)
    await fails(
      set,
      'rsync:norsync:/target',
      /there is no rsync on norsync\. Install the package rsync there/,
    )
  })

  copying('nobody there: in bounded time', async () => {
    const { set = '' } = made
    await fails(set, 'rsync:refused:/target', /refused does not answer.*Connection refused/s)
    await fails(set, 'rsync:nobody.invalid:/target', /nobody\.invalid does not answer/)
    await hole
  })

  copying(
    'a damaged copy over there is found and not replaced, nor another set of that name',
    async (far) => {
      const { set = '' } = made
      const dir = far.folder('flipped')
      await copy(set, 'rsync:far:/target/flipped')
      for (const file of [set, set + SEAL]) {
        flip(join(dir, basename(file)), 20)
        const bytes = readFileSync(join(dir, basename(file)))
        await fails(set, 'rsync:far:/target/flipped', /holds another pre-update.*, or a damaged copy of it/)
        assert.ok(readFileSync(join(dir, basename(file))).equals(bytes))
        flip(join(dir, basename(file)), 20)
      }
      same(set, dir)
      const other = fabricated(dir, basename(set), 2000)
      const bytes = readFileSync(other)
      await fails(set, 'rsync:far:/target/flipped', /holds another pre-update/)
      assert.ok(readFileSync(other).equals(bytes))
    },
  )

  copying('hostile names stay data', async (far) => {
    const nasty = [
      `$(touch PWNED)`,
      `\`touch PWNED\`;|&`,
      `it's "so"`,
      ' a  b ',
      '-rf',
      '*',
      '\\n%s',
      'é日本',
      '!!#x',
    ]
    const dir = far.folder(join('hostile', ...nasty))
    far.folder(join('hostile', ...nasty.slice(0, nasty.indexOf('*')), 'what * would find'))
    const set = fabricated(sets(`it's $(touch PWNED)`), `pre-update-$(touch PWNED) 'x" -v.tar.gz`, 5000)
    process.env.RSYNC_OLD_ARGS = '1' // as before 3.2.4, when the shell over there read every word
    try {
      await copy(set, `rsync:far:/target/hostile/${nasty.join('/')}`)
    } finally {
      delete process.env.RSYNC_OLD_ARGS
    }
    same(set, dir)
    await copy(set, 'rsync:far:-rf --delete')
    same(set, join(far.target, 'home', '-rf --delete'))
    const local = join(root, 'local', '-$(touch PWNED) [a]:b')
    mkdirSync(join(root, 'local'))
    await copy(set, `rsync:${local}`)
    same(set, local)
    await copy(set, `rclone:${local}/{x}*`)
    same(set, join(local, '{x}*'))
    const everywhere = [root, far.target, process.cwd()].flatMap((d) =>
      readdirSync(d, { recursive: true, encoding: 'utf8' }),
    )
    assert.deepEqual(
      everywhere.filter((p) => basename(p) === 'PWNED'),
      [],
    )
  })

  copying('a damaged set, or one without a seal, is not copied', async (far) => {
    const set = await sealedFixture(sets('damaged'))
    const dir = far.folder('damaged')
    flip(set, 100)
    for (const to of ['rsync:far:/target/damaged', `rclone:${dir}`])
      await fails(set, to, /is not what was sealed: it was changed or is damaged/)
    rmSync(set + SEAL)
    await fails(set, 'rsync:far:/target/damaged', /has no seal/)
    assert.deepEqual(readdirSync(dir), [])
  })
})

test('what is not installed here is named with its package', async (t) => {
  const { set = '', machine } = made
  if (machine?.noCopies) return t.skip(machine.noCopies)
  const poor = join(root, 'poor')
  mkdirSync(poor)
  const path = process.env.PATH
  process.env.PATH = poor
  try {
    await fails(set, 'rsync:far:/target', /rsync is not installed here\. Type: apt-get install rsync/)
    await fails(set, `rclone:${root}/x`, /rclone is not installed here\. Type: apt-get install rclone/)
    symlinkSync(which('rsync', { PATH }) ?? '', join(poor, 'rsync'))
    await fails(set, 'rsync:far:/target', /ssh is not installed here\. Type: apt-get install openssh-client/)
  } finally {
    process.env.PATH = path
  }
})

describe('rclone', () => {
  copying('a good copy, compared by hash where the remote has one, and by size where not', async () => {
    const { set = '' } = made
    assert.equal((await copy(set, 'rclone:far:a/b')).verified, 'hash')
    same(set, there('far/a/b'))
    for (const name of readdirSync(there('far/a/b'))) assert.equal(mode(there(`far/a/b/${name}`)), '600')
    assert.equal((await copy(set, 'rclone:far:')).verified, 'hash')
    assert.equal((await copy(set, `rclone:${there('plain')}`)).verified, 'hash')
    same(set, there('plain'))
    assert.equal((await copy(set, 'rclone:dark:sets')).verified, 'size')
    const { ino, mtimeMs } = statSync(there(`plain/${basename(set)}`))
    rmSync(there(`plain/${basename(set)}${SEAL}`))
    await copy(set, `rclone:${there('plain')}`)
    same(set, there('plain'))
    const now = statSync(there(`plain/${basename(set)}`))
    assert.deepEqual([now.ino, now.mtimeMs], [ino, mtimeMs], 'what is there is not sent again')
    rmSync(there(`plain/${basename(set)}`))
    await copy(set, `rclone:${there('plain')}`)
    same(set, there('plain'))
  })

  copying('a remote over ssh: its own host computes the hashes', async (far) => {
    const { set = '' } = made
    const dir = far.folder('sftp')
    for (const sets of ['nas:/target/sftp', 'nas:/target/sftp/new/below']) {
      const { verified } = await copy(set, `rclone:${sets}`)
      assert.equal(verified, 'hash')
    }
    same(set, dir)
    same(set, join(dir, 'new/below'))
    await copy(set, 'rclone:nas:/target/sftp')
    flip(join(dir, basename(set)), 20)
    await fails(set, 'rclone:nas:/target/sftp', /or a damaged copy of it/)
    await fails(set, 'rclone:nas:/keys', /nas:\/keys cannot be written|rclone failed/)
  })

  copying('killed in the middle: no seal over there, and the next run makes it whole', async () => {
    const { big = '' } = made
    process.env.RCLONE_BWLIMIT = '20M'
    const broken = copy(big, 'rclone:far:killed')
    broken.catch(() => {})
    try {
      assert.ok(
        await until(() => existsSync(there('far/killed')) && largest(there('far/killed')) > 5 * MB, 10_000),
      )
      kill('far:killed')
      await assert.rejects(broken, /ended by SIGKILL/)
    } finally {
      delete process.env.RCLONE_BWLIMIT
    }
    assert.equal(existsSync(there(`far/killed/${basename(big + SEAL)}`)), false)
    assert.equal((await copy(big, 'rclone:far:killed')).verified, 'hash')
    same(big, there('far/killed'))
  })

  copying('a damaged copy is found and not replaced; nor is another set of that name', async () => {
    const { set = '' } = made
    await copy(set, 'rclone:far:flipped')
    for (const file of [set, set + SEAL]) {
      const copied = there(`far/flipped/${basename(file)}`)
      flip(copied, 20)
      const bytes = readFileSync(copied)
      await fails(set, 'rclone:far:flipped', /holds another pre-update.*, or a damaged copy of it/)
      assert.ok(readFileSync(copied).equals(bytes))
      flip(copied, 20)
    }
    const other = fabricated(there('far/flipped'), basename(set), 2000)
    const bytes = readFileSync(other)
    await fails(set, 'rclone:far:flipped', /holds another pre-update/)
    assert.ok(readFileSync(other).equals(bytes))
    rmSync(other)
    await fails(set, 'rclone:far:flipped', /holds another pre-update/)
    assert.equal(existsSync(other), false, 'nothing of ours beside the seal of another')
  })

  copying('a remote that is not known, or cannot be written', async () => {
    const { set = '' } = made
    await fails(set, 'rclone:nobody:sets', /rclone knows no such remote.*rclone config/)
    writeFileSync(there('far/file'), '')
    await fails(
      set,
      'rclone:far:file',
      /was not copied to rclone:far:file: .*The set itself is whole here\./s,
    )
  })
})
