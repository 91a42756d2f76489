// How long MongoDB keeps the instant that a backup reads. 300 s by default: too short for a large database on a busy
// disk, and then the backup would start over and fail each time.
import type { MongoClient } from 'mongodb'
import { owe, owedNow, paid, type Owed } from '../owed.ts'
import { sentence } from '../errors.ts'
import type { Stack } from '../stack.ts'
import type { Doing } from '../steps.ts'

const PARAMETER = 'minSnapshotHistoryWindowInSeconds'
const SLOWEST = 10 * 2 ** 20 // bytes per second: a tenth of what is measured on two cores
const LEAST = 60 // s

/**
 * Does work that reads a snapshot of about that many bytes, with a window that is long enough, and puts the setting
 * back. Where it may not be changed, or there are no snapshots (a standalone server), it stays as it is.
 */
export async function withLongWindow<T>(
  client: MongoClient,
  stack: Stack,
  bytes: number,
  doing: Pick<Doing, 'say' | 'effect'>,
  work: () => Promise<T>,
): Promise<T> {
  const admin = client.db('admin')
  const { setName } = await admin.command({ hello: 1 })
  if (setName === undefined) return work()
  const was = Number((await admin.command({ getParameter: 1, [PARAMETER]: 1 }))[PARAMETER])
  const needed = LEAST + Math.ceil(bytes / SLOWEST)
  if (was >= needed) return work()

  const set = (value: number): Promise<unknown> => admin.command({ setParameter: 1, [PARAMETER]: value })
  // What a killed run still owes is what it was before that one.
  const before = owedNow(stack.config).find((o) => o.what === 'parameter')
  const owed: Owed = before ?? { what: 'parameter', name: PARAMETER, value: was }
  owe(stack.config, owed)
  try {
    const detail = { engine: 'mongodb', parameter: PARAMETER, was, is: needed }
    await doing.effect('Keep snapshots longer', detail, () => set(needed))
    doing.say(`MongoDB keeps snapshots for ${needed} s instead of ${was} s while it is read`)
  } catch (error) {
    doing.say(`MongoDB keeps snapshots for ${was} s only, and that could not be changed: ${sentence(error)}`)
    paid(stack.config, owed)
    return work()
  }
  try {
    return await work()
  } finally {
    await doing.effect('Keep snapshots as before', { parameter: PARAMETER, is: owed.value }, () =>
      set(owed.value),
    )
    paid(stack.config, owed)
  }
}
