// Images that an update has tried and found broken: not tried again until somebody names them.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../env.ts'
import { writeWhole } from '../files.ts'

/** One image of one service, and why it was taken back. */
export interface FailedImage {
  readonly service: string
  readonly ref: string
  readonly id: string
  readonly digests: readonly string[]
  readonly run: string
  /** ISO 8601 */
  readonly at: string
  readonly why: string
}

const fileOf = ({ STATE_DIR }: Pick<Config, 'STATE_DIR'>): string => join(STATE_DIR, 'failed-images.json')

/** Every image that has failed here, newest last. @throws when the note cannot be read */
export function failedImages(config: Pick<Config, 'STATE_DIR'>): FailedImage[] {
  const file = fileOf(config)
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as FailedImage[]) : []
}

/** Notes images that have failed; of one that is noted already the newer note stands. */
export function noteFailed(config: Pick<Config, 'STATE_DIR'>, failed: readonly FailedImage[]): void {
  if (failed.length === 0) return
  const kept = failedImages(config).filter((f) => !failed.some((g) => same(f, g)))
  writeWhole(fileOf(config), `${JSON.stringify([...kept, ...failed], null, 2)}\n`)
}

/** Strikes out images that run well now. */
export function clearFailed(config: Pick<Config, 'STATE_DIR'>, ids: readonly string[]): void {
  const all = failedImages(config)
  const kept = all.filter((f) => !ids.includes(f.id))
  if (kept.length < all.length) writeWhole(fileOf(config), `${JSON.stringify(kept, null, 2)}\n`)
}

const same = (a: FailedImage, b: FailedImage): boolean => a.service === b.service && a.id === b.id

/** Whether that is the failed image, by any of its names. */
export const isFailed = (
  { id, digests }: FailedImage,
  it: { readonly ids: readonly string[]; readonly digests: readonly string[] },
): boolean => it.ids.includes(id) || it.digests.some((d) => digests.includes(d))

/** What a person reads who would get it again. */
export function refusedText(f: FailedImage): string {
  const name = f.digests[0] ?? f.id
  return (
    `${f.service}: ${f.ref} is still the image that failed on ${f.at.slice(0, 16).replace('T', ' ')} (${f.run}): ${f.why.split('\n')[0]}\n` +
    `  Release another one; leave it out by naming the services to update; or try it again: task update -- --images ${f.service}@${name}`
  )
}
