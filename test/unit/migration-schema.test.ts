import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { ROOT } from '../../lib/env.ts'
import { parseSchema, type Datamodel, type Field } from '../../migration/dmmf.ts'
import { SCHEMA } from './migration-fixture.ts'

/** The reference as a table: `target-models.tsv`, whose first lines explain it. */
interface Table {
  readonly models: string[]
  readonly fields: string[]
  readonly indexes: string[]
  readonly enums: string[]
}

const tabbed = (...columns: (string | undefined)[]): string => columns.join('\t').trimEnd()

function tableOf(text: string): Table {
  const [models = '', indexes = '', enums = ''] = text.split(/^# (?:Indexes|Enums)/m)
  const rows = (part: string): string[] =>
    part
      .split('\n')
      .slice(1)
      .filter((line) => line.trim() !== '' && !line.startsWith('#'))
  const lines = rows(models).slice(1) // the names of the columns
  return {
    models: lines.filter((line) => line.includes('\t@@model')).map((line) => line.trimEnd()),
    fields: lines.filter((line) => !line.includes('\t@@model')).map((line) => line.trimEnd()),
    indexes: rows(indexes)
      .slice(1)
      .map((line) => line.trimEnd()),
    enums: rows(enums),
  }
}

function defaultOf(field: Field): string {
  if (!field.hasDefaultValue) return ''
  const value = field.default as { name?: string } | string | number | boolean | unknown[]
  return typeof value === 'object' && 'name' in value ? `${value.name}()` : JSON.stringify(value)
}

function relationOf(field: Field): string {
  if (field.kind !== 'object') return ''
  const keys = `${field.relationFromFields?.join() ?? ''} -> ${field.relationToFields?.join() ?? ''}`
  return `${field.relationName}; ${keys}; ${field.relationOnDelete ?? ''}`
}

/** The same table of a schema. */
function tableFrom({ models, indexes, enums }: Datamodel): Table {
  return {
    models: models.map((m) => tabbed(m.name, '@@model', '', '', '', '', '', '', m.dbName ?? '')),
    fields: models.flatMap((m) =>
      m.fields.map((f) =>
        tabbed(
          m.name,
          f.name,
          f.type,
          f.isList ? 'list' : f.isRequired ? 'required' : 'optional',
          [f.isId && 'id', f.isUnique && 'unique', f.isUpdatedAt && 'updatedAt'].filter(Boolean).join(),
          defaultOf(f),
          f.nativeType?.[0] ?? '',
          relationOf(f),
          f.dbName ?? '',
        ),
      ),
    ),
    indexes: indexes.map((i) =>
      tabbed(i.model, i.type, i.fields.map(({ name }) => name).join(), i.name ?? ''),
    ),
    enums: enums.map((e) => `${e.name}\t${e.values.map(({ name }) => name).join(', ')}`),
  }
}

const sorted = (table: Table): Table => ({
  models: table.models.toSorted(),
  fields: table.fields.toSorted(),
  indexes: table.indexes.toSorted(),
  enums: table.enums.toSorted(),
})

describe('the target schema', () => {
  let reference: Table
  before(() => {
    reference = sorted(tableOf(readFileSync(`${ROOT}/test/unit/fixtures/target-models.tsv`, 'utf8')))
  })

  test('the table is read whole', () => {
    assert.deepEqual(
      [reference.models.length, reference.fields.length, reference.indexes.length, reference.enums.length],
      [52, 994, 210, 5],
    )
  })

  test('equals the reference: models, fields, indexes, enums', () => {
    assert.deepEqual(sorted(tableFrom(parseSchema(SCHEMA))), reference)
  })

  const CHANGES: Readonly<Record<string, readonly [RegExp, string]>> = {
    'a type': [/^( {2}fileSize +)Int/m, '$1BigInt'],
    'optional to required': [/^( {2}phoneCountryCode +String)\?/m, '$1 '],
    'a list to one': [/^( {2}validatedMentions +String)\[\] +@default\(\[\]\)/m, '$1?'],
    'a default': [/@default\("everyone"\)/, '@default("member")'],
    'a function default': [/^( {2}lastPasswordChange .*)@default\(now\(\)\)/m, '$1'],
    'a field unique no more': [/^( {2}username .*)@unique/m, '$1'],
    'a native type': [/^( {2}deletedBy .*)@db\.ObjectId/m, '$1'],
    'a mapped name': [/@@map\("user_preference"\)/, '@@map("UserPreference")'],
    'a unique key': [/, name: "user_reaction_unique"/, ''],
    'an index': [/^ {2}@@index\(\[messageSource\]\)$/m, ''],
    'an enum': [/^ {2}BIGBOSS$/m, '  BIG_BOSS'],
    'what a deletion does': [/^( {2}category .*)SetNull/m, '$1Cascade'],
    updatedAt: [/^( {2}updatedAt +DateTime +)@updatedAt/m, '$1@default(now())'],
  }
  for (const [what, [from, to]] of Object.entries(CHANGES))
    test(`another one shows: ${what}`, () => {
      const changed = SCHEMA.replace(from, to)
      assert.notEqual(changed, SCHEMA)
      assert.notDeepEqual(sorted(tableFrom(parseSchema(changed))), reference)
    })

  test('a text that is no schema is refused in Prisma’s own words', () => {
    const broken = SCHEMA.replace('  firstName ', '  firstName Strin //')
    assert.throws(
      () => parseSchema(broken),
      /not valid.*Type "Strin" is neither a built-in type.*schema\.prisma:/s,
    )
    assert.equal(parseSchema(SCHEMA).models.length, 52) // and the parser still works
  })

  test('prisma validate agrees', () => {
    // It wants engines that it does not use: any file that exists will do. The value of the address is not looked at.
    const env = {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      CHECKPOINT_DISABLE: '1',
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
      PRISMA_QUERY_ENGINE_LIBRARY: process.execPath,
      DATABASE_URL: 'mongodb://localhost/none',
    }
    const args = ['node_modules/prisma/build/index.js', 'validate', '--schema', 'migration/schema.prisma']
    const said = execFileSync(process.execPath, args, { cwd: ROOT, env, encoding: 'utf8', stdio: 'pipe' })
    assert.match(said, /is valid/)
  })
})
