// The stack's description for tests: what env/stack.ts says, with the waits of a stack whose boots are 20 times faster.
import stack from '../../env/stack.ts'
import type { StackDescription } from '../../lib/description.ts'

const FASTER = 20
const LEAST = 10_000 // ms: a busy machine may be slow for a while without anything being wrong

const services = Object.fromEntries(
  Object.entries(stack.services).map(([name, about]) => [
    name,
    { ...about, deadline: Math.max(about.deadline / FASTER, LEAST) },
  ]),
)

const fast: StackDescription = { ...stack, services, stability: stack.stability / FASTER, stopTimeout: LEAST }

export default fast
