// The course of a migration as steps: look, judge, load, index, verify. A dry run ends after judging; a verification
// leaves out what writes.
import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { refusal, usage } from '../../lib/errors.ts'
import { makeFolder, writeWhole } from '../../lib/files.ts'
import { quote } from '../../lib/shell.ts'
import type { Doing, Step } from '../../lib/steps.ts'
import { planProblems } from '../plan-check.ts'
import type { Plan } from '../plan-types.ts'
import type { Rules } from '../rules.ts'
import { weigh, type Accepted } from './accept.ts'
import type { Address } from './addresses.ts'
import { openAside, type AsideFile } from './aside.ts'
import { connect, refuseSame, type Connected } from './connect.ts'
import { madeBy } from './hashes.ts'
import { refuseMoved, takeInventory, type Inventory } from './inventory.ts'
import { judge, type Judged } from './judge.ts'
import { limit } from './limit.ts'
import { load, type Tally } from './load.ts'
import { markdown } from './markdown.ts'
import { counter } from './progress.ts'
import {
  collectionReports,
  findingsOf,
  instantText,
  partsOf,
  quarantinedIn,
  totalsOf,
  type Mode,
  type Report,
} from './report.ts'
import { buildIndexes, finish, markerOf, mayTake, take, wantedIndexes, type Marker } from './target.ts'
import { verify, type Verification } from './verify.ts'

const LONGEST = 24 * 60 * 60_000 // ms that a step may take

export interface Wishes {
  readonly mode: Mode
  readonly plan: Plan
  readonly rules: Rules
  /** The text of the schema. */
  readonly schema: string
  readonly source: Address
  /** A dry run does without. */
  readonly target?: Address
  readonly collections?: readonly string[]
  readonly accepted: Accepted
  /** Whether a target that was changed since its migration may be made anew. */
  readonly replace: boolean
  /** A folder that a run makes, for its report and for what is not loaded. */
  readonly out: string
}

export interface Course {
  readonly steps: readonly Step[]
  /** As far as it came; undefined when nothing was judged yet. */
  report(): Report | undefined
  /** Ends the connections. */
  close(): Promise<void>
}

/** Connects in its first step. @throws usage (exit 2) when what is wished does not go together */
export function courseOf(wishes: Wishes): Course {
  const { mode, accepted, out } = wishes
  const limited = limit(wishes.plan, wishes.rules, wishes.collections)
  const { plan, rules } = limited
  const made = madeBy(wishes.schema)
  const started = new Date()
  const run = randomUUID()
  const problems = planProblems(wishes.plan, wishes.rules)
  if (problems.length > 0)
    throw usage(`Plan and schema do not go together. Nothing was changed.\n${problems.join('\n')}`)
  if (mode === 'run' && existsSync(out) && readdirSync(out).length > 0)
    throw usage(`--out ${out} is not empty: what is not loaded would be mixed with it. Nothing was changed.`)

  const connections: Connected[] = []
  let left: readonly string[] = []
  let inventory: Inventory
  let judged: Judged | undefined
  let tallies: ReadonlyMap<string, Tally> = new Map()
  let files: readonly AsideFile[] | undefined
  let verification: Verification | undefined
  const known = (): Judged => {
    if (!judged) throw new Error('Nothing was judged yet.')
    return judged
  }
  const target = (): Connected => {
    const [, second] = connections
    if (!second) throw usage('There is no target: DATABASE_URL or --target.')
    return second
  }
  const progress = (doing: Doing): ReturnType<typeof counter> =>
    counter(new Map(inventory.sources.map(({ name, count }) => [name, count])), (text) =>
      doing.progress(text),
    )
  const marker = (): Omit<Marker, '_id' | 'state' | 'schemaHash'> => ({
    run,
    planHash: made.planHash,
    tool: made.tool,
    source: { database: wishes.source.database, at: instantText(inventory.reading.at) },
    collections: [...wantedIndexes(rules, plan).keys()],
  })

  const look: Step = {
    title: 'look at both databases',
    read: true,
    limit: LONGEST,
    async run(doing) {
      const source = await connect(wishes.source, 'source')
      connections.push(source)
      if (wishes.target) {
        connections.push(await connect(wishes.target, 'target'))
        await refuseSame(source, target())
        if (mode === 'verification') await refuseForeign(target())
        else left = await mayTake(target(), wishes.replace)
      }
      inventory = await takeInventory(source, { plan, whole: wishes.plan, rules })
      const documents = inventory.sources.reduce((sum, { count }) => sum + count, 0)
      doing.say(
        `${inventory.sources.length} collections, ${documents} documents, at ${instantText(inventory.reading.at)}`,
      )
    },
  }
  const judging: Step = {
    title: 'judge every document',
    read: true,
    limit: LONGEST,
    async run(doing) {
      judged = await judge(plan, rules, inventory, progress(doing))
      if (mode === 'dry run') tallies = await load(judged, undefined, progress(doing))
      const { problems: open, words } = weighed(judged)
      if (open.length === 0 || mode === 'verification') return
      const lines = words.map((word) => `  --accept ${quote(word)}`)
      const see = mode === 'run' ? ' --dry-run names every document with its reason.' : ''
      throw refusal(
        `${open.join('\n')}\nNothing was changed.${see} Repair the source or the plan, or accept it with\n${lines.join('\n')}`,
      )
    },
  }
  const loading: Step = {
    title: 'load the target',
    limit: LONGEST,
    async run(doing) {
      makeFolder(out)
      await take(target(), left, marker())
      const aside = openAside(out)
      try {
        tallies = await load(known(), { db: target().db, aside }, progress(doing))
      } finally {
        files = await aside.close()
      }
      const total = totalsOf(tallies.values())
      doing.say(`${total.transformed + total.carried + total.renamed} of ${total.read} documents are loaded`)
    },
  }
  const indexing: Step = {
    title: 'build the indexes',
    limit: LONGEST,
    async run(doing) {
      const built = await buildIndexes(target(), wantedIndexes(rules, plan), (name) => doing.progress(name))
      doing.say(`${built} indexes`)
    },
  }
  const verifying: Step = {
    title: 'verify the target',
    read: true,
    limit: LONGEST,
    async run(doing) {
      verification = await verify(known(), target(), progress(doing))
      doing.say(`${verification.compared} documents compared`)
      if (mode === 'verification') {
        if (verification.problems.length > 0) throw refusal(wrong(verification.problems))
        return
      }
      await refuseMoved(inventory, (connections[0] as Connected).db, wishes.plan)
    },
  }
  const ending: Step = {
    title: 'write the report',
    limit: LONGEST,
    async run() {
      const report = reported()
      if (report) {
        writeWhole(join(out, 'report.json'), `${JSON.stringify(report, undefined, 2)}\n`)
        writeWhole(join(out, 'report.md'), markdown(report))
      }
      const found = verification?.problems ?? ['Nothing was verified.']
      if (!report?.isConserved)
        throw new Error(`Documents are unaccounted for: see ${join(out, 'report.md')}.`)
      if (found.length > 0) throw new Error(wrong(found))
      const isWhole = wishes.collections === undefined
      await finish(target(), {
        ...marker(),
        digests: verification?.digests ?? {},
        ...(isWhole ? { state: 'verified', schemaHash: made.schemaHash } : { state: 'partial' }),
      })
    },
  }
  const after: Record<Mode, Step[]> = {
    'dry run': [],
    run: [loading, indexing, verifying, ending],
    verification: [verifying],
  }

  const weighed = (of: Judged): ReturnType<typeof weigh> =>
    weigh(plan, quarantinedIn(of), inventory.sources, accepted)
  function reported(): Report | undefined {
    if (!judged) return undefined
    const { reading, found } = inventory
    const own = found
      .filter(({ name }) => name.startsWith('system.'))
      .map(({ name }) => `${name}: skipped, it is the server's own and no data of an application.`)
    return {
      ...made,
      mode,
      source: { address: wishes.source.shown, version: reading.from.version, at: instantText(reading.at) },
      ...(wishes.target && { target: wishes.target.shown }),
      started: started.toISOString(),
      ms: Date.now() - started.getTime(),
      collections: collectionReports(judged, tallies),
      totals: totalsOf(tallies.values()),
      isConserved: isConserved(judged, tallies, mode),
      quarantined: quarantinedIn(judged),
      weighed: weighed(judged),
      ...findingsOf(judged),
      skipped: [...own, ...limited.skipped],
      ...(files && { files }),
      ...(verification && { verification }),
    }
  }
  return {
    steps: [look, judging, ...after[mode]],
    report: reported,
    async close() {
      for (const { client } of connections) await client.close()
    },
  }
}

/** Counted where they were loaded, against what was there when the source was looked at. */
function isConserved({ inventory }: Judged, tallies: ReadonlyMap<string, Tally>, mode: Mode): boolean {
  if (mode === 'verification') return true
  return inventory.sources.every(({ name, count }) => {
    const tally = tallies.get(name)
    return (
      tally !== undefined && tally.read === partsOf(tally) && (!inventory.reading.at || tally.read === count)
    )
  })
}

const wrong = (problems: readonly string[]): string =>
  `The target is not what the source becomes:\n${problems.map((text) => `  ${text}`).join('\n')}`

async function refuseForeign({ db }: Connected): Promise<void> {
  const marker = await markerOf(db)
  if (!marker)
    throw refusal(`The target ${db.databaseName} was not made by a migration: there is nothing to verify.`)
  if (marker.state === 'loading')
    throw refusal(
      `The target ${db.databaseName} is half loaded: a migration is at work on it, or was ended. ` +
        `In the second case start it again.`,
    )
}
