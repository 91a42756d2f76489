#!/usr/bin/env -S node --import tsx
// Lists what can be restored. (The restore itself is done by hand so far, with the guide that is in every set.)
// Changes: nothing.
import { listText, setList } from '../lib/backup/list.ts'
import { refusal } from '../lib/errors.ts'
import { script } from '../lib/script.ts'

await script(import.meta, {
  about: 'Lists the recovery points: when, how big, what is in them, how far each can be relied on.',
  changes: 'nothing.',
  undo: 'nothing to undo.',
  usage: ['--list         the sets in BACKUP_DIR'],
  options: { list: { type: 'boolean' } },
  examples: ['task restore -- --list', 'node --import tsx scripts/restore.ts --list --json'],
  stackless: true,
  async answer({ config, flags }) {
    if (!flags.list) {
      throw refusal(
        `Nothing was changed. Type --list to see what can be restored. A set is restored by hand so far, with the ` +
          `guide that it holds:\n  tar xzOf SET.tar.gz --wildcards '*/RESTORE.md'`,
      )
    }
    const sets = await setList(config)
    process.stdout.write(flags.json ? `${JSON.stringify(sets)}\n` : listText(sets, config.BACKUP_DIR))
    return 0
  },
})
