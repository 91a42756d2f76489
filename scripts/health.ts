#!/usr/bin/env -S node --import tsx
// Asks every service, and every public address, whether it is healthy: by what it answers, not only by its code.
// Changes: nothing.
import { checkPublic, checkService, type Verdict } from '../lib/health.ts'
import { script, type Context } from '../lib/script.ts'

async function answer({ stack, flags, redact }: Context): Promise<number> {
  const services = stack.services.map((s) => checkService(stack, s.name))
  const verdicts = [...(await Promise.all(services)), ...(await checkPublic(stack))]
  const failed = verdicts.filter((v) => !v.ok && !v.optional)
  process.stdout.write(redact(flags.json ? `${JSON.stringify(verdicts)}\n` : text(verdicts, failed)))
  return failed.length === 0 ? 0 : 3
}

function text(verdicts: readonly Verdict[], failed: readonly Verdict[]): string {
  const mark = (v: Verdict): string => (v.ok ? '✔' : v.optional ? '!' : '✖')
  const lines = verdicts.map((v) => `${mark(v)} ${v.address ?? v.service}: ${v.evidence} (${v.ms} ms)`)
  const notes = verdicts.some((v) => !v.ok && v.optional) ? ['! is optional: it fails nothing.'] : []
  const all = verdicts.length
  return [...lines, ...notes, `${all - failed.length} of ${all} healthy or optional.`, ''].join('\n')
}

await script(import.meta, {
  about:
    'Asks every service and every public address whether it is healthy, by content. Exit 3 when one is not.',
  changes: 'nothing.',
  undo: 'nothing to undo.',
  examples: ['task health', 'node --import tsx scripts/health.ts --json'],
  answer,
})
