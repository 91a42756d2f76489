// What is done with sets that are there: read again, pinned, accepted. Needs no running stack.
import { randomInt } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { refusal, sentence } from '../errors.ts'
import { interruption } from '../shell.ts'
import { once, size } from './bytes.ts'
import { beginsAMember, LARGEST, members } from './gzip.ts'
import { mark, unmark } from './marks.ts'
import type { Report } from './progress.ts'
import { resealLine } from './seal.ts'
import type { SetInfo } from './sets.ts'
import type { Step } from '../steps.ts'
import { verifySet } from './verify.ts'

const PIECES = 64 // of at most 1 MiB each

/**
 * Reads a set in full and notes the result beside it: when it was verified, or that it is damaged.
 * @throws refusal (exit 3) that names the first damaged part, or says that it has no seal or no manifest
 */
async function verifyAgain(set: SetInfo, report: Report): Promise<void> {
  if (set.legacy)
    throw refusal(
      `${set.path} has no manifest: it is of another procedure, and nothing in it says what it should hold.`,
    )
  await orDamaged(set, () => verifySet(set.path, report))
  if (!set.sealed) {
    throw refusal(
      `${set.path} is whole by its manifest, but has no seal, so it does not count. To seal it again:\n` +
        `  ${resealLine(set.path)}`,
    )
  }
  unmark(set.path, 'damaged')
  mark(set.path, 'verified')
}

/**
 * Reads pieces of a set by lot, 64 MiB at most: finds in seconds what lies broken, and never proves that nothing does.
 * Each piece carries a checksum of its own.
 * @returns how much of it was read, in words.
 * @throws refusal (exit 3) when a piece is damaged
 */
async function verifySample(set: SetInfo, report: Report): Promise<string> {
  if (!set.manifest)
    throw refusal(`${set.path}: ${set.problem ?? 'it has no manifest'}. It cannot be sampled.`)
  const seen = new Set<number>()
  let bytes = 0
  await orDamaged(set, async () => {
    const file = await open(set.path, 'r')
    try {
      for (let n = 0; n < PIECES; n++) {
        const piece = await pieceAt(file, randomInt(set.bytes))
        if (!piece || seen.has(piece.at)) continue
        seen.add(piece.at)
        bytes += piece.bytes
        report(`${set.name}: ${seen.size} pieces, ${size(bytes)}`)
      }
    } finally {
      await file.close()
    }
  })
  return `${seen.size} pieces, ${size(bytes)} of ${size(set.bytes)}`
}

/** Checks the first piece that begins at or after an offset; undefined behind the last one. @throws when it is damaged */
async function pieceAt(file: FileHandle, offset: number): Promise<{ at: number; bytes: number } | undefined> {
  interruption.getStore()?.throwIfAborted()
  const { buffer, bytesRead } = await file.read(Buffer.alloc(2 * LARGEST), 0, 2 * LARGEST, offset)
  const window = buffer.subarray(0, bytesRead)
  for (let i = 0; i + 16 <= window.length; i++) {
    if (!beginsAMember(window.subarray(i, i + 16))) continue
    try {
      for await (const { raw } of members(once(window.subarray(i))))
        return { at: offset + i, bytes: raw.length }
    } catch (error) {
      throw new Error(`the piece at ${offset + i}: ${sentence(error)}`, { cause: error })
    }
  }
  if (bytesRead < 2 * LARGEST) return undefined
  throw new Error(`no piece begins after ${offset}`)
}

async function orDamaged(set: SetInfo, check: () => Promise<unknown>): Promise<void> {
  try {
    await check()
  } catch (error) {
    interruption.getStore()?.throwIfAborted()
    mark(set.path, 'damaged', { why: sentence(error).replace(`${set.path} is `, '') })
    throw refusal(sentence(error))
  }
}

/** What can be noted about a set by hand. */
export type Tending = 'pin' | 'unpin' | 'accept'

/** The step that pins a set (rotation keeps it whatever its age), unpins it, or accepts what made it suspect. */
export function tendingStep(set: SetInfo, what: Tending, why: string | undefined): Step {
  const words = why === undefined ? {} : { why }
  const acts: Readonly<Record<Tending, () => void>> = {
    pin() {
      if (!set.sealed || set.marks.damaged)
        throw refusal(
          `${set.name} is ${set.marks.damaged ? 'damaged' : 'not sealed'}: pinning it would keep nothing.`,
        )
      mark(set.path, 'pinned', words)
    },
    unpin: () => unmark(set.path, 'pinned'),
    accept() {
      if (set.suspect.length === 0) throw refusal(`${set.name} is not suspect. Nothing was changed.`)
      mark(set.path, 'accepted', words)
    },
  }
  return { title: `${what} ${set.name}`, limit: 60_000, run: async () => acts[what]() }
}

/** The steps that read sets again, in full or by sample. */
export const verifyingSteps = (sets: readonly SetInfo[], sample: boolean): Step[] =>
  sets.map((set) => ({
    title: `${sample ? 'Sample' : 'Verify'} ${set.name}`,
    read: true,
    limit: 24 * 60 * 60_000,
    run: async (doing) => {
      const report = (text: string): void => doing.progress(text)
      if (sample) doing.say(`nothing wrong in ${await verifySample(set, report)}; the rest was not read`)
      else {
        await verifyAgain(set, report)
        doing.say('every byte of it is as it was sealed')
      }
    },
  }))
