#!/bin/sh -e
# Like the official image: the server runs as uid 999 and owns its files, any other command runs as it was called. A
# user that is asked for is made while the data folder is still empty, and never later.
if [ "$1" = mongod ] && [ "$(id -u)" = 0 ]; then
  find /data/db /data/configdb ! -user 999 -exec chown 999:999 {} +
  exec setpriv --reuid=999 --regid=999 --clear-groups "$0" "$@"
fi
if [ "$1" = mongod ] && [ -n "$MONGO_INITDB_ROOT_USERNAME" ] && [ ! -e /data/db/WiredTiger ]; then
  # On localhost alone, without authentication and without a replica set.
  mongod --dbpath /data/db --bind_ip 127.0.0.1 &
  node /usr/local/lib/first-user.mjs
  kill -TERM $!
  wait $!
fi
exec "$@"
