import { build } from 'esbuild'

// CommonJS packages inside an ES module still call require for Node's own modules.
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"

/**
 * A program with all that it imports as one ES module, for the Node of the base image. The same sources give the same
 * text wherever they lie.
 * @throws Error naming what esbuild does not accept.
 */
export async function bundle(program: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [program],
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    banner: { js: REQUIRE },
    logLevel: 'silent', // what is wrong is in the error
    absWorkingDir: import.meta.dirname,
  })
  return outputFiles[0]?.text ?? ''
}
