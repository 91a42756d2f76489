// What the labels of a stack ask of the proxy: which host leads to which service, and behind which middlewares.
import type { ComposeConfig } from '../stack.ts'

type Labels = Readonly<Record<string, string>>

export interface Rule {
  readonly router: string
  readonly hosts: readonly string[]
  readonly middlewares: readonly string[]
  /** It asks for a name and a password. */
  readonly guarded: boolean
  /** The service in the proxy that it leads to, as named; `api@internal` is the proxy's own page. */
  readonly leadsTo: string
}

/** The labels of a service as Compose resolves them, every `$` once. */
export const labelsOf = ({ labels }: ComposeConfig['services'][string]): Labels =>
  Object.fromEntries(Object.entries(labels ?? {}).map(([k, v]) => [k, v.replaceAll('$$', '$')]))

/** The routers that labels declare. */
export function rulesOf(labels: Labels): Rule[] {
  return Object.entries(labels).flatMap(([written, rule]) => {
    const key = /^traefik\.http\.routers\.[^.]+\.rule$/i.test(written) ? written.toLowerCase() : written
    const router = /^traefik\.http\.routers\.([^.]+)\.rule$/.exec(key)?.[1]
    if (router === undefined) return []
    const option = (name: string): string => labels[`traefik.http.routers.${router}.${name}`] ?? ''
    const middlewares = option('middlewares').split(',').filter(Boolean)
    const guarded = middlewares.some((m) => `traefik.http.middlewares.${m}.basicauth.users` in labels)
    const hosts = [...rule.matchAll(/Host\(\s*[`"]([^`"]+)[`"]\s*\)/gi)].map((m) =>
      (m[1] ?? '').toLowerCase(),
    )
    return [{ router, hosts, middlewares, guarded, leadsTo: option('service') }]
  })
}

/**
 * Which containers the proxy looks at, by their labels: those that fit its constraints, as far as these are labels with
 * `||` between them; otherwise all.
 */
export function seenBy(words: readonly string[]): (labels: Labels) => boolean {
  const option = /^--providers\.docker\.constraints=(.*)$/is
  const said = words.flatMap((w) => option.exec(w)?.[1] ?? [])[0]
  const terms = said?.split('||').map((term) => /^\s*Label\(`([^`]+)`,\s*`([^`]*)`\)\s*$/.exec(term))
  if (!terms || terms.includes(null)) return () => true
  return (labels) => terms.some((term) => term !== null && labels[term[1] ?? ''] === term[2])
}
