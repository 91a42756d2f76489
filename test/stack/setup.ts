#!/usr/bin/env -S node --import tsx
// Gets this machine ready for the rehearsal stack, or stops what that started.
// Changes: a cache folder (RUNBOOK_REHEARSAL_CACHE, by default ~/.cache/runbook-rehearsal); where no Docker runs also
//          a daemon of its own with its bridge; missing system packages, after consent.
// Undo:    --stop, then remove the cache folder.
import { parseArgs } from 'node:util'
import { quoted } from './machine/command.ts'
import { ensureMachine, stopMachine } from './machine/machine.ts'
import { Refusal } from './machine/refusal.ts'

const HELP = `node --import tsx test/stack/setup.ts [--install | --stop]
Gets this machine ready for the rehearsal stack and leaves it running; prints the variables to use it with.

Changes  a cache folder: RUNBOOK_REHEARSAL_CACHE, else XDG_CACHE_HOME or ~/.cache with runbook-rehearsal in it.
         Where no Docker runs: a daemon of its own, with its own socket, data, bridge and iptables rules.
         Missing system packages: on a terminal they are asked for; without one and without a running Docker they
         are installed.
Undo     --stop, then remove the cache folder.

  --install  install missing system packages without asking
  --stop     end the daemons that were started; images and data stay in the cache
  --help     this text

  eval "$(node --import tsx test/stack/setup.ts)"    set up, and use its Docker in this shell
  node --import tsx test/stack/setup.ts --stop

Exit codes: 0 done, 1 a step failed, 2 usage, 3 something is missing and cannot or may not be installed,
4 not confirmed, 5 in use by a test or a rehearsal.
`

async function main(): Promise<number> {
  const flags = {
    help: { type: 'boolean' },
    install: { type: 'boolean' },
    stop: { type: 'boolean' },
  } as const
  const { values } = parseArgs({ options: flags, strict: true })
  if (values.help) {
    process.stdout.write(HELP)
  } else if (values.stop) {
    await stopMachine()
  } else {
    const start = performance.now()
    const { env, registry, ownDaemon } = await ensureMachine({ install: values.install ?? false, keep: true })
    for (const [name, value] of Object.entries(env)) process.stdout.write(`export ${name}=${quoted(value)}\n`)
    const whose = ownDaemon ? 'own' : "this machine's"
    const seconds = ((performance.now() - start) / 1_000).toFixed(1)
    process.stderr.write(`ready: ${whose} Docker, registry ${registry}  ${seconds} s\n`)
  }
  return 0
}

try {
  process.exitCode = await main()
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  process.stderr.write(`${message}\n`)
  if (code?.startsWith('ERR_PARSE_ARGS')) process.exitCode = 2
  else process.exitCode = error instanceof Refusal ? error.exitCode : 1
}
