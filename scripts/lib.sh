# Shared by every script here (sourced, not run): where things live, progress lines, the unprivileged user.
# shellcheck shell=bash
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export ELACSYM_T0=${ELACSYM_T0:-$(date +%s)}

die() { printf 'error: %s\n' "$*" >&2; exit 1; }
elapsed() { local s=$(($(date +%s) - ELACSYM_T0)); printf '%02d:%02d' $((s / 60)) $((s % 60)); }
say() { printf '[%s] %s\n' "$(elapsed)" "$*"; }

# The state directory holds everything that is not source and not a build product: private copies of PostgreSQL,
# throw-away clusters, the Python environment, logs. Not inside the clone, because PostgreSQL runs as an
# unprivileged user that may not be able to reach a clone below /root.
state_dir_name() { printf '/var/tmp/elacsym-%s-%s' "$(id -u)" "$(printf '%s' "$REPO" | sha256sum | cut -c1-8)"; }

STATE=${ELACSYM_STATE:-$(state_dir_name)}
export ELACSYM_STATE=$STATE
LOGS=$STATE/logs

need_state() {
  mkdir -p "$STATE"
  # /var/tmp is writable by all: never work in a directory that somebody else put there.
  [ -O "$STATE" ] && [ ! -L "$STATE" ] || die "state directory $STATE does not belong to $(id -un): set ELACSYM_STATE"
  chmod 755 "$STATE"
  mkdir -p "$LOGS"
}

# step LABEL COMMAND…: runs the command with its output in a log; prints one line when it ends, a line when it takes over
# two seconds, then one every 15 s with the last line of the log. On failure shows the end of the log.
step() {
  local label=$1 slug log t0 beat rc=0
  shift
  slug=$(printf '%s' "$label" | tr -cs 'A-Za-z0-9' '-' | cut -c1-60)
  log=$LOGS/${slug%-}.log
  t0=$(date +%s)
  : >"$log"
  (
    exec 3>/dev/null
    sleep 2 >&3 2>&3
    say "$label …"
    while sleep 15 >&3 2>&3; do
      printf '[%s]   … %d s: %s\n' "$(elapsed)" $(($(date +%s) - t0)) "$(tail -n 1 "$log" | tr -d '\r' | cut -c1-100)"
    done
  ) &
  beat=$!
  "$@" >>"$log" 2>&1 </dev/null || rc=$?
  kill "$beat" 2>/dev/null || true
  wait "$beat" 2>/dev/null || true
  if [ "$rc" -eq 0 ]; then
    say "$label: done in $(($(date +%s) - t0)) s"
  else
    say "$label: FAILED after $(($(date +%s) - t0)) s (exit code $rc); the end of $log:"
    tail -n "${STEP_TAIL:-40}" "$log" | sed 's/^/    /'
  fi
  return "$rc"
}

# PostgreSQL refuses to run as root; then it runs as the user `postgres`, which Debian's packages create.
if [ "$(id -u)" -eq 0 ]; then PG_USER=${ELACSYM_PG_USER:-postgres}; else PG_USER=$(id -un); fi
as_pg() {
  if [ "$(id -u)" -eq 0 ]; then
    setpriv --reuid="$PG_USER" --regid="$(id -g "$PG_USER")" --init-groups -- "$@"
  else
    "$@"
  fi
}

# The PostgreSQL to build for. Debian keeps pg_config of the newest server headers in PATH and each major's own one here.
PG_CONFIG=${PG_CONFIG:-}
find_pg_config() {
  if [ -n "$PG_CONFIG" ]; then
    [ -x "$(command -v "$PG_CONFIG")" ] || die "PG_CONFIG=$PG_CONFIG: no such program"
    PG_CONFIG=$(command -v "$PG_CONFIG")
  elif [ -x /usr/lib/postgresql/15/bin/pg_config ]; then
    PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config
  else
    PG_CONFIG=$(command -v pg_config) || die "no pg_config found: run scripts/setup.sh, or set PG_CONFIG"
  fi
  export PG_CONFIG
}
pg_major() { "$1" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'; }

# Build products. Two target directories, because the engine and the library build the same crate with features that exclude
# each other and would overwrite each other's libelacsym.so. Developers point them elsewhere; DIST stays in the clone.
PROFILE=${ELACSYM_PROFILE:-release}
ENGINE_TARGET=${ELACSYM_ENGINE_TARGET:-${CARGO_TARGET_DIR:-$REPO/target}}
PG_TARGET=${ELACSYM_PG_TARGET:-${CARGO_TARGET_DIR:-$REPO/target}/pg}
DIST=$REPO/target/dist/$PROFILE
if [ "$PROFILE" = dev ]; then PROFILE_DIR=debug; else PROFILE_DIR=$PROFILE; fi

VENV=$STATE/venv
