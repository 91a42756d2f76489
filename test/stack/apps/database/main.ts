import { ping } from '../lib/ping.ts'

await ping('127.0.0.1')
