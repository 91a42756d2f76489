// Why a copy failed, for a tired person: what to type comes before the program's own words.
import { basename, dirname } from 'node:path'
import { clipped } from '../http.ts'
import { line, quote, type CommandFailed } from '../shell.ts'
import type { CopyTarget } from './copy.ts'

/** That the place holds something else under that name. */
export const different = (set: string, { text }: CopyTarget): Error =>
  new Error(
    `${text} holds another ${basename(set)}, or a damaged copy of it. Nothing there was replaced. Look at both: ` +
      'the one there goes by hand, then the copy can be made again.',
  )

/** What rsync says of a folder that is not there. */
export const MISSING = /change_dir#\d.*No such file or directory/

/** What a person reads instead of the program's words, which follow it. */
function cause({ message, stderr, command }: CommandFailed, { host, folder, by }: CopyTarget): string {
  const said = (pattern: RegExp): boolean => pattern.test(stderr)
  const name = quote(host ?? '')
  const there = host ?? (by === 'rclone' ? folder : 'this machine')
  const place = by === 'rclone' ? folder : `${folder} on ${there}`
  if (message.startsWith('there is no program'))
    return `${command.words[0]} is not installed here. Type: apt-get install ${by}`
  if (said(/Failed to exec ssh/)) return 'ssh is not installed here. Type: apt-get install openssh-client'
  if (said(/HOST IDENTIFICATION HAS CHANGED/))
    return `${there} shows another host key than the one that is known here. Find out why before anything else.`
  if (said(/host key is known for|Host key verification failed/))
    return `the host key of ${there} is not known here. Compare its fingerprint once by hand, as the same user: ssh ${name}`
  if (said(/Permission denied \([a-z,-]+\)|Too many authentication failures/))
    return (
      `${there} does not let this user in by its ssh key. Type: ssh-copy-id ${name}\n` +
      `(The key must need no passphrase. To see what it says: ssh -o BatchMode=yes ${name} true)`
    )
  if (said(/rsync: (?:command )?not found|rsync: No such file|remote command not found/))
    return `there is no rsync on ${there}. Install the package rsync there.`
  if (said(UNREACHABLE))
    return `${there} does not answer. Try: ${by === 'rclone' ? `rclone lsf ${quote(folder)}` : `ssh ${name}`}`
  if (said(/No space left on device|Disk quota exceeded/i))
    return `${place} is full. What is there of the copy stays; it is gone on with when there is room.`
  if (said(MISSING))
    return `the folder ${place} is not there any more, though sets were copied to it. Is its disk mounted?`
  if (said(/mkdir .*No such file or directory/)) {
    const make = host === undefined ? quote(folder) : quote(quote(folder)) // a shell over there reads it again
    return (
      `there is no folder ${dirname(folder)} on ${there}. Make it by hand: ` +
      `${host === undefined ? '' : `ssh ${name} `}mkdir -p -m 700 ${make}`
    )
  }
  if (said(/Permission denied \(13\)|Read-only file system|Operation not permitted|Not a directory/i))
    return `${place} cannot be written. It must be a folder of the user that writes there.`
  if (said(/didn't find section in config file/))
    return 'rclone knows no such remote. As the same user: rclone listremotes, or rclone config to make it.'
  return `${by} failed: ${message.split('\n')[0]}.`
}

const UNREACHABLE =
  /Could not resolve|no such host|Connection (?:refused|timed out|closed by|reset)|No route to host|unreachable|Timeout, server|banner exchange|timeout in data send\/receive|i\/o timeout|timeout awaiting/i

const SAID = 6 // lines of the program's own words

/** What failed, why, what is true now and what to type, and then the program's own last words. */
export function explained(error: CommandFailed, set: string, target: CopyTarget): Error {
  const words = error.stderr.trim().split('\n').slice(-SAID).map(clipped)
  const lines = [
    `${basename(set)} was not copied to ${target.text}: ${cause(error, target)}`,
    'The set itself is whole here.',
    `$ ${line(error.command)}`,
    ...words.filter(Boolean),
  ]
  return new Error(lines.join('\n'), { cause: error })
}
