import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { ROOT } from '../../lib/env.ts'
import { EXIT, Stop } from '../../lib/errors.ts'
import { takeLock, type Lock } from '../../lib/lock.ts'
import { processesWith, startScript, until, type Running } from './fixtures/process.ts'

const HOLDER = join(ROOT, 'test/unit/fixtures/holder.ts')

let root: string
let state: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lock-'))
  state = join(root, 'state')
})
afterEach(() => rmSync(root, { recursive: true }))

async function holder(): Promise<Running> {
  const running = startScript(HOLDER, [state])
  await until('the lock is held', () => running.printed() === 'held\n')
  return running
}

async function refusal(): Promise<Stop> {
  const error = await takeLock(state, 'second').then(
    () => assert.fail('it was taken'),
    (e: unknown) => e,
  )
  assert.ok(error instanceof Stop, String(error))
  return error
}

describe('the lock', () => {
  test('has one holder, who is named to the second', async () => {
    const lock = await takeLock(state, 'first')
    const { code, message } = await refusal()
    assert.equal(code, EXIT.locked)
    assert.match(
      message,
      new RegExp(`: first by \\w+, process ${process.pid}, since 20\\d\\d-\\S+Z\\.\n.*task status$`),
    )
    await lock.release()
    await (await takeLock(state, 'second')).release()
  })

  test('of another process, until that ends', async () => {
    const { pid, ended } = await holder()
    assert.match((await refusal()).message, new RegExp(`: holder by \\w+, process ${pid}, `))
    process.kill(pid, 'SIGTERM')
    assert.equal((await ended).signal, 'SIGTERM')
    await (await takeLock(state, 'second')).release()
  })

  test('heals itself: SIGKILL of the holder frees it', async () => {
    const { pid, ended } = await holder()
    assert.equal(processesWith(state).length, 1) // no helper process that would have to be found and ended
    process.kill(pid, 'SIGKILL')
    assert.equal((await ended).signal, 'SIGKILL')
    const lock = await takeLock(state, 'second')
    assert.match(readFileSync(join(state, 'lock'), 'utf8'), /^\{"script":"second",.*\}$/)
    await lock.release()
  })

  test('is kept by a command that a killed holder had started, until that has ended', async () => {
    const running = startScript(HOLDER, [state, '2'])
    await until('the lock is held', () => running.printed() === 'held\n')
    process.kill(running.pid, 'SIGKILL')
    await running.ended
    const { code, message } = await refusal()
    assert.equal(code, EXIT.locked)
    assert.match(message, /^A run was killed \(holder by .*still works\.\n/)
    let lock: Lock | undefined
    await until('the command has ended', () => {
      void takeLock(state, 'second').then(
        (taken) => (lock = taken),
        () => {},
      )
      return lock !== undefined
    })
    await lock?.release()
  })

  test('two that start together: one has it, the other is told', async () => {
    const tries = await Promise.allSettled([takeLock(state, 'a'), takeLock(state, 'b'), takeLock(state, 'c')])
    const [held, ...more] = tries.flatMap((t) => (t.status === 'fulfilled' ? [t.value] : []))
    assert.deepEqual([held !== undefined, more.length], [true, 0])
    for (const t of tries) if (t.status === 'rejected') assert.equal((t.reason as Stop).code, EXIT.locked)
    await held?.release()
  })

  test('is private, whatever the umask', async () => {
    const umask = process.umask(0)
    const lock = await takeLock(state, 'first')
    process.umask(umask)
    assert.equal(statSync(state).mode & 0o777, 0o700)
    assert.equal(statSync(join(state, 'lock')).mode & 0o777, 0o600)
    await lock.release()
  })

  test('leaves nothing of a former holder to be named by mistake', async () => {
    mkdirSync(state)
    writeFileSync(
      join(state, 'lock'),
      '{"script":"long ago, and a longer text than ours ......................................"}',
    )
    const lock = await takeLock(state, 'x')
    assert.match((await refusal()).message, /: x by/)
    await lock.release()
    assert.equal(readFileSync(join(state, 'lock'), 'utf8'), '')
  })

  test('a STATE_DIR that cannot be one is a matter of configuration', async () => {
    writeFileSync(state, 'a file')
    const file = await refusal()
    assert.deepEqual([file.code, /^STATE_DIR \S+ cannot be made/.test(file.message)], [EXIT.usage, true])
    rmSync(state)
    mkdirSync(join(state, 'lock'), { recursive: true })
    const folder = await refusal()
    assert.deepEqual(
      [folder.code, folder.message.startsWith('The lock of this stack cannot be opened')],
      [EXIT.usage, true],
    )
  })

  test('without flock it is said in a sentence', async () => {
    symlinkSync('/bin/sh', join(root, 'sh'))
    const { code, stdout, stderr } = await startScript(HOLDER, [state], { env: { PATH: root } }).ended
    assert.deepEqual([code, stderr], [EXIT.failed, ''])
    assert.equal(stdout, 'The lock could not be taken: spawn flock ENOENT. Nothing was changed.\n')
  })
})
