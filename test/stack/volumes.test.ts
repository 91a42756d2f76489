// Volumes as a backup reads them and as an extraction gives them back, on Docker's own: what a file can be, sparse
// files, files that change meanwhile.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createArchive, readArchive } from '../../lib/backup/archive.ts'
import { decompress } from '../../lib/backup/gzip.ts'
import { EXTRACT, volumeSizes, volumeTar } from '../../lib/backup/helper.ts'
import { liveVolume, writeVolume } from '../../lib/backup/live.ts'
import type { LeftOut, VolumeRecord } from '../../lib/backup/manifest.ts'
import { show } from '../../lib/backup/tar.ts'
import { survey, type Tally } from '../../lib/backup/volume.ts'
import type { Bytes } from '../../lib/backup/bytes.ts'
import { docker } from '../../lib/docker.ts'
import { exec } from '../../lib/shell.ts'
import type { Stack } from '../../lib/stack.ts'
import { ensureImages } from './apps/images.ts'
import { imageRef } from './machine/images.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'

const ID = 'rehearsal-volumes'
const folder = mkdtempSync(join(tmpdir(), `${ID}-`))
const DEADLINE = 30_000 // ms for one change to a volume
const volumes = new Set<string>()
const containers = new Set<string>()
let machine: Machine
let image = ''
let stack: Stack

before(
  async () => {
    machine = await ensureMachine()
    Object.assign(process.env, machine.env)
    await ensureImages(machine)
    image = imageRef(machine, 'mongo', '8.0')
    const container = { Image: image, Config: { Volumes: { '/data/db': {}, '/data/configdb': {} } } }
    // Of a stack, a helper needs only this.
    stack = {
      config: { STACK_ID: ID, STATE_DIR: join(folder, 'state') },
      about: { database: { service: 'database' } },
      services: [{ name: 'database', container }],
    } as unknown as Stack
  },
  { timeout: 300_000 },
)
after(async () => {
  for (const name of containers) await docker('rm', '--force', name)
  for (const name of volumes) await docker('volume', 'rm', '--force', name)
  await machine.stop()
  rmSync(folder, { recursive: true })
})

async function newVolume(name: string): Promise<string> {
  const full = `${ID}-${name}`
  volumes.add(full)
  await docker('volume', 'rm', '--force', full) // what a killed run has left
  return (await docker('volume', 'create', '--label', 'rehearsal=volumes', full)).trim()
}

/** A program in the image, as root in the volume; what it prints. */
async function inside(volume: string, words: readonly [string, ...string[]], input = ''): Promise<string> {
  const [program, ...args] = words
  const mounts = [
    `--mount=type=volume,src=${volume},dst=/v`,
    `--mount=type=bind,src=${folder},dst=/from,readonly`,
  ]
  const fixed = ['docker', 'run', '--rm', '-i', '--network=none', ...mounts, '--workdir=/v'] as const
  return (await exec({ words: [...fixed, `--entrypoint=${program}`, image, ...args], input })).stdout
}
const perl = (volume: string, script: string): Promise<string> =>
  inside(volume, ['perl', '-'], `use strict; use warnings;\n${script}`)

interface Saved {
  readonly record: VolumeRecord
  readonly leftOut: readonly LeftOut[]
  /** The set's archive, and in it the part. */
  readonly path: string
  readonly seconds: number
}

/** Writes a volume into an archive, as a backup does. `count` sees the bytes as tar sends them. */
async function save(volume: string, key: string, count = (_bytes: number): void => {}): Promise<Saved> {
  const path = join(folder, `${key}.tar.gz`)
  const archive = await createArchive(path, 'root')
  const leftOut: LeftOut[] = []
  const began = performance.now()
  const to = { count: (_: string, bytes: number) => count(bytes), report: () => {}, leftOut }
  const record = await writeVolume(stack, { key, name: volume, driver: 'local', mounts: [] }, archive, to)
  const seconds = (performance.now() - began) / 1000
  await archive.finish('{}')
  await archive.close()
  return { record, leftOut, path, seconds }
}

/** What verification finds in the part. */
async function verified(path: string, again?: readonly string[]): Promise<Tally> {
  for await (const entry of readArchive(path, () => {})) {
    if (!entry.name.startsWith('root/volumes/') || entry.type !== 'file') continue
    return await drained((tell) => survey(decompress(entry.body), 'refuse', tell, again))
  }
  throw new Error(`${path} holds no volume`)
}

async function drained(make: (tell: (tally: Tally) => void) => Bytes): Promise<Tally> {
  let found: Tally | undefined
  for await (const _ of make((tally) => (found = tally)));
  assert.ok(found)
  return found
}

/** A volume's tally as it is now. */
const look = (volume: string): Promise<Tally> =>
  drained((tell) =>
    liveVolume(
      (said, wish) => volumeTar(stack, volume, said, wish),
      (live) => tell(live.tally),
    ),
  )

/** Takes a part out of its archive and extracts it into a new volume, both with GNU tar. */
async function restore({ path }: Saved, key: string): Promise<string> {
  execFileSync('tar', ['-xzf', path, '-C', folder, `root/volumes/${key}.tar.gz`])
  const volume = await newVolume(`${key}-restored`)
  await inside(volume, [
    'tar',
    ...EXTRACT,
    '--gzip',
    `--file=/from/root/volumes/${key}.tar.gz`,
    '--directory=/v',
  ])
  return volume
}

// Every kind of thing that can lie in a volume; what it prints, the file system cannot hold.
const EVERYTHING = String.raw`
use Socket; use POSIX ();
sub put { my ($name, $text) = @_; open(my $f, '>', "./$name") or die "$name: $!"; print $f $text; close($f) }
sub touch { my ($name, $time) = @_; system('touch', '-h', '-d', '@' . $time, "./$name") == 0 or die $name }
my $arm = (POSIX::uname())[4] =~ /^(aarch64|arm64)$/;
sub attribute { my ($name, $key, $value) = @_;
  return if syscall($arm ? 5 : 188, "./$name", $key, $value, length($value), 0) == 0;
  die "$name $key: $!" unless $!{EOPNOTSUPP}; print "no $key\n" }
put($_, "content of $_") for "plain", "new\nline", "q\"uo'te", '$(touch pwned)', '-rf', "back\\slash", "bin\xff\xfe",
  'h' . "\xc3\xa9", 'co:lon: file changed as we read it', "tab\there\x01", 'n' x 255, ' lead', '*', '~';
mkdir $_ for 'empty', 'sticky', 'closed', "folder\n$(id)";
put("folder\n$(id)/-x", 'x');
my $long = 'l' x 200; mkdir $long; mkdir "$long/$long"; put("$long/$long/$long", 'long');
put('closed/inner', 'closed'); put('none', 'mode 000'); put('setuid', 's'); put('setgid', 's');
chmod 0, 'none', 'closed'; chmod 04755, 'setuid'; chmod 02750, 'setgid'; chmod 01777, 'sticky';
put('big-owner', ''); chown 3_000_000, 4_000_000_000, 'big-owner'; chown 999, 998, 'plain', 'empty';
put("t$_", '') for 0 .. 3;
touch('t0', '1600000000.123456789'); touch('t1', '-1.5'); touch('t2', '-86400.000000001'); touch('t3', '9999999999.987654321');
symlink('nowhere', 'dangling'); symlink('/etc/passwd', 'absolute'); symlink('../../../etc', 'out');
symlink("to\n\$(id) \xff", "link\n"); symlink('x' x 300, 'long-target');
touch('dangling', '1500000000.000000001');
link('plain', 'empty/hard'); link('dangling', 'hard-to-link') or die;
system('mkfifo', '-m', '640', 'fifo');
socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un('socket')) or die $!;
system('mknod', 'a-device', 'c', '1', '3') == 0 or die; link('a-device', 'b-device') or die;
mkdir '.runbook-old'; put('.runbook-old/secret', 'not of the volume');
put('attributes', 'a'); mkdir 'listed'; put('listed/x', 'x');
attribute('attributes', 'user.note', "n\0ote\n=\xff"); attribute('empty', 'user.folder', 'f');
attribute('attributes', 'security.capability', pack('V5', 0x02000001, 1 << 10, 0, 0, 0));
my $acl = pack('V', 2) . join '', map { pack('vvV', @$_) } [1, 6, ~0 & 0xffffffff], [2, 4, 3_000_001], [4, 4, 0xffffffff],
  [16, 6, 0xffffffff], [32, 0, 0xffffffff];
attribute('listed/x', 'system.posix_acl_access', $acl); attribute('listed', 'system.posix_acl_default', $acl);
touch('listed', '1400000000.5'); touch('.', '1300000000.5');
`

// Each thing that is kept, with everything that must be as it was.
const LISTING = String.raw`
kept() { find . -mindepth 1 '(' -name '.runbook-*' -o -type s -o -type c ')' -prune -o "$@"; }
kept -type d -printf '%P %y %m %U %G %T@\0' -o -printf '%P %y %m %U %G %T@ %n %s %l\0' | sort -z
kept -type f -print0 | sort -z | xargs -0 sha256sum -b -z --
perl -e 'my $get = (split " ", qx(uname -m))[0] =~ /^(aarch64|arm64)/ ? 9 : 192;
  for my $file (qw(attributes empty listed listed/x)) { for my $key (qw(user.note user.folder security.capability
    system.posix_acl_access system.posix_acl_default)) { my $value = "\0" x 200;
      my $n = syscall($get, "./$file", "$key", $value, 200); print "$file $key $n ", unpack("H*", $value), "\n" if $n >= 0 } }'
`
const listing = async (volume: string): Promise<string[]> =>
  (await inside(volume, ['sh', '-s'], LISTING)).split(/[\0\n](?=\S)/)

test('S10: everything that a file can be comes back as it was, for GNU tar and for us', async (t) => {
  const volume = await newVolume('all')
  const unable = await perl(volume, EVERYTHING)
  if (unable) t.diagnostic(`this file system has ${unable}`)
  const saved = await save(volume, 'all')
  assert.deepEqual(
    saved.leftOut.map(({ what, why }) => `${what.replace(`${volume}: `, '')}: ${why}`).toSorted(),
    ['a-device: a device node', 'b-device: a device node', 'socket: a socket'],
  )
  assert.deepEqual([saved.record.changed, saved.record.again], [[], undefined])
  const found = await verified(saved.path)
  assert.equal(found.digest, saved.record.digest)
  assert.equal(found.files, saved.record.files)

  const restored = await restore(saved, 'all')
  const before = await listing(volume)
  assert.ok(before.length > 80, `${before.length} lines`)
  assert.deepEqual(await listing(restored), before)
  assert.equal((await look(restored)).digest, saved.record.digest)
  const top = await inside(restored, ['ls', '-A'])
  assert.ok(top.includes('plain\n') && !top.includes('.runbook'), 'what a restore keeps aside is not in it')
  const listed = String(execFileSync('tar', ['-tvzf', join(folder, 'root/volumes/all.tar.gz')]))
  assert.ok(listed.includes(' 3000000/4000000000 ') && !listed.includes('root/root'), 'owners are numbers')
  await t.test('any difference is seen', async () => {
    const seen = new Set([saved.record.digest])
    const changes = [
      'chmod 0600 plain',
      'chown 1 plain',
      'touch -d @1600000000.123456788 t0',
      'ln -sf elsewhere dangling',
      'rmdir sticky',
      'cp --preserve=mode,ownership,timestamps attributes new && mv new attributes',
      'touch -r empty /tmp/t && rm empty/hard && cp -p plain empty/hard && touch -r /tmp/t empty',
    ]
    for (const change of changes) {
      await inside(restored, ['sh', '-c', change])
      const { digest } = await look(restored)
      assert.ok(!seen.has(digest), change)
      seen.add(digest)
    }
  })
})

test('a path that tar cannot extract is left out and said so; one byte less is kept', async () => {
  const volume = await newVolume('deep')
  // ./ and 20 folders of 200 bytes, each with its slash, are 4022 bytes.
  await perl(
    volume,
    `for (1 .. 21) { my $n = 'd' x 200; mkdir $n or die $!; chdir $n or die $!;
       for my $f ('f', 'x' x 73, 'y' x 74) { open(my $o, '>', $f) or die $! } }`,
  )
  const saved = await save(volume, 'deep')
  const lost = saved.leftOut
    .map((l) => l.what.replace(`${volume}: `, '').length + 2)
    .toSorted((a, b) => a - b)
  assert.deepEqual(lost, [4096, 4222, 4224, 4296, 4297])
  assert.ok(saved.leftOut.every((l) => l.why === 'its path has more than 4095 bytes'))
  const restored = await restore(saved, 'deep')
  assert.equal((await look(restored)).digest, saved.record.digest)
})

const GIB = 2 ** 30
const MIB = 2 ** 20

test('sparse files: neither time nor room for holes, wherever they lie; restored with them', async (t) => {
  const volume = await newVolume('sparse')
  await perl(
    volume,
    String.raw`sub holes { my ($name, $size, @at) = @_; open(my $f, '>', $name) or die; open(my $r, '<', '/dev/urandom');
      for my $at (@at) { read($r, my $data, 100_000); seek($f, $at, 0); print $f $data } truncate($f, $size) or die; close($f) }
    holes('10G', 10 * 1024**3, 0, 5_000_000_001, 10 * 1024**3 - 100_000);
    holes("nothing\n", 100_000_001); holes('pieces', 400 * 1024**2, map { $_ * 1024 ** 2 } 0 .. 399);
    holes('q"uote', 3_000_000, 1_000_000); holes('z' x 150, 3_000_000, 2_900_000); holes('plain', 100_000, 0)`,
  )
  const saved = await save(volume, 'sparse')
  const { record, path, seconds } = saved
  t.diagnostic(`written in ${seconds.toFixed(1)} s`)
  assert.ok(seconds < 60, `${seconds} s`)
  assert.equal(record.bytes, 10 * GIB + 100_000_001 + 400 * MIB + 2 * 3_000_000 + 100_000)
  assert.ok((record.stored ?? 0) < 60 * MIB, `${record.stored} stored`)
  assert.ok(statSync(path).size < 60 * MIB)
  const measured = (await volumeSizes(stack, [volume])).get(volume) ?? 0
  assert.ok(measured > 40_000_000 && measured < 80 * MIB, `du: ${measured}`)
  assert.equal((await verified(path)).digest, record.digest)

  const restored = await restore(saved, 'sparse')
  const used = Number((await inside(restored, ['du', '-s', '--block-size=1', '.'])).split('\t')[0])
  assert.ok(used < 80 * MIB, `${used} bytes on the disk`)
  const same =
    'cd /v; stat -c \'%s %n\' * | sort; for f in pieces q* z* plain; do sha256sum -b "$f"; done; cmp -n 100000001 noth* /dev/zero'
  assert.equal(await inside(restored, ['sh', '-c', same]), await inside(volume, ['sh', '-c', same]))

  await t.test('a dense copy has the same digest', async () => {
    await inside(volume, ['rm', '10G', 'nothing\n'])
    const sparse = await look(volume)
    const dense = await newVolume('dense')
    await inside(dense, ['true'])
    await exec({
      words: [
        'docker',
        'run',
        '--rm',
        '--network=none',
        '--entrypoint=cp',
        `--volume=${volume}:/a:ro`,
        `--volume=${dense}:/b`,
        image,
        '-a',
        '--sparse=never',
        '/a/.',
        '/b',
      ],
    })
    const copy = await look(dense)
    assert.equal(copy.digest, sparse.digest)
    assert.equal(copy.stored, copy.bytes)
    assert.ok(sparse.stored < sparse.bytes / 5)
  })
})

test('what changes while it is read is read once more, then recorded', async (t) => {
  const volume = await newVolume('busy')
  const hostile = 'c "q\n\\x\xff: file changed as we read it' // bytes
  await perl(
    volume,
    String.raw`use Socket; open(my $r, '<', '/dev/urandom'); mkdir 'sub'; mkdir 'j-folder';
    sub put { read($r, my $data, 3 * 1024**2); open(my $f, '>', $_[0]) or die $!; print $f $data; close($f) }
    put($_) for 'a-once', 'b-shrinks', "c \"q\n\\x\xff: file changed as we read it", 'd-grows', 'e-rewritten', 'f-linked',
      'g-removed', 'h-replaced', 'j-folder/x', 'sub/once'; link('f-linked', 'sub/other');
    open(my $f, '>', 'k-sparse'); read($r, my $data, 3 * 1024**2); seek($f, 40_000_000, 0); print $f $data; truncate($f, 90_000_000);
    open($f, '>', $_) for 'y-quiet', 'z-vanishes'; 
    socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un('sub/socket')); utime(1e9, 1e9, 'sub')`,
  )
  const writer = `${ID}-writer`
  containers.add(writer)
  await docker('rm', '--force', writer)
  const write =
    'while :; do echo line >> d-grows; n=$((n + 1)); echo $n | dd of=e-rewritten conv=notrunc status=none; sleep 0.01; done'
  const mount = `--mount=type=volume,src=${volume},dst=/v`
  await docker(
    'run',
    '--detach',
    `--name=${writer}`,
    '--network=none',
    // Volumes that the image declares: nobody would remove them.
    '--tmpfs=/data/db',
    '--tmpfs=/data/configdb',
    mount,
    '--workdir=/v',
    '--entrypoint=sh',
    image,
    '-c',
    write,
  )
  // While this runs, nobody reads from tar: it stands still in the middle of a file.
  const meanwhile = (script: string, ...args: string[]): string =>
    String(
      execFileSync('docker', ['exec', writer, 'timeout', '20', 'bash', '-c', script, 'bash', ...args], {
        timeout: DEADLINE,
      }),
    )
  const touch =
    'for f in a-once c\\ * f-linked g-removed h-replaced sub/once; do [ ! -f "$f" ] || printf "$1" | dd of="$f" conv=notrunc status=none; done; '
  const once = `${touch} truncate -s -100000 b-shrinks; printf "$1" | dd of=k-sparse bs=1 seek=41000000 conv=notrunc status=none; touch "j-folder/new$1"; rm -f z-vanishes`
  const again = 'rm -rf g-removed h-replaced; mkdir h-replaced'
  const wrote =
    's=$(stat -c %s d-grows); r=$(cat e-rewritten | head -c 9); until [ "$(stat -c %s d-grows)" -gt "$s" ] && [ "$(head -c 9 e-rewritten)" != "$r" ]; do sleep 0.01; done'

  const helpers: string[] = []
  let bytes = 0
  let pause = 0
  const saved = await save(volume, 'busy', (n) => {
    bytes += n
    if (bytes < (pause + 1) * MIB) return
    pause++
    const filter = ['--filter', 'label=runbook.for=backup', '--filter', `label=runbook.stack=${ID}`]
    const helper = String(execFileSync('docker', ['ps', '-q', ...filter])).trim()
    if (!helpers.includes(helper)) {
      helpers.push(helper)
      // Whoever serves users goes first.
      const shares = String(
        execFileSync('docker', ['inspect', '--format', '{{.HostConfig.CpuShares}}', helper]),
      )
      assert.equal(Number(shares), 64)
      assert.match(
        String(execFileSync('docker', ['exec', helper, 'ionice', '-p', '1'])),
        /best-effort: prio 7/,
      )
    }
    meanwhile(`${helpers.length === 1 ? once : again}; ${wrote}`, String(pause))
  })
  assert.equal(helpers.length, 2)
  t.diagnostic(`${pause} pauses, ${saved.seconds.toFixed(1)} s`)
  await docker('rm', '--force', writer)

  const { record, leftOut } = saved
  const whole = ['a-once', 'b-shrinks', show(hostile), 'k-sparse', 'sub/once']
  assert.deepEqual(record.again?.toSorted(), [...whole, 'd-grows', 'e-rewritten'].toSorted())
  const torn = ['d-grows', 'e-rewritten', 'f-linked', 'g-removed', 'h-replaced', 'j-folder', '.']
  assert.deepEqual(record.changed.toSorted(), torn.toSorted())
  assert.deepEqual(leftOut.map((l) => `${l.what.replace(`${volume}: `, '')}: ${l.why}`).toSorted(), [
    'sub/socket: a socket',
    'z-vanishes: it vanished while the backup read',
  ])

  const found = await verified(saved.path, record.again)
  assert.deepEqual([found.digest, found.files, found.bytes], [record.digest, record.files, record.bytes])
  assert.notEqual((await verified(saved.path)).digest, record.digest)
  const restored = await restore(saved, 'busy')
  const is = await look(restored)
  assert.deepEqual([is.digest, is.files, is.bytes], [record.digest, record.files, record.bytes])
  const sums =
    'sha256sum -b a-once b-shrinks c\\ * k-sparse sub/once y-quiet; stat -c %s k-sparse; head -c 3 a-once'
  assert.equal(await inside(restored, ['bash', '-c', sums]), await inside(volume, ['bash', '-c', sums]))
  assert.deepEqual(readdirSync(stack.config.STATE_DIR), [], 'no pipe is left')
})
