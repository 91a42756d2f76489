import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { confirm } from '../../lib/confirm.ts'
import { EXIT, Stop } from '../../lib/errors.ts'
import {
  place,
  runScript,
  SAMPLE,
  start,
  startScript,
  until,
  LOADER,
  type Place,
  type Running,
} from './fixtures/process.ts'

const places: Place[] = []
after(() => places.forEach((p) => p.remove()))
function somewhere(): Place {
  const here = place()
  places.push(here)
  return here
}

async function refused(words: readonly string[], given: readonly string[]): Promise<string> {
  const error = await confirm(words, given).then(
    () => assert.fail('it was confirmed'),
    (e: unknown) => e,
  )
  assert.ok(error instanceof Stop && error.code === EXIT.unconfirmed, String(error))
  return error.message
}

describe('words that are given', () => {
  test('confirm in order', async () => {
    await confirm([], [])
    await confirm(['oui', 'SURE'], ['oui', 'SURE'])
    await confirm(['oui'], ['oui', 'and more'])
  })

  test('are wrong, or in the wrong order, or in other letters', async () => {
    assert.equal(await refused(['oui'], ['yes']), "Not confirmed: 'oui' was expected. Nothing was changed.")
    assert.match(await refused(['oui', 'SURE'], ['SURE', 'oui']), /'oui' was expected/)
    assert.match(await refused(['SURE'], ['sure']), /'SURE' was expected/)
    assert.match(await refused(['oui'], ['']), /'oui' was expected/)
  })
})

describe('without a terminal', { concurrency: 2 }, () => {
  test('it is 4, and names the flags as they can be pasted', async () => {
    const here = somewhere()
    const { code, stderr } = await runScript(SAMPLE, [
      '--env',
      here.envFile,
      here.work,
      '--ask',
      '--confirm',
      'oui',
    ])
    assert.equal(code, 4)
    assert.equal(
      stderr,
      `Files in ${here.work} will change.\nThis needs a confirmation, and there is no terminal to ask on. Nothing was changed.\n` +
        'Unattended: --confirm oui --confirm SURE\n',
    )
    assert.deepEqual([readdirSync(here.work), existsSync(join(here.stateDir, 'runs'))], [[], false])
    assert.match(await refused(["it's $(id)"], []), /Unattended: --confirm 'it'\\''s \$\(id\)'$/)
  })

  test('the words given go through', async () => {
    const here = somewhere()
    const args = ['--env', here.envFile, here.work, '--ask', '--confirm', 'oui', '--confirm', 'SURE']
    assert.equal((await runScript(SAMPLE, args)).code, 0)
  })

  test('a word for the missing backup comes before those of the script', async () => {
    const here = somewhere()
    const args = [
      '--env',
      here.envFile,
      here.work,
      '--ask',
      '--from',
      '2',
      '--confirm',
      'oui',
      '--confirm',
      'SURE',
    ]
    const { code, stderr } = await runScript(SAMPLE, args)
    assert.deepEqual([code, /'no-backup' was expected/.test(stderr)], [4, true])
    assert.equal(
      (await runScript(SAMPLE, [...args.slice(0, 6), '--confirm', 'no-backup', ...args.slice(6)])).code,
      0,
    )
  })

  test('nor with its input closed', async () => {
    const here = somewhere()
    const command = [process.execPath, '--import', LOADER, SAMPLE, '--env', here.envFile, here.work, '--ask']
    assert.equal((await start(['sh', '-c', 'exec "$@" <&-', 'sh', ...command]).ended).code, 4)
    assert.equal((await start(['sh', '-c', 'exec "$@" </dev/null', 'sh', ...command]).ended).code, 4)
  })

  test('CI is no person', async () => {
    const here = somewhere()
    const args = ['--env', here.envFile, here.work, '--ask']
    const { code } = await startScript(SAMPLE, args, { terminal: true, env: { CI: 'true' } }).ended
    assert.equal(code, 4)
  })
})

describe('on a terminal', { concurrency: 2 }, () => {
  async function asked(here: Place): Promise<Running> {
    const running = startScript(SAMPLE, ['--env', here.envFile, here.work, '--ask'], { terminal: true })
    await until('it asks', () => running.printed().includes('Type oui to go on: '))
    assert.ok(running.printed().includes('will change.')) // what will happen stands before the question
    return running
  }

  test('the words are typed', async () => {
    const here = somewhere()
    const { ended, type, printed } = await asked(here)
    type('oui\r')
    await until('it asks again', () => printed().includes('Type SURE to go on: '))
    assert.deepEqual(readdirSync(here.work), [])
    type('  SURE \r')
    assert.equal((await ended).code, 0)
    assert.deepEqual(readdirSync(here.work), ['two'])
  })

  for (const [name, keys, code] of [
    ['another word', 'non\r', 4],
    ['nothing', '\r', 4],
    ['Ctrl-D', '\x04', 4],
    ['Ctrl-C', '\x03', 130],
    ['Ctrl-C after some letters', 'ou\x03', 130],
  ] as const) {
    test(`${name} is ${code}, and nothing was changed`, async () => {
      const here = somewhere()
      const { ended, type } = await asked(here)
      type(keys)
      const end = await ended
      assert.equal(end.code, code)
      assert.match(end.stdout, /Nothing was changed\./)
      assert.deepEqual([readdirSync(here.work), existsSync(join(here.stateDir, 'runs'))], [[], false])
    })
  }

  test('a terminal that is closed ends the question', async () => {
    const here = somewhere()
    const { hangUp, pid } = await asked(here)
    const node = Number(await childOf(pid))
    hangUp()
    await until('it has ended', () => !existsSync(`/proc/${node}`), 10_000)
    assert.deepEqual([readdirSync(here.work), existsSync(join(here.stateDir, 'runs'))], [[], false])
  })
})

const childOf = async (pid: number): Promise<string> =>
  (await start(['ps', '-o', 'pid=', '--ppid', String(pid)]).ended).stdout.trim()
