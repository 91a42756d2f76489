// What GNU tar says while it makes an archive, line by line, with names in C's quotes (--quoting-style=c).
import type { LeftOut } from './manifest.ts'
import { show } from './tar.ts'
import { plain } from './volume.ts'

/** Complete when tar has ended. Names are byte strings, as in the archive. */
export interface Remarks {
  /** Changed, grew or shrank while they were read. */
  readonly changed: readonly string[]
  /** Not there any more when their turn came. */
  readonly gone: readonly string[]
  /** Not in the archive for another reason; and each kind of warning that is not understood, once. */
  leftOut(): LeftOut[]
  /** Takes a line. What is not tar's (docker warns there too) is passed over. */
  hear(line: string): void
  /** Whether what was said accounts for that exit code: 1 is "some files differ", 2 "failure". */
  explain(exitCode: number | null): boolean
}

const SAID = /^tar: (?:"((?:[^"\\]|\\.)*)": )?(.*)$/
const CHANGED = /^(?:file changed as we read it|File shrank by \d+ bytes?; padding with zeros)$/
// Of files that are given by name, it says why; a folder above may have become something else.
const GONE =
  /^(?:File removed before we read it|Cannot (?:stat|open): (?:No such file or directory|Not a directory|Too many levels of symbolic links|File name too long))$/
const SPECIAL = /^(socket|door) ignored$/
// The file system knows no attributes: there are none to lose. And after the last line, what was said before.
const NOTHING =
  /^(?:Warning: Cannot \w*listxattr\w*: Operation not supported|Exiting with failure status.*|)$/

export function listen(): Remarks {
  const changed: string[] = []
  const gone: string[] = []
  const special: LeftOut[] = []
  const others = new Map<string, { first: string; more: number }>()
  return {
    changed,
    gone,
    hear(line) {
      const [, quoted, what] = SAID.exec(line) ?? []
      if (what === undefined || NOTHING.test(what)) return
      const name = unquote(quoted ?? '')
      const kind = SPECIAL.exec(what)?.[1]
      const known = others.get(what)
      if (CHANGED.test(what)) changed.push(name)
      else if (GONE.test(what)) gone.push(name)
      else if (kind !== undefined) special.push({ what: show(plain(name)), why: `a ${kind}` })
      else if (known) known.more++
      else others.set(what, { first: show(plain(name)), more: 0 })
    },
    explain: (exitCode) =>
      (exitCode === 1 && changed.length + gone.length > 0) ||
      (exitCode === 2 && gone.length > 0 && others.size === 0),
    leftOut: () => [
      ...special,
      ...[...others].map(([what, { first, more }]) => ({
        what: more === 0 ? first : `${first} and ${more} more`,
        why: `tar said: ${what}`,
      })),
    ],
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
}

/** A name as it is, from what stands between C's quotes. */
function unquote(text: string): string {
  return text.replace(/\\([0-7]{3}|.)/g, (_, code: string) =>
    code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : (ESCAPES[code] ?? code),
  )
}
