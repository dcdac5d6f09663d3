"""Copies of a cluster: a standby that lags and takes over, point-in-time recovery, a clone beside its origin, dump and restore, a
database copied from a template, pg_upgrade. Each answers as its own tables do, and none harms another. Everywhere segments are merged
and garbage is collected meanwhile."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from harness import PG_CONFIG, REPO, BackgroundLoad, Cluster, pg_major, wait_until
from harness.index_answers import check, fill, make, same

TOP = "SELECT v <-> '[1,2,3,4]', id FROM docs ORDER BY 1"
SCHEMA = {"vector_dim": 4, "attributes": {"words": {"type": "string", "full_text": True}, "n": "int"}}
# Objects outlive the lag of a standby and the window of recovery: the rule for elacsym.object_retention.
CONFIG = {"elacsym.compaction": "on", "elacsym.flush_interval": "100ms", "elacsym.object_retention": "1h", "autovacuum": "off"}
# Most segments of a namespace with less than `elacsym.flush_rows` rows, when nothing is left to do.
FEW = 2
# Documents that one query returns.
MOST = 10_000
# What changes the set of segments, and so what recovery must be able to stop before and after.
MOVES = ["flush", "compact"]


@pytest.fixture
def cluster(new_cluster):
    """A table with an index and a namespace, in a directory that every copy reaches."""
    cluster = new_cluster(start=False)
    cluster.write_config(**CONFIG, **{"elacsym.storage_url": f"file://{shared_directory(cluster)}"})
    cluster.start()
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        prepare(conn)
    return cluster


def shared_directory(cluster):
    objects = cluster.directory / "objects"
    objects.mkdir()
    objects.chmod(0o777)
    return objects


def prepare(conn):
    make(conn, rows=300)
    # what must be in the namespace
    conn.execute("CREATE TABLE model (id bigint PRIMARY KEY, n int)")
    conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(SCHEMA)])
    put(conn, range(1, 201), 0)


def put(conn, ids, n):
    """Documents, in the namespace and in its model at once."""
    documents = [{"id": i, "vector": [i, 1, n, 1], "attributes": {"words": f"all w{i}", "n": n}} for i in ids]
    with conn.transaction():
        conn.execute("INSERT INTO model SELECT i, %s FROM unnest(%s::bigint[]) i ON CONFLICT (id) DO UPDATE SET n = excluded.n", [n, list(ids)])
        conn.execute("SELECT elacsym.upsert('ns', %s::jsonb)", [json.dumps(documents)])


def remove(conn, ids):
    with conn.transaction():
        conn.execute("DELETE FROM model WHERE id = ANY (%s)", [list(ids)])
        conn.execute("SELECT elacsym.delete('ns', %s)", [list(ids)])


def answers(conn):
    """What index and namespace answer, in one snapshot, after comparing it with their tables: (rows, documents)."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = sorted(same(conn, TOP))
        same(conn, "SELECT id FROM docs WHERE body @@@ 'lake'")
        same(conn, "SELECT id FROM docs WHERE n = 3")
        model = conn.execute("SELECT id, n FROM model ORDER BY id").fetchall()
        assert len(model) < MOST, "a query answers with no more"
        query = f"SELECT id, (attributes ->> 'n')::int FROM elacsym.query('ns', {{}}, top_k => {MOST}, include_attributes => '{{{{n}}}}') ORDER BY id"
        assert conn.execute(query.format("'[1,1,1,1]', effort => 'infinity'")).fetchall() == model
        assert conn.execute(query.format("full_text => '\"all\"'")).fetchall() == model
    return rows, model


def settled(conn):
    """Waits until everything is flushed."""
    seen = []
    left = """SELECT (SELECT count(*) FROM elacsym.wal), (SELECT jsonb_agg(name) FROM elacsym.namespace WHERE generation <> manifest_generation)"""

    def done():
        seen[:] = conn.execute(left).fetchone()
        return seen == [0, None]

    try:
        wait_until(done, "everything to be flushed", 60, 0.05)
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen[0]} entries are buffered, manifests are behind of {seen[1]}") from None


def both(conn, what):
    """elacsym.flush() or elacsym.compact() of the index and of the namespace."""
    return [conn.execute(f"SELECT * FROM elacsym.{what}(%s)", [target]).fetchone() for target in ("docs_idx", "ns")]


def merged(conn):
    """Waits until there are few segments, and says whether any was made of others."""
    counts = "SELECT namespace::text, count(*) FROM elacsym.segments GROUP BY 1"
    wait_until(lambda: all(count <= FEW for _, count in conn.execute(counts)), "segments to be merged", 60, 0.05)
    return conn.execute("SELECT count(*) > 0 FROM elacsym.segments WHERE stats ? 'compacted'").fetchone()[0]


def keep_nothing(cluster):
    """From now on objects are deleted as soon as they are released."""
    cluster.write_config(**{"elacsym.object_retention": 0})
    cluster.reload()
    wait_until(lambda: cluster.value("SHOW elacsym.object_retention") == "0", "the setting to be read")


def objects_of(conn):
    """Objects of live segments, below their roots."""
    return {object for row in conn.execute("SELECT objects FROM elacsym.segments") for object in row[0]}


def works(conn, first):
    """Writes, flushes, VACUUM, compaction: a whole life goes on. Returns the answers at its end."""
    fill(conn, first=first, rows=30)
    conn.execute("UPDATE docs SET n = n + 1 WHERE id % 7 = 0")
    conn.execute("DELETE FROM docs WHERE id % 13 = 5")
    put(conn, range(first, first + 30), first)
    remove(conn, range(5, 300, 13))
    conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
    fill(conn, first=first + 100, rows=20)
    settled(conn)
    put(conn, range(first + 10, first + 40), first + 1)
    settled(conn)
    check(conn)
    assert merged(conn)
    check(conn)
    return answers(conn)


def caught_up(primary, standby):
    lsn = primary.value("SELECT pg_current_wal_insert_lsn()")
    wait_until(lambda: standby.value("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]), "the standby to catch up", 60)


# -- standbys ------------------------------------------------------------------------------------------------------------


def change(conn, thread, number):
    """One round of load; every thread has rows of its own."""
    first = 1_000_000 * (thread + 1) + number * 10
    fill(conn, first=first, rows=5, seed=thread)
    put(conn, range(first, first + 5), number)
    conn.execute("UPDATE docs SET n = n + 1 WHERE id = ANY (%s)", [[first, first - 10]])
    if number % 3 == 2:
        conn.execute("DELETE FROM docs WHERE id BETWEEN %s AND %s", [first - 20, first - 18])
        remove(conn, range(first - 20, first - 17))


def test_a_standby_that_lags_under_load_answers_for_its_moment_and_takes_over(cluster):
    """INV-1, INV-2, INV-4, INV-5: its moment is in the past, and the objects of that moment are there."""
    standby = cluster.standby(config={**{k: v for k, v in cluster.config.items() if k != "listen_addresses"}, "hot_standby_feedback": "on", "max_standby_streaming_delay": -1})
    read = []
    try:
        standby.start()
        caught_up(cluster, standby)
        # two writers, while somebody reads on the standby; no faster than that all documents go into one answer
        with BackgroundLoad(cluster, change, threads=2, dbname="d", pause=0.05) as writers:
            with BackgroundLoad(standby, lambda conn, *_: read.append(answers(conn)), threads=1, dbname="d") as readers:
                with cluster.connect("d") as conn, standby.connect("d") as lagging:
                    wait_until(lambda: writers.done > 10 and readers.done > 2, "load on both", 60)
                    # replay stops, the primary goes on: flushes, VACUUM and what folds its tombstones, another life of the index
                    lagging.execute("SELECT pg_wal_replay_pause()")
                    wait_until(lambda: lagging.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",), "replay to stop")
                    moment = answers(lagging)
                    done = writers.done
                    wait_until(lambda: writers.done > done + 10, "the primary to go on", 60)
                    conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
                    both(conn, "flush")
                    both(conn, "compact")
                    # not CONCURRENTLY, which waits for the snapshots of the primary alone, whatever the index method
                    conn.execute("REINDEX INDEX docs_idx")
                    assert answers(lagging) == moment
                    # also for an engine that has to read all of it
                    standby.kill_engine()
                    assert answers(lagging) == moment
                    lagging.execute("SELECT pg_wal_replay_resume()")
        assert not writers.errors and not readers.errors, (writers.errors, readers.errors)
        assert len({repr(each) for each in read}) > 2, "the standby has seen it move"
        caught_up(cluster, standby)
        with cluster.connect("d") as conn, standby.connect("d") as reader:
            assert answers(reader) == answers(conn)
        # the primary dies under load; what the standby has got it goes on with
        with BackgroundLoad(cluster, lambda conn, thread, number: change(conn, thread + 5, number), threads=2, dbname="d", reconnect=False) as writers:
            wait_until(lambda: writers.done > 5, "load", 30)
            cluster.stop("immediate")
        standby.promote()
        with standby.connect("d") as conn:
            check(conn)
            answers(conn)
            works(conn, 500)
    finally:
        standby.destroy()


# -- point-in-time recovery ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", MOVES)
def test_recovery_to_before_and_after_each_move_of_entries(cluster, move):
    """INV-5, INV-4: whatever moment, its objects are there; and the life that goes on from it is its own."""
    archive = cluster.directory / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    cluster.write_config(
        archive_mode="on",
        archive_command=f"cp %p {archive}/%f",
        wal_level="replica",
        # nothing moves but by hand
        **{"elacsym.flush_interval": "1h", "elacsym.flush_rows": 100_000, "elacsym.compaction": "off"},
    )
    cluster.restart()
    states = {}

    def point(name):
        states[name] = answers(conn)
        conn.execute("SELECT pg_create_restore_point(%s)", [name])

    def moves():
        """Of a compaction: two segments, with rows that are dead in one."""
        before = objects_of(conn)
        did = both(conn, move)
        assert objects_of(conn) - before and (move == "flush" or all(many > 1 == few for many, few in did)), did

    def apart():
        """What is buffered becomes a segment, if it is compaction that moves; what comes then is buffered."""
        if move == "compact":
            both(conn, "flush")
            put(conn, range(185, 195), 5)
            fill(conn, first=4000 + 100 * len(states), rows=10)

    with cluster.connect("d") as conn:
        both(conn, "flush")
        backup = cluster.base_backup("backup")
        fill(conn, first=1000, rows=30)
        put(conn, range(190, 230), 1)
        conn.execute("DELETE FROM docs WHERE id % 10 = 7")
        conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
        apart()
        point("before")
        moves()
        point("after")
        fill(conn, first=2000, rows=30)
        conn.execute("UPDATE docs SET n = 4 WHERE id < 40")
        put(conn, range(100, 120), 2)
        remove(conn, range(1, 20))
        apart()
        point("buffered")
        moves()
        conn.execute("DELETE FROM docs WHERE id < 100")
        conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
        conn.execute("REINDEX INDEX docs_idx")
        conn.execute("SELECT pg_switch_wal()")
    try:
        for number, (name, state) in enumerate(states.items()):
            restored = Cluster("restored", config=cluster.config)
            with restored:
                subprocess.run(["cp", "-a", backup.data, restored.data], check=True)
                restored.write_config(
                    archive_mode="off",
                    restore_command=f"cp {archive}/%f %p",
                    recovery_target_name=name,
                    recovery_target_action="promote",
                    **{"elacsym.flush_interval": "100ms", "elacsym.compaction": "on"},
                )
                (restored.data / "recovery.signal").touch()
                shutil.chown(restored.data / "recovery.signal", *owner(restored.data))
                restored.start()
                wait_until(lambda: restored.value("SELECT NOT pg_is_in_recovery()"), "recovery to end", 60)
                with restored.connect("d") as conn:
                    assert answers(conn) == state, name
                    check(conn)
                    works(conn, 5000 + number * 1000)
        # the original has gone on meanwhile, beside three lives of its past
        cluster.write_config(**{"elacsym.flush_interval": "100ms", "elacsym.compaction": "on"})
        cluster.reload()
        with cluster.connect("d") as conn:
            check(conn)
            works(conn, 9000)
    finally:
        backup.destroy()


def owner(path):
    stat = os.stat(path)
    return stat.st_uid, stat.st_gid


# -- a clone -------------------------------------------------------------------------------------------------------------


def test_a_clone_beside_its_origin_on_the_same_bucket_harms_neither(new_cluster, moto, bucket):
    """INV-4, INV-9, for `pg_basebackup`: both have the same system identifier, hence the same prefix."""
    config = {**CONFIG, **moto.settings, "elacsym.storage_url": f"s3://{bucket}/x", "elacsym.cache_disk": 0, "elacsym.flush_interval": "1s"}
    origin = new_cluster("origin", config=config, env=moto.env)
    origin.create_database("d")
    with origin.connect("d") as conn:
        prepare(conn)
        settled(conn)
    clone = origin.base_backup()
    try:
        clone.start()
        # Until each knows of the other, what the other reads is kept by the retention time. That it was alone an engine believes for a
        # minute, a new one does not.
        wait_until(lambda: len({key.rsplit("-", 1)[0] for key in moto.keys(bucket) if "/servers/" in key}) == 2, "both servers to have announced themselves", 60)
        origin.kill_engine()
        keep_nothing(origin)
        keep_nothing(clone)
        shared = {key for key in moto.keys(bucket) if key.endswith((".idx", ".parquet"))}
        with BackgroundLoad(origin, change, threads=1, dbname="d") as first, BackgroundLoad(clone, change, threads=1, dbname="d") as second:
            wait_until(lambda: first.done > 15 and second.done > 15, "load on both", 120)
        assert not first.errors and not second.errors, (first.errors, second.errors)
        with origin.connect("d") as one, clone.connect("d") as other:
            assert works(one, 500) != works(other, 700)
            other.execute("REINDEX INDEX docs_idx")
            one.execute("VACUUM FULL docs")
            check(one), check(other)
            other.execute("DROP TABLE docs; SELECT elacsym.drop_namespace('ns')")
            wait_until(lambda: other.execute("SELECT count(*) FROM elacsym.namespace").fetchone() == (0,), "the clone to have buried its index", 30)
            # fenced: each has released objects long ago, and neither has deleted one
            for conn in (one, other):
                actions = {row[0] for row in conn.execute("SELECT action FROM elacsym.gc(dry_run => true)")}
                assert actions == {"keep for another server"}, actions
            assert shared | {f"x/{key}" for key in objects_of(one)} <= set(moto.keys(bucket))
            # an engine that has to read all of it
            origin.kill_engine()
            check(one)
            answers(one)
            works(one, 900)
    finally:
        clone.destroy()


def test_a_base_backup_with_the_default_storage_holds_everything_wherever_it_is_restored(new_cluster):
    """pg_basebackup copies the objects with the data directory (its archive takes paths of 99 characters), and they are found where they are then."""
    origin = new_cluster("origin", config=CONFIG)
    origin.create_database("d")
    with origin.connect("d") as conn:
        prepare(conn)
        fill(conn, first=500, rows=30)
        put(conn, range(500, 530), 1)
        both(conn, "compact")
        settled(conn)
        expected = answers(conn)
        assert {root for (root,) in conn.execute("SELECT root FROM elacsym.segments")} == {"pgdata:elacsym"}
        longest = max(len(str(path.relative_to(origin.data))) for path in origin.data.rglob("elacsym/**/*"))
        # a database's oid may have five digits more
        assert longest <= 94
        # what is being written while the backup runs is left out
        directory = next(origin.data.glob("elacsym/*/*/*"))
        for name in ("pgsql_tmp_elacsym-" + "x" * 40, "later"):
            (directory / name).write_text("half")
            (directory / name).chmod(0o666)
    clone = origin.base_backup(config=CONFIG)
    try:
        assert sorted(path.name for path in clone.data.rglob("elacsym/*/*/*/*") if path.is_file() and not path.name.startswith("manifest-")) == ["later"]
        origin.stop("immediate")
        origin.data.rename(origin.data.with_name("gone"))
        clone.start()
        with clone.connect("d") as conn:
            assert answers(conn) == expected
            fill(conn, first=900, rows=30)
            remove(conn, range(500, 520))
            both(conn, "flush")
            conn.execute("VACUUM docs")
            both(conn, "compact")
            check(conn)
            assert answers(conn) != expected
            assert not conn.execute("SELECT * FROM elacsym.verify('docs_idx')").fetchall()
    finally:
        clone.destroy()
        origin.data.with_name("gone").rename(origin.data)


# -- a database from a template, dump and restore ------------------------------------------------------------------------


def test_a_database_from_a_template_goes_its_own_way(cluster):
    """INV-4, INV-9. What is buffered is copied too. Objects are deleted as soon as they are released."""
    objects = cluster.directory / "objects"
    with cluster.connect("d") as conn:
        settled(conn)
        fill(conn, first=1000, rows=10)
        put(conn, range(195, 205), 1)
        origin = answers(conn)
    cluster.sql("CREATE DATABASE copy TEMPLATE d")
    wait_until(lambda: any(path.is_file() for path in objects.glob("*/lent/**/*")), "the copy to say what it reads", 20)
    keep_nothing(cluster)
    with cluster.connect("copy") as copy:
        assert answers(copy) == origin
        works(copy, 2000)
        copy.execute("REINDEX INDEX docs_idx")
        answers(copy)
        with cluster.connect("d") as conn:
            assert answers(conn) == origin
            works(conn, 4000)
        copy.execute("DROP TABLE docs; SELECT elacsym.drop_namespace('ns')")
        wait_until(lambda: copy.execute("SELECT (SELECT count(*) FROM elacsym.namespace) + (SELECT count(*) FROM elacsym.garbage)").fetchone() == (0,), "the copy to have forgotten", 30)
    cluster.sql("DROP DATABASE copy WITH (FORCE)")
    cluster.kill_engine()
    with cluster.connect("d") as conn:
        works(conn, 6000)


def test_a_worker_that_is_sent_away_in_the_middle_of_a_flush_leaves_no_lock(cluster):
    """CREATE DATABASE … TEMPLATE ends the worker of the template, wherever it is; the next one goes on with its work."""
    held = """SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE d.datname = 'd' AND l.locktype = 'object' AND l.objsubid = 1 AND l.mode = 'ExclusiveLock' AND l.granted"""
    with cluster.connect("d") as conn:
        settled(conn)
        engine = cluster.engine_pids()[0]
        os.kill(engine, signal.SIGSTOP)
        fill(conn, first=1000, rows=10)
    try:
        wait_until(lambda: cluster.value(held) == 1, "the worker to flush", 20)
        cluster.sql("CREATE DATABASE copy TEMPLATE d")
        wait_until(lambda: cluster.value(held) == 0, "its lock to be gone")
    finally:
        os.kill(engine, signal.SIGCONT)
    for database in ("d", "copy"):
        with cluster.connect(database) as conn:
            works(conn, 2000)


def test_dump_and_restore_brings_the_index_and_no_namespace(cluster, new_cluster):
    """An index is a definition and is built anew, also in another cluster; documents of a namespace are not in a dump."""
    dump = cluster.run("pg_dump", "-d", cluster.dsn("d"))
    other = new_cluster("other", config=CONFIG)
    other.create_database("d", extension=False)
    other.psql(dump, "d")
    with cluster.connect("d") as conn, other.connect("d") as restored:
        restored.execute("ANALYZE docs")
        assert check(restored) == check(conn) == 300
        assert restored.execute("SELECT count(*) FROM elacsym.namespaces").fetchone() == (0,)
        with pytest.raises(psycopg.Error) as raised:
            restored.execute("SELECT * FROM elacsym.query('ns', '[1,2,3,4]')")
        assert raised.value.sqlstate == "42704"
        # and so they are moved
        restored.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(SCHEMA)])
        documents = conn.execute("SELECT jsonb_agg(jsonb_build_object('id', id, 'vector', vector::real[], 'attributes', attributes)) FROM elacsym.scan('ns', include_vector => true)").fetchone()[0]
        assert restored.execute("SELECT elacsym.upsert('ns', %s::jsonb)", [json.dumps(documents)]).fetchone() == (200,)
        assert answers(restored)[1] == answers(conn)[1]


# -- pg_upgrade ----------------------------------------------------------------------------------------------------------

if pg_major() == 18:

    @pytest.mark.every_pg
    def test_pg_upgrade_from_16_keeps_indexes_and_namespaces(new_cluster):
        """INV-5: segments, what is buffered, tombstones that are not folded, delete vectors."""
        # another one than this clone's: ELACSYM_OLD_PG_CONFIG
        old_config = os.environ.get("ELACSYM_OLD_PG_CONFIG")
        if not old_config:
            environment = {k: v for k, v in os.environ.items() if k != "ELACSYM_PG_CONFIG"}
            done = subprocess.run([str(REPO / "scripts" / "private_pg.sh"), "16"], env=environment, capture_output=True, text=True, check=True)
            old_config = done.stdout.split()[-1]
        old_bin = subprocess.run([old_config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        new_bin = subprocess.run([PG_CONFIG, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        old = Cluster("old", bindir=Path(old_bin), config={**CONFIG, "elacsym.flush_interval": "1h", "elacsym.flush_rows": 100_000})
        with old:
            objects = shared_directory(old)
            old.config["elacsym.storage_url"] = f"file://{objects}"
            old.init("--data-checksums").start()
            old.create_database("d")
            with old.connect("d") as conn:
                assert conn.execute("SHOW server_version_num").fetchone()[0].startswith("16")
                prepare(conn)
                both(conn, "flush")
                conn.execute("UPDATE docs SET n = 5 WHERE id < 30")
                put(conn, range(190, 230), 1)
                both(conn, "flush")
                both(conn, "compact")
                conn.execute("UPDATE docs SET n = 7 WHERE id < 60")
                put(conn, range(150, 200), 1)
                both(conn, "flush")
                fill(conn, first=1000, rows=30)
                conn.execute("DELETE FROM docs WHERE id % 10 = 7")
                conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
                put(conn, range(100, 120), 2)
                remove(conn, range(1, 20))
                assert conn.execute("SELECT count(*) > 0 FROM elacsym.wal").fetchone() == (True,)
                state = answers(conn)
                taken = objects_of(conn)
                buffered = conn.execute("SELECT count(*) FROM elacsym.wal").fetchone()[0]
            old.stop()
            new = new_cluster("new", start=False, config=old.config)
            new.run(
                "pg_upgrade", "-b", old_bin, "-B", new_bin, "-d", old.data, "-D", new.data, "-s", new.socket_dir, "-p", old.port, "-P", new.port, "-U", "postgres", timeout=300
            )  # fmt: skip
            new.start()
            with new.connect("d") as conn:
                assert conn.execute("SHOW server_version_num").fetchone()[0].startswith("18")
                # the worker may have folded VACUUM's tombstones, and with them flushed what the index had buffered; the namespace's entries stay
                assert 0 < conn.execute("SELECT count(*) FROM elacsym.wal").fetchone()[0] <= buffered
                assert answers(conn) == state
                check(conn)
                # what is written now comes after what was written then
                put(conn, range(100, 110), 3)
                conn.execute("UPDATE docs SET n = 6 WHERE id < 10")
                answers(conn)
            new.write_config(**{"elacsym.flush_interval": "100ms"})
            keep_nothing(new)
            with new.connect("d") as conn:
                works(conn, 5000)
                both(conn, "compact")
                conn.execute("REINDEX INDEX docs_idx")
                check(conn)
                # merging has moved everything to the new identity's directory; nothing there is garbage, and what was is not ours to delete
                assert not taken & objects_of(conn)
                assert all((objects / key).is_file() for key in taken | objects_of(conn))
            new.kill_engine()
            with new.connect("d") as conn:
                answers(conn)
