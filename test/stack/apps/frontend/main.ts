// Stand-in for the frontend: a page that names its version, and users' avatars.
import { randomBytes } from 'node:crypto'
import { serve } from '../lib/http.ts'
import { existing, monthFolder, store } from '../lib/uploads.ts'
import { builtAs, entrypointDelay } from '../lib/version.ts'

const AVATARS = '/app/public/u'
const { version } = builtAs()

await entrypointDelay(2000)

const page = `<!doctype html>
<title>Meeshy</title>
<meta name="version" content="${version}">
<p>Meeshy ${version}</p>
`

serve(3100, [
  ['GET', /^\/$/, () => ({ text: page, type: 'text/html; charset=utf-8' })],
  [
    'POST',
    /^\/api\/avatar$/,
    async ({ body }) => {
      const path = `i/${monthFolder()}/avatar_${Date.now()}_${randomBytes(4).toString('hex')}.jpg`
      await store(AVATARS, path, await body())
      return { status: 201, json: { url: `/u/${path}` } }
    },
  ],
  [
    'GET',
    /^\/u\/(.+)$/,
    async ({ params }) => ({ file: await existing(AVATARS, params[0] ?? ''), type: 'image/jpeg' }),
  ],
])
