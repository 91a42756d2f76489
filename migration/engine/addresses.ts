// Which database is read and which is written: from the environment, or from flags that hold no password.
import { usage } from '../../lib/errors.ts'
import { secretsOf } from '../../lib/redact.ts'

export interface Address {
  /** With its credentials: never shown. */
  readonly url: string
  /** The name of the database. */
  readonly database: string
  /** `host:port/database`, as it is shown. */
  readonly shown: string
}

/** Without `/` and `?`, which have to be written as %2F and %3F there, so that the parts can be told apart. */
const PARTS =
  /^mongodb(?:\+srv)?:\/\/(?:(?<user>[^/?]*)@)?(?<hosts>[^/?@]+)(?:\/(?<database>[^?]*))?(?:\?(?<options>.*))?$/s

/**
 * The address in a flag, else in a variable of the environment; undefined when there is neither.
 * @throws usage (exit 2) when it is no address, names no database, or a flag holds a password: the arguments of a
 *   process can be read by everybody on the machine.
 */
export function addressFrom({
  flag,
  given,
  key,
  set,
}: {
  flag: string
  given: string | undefined
  key: string
  set: string | undefined
}): Address | undefined {
  const url = given ?? (set === '' ? undefined : set)
  if (url === undefined) return undefined
  const where = given === undefined ? key : flag
  const { user, hosts, database, options = '' } = PARTS.exec(url)?.groups ?? {}
  if (hosts === undefined)
    throw usage(`${where} is no address of MongoDB: mongodb://host:27017/database. Nothing was changed.`)
  if (given !== undefined && (user?.includes(':') || /password|token/i.test(options)))
    throw usage(
      `${flag} holds a password. Give the whole address as ${key} in the environment. Nothing was changed.`,
    )
  if (!database) throw usage(`${where} names no database: mongodb://…/database. Nothing was changed.`)
  return { url, database: decoded(where, database), shown: `${hosts}/${database}` }
}

function decoded(where: string, name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    throw usage(
      `${where}: the name of the database is not written as an address needs it. Nothing was changed.`,
    )
  }
}

/** What of the addresses must never be shown. */
export function secretsIn(addresses: readonly (Address | undefined)[]): string[] {
  return addresses.flatMap((address) => {
    if (!address) return []
    const options = /\?(.*)$/s.exec(address.url)?.[1] ?? ''
    const hidden = [...new URLSearchParams(options)].filter(([name]) => /password|properties/i.test(name))
    return [...secretsOf({ DATABASE_URL: address.url }), ...hidden.map(([, value]) => value)]
  })
}
