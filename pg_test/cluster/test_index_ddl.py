"""Every DDL that touches an elacsym index, inside and outside transactions and rolled back (pitfalls 4)."""

import contextlib
import os
import threading
import time

import psycopg
import pytest

from harness import wait_until
from harness.index_answers import check, fill, lives, make, objects, same

FEATURE = psycopg.errors.FeatureNotSupported


class Rollback(Exception):
    """Ends a transaction without effect."""


@contextlib.contextmanager
def rolled_back(conn):
    with contextlib.suppress(Rollback), conn.transaction():
        yield
        raise Rollback


def raises(conn, sql, message, error=psycopg.Error):
    with pytest.raises(error) as caught, conn.transaction():
        conn.execute(sql)
    text = f"{caught.value.diag.message_primary} {caught.value.diag.message_detail}"
    assert message in text, text
    return caught.value.diag


def oid(conn, name="docs_idx"):
    return conn.execute("SELECT %s::regclass::oid", [name]).fetchone()[0]


def settled(conn, count):
    """Waits until only so many lives are left in the catalog: the others are buried."""
    # the launcher may have looked just before: another commit that matters makes the worker look again
    return wait_until(lambda: len(lives(conn)) == count, f"{count} lives to be left", timeout=20)


# -- statements that change an index's file or its table's ---------------------------------------------------------------

REBUILDS = {
    "reindex index": "REINDEX INDEX docs_idx",
    "reindex table": "REINDEX TABLE docs",
    "vacuum full": "VACUUM FULL docs",
    "cluster": "CLUSTER docs USING docs_pkey",
    "reindex index concurrently": "REINDEX INDEX CONCURRENTLY docs_idx",
    "reindex table concurrently": "REINDEX TABLE CONCURRENTLY docs",
    "another type of a column": "ALTER TABLE docs ALTER COLUMN n TYPE bigint",
    "a volatile default": "ALTER TABLE docs ADD COLUMN r float DEFAULT random()",
    "a constant default": "ALTER TABLE docs ADD COLUMN c int DEFAULT 7",
    "the same type": "ALTER TABLE docs ALTER COLUMN v TYPE vector(4)",
    "set logged": "ALTER TABLE docs SET LOGGED",
    "set options": "ALTER INDEX docs_idx SET (recall_target = 0.99)",
    "reset options": "ALTER INDEX docs_idx RESET (recall_target)",
    "drop another column": "ALTER TABLE docs DROP COLUMN spare",
    "set not null": "ALTER TABLE docs ALTER COLUMN n SET NOT NULL",
}
NOT_IN_A_TRANSACTION = ("vacuum full", "reindex index concurrently", "reindex table concurrently")


@pytest.fixture
def docs(conn):
    make(conn)
    conn.execute("ALTER TABLE docs ADD COLUMN spare int")
    # what was flushed, what is buffered, what is dead
    conn.execute("SELECT elacsym.flush('docs_idx')")
    fill(conn, first=1000, rows=40)
    conn.execute("DELETE FROM docs WHERE id % 9 = 0")
    conn.execute("VACUUM docs")
    fill(conn, first=2000, rows=20)
    return conn


def test_the_index_outlives_every_rewrite_committed_or_not(docs):
    conn = docs
    rows = check(conn)
    for name, sql in REBUILDS.items():
        if name not in NOT_IN_A_TRANSACTION:
            with rolled_back(conn):
                conn.execute(sql)
                assert check(conn) == rows
                fill(conn, first=5000, rows=5)
                conn.execute("UPDATE docs SET n = n + 1 WHERE id < 20")
                conn.execute("DELETE FROM docs WHERE id BETWEEN 30 AND 40")
                check(conn)
            assert check(conn) == rows, name
            with conn.transaction():
                with rolled_back(conn):
                    conn.execute(sql)
                conn.execute("DELETE FROM docs WHERE id = (SELECT max(id) FROM docs)")
                fill(conn, first=6000, rows=1)
                assert check(conn) == rows
                conn.execute("DELETE FROM docs WHERE id = 6000")
                fill(conn, first=2019, rows=1)
        conn.execute(sql)
        assert check(conn) == rows, name
        conn.execute("UPDATE docs SET n = (n + 1) % 10 WHERE id % 5 = 0")
        assert check(conn) == rows, name
    settled(conn, 1)
    assert check(conn) == rows


def test_alter_column_type_that_keeps_the_file_keeps_the_life(docs):
    conn = docs
    rows = check(conn)
    before, life = oid(conn), lives(conn)
    for _ in range(5):
        conn.execute("ALTER TABLE docs ALTER COLUMN v TYPE vector(4)")
    assert oid(conn) != before, "PostgreSQL gives the index another oid"
    # maintenance looks after this; what it buries would be the only copy
    make(conn, "other")
    conn.execute("DROP TABLE other")
    wait_until(lambda: len(lives(conn)) <= len(life), "the other life to be buried", timeout=20)
    assert lives(conn) == life
    assert check(conn) == rows
    conn.execute("UPDATE docs SET n = (n + 1) % 10")
    conn.execute("SELECT elacsym.flush('docs_idx')")
    assert check(conn) == rows
    # views find it under its new oid once maintenance has looked
    wait_until(lambda: conn.execute("SELECT count(*) FROM elacsym.indexes WHERE index = 'docs_idx'::regclass").fetchone() == (1,), "the new oid to be noted", timeout=20)
    assert conn.execute("SELECT rows > 0 FROM elacsym.indexes WHERE index = 'docs_idx'::regclass").fetchone() == (True,)
    assert conn.execute("SELECT count(*) > 0 FROM elacsym.segments WHERE namespace = 'docs_idx'").fetchone() == (True,)


def test_maintenance_never_buries_a_life_that_moves_to_another_oid_meanwhile(new_cluster):
    """The worker looks at every index again and again while ALTER TABLE gives their files to other oids."""
    cluster = new_cluster(config={"elacsym.object_retention": 0, "elacsym.flush_interval": "10ms"})
    cluster.create_database("d")
    with cluster.connect("d") as conn, cluster.connect("d") as other:
        make(conn, rows=30)
        other.execute("CREATE TABLE noise (id int PRIMARY KEY, v vector(4))")
        end = time.monotonic() + 3
        rounds = 0
        while time.monotonic() < end:
            other.execute("DROP INDEX IF EXISTS noise_idx; CREATE INDEX noise_idx ON noise USING elacsym (v vector_l2_ops)")
            for _ in range(3):
                conn.execute("ALTER TABLE docs ALTER COLUMN v TYPE vector(4)")
            rounds += 1
            assert conn.execute("SELECT count(*) FROM elacsym.indexes").fetchone()[0] >= 0
            check(conn)
        assert rounds > 3


def test_truncate(docs):
    conn = docs
    rows = check(conn)
    with rolled_back(conn):
        conn.execute("TRUNCATE docs")
        assert conn.execute("SELECT count(*) FROM docs").fetchone() == (0,)
        fill(conn, first=7000, rows=7)
        assert check(conn) == 7
    assert check(conn) == rows
    with conn.transaction():
        with rolled_back(conn):
            conn.execute("TRUNCATE docs")
            fill(conn, first=7000, rows=7)
        assert check(conn) == rows
    conn.execute("TRUNCATE docs")
    fill(conn, first=7000, rows=7)
    assert check(conn) == 7
    settled(conn, 1)
    assert check(conn) == 7


def test_truncate_of_a_table_that_was_created_in_the_same_transaction(conn):
    with rolled_back(conn):
        make(conn, rows=20)
        conn.execute("TRUNCATE docs")
        check(conn)
    assert lives(conn) == []
    with conn.transaction():
        make(conn, rows=20)
        conn.execute("TRUNCATE docs")
        fill(conn, first=100, rows=11)
        assert check(conn) == 11
        with rolled_back(conn):
            conn.execute("TRUNCATE docs")
            fill(conn, first=200, rows=3)
            assert check(conn) == 3
        assert check(conn) == 11
        conn.execute("TRUNCATE docs")
        fill(conn, first=300, rows=12)
    assert check(conn) == 12
    settled(conn, 1)
    assert check(conn) == 12


# -- creating ------------------------------------------------------------------------------------------------------------


@pytest.mark.every_pg
def test_create_and_drop_in_every_form(conn):
    make(conn, index=False)
    create = "INDEX {} docs_idx ON docs USING elacsym (v vector_l2_ops, body bm25_ops, n)"
    with rolled_back(conn):
        conn.execute("CREATE " + create.format(""))
        check(conn)
    assert lives(conn) == []
    conn.execute("CREATE " + create.format(""))
    check(conn)
    conn.execute("CREATE " + create.format("IF NOT EXISTS"))
    raises(conn, "CREATE " + create.format(""), "already exists", psycopg.errors.DuplicateTable)
    with rolled_back(conn):
        conn.execute("DROP INDEX docs_idx")
    check(conn)
    conn.execute("DROP INDEX CONCURRENTLY docs_idx")
    conn.execute("CREATE " + create.format("CONCURRENTLY"))
    check(conn)
    conn.execute("CREATE " + create.format("CONCURRENTLY IF NOT EXISTS"))
    conn.execute("DROP INDEX docs_idx")
    conn.execute("CREATE " + create.format("CONCURRENTLY IF NOT EXISTS"))
    check(conn)
    with rolled_back(conn):
        conn.execute("ALTER INDEX docs_idx RENAME TO renamed")
        check(conn, index="renamed")
        conn.execute("ALTER TABLE docs RENAME TO papers; ALTER TABLE papers RENAME COLUMN v TO w; ALTER TABLE papers RENAME COLUMN w TO v")
        check(conn, "papers", index="renamed")
    check(conn)
    with rolled_back(conn):
        # a rename does not reach what the index was built with
        conn.execute("ALTER TABLE docs RENAME COLUMN n TO number")
        same(conn, "SELECT id FROM docs WHERE number = 3")
        assert conn.execute("SELECT count(*) FROM elacsym.search('docs_idx', '[1,2,3,4]', filter => '{\"field\": \"n\", \"op\": \"eq\", \"value\": 3}')").fetchone()[0] > 0
    conn.execute("CREATE SCHEMA s; ALTER TABLE docs SET SCHEMA s")
    check(conn, "s.docs", index="docs_idx", schema="s")
    conn.execute("DROP SCHEMA s CASCADE")
    settled(conn, 0)


def test_expression_partial_include_and_null(conn):
    make(conn, index=False)
    conn.execute("ALTER TABLE docs ADD COLUMN raw real[], ADD COLUMN title varchar(50)")
    conn.execute("UPDATE docs SET raw = ARRAY[n, id % 7, 1, 0], title = 'Title ' || (id % 5)")
    conn.execute("CREATE INDEX expr_idx ON docs USING elacsym ((raw::vector(4)) vector_l2_ops, (lower(title)) bm25_ops, (n + 1))")
    same(conn, "SELECT raw::vector(4) <-> '[1,2,3,4]', id FROM docs ORDER BY 1", "expr_idx")
    same(conn, "SELECT id FROM docs WHERE lower(title) @@@ '3'", "expr_idx")
    same(conn, "SELECT id FROM docs WHERE n + 1 = 4", "expr_idx")
    conn.execute("CREATE INDEX part_idx ON docs USING elacsym (v vector_l2_ops, body bm25_ops) WHERE n < 3")
    for _ in range(2):
        same(conn, "SELECT v <-> '[1,2,3,4]', id FROM docs WHERE n < 3 ORDER BY 1", "part_idx")
        same(conn, "SELECT id FROM docs WHERE body @@@ 'lake' AND n < 3", "part_idx")
        conn.execute("UPDATE docs SET n = (n + 1) % 10")
        conn.execute("VACUUM docs")
    conn.execute("CREATE INDEX incl_idx ON docs USING elacsym (v vector_l2_ops) INCLUDE (title, n)")
    conn.execute("DROP INDEX expr_idx, part_idx")
    same(conn, "SELECT v <-> '[1,2,3,4]', id, title, n FROM docs ORDER BY 1", "incl_idx")
    same(conn, "SELECT v <-> '[1,2,3,4]', id FROM docs WHERE title = 'Title 3' ORDER BY 1", "incl_idx")
    # all NULL
    conn.execute("CREATE TABLE nothing (id int, v vector(4), n int)")
    conn.execute("INSERT INTO nothing SELECT i FROM generate_series(1, 50) i")
    conn.execute("CREATE INDEX nothing_idx ON nothing USING elacsym (v vector_l2_ops, n)")
    conn.execute("INSERT INTO nothing SELECT i FROM generate_series(51, 60) i")
    assert len(same(conn, "SELECT v <-> '[1,2,3,4]', id FROM nothing ORDER BY 1", "nothing_idx")) == 60
    assert len(same(conn, "SELECT id FROM nothing WHERE n IS NULL", "nothing_idx")) == 60
    assert same(conn, "SELECT id FROM nothing WHERE v IS NOT NULL", "nothing_idx") == []


@pytest.mark.parametrize(
    "sql,message",
    [
        ("CREATE UNLOGGED TABLE u (v vector(3)); CREATE INDEX ON u USING elacsym (v vector_l2_ops)", "unlogged"),
        ("CREATE TEMP TABLE u (v vector(3)); CREATE INDEX ON u USING elacsym (v vector_l2_ops)", "temporary"),
        ("ALTER TABLE docs SET UNLOGGED", "unlogged"),
        ("CREATE INDEX ON docs USING elacsym (v vector_l2_ops, v vector_ip_ops)", "at most one vector column"),
        ("CREATE TABLE u (v vector); CREATE INDEX ON u USING elacsym (v vector_l2_ops)", "does not have dimensions"),
        ("CREATE TABLE u (v vector(3)); CREATE INDEX ON u USING elacsym (v)", "no default operator class"),
        ("CREATE TABLE u (j json); CREATE INDEX ON u USING elacsym (j)", "no default operator class"),
        ("CREATE UNIQUE INDEX ON docs USING elacsym (n)", "does not support unique"),
        ("ALTER TABLE docs ADD EXCLUDE USING elacsym (n WITH =)", "cannot enforce an exclusion constraint"),
        ("CREATE INDEX ON docs USING elacsym (n DESC)", "ASC/DESC"),
        ("CREATE INDEX ON docs USING elacsym (n) WITH (lifts = 4)", 'unrecognized parameter "lifts"'),
        ("CREATE INDEX ON docs USING elacsym (n) WITH (recall_target = 1.5)", "recall_target"),
        ("CREATE INDEX ON docs USING elacsym (n) WITH (recall_target = 'high')", "recall_target"),
        ("CREATE INDEX ON docs USING elacsym (n) WITH (effort = -1)", "effort"),
        ("CREATE INDEX ON docs USING elacsym (n) WITH (lists = 100000)", "lists"),
        ("ALTER INDEX docs_idx SET (recall_target = 2)", "recall_target"),
        ("ALTER INDEX docs_idx SET (nonsense = 2)", "nonsense"),
        ("CREATE INDEX ON docs USING elacsym (body bm25_ops (language = 'klingon'))", "klingon"),
        ("CREATE INDEX ON docs USING elacsym (body bm25_ops (stemming = 7))", "stemming"),
        ("CREATE INDEX ON docs USING elacsym (body bm25_ops (k1 = -1))", "k1"),
        ("CREATE INDEX ON docs USING elacsym (body bm25_ops (b = 1.5))", '"b"'),
        ("CREATE INDEX ON docs USING elacsym (body bm25_ops (weight = -2))", "weight"),
        ("CREATE INDEX ON docs USING elacsym (body bm25_ops (colour = 'red'))", "colour"),
        ("CREATE INDEX ON docs USING elacsym (v vector_l2_ops (language = 'english'))", "options"),
        ("INSERT INTO docs (id, v) VALUES (9999, '[1,2,3]')", "expected 4 dimensions, not 3"),
        ("SET LOCAL enable_seqscan = off; SELECT id FROM docs ORDER BY v <-> '[1,2,3]' LIMIT 1", "different vector dimensions"),
        ("SELECT * FROM elacsym.search('docs_idx', '[1,2,3]')", "expected 4 dimensions, not 3"),
        ("SELECT * FROM elacsym.search('docs_pkey', '[1,2,3]')", "is not an elacsym index"),
        ("SELECT * FROM elacsym.search('docs', '[1,2,3]')", "is not an elacsym index"),
    ],
)
def test_what_cannot_be_is_one_clear_error_and_changes_nothing(refusals, sql, message):
    before = lives(refusals)
    raises(refusals, sql, message)
    assert lives(refusals) == before
    check(refusals)


@pytest.fixture(scope="module")
def refusals(shared_cluster):
    shared_cluster.create_database("refusals")
    with shared_cluster.connect("refusals") as conn:
        make(conn, rows=30)
        yield conn
    shared_cluster.sql("DROP DATABASE refusals WITH (FORCE)")


def test_options(conn):
    make(conn, index=False)
    notices = []
    conn.add_notice_handler(lambda diag: notices.append((diag.severity_nonlocalized, diag.message_primary)))
    conn.execute("CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops, body bm25_ops, n) WITH (m = 16, ef_construction = 64, lists = 10)")
    ignored = [f'option "{name}" has no effect on an elacsym index' for name in ("m", "ef_construction")]
    per_segment = 'option "lists" is the number of lists of each segment; an elacsym index chooses it when not told'
    assert [("NOTICE", message) for message in [*ignored, per_segment]] == notices
    check(conn)
    notices.clear()
    conn.execute("ALTER INDEX docs_idx RENAME TO again; ALTER INDEX again RENAME TO docs_idx; REINDEX INDEX docs_idx; INSERT INTO docs VALUES (9000)")
    assert notices == []
    with rolled_back(conn):
        conn.execute("ALTER INDEX docs_idx SET (recall_target = 0.5, effort = 3, flush_rows = 10)")
        check(conn)
    assert conn.execute("SELECT reloptions FROM pg_class WHERE relname = 'docs_idx'").fetchone()[0] == ["m=16", "ef_construction=64", "lists=10"]
    conn.execute("ALTER INDEX docs_idx RESET (m, ef_construction, lists)")
    check(conn)


def test_alter_index_set_tablespace_keeps_the_life(shared_cluster, conn, request):
    place = shared_cluster.directory / "tablespace"
    place.mkdir(exist_ok=True)
    from harness import give_to_pg_user

    give_to_pg_user(place)
    conn.execute(f"CREATE TABLESPACE elsewhere LOCATION '{place}'")
    try:
        make(conn)
        life = lives(conn)
        with rolled_back(conn):
            conn.execute("ALTER INDEX docs_idx SET TABLESPACE elsewhere")
            fill(conn, first=900, rows=3)
            check(conn)
        check(conn)
        conn.execute("ALTER INDEX docs_idx SET TABLESPACE elsewhere")
        fill(conn, first=1000, rows=30)
        conn.execute("DELETE FROM docs WHERE id % 4 = 0")
        conn.execute("VACUUM docs")
        check(conn)
        assert lives(conn) == life
        conn.execute("ALTER TABLE docs SET TABLESPACE elsewhere")
        check(conn)
        conn.execute("REINDEX (TABLESPACE pg_default) INDEX docs_idx")
        check(conn)
    finally:
        conn.execute("DROP TABLE docs")
        conn.execute("DROP TABLESPACE elsewhere")


# -- kinds of tables -----------------------------------------------------------------------------------------------------


def test_materialized_view(conn):
    make(conn, index=False)
    conn.execute("CREATE MATERIALIZED VIEW mv AS SELECT id, v, body, n FROM docs WHERE n < 8")
    conn.execute("CREATE UNIQUE INDEX ON mv (id)")
    conn.execute("CREATE INDEX mv_idx ON mv USING elacsym (v vector_l2_ops, body bm25_ops, n)")
    rows = check(conn, "mv")
    conn.execute("UPDATE docs SET n = (n + 3) % 10")
    with rolled_back(conn):
        conn.execute("REFRESH MATERIALIZED VIEW mv")
        check(conn, "mv")
    assert check(conn, "mv") == rows
    for concurrently in ("", "CONCURRENTLY"):
        conn.execute("UPDATE docs SET n = (n + 3) % 10")
        conn.execute(f"REFRESH MATERIALIZED VIEW {concurrently} mv")
        check(conn, "mv")
    conn.execute("REFRESH MATERIALIZED VIEW mv WITH NO DATA; REFRESH MATERIALIZED VIEW mv")
    check(conn, "mv")
    settled(conn, 1)
    check(conn, "mv")


def test_partitions(conn):
    conn.execute("CREATE TABLE docs (id int, v vector(4), body text, n int) PARTITION BY RANGE (id)")
    conn.execute("CREATE TABLE p1 PARTITION OF docs FOR VALUES FROM (0) TO (100)")
    conn.execute("CREATE TABLE p2 PARTITION OF docs FOR VALUES FROM (100) TO (200) PARTITION BY LIST (n)")
    conn.execute("CREATE TABLE p2a PARTITION OF p2 FOR VALUES IN (0, 1, 2, 3, 4)")
    fill(conn, rows=99)
    conn.execute("CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops, body bm25_ops, n) WITH (recall_target = 0.99)")
    conn.execute("CREATE TABLE p2b PARTITION OF p2 DEFAULT")
    conn.execute("CREATE TABLE p3 PARTITION OF docs DEFAULT")
    fill(conn, first=100, rows=200)
    for _ in range(2):
        conn.execute("ANALYZE docs")
        check(conn, index="")
        with conn.transaction():
            conn.execute("SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; SET LOCAL elacsym.effort = 'infinity'")
            plan = "\n".join(row[0] for row in conn.execute("EXPLAIN SELECT id FROM docs ORDER BY v <-> '[1,2,3,4]' LIMIT 5"))
            assert "Merge Append" in plan and plan.count("Index Scan") == 4, plan
            expected = conn.execute("SELECT id FROM docs ORDER BY v <-> '[1,2,3,4]' LIMIT 5").fetchall()
        # ctids repeat over partitions: the ids come from the tables by distance
        found = conn.execute("SELECT vector_distance, vector_rank FROM elacsym.search('docs_idx', '[1,2,3,4]', k => 5, effort => 'infinity')").fetchall()
        exact = conn.execute("SELECT (v <-> '[1,2,3,4]')::real FROM docs WHERE id = ANY (%s) ORDER BY 1", [[i for (i,) in expected]]).fetchall()
        assert [row[0] for row in found] == pytest.approx([row[0] for row in exact], abs=1e-4)
        assert [row[1] for row in found] == [1, 2, 3, 4, 5]
        conn.execute("UPDATE docs SET id = id + 60 WHERE id < 60")
        conn.execute("DELETE FROM docs WHERE id % 7 = 0")
        conn.execute("VACUUM docs")
    # detach: the partition keeps its own index; attach again: it is found again
    conn.execute("ALTER TABLE docs DETACH PARTITION p1")
    check(conn, index="")
    index = conn.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'p1'::regclass").fetchone()[0]
    check(conn, "p1", index=index)
    fill(conn, "p1", first=70, rows=5)
    conn.execute("ALTER TABLE docs ATTACH PARTITION p1 FOR VALUES FROM (0) TO (100)")
    check(conn, index="")
    with rolled_back(conn):
        conn.execute("ALTER TABLE docs DETACH PARTITION p2")
        check(conn, index="")
    check(conn, index="")
    # one without an index gets one when it is attached
    conn.execute("CREATE TABLE p4 (LIKE docs)")
    conn.execute("DELETE FROM docs WHERE id >= 250")
    fill(conn, "p4", first=1000, rows=20)
    conn.execute("ALTER TABLE docs ATTACH PARTITION p4 FOR VALUES FROM (1000) TO (2000)")
    check(conn, index="")
    conn.execute("DELETE FROM p3; DROP TABLE p3")
    conn.execute("ALTER TABLE docs DETACH PARTITION p4 CONCURRENTLY")
    check(conn, index="")
    # CREATE INDEX ON ONLY, then ATTACH PARTITION of the indexes
    conn.execute("DROP INDEX docs_idx")
    conn.execute("CREATE INDEX docs_idx ON ONLY docs USING elacsym (v vector_l2_ops)")
    raises(conn, "SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')", "not valid")
    conn.execute("DROP INDEX docs_idx; DROP TABLE docs, p4")
    settled(conn, 0)


# -- what is left of indexes that are gone -------------------------------------------------------------------------------


@pytest.fixture
def tidy(new_cluster):
    """A cluster that deletes released objects at once."""
    cluster = new_cluster(config={"elacsym.object_retention": 0, "elacsym.flush_interval": "100ms"})
    cluster.create_database("d")
    return cluster


def files(conn):
    return [os.path.join(root.removeprefix("file://"), key) for root, key in objects(conn)]


def gone(paths):
    wait_until(lambda: not any(map(os.path.exists, paths)), "the objects to be deleted", timeout=20)


def test_objects_of_dropped_and_rebuilt_indexes_are_deleted_and_no_others(tidy):
    cluster = tidy
    with cluster.connect("d") as conn:
        make(conn, "kept")
        for sql in ("REINDEX INDEX docs_idx", "REINDEX INDEX CONCURRENTLY docs_idx", "TRUNCATE docs", "VACUUM FULL docs", "DROP INDEX docs_idx",
                    "DROP INDEX CONCURRENTLY docs_idx", "DROP TABLE docs", "DROP SCHEMA s CASCADE", "DROP OWNED BY someone"):
            conn.execute("DROP TABLE IF EXISTS docs; CREATE SCHEMA IF NOT EXISTS s; DROP ROLE IF EXISTS someone; CREATE ROLE someone")
            make(conn)
            if "SCHEMA" in sql:
                conn.execute("ALTER TABLE docs SET SCHEMA s")
            if "OWNED" in sql:
                conn.execute("ALTER TABLE docs OWNER TO someone")
            kept = [path for path in files(conn)]
            old = [path for path in kept if lives(conn)[-1] in path]
            if "CONCURRENTLY" not in sql and "VACUUM" not in sql:
                with rolled_back(conn):
                    conn.execute(sql)
                    time.sleep(0.3)
                assert all(map(os.path.exists, kept))
            conn.execute(sql)
            gone(old)
            wait_until(lambda: conn.execute("SELECT count(*) FROM elacsym.garbage").fetchone() == (0,), "no garbage to be left", 10)
            assert all(map(os.path.exists, files(conn)))
            check(conn, "kept")
            conn.execute("DROP TABLE IF EXISTS docs, s.docs")
        settled(conn, 1)


def test_released_objects_stay_for_the_retention_time(conn):
    """INV-4."""
    make(conn)
    paths = files(conn)
    conn.execute("DROP TABLE docs")
    settled(conn, 0)
    names = {row[0] for row in conn.execute("SELECT key FROM elacsym.garbage")}
    assert all(any(path.endswith(name) for name in names) for path in paths)
    assert all(map(os.path.exists, paths))


def test_a_copy_of_the_database_reads_the_originals_objects_and_never_deletes_them(tidy):
    cluster = tidy
    with cluster.connect("d") as conn:
        make(conn)
        paths = files(conn)
    cluster.sql("CREATE DATABASE copy TEMPLATE d")
    with cluster.connect("copy") as copy, cluster.connect("d") as conn:
        rows = check(copy)
        fill(copy, first=1000, rows=20)
        copy.execute("DELETE FROM docs WHERE id % 3 = 0")
        copy.execute("VACUUM docs")
        copy.execute("SELECT elacsym.flush('docs_idx')")
        check(copy)
        assert check(conn) == rows
        copy.execute("REINDEX INDEX docs_idx")
        check(copy)
        copy.execute("DROP TABLE docs")
        wait_until(lambda: lives(copy) == [] and copy.execute("SELECT count(*) FROM elacsym.garbage").fetchone() == (0,), "the copy to have forgotten", timeout=20)
        assert all(map(os.path.exists, paths))
        assert check(conn) == rows
    cluster.sql("DROP DATABASE copy")
    with cluster.connect("d") as conn:
        check(conn)
    cluster.sql("DROP DATABASE d")


@pytest.mark.every_pg
def test_extension_and_index_in_one_transaction_and_drop_extension(shared_cluster):
    shared_cluster.create_database("ext", extension=False)
    try:
        with shared_cluster.connect("ext") as conn:
            for _ in range(2):
                with rolled_back(conn):
                    conn.execute("CREATE EXTENSION elacsym CASCADE")
                    make(conn)
                    check(conn)
                with conn.transaction():
                    conn.execute("CREATE EXTENSION elacsym CASCADE")
                    make(conn)
                    check(conn)
                check(conn)
                with rolled_back(conn):
                    conn.execute("DROP EXTENSION elacsym CASCADE")
                check(conn)
                raises(conn, "DROP EXTENSION elacsym", "other objects depend on it")
                conn.execute("DROP EXTENSION elacsym CASCADE")
                assert conn.execute("SELECT count(*) FROM pg_class WHERE relname = 'docs_idx'").fetchone() == (0,)
                conn.execute("DROP TABLE docs; DROP EXTENSION vector CASCADE")
    finally:
        shared_cluster.sql("DROP DATABASE ext WITH (FORCE)")


def test_dump_and_restore(shared_cluster, conn, db):
    make(conn, index=False)
    conn.execute(
        "CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops, body bm25_ops (language = 'german', k1 = 1.5, stopwords = false), n)"
        " INCLUDE (id) WITH (recall_target = 0.9) WHERE n < 9"
    )
    dump = shared_cluster.run("pg_dump", "-d", db.dsn())
    assert "elacsym.wal" not in dump and "INSERT" not in dump
    name = db.name + "_r"
    shared_cluster.create_database(name, extension=False)
    try:
        shared_cluster.psql(dump, name)
        with shared_cluster.connect(name) as restored:
            definition = "SELECT pg_get_indexdef('docs_idx'::regclass)"
            assert restored.execute(definition).fetchone() == conn.execute(definition).fetchone()
            restored.execute("ANALYZE docs")
            for c in (conn, restored):
                assert len(same(c, "SELECT v <-> '[1,2,3,4]', id FROM docs WHERE n < 9 ORDER BY 1")) > 100
                same(c, "SELECT id FROM docs WHERE body @@@ 'lake' AND n < 9")
    finally:
        shared_cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


# -- builds that fail, and large ones ------------------------------------------------------------------------------------


def nothing_left(conn, index="docs_idx"):
    assert conn.execute("SELECT count(*) FROM pg_class WHERE relname = %s", [index]).fetchone() == (0,)
    counts = "SELECT (SELECT count(*) FROM elacsym.namespace), (SELECT count(*) FROM elacsym.segment), (SELECT count(*) FROM elacsym.wal)"
    assert conn.execute(counts).fetchone() == (0, 0, 0)


CREATE = "CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops, body bm25_ops, n)"


@pytest.fixture
def large(conn):
    """20,000 rows of 64 dimensions."""
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, v vector(64), body text, n int)")
    conn.execute(
        "INSERT INTO docs SELECT i, (SELECT array_agg(sin(i * j)::real) FROM generate_series(1, 64) j)::vector(64), 'postgres word' || i % 50, i % 10"
        " FROM generate_series(1, 20000) i"
    )
    conn.execute("VACUUM ANALYZE docs")
    return conn


def test_a_large_build_bounded_memory_progress_cancel_and_wal(large, db):
    conn = large
    # its segments are not in PostgreSQL's log
    before = conn.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
    conn.execute(CREATE)
    wal = conn.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", [before]).fetchone()[0]
    data = conn.execute("SELECT sum(bytes) FROM elacsym.segments").fetchone()[0]
    assert data > 5_000_000 and wal < data / 20, f"{wal} bytes of WAL for {data} bytes of segments"
    query = str([0.1] * 64)
    with conn.transaction():
        conn.execute("SET LOCAL elacsym.effort = 'infinity'")
        top = f"SELECT v <-> '{query}', id FROM docs ORDER BY 1 LIMIT 50"
        same(conn, top)
    conn.execute("DROP INDEX docs_idx")
    settled(conn, 0)
    # little memory: several segments, which become one, the same answers
    with db.connect() as other:
        phases, done, stop = set(), [0], threading.Event()

        def watch():
            while not stop.is_set():
                for phase, tuples, total in other.execute("SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index"):
                    phases.add(phase)
                    done.append(tuples)

        thread = threading.Thread(target=watch)
        thread.start()
        conn.execute("SET maintenance_work_mem = '1MB'")
        conn.execute(CREATE)
        stop.set()
        thread.join()
    (segment,) = conn.execute("SELECT rows, stats FROM elacsym.segments").fetchall()
    assert segment[0] == 20000 and len(segment[1]["compacted"]) > 4, segment
    assert {"building index: reading rows", "building index: building a segment", "building index: merging segments"} & phases, phases
    assert max(done) > 1000 and len(set(done)) > 3, set(done)
    same(conn, top)
    same(conn, "SELECT id FROM docs WHERE body @@@ 'word7' AND n = 7")
    conn.execute("DROP INDEX docs_idx")
    settled(conn, 0)
    # cancelled: nothing is left
    conn.execute("SET statement_timeout = '150ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        conn.execute(CREATE)
    conn.execute("SET statement_timeout = 0")
    nothing_left(conn)
    canceller = threading.Timer(0.2, conn.cancel)
    canceller.start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        conn.execute(CREATE)
    assert time.monotonic() - started < 2
    nothing_left(conn)
    # concurrently: an invalid index is left, which can be dropped, is not used, and does not harm writers
    conn.execute("SET statement_timeout = '150ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        conn.execute(CREATE.replace("INDEX", "INDEX CONCURRENTLY"))
    conn.execute("SET statement_timeout = 0")
    assert conn.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'docs_idx'::regclass").fetchone() == (False,)
    raises(conn, f"SELECT * FROM elacsym.search('docs_idx', '{query}')", "is not valid")
    conn.execute("INSERT INTO docs VALUES (-1), (-2); DELETE FROM docs WHERE id = -2")
    conn.execute("VACUUM docs")
    conn.execute("SET maintenance_work_mem = '64MB'; REINDEX INDEX docs_idx")
    same(conn, top)
    conn.execute("DROP INDEX docs_idx")
    settled(conn, 0)


def test_a_concurrent_build_that_waits_and_is_cancelled_leaves_an_index_that_writers_maintain(conn, db):
    make(conn, index=False)
    with db.connect(autocommit=False) as blocker, db.connect() as writer:
        blocker.execute("INSERT INTO docs VALUES (8000)")
        blocker.execute("SAVEPOINT s")
        conn.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute(CREATE.replace("INDEX", "INDEX CONCURRENTLY"))
        conn.execute("SET statement_timeout = 0")
        fill(writer, first=500, rows=20)
        writer.execute("DELETE FROM docs WHERE id < 20")
        writer.execute("VACUUM docs")
        blocker.commit()
    raises(conn, "SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')", "is not valid")
    conn.execute("REINDEX INDEX CONCURRENTLY docs_idx")
    check(conn)
    conn.execute("DROP INDEX CONCURRENTLY docs_idx")
    settled(conn, 0)


def test_a_row_that_cannot_be_indexed_fails_the_build_and_leaves_nothing(conn):
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, v vector, body text, n int)")
    fill(conn, rows=50)
    conn.execute("INSERT INTO docs VALUES (100, '[1,2,3]')")
    create = "CREATE INDEX docs_idx ON docs USING elacsym ((v::vector(4)) vector_l2_ops)"
    raises(conn, create, "4 dimensions")
    nothing_left(conn)
    conn.execute("UPDATE docs SET v = NULL, n = 0 WHERE id = 100; CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1 / $1'")
    raises(conn, "CREATE INDEX docs_idx ON docs USING elacsym ((f(n)))", "division by zero")
    nothing_left(conn)
    conn.execute(create)
    same(conn, "SELECT v::vector(4) <-> '[1,2,3,4]', id FROM docs ORDER BY 1")


def test_reindex_of_the_whole_database_and_owner_without_rights_in_schema_elacsym(conn, db):
    conn.execute(f'CREATE ROLE {db.name}_owner LOGIN; GRANT CREATE ON SCHEMA public TO {db.name}_owner')
    try:
        with db.cluster.connect(db.name, user=f"{db.name}_owner") as owner:
            make(owner)
            owner.execute("DELETE FROM docs WHERE id % 5 = 0")
            owner.execute("VACUUM docs")
            fill(owner, first=700, rows=20)
            check(owner)
            owner.execute("SELECT elacsym.flush('docs_idx'); REINDEX TABLE docs; TRUNCATE docs")
            fill(owner, rows=30)
            check(owner)
        conn.execute(f'REINDEX DATABASE "{db.name}"')
        check(conn)
    finally:
        conn.execute(f"DROP OWNED BY {db.name}_owner; DROP ROLE {db.name}_owner")


def test_builds_and_rebuilds_under_write_load_find_every_row_once(conn, db):
    """Pitfall 4.2: a row that comes while the index is built gets one entry, or two that count as one."""
    make(conn, rows=400)

    def write(number):
        first = 100_000 * (number + 1)
        with db.connect() as own:
            while not stop.is_set():
                fill(own, first=first, rows=5)
                own.execute(f"UPDATE docs SET v = '[1,1,1,{first % 7}]', n = n - 1 WHERE id % 40 = {first % 40}")
                with rolled_back(own):
                    fill(own, first=first + 50, rows=3)
                    own.execute("UPDATE docs SET n = 5 WHERE id < 20")
                own.execute(f"DELETE FROM docs WHERE id BETWEEN {first - 40} AND {first - 36} OR id % 50 = {first % 50}")
                first += 10

    stop = threading.Event()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for sql in 2 * ["DROP INDEX docs_idx", CREATE.replace("INDEX", "INDEX CONCURRENTLY"), "VACUUM docs", "REINDEX INDEX CONCURRENTLY docs_idx", "REINDEX INDEX docs_idx", "VACUUM docs"]:
            conn.execute(sql)
            if "DROP" not in sql:
                with conn.transaction():
                    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    check(conn)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    check(conn)


@pytest.mark.parametrize(
    ("ddl", "statement", "answer"),
    [
        ("ALTER TABLE docs ALTER COLUMN n TYPE bigint", "SELECT elacsym.flush('docs_idx') >= 0", [(True,)]),
        ("ALTER TABLE docs ALTER COLUMN n TYPE bigint", "SELECT count(*) FROM elacsym.search('docs_idx', '[1,2,3,4]', k => 3)", None),
        ("ALTER TABLE docs ALTER COLUMN n TYPE bigint", "SELECT count(*) FROM elacsym.verify('docs_idx')", None),
        ("DROP INDEX docs_idx", "SELECT elacsym.flush('docs_idx')", None),
        ("DROP TABLE docs", "SELECT elacsym.flush('docs_idx')", None),
        ("DROP TABLE docs", "SELECT count(*) FROM elacsym.search('docs_idx', '[1,2,3,4]')", None),
    ],
)
def test_an_index_that_goes_while_a_function_waits_for_it(conn, db, ddl, statement, answer):
    """A name is looked up anew, as PostgreSQL does it for a table; an oid that was looked up before is an error of its own."""
    make(conn, rows=30)
    outcome = []

    def wait_for_it():
        with db.connect() as other:
            try:
                outcome.append(other.execute(statement).fetchall())
            except psycopg.Error as e:
                outcome.append(e)

    with conn.transaction():
        conn.execute(ddl)
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        wait_until(lambda: conn.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()[0] > 0, 10)
    waiting.join(20)
    if answer is not None:
        assert outcome == [answer]
    else:
        (error,) = outcome
        assert isinstance(error, (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable)), error
        assert "does not exist" in str(error)
    if "ALTER" in ddl:
        check(conn)
