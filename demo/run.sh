#!/usr/bin/env bash
# The PostgreSQL manual in elacsym: 4,928 sections, searched by meaning, by words, and both. Installs what it needs, builds, starts a throw-away
# server of its own (no cluster of yours is touched) and leaves it running until `make demo-stop`. A second run reuses all of it.
. "$(dirname "$0")/../scripts/lib.sh"
. "$REPO/demo/server.sh"
need_state
"$REPO/scripts/setup.sh" build
find_pg_config
pg_config=$("$REPO/scripts/private_pg.sh")
bin=$("$pg_config" --bindir)

sections=$(zcat "$REPO/demo/pgdocs/corpus.jsonl.gz" | wc -l)
batch=500

create_server() {
  remove_server
  mkdir -p "$DEMO" && chmod 755 "$DEMO" &&
    install -d -m 700 ${OWNER:+-o "$OWNER"} "$DEMO/data" "$DEMO/s" "$DEMO/objects" &&
    (cd "$DEMO/data" && as_pg "$bin/initdb" -D "$DEMO/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 --no-instructions) &&
    as_pg tee -a "$DEMO/data/postgresql.conf" >/dev/null <<CONF
# reached only through a socket in a directory that only $PG_USER and root may enter
listen_addresses = ''
unix_socket_directories = '$DEMO/s'
port = 5432
shared_preload_libraries = 'elacsym'
elacsym.storage_url = 'file://$DEMO/objects'
CONF
}
start_server() {
  (cd "$DEMO/data" && as_pg env -u RUST_BACKTRACE "$bin/pg_ctl" -D "$DEMO/data" -l "$DEMO/data/server.log" -w -t 60 start)
}
psql() { env -u PGOPTIONS -u PGSERVICE "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$DEMO/s" -p 5432 -U postgres "$@"; }
# The data is there, complete, and searchable.
healthy() {
  [ "$(psql -d demo -A -t -c "SELECT done FROM loaded" -c "SELECT count(*) FROM elacsym.query('manual', full_text => '\"vacuum\"', top_k => 3)" 2>/dev/null)" = "$(printf 't\n3')" ]
}
create_database() { psql -d postgres -c 'DROP DATABASE IF EXISTS demo WITH (FORCE)' -c 'CREATE DATABASE demo' && psql -d demo -f "$REPO/demo/schema.sql"; }
copy_in() { python3 "$REPO/demo/copy_text.py" "$1" | psql -d demo -c "\\copy $2 FROM STDIN"; }
load_batch() {
  psql -d demo -c "SELECT count(elacsym.upsert('manual', id, embedding, attributes)) FROM staging WHERE id BETWEEN $1 AND $2"
}

# A new build: the server must load it.
stamp=$(cat "$("$pg_config" --pkglibdir)/elacsym.so" "$("$pg_config" --pkglibdir)/elacsym-engine" "$REPO"/sql/elacsym--*.sql | sha256sum | cut -c1-16)
if [ -d "$DEMO/data" ] && [ "$(cat "$DEMO/stamp" 2>/dev/null)" != "$stamp" ]; then
  say "elacsym has changed since the last demo: starting afresh"
  remove_server
fi
if [ ! -e "$DEMO/stamp" ]; then
  step "a throw-away server in $DEMO" create_server
  printf '%s\n' "$stamp" >"$DEMO/stamp"
fi
server_pid >/dev/null || step "starting the server" start_server

if healthy; then
  say "the $sections sections are there already"
else
  step "database, extension, namespace" create_database
  step "questions and judgements" eval 'copy_in questions questions && copy_in qrels qrels'
  step "sections and embeddings into a staging table" copy_in sections staging
  started=$(date +%s%N)
  for ((first = 1; first <= sections; first += batch)); do
    last=$((first + batch - 1 < sections ? first + batch - 1 : sections))
    load_batch $first $last >"$LOGS/demo-load.log" 2>&1 || { tail "$LOGS/demo-load.log"; die "loading sections $first to $last failed"; }
    now=$(date +%s%N)
    say "upsert, one row at a time: $last of $sections sections, $((last * 1000000000 / (now - started + 1))) rows/s"
  done
  step "flush: from the write buffer into a segment" psql -d demo -c "SELECT elacsym.flush('manual')"
  psql -d demo -c 'DROP TABLE staging' -c 'CREATE TABLE loaded AS SELECT true AS done' -c 'ANALYZE'
fi
step "80 questions, three ways each" psql -d demo -c 'CALL answer(1, 80)'
python3 "$REPO/demo/show.py" "$bin/psql" -h "$DEMO/s" -p 5432 -U postgres -d demo -- "$DEMO/objects"

if type -P psql >/dev/null; then client=psql; else client=$bin/psql; fi
cat <<TEXT

The server keeps running until \`make demo-stop\`. Connect (as root or $PG_USER) with:

  $client -h $DEMO/s -U postgres demo

and try (copy and paste; also in demo/try.sql):

$(sed 's/^/  /' "$REPO/demo/try.sql")
TEXT
echo
say "make demo: done"
