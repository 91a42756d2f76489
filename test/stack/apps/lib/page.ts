// Stand-in for an administrator's tool: one page, to be seen behind the proxy's basic authentication.
import { serve } from './http.ts'

const { TITLE = 'page', PORT = '3000' } = process.env
const page = `<!doctype html><title>${TITLE}</title>`
serve(Number(PORT), [['GET', /^\/$/, () => ({ text: page, type: 'text/html' })]])
