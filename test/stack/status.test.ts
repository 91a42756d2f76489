// What status tells while things are broken, and of what is left over: it must not send anybody the wrong way.
import assert from 'node:assert/strict'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Status } from '../../lib/status/facts.ts'
import { useStack } from './fixture.ts'
import { runScript } from './tool.ts'

const fixture = useStack({ id: 'status' })

async function status(): Promise<Status> {
  const { code, stdout, stderr } = await runScript(fixture.stack, 'status', ['--json'])
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout) as Status
}

test('a volume that only a container of no service mounts is no orphan', async (t) => {
  const { stack, machine } = fixture
  const name = `${stack.project}-user`
  const volume = `${stack.project}_translator_models`
  const before = await status()
  assert.deepEqual(before.volumes.find((v) => v.volume === volume)?.mountedBy, [])
  t.after(() => stack.docker('rm', '-f', name))
  const image = `${machine.registry}/rehearsal/redis:8-alpine`
  const options = ['--name', name, '--label', `rehearsal=${stack.id}`, '--tmpfs=/data']
  await stack.docker('create', ...options, `--mount=type=volume,src=${volume},dst=/m`, image)
  const seen = await status()
  assert.deepEqual(seen.volumes.find((v) => v.volume === volume)?.mountedBy, [`container ${name}`])
  assert.ok(seen.volumes.every((v) => v.bytes !== undefined))
})

test('older images: of this stack, used by nobody, not the way back; failed ones only when they are its own', async (t) => {
  const { stack, machine } = fixture
  const repository = `${machine.registry}/rehearsal/gateway`
  const commit = async (text: string, ref: string): Promise<string> => {
    const from = stack.container('redis')
    return (await stack.docker('commit', '--pause=false', `--message=${text}`, from, ref)).trim()
  }
  const made: string[] = []
  t.after(() => stack.docker('image', 'rm', '-f', ...made))
  const older = await commit('older', `${repository}:older-status`)
  made.push(older)
  const kept = await commit('kept', `${repository}:kept-status`)
  made.push(kept)
  await stack.docker('tag', kept, `runbook/previous-${stack.project}:gateway`)
  const foreign = await commit('foreign', 'runbook/failed-20270401_000000:gateway')
  made.push(foreign)
  const told = (await status()).olderImages
  const found = told.find((i) => i.id === older)
  assert.deepEqual(found?.names, [`${repository}:older-status`])
  assert.ok(found.bytes > 0)
  for (const id of [kept, foreign]) assert.ok(!told.some((i) => i.id === id))
  const seen = await fixture.look()
  for (const { name, container } of seen.services)
    assert.ok(!told.some((i) => i.id === container?.Image), `${name} uses it`)
})

test('damaged notes hide nothing else', async (t) => {
  const { tool } = fixture
  const runs = join(tool.stateDir, 'runs')
  const damaged = join(runs, '20270401_000000-update')
  const odd = join(runs, '20270402_000000-auto-backup')
  const owed = join(tool.stateDir, 'owed')
  t.after(async () => {
    for (const dir of [damaged, odd, owed]) await rm(dir, { recursive: true })
    await rm(join(tool.stateDir, 'failed-images.json'))
  })
  for (const dir of [damaged, odd, owed]) await mkdir(dir, { recursive: true, mode: 0o700 })
  await writeFile(join(damaged, 'journal.jsonl'), '\0\0\0')
  await writeFile(join(damaged, 'baseline.json'), '{"torn')
  await writeFile(join(odd, 'journal.jsonl'), '{}\n')
  await writeFile(join(odd, 'report.json'), '{}')
  await writeFile(join(owed, 'start.json'), '')
  await writeFile(join(tool.stateDir, 'failed-images.json'), '[')
  const seen = await status()
  assert.equal(seen.services.length, 9)
  assert.deepEqual(
    seen.runs.map(({ run, next }) => [run, next]),
    [['20270401_000000-update', ['task update']]],
  )
  const what = [
    'Images that failed',
    'What a run owes',
    'Which update is unfinished',
    `Run 20270402_000000-auto`,
  ]
  for (const text of what)
    assert.ok(
      seen.skipped.some((s) => s.startsWith(text)),
      `${text}: ${seen.skipped.join()}`,
    )
})

test('without STATE_DIR there are no runs, and nothing is made', async (t) => {
  const { tool } = fixture
  const away = `${tool.stateDir}-away`
  await mkdir(tool.stateDir, { recursive: true, mode: 0o700 })
  await rename(tool.stateDir, away)
  t.after(() => rename(away, tool.stateDir))
  const seen = await status()
  assert.deepEqual([seen.runs, seen.owed, seen.skipped], [[], [], []])
  const { code, stdout } = await runScript(fixture.stack, 'status')
  assert.equal(code, 0)
  assert.match(stdout, /Runs, newest first\n {2}none/)
  await assert.rejects(rename(tool.stateDir, tool.stateDir), /ENOENT/)
})

test('a service without a container is told as one', async () => {
  const { stack } = fixture
  await stack.compose('rm', '-f', '-s', 'nosqlclient')
  const of = (await status()).services.find((s) => s.service === 'nosqlclient')
  assert.deepEqual([of?.state, of?.imageId, of?.newer], ['no container', undefined, false])
  await stack.compose('up', '-d', 'nosqlclient')
})
