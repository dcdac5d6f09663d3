"""elacsym.metrics() and the /metrics listener: every text is read by Prometheus' own parser."""

import http.client
import math
import os
import socket
import time
import urllib.error
import urllib.request

import psycopg
import pytest
from harness.env import free_port
from harness.wait import wait_until
from prometheus_client.parser import text_string_to_metric_families

# Nothing is flushed, and so nothing changes, unless the test says so.
QUIET = {"elacsym.flush_interval": "1h"}
NAMESPACE = """SELECT elacsym.create_namespace('ns', '{"vector_dim": 2, "attributes": {"title": {"type": "string", "full_text": true}}}')"""


class Scrape:
    """A parsed text: families by name, and the values of samples."""

    def __init__(self, text: str):
        names = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")]
        assert len(names) == len(set(names)), "a family comes twice"
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._values = {}
        for family in self.families.values():
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self._values, f"{key} comes twice"
                self._values[key] = sample.value

    def value(self, name: str, **labels) -> float:
        return self._values[name, frozenset(labels.items())]

    def labels(self, name: str) -> list[dict]:
        return [dict(labels) for found, labels in self._values if found == name]

    def sum(self, name: str, **labels) -> float:
        return sum(value for (found, all_labels), value in self._values.items() if found == name and labels.items() <= dict(all_labels).items())


def scrape(conn) -> Scrape:
    return Scrape(conn.execute("SELECT elacsym.metrics()").fetchone()[0])


def write(conn, ids, namespace="ns") -> None:
    conn.execute(
        """SELECT elacsym.upsert(%s, jsonb_agg(jsonb_build_object('id', i, 'vector', jsonb_build_array(i, 1), 'attributes', jsonb_build_object('title', 'lake ' || i))))
             FROM generate_series(%s::int, %s::int) i""",
        [namespace, ids.start, ids.stop - 1],
    )


@pytest.fixture
def quiet(new_cluster):
    cluster = new_cluster(config=QUIET)
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        conn.cluster = cluster
        yield conn


@pytest.mark.every_pg
def test_every_family_has_a_type_and_help_and_histograms_add_up(quiet):
    quiet.execute(NAMESPACE)
    write(quiet, range(1, 50))
    quiet.execute("SELECT elacsym.flush('ns')")
    quiet.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
    found = scrape(quiet)
    assert len(found.families) > 30
    histograms = 0
    for family in found.families.values():
        assert family.name.startswith("elacsym_") and family.documentation.endswith(".") and family.type in ("counter", "gauge", "histogram"), family
        if family.type != "histogram":
            assert all(sample.value >= 0 for sample in family.samples)
            continue
        series = {}
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            series.setdefault(frozenset(labels.items()), []).append(sample)
        for samples in series.values():
            buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket")]
            [total] = [s.value for s in samples if s.name.endswith("_sum")]
            [count] = [s.value for s in samples if s.name.endswith("_count")]
            bounds, counts = zip(*buckets, strict=True)
            assert list(bounds) == sorted(set(bounds)) and bounds[-1] == math.inf
            assert list(counts) == sorted(counts) and counts[-1] == count
            # No duration can be longer than the bound of its bucket.
            assert total <= sum(bound * (n - before) for bound, n, before in zip(bounds, counts, (0, *counts), strict=False) if n > before) or count == 0
            histograms += 1
    assert histograms > 20


@pytest.mark.every_pg
def test_what_is_done_is_counted(quiet):
    quiet.execute(NAMESPACE)
    before = scrape(quiet)
    write(quiet, range(1, 31))
    write(quiet, range(10, 12))
    quiet.execute("SELECT elacsym.upsert('ns', 99, '[1,1]', '{}')")
    quiet.execute("SELECT elacsym.delete('ns', '{1,2,3}')")
    quiet.execute("SELECT elacsym.patch('ns', '{\"id\": 5, \"attributes\": {\"title\": \"river\"}}')")
    quiet.execute("SELECT elacsym.flush('ns')")
    for _ in range(4):
        quiet.execute("SELECT * FROM elacsym.query('ns', '[1,1]', to_jsonb('lake'::text))")
    quiet.execute("SELECT elacsym.count('ns')")
    with pytest.raises(psycopg.Error):
        quiet.execute("SELECT * FROM elacsym.query('ns', '[1,1]', candidates => 100000000)")
    after = scrape(quiet)

    def grown(name, **labels):
        return after.value(name, **labels) - before.value(name, **labels)

    assert grown("elacsym_upsert_duration_seconds_count") == 3
    assert {op: grown("elacsym_entries_written_total", op=op) for op in ("upsert", "delete", "patch")} == {"upsert": 33, "delete": 3, "patch": 1}
    assert grown("elacsym_entries_written_bytes_total") > 33 * 8
    assert grown("elacsym_flush_duration_seconds_count") == grown("elacsym_request_duration_seconds_count", kind="flush") == 1
    assert grown("elacsym_query_duration_seconds_count") == 5
    assert grown("elacsym_request_duration_seconds_count", kind="query") == 4
    assert grown("elacsym_request_duration_seconds_count", kind="aggregate") == 1
    assert 0 < grown("elacsym_request_duration_seconds_sum", kind="query") < grown("elacsym_query_duration_seconds_sum") < 60
    root = [labels["root"] for labels in after.labels("elacsym_object_store_requests_total")][0]
    assert root == "pgdata:elacsym"
    assert after.value("elacsym_object_store_requests_total", root=root, operation="put_if_absent") >= 2
    assert after.value("elacsym_object_store_bytes_total", root=root, operation="put_if_absent") > 1000
    assert after.value("elacsym_object_store_duration_seconds_count", root=root, operation="get_range") == after.value(
        "elacsym_object_store_requests_total", root=root, operation="get_range"
    )
    assert after.value("elacsym_cache_hits_total", tier="memory") > 0
    # elacsym.cache_memory, less what else is kept once that is worth a resize
    assert 7 / 8 * (512 << 20) <= after.value("elacsym_cache_capacity_bytes", tier="memory") <= 512 << 20
    assert 1 << 20 < after.value("elacsym_engine_resident_memory_bytes") < 4 << 30
    assert after.value("elacsym_engine_up") == 1


def test_index_scans_and_searches_are_counted_once_each(quiet):
    quiet.execute("CREATE TABLE t (id int PRIMARY KEY, v vector(2)); INSERT INTO t SELECT i, format('[%s,1]', i)::vector FROM generate_series(1, 100) i")
    quiet.execute("CREATE INDEX t_idx ON t USING elacsym (v vector_l2_ops); SET enable_seqscan = off")
    before = scrape(quiet)
    assert len(quiet.execute("SELECT id FROM t ORDER BY v <-> '[3,1]' LIMIT 60").fetchall()) == 60
    quiet.execute("SELECT * FROM elacsym.search('t_idx', '[3,1]')")
    quiet.execute("SELECT elacsym.count('t_idx')")
    quiet.execute("INSERT INTO t VALUES (101, '[9,9]')")
    after = scrape(quiet)
    assert after.value("elacsym_query_duration_seconds_count") - before.value("elacsym_query_duration_seconds_count") == 3
    written = after.value("elacsym_entries_written_total", op="upsert") - before.value("elacsym_entries_written_total", op="upsert")
    assert written == 1


@pytest.mark.every_pg
def test_what_each_database_holds_is_what_its_views_say(quiet):
    # Names that are hard to write down.
    odd = 'q"uo\\te and é'
    quiet.execute("CREATE DATABASE " + '"' + odd.replace('"', '""') + '"')
    with quiet.cluster.connect(dbname="'" + odd.replace("\\", "\\\\") + "'") as other:
        other.execute("CREATE EXTENSION elacsym CASCADE")
        other.execute(NAMESPACE)
        write(other, range(1, 8))
    quiet.execute(NAMESPACE)
    write(quiet, range(1, 101))
    quiet.execute("SELECT elacsym.flush('ns')")
    quiet.execute("SELECT elacsym.delete('ns', '{1,2,3,4}')")
    quiet.execute("SELECT elacsym.flush('ns')")
    write(quiet, range(200, 217))

    def settled():
        found = scrape(quiet)
        names = [labels["database"] for labels in found.labels("elacsym_buffer_rows")]
        if "d" not in names or odd not in names:
            return None
        rows = found.value("elacsym_buffer_rows", database="d"), found.value("elacsym_buffer_rows", database=odd)
        return found if rows == (17, 7) else None

    found = wait_until(settled, "the workers to count", timeout=30, interval=0.2)
    segments, rows, dead, size = quiet.execute("SELECT segments, rows, dead_rows, bytes FROM elacsym.namespaces").fetchone()
    shown = [found.value(f"elacsym_{name}", database="d") for name in ("segments", "segment_rows", "segment_dead_rows", "segment_bytes", "namespaces")]
    assert shown == [segments, rows, dead, size, 1] and dead == 4
    assert found.value("elacsym_buffer_bytes", database="d") == quiet.execute("SELECT sum(octet_length(payload)) FROM elacsym.wal").fetchone()[0]
    assert found.value("elacsym_database_counted_age_seconds", database="d") < 60
    quiet.execute('DROP DATABASE "' + odd.replace('"', '""') + '"')
    wait_until(lambda: odd not in [labels["database"] for labels in scrape(quiet).labels("elacsym_segments")], "the dropped database to be forgotten", timeout=10)


def test_restarts_are_counted_and_the_server_goes_on_counting(quiet):
    quiet.execute(NAMESPACE)
    write(quiet, range(1, 11))
    quiet.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
    before = scrape(quiet)
    quiet.cluster.kill_engine()
    quiet.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
    after = scrape(quiet)
    assert after.value("elacsym_engine_starts_total") == before.value("elacsym_engine_starts_total") + 1
    assert after.value("elacsym_engine_uptime_seconds") < before.value("elacsym_engine_uptime_seconds") + 60
    # The engine counts anew, the server does not.
    assert after.value("elacsym_request_duration_seconds_count", kind="query") == 1
    assert after.value("elacsym_query_duration_seconds_count") == before.value("elacsym_query_duration_seconds_count") + 1


@pytest.mark.every_pg
def test_without_an_engine_the_servers_figures_come_at_once(new_cluster):
    cluster = new_cluster(config={"elacsym.engine_path": "/nonexistent/engine"})
    cluster.sql("CREATE EXTENSION elacsym CASCADE")
    with cluster.connect() as conn:
        started = time.monotonic()
        found = scrape(conn)
    assert time.monotonic() - started < 2
    assert found.value("elacsym_engine_up") == 0
    assert "elacsym_query_duration_seconds" in found.families and "elacsym_cache_misses" not in found.families


def test_metrics_are_for_those_who_monitor(quiet):
    cluster = quiet.cluster
    quiet.execute("CREATE ROLE ordinary LOGIN; CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher")
    with cluster.connect("d", user="ordinary") as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        scrape(conn)
    with cluster.connect("d", user="watcher") as conn:
        assert scrape(conn).value("elacsym_engine_up") == 1


def test_retries_and_errors_of_object_storage_are_counted_by_kind(new_cluster, moto, bucket):
    cluster = new_cluster(config={**QUIET, "elacsym.storage_url": f"s3://{bucket}/x", **moto.settings}, env=moto.env)
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        conn.execute(NAMESPACE)
        write(conn, range(1, 11))
        conn.execute("SELECT elacsym.flush('ns')")
        root = f"s3://{bucket}/x"
        before = scrape(conn)
        # Another one: no older segment needs to be read.
        conn.execute(NAMESPACE.replace("'ns'", "'other'"))
        write(conn, range(20, 31), namespace="other")
        moto.stop()
        conn.execute("SET statement_timeout = '3s'")
        with pytest.raises(psycopg.Error):
            conn.execute("SELECT elacsym.flush('other')")
        after = scrape(conn)
        moto.start()
    assert after.value("elacsym_object_store_retries_total", root=root, operation="put_if_absent") > before.value(
        "elacsym_object_store_retries_total", root=root, operation="put_if_absent"
    )
    assert after.sum("elacsym_object_store_retries_total", operation="list") == 0
    assert before.value("elacsym_object_store_bytes_total", root=root, operation="put_if_absent") > 0


# -- the listener --------------------------------------------------------------------------------------------------------


def get(port: int, path: str = "/metrics", method: str = "GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response, response.read()


def refuses(port: int) -> bool:
    try:
        get(port)
    except urllib.error.URLError as error:
        return isinstance(error.reason, ConnectionRefusedError)
    except (ConnectionError, http.client.HTTPException):
        return False
    return False


@pytest.mark.every_pg
def test_the_listener_serves_what_the_engine_and_the_server_count(new_cluster):
    port, other = free_port(), free_port()
    cluster = new_cluster(config={**QUIET, "elacsym.metrics_port": port})
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        conn.execute(NAMESPACE)
        write(conn, range(1, 11))
        conn.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
        response, body = get(port)
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert int(response.headers["Content-Length"]) == len(body)
        told = wait_until(
            lambda: (f := Scrape(get(port)[1].decode())).families.get("elacsym_query_duration_seconds") and f.value("elacsym_query_duration_seconds_count") == 1 and f,
            "the server's figures", timeout=15,
        )  # fmt: skip
        assert told.value("elacsym_request_duration_seconds_count", kind="query") == 1
        assert told.value("elacsym_server_metrics_age_seconds") < 15
        assert set(scrape(conn).families) == set(told.families) - {"elacsym_server_metrics_age_seconds"}
    assert get(port, method="HEAD")[1] == b""
    for path, method, status in (("/", "GET", 404), ("/metrics/x", "GET", 404), ("/metrics", "POST", 405)):
        with pytest.raises(urllib.error.HTTPError) as error:
            get(port, path, method)
        assert error.value.code == status
    # A connection that says nothing useful harms nobody.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics", headers={f"X-{i}": "y" for i in range(70)})
    assert connection.getresponse().status == 431

    cluster.write_config(**{"elacsym.metrics_port": other})
    cluster.reload()
    wait_until(lambda: refuses(port), "the old port to close")
    assert wait_until(lambda: not refuses(other) and get(other)[0].status == 200, "the new port to answer")
    cluster.kill_engine()
    wait_until(lambda: not refuses(other), "the next engine to listen")
    cluster.write_config(**{"elacsym.metrics_port": 0})
    cluster.reload()
    wait_until(lambda: refuses(other), "the port to close")


def test_a_port_that_is_taken_is_a_warning_and_tried_again(new_cluster):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cluster = new_cluster(config={"elacsym.metrics_port": port})
        cluster.wait_for_log(rf"WARNING: .*cannot listen on 127\.0\.0\.1:{port} for figures")
        cluster.sql("CREATE EXTENSION elacsym CASCADE")
        assert cluster.value("SELECT count(*) FROM elacsym.stat_engine") == 1
    wait_until(lambda: not refuses(port) and get(port)[0].status == 200, "the port to be taken over", timeout=15)


def test_nothing_listens_by_default(quiet):
    assert quiet.execute("SHOW elacsym.metrics_port").fetchone()[0] == "0"
    [pid] = quiet.cluster.engine_pids()
    with open(f"/proc/{pid}/net/tcp") as f:
        listening = {line.split()[9] for line in f.readlines()[1:] if line.split()[3] == "0A"}
    own = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert not {f"socket:[{inode}]" for inode in listening} & own
