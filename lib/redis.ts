// Redis, asked through the redis-cli in its own container: nothing needs to be published.
import { minimalEnvironment } from './docker.ts'
import { refusal } from './errors.ts'
import { CommandFailed, exec, type Command } from './shell.ts'
import { service, type Stack } from './stack.ts'

/** The id of the container that Redis runs in. @throws refusal when it does not run. */
export function redisContainer(stack: Stack): string {
  const { name, container } = service(stack, stack.about.redis.service)
  if (container?.State.Running) return container.Id
  throw refusal(`The service '${name}' is not running (${container?.State.Status ?? 'it has no container'}).`)
}

/**
 * Runs one Redis command and returns the reply as redis-cli prints it to a pipe, without the last newline.
 * @throws refusal when the container does not run; otherwise a sentence with what Redis answered.
 */
export async function redisCli(stack: Stack, ...words: readonly string[]): Promise<string> {
  const { REDIS_PASSWORD: password } = stack.config
  const { service: name, port } = stack.about.redis
  // The name of the variable alone stands in the command: the value goes by the environment.
  const auth = password === '' ? [] : ['-e', 'REDISCLI_AUTH']
  const command: Command = {
    words: [
      'docker',
      'exec',
      ...auth,
      redisContainer(stack),
      'redis-cli',
      '-e',
      '-p',
      String(port),
      ...words,
    ],
    env: { ...minimalEnvironment(), ...(password !== '' && { REDISCLI_AUTH: password }) },
  }
  const { stdout, stderr, exitCode } = await exec(command, { anyCode: true }).catch((error: unknown) => {
    if (!(error instanceof CommandFailed)) throw error
    throw new Error(`Redis (service '${name}') could not be asked: docker exec was ended.`) // it shows the environment
  })
  if (exitCode === 0) return stdout.replace(/\r?\n$/, '')
  throw new Error(
    `Redis (service '${name}') answers to ${words[0]}: ${(stderr.trim() || stdout.trim()).split('\n').at(-1)}`,
  )
}

/** A section of INFO as keys and values. @throws as redisCli does. */
export async function redisInfo(stack: Stack, section: string): Promise<Readonly<Record<string, string>>> {
  const lines = (await redisCli(stack, 'INFO', section)).split(/\r?\n/)
  return Object.fromEntries(
    lines.flatMap((l) => {
      const colon = l.indexOf(':')
      return l.startsWith('#') || colon < 0 ? [] : [[l.slice(0, colon), l.slice(colon + 1)]]
    }),
  )
}
