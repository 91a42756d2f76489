#!/usr/bin/env -S node --import tsx
// Restores a set exactly: everything is prepared and compared beside what is there, then swapped by renames.
// Changes: the data of the parts that are restored; what was there is kept aside until --commit.
// Undo:    by itself when it fails; afterwards by --undo. The stack is down only for stop, renames and start.
import { backupMissing } from '../lib/backup/make.ts'
import { listText, setList } from '../lib/backup/list.ts'
import { bringBackOnce } from '../lib/restore/back.ts'
import { roomOf } from '../lib/restore/check.ts'
import { confirms } from '../lib/restore/confirm.ts'
import { begin, recorded, type Course } from '../lib/restore/course.ts'
import { afterFailure, done } from '../lib/restore/end.ts'
import * as ends from '../lib/restore/ends.ts'
import * as prepare from '../lib/restore/prepare.ts'
import * as does from '../lib/restore/steps.ts'
import { usage } from '../lib/errors.ts'
import { script, type Context } from '../lib/script.ts'
import type { Step, Undo } from '../lib/steps.ts'

const MINUTE = 60_000 // ms
const MODES = ['resume', 'abort', 'undo', 'commit'] as const

let restore: Course | undefined

const step = (title: string, minutes: number, run: Step['run'], more: Partial<Step> = {}): Step => ({
  title,
  limit: minutes * MINUTE,
  ...(run && { run }),
  ...more,
})

export async function steps(context: Context): Promise<Step[]> {
  const it = (restore = await begin(context))
  const undo: Undo = { says: 'bring back what was there', run: (d) => bringBackOnce(it, d) }
  const away: Undo = { says: 'remove what was prepared', run: () => ends.takeAway(it, recorded(it)) }
  const down = { destructive: true, undo }

  const begun = [
    step('Verify the set, check the stack', 24 * 60, (d) => prepare.check(it, d), { read: true }),
    step('Note what is open', 10, (d) => prepare.begin(it, d), { undo: away }),
    step('Make what is missing', 60, (d) => prepare.makeStack(it, d)),
    ...(it.parts.images ? [step('Fetch the images', 60, (d) => prepare.fetch(it, d))] : []),
  ]
  const prepared = [
    step('Prepare the volumes', 24 * 60, (d) => prepare.prepareVolumes(it, d)),
    step('Prepare MongoDB', 24 * 60, (d) => prepare.prepareDatabase(it, d)),
    step('Prepare Redis', 4 * 60, (d) => prepare.prepareKeys(it, d)),
  ]
  const stop = step('Stop', 10, (d) => does.stopTouched(it, d), down)
  const room = step('Make room', 24 * 60, (d) => does.makeRoom(it, d), down)
  const configure = step('Put the configuration in place', 10, (d) => does.replaceConfig(it, d), down)
  const swapped = [
    step('Swap', 10, (d) => does.swap(it, d), down),
    ...(it.parts.config || it.parts.images ? [configure] : []),
    step('Start the engines', 60, (d) => does.startEngines(it, d), down),
    step('Compare', 10, (d) => does.compare(it, d), { undo }),
    step('Start the rest', 60, (d) => does.startRest(it, d), down),
    step('Verify health', 120, (d) => does.verify(it, d), { undo }),
  ]
  const roomy = roomOf(it) !== undefined
  const downtime = roomy ? [stop, room, ...prepared, ...swapped] : [stop, ...swapped]
  const whole = roomy ? [...begun, ...downtime] : [...begun, ...prepared, ...downtime]
  const undoing = [
    step('Check that it can be undone', 10, (d) => ends.checkUndo(it, d), { read: true }),
    step('Stop', 10, () => ends.stopForUndo(it), down),
    step('Swap back', 10, (d) => ends.undo(it, d), down),
    step('Start again', 120, (d) => ends.startAgain(it, d), down),
  ]
  const phase = it.record?.phase
  const gone = step('Remove what was prepared', 60, () => ends.takeAway(it, recorded(it)))
  const again = step('Bring back what was there', 120, (d) => bringBackOnce(it, d))
  const commit = step('Remove what is kept aside', 60, (d) => ends.commit(it, d), { destructive: true })
  return {
    restore: whole,
    resume: phase === 'preparing' ? whole : phase === 'undoing' ? undoing : downtime,
    abort: phase === 'preparing' ? [gone] : phase === 'undoing' ? [again] : [again, gone],
    undo: undoing,
    commit: [commit],
  }[it.mode]
}

await script(import.meta, {
  about: 'Restores a set exactly; lists what can be restored; undoes or commits the last restore.',
  changes: 'the data of the parts that are restored; what was there is kept aside until --commit.',
  undo: 'by itself on failure; afterwards by --undo, until --commit.',
  usage: [
    'SET            its name, its stamp, its path, or latest',
    '--list         the sets in BACKUP_DIR',
    '--parts P,…    mongodb, redis, volumes, volume:NAME, config, images; data: all but the last two (default)',
    '--scratch DIR  no room beside what is there: it is copied to DIR first, while the stack is down',
    '--in-place     no room at all: what is there is GIVEN UP first; nothing can be undone',
    '--keep-stopped compare, and leave everything stopped that was stopped for it',
    '--undo         bring back what was there before the last restore',
    '--commit       remove what is kept aside: the restore stays',
    '--resume       go on with a restore that was killed',
    '--abort        bring back what was there before it',
  ],
  options: {
    list: { type: 'boolean' },
    parts: { type: 'string' },
    scratch: { type: 'string' },
    'in-place': { type: 'boolean' },
    'keep-stopped': { type: 'boolean' },
    undo: { type: 'boolean' },
    commit: { type: 'boolean' },
    resume: { type: 'boolean' },
    abort: { type: 'boolean' },
  },
  takesWords: 1,
  examples: [
    'task restore -- --list',
    'task restore -- latest',
    'node --import tsx scripts/restore.ts latest --parts mongodb',
  ],
  typed({ flags, words }) {
    const modes = [...MODES, 'list'].filter((m) => flags[m] === true)
    if (modes.length > 1) throw usage(`--${modes.join(' and --')} exclude each other. Nothing was changed.`)
    const more = words.length > 0 || ['parts', 'keep-stopped', 'scratch', 'in-place'].some((f) => f in flags)
    if ('scratch' in flags && 'in-place' in flags)
      throw usage('--scratch and --in-place exclude each other. Nothing was changed.')
    if (modes[0] && more) throw usage(`--${modes[0]} stands alone. Nothing was changed.`)
  },
  stackless: true,
  answers: ['list'],
  async answer({ config, flags }) {
    const sets = await setList(config)
    process.stdout.write(flags.json ? `${JSON.stringify(sets)}\n` : listText(sets, config.BACKUP_DIR))
    return 0
  },
  steps,
  confirms: async () => restore && confirms(restore),
  backupMissing: ({ config }) => backupMissing(config),
  done: () => (restore ? done(restore) : ''),
  afterFailure: (_, outcome) => afterFailure(restore, outcome),
})
