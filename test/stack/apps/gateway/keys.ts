type Env = NodeJS.ProcessEnv

/**
 * The master keys that the new code wants: 32 bytes in base64 each. Without one for messages it takes a random one for
 * its lifetime, outside of production.
 * @throws Error naming the variable that is missing or not a key
 */
export function checkMasterKeys(env: Env): void {
  for (const name of ['ATTACHMENT_MASTER_KEY', 'ENCRYPTION_MASTER_KEY']) {
    const value = env[name]
    if (!value && name === 'ENCRYPTION_MASTER_KEY' && env.NODE_ENV !== 'production') {
      console.error(`${name} is missing: what is encrypted now cannot be read after a restart`)
      continue
    }
    if (!value) throw new Error(`${name} is missing`)
    const bytes = Buffer.from(value, 'base64')
    if (bytes.length !== 32 || bytes.toString('base64') !== value)
      throw new Error(`${name} must be 32 bytes in base64`)
  }
}
