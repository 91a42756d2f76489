import assert from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { copySet, copyTarget, readCopy, writeCopy, wrongTarget } from '../../lib/backup/copy.ts'
import { SEAL } from '../../lib/backup/seal.ts'
import { folder, sealedFixture } from './backup-fixture.ts'

test('a target is taken apart into program, host and folder', () => {
  const parts = (text: string): unknown[] => {
    const { by, host, folder: where } = copyTarget(text)
    return [by, host, where]
  }
  assert.deepEqual(parts('rsync:/mnt/nas/'), ['rsync', undefined, '/mnt/nas'])
  assert.deepEqual(parts('rsync:/mnt/a:b@c'), ['rsync', undefined, '/mnt/a:b@c'])
  assert.deepEqual(parts('rsync:nas:/sets'), ['rsync', 'nas', '/sets'])
  assert.deepEqual(parts('rsync:me@nas.example:/sets//'), ['rsync', 'me@nas.example', '/sets'])
  assert.deepEqual(parts('rsync:me@[fe80::1%eth0]:/sets'), ['rsync', 'me@[fe80::1%eth0]', '/sets'])
  assert.deepEqual(parts('rsync:nas:sets'), ['rsync', 'nas', './sets'])
  assert.deepEqual(parts('rsync:nas:-rf'), ['rsync', 'nas', './-rf'])
  assert.deepEqual(parts('rsync:nas:/a b/$(c)\'"'), ['rsync', 'nas', '/a b/$(c)\'"'])
  assert.deepEqual(parts('rsync:/'), ['rsync', undefined, '/'])
  assert.deepEqual(parts('rclone:b2:bucket/sets/'), ['rclone', undefined, 'b2:bucket/sets'])
  assert.deepEqual(parts('rclone:b2:'), ['rclone', undefined, 'b2:'])
  assert.deepEqual(parts('rclone:/mnt/nas'), ['rclone', undefined, '/mnt/nas'])
})

test('what cannot be a target, or holds a password, is refused in words that do not repeat it', () => {
  const cases: [string, RegExp][] = [
    ['', /must be like/],
    ['/mnt/nas', /must be like/],
    ['nas:/sets', /must be like/],
    ['rsync:', /must be like/],
    ['rsync:sets', /must be like/],
    ['rsync:nas:', /names no folder/],
    ['rsync:nas:~/sets', /needs no ~/],
    ['rsync:nas::module', /over ssh/],
    ['rsync:rsync://nas/module', /over ssh/],
    ['rsync:-oProxyCommand=touch PWNED:/x', /must be like/],
    ['rsync:me@-oProxyCommand=x:/x', /must be like/],
    ['rsync:$(touch PWNED):/x', /must be like/],
    ['rsync:a b:/x', /must be like/],
    ['rsync:nas:/a\nb', /control character/],
    ['rsync:me:hunter2@nas:/x', /holds a password/],
    ['rsync:rsync://me:hunter2@nas/x', /holds a password/],
    ['rclone:sets', /must be like rclone/],
    ['rclone:--config=x', /must be like rclone/],
    ['rclone::sftp,host=nas,pass=hunter2:/x', /must be like rclone/],
    ['rclone:nas,pass=hunter2:/x', /must be like rclone/],
    ['rclone:me:hunter2@nas', /holds a password/],
  ]
  for (const [text, says] of cases) {
    assert.match(wrongTarget(text) ?? '', says, text)
    assert.doesNotMatch(wrongTarget(text) ?? '', /hunter2/)
  }
  assert.equal(wrongTarget('rsync:me@nas:/sets'), undefined)
})

test('what became of a copy is noted beside the set, privately, and only for the archive that it was', async () => {
  const dir = folder()
  const set = await sealedFixture(dir)
  assert.equal(readCopy(set), undefined)

  writeCopy(set, { to: 'rsync:nas:/a', ok: true, verified: 'hash' })
  const { at, sha256, ...rest } = readCopy(set) ?? {}
  assert.deepEqual(rest, { to: 'rsync:nas:/a', ok: true, verified: 'hash' })
  assert.ok(Math.abs(Date.parse(at ?? '') - Date.now()) < 60_000)
  assert.match(sha256 ?? '', /^[0-9a-f]{64}$/)
  assert.equal(statSync(`${set}.copy`).mode & 0o777, 0o600)

  writeCopy(set, { to: 'rsync:nas:/a', ok: false, why: 'nobody answers' })
  assert.equal(readCopy(set)?.why, 'nobody answers')

  writeFileSync(set + SEAL, `${'0'.repeat(64)}  ${set.slice(dir.length + 1)}\n`)
  assert.equal(readCopy(set), undefined, 'another archive under the same name')
})

test('a note that is not ours says nothing', async () => {
  const set = await sealedFixture(folder())
  for (const text of ['', 'null', '{', '"x"', '{"to":1,"ok":true}', '{"to":"x"}']) {
    writeFileSync(`${set}.copy`, text)
    assert.equal(readCopy(set), undefined, text)
  }
})

test('the folder of the sets itself is no place for a copy', async () => {
  const dir = folder()
  const set = await sealedFixture(dir)
  for (const text of [`rsync:${dir}`, `rsync:${join(dir, '.')}/`, `rclone:${dir}`])
    await assert.rejects(
      copySet(set, copyTarget(text), { report: () => {} }),
      /is the folder of the sets itself/,
    )
})
