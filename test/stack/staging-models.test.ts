// The models for staging: an exact copy of what production has, made beside what is there, without production being
// touched; whatever ends it in the middle.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { docker } from '../../lib/docker.ts'
import { ROOT } from '../../lib/env.ts'
import { EXIT, Stop } from '../../lib/errors.ts'
import { placeOf, volumePlace, type Place } from '../../lib/place.ts'
import { groundOf, type Ground } from '../../lib/restore/ground.ts'
import { exec, interruption } from '../../lib/shell.ts'
import { copyModels, type ModelsCopied } from '../../lib/staging/models.ts'
import { lives, useStack } from './fixture.ts'

const STAMP = '20260601_000001'
const OWN = 'rehearsal-models-' // begins the name of each volume and container that is made here
const LABEL = ['--label', 'rehearsal=models']
const PATIENCE = 30_000 // ms for anything to show itself

const volumes = new Set<string>()
const containers = new Set<string>()
// Before the stack goes.
after(async () => {
  for (const name of containers) await docker('rm', '--force', name)
  for (const name of volumes) await docker('volume', 'rm', '--force', name)
})
const fixture = useStack({ id: 'models', scale: 0.005 }, async () => {
  const seen = await fixture.look()
  ground = await groundOf(seen, 'staging')
  source = placeOf(seen, 'translator', '/workspace/models')
  await inside(source.source, HOSTILE)
})
let ground: Ground
let source: Place

// What may lie there besides models, and enough of it that a copy has a middle.
const HOSTILE = String.raw`
printf x > "q\"uo'te"; printf x > "$(printf 'new\nline')"; printf x > ./-rf; printf x > '$(touch pwned)'; printf x > '*'
mkdir empty sticky "$(printf 'a\n$(id)')"; chmod 1777 sticky; printf y > "$(printf 'a\n$(id)')/--help"
printf s > setuid; chmod 4755 setuid; printf n > none; chmod 000 none; chown 3000000:4000000000 none
ln -s nowhere dangling; ln -s "$(printf 'to\n$(id)')" 'link '; ln setuid hard; mkfifo -m 640 fifo
truncate -s 20000000 sparse; printf z | dd of=sparse bs=1 seek=10000000 conv=notrunc status=none
head -c 60000000 /dev/urandom > blob
touch -d @1400000000.123456789 setuid; touch -h -d @1500000000.000000001 dangling; touch -d @1600000000.5 empty
mkdir .runbook-restore-20200101_000000; printf aside > .runbook-restore-20200101_000000/x
`

async function newVolume(name: string, ...options: readonly string[]): Promise<Place> {
  const full = OWN + name
  volumes.add(full)
  await docker('volume', 'rm', '--force', full) // what a killed run has left
  await docker('volume', 'create', ...LABEL, ...options, full)
  return volumePlace(full)
}

/** A script of sh in a volume, as root; what it prints. */
async function inside(volume: string, script: string): Promise<string> {
  const image = ground.mongod.id
  const fixed = ['docker', 'run', '--rm', '-i', '--network=none', ...LABEL, '--tmpfs=/data/db'] as const
  const where = ['--tmpfs=/data/configdb', `--mount=type=volume,src=${volume},dst=/v`, '--workdir=/v']
  const words = [...fixed, ...where, '--entrypoint=sh', image, '-es'] as const
  return (await exec({ words, input: script })).stdout
}

// All that an entry is, with its content; not what hidden folders hold.
const LISTING = String.raw`
kept() { find . -name '.runbook-*' -prune -o "$@"; }
kept -type d -printf '%P %y %m %U %G %T@\0' -o -printf '%P %y %m %U %G %T@ %n %s %l\0' | sort -z | sed -z '1s/ [^ ]*$//'
kept -type f -print0 | sort -z | xargs -0 sha256sum -b -z --
du -s --block-size=1M sparse 2>/dev/null | cut -f1; ls -A`
const listing = async ({ source: volume }: Place): Promise<string[]> =>
  (await inside(volume, LISTING)).split(/[\0\n](?=\S)/).filter((l) => !l.startsWith('.runbook-'))

/** Everything in a volume, with the time when anything about it last changed. */
const changes = async ({ source: volume }: Place): Promise<string> =>
  inside(volume, String.raw`find . -printf '%P %i %C@ %T@\0' | sort -z`)

const hiddenIn = async ({ source: volume }: Place): Promise<string[]> =>
  (await inside(volume, 'ls -A')).split('\n').filter((name) => name.startsWith('.runbook-'))

interface Told {
  readonly said: string[]
  readonly effects: string[]
}

/** Copies and notes what it tells. `before` is called before each effect. */
async function copy(
  to: Place,
  { from = source, before }: { from?: Place; before?: (title: string) => Promise<unknown> } = {},
): Promise<ModelsCopied & Told> {
  const [said, effects]: [string[], string[]] = [[], []]
  const copied = await copyModels(ground, from, to, STAMP, {
    say: (text) => void said.push(text),
    progress() {},
    async effect(title, _, act) {
      effects.push(title)
      await before?.(title)
      return act()
    },
  })
  return { ...copied, said, effects }
}

const COPIED = ['Copy the models', 'Put the copy in its place']

/** What was there in a target before. */
const OLD =
  'mkdir -p sub; printf old > "sub/-old"; printf old > blob; chmod 700 .; touch -d @1300000000 blob sub'

interface Helper {
  readonly HostConfig: { readonly NetworkMode: string; readonly CpuShares: number; readonly Memory: number }
  readonly Mounts: readonly { readonly Name?: string; readonly RW: boolean }[]
}

const helpers = async (...options: readonly string[]): Promise<string[]> => {
  const filters = ['runbook.for=staging', `runbook.stack=${ground.stackId}`].flatMap((l) => [
    '--filter',
    `label=${l}`,
  ])
  return (await docker('ps', '-q', '--no-trunc', ...options, ...filters)).split('\n').filter(Boolean)
}

async function nothingRuns(): Promise<void> {
  assert.deepEqual(await helpers('--all'), [])
  assert.deepEqual(
    readdirSync(ground.stateDir).filter((n) => n.startsWith('backup-pipe-')),
    [],
  )
}

/** The containers that work makes, as Docker knows them. */
async function watched(work: Promise<unknown>): Promise<Helper[]> {
  const seen = new Map<string, Helper>()
  let over = false
  void work.finally(() => (over = true)).catch(() => {})
  for (; !over; await delay(50)) {
    for (const id of await helpers()) {
      if (seen.has(id)) continue
      const { stdout, exitCode } = await exec({ words: ['docker', 'inspect', id] }, { anyCode: true })
      if (exitCode === 0) seen.set(id, (JSON.parse(stdout) as Helper[])[0] as Helper)
    }
  }
  return [...seen.values()]
}

describe('a copy', () => {
  test('is exact, whatever the target held; production is only read, and goes on', async (t) => {
    const to = await newVolume('exact')
    await inside(to.source, `${OLD}; mkdir .runbook-restore-20200202_000000`)
    const before = { lives: lives(await fixture.look()), files: await changes(source) }
    const began = performance.now()
    const work = copy(to)
    const [seen, copied] = await Promise.all([watched(work), work])
    t.diagnostic(
      `${copied.files} files, ${copied.bytes} bytes in ${((performance.now() - began) / 1000).toFixed(1)} s`,
    )

    assert.equal(copied.copied, true)
    assert.deepEqual(copied.effects, COPIED)
    const expected = await listing(source)
    assert.ok(expected.length > 60, `${expected.length} lines`)
    assert.ok(expected.includes('setuid f 4755 0 0 1400000000.1234567890 2 1 '), expected.join('\n'))
    assert.deepEqual(await listing(to), expected)
    assert.deepEqual(await hiddenIn(to), ['.runbook-restore-20200202_000000'], "a restore's own stays")

    assert.ok(seen.length >= 4, `${seen.length} containers`)
    for (const { HostConfig, Mounts } of seen) {
      assert.deepEqual([HostConfig.NetworkMode, HostConfig.CpuShares], ['none', 64])
      assert.ok(HostConfig.Memory > 0)
      for (const { Name, RW } of Mounts) if (Name === source.source) assert.equal(RW, false)
    }
    assert.ok(seen.some((c) => c.Mounts.some((m) => m.Name === source.source)))
    assert.ok(seen.some((c) => c.Mounts.some((m) => m.Name === to.source && m.RW)))
    assert.equal(await changes(source), before.files)
    assert.deepEqual(lives(await fixture.look()), before.lives)
    await nothingRuns()

    await t.test('a second time writes nothing', async () => {
      const now = await changes(to)
      const again = await copy(to)
      assert.deepEqual(again, { ...copied, copied: false, said: [], effects: [] })
      assert.equal(await changes(to), now)
    })

    const other: Readonly<Record<string, string>> = {
      'a changed byte':
        'printf X | dd of=blob bs=1 seek=59999999 conv=notrunc status=none; touch -r hard blob',
      'an additional file': 'printf more > ./--more',
      'a missing file': "rm './-rf'",
      'another mode': 'chmod 600 setuid',
      'another time': 'touch -d @1400000000.123456788 setuid',
      'another owner of the folder itself': 'chown 1000:1000 .',
    }
    for (const [what, script] of Object.entries(other))
      await t.test(`puts right ${what}`, async () => {
        await inside(to.source, script)
        const { effects, digest } = await copy(to)
        assert.deepEqual([effects, digest], [COPIED, copied.digest])
        assert.deepEqual(await listing(to), expected)
      })
  })

  test('of files that change meanwhile is made once more; of files that go on changing not at all', async () => {
    const to = await newVolume('restless')
    await inside(to.source, OLD)
    const old = await listing(to)
    const from = await newVolume('changing')
    await inside(from.source, 'printf a > a; printf b > b; head -c 20000000 /dev/urandom > large')

    let n = 0
    const touched = async (title: string): Promise<void> => {
      if (title === 'Copy the models') await inside(from.source, `printf ${++n} >> b`)
    }
    await assert.rejects(copy(to, { from, before: touched }), (error: Error) => {
      assert.match(
        error.message,
        /changes while it is read .*Nothing was copied: rehearsal-models-restless is as it was\.\nTry/s,
      )
      return true
    })
    assert.equal(n, 2)
    assert.deepEqual(await listing(to), old)
    assert.deepEqual(await hiddenIn(to), [])

    const { said, effects } = await copy(to, {
      from,
      before: async (t) => (n++ === 2 ? touched(t) : undefined),
    })
    assert.deepEqual(effects, ['Copy the models', ...COPIED])
    assert.match(said.join('\n'), /^changed while it was read, and read once more: .*$/)
    assert.deepEqual(await listing(to), await listing(from))

    const writer = `${OWN}writer`
    containers.add(writer)
    const mount = [
      '--tmpfs=/data/db',
      '--tmpfs=/data/configdb',
      `--mount=type=volume,src=${from.source},dst=/v`,
    ]
    const write = 'while :; do printf x >> /v/large; done'
    await docker(
      'run',
      '-d',
      '--name',
      writer,
      '--network=none',
      ...LABEL,
      ...mount,
      '--entrypoint=sh',
      ground.mongod.id,
      '-c',
      write,
    )
    const now = await listing(to)
    await assert.rejects(copy(to, { from }), /changes while it is read \(.*large.*\)/)
    await docker('rm', '--force', writer)
    assert.deepEqual(await listing(to), now)
    await nothingRuns()
  })
})

const refused =
  (text: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof Stop, String(error))
    assert.equal(error.code, EXIT.refused)
    assert.match(error.message, text)
    return true
  }

describe('refused, and nothing is written', () => {
  const exists = async (name: string): Promise<boolean> =>
    (await docker('volume', 'ls', '-q')).split('\n').includes(name)

  test('a volume that is not there: it is not made', async () => {
    const to = await newVolume('lonely')
    const gone = volumePlace(`${OWN}gone`)
    volumes.add(gone.source)
    await assert.rejects(
      copy(to, { from: gone }),
      refused(/there is no volume rehearsal-models-gone\. Nothing was copied/),
    )
    await assert.rejects(copy(gone), refused(/there is no volume rehearsal-models-gone\./))
    assert.equal(await exists(gone.source), false)
  })

  test("production's own volume as the target, under whatever name", async () => {
    await assert.rejects(
      copy(source),
      refused(/production's own: staging's copy must be a volume of its own/),
    )
    const path = (await docker('volume', 'inspect', '--format', '{{.Mountpoint}}', source.source)).trim()
    const bound = await newVolume('bound', '-o', 'type=none', '-o', 'o=bind', '-o', `device=${path}`)
    await assert.rejects(copy(bound), refused(/production's own/))
    assert.deepEqual(await hiddenIn(source), ['.runbook-restore-20200101_000000'])
  })

  test('a source without files', async () => {
    const to = await newVolume('kept')
    const from = await newVolume('empty')
    await inside(from.source, 'mkdir folder; ln -s nowhere link')
    await inside(to.source, OLD)
    const before = await changes(to)
    await assert.rejects(copy(to, { from }), refused(/rehearsal-models-empty holds no files.*--models none/s))
    assert.equal(await changes(to), before)
  })

  test('too little room, with the numbers', async () => {
    const to = await newVolume(
      'small',
      '--driver',
      'local',
      '-o',
      'type=tmpfs',
      '-o',
      'device=tmpfs',
      '-o',
      'o=size=80m',
    )
    const holder = `${OWN}holder` // a tmpfs is empty again when nobody has it mounted; this one has stopped its program
    containers.add(holder)
    const words = [
      '--network=none',
      ...LABEL,
      `--mount=type=volume,src=${to.source},dst=/v`,
      '--label',
      'runbook=1',
    ]
    const own = ['--tmpfs=/data/db', '--tmpfs=/data/configdb', '--entrypoint=sleep', ground.mongod.id, '600']
    await docker('run', '-d', '--name', holder, ...words, ...own)
    await inside(to.source, OLD)
    const before = await changes(to)
    const text =
      /Too little space for the models in rehearsal-models-small: .* needs about 12\d\.\d MB \(\d+ files, 6\d\.\d MB\); free are 8\d\.\d MB\./
    await assert.rejects(copy(to), refused(text))
    assert.equal(await changes(to), before)

    // Few inodes: more files than the file system can hold, and bytes enough.
    await docker('rm', '--force', holder)
    const few = await newVolume(
      'few',
      '--driver',
      'local',
      '-o',
      'type=tmpfs',
      '-o',
      'device=tmpfs',
      '-o',
      'o=size=400m,nr_inodes=30',
    )
    await assert.rejects(copy(few), refused(/Too few free inodes .*: \d+ are needed, 2\d free/))
  })

  test('a target that a container uses: it would lose its files while it runs', async () => {
    const to = await newVolume('used')
    await inside(to.source, OLD)
    const before = await changes(to)
    const user = `${OWN}user`
    containers.add(user)
    const mount = [
      '--tmpfs=/data/db',
      '--tmpfs=/data/configdb',
      `--mount=type=volume,src=${to.source},dst=/v,readonly`,
    ]
    await docker(
      'run',
      '-d',
      '--name',
      user,
      '--network=none',
      ...LABEL,
      ...mount,
      '--entrypoint=sleep',
      ground.mongod.id,
      '600',
    )
    await assert.rejects(
      copy(to),
      refused(/cannot be replaced while they are used.*docker stop rehearsal-models-user$/s),
    )
    assert.equal(await changes(to), before)
    await docker('stop', '-t', '0', user)
    assert.equal((await copy(to)).copied, true)
    assert.deepEqual(await listing(to), await listing(source))
  })
})

/** Copies in a process of its own, which kills itself at `point`: `before`, `after` or, from outside, `in` an effect. */
function inProcess(to: Place, point: string): { pid: number; ended: Promise<NodeJS.Signals | null> } {
  const program = `
    import { copyModels } from ${JSON.stringify(join(ROOT, 'lib/staging/models.ts'))}
    const [ground, from, to, stamp, point] = JSON.parse(process.argv[1])
    const at = (now) => { if (now === point) process.kill(process.pid, 'SIGKILL') }
    await copyModels(ground, from, to, stamp, { say() {}, progress() {}, async effect(title, _, act) {
      at('before ' + title); const result = await act(); at('after ' + title); return result } })`
  const words = JSON.stringify([ground, source, to, '20260501_000000', point])
  const args = ['--import', 'tsx', '--input-type=module', '-e', program, words]
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env: process.env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return {
    pid: child.pid ?? -1,
    ended: once(child, 'close').then(([, signal]) => signal as NodeJS.Signals | null),
  }
}

describe('ended in the middle', () => {
  for (const [point, then] of [
    ['before Copy the models', 'old'],
    ['after Copy the models', 'old'],
    ['before Put the copy in its place', 'old'],
    ['after Put the copy in its place', 'new'],
  ] as const)
    test(`killed ${point}: the target is as it was or whole, and the next copy leaves it whole`, async () => {
      const to = await newVolume('killed')
      await inside(to.source, OLD)
      const old = await listing(to)
      assert.equal(await inProcess(to, point).ended, 'SIGKILL')
      assert.deepEqual(await listing(to), then === 'old' ? old : await listing(source))
      const prepared = point === 'after Copy the models' || point === 'before Put the copy in its place'
      assert.equal((await hiddenIn(to)).length, prepared ? 1 : 0)
      const { copied } = await copy(to)
      assert.equal(copied, then === 'old')
      assert.deepEqual(await listing(to), await listing(source))
      assert.deepEqual(await hiddenIn(to), [])
      await nothingRuns()
    })

  /** Starts a copy and lets it stand still while it extracts. */
  async function standing(to: Place): Promise<{ pid: number; ended: Promise<NodeJS.Signals | null> }> {
    const running = inProcess(to, 'never')
    const look = [
      'sh',
      '-c',
      'for f in /p/0/.runbook-restore-staging-*/new.partial/*; do [ ! -e "$f" ] || exit 0; done; exit 1',
    ]
    for (const end = performance.now() + PATIENCE; performance.now() < end; await delay(10)) {
      for (const id of await helpers()) {
        const { exitCode } = await exec({ words: ['docker', 'exec', id, ...look] }, { anyCode: true })
        if (exitCode !== 0) continue
        process.kill(running.pid, 'SIGSTOP')
        return running
      }
    }
    throw new Error('it never began to extract')
  }

  test('killed while it extracts: what it left is removed by the next', async () => {
    const to = await newVolume('extracting')
    await inside(to.source, OLD)
    const old = await listing(to)
    const running = await standing(to)
    process.kill(running.pid, 'SIGKILL')
    assert.equal(await running.ended, 'SIGKILL')
    assert.deepEqual(await listing(to), old)
    assert.deepEqual(await hiddenIn(to), ['.runbook-restore-staging-20260501_000000'])
    const { copied, said } = await copy(to)
    assert.deepEqual([copied, said], [true, [`what a killed copy had left in ${to.source} is removed`]])
    assert.deepEqual(await listing(to), await listing(source))
    assert.deepEqual(await hiddenIn(to), [])
    await nothingRuns()
  })

  // The states between two renames, as lib/restore/hidden.ts lists them, and a removal that was killed.
  const W = '.runbook-restore-staging-20260501_000000'
  const OUT = 'find . -mindepth 1 -maxdepth 1 ! -name ".runbook-*" -exec mv -t'
  const half: Readonly<Record<string, readonly [script: string, copied: boolean, said: string]>> = {
    'what was there is half away': [`mkdir ${W}/old; mv sub ${W}/old/`, true, 'removed'],
    'what was there is away': [
      `mkdir -m 700 ${W}/old; ${OUT} ${W}/old -- {} +; mv ${W}/new ${W}/in`,
      false,
      'in its place',
    ],
    'the copy is half in its place': [
      `mkdir -m 700 ${W}/old; ${OUT} ${W}/old -- {} +; mv ${W}/new ${W}/in; mv ${W}/in/blob .`,
      false,
      'in its place',
    ],
    'the removal was killed': [`mv ${W} ${W}.gone`, true, 'removed'],
  }
  for (const [what, [script, copied, said]] of Object.entries(half))
    test(`killed while ${what}: the next copy leaves it whole`, async () => {
      const to = await newVolume('half')
      await inside(to.source, OLD)
      assert.equal(await inProcess(to, 'after Copy the models').ended, 'SIGKILL')
      await inside(to.source, script)
      const again = await copy(to)
      assert.deepEqual(
        [again.copied, again.said],
        [copied, [`what a killed copy had left in ${to.source} is ${said}`]],
      )
      assert.deepEqual(await listing(to), await listing(source))
      assert.deepEqual(await hiddenIn(to), [])
    })

  for (const title of ['Copy the models', 'Put the copy in its place'])
    test(`interrupted (${title}): the target is as it was, and nothing is left`, async () => {
      const to = await newVolume('interrupted')
      await inside(to.source, OLD)
      const old = await listing(to)
      const person = new AbortController()
      const before = async (now: string): Promise<void> => {
        if (now !== title) return
        if (title === 'Copy the models')
          void extracting().then(() => person.abort(new Stop(130, 'interrupted')))
        else person.abort(new Stop(130, 'interrupted'))
      }
      const extracting = async (): Promise<void> => {
        const end = performance.now() + PATIENCE
        while (
          performance.now() < end &&
          (await interruption.run(undefined, () => hiddenIn(to))).length === 0
        )
          await delay(10)
      }
      await assert.rejects(
        interruption.run(person.signal, () => copy(to, { before })),
        /^Error: interrupted$/,
      )
      assert.deepEqual(await listing(to), old)
      assert.deepEqual(await hiddenIn(to), [])
      await nothingRuns()
    })
})

test('production has what it had, and only that', async () => {
  assert.equal(existsSync(ground.stateDir), true)
  const names = await hiddenIn(source)
  assert.deepEqual(names, ['.runbook-restore-20200101_000000'])
})
