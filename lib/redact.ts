// No secret in a log, a journal, a report or an error.

const SECRET_KEY = /(PASSWORD|SECRET|TOKEN|KEY|USERS|CREDENTIALS?)$/
const ADDRESS_KEY = /(URI|URL)$/
const SHORTEST = 6 // characters: redacting a `1` would spoil every text

/** The values in an env file that must never be shown, by the names of their keys. */
export function secretsOf(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env).flatMap(([key, value]) => {
    if (value.length < SHORTEST) return []
    if (SECRET_KEY.test(key)) return [value]
    const password = ADDRESS_KEY.test(key) ? /:\/\/[^/\s:@]*:([^/\s@]+)@/.exec(value)?.[1] : undefined
    return password === undefined ? [] : [value, password]
  })
}

/** A function that replaces every one of the secrets in a text, in whatever way it was quoted on the way. */
export function redactor(secrets: readonly string[]): (text: string) => string {
  const forms = new Set(
    secrets.flatMap((s) => [
      s,
      encodeURIComponent(s),
      JSON.stringify(s).slice(1, -1),
      s.replaceAll("'", "'\\''"),
      s.replaceAll('$', '$$$$'),
    ]),
  )
  const longestFirst = [...forms].toSorted((a, b) => b.length - a.length)
  return (text) => longestFirst.reduce((t, secret) => t.replaceAll(secret, '[redacted]'), text)
}
