import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

/** What the image was built as, read from the file that the build put beside the program: no variable can change it. */
export interface Version {
  readonly version: string
  /** `good`, or how this build misbehaves. */
  readonly behaviour: string
  /** What boot delays are divided by. */
  readonly speedUp?: number
}

export function builtAs(): Version {
  return JSON.parse(readFileSync('/app/version.json', 'utf8')) as Version
}

/**
 * The real entrypoints sleep before they start their server: `trueMs`, as much faster as the build is, or BOOT_DELAY_MS
 * when that is set. From here on TERM ends the process at once; serve() replaces that by a graceful end.
 */
export async function entrypointDelay(trueMs: number): Promise<void> {
  process.on('SIGTERM', () => process.exit(0))
  await delay(Number(process.env.BOOT_DELAY_MS || trueMs / (builtAs().speedUp ?? 1)))
}
