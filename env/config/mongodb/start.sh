#!/bin/sh
# Starts MongoDB through its image's own entrypoint: with a user and a key file when MONGODB_PASSWORD stands in the
# stack's .env, without authentication (on the stack's private network) when it is empty. The server's own words come
# as arguments, the password only as a file.
set -eu

given=/run/secrets/mongodb-password
private=/run/mongodb # in memory

if [ -s "$given" ]; then
  # A replica set with authentication wants a key by which its members know each other. One member alone needs no
  # lasting one: it is made anew at each start. A second member would need one that both are given.
  (
    umask 077
    cat "$given" >"$private/password"
    head -c 96 /dev/urandom | base64 | tr -d '\n' >"$private/key"
  )
  chown 999:999 "$private/password" "$private/key" # the server's user
  # The official image makes this user while its data folder is still empty.
  export MONGO_INITDB_ROOT_USERNAME="$MONGODB_USER" MONGO_INITDB_ROOT_PASSWORD_FILE="$private/password"
  set -- "$@" --keyFile "$private/key"
else
  set -- "$@" --noauth
fi

exec docker-entrypoint.sh "$@"
