// The output of a command as a stream of bytes.
import { stream, type Command } from '../shell.ts'
import type { Bytes } from './bytes.ts'

/**
 * Yields a command's standard output. A failure of the command is thrown before the stream ends, so that no reader
 * takes a broken stream for a finished one.
 * @throws CommandFailed
 */
export async function* output(command: Command): Bytes {
  const { child, ended } = stream(command)
  if (!child.stdout) throw new TypeError('a command without standard output cannot be streamed')
  try {
    yield* child.stdout as Bytes
    await ended
  } finally {
    child.stdout.destroy() // a reader that stops early ends the command by a closed pipe
  }
}
