// The images of the stand-ins: which there are, and how each is made of a bundle and a Dockerfile.
import { createHash } from 'node:crypto'
import { appendFile, copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildImage, type Host } from '../machine/images.ts'
import { bundle } from './bundle.ts'

/** Prisma's schema as the images of the new stack carry it, at /app/schema.prisma; the gateway's label has its sha256. */
export const SCHEMA = join(import.meta.dirname, 'schema.prisma')
const FAST = 20

/** The services that come in versions. */
export type Versioned = 'gateway' | 'translator' | 'frontend'

/** One build of a versioned service. */
export interface Build {
  /** What it says that it is. */
  readonly version: string
  /** How it behaves; see the applications themselves. */
  readonly behaviour: string
  /** What its boot delays are divided by, where no variable says how long they are. */
  readonly speedUp?: number
  /** Prisma's schema, which the images of the new stack carry. */
  readonly schema?: Schema
}
type Schema = 'same' | 'other'

const legacy = (version: string, behaviour = 'good'): Build => ({ version, behaviour })
// A broken build claims to be the next version, like any that goes out.
const broken = (behaviour: string): Build => legacy('1.2', behaviour)
const modern = (speedUp: number, schema?: Schema, behaviour = 'good'): Build => ({
  version: '2.0',
  behaviour,
  speedUp,
  ...(schema && { schema }),
})

/** The tags of each: 1.x is of the old production, 2.x of the new stack, whose Compose file sets no boot delays. */
export const VERSIONS: Readonly<Record<Versioned, Readonly<Record<string, Build>>>> = {
  gateway: {
    '1.0': legacy('1.0'),
    '1.1': legacy('1.1'),
    'never-healthy': broken('never-healthy'),
    'crashes-late': broken('crashes-late'),
    'empty-database': broken('empty-database'),
    '2.0': modern(1, 'same'),
    '2.0-fast': modern(FAST, 'same'),
    '2.0-never-healthy': modern(FAST, 'same', 'never-healthy'),
    '2.0-other-schema': modern(FAST, 'other'),
  },
  translator: {
    '1.0': legacy('1.0'),
    '1.1': legacy('1.1'),
    unhealthy: broken('unhealthy'),
    '2.0': modern(1, 'same'),
    '2.0-fast': modern(FAST, 'same'),
  },
  frontend: {
    '1.0': legacy('1.0'),
    '1.1': legacy('1.1'),
    '2.0': modern(1),
    '2.0-fast': modern(FAST),
  },
}

/** Image name and tag of the others, under the names that they have in production; their folder here, their programs. */
const OTHERS: readonly { name: string; tag: string; folder: string; programs?: Record<string, string> }[] = [
  { name: 'traefik', tag: 'v3.3', folder: 'proxy', programs: { main: 'proxy/main.ts' } },
  {
    name: 'mongo',
    tag: '8.0',
    folder: 'database',
    programs: { main: 'database/main.ts', 'first-user': 'database/first-user.ts' },
  },
  { name: 'redis', tag: '8-alpine', folder: 'redis' },
  {
    name: 'nginx',
    tag: 'alpine',
    folder: 'static-files',
    programs: { templates: 'static-files/templates.ts' },
  },
  { name: 'mongoclient', tag: 'latest', folder: 'nosqlclient', programs: { main: 'lib/page.ts' } },
  { name: 'p3x-redis-ui', tag: 'latest', folder: 'p3x-redis-ui', programs: { main: 'lib/page.ts' } },
]

/**
 * Has every image in Docker and in the registry; those that are there and unchanged cost one look each.
 * @throws Error with the output of esbuild or docker when one cannot be built or pushed.
 */
export async function ensureImages(host: Host): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'rehearsal-images-'))
  try {
    for (const { name, tag, folder, programs = {} } of OTHERS) {
      const context = await contextOf(work, `${name}-${tag}`, folder)
      for (const [file, program] of Object.entries(programs)) {
        await writeFile(join(context, `${file}.mjs`), await bundle(join(import.meta.dirname, program)))
      }
      await buildImage(host, { name, tag, context })
    }
    for (const [name, versions] of Object.entries(VERSIONS)) {
      const program = await bundle(join(import.meta.dirname, name, 'main.ts'))
      for (const [tag, { schema, ...built }] of Object.entries(versions)) {
        const context = await contextOf(work, `${name}-${tag}`, name)
        await writeFile(join(context, 'main.mjs'), program)
        await writeFile(join(context, 'version.json'), JSON.stringify(built))
        if (schema) await addSchema(context, schema, name === 'gateway')
        await buildImage(host, { name, tag, context })
      }
    }
  } finally {
    await rm(work, { recursive: true })
  }
}

/** A fresh build context with everything in the application's folder but its sources. */
async function contextOf(work: string, name: string, folder: string): Promise<string> {
  const context = await mkdtemp(join(work, `${name}-`))
  const from = join(import.meta.dirname, folder)
  for (const file of await readdir(from)) {
    if (!file.endsWith('.ts')) await copyFile(join(from, file), join(context, file))
  }
  return context
}

/** Both ways in which an image tells of its schema are to be met: each has the file, only some have the label. */
async function addSchema(context: string, schema: Schema, labelled: boolean): Promise<void> {
  const text = await readFile(SCHEMA, 'utf8')
  const bytes =
    schema === 'same' ? text : `${text}\nmodel Later {\n  id String @id @db.ObjectId @map("_id")\n}\n`
  await writeFile(join(context, 'schema.prisma'), bytes)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const lines = ['COPY schema.prisma ./', ...(labelled ? [`LABEL prisma.schema.sha256=${sha256}`] : [])]
  await appendFile(join(context, 'Dockerfile'), lines.map((line) => `${line}\n`).join(''))
}
