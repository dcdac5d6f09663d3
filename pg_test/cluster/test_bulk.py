"""Bulk upserts: one call with at least `elacsym.flush_rows` documents (or `flush_bytes`) writes segments inside the caller's
transaction, and nothing into the write buffer."""

import contextlib
import json
import threading

import psycopg
import pytest

from harness import Moto, wait_until

pytestmark = pytest.mark.every_pg

# A bulk is 50 documents or 64 kB; the worker flushes nothing smaller by itself.
ROWS = 50
CONFIG = {"elacsym.flush_interval": "1h", "elacsym.flush_rows": ROWS, "elacsym.flush_bytes": "64kB", "max_prepared_transactions": 4}
SCHEMA = {"vector_dim": 3, "attributes": {"v": "int", "words": {"type": "string", "full_text": True}}}


@pytest.fixture(scope="module")
def bulk_cluster():
    from harness import Cluster

    with Cluster("bulk", config=CONFIG) as cluster:
        cluster.start()
        # a bulk write does not wait for an engine
        cluster.wait_for_log("elacsym-engine .* is ready")
        yield cluster


@pytest.fixture
def q(bulk_cluster, request):
    name = f"b{abs(hash(request.node.name)) % 10**8}"
    bulk_cluster.create_database(name)
    with bulk_cluster.connect(name) as conn:
        create(conn)
        conn.dbname = name
        yield conn
    bulk_cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def create(conn):
    conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(SCHEMA)])


def document(i, v):
    return {"id": i, "vector": [i, 1, v], "attributes": {"v": v, "words": f"all v{v} d{i}"}}


def bulk(conn, v, ids=range(ROWS)):
    return upsert(conn, [document(i, v) for i in ids])


def upsert(conn, documents):
    return conn.execute("SELECT elacsym.upsert('ns', %s::jsonb)", [json.dumps(documents)]).fetchone()[0]


def versions(conn, top=200):
    """id → v, which fetch, the vector arm and the text arm must agree on."""
    found = dict(conn.execute("SELECT id, (attributes ->> 'v')::int FROM elacsym.fetch('ns', (SELECT array_agg(i) FROM generate_series(0, %s) i))", [top]).fetchall())
    for arm in ("'[1,1,1]', effort => 'infinity'", "full_text => '\"all\"'"):
        rows = conn.execute(f"SELECT id, (attributes ->> 'v')::int FROM elacsym.query('ns', {arm}, top_k => 1000, include_attributes => '{{v}}')").fetchall()
        assert sorted(rows) == sorted(found.items())
    return found


def wal_rows(conn):
    return conn.execute("SELECT count(*) FROM elacsym.wal").fetchone()[0]


def segments(conn):
    return conn.execute("SELECT count(*) FROM elacsym.segment").fetchone()[0]


def settle(conn):
    """Waits for the worker to have let go of the flush lock: after a commit it writes the manifest under it."""
    settled = "SELECT bool_and(generation = manifest_generation) FROM elacsym.namespaces"
    lock = "SELECT count(*) FROM pg_locks WHERE classid = 'elacsym.namespace'::regclass AND mode = 'ExclusiveLock'"
    wait_until(lambda: conn.execute(settled).fetchone()[0] and conn.execute(lock).fetchone()[0] == 0, "maintenance to be done", timeout=20)


def all_of(v, ids=range(ROWS)):
    return dict.fromkeys(ids, v)


def test_bulk_upsert_is_a_segment_at_once_for_its_transaction_and_after_the_commit_for_others(q, bulk_cluster):
    with bulk_cluster.connect(q.dbname) as other:
        with q.transaction():
            assert bulk(q, 1) == ROWS
            assert (wal_rows(q), segments(q)) == (0, 1)
            assert versions(q) == all_of(1)
            assert versions(other) == {}
        assert versions(other) == versions(q) == all_of(1)
    assert q.execute("SELECT segments, rows, buffered, generation FROM elacsym.namespaces").fetchone() == (1, ROWS, 0, 1)
    settle(q)


def test_fewer_documents_go_to_the_buffer_and_many_bytes_do_not(q):
    with q.transaction():
        bulk(q, 1, range(ROWS - 1))
        assert (wal_rows(q), segments(q)) == (ROWS - 1, 0)
        upsert(q, [{"id": 1, "attributes": {"v": 2, "words": "all " + "long " * 20_000}}])
        assert (wal_rows(q), segments(q)) == (ROWS - 1, 1)
        assert dict(q.execute("SELECT id, (attributes ->> 'v')::int FROM elacsym.fetch('ns', '{1,2}')").fetchall()) == {1: 2, 2: 1}


def test_id_twice_in_one_bulk_keeps_the_last(q):
    assert upsert(q, [document(i % ROWS, i // ROWS) for i in range(2 * ROWS)]) == ROWS
    assert versions(q) == all_of(1)
    assert q.execute("SELECT rows FROM elacsym.segments").fetchall() == [(ROWS,)]


def test_bulk_replaces_older_versions_in_segments_and_in_the_buffer(q):
    """INV-3."""
    bulk(q, 1)
    settle(q)
    upsert(q, [document(3, 2), document(70, 2)])
    q.execute("SELECT elacsym.delete('ns', '{4}')")
    with q.transaction():
        bulk(q, 3, range(3, 3 + ROWS))
        assert segments(q) == 2
        expected = all_of(1, range(3)) | all_of(3, range(3, 3 + ROWS)) | {70: 2}
        assert versions(q) == expected
    assert versions(q) == expected
    assert q.execute("SELECT rows, dead_rows FROM elacsym.segments ORDER BY generation").fetchall() == [(ROWS, ROWS - 3), (ROWS, 0)]
    q.execute("SELECT elacsym.flush('ns')")
    assert versions(q) == expected
    assert wal_rows(q) == 0


def test_own_writes_before_and_after_a_bulk_keep_their_order(q):
    """INV-3, in one transaction and in one statement."""
    for round in (1, 2):
        with q.transaction():
            upsert(q, [document(0, 1), document(90, 1)])
            bulk(q, 2)
            upsert(q, [document(1, 3)])
            q.execute("SELECT elacsym.delete('ns', '{2}')")
            bulk(q, 4, range(10, 10 + ROWS))
            expected = {0: 2, 1: 3, 90: 1} | all_of(2, range(3, 10)) | all_of(4, range(10, 10 + ROWS))
            assert versions(q) == expected
            assert wal_rows(q) == 4 * round
        assert versions(q) == expected
        settle(q)
    q.execute("SELECT elacsym.flush('ns')")
    assert versions(q) == expected
    batches = [json.dumps([document(i, v) for i in range(ROWS)]) for v in (5, 6, 7)]
    with q.transaction():
        q.execute("SELECT elacsym.upsert('ns', d::jsonb) FROM unnest(%s::text[]) WITH ORDINALITY AS b (d, n)", [batches])
        assert wal_rows(q) == 0
        assert versions(q)[0] == versions(q)[ROWS - 1] == 7


def test_rollback_leaves_nothing_and_a_savepoint_only_its_own(q, bulk_cluster):
    with q.transaction(force_rollback=True):
        bulk(q, 1)
    assert versions(q) == {}
    assert (wal_rows(q), segments(q)) == (0, 0)
    bulk(q, 1)
    settle(q)
    before = q.execute("SELECT array_agg(s) FROM elacsym.segment s").fetchone()
    with q.transaction():
        with q.transaction(force_rollback=True):
            bulk(q, 2, range(20, 20 + ROWS))
            assert versions(q) == all_of(1) | all_of(2, range(20, 20 + ROWS))
        assert versions(q) == all_of(1)
        # the savepoint took the lock with it: another session may publish meanwhile, and this one again afterwards
        with bulk_cluster.connect(q.dbname) as other:
            bulk(other, 3, range(100, 100 + ROWS))
            assert wal_rows(other) == 0
            settle(other)
        with q.transaction(force_rollback=True):
            bulk(q, 4)
        with q.transaction():
            bulk(q, 5, range(40, 40 + ROWS))
        assert wal_rows(q) == 0
    assert versions(q) == all_of(1, range(40)) | all_of(5, range(40, 90)) | all_of(3, range(100, 150))
    assert q.execute("SELECT array_agg(s) FROM elacsym.segment s WHERE delete_vector IS NULL").fetchone() != before
    assert segments(q) == 3


def test_older_transaction_that_commits_later_loses(q, bulk_cluster):
    """INV-3."""
    with bulk_cluster.connect(q.dbname) as older:
        with older.transaction():
            upsert(older, [document(0, 1), document(99, 1)])
            older.execute("SELECT elacsym.delete('ns', '{1}')")
            with q.transaction():
                bulk(q, 2)
                assert wal_rows(q) == 0
        assert versions(q) == all_of(2) | {99: 1}
        settle(q)
        # and a bulk that began before a write of another session, and commits after it
        with q.transaction():
            bulk(q, 3)
            upsert(older, [document(0, 4)])
            older.execute("SELECT elacsym.delete('ns', '{1}')")
        expected = all_of(3) | {0: 4, 99: 1}
        del expected[1]
        assert versions(q) == versions(older) == expected
    q.execute("SELECT elacsym.flush('ns')")
    assert versions(q) == expected


def test_while_another_session_holds_the_flush_lock_the_buffer_takes_the_rows(q, bulk_cluster):
    with bulk_cluster.connect(q.dbname) as other:
        with other.transaction():
            bulk(other, 1)
            with q.transaction():
                q.execute("SET LOCAL statement_timeout = '20s'")
                bulk(q, 2)
                assert (wal_rows(q), segments(q)) == (ROWS, 0)
                assert versions(q) == all_of(2)
        assert versions(q) == versions(other) == all_of(2)
    wait_until(lambda: wal_rows(q) == 0, "the worker to flush", timeout=20)
    assert versions(q) == all_of(2)


def test_transaction_with_one_snapshot_writes_to_the_buffer(q, bulk_cluster):
    """INV-2."""
    for level in (psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE):
        with bulk_cluster.connect(q.dbname) as other:
            other.isolation_level = level
            with other.transaction(force_rollback=True):
                assert bulk(other, 1) == ROWS
                assert (wal_rows(other), segments(other)) == (ROWS, 0)
                assert versions(other) == all_of(1)


def test_readers_with_an_older_snapshot_see_what_they_saw(q, bulk_cluster):
    """INV-2."""
    bulk(q, 1)
    settle(q)
    with bulk_cluster.connect(q.dbname) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with reader.transaction():
            assert versions(reader) == all_of(1)
            bulk(q, 2, range(25, 25 + ROWS))
            assert versions(reader) == all_of(1)
        assert versions(reader) == all_of(1, range(25)) | all_of(2, range(25, 75))


def test_prepared_bulk_comes_with_its_commit(q):
    q.execute("BEGIN")
    bulk(q, 1)
    q.execute("PREPARE TRANSACTION 'bulk'")
    assert versions(q) == {}
    # the prepared transaction holds the flush lock
    bulk(q, 2, range(10, 10 + ROWS))
    assert wal_rows(q) == ROWS
    q.execute("COMMIT PREPARED 'bulk'")
    assert versions(q) == all_of(1, range(10)) | all_of(2, range(10, 60))


def test_sessions_that_load_at_once_lose_nothing(q, bulk_cluster):
    """INV-1, INV-3: some calls become segments, some go to the buffer; each id was written by one session, in rising versions."""

    def load(base):
        with bulk_cluster.connect(q.dbname) as conn:
            for v in range(1, 7):
                with conn.transaction():
                    bulk(conn, v, range(base, base + ROWS))
                    with contextlib.suppress(ZeroDivisionError), conn.transaction():
                        bulk(conn, 1000 + v, range(base, base + ROWS))
                        raise ZeroDivisionError
                seen = conn.execute("SELECT DISTINCT attributes ->> 'v' FROM elacsym.fetch('ns', (SELECT array_agg(i) FROM generate_series(%s::int, %s::int) i))", [base, base + ROWS - 1]).fetchall()
                if seen != [(str(v),)]:
                    wrong.append((base, v, seen))

    wrong, bases = [], (0, 50, 100)
    threads = [threading.Thread(target=load, args=[base]) for base in bases]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert versions(q) == all_of(6, range(150))
    q.execute("SELECT elacsym.flush('ns')")
    assert versions(q) == all_of(6, range(150))


def test_many_documents_become_several_segments_of_bounded_size(q):
    """100,000 rows or 64 MiB are one segment at most."""
    q.execute("SET statement_timeout = '300s'")
    made = """
        SELECT elacsym.upsert('ns', jsonb_agg(jsonb_build_object('id', i, 'attributes', jsonb_build_object('v', i, 'words', 'w' || i % 1000))))
          FROM generate_series(1, 100500) i"""
    with q.transaction():
        assert q.execute(made).fetchone()[0] == 100_500
        assert wal_rows(q) == 0
        assert q.execute("SELECT rows FROM elacsym.segments ORDER BY generation").fetchall() == [(100_000,), (500,)]
        found = q.execute("SELECT count(*), sum((attributes ->> 'v')::int - id) FROM elacsym.query('ns', full_text => '\"w7\"', top_k => 1000, include_attributes => '{v}')").fetchone()
        assert found == (101, 0)


def test_without_an_engine_a_bulk_goes_to_the_buffer_at_once(new_cluster):
    """INV-6."""
    cluster = new_cluster(config={**CONFIG, "elacsym.engine_path": "/nonexistent/elacsym-engine"})
    cluster.create_database("b")
    with cluster.connect("b") as conn:
        create(conn)
        # far below the time that a search waits for an engine
        conn.execute("SET statement_timeout = '2s'")
        with conn.transaction():
            assert bulk(conn, 1) == ROWS
            assert (wal_rows(conn), segments(conn)) == (ROWS, 0)
    cluster.write_config(**{"elacsym.engine_path": None})
    cluster.restart()
    with cluster.connect("b") as conn:
        assert versions(conn) == all_of(1)
        settle(conn)
        cluster.kill_engine()
        bulk(conn, 2, range(10, 10 + ROWS))
        assert versions(conn) == all_of(1, range(10)) | all_of(2, range(10, 60))
        wait_until(lambda: wal_rows(conn) == 0, "the worker to flush", 30)
        assert versions(conn) == all_of(1, range(10)) | all_of(2, range(10, 60))


def test_with_object_storage_down_a_bulk_goes_to_the_buffer_and_the_next_one_at_once(new_cluster):
    """INV-6."""
    with Moto() as moto:
        url = {"elacsym.storage_url": f"s3://{moto.create_bucket('bulk')}/x"}
        cluster = new_cluster(config={**CONFIG, **moto.settings, **url}, env=moto.env)
        cluster.create_database("b")
        cluster.wait_for_log("elacsym-engine .* is ready")
        with cluster.connect("b") as conn:
            create(conn)
            bulk(conn, 1)
            assert wal_rows(conn) == 0
            settle(conn)
            moto.pause()
            try:
                # another session finds out while nothing answers, and is cancelled at once
                with cluster.connect("b") as impatient, pytest.raises(psycopg.errors.QueryCanceled):
                    impatient.execute("SET statement_timeout = '1s'")
                    bulk(impatient, 9)
            finally:
                moto.resume()
            assert versions(conn) == all_of(1)
            kept = {k: moto.get("bulk", k) for k in moto.keys("bulk")}
            moto.stop()
            offset = cluster.log_size()
            assert bulk(conn, 2, range(100, 100 + ROWS)) == ROWS
            assert wal_rows(conn) == ROWS
            cluster.wait_for_log('bulk write to namespace "ns" goes to the write buffer', offset)
            conn.execute("SET statement_timeout = '2s'")
            bulk(conn, 3, range(100, 100 + ROWS))
            assert wal_rows(conn) == 2 * ROWS
            conn.execute("RESET statement_timeout")
            moto.start()
            moto.create_bucket("bulk")
            for key, body in kept.items():
                moto.put("bulk", key, body)
            wait_until(lambda: wal_rows(conn) == 0, "the worker to flush", 90)
            assert versions(conn) == all_of(1) | all_of(3, range(100, 150))
            assert kept.keys() <= set(moto.keys("bulk"))
