"""An index under crashes, prepared transactions, a dying engine, storage that is away, standbys and logical replication: whatever
happens, it answers as its table does."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psycopg
import pytest

from harness import Moto, wait_until
from harness.index_answers import DIM, by_table, check, fill, lives, make, same

TOP = "SELECT v <-> '[0.1,0.2,0.3,0.4]', id FROM docs ORDER BY 1"


@pytest.fixture
def cluster(new_cluster):
    config = {"elacsym.flush_interval": "50ms", "elacsym.object_retention": 0, "elacsym.fault_point": "", "max_prepared_transactions": 5, "autovacuum": "off"}
    cluster = new_cluster(config=config)
    cluster.create_database("d")
    return cluster


def dies_and_starts(cluster):
    wait_until(lambda: not cluster.processes(), "the server to die at the fault point", 30)
    for lock in [cluster.data / "postmaster.pid", *cluster.socket_dir.iterdir()]:
        lock.unlink(missing_ok=True)
    cluster.write_config(**{"elacsym.fault_point": ""})
    cluster.start()


def churn(conn, first):
    """Dead rows, reused slots, buffered and flushed entries."""
    fill(conn, first=first, rows=30)
    conn.execute("UPDATE docs SET n = (n + 1) % 10 WHERE id % 3 = 0")
    conn.execute(f"DELETE FROM docs WHERE id % 10 = {first // 100 % 10}")


# fault point → the statement that meets it; None: the maintenance worker does
POINTS = {
    "upsert.after_insert": "INSERT INTO docs (id, v) SELECT 100000 + i, '[1,2,3,4]' FROM generate_series(1, 3) i",
    "build.after_upload": "REINDEX INDEX docs_idx",
    "vacuum.before_append": "VACUUM docs",
    "vacuum.after_pages": "VACUUM docs",
    "vacuum.after_append": "VACUUM docs",
    "flush.after_publish_before_commit": "SELECT elacsym.flush('docs_idx')",
    "flush.after_read": None,
    "flush.after_upload": None,
    "flush.after_commit": None,
    "manifest.after_put": None,
    "gc.after_delete": None,
    "fold.after_upload": None,
    "fold.after_commit": None,
    "fold.after_trim": None,
}


def test_a_worker_that_is_sent_away_in_the_middle_of_a_flush_leaves_no_lock(cluster):
    """CREATE DATABASE … TEMPLATE ends the worker of the template, wherever it is; the next one goes on with its work."""
    held = """SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE d.datname = 'd' AND l.locktype = 'object' AND l.objsubid = 1 AND l.mode = 'ExclusiveLock' AND l.granted"""
    with cluster.connect("d") as conn:
        make(conn)
        engine = cluster.engine_pids()[0]
        for attempt in range(20):
            wait_until(lambda: conn.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (0,), "everything to be flushed")
            os.kill(engine, signal.SIGSTOP)
            fill(conn, first=1000 + 10 * attempt, rows=10)
            try:
                wait_until(lambda: cluster.value(held) == 1, "the worker to flush", 2)
                break
            except AssertionError:
                # the engine stopped while it wrote the last flush's manifest or deleted garbage for the worker: once more
                os.kill(engine, signal.SIGCONT)
    try:
        assert cluster.value(held) == 1, "the worker flushes"
        cluster.sql("CREATE DATABASE copy TEMPLATE d")
        wait_until(lambda: cluster.value(held) == 0, "its lock to be gone")
    finally:
        os.kill(engine, signal.SIGCONT)
    with cluster.connect("d") as conn:
        check(conn)
        wait_until(lambda: conn.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (0,), "the next worker to flush")


def test_a_database_and_its_copy_each_have_their_own_tombstones(cluster):
    """Both have the incarnation of the index, and ask one engine: VACUUM of one must not hide rows of the other."""
    with cluster.connect("d") as conn:
        make(conn)
        conn.execute("SELECT elacsym.flush('docs_idx')")
    cluster.sql("CREATE DATABASE copy TEMPLATE d")
    with cluster.connect("d") as conn, cluster.connect("copy") as copy:
        for session, rest in ((conn, 1), (copy, 2)):
            session.execute("DELETE FROM docs WHERE id %% 3 = %s", [rest])
            session.execute("VACUUM (INDEX_CLEANUP ON) docs")
            session.execute("INSERT INTO docs (id, v, n) SELECT 1000 + i, '[1,2,3,4]', 1 FROM generate_series(1, 20) i")
            for other in (conn, copy):
                check(other)
                same(other, TOP)


def test_a_build_that_dies_when_it_has_merged_its_segments_leaves_nothing(cluster):
    with cluster.connect("d") as conn:
        make(conn, index=False)
        fill(conn, first=1000, rows=20000)
        conn.execute("CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops, body bm25_ops, n)")
        before = lives(conn)
        conn.execute("SET maintenance_work_mem = '1MB'; SET elacsym.fault_point = 'build.after_merge'")
        with contextlib.suppress(psycopg.Error):
            conn.execute("REINDEX INDEX docs_idx")
    dies_and_starts(cluster)
    with cluster.connect("d") as conn:
        check(conn)
        assert lives(conn) == before
        conn.execute("SET maintenance_work_mem = '1MB'; REINDEX INDEX docs_idx")
        check(conn)
        (segment,) = conn.execute("SELECT rows, stats FROM elacsym.segments").fetchall()
        assert len(segment[1]["compacted"]) > 1, segment

        def stored():
            # one directory for each segment; the sweep for orphans finds what the dead build had written
            return {path.parent.name for path in cluster.data.glob("elacsym/*/*/*/*/search.idx")}

        def referred():
            return {segment for (segment,) in conn.execute("SELECT segment FROM elacsym.segments")}

        conn.execute("SELECT * FROM elacsym.gc()")
        wait_until(lambda: stored() == referred(), "objects that nothing refers to be gone", 30)


def test_after_kill_9_at_every_step_the_index_answers_as_the_table_does(cluster):
    """INV-5."""
    with cluster.connect("d") as conn:
        make(conn)
    for number, (point, sql) in enumerate(POINTS.items()):
        with cluster.connect("d") as conn:
            churn(conn, 1000 + number * 100)
            if sql is None:
                cluster.write_config(**{"elacsym.fault_point": point})
                cluster.reload()
            else:
                conn.execute(f"SET elacsym.fault_point = '{point}'")
            with contextlib.suppress(psycopg.Error):
                if sql is None:
                    # the worker may be there, and the server gone, before this session looks
                    wait_until(lambda: conn.execute("SHOW elacsym.fault_point").fetchone() == (point,), "the fault point to be set")
                for i in range(30):
                    if sql is None:
                        # work of every kind for the worker
                        churn(conn, 50000 + number * 1000 + i * 30)
                        conn.execute("VACUUM docs")
                        if point.startswith("gc"):
                            conn.execute("REINDEX INDEX docs_idx")
                        time.sleep(0.1)
                    else:
                        conn.execute(sql)
                        # still alive: the worker had flushed all there was, or its snapshot kept dead rows from VACUUM
                        time.sleep(0.1)
                        churn(conn, 50000 + number * 1000 + i * 30)
        dies_and_starts(cluster)
        with cluster.connect("d") as conn:
            check(conn)
            conn.execute("VACUUM docs")
            fill(conn, first=1050 + number * 100, rows=20)
            check(conn)


def test_prepared_transactions_survive_a_restart_with_their_entries(cluster):
    with cluster.connect("d", autocommit=False) as conn, cluster.connect("d") as other:
        make(other)
        for name in ("commits", "rolls_back"):
            fill(conn, first=1000 if name == "commits" else 2000, rows=20)
            conn.execute(f"UPDATE docs SET n = 9 WHERE id % 2 = {int(name == 'commits')}")
            conn.execute(f"DELETE FROM docs WHERE id % 14 = {1 if name == 'commits' else 2}")
            conn.execute(f"PREPARE TRANSACTION '{name}'")
            conn.commit()
        fill(other, first=3000, rows=20)
        check(other)
        other.execute("VACUUM docs")
        wait_until(lambda: other.execute("SELECT buffered = 0 FROM elacsym.indexes").fetchone()[0], "the buffer to be flushed", 10)
        check(other)
    cluster.restart("immediate")
    with cluster.connect("d") as conn:
        rows = check(conn)
        conn.execute("VACUUM docs")
        conn.execute("COMMIT PREPARED 'commits'")
        check(conn)
        conn.execute("ROLLBACK PREPARED 'rolls_back'")
        check(conn)
        ids = {row[0] for row in same(conn, TOP)}
        assert {1000, 1019, 3000} <= ids and 2000 not in ids and len(ids) == rows + 20 - len([i for i in (*range(1, 201), *range(1000, 1020)) if i % 14 == 1])
        conn.execute("VACUUM docs")
        fill(conn, first=4000, rows=40)
        check(conn)
    # a prepared build, and a prepared drop
    with cluster.connect("d", autocommit=False) as conn:
        conn.execute("DROP INDEX docs_idx; CREATE TABLE more AS SELECT * FROM docs; CREATE INDEX more_idx ON more USING elacsym (v vector_l2_ops, body bm25_ops, n)")
        conn.execute("PREPARE TRANSACTION 'ddl'")
        conn.commit()
    cluster.restart("immediate")
    with cluster.connect("d") as conn:
        time.sleep(0.5)
        assert len(lives(conn)) == 1
        conn.execute("ROLLBACK PREPARED 'ddl'")
        check(conn)
        assert conn.execute("SELECT to_regclass('more')").fetchone() == (None,)


def test_a_scan_whose_engine_is_killed_goes_on_without_a_row_twice_or_missing(cluster):
    with cluster.connect("d") as conn, cluster.connect("d") as other:
        make(conn, rows=1500)
        fill(conn, first=2000, rows=100)
        expected = by_table(conn, TOP)
        with conn.transaction():
            conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL elacsym.effort = 'infinity'")
            conn.execute(f"DECLARE c NO SCROLL CURSOR FOR {TOP}")
            got = conn.execute("FETCH 37 FROM c").fetchall()
            for step in range(4):
                cluster.kill_engine()
                if step == 1:
                    # what others commit meanwhile is not the cursor's
                    fill(other, first=5000, rows=30)
                    other.execute("DELETE FROM docs WHERE id % 5 = 0")
                    other.execute("SELECT elacsym.flush('docs_idx')")
                got += conn.execute("FETCH 200 FROM c").fetchall()
            got += conn.execute("FETCH ALL FROM c").fetchall()
        ids = [row[1] for row in got]
        assert len(ids) == len(set(ids))
        assert sorted(ids) == sorted(row[1] for row in expected)
        distances = [row[0] for row in got if row[0] is not None]
        assert distances == sorted(distances)
        check(conn)


def test_while_storage_is_away_writes_work_and_nothing_is_partial(new_cluster):
    """INV-6."""
    with Moto() as moto:
        bucket = moto.create_bucket("away")
        # what the cache has on disk outlives the engine
        config = {"elacsym.cache_disk": 0, "elacsym.storage_url": f"s3://{bucket}/x", "elacsym.flush_interval": "100ms", "autovacuum": "off", **moto.settings}
        cluster = new_cluster(config=config, env=moto.env)
        cluster.create_database("d")
        with cluster.connect("d") as conn:
            make(conn, rows=300)
            conn.execute("DELETE FROM docs WHERE id % 9 = 0")
            # what is cached stays searchable
            expected = check(conn)
            moto.pause()
            try:
                assert len(same(conn, TOP)) == expected
                fill(conn, first=1000, rows=20)
                conn.execute("UPDATE docs SET n = 5 WHERE id < 30")
                assert len(same(conn, TOP)) == expected + 20
                conn.execute("SET statement_timeout = '20s'")
                conn.execute("VACUUM docs")
                fill(conn, first=2000, rows=20)
                assert len(same(conn, TOP)) == expected + 40
                # an engine that has cached nothing: an error, never a part of the answer; and writes go on
                cluster.kill_engine()
                conn.execute("SET statement_timeout = '3s'")
                with pytest.raises(psycopg.Error) as raised, conn.transaction():
                    conn.execute("SET LOCAL enable_seqscan = off")
                    conn.execute(TOP)
                assert raised.value.sqlstate in ("57014", "58000"), raised.value
                fill(conn, first=3000, rows=5)
                # the segments' keys are on the engine's own disk
                conn.execute("DELETE FROM docs WHERE id % 9 = 1")
                conn.execute("SET statement_timeout = '20s'")
                conn.execute("VACUUM docs")
                conn.execute("SET statement_timeout = 0")
            finally:
                moto.resume()
            fill(conn, first=4000, rows=40)
            check(conn)


def test_a_local_directory_that_cannot_be_read_is_a_clear_error_and_heals(cluster):
    with cluster.connect("d") as conn:
        make(conn)
        objects = cluster.data / "elacsym"
        hidden = objects.with_name("hidden")
        # away, not unreadable: the tests may run as root
        os.rename(objects, hidden)
        cluster.kill_engine()
        with pytest.raises(psycopg.Error) as raised, conn.transaction():
            conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            conn.execute(TOP)
        assert raised.value.sqlstate in ("58000", "XX001", "42704") and "segment" in str(raised.value) or "search.idx" in str(raised.value), raised.value
        with pytest.raises(psycopg.Error):
            conn.execute("SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')")
        fill(conn, first=1000, rows=10)
        def is_back():
            # the worker may have made the directory anew for its flush, and be at it: what it wrote belongs to the rest
            try:
                for directory, _, files in os.walk(objects, topdown=False):
                    for path in (Path(directory) / name for name in files):
                        target = hidden / path.relative_to(objects)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        os.rename(path, target)
                    os.rmdir(directory)
                os.rename(hidden, objects)
            except OSError:
                return False
            return True

        wait_until(is_back, "the directory to be back")
        check(conn)


def caught_up(primary, standby):
    lsn = primary.value("SELECT pg_current_wal_insert_lsn()")
    wait_until(lambda: standby.value("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]), "the standby to catch up", timeout=20)


def test_a_standby_answers_while_the_primary_works_and_takes_over(cluster):
    # both see the same objects; nothing is deleted while the standby may need it
    storage = cluster.directory / "objects"
    storage.mkdir(mode=0o777)
    storage.chmod(0o777)
    cluster.write_config(**{"elacsym.storage_url": f"file://{storage}", "elacsym.object_retention": "1h"})
    cluster.restart()
    with cluster.connect("d") as conn:
        make(conn)
        churn(conn, 1000)
        conn.execute("VACUUM docs")
    standby = cluster.standby(config={**{k: v for k, v in cluster.config.items() if k != "listen_addresses"}, "hot_standby_feedback": "on"})
    try:
        standby.start()
        caught_up(cluster, standby)
        with cluster.connect("d") as conn, standby.connect("d") as reader:
            for step in range(5):
                assert check_on_standby(reader) > 100
                churn(conn, 2000 + step * 100)
                check_on_standby(reader)
                if step % 2:
                    conn.execute("VACUUM docs")
                    fill(conn, first=6000 + step * 100, rows=20)
                if step == 2:
                    conn.execute("SELECT elacsym.flush('docs_idx')")
                if step == 3:
                    conn.execute("REINDEX INDEX docs_idx")
                caught_up(cluster, standby)
            rows = len(same(conn, TOP))
            assert check_on_standby(reader) == rows
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                reader.execute("SELECT elacsym.flush('docs_idx')")
        assert standby.engine_pids() and standby.engine_pids() != cluster.engine_pids()
        cluster.stop("immediate")
        standby.promote()
        with standby.connect("d") as conn:
            assert check(conn) == rows
            churn(conn, 9000)
            conn.execute("VACUUM docs")
            fill(conn, first=9500, rows=30)
            check(conn)
            conn.execute("SELECT elacsym.flush('docs_idx')")
            check(conn)
    finally:
        standby.destroy()


def check_on_standby(conn):
    """As `check`, in one snapshot: replay goes on meanwhile."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = same(conn, TOP)
        same(conn, "SELECT id FROM docs WHERE body @@@ 'lake'")
        found = conn.execute("SELECT d.id FROM elacsym.search('docs_idx', '[0.1,0.2,0.3,0.4]', k => 5, effort => 'infinity') s JOIN docs d ON d.ctid = s.ctid").fetchall()
        assert sorted(found) == sorted((row[0],) for row in rows[:5])
    return len(rows)


def test_a_subscriber_of_all_tables_keeps_its_own_index(new_cluster):
    publisher = new_cluster("pub", config={"wal_level": "logical", "elacsym.flush_interval": "100ms"})
    subscriber = new_cluster("sub", config={"wal_level": "logical", "elacsym.flush_interval": "100ms"})
    for cluster in (publisher, subscriber):
        cluster.create_database("d")
        with cluster.connect("d") as conn:
            make(conn, rows=0 if cluster is subscriber else 100)
    with publisher.connect("d") as source, subscriber.connect("d") as target:
        source.execute("CREATE PUBLICATION p FOR ALL TABLES")
        target.execute(f"CREATE SUBSCRIPTION s CONNECTION '{publisher.dsn('d')}' PUBLICATION p WITH (copy_data = false)")
        source.execute("SELECT pg_sleep(0.2)")
        own = target.execute("SELECT id FROM elacsym.namespace").fetchall()
        for step in range(3):
            churn(source, 1000 + step * 100)
            source.execute("SELECT elacsym.flush('docs_idx')")
            source.execute("VACUUM docs")
            churn(source, 1050 + step * 100)
        lsn = source.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
        wait_until(lambda: source.execute("SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = 's'", [lsn]).fetchone()[0], "the subscriber to catch up", timeout=20)
        check(source)
        count = "SELECT count(*), sum(n) FROM docs WHERE id >= 1000"
        assert target.execute(count).fetchone() == source.execute(count).fetchone()
        assert check(target) > 100
        assert target.execute("SELECT id FROM elacsym.namespace").fetchall() == own
        target.execute("DROP SUBSCRIPTION s")


def test_vacuum_without_an_engine_is_a_clear_error_and_the_next_one_works(cluster):
    with cluster.connect("d") as conn:
        make(conn)
        conn.execute("DELETE FROM docs WHERE id % 2 = 0")
        cluster.write_config(**{"elacsym.engine_path": "/nonexistent/elacsym-engine"})
        cluster.reload()
        wait_until(lambda: conn.execute("SELECT pg_reload_conf()") and conn.execute("SHOW elacsym.engine_path").fetchone()[0] != "", "the setting")
        with contextlib.suppress(Exception):
            cluster.kill_engine()
        wait_until(lambda: not cluster.engine_pids(), "the engine to be gone")
        with pytest.raises(psycopg.errors.SystemError) as raised:
            conn.execute("VACUUM docs")
        assert "engine" in raised.value.diag.message_primary and raised.value.diag.message_hint
        # writes go on, and nothing of the table was freed
        fill(conn, first=1000, rows=50)
        conn.execute("DELETE FROM docs WHERE id % 7 = 0")
        cluster.write_config(**{"elacsym.engine_path": ""})
        cluster.reload()
        wait_until(cluster.engine_pids, "the engine to start")
        check(conn)
        conn.execute("VACUUM docs")
        fill(conn, first=2000, rows=100)
        check(conn)


def test_a_freed_place_that_a_row_without_an_entry_takes_answers_for_nobody(conn):
    """Pitfall 3.14: the row that reuses the tid has no entry, because the predicate of the index is false for it."""
    conn.execute(f"CREATE TABLE docs (id int PRIMARY KEY, v vector({DIM}), body text, n int) WITH (autovacuum_enabled = off)")
    fill(conn, rows=300)
    conn.execute("CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops, body bm25_ops) WHERE n < 5")
    for step in range(6):
        if step % 2:
            conn.execute("SELECT elacsym.flush('docs_idx')")
        conn.execute(f"DELETE FROM docs WHERE n < 5 AND id % 2 = {step % 2}")
        conn.execute("VACUUM docs")
        with conn.cursor() as cur:
            cur.executemany("INSERT INTO docs VALUES (%s, '[0.1,0.2,0.3,0.4]', 'postgres lake', 7)", [(1000 * (step + 1) + i,) for i in range(100)])
        same(conn, "SELECT v <-> '[0.1,0.2,0.3,0.4]', id, n FROM docs WHERE n < 5 ORDER BY 1")
        same(conn, "SELECT id FROM docs WHERE body @@@ 'postgres' AND n < 5")
        found = conn.execute("SELECT count(*) FROM elacsym.search('docs_idx', '[0.1,0.2,0.3,0.4]', 'lake', k => 1000) s JOIN docs d ON d.ctid = s.ctid WHERE n >= 5").fetchone()
        assert found == (0,)
        fill(conn, first=10000 * (step + 1), rows=100, seed=step)
    # and one whose table ends before the entry's place
    conn.execute("DELETE FROM docs WHERE id > 20")
    conn.execute("VACUUM docs")
    same(conn, "SELECT v <-> '[0.1,0.2,0.3,0.4]', id, n FROM docs WHERE n < 5 ORDER BY 1")
