// Publishing a version: a mutable tag of the registry moves, nothing on the server does. So it is with real releases,
// and so an update has something to pull.
import type { Host } from '../machine/images.ts'
import type { Versioned } from './images.ts'

const MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
const PATIENCE = 10_000 // ms

/** The mutable tag that the stack `id` runs: `dev` for the frontend, `latest` for the others, one for each stack. */
export function mutableTag(service: Versioned, id: string): string {
  return `${service === 'frontend' ? 'dev' : 'latest'}-${id}`
}

/**
 * Lets the stack's mutable tag name that version, in the registry only.
 * @returns the digest that a pull will now get.
 * @throws Error when the registry does not have the version or does not answer.
 */
export async function release(
  { registry }: Pick<Host, 'registry'>,
  id: string,
  service: Versioned,
  version: string,
): Promise<string> {
  const manifests = `http://${registry}/v2/rehearsal/${service}/manifests`
  const signal = AbortSignal.timeout(PATIENCE)
  const found = await fetch(`${manifests}/${version}`, { headers: { accept: MANIFEST }, signal })
  if (!found.ok) throw new Error(`The registry answers ${found.status} for ${service}:${version}.`)
  const put = await fetch(`${manifests}/${mutableTag(service, id)}`, {
    method: 'PUT',
    headers: { 'content-type': MANIFEST },
    body: Buffer.from(await found.arrayBuffer()),
    signal,
  })
  if (put.status !== 201) throw new Error(`The registry answers ${put.status} to a release of ${service}.`)
  return put.headers.get('docker-content-digest') ?? ''
}
