import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { parse } from 'dotenv'
import { KEYS, loadConfig, ROOT } from '../../lib/env.ts'
import { EXIT, Stop } from '../../lib/errors.ts'
import { HOSTILE } from './fixtures/hostile.ts'

let dir: string
before(() => (dir = mkdtempSync(join(tmpdir(), 'env-'))))
after(() => rmSync(dir, { recursive: true }))
afterEach(() => {
  for (const key of Object.keys(process.env)) if (key.startsWith('RUNBOOK_')) delete process.env[key]
})

const GOOD = "STACK_ID='sample'\nSTACK_DIR='/srv/sample'\n"

function envFile(text: string, name = 'sample.env', mode = 0o600): string {
  const file = join(dir, name)
  writeFileSync(file, text)
  chmodSync(file, mode)
  return file
}

function refused(load: () => unknown): string {
  try {
    load()
  } catch (error) {
    assert.ok(error instanceof Stop, String(error))
    assert.equal(error.code, EXIT.usage)
    return error.message
  }
  return assert.fail('it was accepted')
}

describe('what is read', () => {
  test('what is left out is derived', () => {
    const file = envFile(GOOD)
    assert.deepEqual(loadConfig(file), {
      name: file,
      file,
      STACK_ID: 'sample',
      STACK_DIR: '/srv/sample',
      STATE_DIR: '/var/lib/runbook/sample',
      BACKUP_DIR: '/srv/sample/backups',
      BACKUP_MAX_AGE: '',
      BACKUP_COPY_TO: '',
      HEARTBEAT_URL: '',
      STACK_FILE: join(ROOT, 'env/stack.ts'),
      PROXY_ADDRESS: '',
      STAGING_DIR: '/srv/sample/staging',
      STAGING_ENV_FILE: join(ROOT, 'env/staging.stack.env'),
      SCHEMA: join(ROOT, 'migration/schema.prisma'),
      MONGODB_USER: '',
      MONGODB_PASSWORD: '',
      REDIS_PASSWORD: '',
    })
  })

  test('it cannot be changed afterwards', () => assert.ok(Object.isFrozen(loadConfig(envFile(GOOD)))))

  test('paths lose a last slash and their dots: Docker’s labels have neither', () => {
    const { STACK_DIR, BACKUP_DIR } = loadConfig(envFile("STACK_ID='s'\nSTACK_DIR='/srv/./x/../sample/'\n"))
    assert.deepEqual([STACK_DIR, BACKUP_DIR], ['/srv/sample', '/srv/sample/backups'])
  })

  test('a flag beats the environment beats the file; what is empty is not given', () => {
    const file = envFile(`${GOOD}BACKUP_DIR='/file'\nMONGODB_USER='file'\n`)
    process.env.RUNBOOK_BACKUP_DIR = '/environment'
    process.env.RUNBOOK_MONGODB_USER = ''
    process.env.BACKUP_DIR = '/not ours'
    assert.equal(loadConfig(file).BACKUP_DIR, '/environment')
    assert.equal(loadConfig(file).MONGODB_USER, 'file')
    assert.equal(loadConfig(file, { BACKUP_DIR: '/flag' }).BACKUP_DIR, '/flag')
    delete process.env.RUNBOOK_BACKUP_DIR
    assert.equal(loadConfig(file).BACKUP_DIR, '/file')
    delete process.env.BACKUP_DIR
  })

  test('values in single quotes are literal', () => {
    for (const value of HOSTILE.filter((v) => v.length >= 6 && !v.includes("'"))) {
      assert.equal(loadConfig(envFile(`${GOOD}REDIS_PASSWORD='${value}'\n`)).REDIS_PASSWORD, value)
    }
  })
})

describe('what is refused', () => {
  test('all problems stand in one message', () => {
    const text = [
      "STACK_ID='Not Good'",
      "STATE_DIR='relative/path'",
      "BACKUP_MAX_AGE='soon'",
      "BACKUP_COPY_TO='nas:/sets'",
      "HEARTBEAT_URL='hc-ping.com/token'",
      "PROXY_ADDRESS='localhost'",
      "REDIS_PASSWORD='short'",
      'MONGODB_PASSWORD=cut#short and more',
      "STAK_DIR='/typo'",
      "NAME='staging'",
    ].join('\n')
    const file = envFile(text)
    process.env.RUNBOOK_BACKUP_DIR = 'also/relative'
    assert.equal(
      refused(() => loadConfig(file)),
      [
        `${file} cannot be used. Nothing was changed.`,
        '  STAK_DIR: unknown key',
        '  MONGODB_PASSWORD: a # without quotes cuts the value short: put it in single quotes',
        "  NAME: the file is for 'staging', but 'sample' was asked for",
        '  STACK_ID: must be a-z, 0-9 and hyphens, at most 40',
        '  STACK_DIR: missing',
        '  STATE_DIR: must be an absolute path',
        '  BACKUP_DIR: must be an absolute path',
        '  BACKUP_MAX_AGE: must be hours or days, as 26h or 3d',
        '  BACKUP_COPY_TO: must be like rsync:user@host:/folder or rclone:remote:folder',
        '  HEARTBEAT_URL: must be like https://hc-ping.com/your-uuid',
        '  PROXY_ADDRESS: must be like http://127.0.0.1:8080',
        '  MONGODB_PASSWORD: is shorter than 6 characters: it could not be kept out of logs',
        '  REDIS_PASSWORD: is shorter than 6 characters: it could not be kept out of logs',
      ].join('\n'),
    )
  })

  test('no value of a key stands in the message', () => {
    const message = refused(() =>
      loadConfig(envFile(`${GOOD}REDIS_PASSWORD='s3cr3'\nPROXY_ADDRESS='s3cr3'\n`)),
    )
    assert.doesNotMatch(message, /s3cr3/)
  })

  test('a # that starts a comment cuts nothing', () => {
    for (const text of [
      'STATE_DIR=/s # a comment',
      "STATE_DIR='/s' # a#b",
      '#STATE_DIR=/x#y',
      'STATE_DIR=\nPROXY_ADDRESS=',
    ]) {
      loadConfig(envFile(`${GOOD}${text}\n`))
    }
    assert.match(
      refused(() => loadConfig(envFile(`${GOOD}export STATE_DIR = /a b#c\n`))),
      /STATE_DIR: a # without quotes/,
    )
  })

  test('a file that others can read, whoever they are', () => {
    for (const mode of [0o640, 0o604, 0o620, 0o601, 0o644]) {
      const file = envFile(GOOD, 'open.env', mode)
      const message = refused(() => loadConfig(file))
      assert.match(message, new RegExp(`can be read by others \\(mode ${mode.toString(8)}\\)`))
      assert.ok(message.endsWith(`\n  chmod 600 ${file}`), message)
    }
  })

  test('a file that is not there: the message is the command that makes it', () => {
    assert.equal(
      refused(() => loadConfig('no-such-stack')),
      [
        `There is no env file ${ROOT}/env/no-such-stack.env. Nothing was changed.`,
        'Make it from the example and fill it in:',
        `  install -m 600 ${ROOT}/env/example.env ${ROOT}/env/no-such-stack.env`,
      ].join('\n'),
    )
    assert.match(
      refused(() => loadConfig('./$(id).env')),
      /\n {2}install -m 600 \S+ '\S*\/\$\(id\)\.env'$/,
    )
  })

  test('a folder', () => {
    mkdirSync(join(dir, 'folder.env'), { mode: 0o700 })
    assert.match(
      refused(() => loadConfig(join(dir, 'folder.env'))),
      /cannot be read/,
    )
  })
})

describe('env/example.env', () => {
  const example = readFileSync(join(ROOT, 'env/example.env'), 'utf8')

  test('lists exactly the keys there are, each with its explanation', () => {
    assert.deepEqual(Object.keys(parse(example)), ['NAME', ...Object.keys(KEYS)])
    for (const block of example.trim().split(/\n\n/).slice(1)) assert.match(block, /^# /)
  })

  test('is refused as it is for nothing but its name, and can be loaded when it is filled in', () => {
    const filled = example
      .replace(/^STACK_ID=.*$/m, "STACK_ID='shop'")
      .replace(/^STACK_DIR=.*$/m, "STACK_DIR='/srv/shop'")
      .replace(/^MONGODB_PASSWORD=.*$/m, "MONGODB_PASSWORD='a#b $c d'")
    const config = loadConfig(envFile(filled, 'production.env'))
    assert.deepEqual(
      [config.STACK_ID, config.STATE_DIR, config.BACKUP_DIR, config.MONGODB_PASSWORD, config.STACK_FILE],
      ['shop', '/var/lib/runbook/shop', '/srv/shop/backups', 'a#b $c d', join(ROOT, 'env/stack.ts')],
    )
    assert.match(
      refused(() => loadConfig(envFile(filled, 'staging.env'))),
      /the file is for 'production', but 'staging'/,
    )
  })
})
