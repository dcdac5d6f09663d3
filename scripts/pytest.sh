#!/usr/bin/env bash
# pytest.sh [15|16|18] [pytest arguments]: builds, installs into the private copy of that PostgreSQL, runs the tests of pg_test/.
. "$(dirname "$0")/lib.sh"
case ${1:-} in
  15 | 16 | 18) version=$1; shift ;;
  *) version=15 ;;
esac
[ -n "${ELACSYM_NO_SETUP:-}" ] || "$REPO/scripts/setup.sh" test
ELACSYM_PG_CONFIG=$("$REPO/scripts/private_pg.sh" "$version")
export ELACSYM_PG_CONFIG PYTHONDONTWRITEBYTECODE=1
cd "$REPO/pg_test"
exec "$VENV/bin/python" -m pytest "$@"
