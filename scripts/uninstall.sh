#!/usr/bin/env bash
# Removes what install.sh put into the PostgreSQL of PG_CONFIG; the real pgvector stays. DESTDIR= is put in front of every path.
# Databases that have the extension keep their data, and work again after the next `make install`.
. "$(dirname "$0")/lib.sh"
find_pg_config
lib=${DESTDIR:-}$("$PG_CONFIG" --pkglibdir)
ext=${DESTDIR:-}$("$PG_CONFIG" --sharedir)/extension
[ -w "$lib" ] || [ ! -e "$lib" ] || die "no permission to write to $lib: use \`sudo make uninstall\`"

files=("$lib/elacsym.so" "$lib/elacsym-engine" "$ext/elacsym.control" "$ext"/elacsym--*.sql)
# Ours says so in the comment of its control file
if grep -qsi elacsym "$ext/vector.control"; then
  files+=("$ext/vector.control")
  for f in "$REPO"/sql/vector--*.sql; do files+=("$ext/$(basename "$f")"); done
fi
rm -f "${files[@]}"
say "removed from $lib and $ext"
