// A container that is gone when its command has ended, and leaves nothing behind.
import type { Command } from './shell.ts'

/** An image that is on the server already, and the paths for which it declares a VOLUME. */
export interface OwnImage {
  readonly id: string
  readonly volumes: Readonly<Record<string, unknown>> | null | undefined
}

/**
 * A `docker run` without a network, on a root that cannot be written to, of an image that is never pulled. A VOLUME
 * that the image declares is a tmpfs: nobody else mounts it, and Docker would leave an anonymous volume behind.
 */
export function throwAway(
  image: OwnImage,
  options: readonly string[],
  entrypoint: string,
  ...args: readonly string[]
): Command {
  return throwAwayOn('none', image, options, entrypoint, ...args)
}

/** The same, on one network. */
export function throwAwayOn(
  network: string,
  image: OwnImage,
  options: readonly string[],
  entrypoint: string,
  ...args: readonly string[]
): Command {
  const declared = Object.keys(image.volumes ?? {}).map((path) => `--tmpfs=${path}`)
  const shut = ['--rm', '--pull=never', `--network=${network}`, '--read-only', '--security-opt=label=disable']
  const words = [...shut, '--label=runbook=1', ...declared, ...options, `--entrypoint=${entrypoint}`]
  return { words: ['docker', 'run', ...words, image.id, ...args] }
}

/** A field of `--mount`, which is read as CSV. */
export const field = (text: string): string => (/[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)
