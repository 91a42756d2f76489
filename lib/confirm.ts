// Confirmation by typed words.
import { createInterface } from 'node:readline/promises'
import { EXIT, Stop } from './errors.ts'
import { interruption, quote } from './shell.ts'

/**
 * Confirms by words: the given ones (`--confirm WORD`, in order) or, on a terminal, typed ones. What will happen
 * has been printed before.
 * @throws Stop (exit 4) when a word is wrong, or when there is no terminal to ask on; the interruption.
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
    const flags = words.map((w) => `--confirm ${quote(w)}`).join(' ')
    throw new Stop(
      EXIT.unconfirmed,
      `This needs a confirmation, and there is no terminal to ask on. Nothing was changed.\nUnattended: ${flags}`,
    )
  }
  const signal = interruption.getStore()
  signal?.throwIfAborted()
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  // While it is asked, a Ctrl-C is a letter to the terminal. It means what it means everywhere.
  asking.on('SIGINT', () => process.kill(process.pid, 'SIGINT'))
  // A terminal that is closed never answers: the end of its input, or the signal, ends the question.
  const ended = new Promise<string>((resolve) => asking.once('close', () => resolve('')))
  signal?.addEventListener('abort', () => asking.close(), { once: true })
  try {
    const answer = await Promise.race([asking.question(`Type ${word} to go on: `), ended])
    signal?.throwIfAborted()
    return answer.trim()
  } finally {
    asking.close()
  }
}
