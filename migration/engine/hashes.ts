// What a migration was made by: the rules, the schema, and the version of this tool.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ROOT } from '../../lib/env.ts'

export interface MadeBy {
  /** SHA-256 of every file that decides what becomes of a document. */
  readonly planHash: string
  /** SHA-256 of the file of the schema. */
  readonly schemaHash: string
  readonly tool: string
}

const FOLDER = join(ROOT, 'migration')

/** The files that decide what becomes of a document: all of the migration but its engine. */
export function decidingFiles(): string[] {
  return readdirSync(FOLDER, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(FOLDER, join(entry.parentPath, entry.name)))
    .filter((file) => file !== 'migrate.ts' && !file.startsWith('engine'))
    .toSorted()
}

export function madeBy(schema: string): MadeBy {
  const sha256 = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex')
  const files = decidingFiles().map((file) => `${sha256(readFileSync(join(FOLDER, file)))}  ${file}\n`)
  const { name, version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<
    string,
    string
  >
  return { planHash: sha256(files.join('')), schemaHash: sha256(schema), tool: `${name} ${version}` }
}
