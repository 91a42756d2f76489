// The images of the stand-ins: which there are, and how each is made of a bundle and a Dockerfile.
import { copyFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildImage, type Host } from '../machine/images.ts'
import { bundle } from './bundle.ts'

/** The services that come in versions. */
export type Versioned = 'gateway' | 'translator' | 'frontend'

/** The tags of each, with how the build behaves; see the applications themselves. */
export const VERSIONS: Readonly<Record<Versioned, Readonly<Record<string, string>>>> = {
  gateway: {
    '1.0': 'good',
    '1.1': 'good',
    'never-healthy': 'never-healthy',
    'crashes-late': 'crashes-late',
    'empty-database': 'empty-database',
  },
  translator: { '1.0': 'good', '1.1': 'good', unhealthy: 'unhealthy' },
  frontend: { '1.0': 'good', '1.1': 'good' },
}

/** Image name and tag of the others, under the names that they have in production, and their folder here. */
const OTHERS = [
  { name: 'traefik', tag: 'v3.3', folder: 'proxy', program: 'proxy/main.ts' },
  { name: 'mongo', tag: '8.0', folder: 'database', program: 'database/main.ts' },
  { name: 'redis', tag: '8-alpine', folder: 'redis' },
  { name: 'nginx', tag: 'alpine', folder: 'static-files' },
  { name: 'mongoclient', tag: 'latest', folder: 'nosqlclient', program: 'lib/page.ts' },
  { name: 'p3x-redis-ui', tag: 'latest', folder: 'p3x-redis-ui', program: 'lib/page.ts' },
] as const

/**
 * Has every image in Docker and in the registry; those that are there and unchanged cost one look each.
 * @throws Error with the output of esbuild or docker when one cannot be built or pushed.
 */
export async function ensureImages(host: Host): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'rehearsal-images-'))
  try {
    for (const { name, tag, folder, ...app } of OTHERS) {
      const context = await contextOf(work, `${name}-${tag}`, folder)
      if ('program' in app) {
        await writeFile(join(context, 'main.mjs'), await bundle(join(import.meta.dirname, app.program)))
      }
      await buildImage(host, { name, tag, context })
    }
    for (const [name, versions] of Object.entries(VERSIONS)) {
      const program = await bundle(join(import.meta.dirname, name, 'main.ts'))
      for (const [tag, behaviour] of Object.entries(versions)) {
        const context = await contextOf(work, `${name}-${tag}`, name)
        await writeFile(join(context, 'main.mjs'), program)
        // A broken build claims to be the next version, like any that goes out.
        const version = /^\d/.test(tag) ? tag : '1.2'
        await writeFile(join(context, 'version.json'), JSON.stringify({ version, behaviour }))
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
