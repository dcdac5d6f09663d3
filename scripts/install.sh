#!/usr/bin/env bash
# Installs what build.sh made into the PostgreSQL of PG_CONFIG: the extension files, the library, the engine and, only where
# there is none or an older one of ours, the stand-in `vector` extension. DESTDIR= is put in front of every path.
. "$(dirname "$0")/lib.sh"
find_pg_config
major=$(pg_major "$PG_CONFIG")
lib=${DESTDIR:-}$("$PG_CONFIG" --pkglibdir)
ext=${DESTDIR:-}$("$PG_CONFIG" --sharedir)/extension

put() { # MODE FILE DIRECTORY [NAME]: never in place, a running server may have the old file mapped
  local to=$3/${4:-$(basename "$2")}
  cmp -s "$2" "$to" && return 0
  install -D -m "$1" "$2" "$to.new.$$" && mv -f "$to.new.$$" "$to"
}

probe=$lib
while [ ! -e "$probe" ]; do probe=$(dirname "$probe"); done
[ -w "$probe" ] || die "no permission to write to $lib: run \`make build\`, then \`sudo make install\`"

put 755 "$DIST/pg$major/elacsym.so" "$lib"
put 755 "$DIST/elacsym-engine" "$lib"
put 644 "$REPO/elacsym.control" "$ext"
for f in "$REPO"/sql/elacsym--*.sql; do [ ! -e "$f" ] || put 644 "$f" "$ext"; done

# The real pgvector is never replaced. Ours says so in the comment of its control file.
if [ -e "$REPO/sql/vector.control" ]; then
  if [ ! -e "$ext/vector.control" ] || grep -qi elacsym "$ext/vector.control"; then
    for f in "$REPO"/sql/vector--*.sql; do put 644 "$f" "$ext"; done
    put 644 "$REPO/sql/vector.control" "$ext"
    vector='with our stand-in for the extension "vector"'
  else
    vector='the extension "vector" that is there is used as it is'
  fi
fi
say "installed for PostgreSQL $major in $lib (${vector:-no stand-in})"
