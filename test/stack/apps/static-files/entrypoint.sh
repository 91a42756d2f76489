#!/bin/sh -e
# Like the official image: templates that are mounted become configuration; then the server, or any other command.
if [ "$1" = nginx ] && [ -d /etc/nginx/templates ]; then
  node /usr/local/lib/templates.mjs
fi
exec "$@"
