#!/usr/bin/env -S node --import tsx
// Tells how the stack is: services and their images, volumes and what mounts them, orphans, sets, runs, disk.
// Changes: nothing.
import { setTimeout as delay } from 'node:timers/promises'
import { sentence } from '../lib/errors.ts'
import { script, type Context } from '../lib/script.ts'
import { interruption } from '../lib/shell.ts'
import { readStack } from '../lib/stack.ts'
import { statusFacts, type Status } from '../lib/status/facts.ts'
import { statusText } from '../lib/status/text.ts'

const EVERY = 5_000 // ms between two looks of --watch

async function answer({ stack, config, flags, redact }: Context): Promise<number> {
  const print = (status: Status): void =>
    void process.stdout.write(redact(flags.json ? `${JSON.stringify(status)}\n` : statusText(status)))
  let { status, sizes } = await statusFacts(stack)
  print(status)
  while (flags.watch) {
    const signal = interruption.getStore()
    await delay(EVERY, undefined, signal && { signal }).catch(() => signal?.throwIfAborted())
    // The volumes are not walked again and again.
    try {
      ;({ status, sizes } = await statusFacts(await readStack(config), sizes))
    } catch (error) {
      // While containers are replaced, or Docker restarts, a look may fail; the next one will tell.
      signal?.throwIfAborted()
      process.stderr.write(redact(`${sentence(error)}\nLooking again in ${EVERY / 1000} s.\n`))
      continue
    }
    if (process.stdout.isTTY) process.stdout.write('\x1b[H\x1b[2J')
    print(status)
  }
  return status.backup.problems.length === 0 ? 0 : 3
}

await script(import.meta, {
  about:
    'Tells how the stack is: services, images, volumes and what mounts them, orphans, sets, runs, disk. Exit code 3 ' +
    'when the newest good set, or its copy, is older than BACKUP_MAX_AGE.',
  changes: 'nothing.',
  undo: 'nothing to undo.',
  usage: ['--watch        again every 5 s until Ctrl-C; volumes are measured once'],
  options: { watch: { type: 'boolean' } },
  examples: ['task status', 'node --import tsx scripts/status.ts --json'],
  answer,
  lasts: ['watch'],
})
