"""VACUUM asks the engine which rows an index has. The engine has their keys on its own disk, so object storage may be away."""

import contextlib
import socket
import threading

import psycopg
import pytest

from harness import Moto, wait_until
from harness.env import free_port
from harness.index_answers import check, fill, make, same

SEGMENTS = 4


class Gate:
    """A port that leads to the S3 server, or refuses connections: so storage goes away and comes back with all that it held."""

    def __init__(self, server: Moto):
        self.server, self.port = server, free_port()
        self.sockets = []

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self):
        # `shutdown` wakes the threads that wait in `accept` and `recv`, `close` alone does not
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def closed(self):
        self.close()
        try:
            yield
        finally:
            self.open()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                ends = listener.accept()[0], socket.create_connection(("127.0.0.1", self.server.port))
                self.sockets += ends
                if listener.fileno() == -1:  # closed meanwhile
                    return [each.close() for each in ends]
                for one, other in (ends, ends[::-1]):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def s3(moto, bucket):
    """The way to a bucket of the test's own."""
    gate = Gate(moto)
    gate.open()
    gate.config = {**moto.settings, "elacsym.storage_url": f"s3://{bucket}/x", "elacsym.s3_endpoint": f"http://127.0.0.1:{gate.port}"}
    yield gate
    gate.close()


@pytest.fixture
def cluster(new_cluster, moto, s3):
    """A table with an index of several segments there."""
    config = {"elacsym.flush_interval": "1h", "elacsym.object_retention": 0, "autovacuum": "off", **s3.config}
    cluster = new_cluster(config=config, env=moto.env)
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
        with s3.closed():
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
        with s3.closed():
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
        with s3.closed():
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
