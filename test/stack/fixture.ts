// A rehearsal stack for the tests of one file: made before the first, removed after the last.
import assert from 'node:assert/strict'
import { after, before } from 'node:test'
import { MongoClient } from 'mongodb'
import { loadConfig } from '../../lib/env.ts'
import { countDocuments, losses, type Counts } from '../../lib/sentinel.ts'
import { readStack, type Stack as Seen } from '../../lib/stack.ts'
import { changedVolumes, mountedVolumes, type MountedVolume } from '../../lib/volumes.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'
import { createStack, destroyStack, type Stack, type StackOptions } from './stack.ts'
import { toolFor, type Tool } from './tool.ts'

export interface Fixture {
  readonly machine: Machine
  readonly stack: Stack
  readonly tool: Tool
  /** The stack as the runbook's own eyes see it now. */
  look(): Promise<Seen>
  /** Works with a client of the stack's database, and closes it. */
  withMongo<T>(work: (client: MongoClient) => Promise<T>): Promise<T>
}

/** Registers the making and the removal of a stack; its values can be used in `ready` and inside tests only. */
export function useStack(options: StackOptions, ready?: (fixture: Fixture) => Promise<void>): Fixture {
  const made: Partial<Record<'machine' | 'stack' | 'tool', unknown>> = {}
  before(
    async () => {
      const machine = await ensureMachine()
      made.machine = machine
      Object.assign(process.env, machine.env)
      await destroyStack(machine, options.id, options.root) // what a killed run has left
      const stack = await createStack(machine, options)
      made.stack = stack
      made.tool = toolFor(stack)
      await ready?.(fixture) // in the same hook: Node 20 starts a second one beside the first
    },
    { timeout: 300_000 },
  )
  after(async () => {
    await (made.stack as Stack | undefined)?.destroy()
    await (made.machine as Machine | undefined)?.stop()
  })
  const fixture: Fixture = {
    get machine() {
      return made.machine as Machine
    },
    get stack() {
      return made.stack as Stack
    },
    get tool() {
      return made.tool as Tool
    },
    look: () => readStack(loadConfig((made.tool as Tool).envFile)),
    async withMongo(work) {
      const client = await new MongoClient(await (made.stack as Stack).mongoUrl()).connect()
      try {
        return await work(client)
      } finally {
        await client.close()
      }
    },
  }
  return fixture
}

/** What a container is: another one, or the same one restarted, differs. */
export function lives(seen: Seen): Record<string, string> {
  return Object.fromEntries(
    seen.services.map(({ name, container }) => [name, `${container?.Id} ${container?.State.StartedAt}`]),
  )
}

/** The image that each container runs. */
export function ranOn(seen: Seen): Record<string, string | undefined> {
  return Object.fromEntries(seen.services.map(({ name, container }) => [name, container?.Image]))
}

/** How a stack is, to be compared with how it is later. */
export interface Picture {
  readonly images: Readonly<Record<string, string | undefined>>
  readonly lives: Readonly<Record<string, string>>
  readonly volumes: readonly MountedVolume[]
  readonly documents: Counts
}

export async function picture(fixture: Fixture): Promise<Picture> {
  const seen = await fixture.look()
  return {
    images: ranOn(seen),
    lives: lives(seen),
    volumes: await mountedVolumes(seen),
    documents: await countDocuments(seen),
  }
}

/** Everything is as it was: images, volumes, documents; and a plain `up -d` has nothing to do. */
export async function sameAs(fixture: Fixture, before: Picture): Promise<void> {
  const now = await picture(fixture)
  assert.deepEqual(now.images, before.images, 'the previous images run again')
  assert.deepEqual(changedVolumes(before.volumes, now.volumes), [])
  assert.deepEqual(losses(before.documents, now.documents), [])
  await fixture.stack.compose('up', '-d')
  assert.deepEqual(lives(await fixture.look()), now.lives, 'a plain `docker compose up -d` recreates nothing')
}
