// What a run changes on the stack for a while and owes back: services that it stopped, a setting of an engine. Each is
// noted in STATE_DIR/owed/ before it is done and struck out when it was put back; what a killed run still owes, the
// next one puts back first.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { compose } from './docker.ts'
import type { Config } from './env.ts'
import { sentence } from './errors.ts'
import { privateFolder, syncFolder, writeWhole } from './files.ts'
import { connectMongo } from './mongo.ts'
import { exec, line } from './shell.ts'
import type { Stack } from './stack.ts'
import type { Doing, Step } from './steps.ts'
import { waitHealthy } from './wait.ts'

export type Owed =
  | { readonly what: 'start'; readonly services: readonly string[] }
  | { readonly what: 'parameter'; readonly name: string; readonly value: number }

const folder = ({ STATE_DIR }: Pick<Config, 'STATE_DIR'>): string => join(STATE_DIR, 'owed')
const fileOf = (config: Pick<Config, 'STATE_DIR'>, { what }: Owed): string =>
  join(folder(config), `${what}.json`)

/**
 * Notes durably what will have to be put back. To be called before it is changed; under the stack's lock. What is owed
 * already stands: the older value is the right one.
 */
export function owe(config: Config, owed: Owed): void {
  if (existsSync(fileOf(config, owed))) return
  privateFolder(folder(config), 'STATE_DIR')
  writeWhole(fileOf(config, owed), `${JSON.stringify(owed)}\n`)
}

/** Strikes it out: it was put back. */
export function paid(config: Config, owed: Owed): void {
  rmSync(fileOf(config, owed), { force: true })
  if (existsSync(folder(config))) syncFolder(folder(config))
}

/** What is owed now, by a run that is at work or by one that was killed. @throws when a note cannot be read */
export function owedNow(config: Pick<Config, 'STATE_DIR'>): Owed[] {
  if (!existsSync(folder(config))) return []
  const notes = readdirSync(folder(config)).filter((n) => n.endsWith('.json'))
  return notes.map((n) => JSON.parse(readFileSync(join(folder(config), n), 'utf8')) as Owed)
}

/** In words, for a person. */
export const owedText = (owed: Owed): string =>
  owed.what === 'start'
    ? `start ${owed.services.join(', ')} again`
    : `set MongoDB's ${owed.name} back to ${owed.value}`

/** Puts one thing back and strikes it out. @throws as Docker or the engine does */
export async function putBack(stack: Stack, owed: Owed, doing: Pick<Doing, 'say'>): Promise<void> {
  if (owed.what === 'start') {
    // A service whose container somebody has removed meanwhile is no longer this tool's to start.
    const there = owed.services.filter((s) => stack.services.some((t) => t.name === s && t.container))
    if (there.length > 0) {
      const command = compose(stack, 'start', ...there)
      doing.say(`$ ${line(command)}`)
      await exec(command)
    }
  } else {
    const client = await connectMongo(stack)
    try {
      await client.db('admin').command({ setParameter: 1, [owed.name]: owed.value })
    } finally {
      await client.close()
    }
  }
  paid(stack.config, owed)
}

/**
 * The step that puts back what a killed run still owes; undefined when nothing is. Services that were started are
 * waited for without judging them: that is for the checks of whoever goes on.
 */
export function settleStep(stack: Stack): Step | undefined {
  const all = owedNow(stack.config)
  if (all.length === 0) return undefined
  return {
    title: 'Put back what is owed',
    limit: 60 * 60_000,
    run: async (doing) => {
      for (const owed of all) {
        doing.say(`A run that was killed did not ${owedText(owed)}. Doing it now.`)
        await doing.effect('Put back', owed, () => putBack(stack, owed, doing))
        if (owed.what !== 'start') continue
        await waitHealthy(stack, owed.services).catch((error: unknown) => doing.say(sentence(error)))
      }
    },
  }
}
