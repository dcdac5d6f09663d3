"""`elacsym.verify()`: silent when all is well, also beside writers and VACUUM; one row for each difference made by hand."""

import random
import threading

import psycopg
import pytest

SETUP = """
CREATE TABLE docs (id int PRIMARY KEY, embedding vector(4), body text, year int, price numeric, tags text[]) WITH (autovacuum_enabled = off);
INSERT INTO docs SELECT i, CASE WHEN i % 9 = 0 THEN NULL ELSE format('[%s,%s,%s,1]', i % 7, i % 11, i % 13)::vector END,
    CASE WHEN i % 8 = 0 THEN NULL ELSE 'text number ' || i END, i % 30, i / 7.0, CASE WHEN i % 5 = 0 THEN '{}' ELSE ARRAY['t' || i % 4] END
  FROM generate_series(1, 500) i;
CREATE INDEX docs_idx ON docs USING elacsym (embedding vector_cosine_ops, body bm25_ops, year, price, tags);
"""


def verify(conn, index="docs_idx"):
    return conn.execute("SELECT problem, ctid::text, detail FROM elacsym.verify(%s)", (index,)).fetchall()


@pytest.fixture
def cluster(new_cluster):
    # nothing is flushed but by the tests
    return new_cluster(config={"elacsym.flush_interval": "1h", "elacsym.flush_rows": 1000000, "autovacuum": "off"})


@pytest.fixture
def docs(cluster):
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        conn.execute(SETUP)
        yield conn


def ctid(conn, id_):
    return conn.execute("SELECT ctid::text FROM docs WHERE id = %s", (id_,)).fetchone()[0]


def restart_engine(cluster, conn):
    cluster.kill_engine()
    conn.execute("SELECT count(*) FROM elacsym.stat_engine")


def test_nothing_is_wrong_after_every_kind_of_change(docs):
    assert verify(docs) == []
    for change in (
        "UPDATE docs SET id = id + 10000 WHERE id % 3 = 0",  # HOT where there is room
        "UPDATE docs SET year = year + 1, embedding = NULL WHERE id % 4 = 0",
        "DELETE FROM docs WHERE id % 7 = 0",
        "INSERT INTO docs (id, embedding) SELECT 50000 + i, '[0,0,0,0]' FROM generate_series(1, 20) i",
        "VACUUM docs",
        "INSERT INTO docs (id, body) SELECT 60000 + i, 'reuses a place' FROM generate_series(1, 200) i",
        "SELECT elacsym.flush('docs_idx')",
        "DELETE FROM docs WHERE id % 2 = 0",
        "VACUUM FREEZE docs",
        "REINDEX INDEX CONCURRENTLY docs_idx",
        "VACUUM FULL docs",
        "ALTER TABLE docs ALTER COLUMN year TYPE int",  # another oid, the same file
        "ALTER TABLE docs RENAME COLUMN year TO jahr",
        "TRUNCATE docs",
        "INSERT INTO docs (id, body) VALUES (1, 'again')",
    ):
        docs.execute(change)
        assert verify(docs) == [], change


def test_uncommitted_and_aborted_rows_are_no_difference(cluster, docs):
    with cluster.connect("d", autocommit=False) as other:
        other.execute("INSERT INTO docs (id, body) SELECT 1000 + i, 'not yet' FROM generate_series(1, 50) i")
        other.execute("DELETE FROM docs WHERE id < 50")
        other.execute("UPDATE docs SET year = 99 WHERE id BETWEEN 100 AND 150")
        assert verify(docs) == []
        assert verify(other) == []
        other.rollback()
    assert verify(docs) == []
    docs.execute("VACUUM docs")
    assert verify(docs) == []


def test_a_transaction_with_an_old_snapshot_may_verify(cluster, docs):
    with cluster.connect("d", autocommit=False) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")  # takes the snapshot, and no lock
        docs.execute("UPDATE docs SET year = year + 1 WHERE id % 2 = 0")
        docs.execute("REINDEX INDEX docs_idx")
        docs.execute("DELETE FROM docs WHERE id % 3 = 0")
        assert verify(old) == []
    assert verify(docs) == []


def test_writers_and_vacuum_beside_it_are_no_difference(cluster, docs):
    stop = threading.Event()
    failures = []

    def work(seed):
        rng = random.Random(seed)
        try:
            with cluster.connect("d") as conn:
                while not stop.is_set():
                    a = rng.randint(1, 900)
                    conn.execute(rng.choice([
                        "DELETE FROM docs WHERE id BETWEEN %(a)s AND %(a)s + 20",
                        "INSERT INTO docs (id, embedding, body) SELECT i, '[1,2,3,4]', 'x' FROM generate_series(%(a)s, %(a)s + 40) i ON CONFLICT DO NOTHING",
                        "UPDATE docs SET year = 1 + coalesce(year, 0) WHERE id BETWEEN %(a)s AND %(a)s + 20",
                    ]), {"a": a})
        except psycopg.errors.DeadlockDetected:
            pass
        except Exception as e:
            failures.append(e)

    def vacuum():
        with cluster.connect("d") as conn:
            while not stop.is_set():
                conn.execute("VACUUM docs")
                conn.execute("SELECT elacsym.flush('docs_idx')")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)] + [threading.Thread(target=vacuum)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            assert verify(docs) == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert verify(docs) == []


def test_a_lost_entry_of_the_buffer_is_missing(docs):
    docs.execute("INSERT INTO docs (id, body) VALUES (777, 'buffered')")
    docs.execute("DELETE FROM elacsym.wal")
    [(problem, tid, detail)] = verify(docs)
    assert (problem, tid) == ("missing entry", ctid(docs, 777)) and "no entry" in detail


def test_rows_of_a_lost_segment_are_missing(docs):
    docs.execute("INSERT INTO docs (id, body) SELECT 600 + i, 'more' FROM generate_series(1, 30) i")
    docs.execute("SELECT elacsym.flush('docs_idx')")
    docs.execute("DELETE FROM elacsym.segment WHERE rows = 30")
    problems = verify(docs)
    assert {problem for problem, *_ in problems} == {"missing entry"}
    assert {tid for _, tid, _ in problems} == {ctid(docs, 600 + i) for i in range(1, 31)}


def test_an_entry_with_other_values_is_reported(docs):
    docs.execute("INSERT INTO docs (id, body) VALUES (777, 'one')")
    docs.execute("UPDATE pg_index SET indisready = false WHERE indexrelid = 'docs_idx'::regclass")
    docs.execute("UPDATE docs SET body = 'two' WHERE id = 777")  # writes no entry for the new version
    docs.execute("UPDATE pg_index SET indisready = true WHERE indexrelid = 'docs_idx'::regclass")
    assert [(problem, tid) for problem, tid, _ in verify(docs)] == [("missing entry", ctid(docs, 777))]
    docs.execute("REINDEX INDEX docs_idx")
    docs.execute("CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * 2; END'")
    docs.execute("CREATE INDEX docs_twice ON docs USING elacsym (twice(id))")
    assert verify(docs, "docs_twice") == []
    docs.execute("CREATE OR REPLACE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN $1 = 5 THEN 0 ELSE $1 * 2 END; END'")
    assert [(problem, tid) for problem, tid, _ in verify(docs, "docs_twice")] == [("different values", ctid(docs, 5))]


def test_an_entry_outside_the_predicate_is_stale(docs):
    docs.execute("CREATE FUNCTION wanted(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 < 100; END'")
    docs.execute("CREATE INDEX docs_some ON docs USING elacsym (year) WHERE wanted(id)")
    assert verify(docs, "docs_some") == []
    docs.execute("CREATE OR REPLACE FUNCTION wanted(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 < 99; END'")
    assert [(problem, tid) for problem, tid, _ in verify(docs, "docs_some")] == [("stale entry", ctid(docs, 99))]


@pytest.mark.parametrize("place", ["an unused place", "beyond the end"])
def test_an_entry_without_its_row_is_stale(docs, place):
    ids = {"an unused place": "id = 250", "beyond the end": "id > 250"}[place]
    docs.execute(f"DELETE FROM docs WHERE {ids}")
    # VACUUM without this index: its rows go and no tombstone is written
    docs.execute("UPDATE pg_index SET indisready = false WHERE indexrelid = 'docs_idx'::regclass")
    docs.execute("VACUUM docs")
    docs.execute("UPDATE pg_index SET indisready = true WHERE indexrelid = 'docs_idx'::regclass")
    problems = verify(docs)
    assert len(problems) == (1 if place == "an unused place" else 250)
    assert {problem for problem, *_ in problems} == {"stale entry"}
    assert any(place in detail for *_, detail in problems)


def test_a_damaged_payload_in_the_buffer_is_named(cluster, docs):
    docs.execute("INSERT INTO docs (id, body) VALUES (777, 'buffered')")
    docs.execute("UPDATE elacsym.wal SET payload = set_byte(payload, 20, get_byte(payload, 20) # 1)")
    restart_engine(cluster, docs)
    [(problem, tid, detail)] = verify(docs)
    assert (problem, tid) == ("checksum", None) and "elacsym.wal" in detail


@pytest.mark.parametrize("name", ["rows.parquet", "search.idx"])
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_a_damaged_object_is_named_at_any_byte_and_whatever_is_cached(cluster, docs, name, place):
    assert verify(docs) == []
    [path] = cluster.data.rglob(name)
    size = path.stat().st_size
    at = {"start": 0, "middle": size // 2, "end": size - 1}[place]
    with path.open("r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x40]))
    for _ in range(2):
        problems = verify(docs)
        assert problems and {problem for problem, *_ in problems} == {"checksum"}
        assert all(name in detail and "offset" in detail for *_, detail in problems), problems
        restart_engine(cluster, docs)


def test_a_lost_object_is_named(cluster, docs):
    [path] = cluster.data.rglob("search.idx")
    path.unlink()
    restart_engine(cluster, docs)
    problems = verify(docs)
    assert {problem for problem, *_ in problems} == {"checksum"} and "search.idx" in problems[0][2]


def test_a_lost_catalog_row_is_a_problem(docs):
    docs.execute("DELETE FROM elacsym.namespace")
    [(problem, _, detail)] = verify(docs)
    assert problem == "checksum" and "docs_idx" in detail


def test_a_catalog_row_of_another_kind_is_a_problem(docs):
    docs.execute("UPDATE elacsym.namespace SET kind = 'n'")
    assert [problem for problem, *_ in verify(docs)] == ["catalog"]


def test_without_an_engine_it_is_an_error(cluster, docs):
    cluster.write_config(**{"elacsym.engine_path": "/nonexistent"})
    cluster.restart()
    with cluster.connect("d") as conn, pytest.raises(psycopg.Error, match="engine"):
        verify(conn)


def test_a_partitioned_index_is_verified_by_its_leaves(docs):
    docs.execute("CREATE TABLE parts (id int, body text) PARTITION BY RANGE (id)")
    docs.execute("CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (100)")
    docs.execute("CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (100) TO (200)")
    docs.execute("CREATE INDEX parts_idx ON parts USING elacsym (body bm25_ops)")
    docs.execute("INSERT INTO parts SELECT i, 'text ' || i FROM generate_series(1, 199) i")
    assert verify(docs, "parts_idx") == []
    docs.execute("DELETE FROM elacsym.wal WHERE namespace = (SELECT incarnation FROM elacsym.indexes WHERE index = 'parts_b_body_idx'::regclass)")
    problems = verify(docs, "parts_idx")
    assert len(problems) == 100 and all('index "parts_b_body_idx"' in detail for *_, detail in problems)


def test_only_the_owner_may_verify(cluster, docs):
    docs.execute("CREATE ROLE stranger LOGIN")
    docs.execute("GRANT SELECT ON docs TO stranger")
    with cluster.connect("d", user="stranger") as conn, pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner"):
        verify(conn)
    docs.execute("ALTER TABLE docs OWNER TO stranger")
    with cluster.connect("d", user="stranger") as conn:
        assert verify(conn) == []


def test_index_expressions_run_with_the_rights_of_the_owner(cluster, docs):
    docs.execute("CREATE ROLE owner_of_it LOGIN; GRANT ALL ON SCHEMA public TO owner_of_it")
    with cluster.connect("d", user="owner_of_it") as owner:
        owner.execute("CREATE TABLE own (id int)")
        owner.execute("CREATE FUNCTION plain(int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN current_user::text; END'")
        owner.execute("INSERT INTO own VALUES (1)")
        owner.execute("CREATE INDEX own_idx ON own USING elacsym (plain(id))")
    # a superuser: as itself it would compute another value
    assert verify(docs, "own_idx") == []
    assert docs.execute("SELECT current_user").fetchone()[0] == "postgres"


def test_other_things_are_refused(docs):
    with pytest.raises(psycopg.Error, match="not an elacsym index"):
        verify(docs, "docs_pkey")
    with pytest.raises(psycopg.Error, match="not an elacsym index"):
        verify(docs, "docs")
    with pytest.raises(psycopg.Error, match="must not be null"):
        verify(docs, None)
