#!/bin/sh -e
# Like the official image: the server runs as uid 999, gid 1000 and owns its files.
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . ! -user 999 -exec chown 999:1000 {} +
  exec setpriv --reuid=999 --regid=1000 --clear-groups "$@"
fi
exec "$@"
