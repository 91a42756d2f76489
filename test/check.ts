// Fails when anything in the project would remove volumes (invariant 14): in code, as words of a command, or in text.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { ROOT } from '../lib/env.ts'

const FORBIDDEN: readonly { readonly pattern: RegExp; readonly why: string }[] = [
  {
    pattern: /\bdown\s(?:\S+\s)*?(?:-[a-z]*v[a-z]*|--volumes)(?![\w-])/,
    why: 'removes the volumes of a stack',
  },
  {
    pattern: /(?<![\w-])rm\s(?:\S+\s)*?(?:-[a-z]*v[a-z]*|--volumes)(?![\w-])/,
    why: 'removes anonymous volumes',
  },
  {
    pattern: /\bup\s(?:\S+\s)*?(?:-[a-z]*V[a-z]*|--renew-anon-volumes)(?![\w-])/,
    why: 'renews anonymous volumes',
  },
  { pattern: /\bup\s(?:\S+\s)*?(?:-y|--yes)(?![\w-])/, why: 'agrees to recreate a changed volume' },
  { pattern: /\bvolume\s+prune\b/, why: 'removes unused volumes' },
  { pattern: /\bsystem\s+prune\b/, why: 'removes what it takes for unused' },
]

/** The lines of a text that would remove volumes, whether written as a shell line or as a list of words. */
export function removals(text: string): { line: number; text: string; why: string }[] {
  return text.split('\n').flatMap((original, i) => {
    const words = original.replace(/['"`],?\s*/g, ' ').replace(/[ \t]+/g, ' ')
    return FORBIDDEN.filter(({ pattern }) => pattern.test(words) || pattern.test(original)).map(
      ({ why }) => ({
        line: i + 1,
        text: original.trim(),
        why,
      }),
    )
  })
}

function check(): void {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
  })
  const files = String(listed)
    .split('\0')
    .filter(
      (f) =>
        /\.(ts|js|sh|yml|yaml|md|env|json)$|(^|\/)(Dockerfile|run)$/.test(f) && f !== 'package-lock.json',
    )
  if (files.length < 20)
    throw new Error(`only ${files.length} files were found to check: is this a git checkout?`)
  const found = files.flatMap((file) =>
    // Its own test plants what it must find.
    file === 'test/unit/check.test.ts'
      ? []
      : removals(readFileSync(`${ROOT}/${file}`, 'utf8')).map(
          (r) => `${file}:${r.line}: ${r.why}: ${r.text}`,
        ),
  )
  if (found.length > 0) {
    process.stderr.write(`Nothing in this project may remove a volume (invariant 14):\n${found.join('\n')}\n`)
    process.exitCode = 1
  } else process.stdout.write(`${files.length} files: nothing that would remove a volume\n`)
}

if (process.argv[1] === import.meta.filename) check()
