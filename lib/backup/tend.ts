// What is done with sets that are there: read again, pinned, accepted. Needs no running stack.
import { randomInt } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { refusal, sentence } from '../errors.ts'
import { interruption } from '../shell.ts'
import { once, size } from './bytes.ts'
import { MEMBER_HEADER, memberLength, members } from './gzip.ts'
import { mark, unmark } from './marks.ts'
import type { Report } from './progress.ts'
import { resealLine, sealProblem } from './seal.ts'
import type { SetInfo } from './sets.ts'
import type { Step } from '../steps.ts'
import { verifySet } from './verify.ts'

const PIECES = 64 // of at most 1 MiB each

/**
 * Reads a set in full and notes the result beside it: when it was verified, or that it is damaged.
 * @throws refusal (exit 3) that names the first damaged part, or says that it has no seal or no manifest
 */
export async function verifyAgain(set: SetInfo, report: Report): Promise<void> {
  if (set.legacy)
    throw refusal(
      `${set.path} has no manifest: it is of another procedure, and nothing in it says what it should hold.`,
    )
  await orDamaged(set, () => verifySet(set.path, report))
  if (!set.sealed) {
    throw refusal(
      `${set.path} is whole by its manifest, but ${sealProblem(set.path)}, so it does not count. To seal it again:\n` +
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
  if (!set.sealed || set.marks.damaged) throw refusal(`${set.path}: ${set.problem}. It is not sampled.`)
  const { parts } = set.manifest
  const offsets = Array.from({ length: PIECES }, () => randomInt(set.bytes)).toSorted((x, y) => x - y)
  let pieces = 0
  let bytes = 0
  await orDamaged(set, async () => {
    const file = await open(set.path, 'r')
    try {
      let at = 0
      for (const offset of offsets) {
        if (offset < at) continue // in the piece that was just read
        const start = Math.max(at, parts.findLast((p) => p.at <= offset)?.at ?? 0)
        const piece = await pieceAt(file, start, offset)
        at = piece.end
        pieces++
        bytes += piece.bytes
        report(`${set.name}: ${pieces} pieces, ${size(bytes)}`)
      }
    } finally {
      await file.close()
    }
  })
  return `${pieces} pieces, ${size(bytes)} of ${size(set.bytes)}`
}

/**
 * Checks the piece that holds an offset, found from one that begins at `start`. (Searching for a beginning would find
 * those of the volumes' own pieces too, which lie within others.) @throws when one on the way, or it itself, is damaged
 */
async function pieceAt(
  file: FileHandle,
  start: number,
  offset: number,
): Promise<{ end: number; bytes: number }> {
  const read = async (at: number, length: number): Promise<Buffer> => {
    interruption.getStore()?.throwIfAborted()
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at)
    return buffer.subarray(0, bytesRead)
  }
  let at = start
  try {
    for (;;) {
      const length = memberLength(await read(at, MEMBER_HEADER))
      if (at + length <= offset) {
        at += length
        continue
      }
      for await (const _ of members(once(await read(at, length))));
      return { end: at + length, bytes: length }
    }
  } catch (error) {
    throw new Error(`the piece at ${at}: ${sentence(error)}`, { cause: error })
  }
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
    unpin() {
      if (!set.marks.pinned) throw refusal(`${set.name} is not pinned. Nothing was changed.`)
      unmark(set.path, 'pinned')
    },
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
