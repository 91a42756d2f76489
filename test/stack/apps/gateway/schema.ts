// As much of Prisma's schema language as the stand-in reads: the fields of models that are kept in a document.
import { ObjectId } from 'mongodb'

export interface Field {
  /** Its key in the document. */
  readonly key: string
  /** A scalar type of Prisma, or the values of an enum. */
  readonly type: string | readonly string[]
  readonly isList: boolean
  readonly isOptional: boolean
  /** What a new document gets: it is asked anew each time. */
  readonly initial?: () => unknown
  /** A default that is a plain value: reading puts it where the document has none. A function's is not put there. */
  readonly isStatic: boolean
}

export type Models = ReadonlyMap<string, readonly Field[]>

const SCALARS = 'String Int BigInt Float Boolean DateTime Json Bytes Decimal'.split(' ')
const BLOCK = /^(model|enum)\s+(\w+)\s*\{\n([^]*?)^\}/gm
const FIELD = /^\s*(\w+)\s+(\w+)(\[\]|\?)?(?:\s+(@.*))?$/
const DEFAULT = /@default\((.*?)\)(?=\s+@|\s*$)/

/** The models of a schema; relations are no fields of a document. */
export function modelsOf(schema: string): Models {
  const blocks = [...schema.matchAll(BLOCK)].map(([, kind, name = '', body = '']) => {
    const lines = body.split('\n').map((line) => line.replace(/\s*\/\/.*$/, '').trim())
    return { kind, name, lines: lines.filter((line) => line !== '' && !line.startsWith('@@')) }
  })
  const enums = new Map(blocks.flatMap(({ kind, name, lines }) => (kind === 'enum' ? [[name, lines]] : [])))
  const models = blocks.filter(({ kind }) => kind === 'model')
  return new Map(models.map(({ name, lines }) => [name, lines.flatMap((line) => fieldOf(line, enums))]))
}

function fieldOf(line: string, enums: ReadonlyMap<string, readonly string[]>): Field[] {
  const [, name = '', typeName = '', kind, attributes = ''] = FIELD.exec(line) ?? []
  if (name === '') throw new Error(`This line of the schema is not understood: ${line}`)
  const type = enums.get(typeName) ?? typeName
  if (type === typeName && !SCALARS.includes(typeName)) return []
  const said = DEFAULT.exec(attributes)?.[1] ?? (attributes.includes('@updatedAt') ? 'now()' : undefined)
  const key = /@map\("([^"]+)"\)/.exec(attributes)?.[1] ?? name
  const is = {
    isList: kind === '[]',
    isOptional: kind === '?',
    isStatic: said !== undefined && !said.endsWith('()'),
  }
  return [{ key, type, ...is, ...(said !== undefined && { initial: () => valueOf(said) }) }]
}

function valueOf(said: string): unknown {
  if (said === 'now()') return new Date()
  if (said === 'auto()') return new ObjectId()
  if (/^[A-Za-z_]\w*$/.test(said) && said !== 'true' && said !== 'false') return said // of an enum
  return JSON.parse(said)
}
