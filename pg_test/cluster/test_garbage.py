"""INV-4 and INV-9: what nothing refers to goes from object storage, and nothing else does, whoever else reads it: running and
prepared transactions, copied databases, copied servers, standbys."""

import contextlib
import json
import os
import time
from pathlib import Path

import psycopg
import pytest

from harness import wait_until
from harness.index_answers import check, fill, make

CONFIG = {
    "elacsym.object_retention": 0,
    "elacsym.orphan_sweep_interval": "1s",
    "elacsym.flush_interval": "100ms",
    "max_prepared_transactions": 5,
    "autovacuum": "off",
}
# several sweeps and looks at what is due
A_WHILE = 3.5


class Rollback(Exception):
    """Ends a transaction without effect."""


@pytest.fixture
def cluster(new_cluster):
    """Searches for orphans every second and deletes at once; objects are in a directory that copies of the server share."""
    made = new_cluster(start=False, config=CONFIG)
    storage = made.directory / "objects"
    storage.mkdir(mode=0o777)
    storage.chmod(0o777)  # the server may run as another user
    made.write_config(**{"elacsym.storage_url": f"file://{storage}"})
    made.start()
    made.create_database("d")
    return made


def storage(cluster) -> Path:
    return Path(cluster.config["elacsym.storage_url"].removeprefix("file://"))


def keys(cluster) -> set[str]:
    """Every object, marks left out."""
    # os.walk: directories vanish meanwhile
    found = {os.path.join(at, name) for at, _, names in os.walk(storage(cluster)) for name in names if not name.startswith(".")}
    relative = {os.path.relpath(path, storage(cluster)) for path in found}
    return {key for key in relative if "/" in key and key.split("/")[1].isdigit()}


def marks(cluster, kind: str) -> list[str]:
    tops = [top for top in storage(cluster).glob(f"*/{kind}") if top.is_dir()]
    return sorted(name for top in tops for _, _, names in os.walk(top) for name in names if not name.startswith("."))


def servers(cluster) -> set[str]:
    return {name.rsplit("-", 1)[0] for name in marks(cluster, "servers")}


def referred(conn) -> set[str]:
    """Objects of live segments, of every namespace and index (a superuser sees all)."""
    rows = conn.execute("SELECT info ->> 'path', (info ->> 'parquet_bytes')::bigint > 0 FROM elacsym.segment").fetchall()
    return {f"{path}/{name}" for path, parquet in rows for name in (["search.idx", "rows.parquet"] if parquet else ["search.idx"])}


def segments_of(keys_: set[str]) -> set[str]:
    return {key for key in keys_ if "manifest-" not in key}


def gc(conn, dry_run=True) -> dict[str, tuple[str, str]]:
    """Object → (reason, action)."""
    rows = conn.execute("SELECT object, reason, action, bytes, age FROM elacsym.gc(dry_run => %s)", [dry_run]).fetchall()
    assert all(size > 0 and age.total_seconds() >= 0 for _, _, _, size, age in rows)
    return {key: (reason, action) for key, reason, action, _, _ in rows}


def left(cluster, conn):
    """Waits until storage holds what the catalog refers to, and nothing else."""
    wait_until(lambda: segments_of(keys(cluster)) == referred(conn), "storage to hold what is referred to and nothing else", 60)


def set_config(cluster, **settings):
    cluster.write_config(**{f"elacsym.{name}": value for name, value in settings.items()})
    cluster.reload()
    time.sleep(0.6)  # workers notice between two looks


def namespace(conn, name="ns", rows=20):
    conn.execute("SELECT elacsym.create_namespace(%s, %s)", [name, json.dumps({"vector_dim": 2, "attributes": {"n": "int"}})])
    write(conn, name, range(rows))


def write(conn, name, ids):
    documents = [{"id": i, "vector": [i, 1], "attributes": {"n": i}} for i in ids]
    conn.execute("SELECT elacsym.upsert(%s, %s::jsonb)", [name, json.dumps(documents)])
    conn.execute("SELECT elacsym.flush(%s)", [name])


def count(conn, name="ns"):
    return conn.execute("SELECT elacsym.count(%s)", [name]).fetchone()[0]


# -- transactions --------------------------------------------------------------------------------------------------------


def test_a_build_is_protected_while_it_runs_and_its_objects_go_after_a_rollback(cluster):
    with cluster.connect("d") as conn, cluster.connect("d") as other:
        namespace(conn)
        with contextlib.suppress(Rollback), conn.transaction():
            make(conn)
            conn.execute("SELECT elacsym.upsert('ns', '[{\"id\": 1000, \"vector\": [1, 2]}]')")
            conn.execute("SELECT elacsym.flush('ns')")
            built = referred(conn) - referred(other)
            assert len(built) == 4 and built < keys(cluster)
            time.sleep(A_WHILE)
            assert built < keys(cluster)
            said = gc(other)
            assert {said[key] for key in built} == {("orphan", "wait for transactions")}, said
            check(conn)
            raise Rollback
        left(cluster, other)
        assert not built & keys(cluster) and count(conn) == 20
        wait_until(lambda: gc(other) == {}, "nothing to be garbage")
        wait_until(lambda: other.execute("SELECT count(*) FROM elacsym.garbage").fetchone() == (0,), "no rows to be left")


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_prepared_transaction_protects_what_it_made(cluster, end):
    with cluster.connect("d") as conn:
        conn.execute("BEGIN")
        make(conn)
        built = referred(conn)
        conn.execute("PREPARE TRANSACTION 'p'")
        time.sleep(A_WHILE)
        assert built and built <= keys(cluster)
    cluster.restart()
    time.sleep(A_WHILE)
    assert built <= keys(cluster)
    with cluster.connect("d") as conn:
        assert {gc(conn)[key] for key in built} == {("orphan", "wait for transactions")}
        conn.execute(f"{end} PREPARED 'p'")
        if end == "COMMIT":
            time.sleep(A_WHILE)
            check(conn)
            assert referred(conn) == built
            conn.execute("DROP TABLE docs")
        wait_until(lambda: not built & keys(cluster), "its objects to go", 30)
        left(cluster, conn)


def test_a_prepared_drop_keeps_the_objects(cluster):
    with cluster.connect("d") as conn:
        make(conn)
        namespace(conn)
        files = referred(conn)
        conn.execute("BEGIN")
        conn.execute("SELECT elacsym.drop_namespace('ns')")
        conn.execute("PREPARE TRANSACTION 'p'")
        time.sleep(A_WHILE)
        assert files <= keys(cluster)
        conn.execute("ROLLBACK PREPARED 'p'")
        time.sleep(A_WHILE)
        assert count(conn) == 20 and files <= keys(cluster)
        check(conn)


@pytest.mark.parametrize("point", ["flush.after_upload", "gc.after_mark", "gc.after_delete"])
def test_a_crash_between_any_two_steps_leaves_nothing_behind_and_takes_nothing(cluster, point):
    with cluster.connect("d") as conn:
        namespace(conn)
        set_config(cluster, fault_point=point)
        # the session dies in its flush, or the worker when it tidies up after the rollback
        with contextlib.suppress(psycopg.Error, Rollback), conn.transaction():
            write(conn, "ns", range(100, 120))
            raise Rollback
    wait_until(lambda: not cluster.processes(), "the server to die at the fault point", 30)
    for lock in [cluster.data / "postmaster.pid", *cluster.socket_dir.iterdir()]:
        lock.unlink(missing_ok=True)
    cluster.write_config(**{"elacsym.fault_point": ""})
    cluster.start()
    with cluster.connect("d") as conn:
        wait_until(lambda: conn.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (0,), "the flush", 20)
        left(cluster, conn)
        assert count(conn) == 20
        assert conn.execute("SELECT count(*) FROM elacsym.fetch('ns', '{0,19}')").fetchone() == (2,)


def test_old_manifests_go_and_one_of_another_history_is_replaced(cluster):
    with cluster.connect("d") as conn:
        namespace(conn)
        state = "SELECT generation, manifest_generation FROM elacsym.namespaces"
        settled = lambda: conn.execute(state).fetchone()[0] == conn.execute(state).fetchone()[1]  # noqa: E731
        wait_until(settled, "the manifest")
        [path] = [storage(cluster) / key for key in keys(cluster) if "manifest-" in key]
        # as after recovery to an earlier time: the next generation was written before, in another history
        generation = int(path.stem.removeprefix("manifest-"))
        following = path.with_name(f"manifest-{generation + 1:020}.json")
        following.write_text("{}")
        following.chmod(0o666)
        # one that was never released, because of a crash
        stray = path.with_name(f"manifest-{0:020}.json")
        stray.write_text("{}")
        write(conn, "ns", range(100, 110))
        wait_until(settled, "the next manifest", 20)
        wait_until(lambda: [k for k in keys(cluster) if "manifest-" in k] == [str(following.relative_to(storage(cluster)))], "only the newest manifest to be left", 20)
        assert json.loads(following.read_text())["body"]["generation"] == generation + 1


# -- databases -----------------------------------------------------------------------------------------------------------


def test_objects_of_a_dropped_database_go_after_the_retention_time(cluster):
    set_config(cluster, object_retention="1h")
    cluster.create_database("other")
    with cluster.connect("d") as conn, cluster.connect("other") as other:
        make(conn)
        namespace(other)
        kept, dropped = referred(conn), referred(other)
    cluster.sql("DROP DATABASE other WITH (FORCE)")
    wait_until(lambda: marks(cluster, "dropped"), "the drop to be noticed", 20)
    time.sleep(A_WHILE)
    with cluster.connect("d") as conn:
        assert kept | dropped <= keys(cluster)
        said = gc(conn)
        assert {said[key] for key in dropped} == {("database dropped", "wait for retention")} and not kept & set(said)
        set_config(cluster, object_retention=0)
        wait_until(lambda: not dropped & keys(cluster), "the dropped database's objects to go", 30)
        wait_until(lambda: not marks(cluster, "dropped"), "the mark to go", 20)
        left(cluster, conn)
        check(conn)


def test_objects_of_a_dropped_extension_go_and_those_of_a_new_one_do_not(cluster):
    set_config(cluster, object_retention="1h")
    with cluster.connect("d") as conn:
        make(conn)
        old = referred(conn)
        conn.execute("DROP EXTENSION elacsym CASCADE")
        wait_until(lambda: marks(cluster, "dropped"), "it to be noticed", 20)
        conn.execute("CREATE EXTENSION elacsym")
        namespace(conn)
        wait_until(lambda: not marks(cluster, "dropped"), "the catalog to be noticed", 20)
        assert old | referred(conn) <= keys(cluster)
        # now they are orphans of the new catalog
        set_config(cluster, object_retention=0)
        left(cluster, conn)
        assert count(conn) == 20 and not old & keys(cluster)
        old = referred(conn)
        conn.execute("DROP EXTENSION elacsym CASCADE")
        wait_until(lambda: not keys(cluster), "everything to go", 30)
        assert not old & keys(cluster)


def test_an_extension_that_is_created_in_a_long_transaction_loses_nothing(cluster):
    cluster.create_database("e", extension=False)
    with cluster.connect("e") as conn:
        conn.execute("BEGIN")
        conn.execute("CREATE EXTENSION elacsym CASCADE")
        make(conn)
        built = referred(conn)
        # whoever looks meanwhile finds objects and no catalog
        time.sleep(A_WHILE)
        assert built <= keys(cluster)
        conn.execute("COMMIT")
        time.sleep(A_WHILE)
        assert built <= keys(cluster)
        check(conn)


@pytest.mark.parametrize("ends_with", ["rebuilt", "dropped"])
def test_a_copied_database_keeps_the_objects_it_reads(cluster, ends_with):
    with cluster.connect("d") as conn:
        make(conn)
        namespace(conn)
        shared = referred(conn)
        wait_until(lambda: conn.execute("SELECT bool_and(generation = manifest_generation) FROM elacsym.namespaces").fetchone()[0], "the manifest")
    cluster.sql("CREATE DATABASE copy TEMPLATE d")
    wait_until(lambda: len(marks(cluster, "lent")) == 1, "the copy to say what it reads", 20)
    with cluster.connect("d") as conn:
        conn.execute("DROP TABLE docs")
        conn.execute("SELECT elacsym.drop_namespace('ns')")
        namespace(conn, "new")
        wait_until(lambda: shared <= set(gc(conn)), "the objects to be garbage of the original", 20)
        time.sleep(A_WHILE)
        assert {gc(conn)[key] for key in shared} == {("released", "keep for a copied database")}
        assert shared <= keys(cluster)
        with cluster.connect("copy") as copy:
            check(copy)
            assert count(copy) == 20
            fill(copy, first=1000, rows=20)
            write(copy, "ns", range(100, 105))
            check(copy)
            assert count(copy) == 25
            if ends_with == "rebuilt":
                copy.execute("REINDEX TABLE docs")
                copy.execute("SELECT elacsym.drop_namespace('ns')")
        if ends_with == "dropped":
            cluster.sql("DROP DATABASE copy WITH (FORCE)")
        wait_until(lambda: not marks(cluster, "lent"), "nothing to be lent", 30)
        wait_until(lambda: not shared & keys(cluster), "what was lent to go", 60)
        assert count(conn, "new") == 20
        if ends_with == "rebuilt":
            with cluster.connect("copy") as copy:
                check(copy)


def test_a_copied_database_outlives_its_original(cluster):
    with cluster.connect("d") as conn:
        make(conn)
        shared = referred(conn)
    cluster.sql("CREATE DATABASE copy TEMPLATE d")
    wait_until(lambda: len(marks(cluster, "lent")) == 1, "the copy to say what it reads", 20)
    with cluster.connect("d") as conn:
        namespace(conn)
        own = referred(conn) - shared
    cluster.sql("DROP DATABASE d WITH (FORCE)")
    wait_until(lambda: not own & keys(cluster), "what only the original used to go", 30)
    time.sleep(A_WHILE)
    with cluster.connect("copy") as copy:
        assert shared <= keys(cluster)
        check(copy)
        assert {gc(copy)[key] for key in shared} == {("database dropped", "keep for a copied database")}
    cluster.sql("DROP DATABASE copy WITH (FORCE)")
    wait_until(lambda: not keys(cluster) and not marks(cluster, "lent"), "everything to go", 40)


def test_what_a_copied_database_has_released_stays_for_the_retention_time_too(cluster):
    """Standbys, cursors and recovery to an earlier time read what the copy has dropped, as they do in any database."""
    with cluster.connect("d") as conn:
        namespace(conn)
        shared = segments_of(referred(conn))
    cluster.sql("CREATE DATABASE copy TEMPLATE d")
    wait_until(lambda: len(marks(cluster, "lent")) == 1, "the copy to say what it reads", 20)
    with cluster.connect("d") as conn, cluster.connect("copy") as copy:
        conn.execute("SELECT elacsym.drop_namespace('ns')")
        kept = {("released", "keep for a copied database")}
        wait_until(lambda: {gc(conn).get(key) for key in shared} == kept, "the objects to be kept", 20)
        set_config(cluster, object_retention="1h")
        copy.execute("SELECT elacsym.drop_namespace('ns')")
        time.sleep(A_WHILE)
        assert len(marks(cluster, "lent")) == 1
        set_config(cluster, object_retention=0)
        wait_until(lambda: not marks(cluster, "lent"), "nothing to be lent", 30)
        wait_until(lambda: not shared & keys(cluster), "what was lent to go", 60)


def test_a_storage_that_is_gone_does_not_keep_garbage_elsewhere(cluster):
    first = storage(cluster)
    with cluster.connect("d") as conn:
        namespace(conn, "old")
        second = cluster.directory / "more"
        second.mkdir(mode=0o777)
        second.chmod(0o777)
        set_config(cluster, storage_url=f"file://{second}", object_retention="1h")
        conn.execute("SELECT elacsym.drop_namespace('old')")
        first.rename(cluster.directory / "away")
        first.write_text("in the way")
        namespace(conn)
        # a row in the middle of the others, and an object that nothing refers to
        garbage = segments_of(referred(conn))
        conn.execute("SELECT elacsym.drop_namespace('ns')")
        with contextlib.suppress(Rollback), conn.transaction():
            namespace(conn, "never")
            orphans = segments_of(referred(conn))
            raise Rollback
        assert garbage | orphans <= keys(cluster)
        set_config(cluster, object_retention=0)
        conn.execute("SELECT elacsym.create_namespace('more', '{\"vector_dim\": 2}')")
        wait_until(lambda: not (garbage | orphans) & keys(cluster), "what is in reach to go", 60)
        assert conn.execute("SELECT count(*) FROM elacsym.garbage WHERE root LIKE %s", [f"%{first.name}"]).fetchone()[0] > 0
        first.unlink()
        (cluster.directory / "away").rename(first)
        wait_until(lambda: conn.execute("SELECT count(*) FROM elacsym.garbage").fetchone()[0] == 0, "the rest to go", 90)


def test_a_copied_database_that_takes_no_connections_keeps_the_objects_it_reads(cluster):
    with cluster.connect("d") as conn:
        namespace(conn)
        shared = segments_of(referred(conn))
    cluster.sql("CREATE DATABASE frozen TEMPLATE d IS_TEMPLATE true ALLOW_CONNECTIONS false")
    wait_until(lambda: len(marks(cluster, "lent")) == 1, "the copy to say what it reads", 20)
    with cluster.connect("d") as conn:
        conn.execute("SELECT elacsym.drop_namespace('ns')")
        time.sleep(A_WHILE)
        assert shared <= keys(cluster)
    cluster.sql("CREATE DATABASE copy TEMPLATE frozen")
    with cluster.connect("copy") as copy:
        assert count(copy) == 20


# -- servers -------------------------------------------------------------------------------------------------------------


def test_a_server_copied_from_a_base_backup_and_its_origin_leave_each_other_alone(cluster):
    with cluster.connect("d") as conn:
        make(conn)
        namespace(conn)
        shared = referred(conn)
    clone = cluster.standby("clone", config=dict(cluster.config))
    try:
        # no standby: the same server once more
        (clone.data / "standby.signal").unlink()
        clone.start()
        wait_until(lambda: len(servers(cluster)) == 2, "both servers to have announced themselves", 30)
        time.sleep(A_WHILE)
        with cluster.connect("d") as conn, clone.connect("d") as other:
            check(conn)
            check(other)
            # each drops what the other reads, and writes what the other does not know
            conn.execute("DROP TABLE docs")
            other.execute("SELECT elacsym.drop_namespace('ns')")
            namespace(conn, "origin")
            namespace(other, "clone")
            write(conn, "ns", range(100, 110))
            fill(other, first=1000, rows=30)
            other.execute("SELECT elacsym.flush('docs_idx')")
            wait_until(lambda: shared & set(gc(conn)), "the dropped index to be garbage", 20)
            time.sleep(A_WHILE)
            assert shared | referred(conn) | referred(other) <= keys(cluster)
            check(other)
            assert (count(conn), count(conn, "origin"), count(other, "clone")) == (30, 20, 20)
            for one, server in ((conn, cluster), (other, clone)):
                said = gc(one)
                assert said and {action for _, action in said.values()} == {"keep for another server"}, said
                gc(one, dry_run=False)
                server.wait_for_log("another server uses the objects of this cluster")
            time.sleep(A_WHILE)
            assert shared | referred(conn) | referred(other) <= keys(cluster)
            # the origin's flushes go on, whoever writes the manifests
            write(conn, "ns", range(200, 210))
            wait_until(lambda: conn.execute("SELECT bool_and(generation = manifest_generation) FROM elacsym.namespaces").fetchone()[0], "maintenance to go on", 20)
        clone.stop()
        # after its time it counts as gone, and what only it knew is garbage
        with cluster.connect("d") as conn:
            left(cluster, conn)
            assert (count(conn), count(conn, "origin")) == (40, 20)
        wait_until(lambda: len(servers(cluster)) == 1, "the other server to be forgotten", 30)
    finally:
        clone.destroy()


def test_a_standby_that_lags_reads_what_the_retention_time_keeps(cluster):
    set_config(cluster, object_retention="1h")
    with cluster.connect("d") as conn:
        make(conn)
        namespace(conn)
    standby = cluster.standby(config=dict(cluster.config))
    try:
        standby.start()
        lsn = cluster.value("SELECT pg_current_wal_flush_lsn()")
        wait_until(lambda: standby.value("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]), "the standby to catch up")
        standby.sql("SELECT pg_wal_replay_pause()")
        with cluster.connect("d") as conn, standby.connect("d") as reader:
            old = referred(conn)
            conn.execute("DROP TABLE docs")
            conn.execute("SELECT elacsym.drop_namespace('ns')")
            wait_until(lambda: set(gc(conn)) >= old, "all to be garbage", 20)
            assert {gc(conn)[key] for key in old} == {("released", "wait for retention")}
            gc(conn, dry_run=False)
            time.sleep(A_WHILE)
            standby.kill_engine()
            check(reader)
            assert count(reader) == 20 and old <= keys(cluster)
            # a standby answers, and deletes and marks nothing
            assert gc(reader) == {}
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                gc(reader, dry_run=False)
            assert len(servers(cluster)) == 1
            # INV-6: beyond the retention time the answer is an error, never a part
            set_config(cluster, object_retention=0)
            wait_until(lambda: not old & keys(cluster), "the objects to go", 30)
            standby.kill_engine()
            with pytest.raises(psycopg.Error, match="does not exist"):
                reader.execute("SELECT count(*) FROM elacsym.query('ns', '[1,2]', top_k => 5)")
    finally:
        standby.destroy()


# -- elacsym.gc() --------------------------------------------------------------------------------------------------------


def test_gc_says_what_would_go_and_does_it_unless_rolled_back(cluster):
    # nothing happens by itself
    set_config(cluster, orphan_sweep_interval=0)
    with cluster.connect("d") as conn:
        namespace(conn)
        with contextlib.suppress(Rollback), conn.transaction():
            make(conn)
            orphans = referred(conn)
            raise Rollback
        orphans -= referred(conn)
        assert len(orphans) == 2
        for _ in range(2):
            assert {gc(conn)[key] for key in orphans} == {("orphan", "wait for transactions")}
        conn.execute("SET default_transaction_read_only = on")
        assert orphans <= set(gc(conn))
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            gc(conn, dry_run=False)
        conn.execute("RESET default_transaction_read_only")
        with contextlib.suppress(Rollback), conn.transaction():
            assert orphans <= set(gc(conn, dry_run=False))
            raise Rollback
        assert conn.execute("SELECT count(*) FROM elacsym.garbage WHERE reason = 'o'").fetchone() == (0,)
        time.sleep(A_WHILE)
        assert orphans <= keys(cluster)
        assert orphans <= set(gc(conn, dry_run=False))
        left(cluster, conn)
        assert not orphans & keys(cluster) and count(conn) == 20


def test_gc_is_for_the_owner_of_the_extension(cluster):
    cluster.sql("CREATE ROLE plain LOGIN")
    with cluster.connect("d", user="plain") as conn:
        for dry_run in (True, False):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"permission denied for elacsym.gc\(\)"):
                gc(conn, dry_run)
        with pytest.raises(psycopg.errors.NullValueNotAllowed):
            conn.execute("SELECT * FROM elacsym.gc(NULL)")


def test_what_somebody_else_put_there_is_left_alone(cluster):
    with cluster.connect("d") as conn:
        namespace(conn)
        [own] = {Path(key).parent.parent for key in segments_of(keys(cluster))}
        uuid = own.parts[0]
        strange = [
            own / "notes.txt",
            own / "manifest-1.json",
            own / "not-a-ulid" / "search.idx",
            own.parent / "readme",
            own.parent / "not-a-uuid" / "01KAB3C4D5E6F7G8H9JKMNPQRS" / "search.idx",
            Path(uuid) / "99999" / "readme",
            Path(uuid) / "readme",
            Path("readme"),
            Path("0000000000001") / own.parts[1] / own.parts[2] / "01KAB3C4D5E6F7G8H9JKMNPQRS" / "search.idx",
        ]
        for path in strange:
            target = storage(cluster) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("mine")
            for directory in [target.parent, *target.parent.parents]:
                if directory == storage(cluster):
                    break
                if directory.stat().st_uid == os.getuid():
                    directory.chmod(0o777)
        # and one that could have been ours
        orphan = storage(cluster) / own / "01KAB3C4D5E6F7G8H9JKMNPQRS" / "search.idx"
        orphan.parent.mkdir()
        orphan.write_text("nobody's")
        orphan.parent.chmod(0o777)
        wait_until(lambda: not orphan.exists(), "the orphan to go", 20)
        time.sleep(A_WHILE)
        assert all((storage(cluster) / path).read_text() == "mine" for path in strange)
        assert not {str(path) for path in strange} & set(gc(conn))
        assert count(conn) == 20


def test_thousands_of_orphans_go_page_by_page(cluster):
    set_config(cluster, object_retention="1h", orphan_sweep_interval=0)
    with cluster.connect("d") as conn:
        namespace(conn)
        live = referred(conn)
        [directory] = {Path(key).parent.parent for key in live}
        for number in range(2100):
            # some before those that live, some after
            orphan = storage(cluster) / directory / f"{'01A' if number % 2 else '7ZZ'}{number:023d}"
            orphan.mkdir()
            orphan.chmod(0o777)
            (orphan / "search.idx").write_text("nobody's")
        assert gc(conn) == {}, "what is young may be in the middle of its making"
        set_config(cluster, object_retention=0)
        assert len(gc(conn)) == 2100
        assert len(gc(conn, dry_run=False)) == 2100
        left(cluster, conn)
        assert referred(conn) == live and count(conn) == 20


def test_on_s3_what_a_rollback_left_goes(new_cluster, moto, bucket):
    config = {**moto.settings, **CONFIG, "elacsym.storage_url": f"s3://{bucket}/some/prefix"}
    cluster = new_cluster(config=config, env=moto.env)
    cluster.create_database("o")
    with cluster.connect("o") as conn:
        make(conn)
        segments = lambda: {key for key in moto.keys(bucket) if key.endswith((".idx", ".parquet"))}  # noqa: E731
        with contextlib.suppress(Rollback), conn.transaction():
            conn.execute("REINDEX INDEX docs_idx")
            made = {f"some/prefix/{key}" for key in referred(conn)}
            assert len(made) == 4 and made == segments()
            raise Rollback
        own = min(made).removeprefix("some/prefix/").split("/")[0]
        abandoned, others = f"some/prefix/{own}/1/left/by/a/crash", "some/prefix/somebody/else"
        moto.begin_upload(bucket, abandoned)
        moto.begin_upload(bucket, others)
        wait_until(lambda: moto.uploads(bucket) == [others], "the abandoned upload to be ended", 40)
        wait_until(lambda: segments() == {f"some/prefix/{key}" for key in referred(conn)}, "the rolled back build to go", 40)
        check(conn)
        conn.execute("DROP EXTENSION elacsym CASCADE")
        wait_until(lambda: not segments(), "everything to go", 40)
