// `update --check`: what an update would change, for a person or for cron.
import { layerFindings } from '../backup/layer.ts'
import { EXIT, sentence } from '../errors.ts'
import type { Context } from '../script.ts'
import { readStack } from '../stack.ts'
import type { Reach } from './baseline.ts'
import { blockers } from './guards.ts'
import { foresee, type Foresight } from './reach.ts'

/**
 * Prints what would change. Only reads.
 * @returns 0 when nothing would, 3 when something would, may, or would be refused; 1 when it could not be found out.
 */
export async function answerCheck({ config, flags, redact }: Context, reach: Reach): Promise<number> {
  const print = (text: string): void => void process.stdout.write(redact(text))
  try {
    const stack = await readStack(config)
    const foreseen = await foresee(stack, reach)
    const { changes, asked } = foreseen
    const mute = asked.filter((a) => a.problem !== undefined)
    const layers = await layerFindings(stack, foreseen.touched)
    const said: string[] = []
    const blocked = await blockers(
      stack,
      foreseen,
      { reach, accepted: [], layers },
      { say: (text) => said.push(text) },
    )
    if (flags.json) {
      const problems = mute.map((a) => ({ image: a.ref, problem: sentence(a.problem) }))
      print(`${JSON.stringify({ changes, blocked, problems })}\n`)
    } else print(textOf(foreseen, [...said, ...blocked], blocked.length > 0))
    if (mute.length > 0) return EXIT.failed
    return changes.length === 0 && blocked.length === 0 ? EXIT.done : EXIT.refused
  } catch (error) {
    process.stderr.write(redact(`What would change could not be found out: ${sentence(error)}\n`))
    return EXIT.failed
  }
}

function textOf({ changes, asked }: Foresight, told: readonly string[], refused: boolean): string {
  const width = Math.max(0, ...changes.map((c) => c.service.length))
  const lines = [
    ...changes.map((c) => `${c.service.padEnd(width)}  ${c.text}`),
    ...told,
    ...asked.flatMap(({ ref, problem }) =>
      problem === undefined ? [] : [`${ref} could not be asked for: ${sentence(problem).split('\n').at(-1)}`],
    ),
    refused
      ? 'An update would be refused, and change nothing.'
      : changes.length === 0
        ? 'Nothing would change.'
        : `An update would replace ${changes.length} services: task update`,
  ]
  return `${lines.join('\n')}\n`
}
