"""The write buffer has limits: beyond the first, writers are delayed; at the second, refused. What the gauge shows must be what
is in the table, whatever transactions, crashes and restarts have done."""

import contextlib
import json
import threading
import time

import psycopg
import pytest

from harness import pg_major, wait_until

# As `back_pressure::entry_bytes` counts.
COUNTED = "SELECT coalesce(sum(octet_length(payload) + 128), 0)::bigint FROM elacsym.wal"
MIB = 1 << 20
SCHEMA = {"attributes": {"words": {"type": "string", "indexed": False}, "n": "int"}}
BIG = 4096
CONFIG = {"elacsym.flush_interval": "1h", "elacsym.flush_rows": 100_000, "max_prepared_transactions": 5, "autovacuum": "off"}


@pytest.fixture
def cluster(new_cluster):
    """With a database `d`, in which nothing is flushed that the test does not flush."""
    cluster = new_cluster(config=CONFIG)
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(SCHEMA)])
    return cluster


@pytest.fixture
def conn(cluster):
    with cluster.connect("d") as connection:
        yield connection


def limits(cluster, **kilobytes):
    """elacsym.buffer_limit and buffer_hard_limit, in every session from now on."""
    cluster.write_config(**{f"elacsym.buffer_{name}": value for name, value in kilobytes.items()})
    cluster.reload()
    wait_until(
        lambda: all(int(cluster.value("SELECT setting FROM pg_settings WHERE name = %s", [f"elacsym.buffer_{name}"])) == value for name, value in kilobytes.items()),
        "the limits to be read",
    )


def write(conn, rows, size=BIG, first=1):
    conn.execute(
        "SELECT elacsym.upsert('ns', jsonb_agg(jsonb_build_object('id', i, 'attributes', jsonb_build_object('words', repeat('x', %s))))) FROM generate_series(%s::int, %s::int) i",
        [size, first, first + rows - 1],
    )


def gauge(conn):
    """(bytes, uncommitted bytes)"""
    return conn.execute("SELECT bytes, uncommitted_bytes FROM elacsym.stat_buffer").fetchone()


def waited(conn):
    return conn.execute("SELECT waited_seconds FROM elacsym.stat_buffer").fetchone()[0]


def counted(conn):
    return conn.execute(COUNTED).fetchone()[0]


@contextlib.contextmanager
def no_flush(cluster):
    """Holds the right to flush the namespace: the buffer only grows."""
    with cluster.connect("d") as holder, holder.transaction(force_rollback=True):
        holder.execute("SELECT elacsym.flush('ns')")
        yield


def test_the_gauge_is_what_the_table_holds(cluster, conn):
    with no_flush(cluster):
        assert gauge(conn) == (0, 0)
        write(conn, 3)
        assert gauge(conn) == (counted(conn), 0) and counted(conn) > 3 * BIG
        # uncommitted, then rolled back
        before = counted(conn)
        with conn.transaction(force_rollback=True):
            write(conn, 5)
            assert gauge(conn) == (before, counted(conn) - before)
        assert gauge(conn) == (before, 0)
        # savepoints: one is rolled back with what was released into it, one stays
        with conn.transaction():
            with conn.transaction(force_rollback=True):
                write(conn, 1, first=10)
                with conn.transaction():
                    write(conn, 2, first=20)
                assert gauge(conn)[1] > 3 * BIG
            assert gauge(conn) == (before, 0)
            with conn.transaction():
                write(conn, 1, first=30)
        assert gauge(conn) == (counted(conn), 0) and counted(conn) > before
        # thousands of savepoints, every other one rolled back
        conn.execute(
            "DO $$ BEGIN FOR i IN 1..2000 LOOP BEGIN PERFORM elacsym.upsert('ns', i, NULL, '{}'); IF i % 2 = 0 THEN RAISE EXCEPTION 'no'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$"
        )
        assert gauge(conn) == (counted(conn), 0)
        # deletions and patches are entries too
        conn.execute("SELECT elacsym.delete('ns', '{1,2}'), elacsym.patch('ns', '[{\"id\": 3, \"attributes\": {\"words\": \"y\"}}]')")
        assert gauge(conn) == (counted(conn), 0)
    conn.execute("SELECT elacsym.flush('ns')")
    wait_until(lambda: gauge(conn) == (counted(conn), 0) == (0, 0), "the flush to have emptied it")
    # written, flushed and written again in one transaction
    with conn.transaction():
        write(conn, 4)
        conn.execute("SELECT elacsym.flush('ns')")
        write(conn, 1)
    assert gauge(conn) == (counted(conn), 0) and counted(conn) > BIG
    # a flush that is rolled back takes nothing out
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT elacsym.flush('ns')")
    assert gauge(conn) == (counted(conn), 0) and counted(conn) > BIG
    conn.execute("SELECT elacsym.drop_namespace('ns')")
    assert gauge(conn) == (counted(conn), 0) == (0, 0)


def test_rows_of_an_indexed_table_count_and_go_with_their_index(cluster, conn):
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, v vector(3)); CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops)")
    conn.execute("INSERT INTO docs SELECT i, '[1,2,3]' FROM generate_series(1, 100) i")
    conn.execute("UPDATE docs SET v = '[3,2,1]' WHERE id <= 10")
    assert conn.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (110,)
    assert gauge(conn) == (counted(conn), 0)
    with conn.cursor().copy("COPY docs FROM STDIN") as copy:
        for i in range(200, 300):
            copy.write_row((i, "[1,1,1]"))
    assert gauge(conn) == (counted(conn), 0)
    conn.execute("DELETE FROM docs WHERE id < 50")
    conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
    wait_until(lambda: gauge(conn) == (counted(conn), 0), "the worker to have folded the tombstones", 20)
    conn.execute("DROP TABLE docs")
    wait_until(lambda: gauge(conn) == (counted(conn), 0) == (0, 0), "the worker to have buried the index", 20)


def test_a_session_that_is_ended_leaves_nothing(cluster, conn):
    with no_flush(cluster):
        victim = cluster.connect("d", autocommit=False)
        write(victim, 5)
        assert gauge(conn)[1] > 5 * BIG
        conn.execute("SELECT pg_terminate_backend(%s)", [victim.info.backend_pid])
        wait_until(lambda: gauge(conn) == (0, 0), "the transaction to be rolled back")


def test_after_the_end_of_a_prepared_transaction_the_worker_counts(cluster, conn):
    write(conn, 2)
    for number, end in enumerate(["COMMIT", "ROLLBACK"], 1):
        conn.execute("BEGIN")
        write(conn, 5, first=100 * number)
        conn.execute("PREPARE TRANSACTION 'p'")
        conn.execute(f"{end} PREPARED 'p'")
        # which calls nobody back
        wait_until(lambda: gauge(conn) == (counted(conn), 0), "the worker to have counted", 20)
    assert conn.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (7,)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_after_a_restart_the_worker_counts(cluster, how):
    with cluster.connect("d") as conn:
        write(conn, 20)
        before = counted(conn)
    if how == "stop":
        cluster.stop()
    else:
        cluster.kill9(everything=True)
    cluster.start()
    with cluster.connect("d") as conn:
        wait_until(lambda: conn.execute("SELECT counted_at IS NOT NULL FROM elacsym.stat_buffer").fetchone()[0], "the worker to have counted", 20)
        assert gauge(conn) == (counted(conn), 0) == (before, 0)


def test_a_promoted_standby_counts(cluster, conn):
    write(conn, 20)
    before = counted(conn)
    standby = cluster.standby(config={k: v for k, v in cluster.config.items() if k != "listen_addresses"})
    try:
        standby.start()
        assert standby.sql("SELECT bytes, counted_at FROM elacsym.stat_buffer", dbname="d") == [(0, None)], "nobody writes there"
        standby.promote()
        wait_until(lambda: standby.value("SELECT counted_at FROM elacsym.stat_buffer", dbname="d"), "the worker to have counted", 20)
        assert standby.value("SELECT bytes FROM elacsym.stat_buffer", dbname="d") == before
    finally:
        standby.destroy()


def test_a_bulk_write_counts_nothing(cluster, conn):
    limits(cluster, limit=64, hard_limit=64)
    cluster.write_config(**{"elacsym.flush_rows": 50})
    cluster.reload()
    wait_until(lambda: cluster.value("SHOW elacsym.flush_rows") == "50", "the setting to be read")
    with conn.transaction():
        # 400 KB
        write(conn, 100)
        assert gauge(conn) == (0, 0)
    assert gauge(conn) == (0, 0) and waited(conn) == 0
    assert conn.execute("SELECT count(*) FROM elacsym.segments").fetchone() == (1,)


def test_beyond_the_limit_writers_are_delayed_in_proportion_and_visibly(cluster, conn):
    limits(cluster, limit=1024, hard_limit=0)
    with no_flush(cluster):
        # below the limit, and beyond it within one transaction, nobody waits: no flush could take its rows
        write(conn, 100)
        with conn.transaction(force_rollback=True):
            write(conn, 600, first=1000)
        assert waited(conn) == 0
        # half of the limit beyond it: half of 100 ms for each entry
        write(conn, 274, first=2000)
        committed, _ = gauge(conn)
        assert 1.4 * MIB < committed < 1.6 * MIB
        delay = conn.execute("SELECT delay_ms FROM elacsym.stat_buffer").fetchone()[0]
        assert delay == pytest.approx(100 * (committed - MIB) / MIB)
        before = waited(conn)
        began = time.monotonic()
        with conn.transaction(force_rollback=True):
            for i in range(10):
                conn.execute("SELECT elacsym.upsert('ns', %s, NULL, '{}')", [i])
        assert waited(conn) - before == pytest.approx(10 * delay / 1e3, rel=0.01)
        assert time.monotonic() - began >= 10 * delay / 1e3
        # visible, and ended by cancel and by statement_timeout
        with cluster.connect("d") as writer:
            raised = []

            def load():
                try:
                    write(writer, 1000, size=10, first=5000)
                except psycopg.Error as e:
                    raised.append(e)

            thread = threading.Thread(target=load)
            thread.start()
            event = ("Extension", "ElacsymBufferLimit" if pg_major() >= 17 else "Extension")
            activity = "SELECT wait_event_type, wait_event FROM pg_stat_activity WHERE pid = %s"
            wait_until(lambda: conn.execute(activity, [writer.info.backend_pid]).fetchone() == event, "the writer to be seen waiting")
            began = time.monotonic()
            conn.execute("SELECT pg_cancel_backend(%s)", [writer.info.backend_pid])
            thread.join(10)
            assert isinstance(raised[0], psycopg.errors.QueryCanceled) and time.monotonic() - began < 2
            writer.execute("SET statement_timeout = '300ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                write(writer, 1000, size=10, first=5000)
        assert gauge(conn) == (counted(conn), 0)
        # deletions wait for nobody
        before = waited(conn)
        conn.execute("SELECT elacsym.delete('ns', (SELECT array_agg(i) FROM generate_series(1, 500) i))")
        assert waited(conn) == before
    # with room again nobody waits
    wait_until(lambda: gauge(conn)[0] < MIB, "the worker to flush", 30)
    before = waited(conn)
    write(conn, 20, first=9000)
    assert waited(conn) == before
    cluster.wait_for_log("WARNING: .*more than elacsym.buffer_limit: writers are delayed")
    cluster.wait_for_log("writers are not delayed any more")


def test_the_hard_limit_refuses_writers_and_nobody_else(cluster, conn):
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, v vector(3)); CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops)")
    conn.execute("INSERT INTO docs SELECT i, '[1,2,3]' FROM generate_series(1, 50) i")
    conn.execute("SELECT elacsym.flush('docs_idx')")
    limits(cluster, limit=0, hard_limit=1024)
    with no_flush(cluster):
        write(conn, 240)
        statements = [
            "SELECT elacsym.upsert('ns', 1, NULL, jsonb_build_object('words', repeat('x', 100000)))",
            "SELECT elacsym.patch('ns', jsonb_build_array(jsonb_build_object('id', 1, 'attributes', jsonb_build_object('words', repeat('x', 100000)))))",
            "INSERT INTO docs SELECT i, '[1,2,3]' FROM generate_series(1000, 9000) i",
        ]
        for number, statement in enumerate(statements, 1):
            before = counted(conn)
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded) as raised:
                conn.execute(statement)
            assert raised.value.sqlstate == "53400"
            assert raised.value.diag.message_primary == "the write buffer of this database has reached elacsym.buffer_hard_limit"
            assert "0 MB of running transactions; the limit is 1 MB" in raised.value.diag.message_detail
            assert "raise elacsym.buffer_hard_limit" in raised.value.diag.message_hint
            assert conn.execute("SELECT refused FROM elacsym.stat_buffer").fetchone() == (number,)
            assert (counted(conn), gauge(conn)) == (before, (before, 0)), "it changes nothing"
        # what makes room works, and what reads
        assert conn.execute("SELECT elacsym.delete('ns', '{1,2,3}')").fetchone() == (3,)
        assert conn.execute("SELECT elacsym.delete_where('ns', '{\"field\": \"n\", \"op\": \"eq\", \"value\": 5}')").fetchone() == (0,)
        conn.execute("DELETE FROM docs WHERE id < 20")
        conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
        assert conn.execute("SELECT count(*) FROM elacsym.scan('ns')").fetchone() == (237,)
        # DDL that writes segments, not entries
        conn.execute("REINDEX INDEX docs_idx")
    # the refusal itself has woken the worker, which flushes what is buffered although nothing else is due
    wait_until(lambda: gauge(conn)[0] == 0, "the worker to flush", 30)
    for statement in statements[:2]:
        conn.execute(statement)
    assert gauge(conn) == (counted(conn), 0)


def test_long_before_the_limit_everything_is_flushed_whatever_its_age(cluster, conn):
    limits(cluster, limit=1024, hard_limit=0)
    write(conn, 100)
    time.sleep(1)
    assert gauge(conn) == (counted(conn), 0) and counted(conn) > 100 * BIG, "less than half of the limit stays"
    write(conn, 50, first=1000)
    wait_until(lambda: gauge(conn) == (0, 0), "the worker to flush", 20)
    assert waited(conn) == 0


def test_writers_and_flushes_at_once_end_with_the_right_count(cluster, conn):
    """INV-1, of the gauge: each byte is counted once, however flushes, commits, rollbacks and counts meet."""
    limits(cluster, limit=512, hard_limit=0)

    def load(number):
        with cluster.connect("d") as own:
            for i in range(60):
                with contextlib.suppress(ZeroDivisionError), own.transaction():
                    write(own, 5, size=2000, first=number * 100_000 + i * 5)
                    if i % 3 == 0:
                        raise ZeroDivisionError

    threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    peak = 0
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, sum(gauge(conn)))
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    wait_until(lambda: gauge(conn) == (counted(conn), 0), "a running flush to end")
    assert 0 < peak < 4 * 512 * 1024, "the delay keeps it near the limit"
    conn.execute("SELECT elacsym.flush('ns')")
    wait_until(lambda: gauge(conn) == (counted(conn), 0) == (0, 0), "it to be empty")
    assert conn.execute("SELECT count(*) FROM elacsym.scan('ns', \"limit\" => 10000)").fetchone() == (4 * 40 * 5,)
