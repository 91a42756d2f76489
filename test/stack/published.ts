// Images for tests that no build makes: an image of the rehearsal with other variables, published under a name of the
// stack's own. Nothing local moves but the registry's tag.
import type { Stack } from './stack.ts'

/**
 * Publishes `from` as `ref`, with variables added to its environment, as an engine's next version is told by its
 * image. @returns its digest
 */
export async function publish(
  { docker }: Stack,
  from: string,
  ref: string,
  { variables = {}, command }: { variables?: Readonly<Record<string, string>>; command?: string } = {},
): Promise<string> {
  const had = (await docker('image', 'ls', '--quiet', '--no-trunc', ref)).trim()
  const id = (await docker('create', '--pull=never', '--label=rehearsal=1', from)).trim()
  const changes = [
    ...Object.entries(variables).map(([key, value]) => `ENV ${key}=${value}`),
    ...(command === undefined ? [] : [`ENTRYPOINT ${command}`]),
  ]
  try {
    await docker('commit', ...changes.flatMap((c) => ['--change', c]), id, ref)
  } finally {
    await removeWithVolumes(docker, id)
  }
  const pushed = await docker('push', ref)
  await docker('image', 'rm', ref)
  if (had !== '') await docker('tag', had, ref)
  const digest = /digest: (sha256:[0-9a-f]{64})/.exec(pushed)?.[1]
  if (digest === undefined) throw new Error(`docker push ${ref} told no digest: ${pushed}`)
  return digest
}

/** A container that was never started, and the volumes that its image made for it, each by its name. */
async function removeWithVolumes(docker: Stack['docker'], id: string): Promise<void> {
  const format = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'
  const volumes = (await docker('inspect', '--format', format, id)).trim().split(' ').filter(Boolean)
  await docker('rm', '--force', id)
  if (volumes.length > 0) await docker('volume', 'rm', ...volumes)
}
