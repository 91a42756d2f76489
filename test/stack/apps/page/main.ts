// Stand-in for an administrator's tool: one page behind the proxy's basic authentication.
import { serve } from '../lib/http.ts'

const { TITLE = 'page', PORT = '3000' } = process.env
serve(Number(PORT), [['GET', /^\/$/, () => ({ text: `<!doctype html><title>${TITLE}</title>`, type: 'text/html' })]])
