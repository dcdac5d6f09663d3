"""VACUUM asks the engine which rows an index has. The engine has their keys on its own disk, so object storage may be away."""

import contextlib

import psycopg
import pytest

from harness import Moto, wait_until
from harness.index_answers import check, fill, make, same

SEGMENTS = 4


@pytest.fixture
def s3():
    """An S3 server of the test's own, with a bucket."""
    with Moto() as moto:
        moto.create_bucket("bucket")
        yield moto


@pytest.fixture
def cluster(new_cluster, s3):
    """A table with an index of several segments on that server."""
    config = {"elacsym.storage_url": "s3://bucket/x", "elacsym.flush_interval": "1h", "elacsym.object_retention": 0, "autovacuum": "off", **s3.settings}
    cluster = new_cluster(config=config, env=s3.env)
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        make(conn, rows=400)
        for segment in range(1, SEGMENTS):
            fill(conn, first=1000 * segment, rows=100)
            conn.execute("SELECT elacsym.flush('docs_idx')")
        assert conn.execute("SELECT segments, buffered FROM elacsym.indexes").fetchone() == (SEGMENTS, 0)
    return cluster


def pins(cluster):
    return sorted((cluster.data / "pgsql_tmp_elacsym" / "cache" / "keys").glob("*"))


@contextlib.contextmanager
def away(s3):
    """The server does not run: connections are refused. Afterwards it has the same objects again."""
    objects = {key: s3.get("bucket", key) for key in s3.keys("bucket")}
    s3.stop()
    try:
        yield
    finally:
        s3.start()
        s3.create_bucket("bucket")
        for key, body in objects.items():
            s3.put("bucket", key, body)


def forget_blocks(cluster):
    """A new engine, without the disk tier of the block cache: it has read nothing."""
    cluster.write_config(**{"elacsym.cache_disk": 0})
    cluster.restart()


def vacuum(conn):
    """VACUUM; returns what it says."""
    said = []
    handler = lambda notice: said.append(notice.message_primary + "\n" + (notice.message_detail or ""))
    conn.add_notice_handler(handler)
    conn.execute("VACUUM (VERBOSE, INDEX_CLEANUP ON) docs")
    conn.remove_notice_handler(handler)
    return "\n".join(said)


def test_vacuum_works_while_storage_is_away(cluster, s3):
    """INV-6."""
    assert len(pins(cluster)) == SEGMENTS
    with cluster.connect("d") as conn:
        conn.execute("DELETE FROM docs WHERE id % 10 = 3")
    forget_blocks(cluster)
    with cluster.connect("d") as conn:
        with away(s3):
            with pytest.raises(psycopg.Error) as raised, conn.transaction():
                conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
                conn.execute("SELECT id FROM docs ORDER BY v <-> '[1,2,3,4]' LIMIT 3")
            assert raised.value.sqlstate == "58000", "the engine has nothing of the segments"
            assert "70 dead item identifiers removed" in vacuum(conn)
            # rows in the freed places: an entry that VACUUM had missed would speak of them
            fill(conn, first=8000, rows=80)
            assert conn.execute("SELECT count(*) FROM docs d, pg_class c WHERE c.oid = 'docs'::regclass AND d.id >= 8000 AND (d.ctid::text::point)[0] < c.relpages - 1").fetchone()[0] > 40
            conn.execute("DELETE FROM docs WHERE id % 10 = 4")
            assert "dead item identifiers removed" in vacuum(conn)
        rows = check(conn)
        assert rows == conn.execute("SELECT count(*) FROM docs").fetchone()[0] == 630 + 80 - 78
        conn.execute("SELECT elacsym.flush('docs_idx')")
        check(conn)
        assert len(pins(cluster)) == SEGMENTS + 1


def test_vacuum_without_pinned_keys_and_storage_is_a_clear_error_and_heals(cluster, s3):
    """INV-6."""
    with cluster.connect("d") as conn:
        conn.execute("DELETE FROM docs WHERE id % 10 = 3")
        answer = same(conn, "SELECT v <-> '[0.1,0.2,0.3,0.4]', id, n FROM docs ORDER BY 1")
    forget_blocks(cluster)
    for file in pins(cluster):
        file.unlink()
    with cluster.connect("d") as conn:
        with away(s3):
            for _ in range(2):
                with pytest.raises(psycopg.Error) as raised:
                    conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
                assert raised.value.sqlstate == "58000", raised.value
                assert "the keys of segment" in str(raised.value) and "cannot be read from object storage" in str(raised.value)
                assert "Repeat the command when object storage answers again." in raised.value.diag.message_hint
            assert pins(cluster) == []
            fill(conn, first=8000, rows=80)
        assert check(conn) == len(answer) + 80
        assert "70 dead item identifiers removed" in vacuum(conn)
        assert len(pins(cluster)) == SEGMENTS, "what VACUUM has read it need not read again"
        conn.execute("DELETE FROM docs WHERE id % 10 = 4")
        with away(s3):
            assert "dead item identifiers removed" in vacuum(conn)
        fill(conn, first=9000, rows=80)
        check(conn)


def test_damaged_pinned_keys_are_fetched_anew(cluster):
    with cluster.connect("d") as conn:
        conn.execute("DELETE FROM docs WHERE id % 10 = 3")
        files = pins(cluster)
        before = [file.read_bytes() for file in files]
        for number, file in enumerate(files):
            body = bytearray(before[number])
            body[number * len(body) // SEGMENTS] ^= 1
            # in place: the file stays the engine's
            with file.open("r+b") as f:
                f.write(body)
        offset = cluster.log_path.stat().st_size
        assert "70 dead item identifiers removed" in vacuum(conn)
        assert [file.read_bytes() for file in pins(cluster)] == before
        fill(conn, first=8000, rows=80)
        check(conn)
        conn.execute("VACUUM (INDEX_CLEANUP ON) docs")
        assert cluster.log(offset).count("a local file with the keys of a segment is not usable") == SEGMENTS, "once for each"


def test_pinned_keys_go_with_the_index(cluster):
    assert len(pins(cluster)) == SEGMENTS
    with cluster.connect("d") as conn:
        conn.execute("REINDEX INDEX docs_idx")
        wait_until(lambda: len(pins(cluster)) == 1, "the keys of the old index to be removed", 30)
        check(conn)
        conn.execute("DROP TABLE docs")
        wait_until(lambda: not pins(cluster), "the keys of the dropped index to be removed", 30)
