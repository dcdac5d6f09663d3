#!/usr/bin/env bash
# bench.sh [15|16|18] [arguments of pg_test/bench]: elacsym and its peers side by side on that PostgreSQL (default 18, which comes with the
# real pgvector); writes the generated part of docs/performance.md and its pictures. `bench.sh --help` lists the options, which can also be
# given as BENCH_ROWS and so on. ELACSYM_NO_SETUP=1 skips the set-up once it is done; BENCH_PG_CONFIG measures the PostgreSQL of that
# pg_config instead, as it is, with whatever extensions it has.
. "$(dirname "$0")/lib.sh"
case ${1:-} in
  15 | 16 | 18) version=$1; shift ;;
  *) version=18 ;;
esac
[ -n "${ELACSYM_NO_SETUP:-}" ] || "$REPO/scripts/setup.sh" bench
if [ -n "${BENCH_PG_CONFIG:-}" ]; then
  ELACSYM_PG_CONFIG=$BENCH_PG_CONFIG
else
  ELACSYM_PG_CONFIG=$("$REPO/scripts/private_pg.sh" "$version")
fi
export ELACSYM_PG_CONFIG PYTHONDONTWRITEBYTECODE=1
# Paths among the options are those of whoever calls.
export BENCH_FROM=$PWD
cd "$REPO/pg_test"
exec "$STATE/venv-bench/bin/python" -m bench "$@"
