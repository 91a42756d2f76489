import type { Db } from 'mongodb'
import { connect } from 'node:net'
import type { Reply } from '../lib/http.ts'

const ZMQ = 5555
const PATIENCE = 1000 // ms

/**
 * Counts the users: 503 when that fails. The translator being away is told in the body and changes nothing about the
 * status: so does the real one.
 */
export async function health(db: Db, env: NodeJS.ProcessEnv, behaviour: string): Promise<Reply> {
  const [database, translation] = await Promise.all([
    db
      .collection('User')
      .countDocuments({}, { maxTimeMS: 2 * PATIENCE })
      .then(
        (userCount) => ({ status: 'up', userCount }),
        (error: unknown) => ({ status: 'down', error: String(error) }),
      ),
    answers(env.ZMQ_TRANSLATOR_HOST ?? 'translator', ZMQ),
  ])
  const healthy = database.status === 'up' && behaviour !== 'never-healthy'
  return {
    status: healthy ? 200 : 503,
    json: {
      status: healthy ? 'healthy' : 'unhealthy',
      services: { database, translation: { status: translation ? 'up' : 'down' } },
    },
  }
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: PATIENCE })
    const end = (answered: boolean) => () => {
      socket.destroy()
      resolve(answered)
    }
    socket.on('connect', end(true)).on('timeout', end(false)).on('error', end(false))
  })
}
