"""What a search pays for entries that were flushed and are not vacuumed yet: nothing, because a flush moves the watermark from which
the buffer is scanned. Counted, not timed; autovacuum is off."""

import contextlib
import json
import re

import pytest

from harness import Cluster
from harness.index_answers import make

ROWS = 20_000
DIM = 4
CONFIG = {"elacsym.flush_interval": "1h", "elacsym.flush_rows": 1_000_000, "autovacuum": "off"}
SCHEMA = {"vector_dim": DIM, "attributes": {"words": {"type": "string", "full_text": True}}}
NAMESPACE = "SELECT id FROM elacsym.query('ns', '[1,2,3,4]', top_k => 5)"
INDEX = "SELECT id FROM docs ORDER BY v <-> '[1,2,3,4]' LIMIT 5"
# A search reads some blocks of the catalogs; of more than this it has read what is dead.
FACTOR = 1.5


@pytest.fixture(scope="module")
def tail_cluster():
    with Cluster("tail", config=CONFIG) as cluster:
        yield cluster.start()


@pytest.fixture
def conn(tail_cluster, request):
    name = tail_cluster.create_database(re.sub(r"\W+", "_", request.node.name))
    with tail_cluster.connect(name) as connection:
        connection.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(SCHEMA)])
        make(connection, rows=50)
        connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        yield connection


def write(conn, rows, first=1):
    conn.execute(
        "SELECT elacsym.upsert('ns', i, ARRAY[i, 1, 2, 3]::real[]::vector, '{\"words\": \"all\"}') FROM generate_series(%s::int, %s::int) i",
        [first, first + rows - 1],
    )
    conn.execute(
        "INSERT INTO docs SELECT 1000 + i, ARRAY[i, 1, 2, 3]::real[]::vector, 'lake', 1 FROM generate_series(%s::int, %s::int) i", [first, first + rows - 1]
    )


def flush(conn):
    conn.execute("SELECT elacsym.flush('ns')")
    conn.execute("SELECT elacsym.flush('docs_idx')")


def cost(conn, query):
    """What one search reads: (entries in the index of the buffer, blocks of all relations)."""
    returned = "SELECT pg_stat_get_xact_tuples_returned('elacsym.wal_namespace_xid_idx'::regclass)"
    conn.execute(query)  # what is cached by the session is not what is measured
    with conn.transaction():
        before = conn.execute(returned).fetchone()[0]
        plan = conn.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query).fetchone()[0][0]["Plan"]
        entries = conn.execute(returned).fetchone()[0] - before
    return entries, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def costs(conn):
    return [cost(conn, query) for query in (NAMESPACE, INDEX)]


def buffered(conn):
    """Entries that the engine has looked at in the last search."""
    return conn.execute("SELECT buffered FROM elacsym.last_query_stats()").fetchone()[0]


@contextlib.contextmanager
def old_snapshot(cluster, database):
    """A transaction that has read before, and reads on."""
    with cluster.connect(database) as old, old.transaction(force_rollback=True):
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        old.execute("SELECT count(*) FROM elacsym.wal")
        yield old


@pytest.mark.parametrize("snapshot", ["none", "old"])
def test_flushed_entries_cost_a_search_nothing(tail_cluster, conn, snapshot):
    database = conn.info.dbname
    with old_snapshot(tail_cluster, database) if snapshot == "old" else contextlib.nullcontext() as old:
        write(conn, ROWS)
        unflushed = costs(conn)
        assert [entries for entries, _ in unflushed] == [ROWS, ROWS]
        flush(conn)
        after_flush = costs(conn)
        if old:
            assert old.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (0,)
            assert old.execute(NAMESPACE).fetchall() == []
    conn.execute("VACUUM elacsym.wal")
    conn.execute("VACUUM elacsym.namespace")
    conn.execute("VACUUM elacsym.segment")
    vacuumed = costs(conn)
    print(f"(entries, blocks) of a search of a namespace and of an index: {unflushed} buffered, {after_flush} flushed, {vacuumed} vacuumed")
    for (entries, blocks), (clean_entries, clean_blocks) in zip(after_flush, vacuumed, strict=True):
        assert entries == clean_entries == 0
        assert blocks <= FACTOR * clean_blocks, (after_flush, vacuumed)


def test_what_is_buffered_is_sent_once(conn):
    """A search reads the payloads of entries that the engine does not know; the next one reads none of them."""
    write(conn, 2000)
    flush(conn)
    write(conn, 1000, first=ROWS)
    for query in (NAMESPACE, INDEX):
        with conn.transaction():
            blocks = []
            for _ in range(3):
                plan = conn.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query).fetchone()[0][0]["Plan"]
                blocks.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
                assert buffered(conn) == 1000
        assert blocks[0] >= blocks[1] + 1000, "one visit for each payload"
        assert blocks[1] == blocks[2]
    # after the flush there is nothing to send
    flush(conn)
    for query in (NAMESPACE, INDEX):
        conn.execute(query)
        assert buffered(conn) == 0


def test_old_versions_of_the_catalogs_cost_a_search_nothing(tail_cluster, conn):
    """Each flush replaces the namespace's row, as a change of the schema does; old versions stay as long as a snapshot that sees them."""
    write(conn, 100)
    flush(conn)
    with old_snapshot(tail_cluster, conn.info.dbname):
        before = cost(conn, NAMESPACE)
        for number in range(60):
            conn.execute("SELECT elacsym.alter_namespace('ns', %s)", [json.dumps({"add": {f"a{number}": "int"}})])
            conn.execute("SELECT elacsym.alter_namespace('ns', %s)", [json.dumps({"drop": [f"a{number}"]})])
        after = cost(conn, NAMESPACE)
    print(f"(entries, blocks): {before} before 120 changes, {after} after them")
    assert after[0] == before[0] == 0
    assert after[1] <= FACTOR * before[1], (before, after)
