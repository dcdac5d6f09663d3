#!/usr/bin/env bash
# Ends the demo's server and removes its data.
. "$(dirname "$0")/../scripts/lib.sh"
. "$REPO/demo/server.sh"
if [ -d "$DEMO" ]; then
  remove_server
  say "the demo's server is gone, and its data"
else
  say "no demo here"
fi
