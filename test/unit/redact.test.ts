import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { loadConfig } from '../../lib/env.ts'
import { redactor, redactorFor, secretsOf } from '../../lib/redact.ts'
import { line, quote } from '../../lib/shell.ts'
import { HOSTILE } from './fixtures/hostile.ts'

const SECRETS = [
  's3cr3t-plain',
  'admin:$2y$05$abc/def.ghi',
  `it's "hard" \\ to $quote`,
  'pass word@host:/?#[]%',
  'é日本語パス',
  '\tbegins and ends with white space ',
  ...HOSTILE.filter((v) => v.trim().length >= 6),
]

describe('a secret is hidden in every quoting', () => {
  const ways: Record<string, (s: string) => string> = {
    plain: (s) => s,
    'a shell word': quote,
    'a command in an error': (s) => line({ words: ['echo', s], env: { A: s }, input: s }),
    JSON: (s) => JSON.stringify({ a: s }),
    'a shell word in JSON': (s) => JSON.stringify({ command: line({ words: ['echo', s] }) }),
    'an address': (s) => `mongodb://root:${encodeURIComponent(s)}@db/`,
    'an address in JSON': (s) => JSON.stringify(`mongodb://root:${encodeURIComponent(s)}@db/`),
    'for Compose': (s) => s.replaceAll('$', '$$$$'),
    'by Compose': (s) => s.replaceAll('$$', '$'),
  }
  for (const [name, way] of Object.entries(ways)) {
    test(name, () => {
      for (const secret of SECRETS) {
        const text = `before ${way(secret)} between ${way(secret)} after`
        const hidden = redactor([secret])(text)
        assert.ok(!hidden.includes(way(secret)), hidden)
        assert.match(hidden, /\[redacted\]/)
        assert.ok(
          hidden.startsWith('before ') && hidden.endsWith(' after') && hidden.includes(' between '),
          hidden,
        )
      }
    })
  }

  test('a key of many lines, when its lines come one by one', () => {
    const key = '-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----'
    const hidden = key.split('\n').map(redactor([key]))
    assert.deepEqual(hidden, ['[redacted]', '[redacted]', '[redacted]', '[redacted]'])
  })

  test('the longer of two first', () => {
    assert.equal(redactor(['secret', 'secret-and-more'])('secret-and-more, secret'), '[redacted], [redacted]')
  })
})

describe('what is left alone', () => {
  test('short values, which would spoil every text', () => {
    assert.equal(redactor(['1', 'abcde', '', '      '])('1 abcde      '), '1 abcde      ')
  })
  test('a text without secrets', () => {
    assert.equal(redactor(SECRETS)('docker compose up -d'), 'docker compose up -d')
    assert.equal(redactor([])('x'), 'x')
  })
})

describe('which values are secrets', () => {
  test('by the name of their key', () => {
    const secret = [
      'DB_PASSWORD',
      'SMTP_PASS',
      'ADMIN_PASSWD',
      'JWT_SECRET',
      'HF_TOKEN',
      'API_KEY',
      'API_KEYS',
      'TRAEFIK_USERS',
      'TURN_CREDENTIAL',
      'TURN_CREDENTIALS',
      'password',
      'KEY_PASSPHRASE',
      'HEARTBEAT_URL',
      'SECRETS',
    ]
    const open = [
      'DOMAIN',
      'MONGODB_USER',
      'USER',
      'STATE_DIR',
      'KEYBOARD',
      'PASSENGER',
      'TOKEN_LIFETIME',
      'PUBLIC_URL',
      'NODE_ENV',
    ]
    const env = Object.fromEntries([...secret, ...open].map((k) => [k, `value of ${k}`]))
    assert.deepEqual(
      secretsOf(env),
      secret.map((k) => `value of ${k}`),
    )
  })

  test('an address with a password in it, the password alone, and the password as it was typed', () => {
    assert.deepEqual(secretsOf({ DATABASE_URL: 'mongodb://u:p%40ss%2Fword@db:27017/x?a=b@c' }), [
      'mongodb://u:p%40ss%2Fword@db:27017/x?a=b@c',
      'p%40ss%2Fword',
      'p@ss/word',
    ])
    assert.deepEqual(secretsOf({ REDIS_URL: 'redis://:100%sure@redis' }).slice(1), ['100%sure', '100%sure'])
    assert.deepEqual(secretsOf({ MONGO_URI: 'mongodb://u:un@escaped@db/' })[1], 'un@escaped')
    assert.deepEqual(
      secretsOf({ PUBLIC_URL: 'https://example.org/', OTHER_URL: 'https://u@example.org:8080/x' }),
      [],
    )
  })
})

test('the redactor of a stack knows both env files, the stack’s own as Compose reads it too', () => {
  const root = mkdtempSync(join(tmpdir(), 'redact-'))
  mkdirSync(join(root, 'stack'))
  const settings = `STACK_ID='s'\nSTACK_DIR='${root}/stack'\nREDIS_PASSWORD='of the tool'\n`
  writeFileSync(join(root, 'x.env'), settings, { mode: 0o600 })
  const redact = (): string =>
    redactorFor(loadConfig(join(root, 'x.env')))('of the tool, of the stack, beforehash#behind hash, x.env')
  assert.equal(redact(), '[redacted], of the stack, beforehash#behind hash, x.env')
  writeFileSync(
    join(root, 'stack/.env'),
    'EMPTY_SECRET=\nDOMAIN=x.env\n  export A_SECRET="of the stack"\r\nB_SECRET=beforehash#behind hash  \n',
  )
  assert.equal(redact(), '[redacted], [redacted], [redacted], x.env')
  rmSync(root, { recursive: true })
})
