// Prisma's own parser, so that a schema means here what it means to the client: the WebAssembly module that the command
// `prisma` carries. It needs neither a generated client nor an engine nor the network. The glue below is the part of
// wasm-bindgen's that this one call needs; the exact version of `prisma` is pinned, and a test fails when it no longer
// fits.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { usage } from '../lib/errors.ts'

export interface Field {
  readonly name: string
  /** `@map`: the name in the document where it differs. */
  readonly dbName?: string | null
  readonly kind: 'scalar' | 'enum' | 'object' | 'unsupported'
  /** String, Int, Boolean, DateTime, Json…, or the name of an enum or a model. */
  readonly type: string
  readonly isList: boolean
  readonly isRequired: boolean
  readonly isUnique: boolean
  readonly isId: boolean
  readonly isUpdatedAt?: boolean
  readonly hasDefaultValue: boolean
  /** A value, or a function by its name. */
  readonly default?: unknown
  /** `['ObjectId', []]`. */
  readonly nativeType?: readonly [string, readonly string[]] | null
  readonly relationName?: string
  readonly relationFromFields?: readonly string[]
  readonly relationToFields?: readonly string[]
  readonly relationOnDelete?: string
}

export interface Model {
  readonly name: string
  /** `@@map`: the name of the collection where it differs. */
  readonly dbName: string | null
  readonly fields: readonly Field[]
}

export interface Index {
  readonly model: string
  readonly type: 'id' | 'normal' | 'unique' | 'fulltext'
  readonly isDefinedOnField: boolean
  /** `name:`, by which the client knows it. */
  readonly name?: string
  /** `map:`, its name in the database. */
  readonly dbName?: string
  readonly fields: readonly { readonly name: string; readonly sortOrder?: 'asc' | 'desc' }[]
}

export interface Datamodel {
  readonly enums: readonly { readonly name: string; readonly values: readonly { readonly name: string }[] }[]
  readonly models: readonly Model[]
  readonly types: readonly Model[]
  readonly indexes: readonly Index[]
}

/**
 * What a Prisma schema says.
 * @throws a usage error with Prisma's own words when the text is no valid schema.
 */
export function parseSchema(text: string): Datamodel {
  const answer = parser()(JSON.stringify({ prismaSchema: text, noColor: true }))
  return JSON.parse(answer) as Datamodel
}

// Node has it; its types come with those of browsers only.
interface Wasm {
  readonly Module: { new (bytes: Uint8Array): object; imports(module: object): { readonly name: string }[] }
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown }
}

/** What the module offers, as far as it is used. */
interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer }
  readonly __wbindgen_externrefs: {
    get(i: number): unknown
    set(i: number, v: unknown): void
    grow(n: number): number
  }
  __wbindgen_malloc(bytes: number, align: number): number
  __wbindgen_free(at: number, bytes: number, align: number): void
  __externref_table_dealloc(i: number): void
  __wbindgen_start(): void
  /** Where the answer is and its bytes; then the place of an error, and whether there is one. */
  get_datamodel(at: number, bytes: number): [number, number, number, number]
}

let loaded: ((params: string) => string) | undefined

function parser(): (params: string) => string {
  loaded ??= load()
  return loaded
}

function load(): (params: string) => string {
  const folder = dirname(createRequire(import.meta.url).resolve('prisma/package.json'))
  const { Module, Instance } = (globalThis as unknown as { readonly WebAssembly: Wasm }).WebAssembly
  const module = new Module(readFileSync(join(folder, 'build', 'prisma_schema_build_bg.wasm')))
  const text = (at: number, bytes: number): string =>
    new TextDecoder().decode(new Uint8Array(wasm.memory.buffer, at >>> 0, bytes >>> 0))
  const glue: Readonly<Record<string, (...args: number[]) => unknown>> = {
    Error: (at = 0, bytes = 0) => new Error(text(at, bytes)),
    throw: (at = 0, bytes = 0) => {
      throw new Error(text(at, bytes))
    },
    // A panic inside the module; the trap that follows ends the call.
    message: () => undefined,
    table: () => {
      const table = wasm.__wbindgen_externrefs
      const offset = table.grow(4)
      for (const [i, value] of [undefined, null, true, false].entries()) table.set(offset + i, value)
      table.set(0, undefined)
    },
  }
  // Their names carry a hash of the build.
  const imports = Module.imports(module).map(({ name }) => {
    const part = /_(Error|throw|message|table)(_[0-9a-f]+)?$/.exec(name)?.[1]
    if (part === undefined)
      throw new Error(`The installed prisma wants '${name}': migration/dmmf.ts was written for 6.19.3.`)
    return [name, glue[part]] as const
  })
  const { exports } = new Instance(module, { __wbindgen_placeholder__: Object.fromEntries(imports) })
  const wasm = exports as Exports
  wasm.__wbindgen_start()

  return (params) => {
    const bytes = new TextEncoder().encode(params)
    const at = wasm.__wbindgen_malloc(bytes.length, 1) >>> 0
    new Uint8Array(wasm.memory.buffer).set(bytes, at)
    const [answer, length, error, failed] = wasm.get_datamodel(at, bytes.length)
    if (failed) throw usage(`The Prisma schema is not valid.\n${said(wasm, error)}`)
    try {
      return text(answer, length)
    } finally {
      wasm.__wbindgen_free(answer, length, 1)
    }
  }
}

function said(wasm: Exports, place: number): string {
  const error = wasm.__wbindgen_externrefs.get(place) as Error
  wasm.__externref_table_dealloc(place)
  try {
    return (JSON.parse(error.message) as { message: string }).message.trim()
  } catch {
    return error.message
  }
}
