#!/usr/bin/env bash
# rustfmt, and clippy with and without PostgreSQL; every warning is an error.
. "$(dirname "$0")/lib.sh"
need_state
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
find_pg_config
cd "$REPO"
rc=0
step "rustfmt" cargo fmt --check || rc=1
step "clippy: core and engine" env CARGO_TARGET_DIR="$ENGINE_TARGET" \
  cargo clippy --profile "$PROFILE" --locked --all-targets -- -D warnings || rc=1
step "clippy: PostgreSQL glue" env CARGO_TARGET_DIR="$PG_TARGET" PGRX_PG_CONFIG_PATH="$PG_CONFIG" \
  cargo clippy --profile "$PROFILE" --locked --lib --no-default-features --features "pg$(pg_major "$PG_CONFIG")" -- -D warnings || rc=1
exit $rc
