// One-way doors of the engines: a newer MongoDB or Redis may write what the older one cannot read.
import type { ImageInspect } from '../docker.ts'
import { format, older, rank, versionOf, type Engine } from '../engines.ts'
import type { Stack } from '../stack.ts'

/** An engine's change to another format. */
export interface Door extends Engine {
  readonly to: string
}

/**
 * The doors that the images which the names mean now would go through, and why they must not.
 * @returns `crossed`: data must be kept aside before the new version starts. `problems`: one sentence each.
 */
export async function doors(
  stack: Stack,
  engines: readonly Engine[],
  imageOf: (service: string) => Promise<ImageInspect | undefined>,
): Promise<{ crossed: Door[]; problems: string[] }> {
  const crossed: Door[] = []
  const problems: string[] = []
  for (const engine of engines) {
    const image = await imageOf(engine.service)
    if (!image) continue
    const to = await versionOf(engine, image)
    const wrong = forbidden(engine, to)
    if (wrong !== undefined) problems.push(`${engine.service}: ${wrong}`)
    else if (format(engine.version) !== format(to)) crossed.push({ ...engine, to })
    if (engine.appendOnly === false && saysAppendOnly(stack, engine.service)) {
      problems.push(
        `${engine.service}: the Compose file turns the append-only file on, but Redis has none yet and would start empty. ` +
          'First, while it runs: redis-cli CONFIG SET appendonly yes',
      )
    }
  }
  return { crossed, problems }
}

/** Why an engine must not become that version; undefined when it may. */
export function forbidden(
  { engine, version, fcv }: Pick<Engine, 'engine' | 'version' | 'fcv'>,
  to: string,
): string | undefined {
  if (!/^\d+\.\d+/.test(to))
    return `its new image does not tell which version of ${engine} it holds (${to || 'nothing'})`
  if (older(to, version)) {
    return `its new image holds ${engine} ${to}, older than the ${version} that runs: it may not read the data. To go back, restore an older set`
  }
  if (engine !== 'MongoDB') return undefined
  const [from, next] = [rank(version), rank(to)]
  if (next > from + 1) {
    return `from MongoDB ${version} to ${to} leaves out a major version: go one at a time, each with its setFeatureCompatibilityVersion`
  }
  if (next === from + 1 && fcv !== undefined && rank(fcv) < from) {
    return (
      `MongoDB ${to} does not start on data with feature compatibility ${fcv}. First, in mongosh: ` +
      `db.adminCommand({ setFeatureCompatibilityVersion: '${format(version)}' })`
    )
  }
  return undefined
}

/** Whether the service's command asks for an append-only file. (What a file of its own says cannot be seen.) */
function saysAppendOnly(stack: Stack, name: string): boolean {
  const words = stack.resolved.services[name]?.command ?? []
  return words[words.indexOf('--appendonly') + 1]?.toLowerCase() === 'yes' && words.includes('--appendonly')
}

/** For a person. */
export const versionText = ({ engine, version, to }: Door): string => `${engine} ${version} → ${to}`
