#!/usr/bin/env bash
# typecheck.sh MAJOR…: type-checks the library for majors whose headers are not here. pgrx ships its bindings for documentation
# builds; a copy of pgrx-pg-sys with that switch turned makes rustc use them. Proves types only: nothing is linked.
. "$(dirname "$0")/lib.sh"
need_state
command -v cargo >/dev/null || export PATH="$HOME/.cargo/bin:$PATH"
cd "$REPO"
cargo fetch --locked --quiet
version=$(sed -n '/^name = "pgrx-pg-sys"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
source=$(echo "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/pgrx-pg-sys-"$version")
[ -d "$source" ] || die "the source of pgrx-pg-sys $version is not where cargo keeps sources ($source)"

copy=$STATE/typecheck/pgrx-pg-sys-$version
if [ ! -d "$copy" ]; then
  mkdir -p "$STATE/typecheck"
  rm -rf "$copy.new"
  cp -r "$source" "$copy.new"
  sed -i 's/not(docsrs)/not(all())/; s/, docsrs))/, all()))/' "$copy.new/src/include.rs"
  mv "$copy.new" "$copy"
fi
# The patch would change Cargo.lock, so cargo works in a directory that has everything but that as links.
work=$STATE/typecheck/work
rm -rf "$work"
mkdir -p "$work"
for entry in "$REPO"/*; do
  case ${entry##*/} in target | Cargo.lock) ;; *) ln -s "$entry" "$work/" ;; esac
done
cp "$REPO/Cargo.lock" "$work/"
cd "$work"
for major in "$@"; do
  echo "== PostgreSQL $major"
  DOCS_RS=1 CARGO_TARGET_DIR="$PG_TARGET" cargo check --profile "$PROFILE" --lib --no-default-features --features "pg$major" \
    --config "patch.crates-io.pgrx-pg-sys.path=\"$copy\""
done
