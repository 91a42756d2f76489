// What the legacy production keeps in Redis.
import { createHash } from 'node:crypto'
import { COUNTS } from './counts.ts'
import { idOf } from './ids.ts'
import { legacyWorld, type Scope } from './legacy.ts'
import { mix } from './random.ts'
import { sentence } from './words.ts'
import { ASIDE, participantOf, wordsOf } from './world.ts'

const WEEK = 7 * 86_400 // s
const LARGE = 64 * 1024 // characters
const CACHED = 2000 // translations at scale 1
const SESSIONS = 300 // at scale 1

/** Keys that are hard on whoever quotes or prints them. */
const HARD_KEYS = ['a key', 'two\nlines', '$(id)', '-dash', `"it's"`, 'clé', '{tag}:*?[x]', '']

/**
 * The commands that fill an empty Redis, one argument list each: strings, among them sessions that expire within a
 * week, hashes, lists, sets and sorted sets.
 */
export function* redisCommands({ scale = 1, seed = 1 }: Scope = {}): Generator<string[]> {
  const world = legacyWorld(seed, scale)
  const user = (place: number): string => idOf('User', place, world.size.User).toHexString()
  const users = Array.from({ length: world.size.User - ASIDE.User }, (_, n) => ASIDE.User + n)

  for (let n = 0; n < Math.max(20, CACHED * scale); n++) {
    const message = ASIDE.Message + (n % (world.size.Message - ASIDE.Message))
    const { language, sentence: number } = wordsOf(world, message)
    const key = createHash('md5').update(`${seed} ${n}`).digest('hex')
    const value = { translatedText: sentence(language === 'en' ? 'fr' : 'en', number), model: 'basic' }
    yield ['SET', `translation:${key}`, JSON.stringify(value)]
  }
  for (let n = 0; n < Math.max(10, SESSIONS * scale); n++) {
    const owner = users[mix(seed, n, 7) % users.length] as number
    const session = JSON.stringify({ userId: user(owner), device: 'web' })
    const seconds = WEEK - (mix(seed, n, 8) % 86_400)
    yield [
      'SET',
      `session:${createHash('md5').update(`session ${seed} ${n}`).digest('hex')}`,
      session,
      'EX',
      String(seconds),
    ]
  }
  for (const place of users) {
    yield [
      'HSET',
      `presence:${user(place)}`,
      'status',
      place % 3 ? 'offline' : 'online',
      'socket',
      `s${mix(seed, place, 9)}`,
    ]
    yield ['ZADD', 'leaderboard:messages', String(mix(seed, place, 10) % 500), user(place)]
    if (place % 3 === 0) yield ['SADD', 'online', user(place)]
  }
  for (let message = ASIDE.Message; message < ASIDE.Message + 30; message++) {
    const id = idOf('Message', message, world.size.Message).toHexString()
    yield [
      'RPUSH',
      'queue:translation',
      JSON.stringify({ messageId: id, from: user(participantOf(world, message)) }),
    ]
  }
  for (const key of HARD_KEYS) yield ['SET', key, `value of ${JSON.stringify(key)}`]
  yield ['SET', 'empty', '']
  yield ['SET', 'large', sentence('fr', 1).repeat(LARGE).slice(0, LARGE)]
  yield ['SET', 'statistics:users', String(COUNTS.User)]
}
