// Redis, asked through the redis-cli in its own container: nothing needs to be published.
import { refusal } from './errors.ts'
import { exec } from './shell.ts'
import { service, type Stack } from './stack.ts'

/** The id of the container that Redis runs in. @throws refusal when it does not run. */
export function redisContainer(stack: Stack): string {
  const { name, container } = service(stack, stack.about.redis.service)
  if (container?.State.Running) return container.Id
  throw refusal(`The service '${name}' is not running (${container?.State.Status ?? 'it has no container'}).`)
}

/**
 * Runs one Redis command and returns the reply as redis-cli prints it to a pipe, without the last newline.
 * @throws refusal when the container does not run; CommandFailed when the reply is an error.
 */
export async function redisCli(stack: Stack, ...words: readonly string[]): Promise<string> {
  const { REDIS_PASSWORD: password } = stack.config
  const { stdout } = await exec({
    words: [
      'docker',
      'exec',
      ...(password === '' ? [] : ['-e', 'REDISCLI_AUTH']), // the name alone: the value is in our environment
      redisContainer(stack),
      'redis-cli',
      '-e', // an error reply is an exit code
      '-p',
      String(stack.about.redis.port),
      ...words,
    ],
    ...(password === ''
      ? {}
      : { env: { ...(process.env as Record<string, string>), REDISCLI_AUTH: password } }),
  })
  return stdout.replace(/\r?\n$/, '')
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
