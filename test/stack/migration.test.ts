// The engine of the migration against a real server: what it says, what it writes, and what it finds.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { BSON, Int32, ObjectId, type Db, type Document, type MongoClient } from 'mongodb'
import { unwrap } from '../../lib/backup/bson.ts'
import { fileName, findAll, rawBatches } from '../../lib/backup/catalogue.ts'
import { orderFree } from '../../lib/backup/digest.ts'
import { sentence } from '../../lib/errors.ts'
import { execute } from '../../lib/execute.ts'
import { noRun } from '../../lib/run.ts'
import { choose, type Step } from '../../lib/steps.ts'
import { parseSchema } from '../../migration/dmmf.ts'
import { acceptedFrom, idWord } from '../../migration/engine/accept.ts'
import { connect } from '../../migration/engine/connect.ts'
import { courseOf, type Wishes } from '../../migration/engine/course.ts'
import { pin, ranges, read } from '../../migration/engine/reading.ts'
import type { Report } from '../../migration/engine/report.ts'
import { keyText } from '../../migration/cross.ts'
import type { OwnReference } from '../../migration/plan-types.ts'
import { PLAN } from '../../migration/plan.ts'
import { rulesOf } from '../../migration/rules.ts'
import { ANOMALIES } from './data/legacy.ts'
import { loadLegacy } from './data/load.ts'
import { NAMES } from './hard-data.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'
import { startMongod } from './mongods.ts'
import { destroyStack } from './stack.ts'
import { start, type Ended, type Running } from './tool.ts'

const ID = 'migr'
const SCALE = 0.05
const ROOT = join(import.meta.dirname, '../..')
const SCHEMA = join(ROOT, 'migration/schema.prisma')

let machine: Machine
let dir: string
let client: MongoClient
let host: string
let accept: string[] // what the dry run offers to accept
let clean: Readonly<Record<string, string>> // digests of the target after an undisturbed run

const url = (db: string): string => `mongodb://${host}/${encodeURIComponent(db)}?directConnection=true`

/** Starts the command itself, as a person would. */
function migrating(words: readonly string[], { source = 'legacy', target = 'fresh' } = {}): Running {
  const env = {
    ...process.env,
    SOURCE_URL: url(source),
    DATABASE_URL: url(target),
    STATE_DIR: '',
    SCHEMA: '',
  }
  return start([process.execPath, '--import', 'tsx', join(ROOT, 'migration/migrate.ts'), ...words], env)
}
const migrate = (words: readonly string[], where?: { source?: string; target?: string }): Promise<Ended> =>
  migrating(words, where).ended

let outs = 0
const newOut = (): string => join(dir, `out-${++outs}`)

/** A whole run, which has to succeed. */
async function migrated(
  where?: { source?: string; target?: string },
  more: readonly string[] = [],
): Promise<Report> {
  const out = newOut()
  const ended = await migrate([...accept, '--out', out, ...more], where)
  assert.equal(ended.code, 0, ended.stderr)
  return JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Report
}

async function documentsOf(db: Db, collection: string): Promise<Buffer[]> {
  const all: Buffer[] = []
  const session = client.startSession()
  try {
    for await (const batch of rawBatches(db, findAll(collection), session)) unwrap(batch, (d) => all.push(d))
  } finally {
    await session.endSession()
  }
  return all
}

/** The digest of each collection, the marker left out. */
async function digests(name: string): Promise<Readonly<Record<string, string>>> {
  const db = client.db(name)
  const found: [string, string][] = []
  for (const { name: collection } of await db.listCollections({}, { nameOnly: true }).toArray()) {
    if (collection === '_runbook' || collection.startsWith('system.')) continue
    const digest = orderFree()
    for (const document of await documentsOf(db, collection)) digest.add(document)
    found.push([collection, digest.hex()])
  }
  return Object.fromEntries(found.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

before(
  async () => {
    machine = await ensureMachine()
    Object.assign(process.env, machine.env)
    await destroyStack(machine, ID)
    dir = await mkdtemp(join(tmpdir(), 'rehearsal-migr-'))
    client = await startMongod(machine, { id: `${ID}-set`, label: ID, set: 'rs0' })
    host = String(client.options.hosts[0])
    await loadLegacy(client, { scale: SCALE, db: 'legacy' })
  },
  { timeout: 300_000 },
)
after(async () => {
  await client?.close()
  await destroyStack(machine, ID)
  await rm(dir, { recursive: true, force: true })
  await machine.stop()
})

/** What was written on the server since an instant, but for its own book-keeping. */
async function written(since: Document): Promise<Document[]> {
  const oplog = client.db('local').collection('oplog.rs')
  const entries = await oplog.find({ ts: { $gt: since['ts'] }, op: { $ne: 'n' } }).toArray()
  return entries.filter(({ ns }) => !String(ns).startsWith('config.'))
}

const READS = ['find', 'getMore', 'aggregate', 'listCollections', 'listIndexes', 'endSessions', 'killCursors']

test('the dry run tells the truth: every anomaly by its id, exit 3, and nothing is written', async () => {
  for (const db of ['legacy', 'fresh']) await client.db(db).command({ profile: 2 })
  const [last] = await client
    .db('local')
    .collection('oplog.rs')
    .find()
    .sort({ $natural: -1 })
    .limit(1)
    .toArray()
  const before = await digests('legacy')
  const { code, stdout, stderr } = await migrate(['--dry-run', '--json'])
  assert.equal(code, 3, stderr)

  assert.deepEqual(await written(last as Document), [])
  assert.deepEqual(await digests('legacy'), before)
  assert.deepEqual(
    await client
      .db('fresh')
      .listCollections({ name: { $ne: 'system.profile' } })
      .toArray(),
    [],
  )
  for (const db of ['legacy', 'fresh']) await client.db(db).command({ profile: 0 })
  const profiled = await client
    .db('legacy')
    .collection('system.profile')
    .find({ appName: 'runbook' })
    .toArray()
  assert.ok(profiled.length > 60, String(profiled.length))
  for (const { command } of profiled) {
    const [name = ''] = Object.keys(command as Document)
    assert.ok(READS.includes(name), name)
    assert.doesNotMatch(JSON.stringify(command), /\$out|\$merge/)
  }

  const report = JSON.parse(stdout) as Report
  const found = new Map(report.quarantined.map((q) => [`${q.collection} ${q.id}`, q.reasons]))
  const wanted = new Set(
    ANOMALIES.filter(
      ({ fate, collection }) => fate === 'quarantined' && 'model' in entryOf(collection),
    ).flatMap((a) => a.ids(SCALE).map((id) => `${a.collection} ${idWord(keyText(id))}`)),
  )
  assert.ok(wanted.size >= 20)
  assert.deepEqual([...found.keys()].toSorted(), [...wanted].toSorted())
  const rules = report.quarantined.flatMap(({ reasons }) => reasons.map(({ rule }) => rule))
  for (const rule of [
    'missing:Message.content',
    'unique:UserStats.userId',
    'reference:Mention.mentionedUserId',
    'type:FriendRequest.createdAt',
    'id:TrackingLinkClick._id',
  ])
    assert.ok(rules.includes(rule), rule)
  assert.ok(report.isConserved)
  assert.match(stderr, /Notification is dropped .* there are 4740/)
  assert.match(stderr, /Nothing was changed/)

  const listed = new Set(
    report.listed.flatMap(({ collection, ids }) => ids.map((id) => `${collection} ${id}`)),
  )
  for (const a of ANOMALIES.filter(
    ({ fate, id }) => fate === 'listed' && id !== 'MessageTranslation/other-source',
  ))
    for (const id of a.ids(SCALE)) assert.ok(listed.has(`${a.collection} ${idWord(keyText(id))}`), a.id)
  assert.deepEqual(
    report.unequal.map(({ field, ids }) => [field, ids.length]),
    [['sourceLanguage', 1]],
  )
  accept = report.weighed.words.flatMap((word) => ['--accept', word])
})

const entryOf = (collection: string): object => PLAN.collections[collection] ?? {}

test('what is accepted does not stop it, and one id less does', async () => {
  const { code, stdout } = await migrate(['--dry-run', '--json', ...accept])
  assert.equal(code, 0, stdout)
  const report = JSON.parse(stdout) as Report
  assert.deepEqual(report.weighed.problems, [])
  const expected = report.weighed.rules.filter(({ by }) => by === 'expected').map(({ rule }) => rule)
  assert.deepEqual(expected, ['reference:MessageAttachment.messageId', 'unique:UserStats.userId'])

  const without = accept
    .flatMap((word, i) => (word.startsWith('type:User.role') ? [] : [i]))
    .map((i) => accept[i] ?? '')
  without.splice(
    without.findIndex((word, i) => word === '--accept' && without[i + 1] === '--accept'),
    1,
  )
  const refused = await migrate([...without, '--out', newOut()])
  assert.equal(refused.code, 3)
  assert.match(refused.stderr, /type:User\.role, and nobody has accepted that/)
  assert.deepEqual(
    await client
      .db('fresh')
      .listCollections({ name: { $ne: 'system.profile' } })
      .toArray(),
    [],
  )
})

test('a run: conserved, verified, with its files; the source is as it was', async () => {
  const before = await digests('legacy')
  const report = await migrated()
  clean = await digests('fresh')
  assert.deepEqual(await digests('legacy'), before)
  const { totals } = report
  const sum =
    totals.transformed +
    totals.carried +
    totals.renamed +
    totals.archived +
    totals.dropped +
    totals.quarantined
  assert.equal(sum, totals.read)
  for (const { name, read: documents } of report.collections)
    assert.equal(documents, await client.db('legacy').collection(name).countDocuments(), name)
  assert.deepEqual(report.verification?.problems, [])
  assert.ok((report.derived[0]?.rows ?? 0) > 20)

  const out = join(dir, `out-${outs}`)
  for (const path of readdirSync(out, { recursive: true }) as string[]) {
    const { mode } = statSync(join(out, path))
    assert.equal(mode & 0o077, 0, path)
  }
  for (const { path, sha256 } of report.files ?? [])
    assert.equal(
      createHash('sha256')
        .update(readFileSync(join(out, path)))
        .digest('hex'),
      sha256,
    )
  for (const name of ['Notification', 'MessageStatus']) {
    const archived = readFileSync(join(out, 'archive', `${name}.bson`))
    const there = await client
      .db('legacy')
      .collection(name)
      .find({}, { raw: true })
      .sort({ _id: 1 })
      .toArray()
    assert.deepEqual(archived, Buffer.concat(there as unknown as Buffer[]))
  }
  const sidecar = readFileSync(join(out, 'sidecar/User.bson'))
  const aside = BSON.deserialize(sidecar.subarray(0, sidecar.readInt32LE()))
  assert.ok(aside['_id'] instanceof ObjectId && 'lastSeen' in aside)

  const marker = await client
    .db('fresh')
    .collection('_runbook')
    .findOne({ _id: 'migration' as never })
  assert.equal(marker?.['state'], 'verified')
  assert.equal(marker?.['schemaHash'], createHash('sha256').update(readFileSync(SCHEMA)).digest('hex'))
})

test('S34: carried documents keep their bytes', async () => {
  for (const [from, to] of [
    ['AdminAuditLog', 'AdminAuditLog'],
    ['call_sessions', 'CallSession'],
    ['TrackingLinkClick', 'TrackingLinkClick'],
  ] as const) {
    const source = new Set((await documentsOf(client.db('legacy'), from)).map((d) => d.toString('latin1')))
    const target = await documentsOf(client.db('fresh'), to)
    const same = target.filter((d) => source.has(d.toString('latin1')))
    assert.ok(same.length >= target.length - 1 && same.length > 0, from) // one call is repaired
    const hard = ANOMALIES.find(({ id }) => id === `${from}/hard-values`)
    for (const id of hard?.ids(SCALE) ?? []) {
      const [one] = same.filter((d) => String(BSON.deserialize(d)['_id']) === String(id))
      assert.ok(one, from)
    }
  }
})

test('S33: the indexes are where the data is', async () => {
  const db = client.db('fresh')
  const names = async (collection: string): Promise<string[]> =>
    (await db.collection(collection).indexes()).map(({ name }) => String(name))
  assert.ok((await names('ConversationMember')).includes('idx_member_user_active_conv'))
  assert.ok((await names('Message')).includes('idx_message_conv_notdeleted_created'))
  assert.ok((await names('Conversation')).includes('idx_conversation_active_lastmsg'))
  assert.ok((await names('ConversationReadCursor')).includes('idx_cursor_user_conv'))
  const translations = await db.collection('MessageTranslation').indexes()
  assert.ok(translations.every(({ key }) => !('cacheKey' in key)))
  const legacy = await client.db('legacy').collection('MessageTranslation').indexes()
  assert.ok(legacy.some(({ key }) => 'cacheKey' in key))

  const spare = client.db('spare')
  for (const collection of ['Reaction', 'MessageTranslation']) {
    const indexes = (await db.collection(collection).indexes()).filter(({ name }) => name !== '_id_')
    await spare.collection(collection).createIndexes(indexes as never)
  }
  const messageId = new ObjectId()
  const reactions = [1, 2].map(() => ({ messageId, emoji: '🫶', userId: new ObjectId() }))
  await spare.collection('Reaction').insertMany(reactions)
  await assert.rejects(
    spare.collection('Reaction').insertOne({ messageId, emoji: '🫶', userId: reactions[0]?.userId }),
    {
      code: 11_000,
    },
  )
  await spare
    .collection('MessageTranslation')
    .insertMany(['fr', 'de'].map((targetLanguage) => ({ messageId, targetLanguage })))
})

test('run again: the same digests; a changed or a foreign document is found, and kept from being lost', async () => {
  const report = await migrated()
  assert.deepEqual(report.verification?.problems, [])
  assert.deepEqual(await digests('fresh'), clean)

  const good = await migrate(['--verify'])
  assert.equal(good.code, 0, good.stderr)
  const users = client.db('fresh').collection('User')
  const one = await users.findOne({ username: 'admin' })
  await users.updateOne({ _id: one?._id as ObjectId }, { $set: { firstName: 'Mallory' } })
  const extra = new ObjectId()
  await client.db('fresh').collection('Mention').insertOne({ _id: extra, by: 'hand' })
  const [lost] = await client.db('fresh').collection('TrackingLink').find().limit(1).toArray()
  await client
    .db('fresh')
    .collection('TrackingLink')
    .deleteOne({ _id: lost?._id as ObjectId })
  await client.db('fresh').collection('Reaction').dropIndex('Reaction_messageId_idx')
  const bad = await migrate(['--verify'])
  assert.equal(bad.code, 3)
  assert.match(bad.stderr, new RegExp(`User ${String(one?._id)} is not what its source becomes`))
  assert.match(bad.stderr, new RegExp(`Mention ${String(extra)} is in the target and comes from nothing`))
  assert.match(bad.stderr, new RegExp(`TrackingLink ${String(lost?._id)} is missing`))
  assert.match(bad.stderr, /the index Reaction_messageId_idx is missing/)

  const refused = await migrate([...accept, '--out', newOut()])
  assert.equal(refused.code, 3)
  assert.match(
    refused.stderr,
    /was changed since it was migrated: "Mention", "TrackingLink", "User".*--replace/s,
  )
  assert.equal((await users.findOne({ _id: one?._id as ObjectId }))?.['firstName'], 'Mallory')
  await migrated({}, ['--replace'])
  assert.deepEqual(await digests('fresh'), clean)
})

test('S32: killed at any point, the next run ends as an undisturbed one does', async () => {
  const state = async (): Promise<unknown> =>
    (await client.db('killed').collection('_runbook').findOne())?.['state']
  let halves = 0
  for (const wait of [0, 60, 250, 700]) {
    const running = migrating([...accept, '--out', newOut()], { target: 'killed' })
    while ((await state()) !== 'loading') await delay(5)
    await delay(wait)
    process.kill(running.pid, 'SIGKILL')
    await running.ended
    if ((await state()) !== 'loading') continue
    halves++
    assert.equal((await migrate(['--verify'], { target: 'killed' })).code, 3)
  }
  assert.ok(halves >= 2, String(halves))
  const asked = migrating([...accept, '--out', newOut()], { target: 'killed' })
  while (!asked.printed().includes('3/6')) await delay(5)
  process.kill(asked.pid, 'SIGINT')
  const { code, stderr } = await asked.ended
  assert.equal(code, 130, stderr)
  assert.match(stderr, /is not good, and marked so. Run the same again/)
  assert.equal(await state(), 'loading')
  await migrated({ target: 'killed' })
  assert.deepEqual(await digests('killed'), clean)
})

test('S29: a collection that is not in the plan stops everything, with the lines to add', async () => {
  const hostile = NAMES.collections.filter((name) => !/^\s*$/.test(name)).slice(0, 8)
  await client.db('legacy').collection('Surprise').insertOne({ a: 1 })
  for (const name of hostile) await client.db('legacy').collection(name).insertOne({ name })
  try {
    for (const words of [['--dry-run'], ['--out', newOut()], ['--verify']]) {
      const { code, stderr } = await migrate([...accept, ...words], {
        target: words[0] === '--verify' ? 'fresh' : 'other',
      })
      assert.equal(code, 3, stderr)
      assert.match(stderr, /"Surprise": archive\('…why it is not loaded'\), \/\/ 1 documents/)
      for (const name of hostile) assert.ok(stderr.includes(`${JSON.stringify(name)}: archive(`), name)
    }
    assert.deepEqual(await client.db('other').listCollections().toArray(), [])
  } finally {
    for (const name of ['Surprise', ...hostile]) await client.db('legacy').dropCollection(name)
  }
})

const EMPTY = {
  accepted: acceptedFrom(
    ['Notification', 'MessageAttachment_backup_urls', 'old_message_status'].map((c) => `bounds:${c}:0`),
  ),
}

/** A run in this process, with another plan, or with something that happens after one of its steps. */
async function inProcess(
  wishes: Pick<Wishes, 'accepted'> & Partial<Wishes>,
  { source = 'legacy', target = 'own' }: { source?: string; target?: string } = {},
  after: Readonly<Record<string, () => Promise<unknown>>> = {},
): Promise<{ failure?: unknown; out: string; report: Report | undefined }> {
  const schema = readFileSync(SCHEMA, 'utf8')
  const out = newOut()
  const course = courseOf({
    mode: 'run',
    plan: PLAN,
    rules: rulesOf(parseSchema(schema)),
    schema,
    source: { url: url(source), database: source, shown: source },
    target: { url: url(target), database: target, shown: target },
    replace: false,
    out,
    ...wishes,
  })
  const steps = course.steps.map((step): Step => ({
    ...step,
    async run(doing, stdout) {
      await step.run?.(doing, stdout)
      await after[step.title]?.()
    },
  }))
  try {
    const { failure } = await execute(choose(steps, {}), noRun, {
      interrupted: new AbortController().signal,
      redact: (text) => text,
      silent: true,
    })
    return { ...(failure && { failure: sentence(failure.error) }), out, report: course.report() }
  } finally {
    await course.close()
  }
}

test('a reference may null its field, or leave its document out: both are verified, counted and told', async () => {
  const accepted = acceptedFrom(accept.filter((word) => word !== '--accept'))
  const policy = (model: string, field: string, to: string, dangling: 'null' | 'drop'): OwnReference => ({
    model,
    field,
    to,
    dangling,
    why: 'a test',
  })
  const references = [
    ...PLAN.references,
    policy('Mention', 'mentionedUserId', 'User', 'drop'),
    policy('TrackingLinkClick', 'userId', 'User', 'null'),
  ]
  const { failure, report, out } = await inProcess({ plan: { ...PLAN, references }, accepted })
  assert.equal(failure, undefined)
  const of = (id: string): string[] => (ANOMALIES.find((a) => a.id === id)?.ids(SCALE) ?? []).map(String)
  const [mention = '', click = ''] = [
    ...of('Mention/dangling-user'),
    ...of('TrackingLinkClick/dangling-user'),
  ]
  assert.deepEqual(
    report?.leftOut.map(({ id }) => id),
    [mention],
  )
  assert.equal(report?.collections.find(({ name }) => name === 'Mention')?.dropped, 1)
  const left = BSON.deserialize(readFileSync(join(out, 'dropped/Mention.bson')))
  assert.equal(String(left['_id']), mention)
  const nulled = await client
    .db('own')
    .collection('TrackingLinkClick')
    .findOne({ _id: new ObjectId(click) })
  assert.equal(nulled?.['userId'], null)
  assert.equal(report?.collections.find(({ name }) => name === 'TrackingLinkClick')?.transformed, 1)
})

test('what happens meanwhile is seen: a new collection in the source, another run on the target', async () => {
  const accepted = acceptedFrom(accept.filter((word) => word !== '--accept'))
  const legacy = client.db('legacy')
  const created = await inProcess(
    { accepted },
    { target: 'own' },
    {
      'build the indexes': () => legacy.collection('Late').insertOne({ a: 1 }),
    },
  )
  await legacy.dropCollection('Late')
  assert.match(String(created.failure), /created, dropped or altered "Late".*"Late": archive\(/s)
  const marker = client.db('own').collection('_runbook')
  assert.equal((await marker.findOne())?.['state'], 'loading')

  const taken = await inProcess(
    { accepted },
    { target: 'own' },
    {
      'verify the target': () => marker.updateOne({}, { $set: { run: 'another' } }),
    },
  )
  assert.match(String(taken.failure), /Another migration took the target own meanwhile/)

  // Snapshot reads: what is written after the first step is not in it.
  const late = { ...(await legacy.collection('User').findOne({ username: 'admin' })), _id: new ObjectId() }
  const [user, users] = [legacy.collection('User'), await legacy.collection('User').countDocuments()]
  const steady = await inProcess(
    { accepted },
    { target: 'own' },
    {
      'look at both databases': () => user.insertOne({ ...late, username: 'late', email: 'late@meeshy.me' }),
    },
  )
  await user.deleteOne({ _id: late._id })
  assert.equal(steady.failure, undefined)
  assert.equal(steady.report?.collections.find(({ name }) => name === 'User')?.read, users)
})

test('collections of hostile names are archived under names that a file can have', async () => {
  const from = client.db('hostile')
  const hostile = NAMES.collections
  for (const name of hostile) await from.collection(name).insertOne({ name })
  const archived = Object.fromEntries(
    hostile.map((name) => [name, { decision: 'archive' as const, why: 'a test' }]),
  )
  const { failure, out } = await inProcess(
    { plan: { ...PLAN, collections: { ...PLAN.collections, ...archived } }, ...EMPTY },
    { source: 'hostile', target: 'hosted' },
  )
  assert.equal(failure, undefined)
  for (const name of hostile) {
    const file = join(out, 'archive', `${fileName(name)}.bson`)
    assert.equal(BSON.deserialize(readFileSync(file))['name'], name)
  }
  assert.equal(readdirSync(join(out, 'archive')).length, 2 * hostile.length)
})

test('what cannot be migrated is refused with a sentence; what is not ours is not touched', async () => {
  const odd = client.db('odd')
  await odd.createCollection('capped', { capped: true, size: 4096 })
  await odd.createCollection('seen', { viewOn: 'capped', pipeline: [] })
  await odd.createCollection('series', { timeseries: { timeField: 't' } })
  await odd.createCollection('folded', { collation: { locale: 'fr', strength: 1 } })
  for (const name of ['fs.files', 'fs.chunks']) await odd.createCollection(name)
  const { code, stderr } = await migrate(['--dry-run'], { source: 'odd' })
  assert.equal(code, 3)
  for (const said of [
    /"capped" is capped/,
    /"seen" is a view/,
    /"series" is a time series/,
    /"folded" is .*collation/,
    /"fs" is a bucket of GridFS/,
  ])
    assert.match(stderr, said)

  await client.db('foreign').collection('User').insertOne({ mine: true })
  const refused = await migrate([...accept, '--out', newOut()], { target: 'foreign' })
  assert.equal(refused.code, 3)
  assert.match(refused.stderr, /holds "User" and was not made by a migration/)
  assert.equal(await client.db('foreign').collection('User').countDocuments(), 1)

  const same = await migrate([...accept, '--out', newOut()], { target: 'legacy' })
  assert.equal(same.code, 2)
  assert.match(same.stderr, /Source and target are the same database/)
  const secret = await migrate(['--source', 'mongodb://me:hunter22@h/db', '--dry-run'])
  assert.equal(secret.code, 2)
  assert.match(secret.stderr, /--source holds a password/)
  assert.doesNotMatch(secret.stderr + secret.stdout, /hunter22/)
})

test('some collections alone: what leads to the others is told, and the target says that it is a part', async () => {
  const report = await migrated({ target: 'part' }, ['--collections', 'User,UserStats,UserPreference'])
  assert.ok(report.skipped.length === 0 || report.skipped.every((text) => text.includes('skipped')))
  assert.deepEqual(
    report.collections.map(({ name }) => name),
    ['User', 'UserStats', 'UserPreference'],
  )
  const marker = await client.db('part').collection('_runbook').findOne()
  assert.equal(marker?.['state'], 'partial')
  assert.equal(marker?.['schemaHash'], undefined)
  const dry = await migrate(['--dry-run', '--json', '--collections', 'Message', ...accept])
  const { skipped } = JSON.parse(dry.stdout) as Report
  assert.ok(
    skipped.some((text) => /Message\.conversationId: skipped, because of Conversation/.test(text)),
    skipped.join(),
  )
  assert.ok(skipped.some((text) => /Message\.reactionCount: skipped/.test(text)))
})

test('ranges miss no document, whatever types their ids have', async () => {
  const mixed = client.db('mixed').collection<Document & { _id: unknown }>('FriendRequest')
  const ids = Array.from(
    { length: 90 },
    (_, i) => [new Int32(i), `t${i}`, new ObjectId(), new Date(i), { i }, i % 2 === 0][i % 5] ?? i,
  )
  await mixed.insertMany(ids.map((_id) => ({ _id })) as never)
  const from = await connect({ url: url('mixed'), database: 'mixed', shown: 'mixed' }, 'source')
  try {
    const reading = await pin(from, 'FriendRequest')
    await mixed.insertOne({ _id: 'later' } as never)
    for (const size of [7, 40, 1000]) {
      const seen = new Set<string>()
      let documents = 0
      for (const range of await ranges(reading, 'FriendRequest', size))
        for await (const batch of read(reading, 'FriendRequest', range))
          for (const bytes of batch) {
            documents++
            seen.add(bytes.toString('latin1'))
          }
      assert.deepEqual([documents, seen.size], [90, 90], String(size))
    }
    await client.db('mixed').renameCollection('FriendRequest', 'Other')
    await assert.rejects(async () => {
      for await (const batch of read(reading, 'FriendRequest')) assert.ok(batch)
    }, /was dropped or renamed/)
  } finally {
    await from.client.close()
  }
  assert.ok(!existsSync(join(ROOT, 'x')))
})
