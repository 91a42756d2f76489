// Stand-in for Traefik: routes by the labels of containers, as its documentation says, and no further than the stack
// needs. It takes Traefik's own flags: --providers.docker.network, --providers.docker.constraints,
// --providers.providersThrottleDuration.
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { containers, events } from './docker.ts'
import { listen } from './forward.ts'
import { routesOf, type Routes } from './routes.ts'

const { values: flags } = parseArgs({
  options: {
    'providers.docker.network': { type: 'string', default: '' },
    'providers.docker.constraints': { type: 'string', default: '' },
    'providers.providersThrottleDuration': { type: 'string', default: '2s' },
  },
})

const labels = labelsOf(flags['providers.docker.constraints'])
const throttle = milliseconds(flags['providers.providersThrottleDuration'])

let routes: Routes = { routers: [], problems: [] }

listen(80, () => routes)
// The first change is taken over at once; what follows within the throttle, together at its end.
for await (const _ of events(labels)) {
  await replaceRoutes()
  await delay(throttle)
}
throw new Error('Docker has stopped telling of events')

/** ``Label(`a`, `b`) || …`` as `a=b`, …: a container with any of them is routed to. */
function labelsOf(constraints: string): string[] {
  return constraints.split('||').map((part) => {
    const [, key, value] = /^\s*Label\(`([^`]+)`, *`([^`]+)`\)\s*$/.exec(part) ?? []
    if (!key) throw new Error('--providers.docker.constraints=Label(`key`,`value`) || … is missing')
    return `${key}=${value}`
  })
}

async function replaceRoutes(): Promise<void> {
  routes = routesOf(await containers(labels), flags['providers.docker.network'])
  const hosts = routes.routers.map(({ hosts, servers }) => `${hosts.join(' ')} -> ${servers.join(' ')}`)
  console.log([...hosts, ...routes.problems.map((problem) => `problem: ${problem}`)].join('\n'))
}

function milliseconds(duration: string): number {
  const match = /^([\d.]+)(ms|s)$/.exec(duration)
  if (!match) throw new Error(`'${duration}' is not a duration like 2s or 100ms`)
  return Number(match[1]) * (match[2] === 's' ? 1000 : 1)
}
