// A rehearsal stack for the tests of one file: made before the first, removed after the last.
import { after, before } from 'node:test'
import { loadConfig } from '../../lib/env.ts'
import { readStack, type Stack as Seen } from '../../lib/stack.ts'
import { ensureMachine, type Machine } from './machine/machine.ts'
import { createStack, destroyStack, type Stack, type StackOptions } from './stack.ts'
import { toolFor, type Tool } from './tool.ts'

export interface Fixture {
  readonly machine: Machine
  readonly stack: Stack
  readonly tool: Tool
  /** The stack as the runbook's own eyes see it now. */
  look(): Promise<Seen>
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
