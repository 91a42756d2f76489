import assert from 'node:assert/strict'
import { test } from 'node:test'
import { removals } from '../check.ts'

test('what removes volumes is found, as a line and as words', () => {
  for (const text of [
    'docker compose down -v',
    'docker compose -p x down --remove-orphans --volumes',
    'docker rm -fv gateway',
    "compose(stack, 'rm', '-f', '-v', name)",
    "docker('down', '-v')",
    'docker compose up -d -V',
    'docker compose up --renew-anon-volumes',
    'docker compose up -d -y',
    'docker volume prune',
    "['system', 'prune', '-f']",
  ]) {
    assert.equal(removals(text).length, 1, text)
  }
})

test('what keeps volumes passes', () => {
  for (const text of [
    'docker compose down',
    'docker compose rm -f gateway',
    'docker run --rm -v data:/data image',
    'docker volume rm rehearsal-x_data',
    'docker compose up -d --no-build gateway',
    'apt-get install -y redis',
  ]) {
    assert.deepEqual(removals(text), [], text)
  }
})
