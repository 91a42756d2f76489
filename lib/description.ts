// What Docker cannot know about a stack, as env/stack.ts says it.
import { pathToFileURL } from 'node:url'
import type { Config } from './env.ts'
import { usage } from './errors.ts'

/** Values that a healthy JSON body must hold, by their path in it. */
export type Expected = Readonly<Record<string, readonly unknown[]>>

export interface ServiceDescription {
  /** It writes users' data: stopped while data is counted. */
  readonly writer?: boolean
  /** Its being unhealthy cannot fail an update. */
  readonly optional?: boolean
  /** ms from its start to healthy. */
  readonly deadline: number
  /** What a healthy answer is, asked at the container's own address. Without it Docker's health check decides. */
  readonly health?: {
    readonly port: number
    readonly path: string
    readonly status?: number
    readonly json?: Expected
    /** Paths of numbers in the body that tell of users' data: an update may not make them shrink. */
    readonly steady?: readonly string[]
  }
  /** Paths in the container that hold state and must lie on a volume. */
  readonly state?: readonly string[]
}

/** Where an image says with which schema it was built. */
export interface SchemaPlace {
  /** A label of the image: the SHA-256 of the schema file, in hexadecimal. */
  readonly label: string
  /** Path of the schema file itself in the image. */
  readonly file: string
}

export interface StackDescription {
  readonly database: { readonly service: string; readonly port: number; readonly name: string }
  readonly redis: { readonly service: string; readonly port: number }
  readonly proxy: { readonly service: string }
  readonly services: Readonly<Record<string, ServiceDescription>>
  readonly public: readonly {
    readonly service: string
    readonly url: string
    readonly status?: number
    readonly json?: Expected
    /** Only of a stack whose .env says this STACK_ROLE, or none. */
    readonly role?: 'production'
  }[]
  /** Where a service keeps files that are large, the same for every stack, and not users': staging may have a copy. */
  readonly models?: { readonly service: string; readonly path: string }
  /** Which services' images are built with a Prisma schema, and where an image says with which: see env/stack.ts. */
  readonly schema?: { readonly services: readonly string[] } & SchemaPlace
  readonly leaveOut: Readonly<Record<string, string>>
  readonly config: readonly string[]
  /** ms */
  readonly stability: number
  /** ms */
  readonly stopTimeout: number
}

/**
 * Reads the module that STACK_FILE names.
 * @throws usage (exit 2) when it cannot be read or does not describe a stack.
 */
export async function describe({ STACK_FILE }: Config): Promise<StackDescription> {
  try {
    const { default: about } = (await import(pathToFileURL(STACK_FILE).href)) as { default: StackDescription }
    if (about.database.service && about.redis.service && about.services) return about
  } catch (error) {
    throw usage(`STACK_FILE ${STACK_FILE} could not be read: ${String(error)}`)
  }
  throw usage(`STACK_FILE ${STACK_FILE} does not describe a stack: see env/stack.ts.`)
}
