// Which parts of a set are to be restored: what --parts says.
import { usage } from '../errors.ts'

export interface Parts {
  readonly mongodb: boolean
  readonly redis: boolean
  /** Keys or names of volumes; `all` of them. */
  readonly volumes: 'all' | readonly string[]
  readonly config: boolean
  readonly images: boolean
}

const ALL_DATA: Parts = { mongodb: true, redis: true, volumes: 'all', config: false, images: false }
const KNOWN = 'mongodb, redis, volumes, volume:NAME, config, images, data (all but the last two of these)'

/** What --parts says; without it all data. @throws usage (exit 2) naming what is not known */
export function partsOf(text: string | undefined): Parts {
  if (text === undefined) return ALL_DATA
  const words = text.split(',').map((w) => w.trim())
  const volumes = words.flatMap((w) => (w.startsWith('volume:') ? [w.slice('volume:'.length)] : []))
  const wrong = words.find(
    (w) => !/^(mongodb|redis|volumes|config|images|data)$/.test(w) && !/^volume:./s.test(w),
  )
  if (wrong !== undefined)
    throw usage(`--parts ${text}: there is no part '${wrong}'. Parts: ${KNOWN}. Nothing was changed.`)
  const has = (word: string): boolean => words.includes(word)
  return {
    mongodb: has('mongodb') || has('data'),
    redis: has('redis') || has('data'),
    volumes: has('volumes') || has('data') ? 'all' : volumes,
    config: has('config'),
    images: has('images'),
  }
}

/** Whether a volume of a set, by its key or its name there, is one of the parts. */
export const hasVolume = ({ volumes }: Parts, { key, name }: { key: string; name: string }): boolean =>
  volumes === 'all' || volumes.includes(key) || volumes.includes(name)

/** For people. */
export function partsText({ mongodb, redis, volumes, config, images }: Parts): string {
  const named = volumes === 'all' ? ['every volume'] : volumes.map((v) => `volume ${v}`)
  return [
    ...(mongodb ? ['MongoDB'] : []),
    ...(redis ? ['Redis'] : []),
    ...named,
    ...(config ? ['configuration'] : []),
    ...(images ? ['images'] : []),
  ].join(', ')
}
