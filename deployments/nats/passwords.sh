#!/bin/sh
# Prints a password for each user of accounts.conf, for deployments/.env, which Docker Compose reads by itself:
#
#   (umask 077; sh deployments/nats/passwords.sh > deployments/.env)
set -eu
cd "$(dirname "$0")"
for name in $(sed -n 's/^[^#]*password: \$\([A-Z_]*\).*/\1/p' accounts.conf cluster.conf); do
  printf '%s=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
done
