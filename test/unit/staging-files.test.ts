// What of a deploy is files: the settings, staging's folder, the note of what stands, the credentials.
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { Stop } from '../../lib/errors.ts'
import { bindProblems, folderProblems, standingProblems } from '../../lib/staging/checks.ts'
import { credentialsProblems } from '../../lib/staging/credentials.ts'
import {
  differing,
  filesBefore,
  putFilesBack,
  removeWritten,
  sha256,
  writeFiles,
} from '../../lib/staging/files.ts'
import { quote } from '../../lib/shell.ts'
import { forgetStaging, noteStaging, stagingHere, type Staging } from '../../lib/staging/record.ts'
import { asSource, filesOf, settingsOf, type NewFile } from '../../lib/staging/source.ts'
import { config, container, course, folder, mount, resolved, service, stack } from './staging-fixture.ts'

/** Writes a file, with the folders above it. */
function put(path: string, text: string, mode = 0o644): string {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

/** Every file in a folder, with its mode and its text; a folder that is empty ends with a slash. */
const holds = (dir: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(dir, { recursive: true, withFileTypes: true }).flatMap((entry): [string, string][] => {
      const path = join(entry.parentPath, entry.name)
      const name = path.slice(dir.length + 1)
      if (entry.isDirectory()) return readdirSync(path).length === 0 ? [[`${name}/`, 'empty']] : []
      return [[name, `${(statSync(path).mode & 0o7777).toString(8)} ${readFileSync(path, 'utf8')}`]]
    }),
  )

const file = (path: string, text: string, mode = 0o644): NewFile => ({
  path,
  content: Buffer.from(text),
  mode,
})

const noted = (files: readonly NewFile[]): Staging['files'] =>
  Object.fromEntries(files.map(({ path, content }) => [path, sha256(content)]))

describe('the settings', () => {
  const dir = folder()

  test('are read, as they are written and as data', () => {
    for (const mode of [0o600, 0o400]) {
      const text = `# a comment\nexport A='$(id) \${B}'\r\nA_B="x"\n`
      const path = put(join(dir, `good-${mode.toString(8)}.env`), text, mode)
      assert.deepEqual(settingsOf(config({ STAGING_ENV_FILE: path })), {
        file: path,
        text,
        values: { A: '$(id) ${B}', A_B: 'x' },
      })
    }
  })

  test('that are missing: the line that makes them', () => {
    const path = join(dir, "it's not here.env")
    assert.throws(
      () => settingsOf(config({ STAGING_ENV_FILE: path })),
      (error) =>
        error instanceof Stop &&
        error.code === 2 &&
        error.message.includes('Nothing was changed.') &&
        error.message.endsWith(
          `\n  install -m 600 ${quote(join(asSource().dir, 'example.stack.env'))} ${quote(path)}`,
        ),
    )
    assert.equal(existsSync(path), false)
  })

  for (const mode of [0o640, 0o604, 0o620, 0o602, 0o644, 0o660]) {
    const said = mode.toString(8)
    test(`that others may read or write (${said}) are refused, with the line that ends it`, () => {
      const path = put(join(dir, `open-${said}.env`), 'A=secret', mode)
      assert.throws(
        () => settingsOf(config({ STAGING_ENV_FILE: path })),
        (error) =>
          error instanceof Stop &&
          error.code === 2 &&
          error.message.includes(`(mode ${said})`) &&
          error.message.endsWith(`\n  chmod 600 ${path}`) &&
          !error.message.includes('secret'),
      )
    })
  }

  test("are the folder's .env, private; beside it what containers read, for all to read", () => {
    const files = filesOf("A='1'\n")
    const of = (path: string): NewFile | undefined => files.find((f) => f.path === path)
    assert.deepEqual(of('.env'), file('.env', "A='1'\n", 0o600))
    assert.deepEqual(of('compose.yml')?.content, readFileSync(join(asSource().dir, 'compose.yml')))
    assert.equal(of('config/nginx/default.conf.template')?.mode, 0o644)
    assert.equal(new Set(files.map((f) => f.path)).size, files.length)
    for (const { path } of files) assert.match(path, /^(\.env|compose\.yml|config\/.+)$/)
  })
})

describe("staging's folder", () => {
  const NEW = [
    file('.env', 'A=new', 0o600),
    file('compose.yml', 'services: new'),
    file('config/a/b/deep.sh', 'new', 0o755),
    file('config/plain', 'new'),
  ]

  test('is written with every mode, whatever the umask; folders above are private', () => {
    for (const umask of [0, 0o077]) {
      const dir = join(folder(), 'staging')
      const usual = process.umask(umask)
      try {
        writeFiles(dir, NEW)
        writeFiles(dir, NEW)
      } finally {
        process.umask(usual)
      }
      assert.deepEqual(holds(dir), {
        '.env': '600 A=new',
        'compose.yml': '644 services: new',
        'config/a/b/deep.sh': '755 new',
        'config/plain': '644 new',
      })
      for (const made of [dir, join(dir, 'config/a/b')]) assert.equal(statSync(made).mode & 0o777, 0o700)
    }
  })

  test('differs by what is not there, by content and by mode, and by nothing once written', () => {
    const dir = folder()
    const names = (): string[] => differing(dir, NEW).map((f) => f.path)
    assert.deepEqual(
      names(),
      NEW.map((f) => f.path),
    )
    writeFiles(dir, NEW)
    assert.deepEqual(names(), [])
    chmodSync(join(dir, '.env'), 0o640)
    writeFileSync(join(dir, 'config/a/b/deep.sh'), 'new ')
    assert.deepEqual(names(), ['.env', 'config/a/b/deep.sh'])
    writeFiles(dir, differing(dir, NEW))
    assert.deepEqual(names(), [])
  })

  test('what it had is noted byte for byte; what it had not is not', () => {
    const dir = folder()
    const bytes = Buffer.from([0, 0xff, 0x0a, 0xc3])
    writeFileSync(join(dir, '.env'), bytes)
    chmodSync(join(dir, '.env'), 0o4640)
    put(join(dir, 'config/plain'), '')
    put(join(dir, 'foreign'), 'x')
    assert.deepEqual(
      filesBefore(
        dir,
        NEW.map((f) => f.path),
      ),
      [
        { path: '.env', mode: 0o4640, base64: bytes.toString('base64') },
        { path: 'config/plain', mode: 0o644, base64: '' },
      ],
    )
    assert.deepEqual(filesBefore(join(dir, 'nowhere'), ['.env']), [])
  })

  test('goes back to what it was: old files, modes, no new ones, no folder that came along; twice is once', () => {
    const dir = folder()
    put(join(dir, '.env'), 'A=old', 0o640)
    put(join(dir, 'config/plain'), 'old', 0o600)
    put(join(dir, 'config/of-somebody'), 'else')
    put(join(dir, 'config/kept/alone'), 'old')
    chmodSync(join(dir, 'config/kept'), 0o751)
    put(join(dir, 'secrets/key'), 'theirs', 0o400)
    const before = holds(dir)
    const files = [...NEW, file('config/kept/alone', 'new')]
    const paths = files.map((f) => f.path)
    const was = filesBefore(dir, paths)
    writeFiles(dir, files)
    assert.notDeepEqual(holds(dir), before)
    for (let n = 0; n < 2; n++) {
      putFilesBack(dir, paths, was)
      assert.deepEqual(holds(dir), before)
      assert.equal(existsSync(join(dir, 'config/a')), false)
      assert.equal(statSync(join(dir, 'config/kept')).mode & 0o777, 0o751)
    }
  })

  test('goes back from a deploy that was killed half-way, and one that was edited meanwhile', () => {
    const dir = folder()
    put(join(dir, '.env'), 'A=old')
    const paths = NEW.map((f) => f.path)
    const was = filesBefore(dir, paths)
    writeFiles(dir, NEW.slice(0, 2))
    writeFileSync(join(dir, '.env'), 'A=edited')
    put(join(dir, 'config/a/notes'), 'of a person')
    putFilesBack(dir, paths, was)
    assert.deepEqual(holds(dir), { '.env': '644 A=old', 'config/a/notes': '644 of a person' })
  })

  test('a folder in which something else lies stays with it', () => {
    const dir = folder()
    writeFiles(dir, NEW)
    put(join(dir, 'config/a/mine'), 'x')
    putFilesBack(
      dir,
      NEW.map((f) => f.path),
      [],
    )
    assert.deepEqual(holds(dir), { 'config/a/mine': '644 x' })
  })

  test('where there was none, and it is gone again, nothing is made', () => {
    const dir = join(folder(), 'staging')
    putFilesBack(dir, ['.env'], [])
    assert.equal(existsSync(dir), false)
  })

  test('goes with a teardown when only what was written is in it', () => {
    const dir = join(folder(), 'staging')
    writeFiles(dir, NEW)
    const staging = { dir, files: noted(NEW) }
    assert.deepEqual(removeWritten(staging), [])
    assert.equal(existsSync(dir), false)
    assert.equal(existsSync(dirname(dir)), true)
    assert.deepEqual(removeWritten(staging), [])
  })

  test('what somebody changed or put there stays, and is told', () => {
    const dir = folder()
    writeFiles(dir, NEW)
    writeFileSync(join(dir, '.env'), 'A=edited')
    writeFileSync(join(dir, 'config/a/b/deep.sh'), 'edited')
    put(join(dir, 'secrets/key'), 'theirs', 0o400)
    const left = {
      '.env': '600 A=edited',
      'config/a/b/deep.sh': '755 edited',
      'secrets/key': '400 theirs',
    }
    for (let n = 0; n < 2; n++) {
      assert.deepEqual(removeWritten({ dir, files: noted(NEW) }).toSorted(), [
        '.env',
        'config',
        'config/a/b/deep.sh',
        'secrets',
      ])
      assert.deepEqual(holds(dir), left)
    }
  })

  test('what was never written, or is gone already, hinders nothing', () => {
    const dir = folder()
    writeFiles(dir, NEW.slice(0, 1))
    put(join(dir, 'mine'), 'x')
    assert.deepEqual(removeWritten({ dir, files: noted(NEW) }), ['mine'])
    assert.deepEqual(holds(dir), { mine: '644 x' })
  })
})

describe('the note of what stands', () => {
  const staging: Staging = {
    dir: '/opt/meeshy/staging',
    project: 'meeshy-staging',
    network: 'meeshy-staging',
    files: { '.env': sha256(Buffer.from('x')) },
    joined: true,
  }

  test('none; then as noted, in the place of the one before; then none. Private.', () => {
    const STATE_DIR = join(folder(), 'a/state')
    assert.equal(stagingHere({ STATE_DIR }), undefined)
    const before = {
      folder: false,
      files: [{ path: '.env', mode: 0o640, base64: 'eA==' }],
      volumes: ['v'],
      network: false,
      joined: false,
      containers: false,
      ran: [],
    }
    noteStaging({ STATE_DIR }, { ...staging, before })
    assert.deepEqual(stagingHere({ STATE_DIR }), { ...staging, before })
    noteStaging({ STATE_DIR }, staging)
    assert.deepEqual(stagingHere({ STATE_DIR }), staging)
    assert.deepEqual(readdirSync(STATE_DIR), ['staging.json'])
    assert.equal(statSync(join(STATE_DIR, 'staging.json')).mode & 0o777, 0o600)
    assert.equal(statSync(STATE_DIR).mode & 0o777, 0o700)
    for (let n = 0; n < 2; n++) {
      forgetStaging({ STATE_DIR })
      assert.equal(stagingHere({ STATE_DIR }), undefined)
    }
  })

  test('another staging than the settings name: both are told', () => {
    const STATE_DIR = folder()
    const its = config({ STATE_DIR })
    const values = { STACK_NAME: 'meeshy-staging', NETWORK_NAME: 'meeshy-staging' }
    assert.deepEqual(standingProblems(course(values, { its })), [])
    noteStaging({ STATE_DIR }, staging)
    assert.deepEqual(standingProblems(course(values, { its })), [])
    for (const [other, where] of [
      [{ ...values, STACK_NAME: 'other' }, its],
      [{ ...values, NETWORK_NAME: 'other' }, its],
      [values, { ...its, STAGING_DIR: '/other' }],
    ] as const) {
      const [problem = '', ...more] = standingProblems(course(other, { its: where }))
      assert.deepEqual(more, [])
      assert.match(problem, /stands here as meeshy-staging, meeshy-staging, \/opt\/meeshy\/staging; .*other/)
      assert.match(problem, /task teardown-staging$/)
    }
  })
})

describe('the place of the folder', () => {
  const root = folder()
  const problems = (STAGING_DIR: string, more = {}): string[] =>
    folderProblems(
      course({}, { its: config({ STACK_DIR: join(root, 'prod'), STATE_DIR: root, STAGING_DIR, ...more }) }),
    )

  test('nothing there, an empty one, one with secrets alone', () => {
    assert.deepEqual(problems(join(root, 'nowhere')), [])
    mkdirSync(join(root, 'empty'))
    assert.deepEqual(problems(join(root, 'empty')), [])
    put(join(root, 'secret/secrets/key.json'), '{}')
    assert.deepEqual(problems(join(root, 'secret')), [])
    assert.deepEqual(problems(join(root, 'prod/staging')), [])
  })

  test("not production's own, nor one that holds it; one with a like name is another", () => {
    for (const dir of [join(root, 'prod'), root])
      assert.deepEqual(problems(dir), [`STAGING_DIR ${dir} holds production's own folder.`])
    assert.deepEqual(problems(join(root, 'pro')), [])
  })

  test('no file, and no link: whoever follows it would write elsewhere', () => {
    const there = put(join(root, 'a-file'), '')
    const link = join(root, 'link')
    symlinkSync(root, link)
    const dangling = join(root, 'dangling')
    symlinkSync(join(root, 'nowhere'), dangling)
    for (const dir of [there, link, dangling])
      assert.deepEqual(problems(dir), [`STAGING_DIR ${dir} is not a folder.`])
  })

  test("somebody's files, at most five by name, and the line that moves them away", () => {
    const dir = join(root, "it's old")
    for (const n of [1, 2, 3, 4, 5, 6]) put(join(dir, `file${n}`), '')
    put(join(dir, 'secrets/x'), '')
    const [problem = '', ...more] = problems(dir)
    assert.deepEqual(more, [])
    assert.equal(problem.match(/file\d/g)?.length, 5)
    assert.ok(!problem.includes('secrets'))
    assert.ok(problem.endsWith(`: mv ${quote(dir)} ${quote(`${dir}-old`)}`))
  })

  test('files of a staging that is noted for this very folder are ours', () => {
    const STATE_DIR = folder()
    const dir = join(root, 'ours')
    put(join(dir, '.env'), '')
    const note = { project: 'p', network: 'n', files: {}, joined: false }
    noteStaging({ STATE_DIR }, { ...note, dir: `${dir}-other` })
    assert.equal(problems(dir, { STATE_DIR }).length, 1)
    noteStaging({ STATE_DIR }, { ...note, dir })
    assert.deepEqual(problems(dir, { STATE_DIR }), [])
  })
})

test('bind mounts: what comes from the source, what lies in the folder, what lies elsewhere, what is nowhere', () => {
  const dir = folder()
  const env = asSource().dir
  put(join(dir, 'secrets/there.json'), '{}')
  const bind = (source: string) => ({ type: 'bind', source, target: '/t' })
  const problems = (...volumes: { type: string; source?: string; target: string }[]): string[] =>
    bindProblems(resolved({ gateway: { volumes } }), dir)
  assert.deepEqual(
    problems(
      bind(`${env}/config/nginx/default.conf.template`),
      bind(`${env}/secrets/there.json`),
      bind(join(dir, 'secrets')),
      { type: 'volume', source: 'uploads', target: '/u' },
      { type: 'tmpfs', target: '/tmp' },
    ),
    [],
  )
  assert.deepEqual(problems(bind(`${env}/secrets/gone.json`), bind('/nowhere/x')), [
    `gateway mounts ${dir}/secrets/gone.json, which does not exist.`,
    'gateway mounts /nowhere/x, which does not exist.',
  ])
  assert.deepEqual(bindProblems(resolved({ redis: {} }), dir), [])
})

describe('credentials for push messages', () => {
  const key = (n: number): string =>
    `-----BEGIN PRIVATE KEY-----\n${String(n).repeat(40)}\n-----END PRIVATE KEY-----\n`
  const account = (n: number, more: object = {}): object => ({
    type: 'service_account',
    private_key: key(n),
    client_email: `push@project-${n}.iam.example.com`,
    ...more,
  })
  const root = folder()
  const STAGING_DIR = join(root, 'staging')
  const dir = join(root, 'prod')
  let n = 0
  /** The problems with this as the file's text, beside this production. */
  const problems = (text: string | object, production = stack({ dir })): string[] => {
    const path = `./secrets/${++n}.json`
    put(join(STAGING_DIR, path), typeof text === 'string' ? text : JSON.stringify(text))
    return credentialsProblems(
      course({ FIREBASE_CREDENTIALS: path }, { its: config({ STAGING_DIR }), production }),
    )
  }
  const NO_ACCOUNT = /^FIREBASE_CREDENTIALS \S+\/secrets\/\d+\.json is no service account/
  const PRODUCTIONS = /^FIREBASE_CREDENTIALS \S+\/secrets\/\d+\.json is production's account/
  const only = (found: readonly string[], says: RegExp): void => {
    assert.equal(found.length, 1)
    assert.match(found[0] ?? '', says)
    assert.ok(!/PRIVATE KEY|iam\.example/.test(found[0] ?? ''), 'a secret is told')
  }

  test('none named, none wrong', () => {
    assert.deepEqual(credentialsProblems(course({})), [])
    assert.deepEqual(credentialsProblems(course({ FIREBASE_CREDENTIALS: '' })), [])
  })

  test("one of staging's own is good, named in the folder or by its path", () => {
    assert.deepEqual(problems(account(1)), [])
    const path = put(join(root, 'elsewhere.json'), JSON.stringify(account(1)))
    const its = config({ STAGING_DIR })
    assert.deepEqual(credentialsProblems(course({ FIREBASE_CREDENTIALS: path }, { its })), [])
  })

  test('a file that is not there: the line that puts it there', () => {
    const its = config({ STAGING_DIR: "/nowhere/it's" })
    const [problem = ''] = credentialsProblems(course({ FIREBASE_CREDENTIALS: './secrets/x.json' }, { its }))
    assert.ok(problem.endsWith(`install -D -m 644 YOUR-FILE ${quote("/nowhere/it's/secrets/x.json")}`))
  })

  for (const [what, text] of [
    ['no JSON', '-----BEGIN PRIVATE KEY-----'],
    ['nothing', ''],
    ['null', 'null'],
    ['a number', '1'],
    ['a list', [account(1)]],
    ['an empty object', '{}\n'],
    ['no key', account(1, { private_key: undefined })],
    ['a key that is none', account(1, { private_key: '***CHANGE_ME***' })],
    ['a key that is no text', account(1, { private_key: ['PRIVATE KEY'] })],
    ['no address', account(1, { client_email: undefined })],
    ['too much', JSON.stringify(account(1, { more: 'x'.repeat(64 * 1024) }))],
  ] as const)
    test(`${what} is no account`, () => only(problems(text), NO_ACCOUNT))

  test("the project's own placeholder is no account, nor is a folder", () => {
    only(problems(readFileSync(join(asSource().dir, 'config/gateway/no-firebase.json'), 'utf8')), NO_ACCOUNT)
    mkdirSync(join(STAGING_DIR, 'secrets/0.json'), { recursive: true })
    const its = config({ STAGING_DIR })
    only(credentialsProblems(course({ FIREBASE_CREDENTIALS: './secrets/0.json' }, { its })), NO_ACCOUNT)
  })

  test("production's account, by its key or by its address, where its containers mount it", () => {
    const theirs = put(join(root, 'mounted/theirs.json'), JSON.stringify(account(7)))
    const production = stack({
      dir,
      services: [
        service('redis'),
        service('database', container({ Mounts: [mount('volume', 'v', '/v')] })),
        service('gateway', container({ Mounts: [mount('bind', theirs, '/app/key.json')] })),
      ],
    })
    only(problems(account(7), production), PRODUCTIONS)
    only(problems(account(1, { private_key: key(7) }), production), PRODUCTIONS)
    only(problems(account(7, { private_key: key(1) }), production), PRODUCTIONS)
    only(problems(JSON.stringify(account(7), undefined, 4), production), PRODUCTIONS)
    assert.deepEqual(problems(account(1), production), [])
    assert.deepEqual(problems(account(7)), [])
  })

  test("production's account that lies in its secrets/, beside files that are none", () => {
    const its = join(root, 'prod-with-secrets')
    put(join(its, 'secrets/a.json'), 'no JSON')
    put(join(its, 'secrets/b.json'), '{}')
    mkdirSync(join(its, 'secrets/c.json'))
    symlinkSync('/nowhere', join(its, 'secrets/d.json'))
    put(join(its, 'secrets/z.json'), JSON.stringify(account(8)))
    only(problems(account(8), stack({ dir: its })), PRODUCTIONS)
    assert.deepEqual(problems(account(1), stack({ dir: its })), [])
  })
})
