"""Compaction: few segments whatever is written, the same answers before, during and after, dead entries forgotten only when nothing
can lose against them any more, and nothing lost by crash, cancel, DROP, REINDEX, standby or schema change. Crashes of namespaces at
each step are in test_crash.py."""

import contextlib
import json
import math
import os
import random
import time

import psycopg
import pytest

from harness import Moto, wait_until
from harness.index_answers import check, fill, make
from harness.load import BackgroundLoad

SCHEMA = {"vector_dim": 4, "vector_metric": "l2", "attributes": {"n": "int", "words": {"type": "string", "full_text": True}}}
FLUSH_ROWS = 50
CONFIG = {
    "elacsym.compaction": "on",
    "elacsym.flush_interval": "20ms",
    "elacsym.flush_rows": FLUSH_ROWS,
    # longer than any query here takes: what it reads must not go under its hands
    "elacsym.object_retention": "3s",
    "elacsym.fault_point": "",
    "autovacuum": "off",
    "max_prepared_transactions": 5,
}


def bound(rows):
    return 2 + int(math.log2(max(rows / FLUSH_ROWS, 1)))


@pytest.fixture
def cluster(new_cluster):
    cluster = new_cluster(config=CONFIG)
    cluster.create_database("d")
    return cluster


@pytest.fixture
def quiet(new_cluster):
    """Nothing is merged but by hand."""
    cluster = new_cluster(config={**CONFIG, "elacsym.compaction": "off", "elacsym.flush_interval": "1h"})
    cluster.create_database("d")
    return cluster


def create(conn, name="ns"):
    conn.execute("SELECT elacsym.create_namespace(%s, %s)", [name, json.dumps(SCHEMA)])


def put(conn, ids, n=0, name="ns"):
    documents = [{"id": i, "vector": [i, n, 1, 1], "attributes": {"n": n, "words": f"all n{n}"}} for i in ids]
    conn.execute("SELECT elacsym.upsert(%s, %s::jsonb)", [name, json.dumps(documents)])


def segments(conn):
    """id → (rows, dead rows, tombstones)"""
    rows = conn.execute("SELECT segment, rows, dead_rows, tombstones FROM elacsym.segments").fetchall()
    return {row[0]: row[1:] for row in rows}


def all_of(conn, name="ns"):
    """The same documents by page, vector, text and count."""
    rows = dict(conn.execute("SELECT id, (attributes ->> 'n')::int FROM elacsym.scan(%s, \"limit\" => 10000)", [name]).fetchall())
    for arm in ("vector => '[1,1,1,1]', effort => 'infinity'", "full_text => '\"all\"'"):
        found = conn.execute(f"SELECT id, (attributes ->> 'n')::int FROM elacsym.query(%s, {arm}, top_k => 10000, include_attributes => '{{n}}')", [name])
        assert dict(found.fetchall()) == rows
    assert conn.execute("SELECT elacsym.count(%s)", [name]).fetchone()[0] == len(rows)
    return rows


def compact(conn, name="ns"):
    return conn.execute("SELECT * FROM elacsym.compact(%s)", [name]).fetchone()


def files(cluster):
    root = cluster.data / "elacsym"
    # os.walk does not mind what vanishes meanwhile
    found = {os.path.relpath(os.path.join(d, f), root) for d, _, names in os.walk(root) for f in names}
    return {f for f in found if f.endswith(("rows.parquet", "search.idx"))}


def nudge(conn):
    """Brings a worker that looks at garbage, and changes no namespace."""
    create(conn, "nudge")
    conn.execute("SELECT elacsym.drop_namespace('nudge')")
    time.sleep(0.2)


def referred(conn):
    return {key for row in conn.execute("SELECT objects FROM elacsym.segments") for key in row[0]}


def settled(conn):
    """Everything flushed, and no more merged than is to be."""
    row = conn.execute("SELECT buffered, generation = manifest_generation, coalesce(rows - dead_rows, 0) FROM elacsym.namespaces").fetchone()
    return row[0] == 0 and row[1] and len(segments(conn)) <= bound(row[2])


def progress(conn):
    return conn.execute("SELECT database, target, pid, phase, rows_done, rows_total, started FROM elacsym.compaction_progress()").fetchall()


def test_the_number_of_segments_stays_within_the_bound_while_writers_and_readers_go_on(cluster):
    rng, model, ids = random.Random(4), {}, range(2000)
    with cluster.connect("d") as conn:
        create(conn)
        put(conn, range(0, 2000, 2))
        model.update((i, 0) for i in range(0, 2000, 2))

        def read(reader, thread, number):
            # each document once, and none that another write has replaced in the same transaction
            with reader.transaction():
                reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                all_of(reader)

        counts = []
        with BackgroundLoad(cluster, read, threads=2, dbname="d") as load:
            for n in range(1, 120):
                written, deleted = rng.sample(ids, 40), rng.sample(ids, 10)
                with conn.transaction():
                    put(conn, written, n)
                    conn.execute("SELECT elacsym.delete('ns', %s)", [deleted])
                model.update((i, n) for i in written)
                for i in deleted:
                    model.pop(i, None)
                time.sleep(0.02)
                counts.append(len(segments(conn)))
        assert load.errors == [] and load.done > 10
        wait_until(lambda: settled(conn), "merging to settle", 30)
        assert all_of(conn) == model
        # while it goes on, what is under way adds some
        assert sorted(counts)[len(counts) // 2] <= 2 * bound(len(model)), counts
        stats = conn.execute("SELECT stats FROM elacsym.segments WHERE stats ? 'compacted'").fetchall()
        assert stats, "nothing was merged"
        wait_until(lambda: nudge(conn) or files(cluster) == referred(conn), "what was replaced to be deleted", 30)
        live = conn.execute("SELECT sum(rows - dead_rows), sum(rows) FROM elacsym.segments").fetchone()
        assert live[0] == len(model) and live[1] <= 2 * live[0] + 4 * FLUSH_ROWS
        assert progress(conn) == []


def test_by_hand_everything_becomes_one_segment(quiet):
    with quiet.connect("d") as conn:
        create(conn)
        assert compact(conn) == (0, 0)
        for n in range(5):
            put(conn, range(n * 10, n * 10 + 30), n)
            conn.execute("SELECT elacsym.flush('ns')")
        conn.execute("SELECT elacsym.delete('ns', '{1,2,3}')")
        conn.execute("SELECT elacsym.flush('ns')")
        put(conn, [500], 9)
        before = all_of(conn)
        assert compact(conn) == (6, 1)
        assert all_of(conn) == before and len(before) == 68
        assert list(segments(conn).values()) == [(67, 0, 0)], "the buffered one is not part of it"
        # nothing is left to be done
        assert compact(conn) == (1, 1)
        assert conn.execute("SELECT stats ->> 'rows' FROM elacsym.segments").fetchone() == ("67",)
        # in a transaction that is rolled back nothing has changed
        conn.execute("SELECT elacsym.flush('ns')")
        held = segments(conn)
        with conn.transaction(force_rollback=True):
            assert compact(conn) == (2, 1)
            put(conn, [501], 9)
            assert len(all_of(conn)) == 69
        assert segments(conn) == held and all_of(conn) == before


def test_a_namespace_whose_documents_are_all_deleted_shrinks_to_nothing(cluster):
    with cluster.connect("d") as conn, cluster.connect("d", autocommit=False) as other:
        create(conn)
        put(conn, range(300))
        wait_until(lambda: settled(conn), "flush", 20)
        # a transaction that is running may have written something older
        other.execute("SELECT pg_current_xact_id()")
        conn.execute("SELECT elacsym.delete('ns', (SELECT array_agg(i) FROM generate_series(0, 299) i))")
        wait_until(lambda: settled(conn), "flush", 20)
        time.sleep(0.5)
        assert segments(conn) and all_of(conn) == {}
        other.rollback()
        wait_until(lambda: not segments(conn), "the namespace to be empty", 20)
        assert all_of(conn) == {}
        wait_until(lambda: nudge(conn) or not files(cluster), "its objects to be deleted", 20)
        put(conn, [1, 2])
        assert sorted(all_of(conn)) == [1, 2]


@pytest.mark.parametrize("how", ["commit", "prepared"])
def test_an_older_write_that_commits_late_still_loses(quiet, how):
    """INV-3: what is deleted is forgotten only when nothing older can turn up."""
    with quiet.connect("d") as conn, quiet.connect("d", autocommit=False) as slow:
        create(conn)
        put(conn, range(10))
        conn.execute("SELECT elacsym.flush('ns')")
        put(slow, [1, 2, 3, 100], 7)
        slow.execute("SELECT elacsym.patch('ns', %s)", [json.dumps([{"id": 5, "attributes": {"n": 7}}])])
        conn.execute("SELECT elacsym.delete('ns', '{1,2,5,100}')")
        put(conn, [3], 8)
        conn.execute("SELECT elacsym.flush('ns')")
        assert compact(conn)[1] == 1
        assert list(segments(conn).values()) == [(7, 0, 4)]
        if how == "prepared":
            slow.execute("PREPARE TRANSACTION 'slow'")
            slow.commit()
            assert compact(conn)[1] == 1 and list(segments(conn).values()) == [(7, 0, 4)]
            conn.execute("COMMIT PREPARED 'slow'")
        else:
            slow.commit()
        expected = {0: 0, 3: 8, 4: 0, 6: 0, 7: 0, 8: 0, 9: 0}
        assert all_of(conn) == expected
        # still in the buffer: it would win against nothing
        assert compact(conn)[1] == 1 and list(segments(conn).values()) == [(7, 0, 4)] and all_of(conn) == expected
        conn.execute("SELECT elacsym.flush('ns')")
        assert compact(conn)[1] == 1 and all_of(conn) == expected
        assert list(segments(conn).values()) == [(7, 0, 0)]


def test_rows_that_die_while_their_segment_is_merged_stay_dead(cluster):
    """Flushes replace rows of the inputs all the time; that none comes back is what the model says."""
    rng, model = random.Random(9), {}
    with cluster.connect("d") as conn:
        create(conn)
        for n in range(150):
            ids = rng.sample(range(120), 20)
            put(conn, ids, n)
            model.update((i, n) for i in ids)
            if n % 5 == 0:
                assert all_of(conn) == model
            time.sleep(0.03)
        wait_until(lambda: settled(conn), "merging to settle", 30)
        assert all_of(conn) == model
        carried = conn.execute("SELECT count(*) FROM elacsym.segments WHERE stats ? 'compacted' AND delete_version > 0").fetchone()
        assert carried is not None


def test_an_index_under_churn_and_vacuum(cluster):
    rng = random.Random(2)
    with cluster.connect("d") as conn:
        make(conn, rows=100)
        count = "SELECT segments, coalesce(rows - dead_rows, 0) FROM elacsym.indexes"
        for step in range(25):
            fill(conn, first=1000 + step * 40, rows=40)
            conn.execute("UPDATE docs SET n = (n + 1) %% 10 WHERE id %% 11 = %s", [rng.randrange(11)])
            conn.execute("DELETE FROM docs WHERE id %% 13 = %s", [rng.randrange(13)])
            if step % 4 == 3:
                conn.execute("VACUUM docs")
            if step % 6 == 5:
                check(conn)
            if step == 12:
                conn.execute("REINDEX INDEX docs_idx")
        conn.execute("VACUUM docs")
        check(conn)

        def few():
            number, rows = conn.execute(count).fetchone()
            return number <= bound(rows)

        wait_until(few, "merging to settle", 30)
        check(conn)
        assert conn.execute("SELECT count(*) FROM elacsym.segments WHERE stats ? 'compacted'").fetchone()[0] > 0
        # VACUUM finds the keys of merged segments on the engine's disk
        def all_pinned():
            merged = {row[0] for row in conn.execute("SELECT segment FROM elacsym.segments WHERE stats ? 'compacted'")}
            return merged <= {path.stem for path in (cluster.data / "pgsql_tmp_elacsym/cache/keys").glob("*.keys")}

        wait_until(all_pinned, "the keys of merged segments to be on the engine's disk", 5)
        conn.execute("DELETE FROM docs")
        conn.execute("VACUUM docs")
        wait_until(lambda: conn.execute("SELECT segments FROM elacsym.indexes").fetchone()[0] == 0, "the index to be empty", 30)
        fill(conn, first=90000, rows=20)
        check(conn)


def test_an_open_cursor_goes_on_over_segments_that_are_replaced(quiet):
    quiet.write_config(**{"elacsym.object_retention": "1h"})
    quiet.reload()
    with quiet.connect("d") as conn, quiet.connect("d", autocommit=False) as reader:
        make(conn, rows=300)
        for step in range(3):
            fill(conn, first=1000 + step * 50, rows=50)
            conn.execute("SELECT elacsym.flush('docs_idx')")
        query = "SELECT v <-> '[0.1,0.2,0.3,0.4]', id FROM docs ORDER BY 1"
        reader.execute("SET enable_seqscan = off; SET enable_sort = off")
        expected = reader.execute(query).fetchall()
        reader.execute(f"DECLARE c CURSOR FOR {query}")
        got = reader.execute("FETCH 20 FROM c").fetchall()
        assert conn.execute("SELECT * FROM elacsym.compact('docs_idx')").fetchone() == (4, 1)
        conn.execute("DELETE FROM docs WHERE id % 3 = 0")
        got += reader.execute("FETCH ALL FROM c").fetchall()
        assert sorted(map(repr, got)) == sorted(map(repr, expected))
        reader.rollback()
        check(conn)


def test_an_index_that_the_schema_wants_by_now_is_written_down(cluster):
    with cluster.connect("d") as conn:
        create(conn)
        put(conn, range(100))
        wait_until(lambda: settled(conn), "flush", 20)
        held = set(segments(conn))
        changes = {"alter": {"words": {"full_text": {"stemming": False}}}}
        conn.execute("SELECT elacsym.alter_namespace('ns', %s)", [json.dumps(changes)])
        put(conn, [1000])
        wait_until(lambda: settled(conn) and not held & set(segments(conn)), "the old segment to be rewritten", 20)
        assert len(all_of(conn)) == 101
        # what needs no new index is left alone
        held = set(segments(conn))
        conn.execute("SELECT elacsym.alter_namespace('ns', %s)", [json.dumps({"add": {"more": "int"}})])
        put(conn, [1001])
        wait_until(lambda: settled(conn), "flush", 20)
        time.sleep(0.3)
        assert held & set(segments(conn))


@pytest.fixture
def far(new_cluster):
    """Segments in a store that can be made to hang."""
    with Moto() as moto:
        bucket = moto.create_bucket("far")
        config = {**CONFIG, "elacsym.storage_url": f"s3://{bucket}/x", "elacsym.compaction": "off", "elacsym.flush_interval": "1h", **moto.settings}
        cluster = new_cluster(config=config, env=moto.env)
        cluster.create_database("d")
        with cluster.connect("d") as conn:
            create(conn)
            for n in range(6):
                put(conn, range(n * 20, n * 20 + 40), n)
                conn.execute("SELECT elacsym.flush('ns')")
            # a worker that waits for the store with it would start no compaction
            written = "SELECT generation = manifest_generation FROM elacsym.namespaces"
            wait_until(lambda: conn.execute(written).fetchone()[0], "the manifest", 60)
        yield cluster, moto
        moto.resume()


def test_cancel_of_a_compaction_by_hand(far):
    cluster, moto = far
    with cluster.connect("d") as conn, cluster.connect("d") as other:
        expected = all_of(conn)
        moto.pause()
        pid = conn.info.backend_pid
        other.execute("SELECT 1")
        with BackgroundLoad(cluster, lambda c, t, i: cancel_when_shown(c, pid), threads=1, dbname="d", reconnect=False) as load:
            started = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled):
                compact(conn)
            assert time.monotonic() - started < 20
        assert load.errors == [] and progress(other) == []
        moto.resume()
        assert all_of(conn) == expected
        assert compact(conn) == (6, 1)
        assert all_of(conn) == expected


def cancel_when_shown(conn, pid):
    rows = [row for row in progress(conn) if row[2] == pid]
    if rows:
        assert rows[0][1] == "ns" and rows[0][3] in ("waiting", "reading keys", "reading rows")
        assert rows[0][0] == conn.execute("SELECT oid FROM pg_database WHERE datname = 'd'").fetchone()[0]
        time.sleep(0.1)
        conn.execute("SELECT pg_cancel_backend(%s)", [pid])
    time.sleep(0.05)


def test_cancel_of_the_workers_compaction_lasts_a_minute(far):
    cluster, moto = far
    with cluster.connect("d") as conn:
        expected = all_of(conn)
        moto.pause()
        cluster.write_config(**{"elacsym.compaction": "on"})
        cluster.reload()
        put(conn, [1], 0)
        rows = wait_until(lambda: progress(conn), "the worker to start a compaction", 20)
        conn.execute("SELECT pg_cancel_backend(%s)", [rows[0][2]])
        wait_until(lambda: not progress(conn), "the compaction to end", 20)
        moto.resume()
        put(conn, [2], 0)
        time.sleep(3)
        assert progress(conn) == [] and len(segments(conn)) == 6
        assert {**expected, 1: 0, 2: 0} == all_of(conn)


@pytest.mark.parametrize("what", ["drop", "database"])
def test_drop_while_a_compaction_is_under_way(far, what):
    cluster, moto = far
    with cluster.connect("d") as conn:
        moto.pause()
        cluster.write_config(**{"elacsym.compaction": "on"})
        cluster.reload()
        put(conn, [1], 0)
        wait_until(lambda: progress(conn), "the worker to start a compaction", 20)
        conn.execute("SET statement_timeout = '20s'")
        if what == "drop":
            conn.execute("SELECT elacsym.drop_namespace('ns')")
            moto.resume()
            wait_until(lambda: not progress(conn), "the compaction to end", 30)
            create(conn)
            put(conn, [7])
            assert all_of(conn) == {7: 0}
            wait_until(lambda: nudge(conn) or not [k for k in moto.keys("far") if k.endswith(".parquet")], "the objects to go", 60)
    if what == "database":
        cluster.sql("DROP DATABASE d WITH (FORCE)")
        moto.resume()
        cluster.create_database("d")
        with cluster.connect("d") as conn:
            wait_until(lambda: not progress(conn), "the compaction to end", 10)


MANIFEST_IS_WRITTEN = """SELECT (SELECT bool_and(generation = manifest_generation) FROM elacsym.namespaces)
                            AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'object' AND objsubid = 1 AND mode = 'ExclusiveLock' AND granted)"""


def test_a_transaction_that_keeps_the_worker_from_publishing_does_not_wait_for_it(quiet):
    """It has the flush lock, the worker the compaction lock: nobody would notice that they wait for each other."""
    with quiet.connect("d") as conn, quiet.connect("d") as other:
        create(conn)
        for n in range(6):
            put(conn, range(n * 20, n * 20 + 40), n)
            conn.execute("SELECT elacsym.flush('ns')")
        expected = all_of(conn)
        # a bulk write does not wait for the worker, which has this lock while it writes the manifest of the last flush
        wait_until(lambda: conn.execute(MANIFEST_IS_WRITTEN).fetchone()[0], "the manifest")
        with conn.transaction():
            put(conn, range(1000, 1000 + FLUSH_ROWS), 7)
            assert len(segments(conn)) == 7, "a bulk write"
            quiet.write_config(**{"elacsym.compaction": "on"})
            quiet.reload()
            put(other, [500], 5)
            wait_until(lambda: progress(other), "the worker to start a compaction", 20)
            time.sleep(1)
            conn.execute("SET LOCAL statement_timeout = '20s'")
            assert compact(conn) == (7, 1)
        assert all_of(conn) == {**expected, **dict.fromkeys(range(1000, 1000 + FLUSH_ROWS), 7), 500: 5}
        wait_until(lambda: not progress(other), "the compaction to end", 10)


def test_an_error_elsewhere_does_not_release_the_lock_of_a_compaction(quiet):
    """It keeps the new objects from being taken for orphans before they are published."""
    with quiet.connect("d") as conn, quiet.connect("d") as other:
        create(conn)
        create(conn, "broken")
        for n in range(6):
            put(conn, range(n * 20, n * 20 + 40), n)
            conn.execute("SELECT elacsym.flush('ns')")
        before = files(quiet)
        other.execute("BEGIN")
        other.execute("SELECT elacsym.flush('ns')")  # it has the right to publish
        quiet.write_config(**{"elacsym.compaction": "on", "elacsym.flush_interval": "20ms"})
        quiet.reload()
        put(conn, [1], name="broken")
        wait_until(lambda: len(files(quiet) - before) == 4, "a flush, and the compaction's objects", 20)
        locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND objsubid = 4 AND mode = 'ExclusiveLock' AND granted"
        assert conn.execute(locked).fetchone()[0] == 1
        time.sleep(0.5)  # the worker hears that it is done
        with conn.transaction():
            put(conn, [2], name="broken")
            conn.execute("UPDATE elacsym.wal SET crc = crc # 1")
        wait_until(lambda: conn.execute("SELECT flush_failing FROM elacsym.stat_buffer").fetchone()[0], "an error of the worker", 20)
        wait_until(lambda: conn.execute(locked).fetchone()[0] == 1, "the lock", 10)
        other.execute("COMMIT")
        conn.execute("UPDATE elacsym.wal SET crc = crc # 1")
        wait_until(lambda: not progress(conn), "the compaction to end", 20)
        assert len(all_of(conn)) == 140 and referred(conn) <= files(quiet)


def test_workers_that_wait_for_old_transactions_make_room_for_other_databases(cluster):
    """Dead entries can go when a transaction is over that is in nobody's way otherwise: flushes elsewhere do not wait for that."""
    databases = ["d", "d1", "d2", "d3", "d4"]  # one more than there are workers
    for name in databases[1:]:
        cluster.create_database(name)
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(cluster.connect(name)) for name in databases]
        for conn in conns:
            create(conn)
            put(conn, range(400))
            wait_until(lambda conn=conn: settled(conn), "flush", 30)
        old = stack.enter_context(cluster.connect())
        old.execute("BEGIN")
        old.execute("SELECT pg_current_xact_id()")
        for round_ in range(2):
            for conn in conns:
                ids = list(range(round_ * 150, round_ * 150 + 150))
                conn.execute("SELECT elacsym.delete('ns', %s)", [ids])
            for conn in conns:
                wait_until(lambda conn=conn: settled(conn), "flush", 30)
        assert all(sum(tombstones for _, _, tombstones in segments(conn).values()) > 0 for conn in conns), "they wait"
        old.execute("COMMIT")


def test_a_concurrent_change_is_a_serialization_failure_where_there_is_one_snapshot(quiet):
    with quiet.connect("d") as conn, quiet.connect("d", autocommit=False) as old:
        create(conn)
        for n in range(3):
            put(conn, range(n, n + 5), n)
            conn.execute("SELECT elacsym.flush('ns')")
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        expected = all_of(old)
        put(conn, [50], 5)
        conn.execute("SELECT elacsym.flush('ns')")
        with pytest.raises(psycopg.errors.SerializationFailure):
            compact(old)
        old.rollback()
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert all_of(old) == {**expected, 50: 5}
        assert compact(old) == (4, 1)
        assert all_of(old) == {**expected, 50: 5}
        old.commit()
        # a snapshot from before sees what it saw
        put(conn, [51], 5)
        conn.execute("SELECT elacsym.flush('ns')")
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        before = all_of(old)
        quiet.write_config(**{"elacsym.object_retention": "1h"})
        quiet.reload()
        assert compact(conn) == (2, 1)
        put(conn, [1], 9)
        assert all_of(old) == before


def test_a_standby_answers_over_compactions(cluster):
    storage = cluster.directory / "objects"
    storage.mkdir(mode=0o777)
    storage.chmod(0o777)
    cluster.write_config(**{"elacsym.storage_url": f"file://{storage}", "elacsym.object_retention": "1h"})
    cluster.restart()
    standby = cluster.standby(config={**{k: v for k, v in cluster.config.items() if k != "listen_addresses"}, "hot_standby_feedback": "on"})
    try:
        with cluster.connect("d") as conn:
            create(conn)
            standby.start()
            model = {}
            with standby.connect("d") as reader:
                for n in range(40):
                    ids = range(n, n + 30)
                    put(conn, ids, n)
                    model.update((i, n) for i in ids)
                    if n > 1:
                        with reader.transaction():
                            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                            with contextlib.suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
                                all_of(reader)
                    time.sleep(0.05)
                wait_until(lambda: settled(conn), "merging to settle", 30)
                compact(conn)
                lsn = conn.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
                wait_until(lambda: reader.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone()[0], "the standby to catch up", 20)
                assert all_of(reader) == model
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    compact(reader)
        cluster.stop("immediate")
        standby.promote()
        with standby.connect("d") as conn:
            put(conn, [5000], 1)
            assert all_of(conn) == {**model, 5000: 1}
            compact(conn)
            assert all_of(conn) == {**model, 5000: 1}
    finally:
        standby.destroy()


def test_who_may_compact(quiet):
    with quiet.connect("d") as conn:
        create(conn)
        make(conn, rows=10)
        conn.execute("CREATE ROLE stranger LOGIN")
        conn.execute("GRANT USAGE ON SCHEMA elacsym TO stranger")
        with quiet.connect("d", user="stranger") as stranger:
            for target in ("ns", "docs_idx"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    compact(stranger, target)
            assert progress(stranger) == []
        with pytest.raises(psycopg.errors.UndefinedObject):
            compact(conn, "nothing")
        with pytest.raises(psycopg.errors.NullValueNotAllowed):
            compact(conn, None)


def test_what_does_not_fit_into_memory_is_merged_on_disk(quiet):
    quiet.write_config(**{"elacsym.build_memory": "32MB"})
    quiet.reload()
    with quiet.connect("d") as conn:
        conn.execute("""SELECT elacsym.create_namespace('ns', '{"vector_dim": 2000, "vector_metric": "l2", "attributes": {"n": "int"}}')""")
        for n in range(4):
            conn.execute("SELECT elacsym.upsert('ns', %s * 1200 + i, array_fill(i::real, '{2000}')::vector, '{}') FROM generate_series(1, 1200) i", [n])
            conn.execute("SELECT elacsym.flush('ns')")
        sizes = [row[0] for row in conn.execute("SELECT bytes FROM elacsym.segments")]
        assert len(sizes) == 4 and all(11 << 20 < size < 14 << 20 for size in sizes), sizes
        assert compact(conn) == (4, 1)
        assert all(row[0] > 44 << 20 for row in conn.execute("SELECT bytes FROM elacsym.segments"))
        assert conn.execute("SELECT elacsym.count('ns')").fetchone() == (4800,)
        nearest = conn.execute("SELECT id FROM elacsym.query('ns', vector => array_fill(700::real, '{2000}')::vector, top_k => 4)").fetchall()
        assert sorted(int(row[0]) for row in nearest) == [700, 1900, 3100, 4300]
