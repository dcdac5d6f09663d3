"""Queries and writes go on while the engine is killed, and end at once when the server is told to."""

import json
import time

import pytest
from harness import BackgroundLoad

DOCUMENTS = 500
SCHEMA = {"vector_dim": 4, "vector_metric": "l2", "attributes": {"body": {"type": "string", "full_text": True}}}
QUERY = """SELECT count(*) FROM elacsym.query('docs', vector => %s::vector, full_text => '"even number"', top_k => 20)"""


@pytest.fixture
def loaded(new_cluster):
    cluster = new_cluster("queries")
    cluster.sql("CREATE EXTENSION elacsym CASCADE")
    cluster.sql("SELECT elacsym.create_namespace('docs', %s)", [json.dumps(SCHEMA)])
    documents = [
        {"id": i, "vector": [i % 7, i % 11, i % 13, 1], "attributes": {"body": f"{'even' if i % 2 == 0 else 'odd'} number {i}"}}
        for i in range(DOCUMENTS)
    ]
    cluster.sql("SELECT elacsym.upsert('docs', %s::jsonb)", [json.dumps(documents)])
    cluster.sql("SELECT elacsym.flush('docs')")
    return cluster


def query(conn, thread, round_):
    found = conn.execute(QUERY, [f"[{round_ % 7},{thread},1,1]"]).fetchone()[0]
    assert found == 20


def test_kill9_of_the_engine_during_queries_and_writes_costs_a_short_wait(loaded):
    ids = iter(range(10_000, 1_000_000))

    def write(conn, thread, round_):
        conn.execute("SELECT elacsym.upsert('docs', %s::jsonb)", [json.dumps({"id": next(ids), "attributes": {"body": "odd"}})])

    postmaster = loaded.postmaster_pid()
    with BackgroundLoad(loaded, query, threads=3) as reads, BackgroundLoad(loaded, write, threads=1, pause=0.01) as writes:
        for _ in range(4):
            time.sleep(0.5)
            loaded.kill_engine()
            killed = time.monotonic()
            with loaded.connect() as conn:
                query(conn, 0, 0)
            assert time.monotonic() - killed < 2, "a new query did not succeed within 2 s"
    assert loaded.postmaster_pid() == postmaster and "terminated by signal 9" not in _postmaster_lines(loaded)
    assert reads.done > 20 and writes.done > 20
    # A query that was running is asked again; if it fails all the same, then with a class that says "retry".
    for _, error in reads.errors + writes.errors:
        assert getattr(error, "sqlstate", None) == "58000", error
    assert not writes.errors, "writes need no engine"
    assert loaded.value(QUERY, ["[1,2,3,1]"]) == 20


def test_a_fast_stop_under_queries_ends_everything_within_five_seconds(loaded):
    with BackgroundLoad(loaded, query, threads=4, reconnect=False) as load:
        time.sleep(0.5)
        assert loaded.stop("fast") < 5
        assert loaded.processes() == []
    assert load.done > 0
    for _, error in load.errors:
        assert getattr(error, "sqlstate", None) in ("57P01", None), error


def test_cancel_and_timeout_reach_a_waiting_query_within_100_ms(loaded):
    import os
    import signal
    import threading

    engine = loaded.engine_pids()[0]
    with loaded.connect() as conn, loaded.connect() as other:
        query(conn, 0, 0)
        os.kill(engine, signal.SIGSTOP)
        try:
            started = time.monotonic()
            conn.execute("SET statement_timeout = 200")
            with pytest.raises(Exception) as timeout:
                query(conn, 0, 0)
            assert timeout.value.sqlstate == "57014" and 0.2 <= time.monotonic() - started < 0.3
            conn.execute("RESET statement_timeout")
            pid, moments = conn.info.backend_pid, []

            def cancel():
                time.sleep(0.3)
                moments.append(time.monotonic())
                other.execute("SELECT pg_cancel_backend(%s)", [pid])

            canceller = threading.Thread(target=cancel)
            canceller.start()
            with pytest.raises(Exception) as cancelled:
                query(conn, 0, 0)
            ended = time.monotonic()
            canceller.join()
            assert cancelled.value.sqlstate == "57014" and ended - moments[0] < 0.1
        finally:
            os.kill(engine, signal.SIGCONT)
        query(conn, 0, 0)


def _postmaster_lines(cluster) -> str:
    """What the postmaster says of processes that died; the supervisor's line on the engine is not one of them."""
    return "\n".join(line for line in cluster.log().splitlines() if "server process" in line)
