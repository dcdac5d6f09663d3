"""Object storage that is away, slow, failing or lying, and disks that are full: what works and what is a clear error is INV-6, what
was acknowledged stays (INV-5), and everything recovers by itself."""

import contextlib
import json
import shutil
import subprocess
import time

import psycopg
import pytest

from harness import BackgroundLoad, Cluster, Fault, FaultyS3, SmallDisk, wait_until
from harness.index_answers import check, fill, make, same

TOP = "SELECT v <-> '[1,2,3,4]', id FROM docs ORDER BY 1"
SCHEMA = {"vector_dim": 4, "attributes": {"words": {"type": "string", "full_text": True}, "n": "int"}}
UNAVAILABLE, CANCELLED, CORRUPT = "58000", "57014", "XX001"
# no disk tier: an engine that was killed has nothing of the segments but the pinned keys
CONFIG = {"elacsym.flush_interval": "200ms", "elacsym.object_retention": "1h", "elacsym.cache_disk": 0, "elacsym.compaction": "on", "autovacuum": "off"}


@pytest.fixture
def s3(moto):
    with FaultyS3(moto) as proxy:
        yield proxy


@pytest.fixture
def cluster(new_cluster, moto, s3, bucket):
    """A table with an index and a namespace, both flushed and searched."""
    cluster = new_cluster(config={**CONFIG, **s3.settings, "elacsym.storage_url": f"s3://{bucket}/x"}, env=moto.env)
    prepare(cluster)
    return cluster


def prepare(cluster):
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        make(conn, rows=300)
        conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(SCHEMA)])
        upsert(conn, 1, 200)
        settled(conn)
        everything(conn, 300, 200)


def upsert(conn, first, last):
    conn.execute(
        "SELECT elacsym.upsert('ns', jsonb_agg(jsonb_build_object('id', i, 'vector', jsonb_build_array(i, 1, 2, 3), 'attributes', jsonb_build_object('words', 'all w' || i, 'n', i)))) FROM generate_series(%s::int, %s::int) i",
        [first, last],
    )


def found(conn):
    """The ids of the namespace, as a vector search, a text search and a scan agree on them."""
    query = "SELECT id FROM elacsym.query('ns', {}, top_k => 10000) ORDER BY id"
    by_vector = conn.execute(query.format("'[1,1,1,1]', effort => 'infinity'")).fetchall()
    assert by_vector == conn.execute(query.format("full_text => '\"all\"'")).fetchall()
    assert by_vector == conn.execute("SELECT id FROM elacsym.scan('ns', \"limit\" => 10000) ORDER BY id").fetchall()
    return [row[0] for row in by_vector]


def everything(conn, rows, documents):
    """The index has all rows of the table, which are so many, the namespace so many documents."""
    assert check(conn) == rows
    assert len(found(conn)) == documents


def settled(conn, timeout=120):
    """Waits until everything is flushed."""
    state = """SELECT (SELECT count(*) FROM elacsym.wal), (SELECT count(*) FROM elacsym.namespace WHERE generation <> manifest_generation),
                      bytes, uncommitted_bytes, flush_failing FROM elacsym.stat_buffer"""
    wait_until(lambda: conn.execute(state).fetchone() == (0, 0, 0, 0, False), "everything to be flushed", timeout, 0.1)


def merged(conn, timeout=150):
    """Waits until there are as few segments as compaction leaves, tried again by itself after at most a minute."""
    counts = "SELECT namespace::text, count(*) FROM elacsym.segments GROUP BY 1 HAVING count(*) > 2"
    wait_until(lambda: conn.execute(counts).fetchall() == [], "segments to be merged", timeout, 0.1)
    assert conn.execute("SELECT count(*) > 0 FROM elacsym.segments WHERE stats ? 'compacted'").fetchone() == (True,)


def a_segment_more(conn, number):
    """In the index and in the namespace, whatever the flush interval."""
    fill(conn, first=5000 + number * 10, rows=3)
    upsert(conn, 190, 195)
    settled(conn)


def searches(conn):
    """One of each kind that needs segments; each is a statement."""
    yield "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off", TOP + " LIMIT 5"
    yield "SET LOCAL enable_seqscan = off", "SELECT id FROM docs WHERE body @@@ 'lake'"
    yield "", "SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]', 'lake')"
    yield "", "SELECT * FROM elacsym.query('ns', '[1,2,3,4]')"
    yield "", "SELECT * FROM elacsym.query('ns', full_text => '\"all\"')"
    yield "", "SELECT * FROM elacsym.scan('ns')"
    yield "", "SELECT * FROM elacsym.fetch('ns', '{7}')"
    yield "", "SELECT elacsym.count('ns', '{\"field\": \"n\", \"op\": \"gt\", \"value\": 5}')"


def every_search_fails(conn, states, timeout="20s"):
    """INV-6, INV-8: a clear error, never a part of the answer. Returns the errors."""
    errors = []
    for setting, query in searches(conn):
        with pytest.raises(psycopg.Error) as raised, conn.transaction():
            conn.execute(f"SET LOCAL statement_timeout = '{timeout}';{setting}")
            conn.execute(query)
        assert raised.value.sqlstate in states, (query, raised.value)
        errors.append(raised.value)
    return errors


def vacuum(conn):
    conn.execute("SET statement_timeout = '30s'")
    conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
    conn.execute("RESET statement_timeout")


READS, WRITES = ("GET", "HEAD"), ("PUT", "POST", "DELETE")
# none: nobody listens
OUTAGES = {
    "down": [],
    "500": [Fault("status", 500)],
    "503": [Fault("status", 503, code="SlowDown")],
    "partial": [Fault("partial", methods=READS), Fault("status", 503, code="SlowDown", methods=WRITES)],
    "writes_only": [Fault("status", 503, code="SlowDown", methods=WRITES)],
    "silent": [Fault("silent")],
}


def broken(s3, outage):
    return s3.failing(*OUTAGES[outage]) if OUTAGES[outage] else s3.down()


@pytest.mark.parametrize("outage", OUTAGES)
def test_in_an_outage_writes_commit_vacuum_works_and_no_answer_is_partial(cluster, s3, outage):
    """INV-6."""
    with cluster.connect("d") as conn:
        with broken(s3, outage):
            # what is cached is found, and what is written meanwhile
            fill(conn, first=1000, rows=20)
            conn.execute("UPDATE docs SET n = 5 WHERE id < 30")
            upsert(conn, 190, 220)
            conn.execute("SELECT elacsym.delete('ns', '{1,2,3}'), elacsym.patch('ns', '[{\"id\": 9, \"attributes\": {\"n\": -1}}]')")
            assert len(same(conn, TOP)) == 320
            assert len(found(conn)) == 217
            conn.execute("DELETE FROM docs WHERE id % 10 = 7")
            vacuum(conn)
            # in freed places
            fill(conn, first=2000, rows=20)
            assert len(same(conn, TOP)) == 340 - 32
            assert conn.execute("SELECT bytes > 0 FROM elacsym.stat_buffer").fetchone() == (True,)
            # an engine that has read nothing
            cluster.kill_engine()
            if outage == "writes_only":
                everything(conn, 308, 217)
            elif outage == "silent":
                every_search_fails(conn, (UNAVAILABLE, CANCELLED), "1s")
            else:
                for error in every_search_fails(conn, (UNAVAILABLE,)):
                    assert error.diag.message_hint, error
            fill(conn, first=3000, rows=20)
            upsert(conn, 221, 230)
            vacuum(conn)
            # what has no segment needs no storage
            conn.execute("SELECT elacsym.create_namespace('new', %s)", [json.dumps(SCHEMA)])
            conn.execute("SELECT elacsym.upsert('new', 1, '[1,2,3,4]', '{\"words\": \"here\"}')")
            assert conn.execute("SELECT id FROM elacsym.query('new', full_text => '\"here\"')").fetchall() == [(1,)]
            conn.execute("SELECT elacsym.drop_namespace('new')")
        everything(conn, 328, 227)
        settled(conn)
        everything(conn, 328, 227)
        cluster.kill_engine()
        everything(conn, 328, 227)
        # what has failed meanwhile is not given up
        for number in range(3):
            a_segment_more(conn, number)
        merged(conn)
        everything(conn, 337, 227)


def test_what_was_acknowledged_in_an_outage_survives_a_crash_in_it(cluster, s3):
    """INV-5."""
    with s3.down():
        with cluster.connect("d") as conn:
            fill(conn, first=1000, rows=20)
            upsert(conn, 201, 210)
        cluster.kill9(everything=True)
        cluster.start()
        with cluster.connect("d") as conn:
            assert conn.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (30,)
            fill(conn, first=2000, rows=10)
            every_search_fails(conn, (UNAVAILABLE,))
            assert conn.execute("SELECT count(*) FROM docs").fetchone() == (330,)
    with cluster.connect("d") as conn:
        everything(conn, 330, 210)
        settled(conn)
        everything(conn, 330, 210)


def test_slow_storage_makes_cold_searches_slow_and_nothing_else(cluster, s3):
    """INV-6, with 5 s for each request."""
    with cluster.connect("d") as conn:
        with s3.failing(Fault("slow", 5)):
            began = time.monotonic()
            fill(conn, first=1000, rows=20)
            upsert(conn, 201, 210)
            assert len(same(conn, TOP)) == 320
            assert len(found(conn)) == 210
            conn.execute("DELETE FROM docs WHERE id % 10 = 7")
            vacuum(conn)
            assert time.monotonic() - began < 10, "nobody waited for storage"
            settled(conn)
            cluster.kill_engine()
            # cancel does not wait for the answer
            began = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled), conn.transaction():
                conn.execute("SET LOCAL statement_timeout = '1s'")
                conn.execute("SELECT * FROM elacsym.query('ns', '[1,2,3,4]')")
            assert time.monotonic() - began < 3
            # slow, and whole
            assert conn.execute("SELECT count(*) FROM elacsym.query('ns', '[1,2,3,4]', top_k => 1000, effort => 'infinity')").fetchone() == (210,)
        everything(conn, 288, 210)


def test_corrupt_bytes_are_an_error_that_names_them_and_are_not_kept(cluster, s3):
    """INV-8."""
    with cluster.connect("d") as conn:
        fill(conn, first=1000, rows=20)
        upsert(conn, 201, 210)
        settled(conn)
        cluster.kill_engine()
        with s3.failing(Fault("corrupt", methods=("GET",))):
            for _ in range(2):
                for error in every_search_fails(conn, (CORRUPT,)):
                    assert "is corrupt at offset" in str(error) and "search.idx" in str(error) or "rows.parquet" in str(error), error
            # writes go on; a flush that reads corrupt keys publishes nothing
            fill(conn, first=2000, rows=20)
            upsert(conn, 150, 220)
            conn.execute("UPDATE docs SET n = 3 WHERE id < 50")
            time.sleep(2)
        everything(conn, 340, 220)
        settled(conn)
        everything(conn, 340, 220)
        # once in a while: each answer is right or an error
        cluster.kill_engine()
        wrong = 0
        for number in range(30):
            with s3.failing(Fault("corrupt", methods=("GET",), path=("search.idx", "rows.parquet")[number % 2], times=1)):
                try:
                    assert len(found(conn)) == 220
                except psycopg.Error as error:
                    assert error.sqlstate == CORRUPT, error
                    wrong += 1
            if number % 10 == 9:
                cluster.kill_engine()
        assert wrong > 0
        everything(conn, 340, 220)


def test_uploads_whose_answer_is_lost_are_there_once(cluster, s3, moto, bucket):
    """INV-1, INV-4: repeated, an upload finds its own object, and takes it for what it is."""
    with cluster.connect("d") as conn:
        with s3.failing(Fault("lost", methods=("PUT", "POST"), times=3)) as proxy:
            fill(conn, first=1000, rows=20)
            upsert(conn, 190, 210)
            settled(conn)
            assert proxy.faults[0].hits == 3
        everything(conn, 320, 210)
        cluster.kill_engine()
        everything(conn, 320, 210)
        keys = set(moto.keys(bucket))
        for (objects,) in conn.execute("SELECT objects FROM elacsym.segments").fetchall():
            assert {f"x/{key}" for key in objects} <= keys


def test_in_a_long_outage_writers_are_delayed_then_refused_and_nothing_is_lost(cluster, s3):
    """INV-6, INV-5: the buffer grows to its limits, no further."""
    cluster.write_config(**{"elacsym.buffer_limit": "100kB", "elacsym.buffer_hard_limit": "200kB"})
    cluster.reload()
    wait_until(lambda: cluster.value("SHOW elacsym.buffer_hard_limit") == "200kB", "the limits to be read")
    acknowledged = []

    def write(conn, thread, number):
        id = 10_000 + thread * 1_000 + number
        conn.execute("SELECT elacsym.upsert('ns', %s, '[1,2,3,4]', jsonb_build_object('words', 'all ' || repeat('x', 3000)))", [id])
        acknowledged.append(id)

    with cluster.connect("d") as conn:
        with s3.down():
            with BackgroundLoad(cluster, write, threads=3, dbname="d") as load:
                wait_until(lambda: load.errors, "a writer to be refused", 60)
                # room is looked for, not reserved: each of the others may have found the same
                assert conn.execute("SELECT bytes <= 200 * 1024 + 3 * 4096, waited_seconds > 0.5, refused > 0 FROM elacsym.stat_buffer").fetchone() == (True, True, True)
            for _, error in load.errors:
                assert isinstance(error, psycopg.errors.ConfigurationLimitExceeded), error
            wait_until(lambda: conn.execute("SELECT flush_failing FROM elacsym.stat_buffer").fetchone()[0], "the flush to have failed", 90)
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded) as raised:
                for number in range(100):
                    write(conn, 9, number)
            assert "The last flush failed; the server log says why." in raised.value.diag.message_hint
            conn.execute("SELECT elacsym.delete('ns', '{1}')")
            conn.execute("DELETE FROM docs WHERE id = 1")
            vacuum(conn)
        settled(conn)
        assert found(conn) == sorted([*range(2, 201), *acknowledged])
        with BackgroundLoad(cluster, write, threads=1, dbname="d") as load:
            wait_until(lambda: load.done > 20, "writers to go on", 20)
        assert not load.errors


# -- full disks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mounts(tmp_path_factory):
    """Skips where no small file system can be mounted."""
    problem = SmallDisk.problem(tmp_path_factory.mktemp("mount"))
    if problem:
        pytest.skip(problem)


def test_a_full_disk_of_storage_is_an_outage_for_writes_only(mounts):
    """INV-6, with storage_url = file://."""
    cluster = Cluster("disk")
    objects = cluster.directory / "objects"
    with SmallDisk(objects, 16 << 20) as disk, cluster:
        cluster.config |= {**CONFIG, "elacsym.storage_url": f"file://{objects}"}
        cluster.init().start()
        prepare(cluster)
        with cluster.connect("d") as conn:
            offset = cluster.log_size()
            with disk.full():
                fill(conn, first=1000, rows=20)
                upsert(conn, 190, 220)
                cluster.wait_for_log("could not flush (?s:.*)No space left on device", offset, 30)
                everything(conn, 320, 220)
                conn.execute("DELETE FROM docs WHERE id % 10 = 7")
                vacuum(conn)
                cluster.kill_engine()
                everything(conn, 288, 220)
                with pytest.raises(psycopg.Error) as raised:
                    conn.execute("REINDEX INDEX docs_idx")
                assert raised.value.sqlstate == "53000" and "No space left" in str(raised.value), raised.value
                everything(conn, 288, 220)
            settled(conn)
            everything(conn, 288, 220)
            conn.execute("REINDEX INDEX docs_idx")
            everything(conn, 288, 220)
            for number in range(3):
                a_segment_more(conn, number)
            merged(conn)
            everything(conn, 297, 220)
            # failed uploads have left nothing that is not named as an object
            names = {path.name for path in objects.rglob("*") if path.is_file() and path.parent.name != "servers"}
            assert all(name in ("rows.parquet", "search.idx") or name.startswith("manifest-") for name in names), names


def test_a_full_cache_disk_costs_nothing_but_requests(mounts, moto, bucket, s3):
    """INV-6."""
    cluster = Cluster("cache", env=moto.env)
    cache = cluster.directory / "cache"
    with SmallDisk(cache, 8 << 20) as disk, cluster:
        cluster.config |= {**CONFIG, **s3.settings, "elacsym.storage_url": f"s3://{bucket}/x", "elacsym.cache_path": cache, "elacsym.cache_disk": "64MB"}
        cluster.init().start()
        with disk.full():
            prepare(cluster)
            with cluster.connect("d") as conn:
                engine = cluster.engine_pids()
                fill(conn, first=1000, rows=20)
                upsert(conn, 190, 220)
                settled(conn)
                everything(conn, 320, 220)
                conn.execute("DELETE FROM docs WHERE id % 10 = 7")
                vacuum(conn)
                everything(conn, 288, 220)
                assert cluster.engine_pids() == engine, "it has survived"
                cluster.kill_engine()
                everything(conn, 288, 220)
                # rows on their way into a merged segment have no room: the segments stay as they are
                offset = cluster.log_size()
                for number in range(3):
                    a_segment_more(conn, number)
                cluster.wait_for_log(r"WARNING: .*could not merge segments of namespace .*: a merge of segments needs about", offset, 60)
                message = f"bytes on the local disk in \"{cache}/compaction\", where [0-9]+ are free"
                cluster.wait_for_log(message, offset, 10)
                cluster.wait_for_log("HINT: .*elacsym.cache_path", offset, 10)
                with pytest.raises(psycopg.Error) as raised:
                    conn.execute("SELECT elacsym.compact('ns')")
                assert raised.value.sqlstate == "53000" and "needs about" in str(raised.value), raised.value
                everything(conn, 297, 220)
        with cluster.connect("d") as conn:
            merged(conn)
            cluster.kill_engine()
            fill(conn, first=2000, rows=20)
            everything(conn, 317, 220)
            conn.execute("DELETE FROM docs WHERE id % 10 = 3")
            vacuum(conn)
            settled(conn)
            everything(conn, conn.execute("SELECT count(*) FROM docs").fetchone()[0], 220)


def move_log(cluster):
    """The write-ahead log goes beside the data directory."""
    to = cluster.directory / "pg_wal"
    subprocess.run(["cp", "-a", cluster.data / "pg_wal", to], check=True)
    shutil.rmtree(cluster.data / "pg_wal")
    (cluster.data / "pg_wal").symlink_to(to)


def insert_until_it_fails(conn, acknowledged):
    """Rows that do not fit into the free space of pages."""
    with pytest.raises(psycopg.Error) as raised:
        for id in range(10_000, 100_000):
            conn.execute("INSERT INTO docs VALUES (%s, '[1,2,3,4]', repeat(md5(%s::text) || ' ', 60), 1)", [id, id])
            acknowledged.append(id)
    return raised.value


@pytest.mark.parametrize("log", ["elsewhere", "there"])
def test_a_full_disk_of_the_data_directory_loses_nothing(mounts, log):
    """INV-5, INV-6. With the log elsewhere writes fail one by one, and searches work; with the log there the server goes down, as
    PostgreSQL does, and comes back."""
    cluster = Cluster("full")
    objects = cluster.directory / "objects"
    objects.mkdir()
    objects.chmod(0o777)
    config = {**CONFIG, "elacsym.storage_url": f"file://{objects}", "min_wal_size": "32MB", "max_wal_size": "48MB", "shared_buffers": "16MB"}
    with SmallDisk(cluster.data, 256 << 20) as disk, cluster:
        cluster.config |= config
        cluster.init()
        if log == "elsewhere":
            move_log(cluster)
        cluster.start()
        prepare(cluster)
        acknowledged = list(range(1, 301))
        with cluster.connect("d") as conn, disk.full(leaving=1 << 20):
            error = insert_until_it_fails(conn, acknowledged)
            if log == "elsewhere":
                assert error.sqlstate == "53100", error
                assert [row[0] for row in conn.execute("SELECT id FROM docs ORDER BY id")] == acknowledged
                assert len(same(conn, TOP)) == len(acknowledged)
                assert len(found(conn)) == 200
                insert_until_it_fails(conn, acknowledged)
                assert len(same(conn, TOP)) == len(acknowledged)
            else:
                assert error.sqlstate in ("53100", "57P02", "57P01", None), error
        wait_until(lambda: answers(cluster) or start_if_dead(cluster), "the server to answer", 60, 0.2)
        with cluster.connect("d") as conn:
            ids = [row[0] for row in conn.execute("SELECT id FROM docs ORDER BY id")]
            # the last one may have been committed without anybody having heard of it
            assert ids[: len(acknowledged)] == acknowledged and len(ids) <= len(acknowledged) + 2
            everything(conn, len(ids), 200)
            fill(conn, first=1000, rows=20)
            upsert(conn, 201, 210)
            settled(conn)
            everything(conn, len(ids) + 20, 210)


def answers(cluster):
    with contextlib.suppress(psycopg.OperationalError):
        return cluster.value("SELECT true", dbname="d")


def start_if_dead(cluster):
    if not cluster.processes():
        # a dead postmaster that nobody has waited for yet still counts as alive for these
        for lock in (cluster.data / "postmaster.pid", *cluster.socket_dir.iterdir()):
            lock.unlink(missing_ok=True)
        cluster.start()
