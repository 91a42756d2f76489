// The configuration as a backup takes it: whatever a bind-mounted folder holds, and while somebody writes to it.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once as event } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createArchive, type ArchiveWriter } from '../../lib/backup/archive.ts'
import { configRoots, writeConfig } from '../../lib/backup/config.ts'
import {
  metadataText,
  readManifest,
  type ConfigRecord,
  type LeftOut,
  type Manifest,
} from '../../lib/backup/manifest.ts'
import { show } from '../../lib/backup/tar.ts'
import type { Stack } from '../../lib/stack.ts'
import { folder, writeFixture } from './backup-fixture.ts'

const HOSTILE = [
  'new\nline',
  'q"uo\'te',
  '$(touch pwned)',
  '-rf',
  'back\\slash',
  'h\u00c3\u00a9',
  'bin\u00ff',
  'n'.repeat(255),
]

/** A folder with a Compose file, and a folder elsewhere that a service binds. */
function makeStack(): { stack: Stack; dir: string; bound: string } {
  const root = folder()
  const dir = join(root, 'stack')
  const bound = join(root, 'bound')
  for (const path of [dir, bound]) mkdirSync(path)
  writeFileSync(join(dir, 'docker-compose.yml'), 'services: {}\n')
  const container = { Mounts: [{ Type: 'bind', Source: bound, Destination: '/etc/x' }] }
  const config = { BACKUP_DIR: join(dir, 'backups'), STATE_DIR: join(root, 'state') }
  const stack = {
    dir,
    files: [join(dir, 'docker-compose.yml')],
    about: { config: [] },
    services: [{ name: 'x', container }],
    config,
  } as unknown as Stack
  return { stack, dir, bound }
}

interface Written {
  readonly records: readonly ConfigRecord[]
  readonly leftOut: readonly LeftOut[]
  /** Where the archive was extracted. */
  readonly out: string
}

/** Writes the configuration and extracts it with GNU tar. `during` acts while each file's content is taken. */
async function write(stack: Stack, during?: (name: string) => void): Promise<Written> {
  const dir = folder()
  const path = join(dir, 'a.tar.gz')
  const archive = await createArchive(path, 'root')
  const seen: Pick<ArchiveWriter, 'file' | 'folder' | 'link'> = {
    ...archive,
    file: (name, source, options) =>
      archive.file(
        name,
        (async function* () {
          during?.(name)
          yield* source
        })(),
        options,
      ),
  }
  const leftOut: LeftOut[] = []
  const config = await configRoots(stack, [])
  const records = await writeConfig(stack, { config }, seen, { count: () => {}, leftOut })
  await archive.finish('{}')
  await archive.close()
  execFileSync('tar', ['-xzpf', path, '--same-owner', '--numeric-owner', '-C', dir])
  return { records, leftOut: [...config.leftOut, ...leftOut], out: join(dir, 'root/config') }
}

const raw = (dir: string, name: string): Buffer =>
  Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(name, 'latin1')])

test('a bound folder comes back with its hostile names, modes, owners and links; what leads out stays out', async () => {
  const { stack, bound } = makeStack()
  for (const name of HOSTILE) writeFileSync(raw(bound, name), name, 'latin1')
  mkdirSync(join(bound, 'empty'), 0o750)
  mkdirSync(join(bound, 'sub'))
  writeFileSync(join(bound, 'sub/setuid'), 'x')
  if (process.getuid?.() === 0) chownSync(join(bound, 'sub/setuid'), 3_000_000, 7)
  chmodSync(join(bound, 'sub/setuid'), 0o4711)
  utimesSync(join(bound, 'sub/setuid'), 1, 1_500_000_000)
  symlinkSync('../new\nline', join(bound, 'sub/link'))
  symlinkSync('nowhere', join(bound, 'dangling'))
  symlinkSync('/etc/passwd', join(bound, 'absolute'))
  symlinkSync('../../x', join(bound, 'out'))
  execFileSync('mkfifo', [join(bound, 'fifo')])
  const { records, leftOut, out } = await write(stack)
  const there = join(out, '_outside', bound)
  for (const name of HOSTILE) assert.equal(readFileSync(raw(there, name), 'latin1'), name)
  const { mode, uid, gid, mtimeMs } = statSync(join(there, 'sub/setuid'))
  assert.deepEqual(
    [mode & 0o7777, mtimeMs, ...(process.getuid?.() === 0 ? [uid, gid] : [])],
    [0o4711, 1.5e12, ...(process.getuid?.() === 0 ? [3_000_000, 7] : [])],
  )
  assert.equal(readlinkSync(join(there, 'sub/link')), '../new\nline')
  assert.equal(readlinkSync(join(there, 'dangling')), 'nowhere')
  assert.ok(statSync(join(there, 'empty')).isDirectory())
  for (const name of ['absolute', 'out', 'fifo']) assert.ok(!existsSync(join(there, name)), name)
  assert.deepEqual(
    leftOut.map((l) => l.why.replace(/,.*/, '')),
    [
      'a link that leads out of its folder',
      'neither a file nor a folder',
      'a link that leads out of its folder',
    ],
  )
  const record = (name: string): ConfigRecord | undefined =>
    records.find((r) => r.source === join(bound, name))
  assert.equal(record('empty')?.folder, true)
  assert.equal(record('empty')?.mode, 0o750)
  assert.equal(record('sub/link')?.target, '../new\nline')
  assert.ok(HOSTILE.every((name) => record(show(name))))
  assert.ok(records.every((r) => r.changed === undefined))
})

/** Writes to a file without end, as another process. */
async function writer(path: string, act: string): Promise<() => Promise<void>> {
  const program = `const fs = require('fs'), p = process.argv[1], f = fs.openSync(p, 'r+'); let n = 0
    process.stdout.write('on'); setInterval(() => { for (let i = 0; i < 20; i++) { ${act} } }, 0)`
  const child = spawn(process.execPath, ['-e', program, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  await event(child.stdout, 'data')
  return async () => {
    child.kill()
    await event(child, 'close')
  }
}

test('a file that is written to for a while is taken when it is whole; one without end is recorded', async () => {
  const { stack, dir, bound } = makeStack()
  writeFileSync(join(bound, 'busy'), 'x'.repeat(2 ** 20))
  const stop = await writer(join(bound, 'busy'), 'fs.writeSync(f, String(n++), 0)')
  const { records, out } = await write(stack)
  await stop()
  const busy = records.find((r) => r.source === join(bound, 'busy'))
  assert.equal(busy?.changed, true)
  assert.equal(statSync(join(out, '_outside', bound, 'busy')).size, 2 ** 20)
  assert.ok(records.filter((r) => r.source.startsWith(dir)).every((r) => !r.changed))
  const again = await write(stack)
  assert.ok(again.records.every((r) => !r.changed))

  const path = await writeFixture(folder(), { lie: (m) => ({ ...m, config: records }) })
  const text = metadataText((await readManifest(path)) as Manifest)
  assert.match(text, /busy, changed while it was read\n/)
})

test('a file that changes only once is read again, and is what it became', async () => {
  const { stack, bound } = makeStack()
  const path = join(bound, 'a.conf')
  writeFileSync(path, 'old '.repeat(100_000))
  // The change falls between the two looks at it: reading is one more question to the file.
  const { FileHandle } = await fileHandle(path)
  const read = FileHandle.read
  let reads = 0
  FileHandle.read = function (...args: unknown[]) {
    if (++reads === 1) writeFileSync(path, 'new '.repeat(100_000))
    return read.apply(this, args)
  }
  try {
    const { records, out } = await write(stack)
    assert.equal(records.find((r) => r.source === path)?.changed, undefined)
    assert.equal(readFileSync(join(out, '_outside', path), 'utf8'), 'new '.repeat(100_000))
  } finally {
    FileHandle.read = read
  }
  assert.ok(reads >= 2)
})

test('a file that was emptied just now is waited for', async () => {
  const { stack, bound } = makeStack()
  for (const name of ['a', 'b']) writeFileSync(join(bound, name), name)
  const { records, out } = await write(stack, (name) => {
    if (!name.endsWith('/a')) return
    writeFileSync(join(bound, 'b'), '')
    setTimeout(() => writeFileSync(join(bound, 'b'), 'written anew'), 22)
  })
  assert.equal(readFileSync(join(out, '_outside', bound, 'b'), 'utf8'), 'written anew')
  assert.ok(records.every((r) => !r.changed))
})

/** What all file handles share. */
async function fileHandle(path: string): Promise<{ FileHandle: { read: (...args: unknown[]) => unknown } }> {
  const { open } = await import('node:fs/promises')
  const handle = await open(path)
  const FileHandle = Object.getPrototypeOf(handle) as { read: (...args: unknown[]) => unknown }
  await handle.close()
  return { FileHandle }
}

test('a large file is streamed as far as it reached, and its growth recorded', async () => {
  const { stack, bound } = makeStack()
  const path = join(bound, 'big.log')
  const size = 6 * 2 ** 20
  writeFileSync(path, Buffer.alloc(size, 'line\n'))
  const quiet = await write(stack)
  assert.equal(quiet.records.find((r) => r.source === path)?.changed, undefined)
  const { records, out } = await write(stack, (name) => {
    if (name.endsWith('big.log')) appendFileSync(path, 'more')
  })
  assert.equal(records.find((r) => r.source === path)?.changed, true)
  assert.equal(statSync(join(out, '_outside', path)).size, size)
  const { records: cut, out: short } = await write(stack, (name) => {
    if (name.endsWith('big.log')) execFileSync('truncate', ['-s', '5000000', path])
  })
  assert.equal(cut.find((r) => r.source === path)?.changed, true)
  assert.equal(statSync(join(short, '_outside', path)).size, 5_000_000)
})

test('what vanishes, or becomes a link or a pipe, while the backup reads is left out and said so', async () => {
  const { stack, bound } = makeStack()
  mkdirSync(join(bound, 'z'))
  for (const name of ['a', 'gone', 'link', 'pipe', 'z/x']) writeFileSync(join(bound, name), name)
  let done = false
  const { records, leftOut, out } = await write(stack, (name) => {
    if (!name.endsWith('/a') || done) return
    done = true
    for (const name of ['gone', 'link', 'pipe']) rmSync(join(bound, name))
    symlinkSync('/etc/passwd', join(bound, 'link'))
    execFileSync('mkfifo', [join(bound, 'pipe')])
    renameSync(join(bound, 'z'), join(bound, '0'))
  })
  assert.deepEqual(
    leftOut.map(({ what, why }) => [what.slice(bound.length + 1), why]),
    [
      ['gone', 'it vanished while the backup read'],
      ['link', 'a link that leads out of its folder, to /etc/passwd'],
      ['pipe', 'neither a file nor a folder'],
      ['z', 'it vanished while the backup read'],
    ],
  )
  assert.deepEqual(
    records.filter((r) => r.source.startsWith(`${bound}/`)).map((r) => r.source),
    [join(bound, 'a')],
  )
  assert.ok(!existsSync(join(out, '_outside', bound, 'link')))
})
