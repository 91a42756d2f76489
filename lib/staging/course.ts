// What the steps of one deploy, or one teardown, hand on.
import { join } from 'node:path'
import { placeOf, volumePlace, type Place } from '../place.ts'
import type { Project } from '../docker.ts'
import type { Config } from '../env.ts'
import { usage } from '../errors.ts'
import type { Context } from '../script.ts'
import { readStack, type ComposeConfig, type Stack } from '../stack.ts'
import { valueOf } from '../stack-rules.ts'
import { stagingHere, type Before } from './record.ts'
import { COMPOSE_FILE, modelsValues, settingsOf, withValues, type Models, type Settings } from './source.ts'

export interface Course {
  readonly context: Context
  readonly production: Stack
  readonly settings: Settings
  readonly models: Models
  /** What the flags change of the settings. */
  readonly changes: Readonly<Record<string, string>>
  /** The settings with what the flags say of the models, and, once they are known, each image by its digest. */
  env: { text: string; values: Readonly<Record<string, string>> }
  /** Compose's own answer to these settings, once it was asked. */
  resolved: ComposeConfig | undefined
  before: Before | undefined
}

/** @throws usage (exit 2) when there are no settings, or --models is no mode */
export function begin(context: Context): Course {
  const settings = settingsOf(context.config)
  const models = modelsOf(context, settings)
  const external = valueOf(settings.values, 'MODELS_EXTERNAL') === 'true'
  const named = valueOf(settings.values, 'MODELS_VOLUME')
  const own = external ? `${valueOf(settings.values, 'STACK_NAME')}-models-data` : named
  const asked = context.flags.models !== undefined
  const shared = models === 'share' ? sharedModels(context.stack) : undefined
  const changes = asked ? modelsValues(models, own, shared) : {}
  return {
    context,
    production: context.stack,
    settings,
    models,
    changes,
    env: { text: withValues(settings.text, changes), values: { ...settings.values, ...changes } },
    resolved: undefined,
    before: stagingHere(context.config)?.before,
  }
}

const MODES: readonly string[] = ['copy', 'share', 'none'] satisfies Models[]

function modelsOf({ flags, stack }: Context, { values }: Settings): Models {
  if (typeof flags.models === 'string' && MODES.includes(flags.models)) return flags.models as Models
  if (flags.models !== undefined) throw usage(`--models is one of ${MODES.join(', ')}. Nothing was changed.`)
  if (valueOf(values, 'MODELS_EXTERNAL') === 'true') return 'share'
  return stack.about.models ? 'copy' : 'none'
}

/** Where production has its models: the folder that its container really mounts. @throws as placeOf does */
export function modelsPlace(production: Stack): Place {
  const { models } = production.about
  if (!models) throw usage(`${production.config.STACK_FILE} names no models.`)
  return placeOf(production, models.service, models.path)
}

/** The name of production's volume of models, where they are all of a volume. */
function sharedModels(production: Stack): string | undefined {
  if (!production.about.models || production.services.length === 0) return undefined
  const place = modelsPlace(production)
  return place.type === 'volume' && place.folder === '.' ? place.source : undefined
}

/** Where staging has its own. */
export const ownModels = ({ env }: Course): Place => volumePlace(valueOf(env.values, 'MODELS_VOLUME'))

/** Staging's project. */
export const projectOf = ({ env, context }: Pick<Course, 'env' | 'context'>): Project => {
  const dir = context.config.STAGING_DIR
  return { project: valueOf(env.values, 'STACK_NAME'), dir, files: [join(dir, COMPOSE_FILE)] }
}

/** The tool's settings for the stack that staging is. */
export const configOf = (config: Config, values: Readonly<Record<string, string>>): Config => ({
  ...config,
  name: 'staging',
  STACK_ID: `${config.STACK_ID}-staging`,
  STACK_DIR: config.STAGING_DIR,
  STATE_DIR: join(config.STATE_DIR, 'staging'),
  MONGODB_USER: valueOf(values, 'MONGODB_PASSWORD') === '' ? '' : valueOf(values, 'MONGODB_USER'),
  MONGODB_PASSWORD: valueOf(values, 'MONGODB_PASSWORD'),
  REDIS_PASSWORD: '',
})

/** Staging as a stack, as it is now. */
export const readStaging = ({ context, env }: Course): Promise<Stack> =>
  readStack(configOf(context.config, env.values))

/** The real name of staging's network. */
export const networkOf = ({ env }: Pick<Course, 'env'>): string => valueOf(env.values, 'NETWORK_NAME')
