#!/usr/bin/env bash
# layers.sh [15|16|18] [arguments of pg_test/bench/layers.py]: what a query costs in each layer, in processor time and, with --callgrind N
# (which needs valgrind), in instructions. docs/performance.md says how to read it.
. "$(dirname "$0")/lib.sh"
case ${1:-} in
  15 | 16 | 18) version=$1; shift ;;
  *) version=15 ;;
esac
[ -n "${ELACSYM_NO_SETUP:-}" ] || "$REPO/scripts/setup.sh" test
ELACSYM_PG_CONFIG=$("$REPO/scripts/private_pg.sh" "$version")
export ELACSYM_PG_CONFIG PYTHONDONTWRITEBYTECODE=1
cd "$REPO/pg_test"
exec "$VENV/bin/python" -m bench.layers "$@"
