// RESTORE.md in every set: how to bring the stack back by hand, with docker and tar alone on the day when nothing
// else is at hand. Every command is complete: real names, nothing to fill in.
import { dirname } from 'node:path'
import { quote } from '../shell.ts'
import type { Stack } from '../stack.ts'
import { rootOf } from './archive.ts'
import { EXTRACT } from './helper.ts'
import type { Manifest, VolumeRecord } from './manifest.ts'

/** The guide for one set, in Markdown. Names stay data: quoted for the shell wherever they stand in a command. */
export function restoreGuide(m: Omit<Manifest, 'parts'>, stack: Stack): string {
  const { database, redis } = stack.about
  const compose = `docker compose --project-directory ${quote(stack.dir)} -p ${quote(m.project)}`
  const files = stack.files.map((f) => ` -f ${quote(f)}`).join('')
  const up = (service: string): string => `${compose}${files} up -d --wait ${quote(service)}`
  const image = quote(m.services[database.service]?.imageId ?? '')
  const extract = EXTRACT.map((word) => (word.includes('*') ? `"${word}"` : word)).join(' ') // within sh -c '…'
  const tar = (v: VolumeRecord): string =>
    `docker run --rm --network none --user 0:0 --entrypoint sh -v ${quote(v.name)}:/v -v "$PWD/volumes":/from:ro ${image} ` +
    `-c 'gzip -t "/from/$0.tar.gz" && cd /v && find . -mindepth 1 -maxdepth 1 ! -name ".runbook-*" -exec rm -rf {} + && tar ${extract} --gzip -f "/from/$0.tar.gz"' ${quote(v.key)}`
  const fileVolumes = m.volumes.filter((v) => v.part !== undefined && !v.coveredBy)
  const redisVolume = m.volumes.find((v) => v.coveredBy === 'redis' && v.part !== undefined)
  const dump = `database/mongodb_${m.stamp}`
  const names = m.mongodb.databases.map((d) => d.name)
  return `# Restore by hand

Backup of ${m.stackId}, ${m.stamp} UTC. Needed: docker, tar, and mongorestore (in the official mongo image).
Whatever is restored replaces what is there now. Nothing here can be undone: first save what is there.

## 1. Open the set, and know that it is whole

    sha256sum -c ${rootOf(m.stamp)}.tar.gz.sha256
    (umask 077; tar xzf ${rootOf(m.stamp)}.tar.gz)
    cd ${rootOf(m.stamp)}

## 2. Configuration and images

Files under config/ belong into ${stack.dir}, those under config/_outside to the absolute path that follows. Compare
before you copy: diff -r config ${quote(stack.dir)}. The images that ran:

${Object.entries(m.services)
  .map(
    ([name, s]) =>
      `    # ${JSON.stringify(name)}: ${s.digests.length > 0 ? `docker pull ${quote(s.digests[0] as string)}` : `image id ${s.imageId}`}`,
  )
  .join('\n')}

## 3. Stop everything

    ${compose}${files} stop -t 120

## 4. Files

Each line empties one volume and fills it again.

${fileVolumes.map((v) => `    ${tar(v)}`).join('\n')}

## 5. Redis
${redisVolume ? redisSteps(m, redisVolume, tar(redisVolume), image) : '\nRedis has no volume: its snapshot is redis/.\n'}
## 6. MongoDB ${m.mongodb.version}

Start it alone, copy the dump into it, and load it. --drop replaces the collections of the dump; a collection or a
database that is not in it stays, so look for those afterwards. The dump holds: ${names.map((n) => JSON.stringify(n)).join(', ')}.

    ${up(database.service)}
    id=$(${compose}${files} ps -q ${quote(database.service)})
    docker cp ${dump} "$id":/tmp/restore
    docker exec "$id" mongorestore --drop --bypassDocumentValidation /tmp/restore
    docker exec "$id" rm -r /tmp/restore

On an empty volume a replica set must be initiated first: docker exec "$id" mongosh --eval 'rs.initiate()'.
Without mongorestore in the image, run it from any container on the same network that has it.

## 7. Start everything

    ${up(redis.service)}
    ${compose}${files} up -d
    ${compose}${files} ps
${layerSteps(m, `${compose}${files}`)}
Then compare with backup-metadata.txt: documents per collection, keys, files.
`
}

/** Files of containers' own layers: into the containers that run now. */
function layerSteps({ layers = [] }: Omit<Manifest, 'parts'>, compose: string): string {
  if (layers.length === 0) return ''
  const lines = layers.map(
    ({ service, path, part }) =>
      `    gunzip -c ${quote(part)} | docker cp - "$(${compose} ps -q ${quote(service)} | head -n 1)":${quote(dirname(path))}`,
  )
  return `
## 8. Files that lay in containers' own layers

They belong on a volume. Into the containers as they run now:

${lines.join('\n')}
`
}

function redisSteps(m: Omit<Manifest, 'parts'>, volume: VolumeRecord, tar: string, image: string): string {
  if (!m.redis.appendOnly) return `\n    ${tar}\n`
  return `
This Redis starts from its append-only file and ignores the snapshot: the second line makes the snapshot the base of
a new one.

    ${tar}
    docker run --rm --network none --user 0:0 --entrypoint sh -v ${quote(volume.name)}:/v ${image} -c 'cd /v && mkdir -p appendonlydir && cp -p "$0" appendonlydir/appendonly.aof.1.base.rdb && echo "file appendonly.aof.1.base.rdb seq 1 type b" > appendonlydir/appendonly.aof.manifest && chown -R --reference="$0" appendonlydir' ${quote(m.redis.file)}
`
}
