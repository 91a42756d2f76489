#!/bin/sh -e
# Like the official image: the server runs as uid 999 and owns its files, any other command runs as it was called.
if [ "$1" = mongod ] && [ "$(id -u)" = 0 ]; then
  find /data/db /data/configdb ! -user 999 -exec chown 999:999 {} +
  exec setpriv --reuid=999 --regid=999 --clear-groups "$@"
fi
exec "$@"
