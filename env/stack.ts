// What Docker cannot know about the stack. The only file to edit for another stack.
import type { StackDescription } from '../lib/description.ts'

const stack: StackDescription = {
  database: { service: 'database', port: 27017, name: 'meeshy' },
  redis: { service: 'redis', port: 6379 },
  proxy: { service: 'traefik' },

  // In a health check `json` names values by their path in the body; every one must be as said.
  services: {
    traefik: { deadline: 60_000 },
    database: { deadline: 120_000, state: ['/data/db', '/data/configdb'] },
    redis: { deadline: 60_000, state: ['/data'] },
    nosqlclient: { optional: true, deadline: 120_000 },
    'p3x-redis-ui': { optional: true, deadline: 120_000 },
    translator: {
      writer: true,
      deadline: 300_000,
      health: { port: 8000, path: '/health', json: { status: ['healthy', 'ok'] } },
      state: ['/workspace/models'],
    },
    gateway: {
      writer: true,
      deadline: 180_000,
      health: {
        port: 3000,
        path: '/health',
        json: { 'services.database.status': ['up'], 'services.translation.status': ['up'] },
        steady: ['services.database.userCount'],
      },
      state: ['/app/uploads'],
    },
    'static-files': { deadline: 60_000, health: { port: 80, path: '/health' } },
    frontend: {
      writer: true,
      deadline: 120_000,
      health: { port: 3100, path: '/' },
      state: ['/app/public/u'],
    },
  },

  // `{DOMAIN}` is that key of the stack's own .env.
  public: [
    {
      service: 'gateway',
      url: 'https://gate.{DOMAIN}/health',
      json: { 'services.database.status': ['up'], 'services.translation.status': ['up'] },
    },
    { service: 'translator', url: 'https://ml.{DOMAIN}/health', json: { status: ['healthy', 'ok'] } },
    { service: 'static-files', url: 'https://static.{DOMAIN}/health' },
    { service: 'frontend', url: 'https://{DOMAIN}/' },
    { service: 'frontend', url: 'https://www.{DOMAIN}/', role: 'production' },
  ],

  // What staging may copy, or share for reading: `deploy-staging --models`.
  models: { service: 'translator', path: '/workspace/models' },

  // The services that read and write documents through Prisma. Their images must be built with one and the same schema:
  // the one that the data is migrated to. An image says which by a label, the SHA-256 of the file, or has the file.
  schema: {
    services: ['gateway', 'translator'],
    label: 'prisma.schema.sha256',
    file: '/app/schema.prisma',
  },

  // Volumes that a backup may leave out, each with its reason. (The database's and Redis's own volumes are covered
  // by their logical parts.)
  leaveOut: {},

  // Beside the Compose files, .env and whatever is bind-mounted: paths in the stack's folder that a backup takes.
  config: ['secrets', 'docker', 'config', 'i'],

  // How long every service must stay healthy, without a restart, before an update counts as done.
  stability: 30_000,
  // How long a stopped container may take to finish before Docker kills it.
  stopTimeout: 60_000,
}

export default stack
