// What this tool has put up as staging on this server, in STATE_DIR/staging.json: written before the first change, gone
// with the teardown. Whatever is killed, the next command knows from it what was there before.
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../env.ts'
import { refusal, sentence } from '../errors.ts'
import { privateFolder, syncFolder, writeWhole } from '../files.ts'
import { quote } from '../shell.ts'

/** A file of staging's folder as it was before a deploy. */
export interface FileBefore {
  /** In the folder. */
  readonly path: string
  readonly mode: number
  readonly base64: string
}

/** How staging was before a deploy began: what its failure brings back. */
export interface Before {
  /** The folder existed. */
  readonly folder: boolean
  readonly files: readonly FileBefore[]
  /** Names of staging's volumes that existed. */
  readonly volumes: readonly string[]
  readonly network: boolean
  /** Whether the proxy was connected to its network. */
  readonly joined: boolean
  /** There were containers; of these services they ran. */
  readonly containers: boolean
  readonly ran: readonly string[]
}

export interface Staging {
  readonly dir: string
  /** The Compose project. */
  readonly project: string
  /** Real name of its network. */
  readonly network: string
  /** Paths in the folder that were written, each with the SHA-256 of what was written there. */
  readonly files: Readonly<Record<string, string>>
  /** The proxy is to be connected to the network: the one thing of production that is changed. */
  readonly joined: boolean
  /** A deploy that has not come to its end, or did not come back from its failure. */
  readonly before?: Before
}

const fileOf = ({ STATE_DIR }: Pick<Config, 'STATE_DIR'>): string => join(STATE_DIR, 'staging.json')

/** What stands here as staging; undefined when nothing was deployed. @throws refusal when its note is damaged */
export function stagingHere(config: Pick<Config, 'STATE_DIR'>): Staging | undefined {
  const file = fileOf(config)
  if (!existsSync(file)) return undefined
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Staging
  } catch (error) {
    throw refusal(
      `The note of staging, ${file}, cannot be read: ${sentence(error)}. Nothing was changed.\n` +
        `Without it the settings say what staging is:\n  mv ${quote(file)} ${quote(`${file}.broken`)} && task teardown-staging`,
    )
  }
}

/** Notes it durably, in the place of what was noted before. */
export function noteStaging(config: Pick<Config, 'STATE_DIR'>, staging: Staging): void {
  privateFolder(config.STATE_DIR, 'STATE_DIR')
  writeWhole(fileOf(config), `${JSON.stringify(staging)}\n`)
}

/** Nothing of it is left. */
export function forgetStaging(config: Pick<Config, 'STATE_DIR'>): void {
  rmSync(fileOf(config), { force: true })
  syncFolder(config.STATE_DIR)
}
