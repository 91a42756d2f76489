// The last words of a deploy.
import type { Outcome } from '../execute.ts'
import { quote } from '../shell.ts'
import { readContainers } from '../stack.ts'
import { projectOf, type Course } from './course.ts'
import { proxyOf } from './join.ts'
import { stagingHere } from './record.ts'

/** What stands now, and what comes next. */
export function deployed(it: Course): string {
  const { project, dir } = projectOf(it)
  return [
    `Staging stands: project ${project}, in ${dir}. Its addresses are above; production's data is not in it yet.`,
    `  cd ${quote(dir)} && docker compose ps`,
    '  task teardown-staging     takes it down again; its volumes stay',
    '',
  ].join('\n')
}

/** Production is what counts: whether it is as it was, and what is left of staging. */
export async function afterFailure(
  it: Course | undefined,
  { undone, notUndone }: Outcome,
): Promise<{ up: boolean; text: string }> {
  if (!it) return { up: true, text: 'Nothing of production was touched.' }
  const { production, context } = it
  const now = await readContainers(production)
  const down = now.services.filter(
    ({ container }, i) => production.services[i]?.container?.State.Running && !container?.State.Running,
  )
  const here = stagingHere(context.config)
  const left =
    notUndone.length > 0
      ? 'What could not be undone is listed above: task deploy-staging goes on, task teardown-staging removes it.'
      : undone.length === 0
        ? 'Staging is as this run left it: task deploy-staging goes on, task teardown-staging removes it.'
        : here
          ? 'Staging is as it was before.'
          : 'Nothing of staging is left.'
  const proxy = proxyOf(now)?.State.Running
  if (down.length > 0 || proxy === false)
    return {
      up: false,
      text: `Production: ${down.map((s) => s.name).join(', ')} not running: task health\n${left}`,
    }
  return { up: true, text: `Production was not touched, and runs. ${left}` }
}
