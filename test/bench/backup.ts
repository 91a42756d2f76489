// auto-backup beside the older procedure, on mixed files (a third of them incompressible) and messages.
import { statSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { size } from '../../lib/backup/bytes.ts'
import { setPath } from '../../lib/backup/seal.ts'
import { checkSources } from '../../lib/backup/sources.ts'
import { loadConfig } from '../../lib/env.ts'
import type { Question } from '../../lib/http.ts'
import { connectMongo } from '../../lib/mongo.ts'
import { startProber } from '../../lib/prober.ts'
import { pastRuns } from '../../lib/run.ts'
import { readStack } from '../../lib/stack.ts'
import { run } from '../stack/machine/command.ts'
import type { Stack } from '../stack/stack.ts'
import { startScript, toolFor, type Tool } from '../stack/tool.ts'
import { median, seconds, type Figure, type Order } from './figure.ts'
import { dumps } from './dump.ts'
import { fillDatabase, fillVolumes } from './fill.ts'
import { olderProcedure, type Subject } from './older.ts'
import { answersBetween, linesOf, watchDisk, watchMemory, type Answers } from './watch.ts'

const MIB = 2 ** 20
const MB = 1e6
const DOCUMENTS = 300 * MB // for 1024 MiB of files
const QUIET = 10_000 // ms in which the gateway is asked while nothing else happens
const ASK_EVERY = 100 // ms, each of two addresses: 20 requests a second

/** One backup of one kind. */
interface Backup {
  /** s from the start until the archive was written */
  readonly written: number
  /** bytes of the archive */
  readonly bytes: number
  /** bytes: the most that it took on the disk */
  readonly peak: number
  /** ms since the epoch */
  readonly from: number
  readonly to: number
}

interface Ours extends Backup {
  /** s from the start */
  readonly sealed: number
  /** s of the verification, and of `gzip --test` on the same set */
  readonly verified: number
  readonly tested: number
  /** bytes */
  readonly memory: number
}

/** Measures backups. */
export async function backup({ machine, stack, runs, megabytes, say }: Order): Promise<Figure[]> {
  const folder = join(dirname(stack.dir), 'bench')
  await mkdir(folder)
  const tool = toolFor(stack)
  const seen = await readStack(loadConfig(tool.envFile))
  const client = await connectMongo(seen)
  try {
    const bson = (DOCUMENTS / 1024) * megabytes
    say(`filling it: ${megabytes} MiB of files, ${size(bson)} of documents`)
    const [files, documents] = await Promise.all([
      fillVolumes(stack, machine, megabytes * MIB),
      fillDatabase(client, bson),
    ])
    const { volumes, mongodb } = await checkSources(seen)
    const subject = { stack, machine, client, volumes: volumes.filter((v) => !v.coveredBy) }

    const rounds = await backups(subject, { tool, folder, runs, say })
    const alone = await dumps(subject, { folder, runs, say })
    const data = { files, documents, inAll: { documents: mongodb.documents, bson: mongodb.bytes } }
    return [...figures(rounds), ...alone].map((f) => ({
      ...f,
      conditions: { ...data, ...f.conditions },
    }))
  } finally {
    await client.close()
  }
}

interface Round {
  readonly ours: Ours
  readonly older: Backup
  readonly answers: Readonly<Record<'quiet' | 'ours' | 'older', Answers>>
}

/** Backs up in turns, ours and the older way, while somebody outside asks the gateway all the time. */
async function backups(
  subject: Subject,
  { tool, folder, runs, say }: { tool: Tool; folder: string } & Pick<Order, 'runs' | 'say'>,
): Promise<Round[]> {
  const file = join(folder, 'gateway.jsonl')
  const addresses = await questions(subject)
  const prober = await startProber({ addresses, file, intervalMs: ASK_EVERY })
  const measured: (Pick<Round, 'ours' | 'older'> & { quiet: Pick<Backup, 'from' | 'to'> })[] = []
  try {
    for (let n = 1; n <= runs; n++) {
      await run('sync', [])
      const from = Date.now()
      await delay(QUIET)
      const quiet = { from, to: Date.now() }
      say(`auto-backup, ${n} of ${runs}`)
      const ours = await backUp(subject.stack, tool, join(folder, `ours-${n}`))
      await run('sync', [])
      say(`the older procedure, ${n} of ${runs}`)
      const older = await backUpOlder(subject, join(folder, `older-${n}`))
      measured.push({ quiet, ours, older })
    }
  } finally {
    await prober.stop()
  }
  const lines = linesOf(file)
  const answers = ({ from, to }: Pick<Backup, 'from' | 'to'>): Answers => answersBetween(lines, from, to)
  return measured.map(({ quiet, ours, older }) => ({
    ours,
    older,
    answers: { quiet: answers(quiet), ours: answers(ours), older: answers(older) },
  }))
}

/** The gateway's health, and the reading of a message, through the proxy. */
async function questions({ stack, client }: Subject): Promise<Question[]> {
  const via = `http://127.0.0.1:${stack.proxyPort}`
  const message = await client
    .db('meeshy')
    .collection('Message')
    .findOne({ _id: { $type: 'objectId' } })
  if (!message) throw new Error('The stack has no message that could be read.')
  const paths = ['/health', `/api/v1/messages/${String(message._id)}`]
  return paths.map((path) => ({ url: `https://${stack.hosts.gate}${path}`, via }))
}

/** One auto-backup into a fresh folder. @throws Error with what it printed when it fails */
async function backUp(stack: Stack, tool: Tool, folder: string): Promise<Ours> {
  const disk = watchDisk(folder, tool.stateDir)
  const from = Date.now()
  const running = startScript(stack, 'auto-backup', [folder])
  const memory = watchMemory(running.pid)
  const { code } = await running.ended
  const to = Date.now()
  const watched = { peak: disk(), memory: memory() }
  const [past] = pastRuns(tool.stateDir, 1)
  if (code !== 0 || !past?.report)
    throw new Error(`auto-backup failed (exit code ${code}):\n${running.printed()}`)
  const { journal, report } = past
  const until = (title: string): number => {
    const done = journal.find((l) => l.kind === 'done' && l.title === title)
    if (!done) throw new Error(`auto-backup has no step '${title}' any more: what is to be measured?`)
    return (Date.parse(done.at) - from) / 1000
  }
  const written = until('Write the set aside')
  const verified = until('Read it back and verify') - written
  const sealed = until('Seal it')
  const set = setPath(folder, report.id.slice(0, 'YYYYMMDD_HHMMSS'.length))
  const tested = await seconds(() => run('gzip', ['--test', set]))
  const { size: bytes } = statSync(set)
  await rm(folder, { recursive: true })
  return {
    ...watched,
    written,
    sealed,
    verified,
    tested,
    bytes,
    from,
    to,
  }
}

async function backUpOlder(subject: Subject, folder: string): Promise<Backup> {
  const disk = watchDisk(folder)
  const from = Date.now()
  const archive = await olderProcedure(subject, folder)
  const to = Date.now()
  const peak = disk()
  const { size: bytes } = statSync(archive)
  await rm(folder, { recursive: true })
  return { written: (to - from) / 1000, bytes, peak, from, to }
}

function figures(rounds: readonly Round[]): Figure[] {
  const ours = rounds.map((r) => r.ours)
  const older = rounds.map((r) => r.older)
  const archive = { archive: ours.map((o) => o.bytes), olderArchive: older.map((o) => o.bytes) }
  const speed = {
    unit: 's',
    better: 'less',
    other: older.map((o) => o.written),
    conditions: {
      ...archive,
      otherwise: 'tar czf of each volume, dump, Redis, tar czf of it all; nothing is verified',
    },
  } as const
  const answers = (when: keyof Round['answers']): Answers[] => rounds.map((r) => r.answers[when])
  const [quiet, during, beside] = [answers('quiet'), answers('ours'), answers('older')]
  const usual = median(quiet.map((a) => a.p99))
  const asked = { quiet, during, beside, otherwise: 'the same during the older procedure' }
  return [
    { name: 'backup until the archive is written', ours: ours.map((o) => o.written), atLeast: 4.5, ...speed },
    { name: 'backup until it is sealed', ours: ours.map((o) => o.sealed), atLeast: 3.5, ...speed },
    {
      name: 'peak extra disk',
      unit: 'archives',
      better: 'less',
      ours: ours.map((o) => o.peak / o.bytes),
      other: older.map((o) => o.peak / o.bytes),
      atMost: 1.15,
      conditions: { ...archive, what: 'allocated blocks of the backup folder and STATE_DIR, every 100 ms' },
    },
    {
      name: 'peak memory',
      unit: 'MB',
      better: 'less',
      ours: ours.map((o) => o.memory / MB),
      atMost: 300,
      conditions: { what: 'VmHWM of the node process, without its children (docker, tar)' },
    },
    {
      name: 'verification',
      unit: 'MB/s',
      better: 'more',
      ours: ours.map((o) => o.bytes / MB / o.verified),
      other: ours.map((o) => o.bytes / MB / o.tested),
      conditions: { ...archive, what: 'MB of the archive', otherwise: 'gzip --test of the same archive' },
    },
    {
      name: 'gateway, 99th percentile',
      unit: 'ms',
      better: 'less',
      ours: during.map((a) => a.p99),
      other: beside.map((a) => a.p99),
      atMost: Math.max(3 * usual, usual + 50),
      conditions: asked,
    },
    {
      name: 'gateway, slowest answer',
      unit: 'ms',
      better: 'less',
      ours: during.map((a) => a.slowest),
      other: beside.map((a) => a.slowest),
      conditions: asked,
    },
  ]
}
