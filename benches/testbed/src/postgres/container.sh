# Runs inside a container. Arguments: postgresql.conf, pg_hba.conf, the host to follow (empty for a primary).
set -e
export PGDATA=/tmp/postgres
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -n "$3" ]; then
    until pg_basebackup --no-sync -h "$3" -U postgres -D "$PGDATA" -X stream -c fast; do
      rm -rf "$PGDATA"
      sleep 0.2
    done
    touch "$PGDATA/standby.signal"
  else
    initdb -U postgres -A trust -E UTF8 --no-locale --no-sync --no-instructions >/dev/null
    echo 'create role needs_password nologin;' | postgres --single -F postgres >/dev/null
  fi
  printf '%s\n' "$1" >>"$PGDATA/postgresql.conf"
  printf '%s\n' "$2" >"$PGDATA/pg_hba.conf"
fi
exec postgres
