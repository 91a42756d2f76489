import { connect } from 'node:net'

const OP_MSG = 2013
// {ping: 1, $db: "admin"} as BSON, written out: a driver would take ten times as long to load as this takes to run.
const PING = Buffer.from(
  '1e000000' + '1070696e6700' + '01000000' + '0224646200' + '06000000' + '61646d696e00' + '00',
  'hex',
)

/** Resolves when a mongod answers `ping` with ok: 1 within `timeout` ms; rejects otherwise. */
export function ping(host: string, port = 27017, timeout = 2000): Promise<void> {
  const header = Buffer.alloc(21) // message header, flag bits, and the kind of the one section (0: a document)
  header.writeInt32LE(header.length + PING.length, 0)
  header.writeInt32LE(1, 4)
  header.writeInt32LE(OP_MSG, 12)
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout }, () => socket.write(Buffer.concat([header, PING])))
    let reply: Buffer = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      reply = Buffer.concat([reply, chunk])
      if (reply.length < 4 || reply.length < reply.readInt32LE(0)) return
      socket.destroy()
      const ok = reply.indexOf('\x01ok\0', 0, 'latin1') // a double named ok
      if (ok !== -1 && reply.readDoubleLE(ok + 4) === 1) resolve()
      else reject(new Error(`${host} refused the ping`))
    })
    socket.on('timeout', () => socket.destroy(new Error(`${host} does not answer`)))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`${host} closed the connection`)))
  })
}
