#!/usr/bin/env bash
# scale_out.sh [arguments of pg_test/bench/scale_out.py]: partitions, a standby and shards behind postgres_fdw (of Debian's PostgreSQL 15) against
# one table: what each way of spreading costs a query. docs/scaling.md has the figures.
. "$(dirname "$0")/lib.sh"
version=15
[ -n "${ELACSYM_NO_SETUP:-}" ] || "$REPO/scripts/setup.sh" test
ELACSYM_PG_CONFIG=$("$REPO/scripts/private_pg.sh" "$version")
export ELACSYM_PG_CONFIG PYTHONDONTWRITEBYTECODE=1
cd "$REPO/pg_test"
exec "$VENV/bin/python" -m bench.scale_out "$@"
