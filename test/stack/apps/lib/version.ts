import { readFileSync } from 'node:fs'

/** What the image was built as, read from the file that the build put beside the program: no variable can change it. */
export interface Version {
  readonly version: string
  /** `good`, or how this build misbehaves. */
  readonly behaviour: string
}

export function builtAs(): Version {
  return JSON.parse(readFileSync('/app/version.json', 'utf8')) as Version
}
