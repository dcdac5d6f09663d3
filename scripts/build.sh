#!/usr/bin/env bash
# build.sh [library|engine]…: builds the library for the PostgreSQL of PG_CONFIG and the engine into target/dist/<profile>/.
# Does nothing when they are newer than every source file, so that `sudo make install` after `make build` runs no cargo as root.
. "$(dirname "$0")/lib.sh"
need_state
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
[ $# -gt 0 ] || set -- library engine
find_pg_config
cd "$REPO"

stale() { [ ! -e "$1" ] || [ -n "$(find Cargo.toml Cargo.lock src $(ls -d .cargo build.rs 2>/dev/null) -newer "$1" -print -quit)" ]; }
# A rename, so that a running server keeps the file it has mapped.
publish() { mkdir -p "$(dirname "$2")" && cp "$1" "$2.new.$$" && mv -f "$2.new.$$" "$2"; }

for what in "$@"; do
  started=$(mktemp)
  case $what in
    library)
      major=$(pg_major "$PG_CONFIG")
      out=$DIST/pg$major/elacsym.so
      if stale "$out"; then
        # Every feature set writes the same libelacsym.so, and cargo would call an overwritten one fresh.
        [ -n "${ELACSYM_PG_TARGET:-}" ] || rm -rf "$PG_TARGET/$PROFILE_DIR/.fingerprint/elacsym-"*
        step "building the library for PostgreSQL $major ($PROFILE)" env PGRX_PG_CONFIG_PATH="$PG_CONFIG" CARGO_TARGET_DIR="$PG_TARGET" \
          cargo build --profile "$PROFILE" --lib --no-default-features --features "pg$major" --locked
        publish "$PG_TARGET/$PROFILE_DIR/libelacsym.so" "$out"
        touch -r "$started" "$out"
      fi
      ;;
    engine)
      out=$DIST/elacsym-engine
      if stale "$out"; then
        step "building the engine ($PROFILE)" env CARGO_TARGET_DIR="$ENGINE_TARGET" cargo build --profile "$PROFILE" --bin elacsym-engine --locked
        publish "$ENGINE_TARGET/$PROFILE_DIR/elacsym-engine" "$out"
        touch -r "$started" "$out"
      fi
      ;;
    *) die "build.sh: what is \"$what\"?" ;;
  esac
  rm -f "$started"
done
