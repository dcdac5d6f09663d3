# The demo's server, for run.sh and stop.sh (sourced after lib.sh).
# shellcheck shell=bash
DEMO=$STATE/demo
if [ "$(id -u)" -eq 0 ]; then OWNER=$PG_USER; else OWNER=; fi

# Prints the postmaster's process id if it lives.
server_pid() {
  local pid
  pid=$(head -n 1 "$DEMO/data/postmaster.pid" 2>/dev/null) || return 1
  # the number may belong to somebody else after a reboot
  [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$DEMO/data" ] && printf '%s\n' "$pid"
}

# Ends the server and removes its data.
remove_server() {
  local pid i
  if pid=$(server_pid); then
    kill -INT "$pid" # fast shutdown
    for ((i = 0; i < 300; i++)); do
      server_pid >/dev/null || break
      sleep 0.1
    done
    ! server_pid >/dev/null || die "the demo's server (process $pid) does not stop"
  fi
  rm -rf "$DEMO"
}
