// How staging stands, in words, for the status of production.
import type { Stack } from '../stack.ts'
import { isJoined, proxyOf } from './join.ts'
import { containersOf, networkNamed } from './objects.ts'
import { stagingHere } from './record.ts'

/** Lines for a person; none when there is no staging. Only reads. */
export async function stagingLines(stack: Stack): Promise<string[]> {
  const staging = stagingHere(stack.config)
  if (!staging) return []
  const containers = await containersOf(staging.project)
  const running = containers.filter((c) => c.State.Running)
  const proxy = proxyOf(stack)
  const lines = [
    `${staging.project} in ${staging.dir}: ${running.length} of ${containers.length} containers run`,
  ]
  if (staging.before)
    lines.push(
      'A deploy did not come to its end. On with it: task deploy-staging; away: task teardown-staging',
    )
  if (proxy && isJoined(proxy, staging.network) && !(await networkNamed(staging.network)))
    lines.push(
      `Staging's network is gone, and production's proxy names it: it cannot be started again like this. task teardown-staging`,
    )
  if (staging.joined && (!proxy || !isJoined(proxy, staging.network)))
    lines.push(`Production's proxy is not connected to ${staging.network}: task deploy-staging`)
  return lines
}
