// SIGKILL after every journalled step of a deploy of staging: the next one goes on, its failure goes back to before the
// first, and a teardown takes all of it away. All lines with npm run test:faults -- kill-staging.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { lives, useStack } from '../stack/fixture.ts'
import { imageRef } from '../stack/machine/images.ts'
import { stagingFor, type Staging } from '../stack/staging.ts'
import { toolFor, type Ended } from '../stack/tool.ts'
import { chosen, killing, stampOf } from './killing.ts'

let staging: Staging
let production: Record<string, string>

const fixture = useStack({ id: 'killstag', scale: 0.005 }, async (made) => {
  const { stack, machine } = made
  staging = stagingFor(stack, machine)
  toolFor(stack, { STAGING_DIR: staging.dir, STAGING_ENV_FILE: staging.envFile, SCHEMA: staging.schema })
  production = lives(await made.look())
})
const { killAfter, again } = killing(fixture)

const DEPLOY_LINES = 59 // more than there are: what is never killed is tested, too
const BROKEN = (): Record<string, string> => ({
  GATEWAY_IMAGE: imageRef(fixture.machine, 'gateway', '2.0-never-healthy'),
})

const said = ({ stdout, stderr }: Ended): string => stdout + stderr

async function list(...what: string[]): Promise<string[]> {
  const label = `label=com.docker.compose.project=${staging.name}`
  return (await fixture.stack.docker(...what, '--filter', label)).split('\n').filter(Boolean).toSorted()
}

async function nothingOfStaging(): Promise<void> {
  assert.deepEqual(await list('ps', '-a', '--format', '{{.Names}}'), [])
  assert.deepEqual(await list('volume', 'ls', '--format', '{{.Name}}'), [])
  assert.deepEqual(await list('network', 'ls', '--format', '{{.Name}}'), [])
  assert.ok(!existsSync(staging.dir), 'its folder is not there')
  assert.ok(!existsSync(join(fixture.tool.stateDir, 'staging.json')))
  const { stack } = fixture
  const format = '{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}'
  const networks = (await stack.docker('inspect', '--format', format, stack.container('traefik'))).trim()
  assert.equal(networks, stack.network, 'the proxy is on its own network alone')
  assert.deepEqual(lives(await fixture.look()), production, 'production is as it was')
}

async function takenAway(n: number): Promise<void> {
  const ended = await again('teardown-staging', stampOf(n), {
    words: ['--all-volumes', '--confirm', staging.name],
  })
  // Killed before anything was made: there is nothing to take down.
  assert.ok(
    ended.code === 0 || (ended.code === 3 && said(ended).includes('No staging stands here')),
    said(ended),
  )
  await nothingOfStaging()
}

for (const lines of chosen(DEPLOY_LINES)) {
  test(`a deploy killed after line ${lines} of its journal, then another one, then a teardown`, async () => {
    staging.write()
    await killAfter(lines, 'deploy-staging', stampOf(lines))
    const ended = await again('deploy-staging', stampOf(10_000 + lines))
    assert.equal(ended.code, 0, said(ended))
    await takenAway(20_000 + lines)
  })

  test(`a deploy killed after line ${lines}, then one that fails: nothing is left`, async () => {
    staging.write(BROKEN())
    await killAfter(lines, 'deploy-staging', stampOf(30_000 + lines))
    const ended = await again('deploy-staging', stampOf(40_000 + lines))
    assert.equal(ended.code, 1, said(ended))
    await nothingOfStaging()
  })

  test(`a deploy killed after line ${lines}, then a teardown`, async () => {
    staging.write()
    await killAfter(lines, 'deploy-staging', stampOf(50_000 + lines))
    await takenAway(60_000 + lines)
  })

  test(`a second deploy killed after line ${lines}, then one that fails: the first stands again`, async () => {
    staging.write()
    const first = await again('deploy-staging', stampOf(70_000 + lines), { words: ['--models', 'none'] })
    assert.equal(first.code, 0, said(first))
    const env = readFileSync(join(staging.dir, '.env'), 'utf8')
    staging.write({ ...BROKEN(), JWT_EXPIRES_IN: '9d' })
    await killAfter(lines, 'deploy-staging', stampOf(80_000 + lines))
    const ended = await again('deploy-staging', stampOf(90_000 + lines))
    assert.equal(ended.code, 1, said(ended))
    assert.equal(readFileSync(join(staging.dir, '.env'), 'utf8'), env, 'its settings are those of the first')
    const images = await list('ps', '--format', '{{.Image}}')
    assert.equal(images.length, 8)
    assert.ok(!images.some((image) => image.includes('never-healthy')))
    await takenAway(100_000 + lines)
  })
}
