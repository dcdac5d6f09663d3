#!/usr/bin/env bash
# Ends the demo, removes the build products and the state directory.
. "$(dirname "$0")/lib.sh"
"$REPO/demo/stop.sh"
rm -rf "$REPO/target"
case $STATE in
  /var/tmp/elacsym-*) rm -rf "$STATE" ;;
  *) [ ! -d "$STATE" ] || echo "left $STATE (ELACSYM_STATE) alone" ;;
esac
