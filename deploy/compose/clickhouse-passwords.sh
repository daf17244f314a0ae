#!/bin/bash
# Runs once, when the server's data directory is made: gives the users of deploy/clickhouse-users.sql the passwords of the secret files.
set -euo pipefail
for user in writer migrator reader; do
  hash=$(tr -d '\r\n' <"/run/secrets/tally_${user}_password" | sha256sum | cut -d ' ' -f 1)
  clickhouse-client --host 127.0.0.1 --user "$CLICKHOUSE_USER" --password "$CLICKHOUSE_PASSWORD" \
    --query "ALTER USER tally_${user} IDENTIFIED WITH sha256_hash BY '${hash}'"
done
