// What the official image does before nginx starts: fills in each template with variables, of those that the filter
// lets through, and leaves nginx's own `$names` alone.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'

const [FROM, TO, SUFFIX] = ['/etc/nginx/templates', '/etc/nginx/conf.d', '.template']

const filter = new RegExp(process.env.NGINX_ENVSUBST_FILTER ?? '')
const known = new Map(Object.entries(process.env).filter(([name]) => filter.test(name)))

for (const file of readdirSync(FROM).filter((name) => name.endsWith(SUFFIX))) {
  const text = readFileSync(join(FROM, file), 'utf8')
  const filled = text.replaceAll(
    /\$\{(\w+)\}|\$(\w+)/g,
    (asIs, braced?: string, bare?: string) => known.get(braced ?? bare ?? '') ?? asIs,
  )
  writeFileSync(join(TO, basename(file, SUFFIX)), filled)
}
