// What listens at a port: told from what it says, and where it says nothing that is known, from the port's number.
import { clipped } from '../http.ts'
import type { Try } from './inside.ts'

export type What = 'mail' | 'database' | 'other'

export interface Seen {
  readonly what: What
  /** Why it is taken for that, fit to be shown: `greets with 220 mail.example ESMTP`. */
  readonly evidence: string
}

const MAIL: ReadonlyMap<number, string> = new Map([
  [25, 'SMTP'],
  [465, 'SMTP over TLS'],
  [587, 'mail submission'],
  [2525, 'SMTP'],
])

const DATABASES: ReadonlyMap<number, string> = new Map([
  [1433, 'SQL Server'],
  [1521, 'Oracle'],
  [3306, 'MySQL'],
  [5432, 'PostgreSQL'],
  [5984, 'CouchDB'],
  [6379, 'Redis'],
  [8086, 'InfluxDB'],
  [9042, 'Cassandra'],
  [9200, 'Elasticsearch'],
  [11211, 'memcached'],
  [27017, 'MongoDB'],
  [27018, 'MongoDB'],
  [27019, 'MongoDB'],
  [33060, 'MySQL'],
])

/** Those of the databases whose protocol is HTTP: an answer in HTTP does not clear them. */
const OVER_HTTP: readonly number[] = [5984, 8086, 9200]

/** What a port that accepts connections is. What it said is hostile. */
export function classify(port: number, { greeting, answer, postgres }: Try): Seen {
  const first = oneLine(greeting)
  const then = oneLine(answer)
  return (
    mail(port, first) ??
    database(greeting, answer, postgres) ??
    speaking(port, first, then) ??
    byNumber(port, greeting.length > 0 ? `greets with ${first}` : then && `answers with ${then}`)
  )
}

function mail(port: number, first: string): Seen | undefined {
  // FTP greets with 220 too.
  const greets = /^220[ -]/.test(first) && (MAIL.has(port) || !/ftp/i.test(first) || /smtp/i.test(first))
  const refuses = /^[45]\d\d[ -]/.test(first) && (/smtp/i.test(first) || MAIL.has(port))
  return greets || refuses ? { what: 'mail', evidence: `greets with ${first}` } : undefined
}

function database(greeting: Buffer, answer: Buffer, postgres: Buffer): Seen | undefined {
  const [hello, said] = [greeting.toString('latin1'), answer.toString('latin1')]
  const is = (name: string, text: string): Seen => ({
    what: 'database',
    evidence: `answers like ${name}${text === '' ? '' : `: ${text}`}`,
  })
  const mysql = mysqlVersion(greeting)
  if (mysql !== undefined) return is('MySQL', mysql)
  for (const text of [hello, said])
    if (/^-(ERR|NOAUTH|DENIED|NOPERM|LOADING|MISCONF|MASTERDOWN)\b/.test(text))
      return is('Redis', oneLine(Buffer.from(text, 'latin1')))
  if (/MongoDB over HTTP/i.test(said)) return is('MongoDB', 'it says so')
  if (said.startsWith('ERROR\r\n')) return is('memcached', 'ERROR')
  const overHttp = /^HTTP\/\d/.test(said) && OWN_WORDS.find(([pattern]) => pattern.test(said))
  if (overHttp) return is(overHttp[1], oneLine(answer))
  if (/^[SN]$/.test(postgres.toString('latin1'))) return is('PostgreSQL', '')
  return undefined
}

const OWN_WORDS: readonly (readonly [RegExp, string])[] = [
  [/x-elastic-product|you know, for search/i, 'Elasticsearch'],
  [/^server: couchdb|"couchdb"\s*:/im, 'CouchDB'],
  [/^x-influxdb-/im, 'InfluxDB'],
  [/^x-clickhouse-/im, 'ClickHouse'],
]

/** The version in MySQL's first packet (also its refusal of a host); undefined when this is none. */
function mysqlVersion(greeting: Buffer): string | undefined {
  // Length (3 bytes), number 0, then protocol 10 and the version; or 0xff, a code, and an error's text.
  if (greeting.length < 7 || greeting.readUIntLE(0, 3) === 0 || greeting[3] !== 0) return undefined
  if (greeting[4] === 0x0a) {
    const end = greeting.indexOf(0, 5)
    const version = oneLine(greeting.subarray(5, end < 0 ? undefined : end))
    return /^\d+\.\d+/.test(version) ? version : undefined
  }
  const text = greeting.subarray(7).toString('latin1')
  return greeting[4] === 0xff && /mysql|mariadb|too many connections/i.test(text)
    ? oneLine(greeting.subarray(7))
    : undefined
}

/** What speaks a protocol that is neither mail nor a database's. */
function speaking(port: number, first: string, then: string): Seen | undefined {
  const greets = /^(SSH-|220[ -]|\* OK|\+OK|RFB \d)/.test(first)
  if (greets) return { what: 'other', evidence: `greets with ${first}` }
  const http = /^HTTP\/\d/.test(then) && !OVER_HTTP.includes(port)
  return http ? { what: 'other', evidence: `answers HTTP: ${then}` } : undefined
}

function byNumber(port: number, said: string): Seen {
  const evidence = said === '' ? 'accepts connections and says nothing' : said
  const [mailName, name] = [MAIL.get(port), DATABASES.get(port)]
  if (mailName !== undefined)
    return { what: 'mail', evidence: `by its number ${port} (${mailName}); ${evidence}` }
  if (name !== undefined)
    return { what: 'database', evidence: `by its number ${port} (${name}); ${evidence}` }
  return { what: 'other', evidence }
}

const LONGEST = 80 // characters

/** The first line, fit to be shown. Latin-1: every byte is one character, and those that a terminal obeys are gone. */
function oneLine(bytes: Buffer): string {
  const [line = ''] = bytes
    .toString('latin1')
    .trimStart()
    .split(/[\r\n]/)
  return clipped(line.slice(0, LONGEST)).trim()
}
