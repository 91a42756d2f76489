import { createInterface } from 'node:readline/promises'
import { EXIT, Stop } from './errors.ts'

/**
 * Confirms by words: the given ones (`--confirm WORD`, in order) or, on a terminal, typed ones. What will happen
 * has been printed before.
 * @throws Stop (exit 4) when a word is wrong, or when there is no terminal to ask on.
 */
export async function confirm(words: readonly string[], given: readonly string[]): Promise<void> {
  for (const [i, word] of words.entries()) {
    const answer = given[i] ?? (await typed(word, words))
    if (answer !== word) {
      throw new Stop(EXIT.unconfirmed, `Not confirmed: '${word}' was expected. Nothing was changed.`)
    }
  }
}

async function typed(word: string, words: readonly string[]): Promise<string> {
  if (!process.stdin.isTTY || !process.stderr.isTTY || process.env.CI) {
    const flags = words.map((w) => `--confirm ${w}`).join(' ')
    throw new Stop(
      EXIT.unconfirmed,
      `This needs a confirmation, and there is no terminal to ask on. Nothing was changed.\nUnattended: ${flags}`,
    )
  }
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  try {
    // A terminal that is closed while it is asked never answers: the closing ends the question.
    const closed = new Promise<string>((resolve) => asking.once('close', () => resolve('')))
    asking.once('SIGINT', () => asking.close())
    return (await Promise.race([asking.question(`Type ${word} to go on: `), closed])).trim()
  } finally {
    asking.close()
  }
}
