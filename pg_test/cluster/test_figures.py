"""Views of figures: elacsym.stat_namespaces, elacsym.activity; the slow-query log; estimates of cost."""

import re
import threading
from typing import NamedTuple

import psycopg
import pytest
from harness.index_answers import make
from harness.wait import wait_until

NAMESPACE = """SELECT elacsym.create_namespace(%s, '{"vector_dim": 2, "attributes": {"title": {"type": "string", "full_text": true}}}')"""
NO_FLUSH = "WITH (flush_interval = 3600000)"
FIGURES = r"searches=\d+ segments=\d+ lists probed=\d+ candidates=\d+ reranked=\d+ buffered=\d+ fetched=\d+"
READ = r"requests=\d+ bytes=\d+ cache hits=\d+ cache misses=\d+ cost=\d+\.\d{8}"


def namespace(conn, name: str = "ns", rows: int = 20) -> None:
    conn.execute(NAMESPACE, [name])
    conn.execute(
        "SELECT elacsym.upsert(%s, jsonb_agg(jsonb_build_object('id', i, 'vector', jsonb_build_array(i, 1), 'attributes', jsonb_build_object('title', 'lake ' || i)))) FROM generate_series(1, %s::int) i",
        [name, rows],
    )


def rows_of(conn, query: str) -> list[dict]:
    cursor = conn.execute(query)
    return [dict(zip([column.name for column in cursor.description], row, strict=True)) for row in cursor]


def stat(conn, name: str) -> dict:
    [row] = [row for row in rows_of(conn, "SELECT * FROM elacsym.stat_namespaces") if row["namespace"] == name]
    return row


# -- stat_namespaces -----------------------------------------------------------------------------------------------------


@pytest.mark.every_pg
def test_a_namespace_shows_what_it_holds_did_and_cost(new_cluster, moto, bucket):
    cluster = new_cluster(config={"elacsym.flush_interval": "1h", "elacsym.storage_url": f"s3://{bucket}/x", **moto.settings}, env=moto.env)
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        namespace(conn, rows=30)
        # Created and written, never searched: nothing to show but the buffer.
        new = stat(conn, "ns")
        assert (new["kind"], new["segments"], new["bytes"], new["buffered_rows"], new["queries"], new["flushes"], new["last_flush"]) == ("namespace", 0, 0, 30, 0, 0, None)
        assert new["buffered_bytes"] == conn.execute("SELECT sum(octet_length(payload)) FROM elacsym.wal").fetchone()[0]
        assert conn.execute("SELECT elacsym.flush('ns')").fetchone()[0] == 30
        cluster.kill_engine()
        asked = 0
        total = {"object_requests": 0, "object_bytes": 0, "cache_hits": 0, "cache_misses": 0}
        for query in ("elacsym.query('ns', '[1,1]')", "elacsym.query('ns', full_text => to_jsonb('lake'::text))", "elacsym.fetch('ns', '{1,2}')", "elacsym.scan('ns')", "elacsym.count('ns')"):
            conn.execute(f"SELECT * FROM {query}")
            asked += 1
            [last] = rows_of(conn, "SELECT * FROM elacsym.last_query_stats()")
            total = {name: value + last[name] for name, value in total.items()}
        found = stat(conn, "ns")
        shown = rows_of(conn, "SELECT segments, rows, dead_rows, bytes FROM elacsym.namespaces")[0]
        assert {name: found[name] for name in shown} == shown and found["buffered_rows"] == 0
        assert {name: found[name] for name in total} == total and total["object_requests"] > 0
        assert found["queries"] == asked and found["query_ms"] > 0
        assert (found["flushes"], found["flushed_entries"], found["objects_written"] >= 2) == (1, 30, True)
        assert found["last_flush"] and found["stats_since"] <= found["last_flush"] and found["flush_ms"] > 0

        conn.execute("SET elacsym.price_get_per_million = 2000000; SET elacsym.price_put_per_million = 3000000; SET elacsym.price_gb_month = 536870912")
        priced = stat(conn, "ns")
        assert priced["query_cost"] == pytest.approx(2 * total["object_requests"])
        assert priced["storage_cost_month"] == pytest.approx(priced["bytes"] / 2)
        # Less than an hour old: what was spent is that of an hour, of which a month has 730.
        expected = priced["bytes"] / 2 + 730 * (2 * total["object_requests"] + 3 * priced["objects_written"])
        assert priced["cost_month"] == pytest.approx(expected)


def test_the_prices_are_those_of_s3_until_they_are_set(conn):
    assert conn.execute("SELECT elacsym.object_cost(reads => 1000000)").fetchone()[0] == pytest.approx(0.40)
    assert conn.execute("SELECT elacsym.object_cost(writes => 1000000)").fetchone()[0] == pytest.approx(5.00)
    assert conn.execute("SELECT elacsym.object_cost(stored_bytes => 1::bigint << 30)").fetchone()[0] == pytest.approx(0.023)
    assert conn.execute("SELECT elacsym.object_cost()").fetchone()[0] == 0
    with pytest.raises(psycopg.Error, match="writes is -1, less than 0"):
        conn.execute("SELECT elacsym.object_cost(writes => -1)")
    with pytest.raises(psycopg.Error, match='argument "reads" must not be null'):
        conn.execute("SELECT elacsym.object_cost(reads => NULL)")


@pytest.mark.every_pg
def test_an_index_shows_its_scans_and_searches(conn):
    make(conn, options=NO_FLUSH)
    conn.execute("SET enable_seqscan = off; SET enable_sort = off")
    conn.execute("SELECT id FROM docs ORDER BY v <-> '[0,0,0,1]' LIMIT 3").fetchall()
    conn.execute("SELECT * FROM elacsym.search('docs_idx', '[0,0,0,1]', 'lake')").fetchall()
    conn.execute("SELECT elacsym.count('docs_idx')")
    found = stat(conn, "docs_idx")
    assert (found["kind"], found["queries"], found["segments"], found["rows"]) == ("index", 3, 1, 200)
    # The build.
    assert (found["flushes"], found["flushed_entries"]) == (1, 200)


def test_leaves_of_a_partitioned_index_are_charged_for_themselves(conn):
    conn.execute("CREATE TABLE p (id int, v vector(2)) PARTITION BY RANGE (id)")
    conn.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200)")
    conn.execute("INSERT INTO p SELECT i, format('[%s,1]', i)::vector FROM generate_series(1, 199) i")
    conn.execute("CREATE INDEX p_idx ON p USING elacsym (v vector_l2_ops)")
    conn.execute("SELECT * FROM elacsym.search('p_idx', '[99,1]')")
    conn.execute("SELECT elacsym.count('p_idx')")
    assert (stat(conn, "p1_v_idx")["queries"], stat(conn, "p2_v_idx")["queries"]) == (2, 2)


@pytest.mark.every_pg
def test_everybody_sees_what_he_may_use(db):
    with db.connect() as conn:
        conn.execute("DROP ROLE IF EXISTS figures_owner, figures_reader, figures_other")
        for role in ("owner", "reader", "other"):
            conn.execute(f"CREATE ROLE figures_{role} LOGIN; GRANT ALL ON SCHEMA public TO figures_{role}")
        try:
            with db.connect(user="figures_owner") as owner:
                namespace(owner)
                make(owner)
                owner.execute("SELECT elacsym.grant('ns', 'figures_reader', 'read')")
                names = lambda c: sorted(row["namespace"] for row in rows_of(c, "SELECT * FROM elacsym.stat_namespaces"))
                assert names(owner) == ["docs_idx", "ns"] == names(conn)
                with db.connect(user="figures_reader") as reader, db.connect(user="figures_other") as other:
                    assert names(reader) == ["ns"] and names(other) == []
                    # The view of what runs is for all, too.
                    assert rows_of(other, "SELECT * FROM elacsym.activity WHERE database = 'nowhere'") == []
        finally:
            for role in ("owner", "reader", "other"):
                conn.execute(f"DROP OWNED BY figures_{role} CASCADE; DROP ROLE figures_{role}")


def test_counters_of_a_copied_database_are_its_own(new_cluster):
    cluster = new_cluster(config={"elacsym.flush_interval": "1h"})
    cluster.create_database("one")
    with cluster.connect("one") as conn:
        namespace(conn)
        conn.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
    cluster.sql("CREATE DATABASE two TEMPLATE one")
    with cluster.connect("two") as conn:
        assert stat(conn, "ns")["queries"] == 0
        conn.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
        conn.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
        assert stat(conn, "ns")["queries"] == 2
    with cluster.connect("one") as conn:
        assert stat(conn, "ns")["queries"] == 1
    cluster.restart()
    with cluster.connect("one") as conn:
        assert (stat(conn, "ns")["queries"], stat(conn, "ns")["stats_since"]) == (0, None)


def test_counting_can_begin_anew(db):
    with db.connect() as conn:
        namespace(conn)
        conn.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
        before = stat(conn, "ns")
        conn.execute("SELECT elacsym.stat_reset()")
        after = stat(conn, "ns")
        assert (before["queries"], after["queries"], after["query_ms"]) == (1, 0, 0)
        assert after["stats_since"] > before["stats_since"]
        conn.execute("SELECT * FROM elacsym.query('ns', '[1,1]')")
        assert stat(conn, "ns")["queries"] == 1
        conn.execute("DROP ROLE IF EXISTS figures_resets; CREATE ROLE figures_resets LOGIN")
        try:
            with db.connect(user="figures_resets") as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute("SELECT elacsym.stat_reset()")
        finally:
            conn.execute("DROP ROLE figures_resets")


def test_more_namespaces_than_places_count_on(conn):
    """Shared memory has 2,048 places, 16 where each may be: the counters of those not used for long go, nothing else."""
    for first in range(0, 3000, 500):
        conn.execute("SELECT count(elacsym.create_namespace('n' || i, '{\"vector_dim\": 1}')) FROM generate_series(%s::int, %s::int) i", [first, first + 499])
        conn.execute("SELECT count((SELECT count(*) FROM elacsym.query('n' || i, '[1]'))) FROM generate_series(%s::int, %s::int) i", [first, first + 499])
    found = {row["namespace"]: row["queries"] for row in rows_of(conn, "SELECT namespace, queries FROM elacsym.stat_namespaces")}
    assert len(found) == 3000 and set(found.values()) == {0, 1}
    assert 1000 < sum(found.values()) <= 2048
    assert all(found[f"n{i}"] == 1 for i in range(2990, 3000))


# -- activity ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_storage(new_cluster, moto, bucket):
    """A cluster on S3, and a connection. Whoever pauses the server resumes it."""
    cluster = new_cluster(config={"elacsym.flush_interval": "1h", "elacsym.storage_url": f"s3://{bucket}/x", **moto.settings}, env=moto.env)
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        yield cluster, conn, moto


class Background:
    """A statement in a session of its own."""

    def __init__(self, cluster, statement: str):
        self.conn = cluster.connect("d")
        self.pid = self.conn.info.backend_pid
        self.thread = threading.Thread(target=lambda: self.conn.execute(statement))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(60)
        self.conn.close()


def activity(conn, **wanted) -> dict | None:
    rows = rows_of(conn, "SELECT * FROM elacsym.activity")
    found = [row for row in rows if wanted.items() <= row.items()]
    return found[0] if found else None


@pytest.mark.every_pg
def test_a_flush_shows_how_far_it_is(slow_storage):
    cluster, conn, moto = slow_storage
    # From here on the engine knows that the storage can be written.
    namespace(conn, "other")
    conn.execute("SELECT elacsym.flush('other')")
    namespace(conn, rows=3)
    assert rows_of(conn, "SELECT * FROM elacsym.activity") == []
    moto.pause()
    try:
        with Background(cluster, "SELECT elacsym.flush('ns')") as flush:
            shown = wait_until(lambda: activity(conn, kind="flush", phase="upload"), "the flush")
            moto.resume()
    finally:
        moto.resume()
    assert (shown["pid"], shown["database"], shown["target"], shown["rows_done"], shown["rows_total"]) == (flush.pid, "d", "ns", 3, 3)
    assert shown["eta"] >= shown["started"]
    wait_until(lambda: not activity(conn, kind="flush"), "the flush to be over")


@pytest.mark.every_pg
def test_a_query_and_a_build_are_shown_while_they_wait_for_storage(slow_storage):
    cluster, conn, moto = slow_storage
    namespace(conn, rows=25)
    conn.execute("SELECT elacsym.flush('ns')")
    conn.execute("CREATE TABLE t (id int, v vector(2)); INSERT INTO t SELECT i, format('[%s,1]', i)::vector FROM generate_series(1, 500) i")
    conn.execute("CREATE ROLE somebody LOGIN")
    # The next engine has nothing of ns in memory, and knows that the storage can be written.
    cluster.kill_engine()
    namespace(conn, "other")
    conn.execute("SELECT elacsym.flush('other')")
    moto.pause()
    try:
        with Background(cluster, "SELECT * FROM elacsym.query('ns', '[1,1]')") as query, Background(cluster, "CREATE INDEX ON t USING elacsym (v vector_l2_ops)") as build:
            asked = wait_until(lambda: activity(conn, kind="query"), "the query")
            built = wait_until(lambda: activity(conn, kind="build"), "the build")
            assert activity(conn, kind="flush") is None, "the segment is part of the build"
            with cluster.connect("d", user="somebody") as stranger:
                hidden = activity(stranger, kind="query")
            moto.resume()
    finally:
        moto.resume()
    assert (asked["pid"], asked["database"], asked["target"], asked["rows_total"], asked["eta"]) == (query.pid, "d", "ns", None, None)
    assert (built["pid"], built["database"], built["target"], built["phase"]) == (build.pid, "d", "t", "building a segment")
    assert built["started"] is not None
    # Who may not use the namespace sees that there is a query, and not on what.
    assert (hidden["pid"], hidden["target"]) == (query.pid, None)


# -- the slow-query log --------------------------------------------------------------------------------------------------


class Notice(NamedTuple):
    """A copy: what psycopg hands over is gone after the handler."""

    severity: str
    message_primary: str
    message_detail: str | None


@pytest.fixture
def logged(conn):
    """A function that runs a statement and returns the messages of the log."""
    make(conn, options=NO_FLUSH)
    namespace(conn)
    notices = []
    conn.add_notice_handler(lambda notice: notices.append(Notice(notice.severity, notice.message_primary, notice.message_detail)))
    conn.execute("SET client_min_messages = log; SET enable_seqscan = off; SET enable_sort = off; SET elacsym.log_min_duration = 0")

    def run(statement: str) -> list:
        notices.clear()
        conn.execute(statement)
        return [notice for notice in notices if notice.message_primary.startswith("elacsym ")]

    run.conn = conn
    return run


@pytest.mark.every_pg
@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("SELECT id FROM docs ORDER BY v <-> '[0,0,0,1]' LIMIT 3", 'index scan of "docs_idx"'),
        ("SELECT * FROM elacsym.search('docs_idx', '[0,0,0,1]', 'lake')", 'search of "docs_idx"'),
        ("SELECT elacsym.count('docs_idx')", 'count of "docs_idx"'),
        ("SELECT * FROM elacsym.query('ns', '[1,1]')", 'query of "ns"'),
        ("SELECT * FROM elacsym.fetch('ns', '{1,2}')", 'fetch of "ns"'),
        ("SELECT * FROM elacsym.scan('ns')", 'scan of "ns"'),
        ("SELECT elacsym.facets('ns', '{\"t\": {\"type\": \"terms\", \"field\": \"title\"}}')", 'count of "ns"'),
    ],
)
def test_every_kind_of_search_is_logged_with_its_figures_and_statement(logged, statement, what):
    [line] = logged(statement)
    assert re.fullmatch(rf"elacsym {re.escape(what)} took \d+\.\d{{3}} ms: {FIGURES} {READ} engine time=\d+\.\d{{3}} ms", line.message_primary), line.message_primary
    assert line.message_detail == f"Statement: {statement}"
    assert line.severity == "LOG"


@pytest.mark.every_pg
def test_a_scan_whose_statement_is_over_when_it_ends_is_logged_with_it(logged):
    """With parameters the portal is dropped after the statement; a cursor is dropped by COMMIT."""
    conn = logged.conn
    conn.execute("BEGIN; DECLARE c CURSOR FOR SELECT id FROM docs ORDER BY v <-> '[0,0,0,1]'; FETCH 2 FROM c")
    [line] = logged("COMMIT")
    assert line.message_detail.startswith("Statement: ") and "DECLARE c CURSOR" in line.message_detail
    assert 'index scan of "docs_idx"' in line.message_primary
    notices = []
    conn.add_notice_handler(lambda notice: notices.append(Notice(notice.severity, notice.message_primary, notice.message_detail)))
    conn.execute("SELECT id FROM docs ORDER BY v <-> %s::text::vector LIMIT 3", ["[0,0,0,1]"])
    [line] = [notice for notice in notices if notice.message_primary.startswith("elacsym index scan")]
    assert line.message_detail == "Statement: SELECT id FROM docs ORDER BY v <-> $1::text::vector LIMIT 3"


def test_a_search_among_dead_rows_soon_asks_deep_enough_at_once(logged):
    """A third of the candidates is dead as long as nothing vacuums them; the first search learns it, and results are those of visible rows."""
    conn = logged.conn
    conn.execute("INSERT INTO docs SELECT 1000 + i, ARRAY[i, 1, 2, 3]::real[]::vector, 'lake', 1 FROM generate_series(1, 600) i")
    conn.execute("SELECT elacsym.flush('docs_idx')")
    conn.execute("UPDATE docs SET v = ARRAY[id - 1000, 1, 2, 2]::real[]::vector WHERE id > 1000 AND id % 2 = 0")
    statement = "SELECT * FROM elacsym.search('docs_idx', '[300,1,2,3]', k => 50, candidates => 100)"
    searches = [int(re.search(r"searches=(\d+)", logged(statement)[0].message_primary)[1]) for _ in range(2)]
    assert searches == [2, 1]
    found = conn.execute(
        "SELECT d.id FROM elacsym.search('docs_idx', '[300,1,2,3]', k => 50, candidates => 100) s JOIN docs d ON d.ctid = s.ctid ORDER BY vector_rank"
    ).fetchall()
    exact = conn.execute("SELECT v <-> '[300,1,2,3]' FROM docs ORDER BY 1 LIMIT 50").fetchall()
    assert len(found) == len(set(found)) == 50
    assert conn.execute("SELECT max(v <-> '[300,1,2,3]') FROM docs WHERE id = ANY (%s)", [[id for (id,) in found]]).fetchone() == exact[-1]


def test_the_log_says_what_explain_says(logged):
    statement = "SELECT id FROM docs ORDER BY v <-> '[0.1,0.2,0.3,0.4]' LIMIT 5"
    logged(statement)
    [line] = logged(statement)
    plan = "\n".join(row[0] for row in logged.conn.execute(f"EXPLAIN (ANALYZE, VERBOSE) {statement}"))
    assert re.search(r"Elacsym: (.*)", plan)[1] + " " + re.search(r"Elacsym I/O: (.*)", plan)[1] in line.message_primary


def test_only_what_takes_long_is_logged_and_counted(logged):
    slow = "SELECT (regexp_match(elacsym.metrics(), '(?n)^elacsym_slow_queries_total (\\d+)$'))[1]::int"
    before = logged.conn.execute(slow).fetchone()[0]
    query = "SELECT * FROM elacsym.query('ns', '[1,1]')"
    assert len(logged(query)) == 1
    logged.conn.execute("SET elacsym.log_min_duration = '10min'")
    assert logged(query) == []
    logged.conn.execute("SET elacsym.log_min_duration = -1")
    assert logged(query) == []
    assert logged.conn.execute(slow).fetchone()[0] == before + 1


def test_a_long_statement_is_cut(logged):
    [line] = logged("SELECT * FROM elacsym.query('ns', '[1,1]') /* " + "é" * 2000 + " */")
    assert line.message_detail.startswith("Statement: SELECT * FROM elacsym.query") and line.message_detail.endswith("é [cut]")
    assert len(line.message_detail.encode()) < 1100


def test_who_may_log_is_the_superuser(db):
    with db.connect() as conn:
        conn.execute("DROP ROLE IF EXISTS figures_ordinary; CREATE ROLE figures_ordinary LOGIN")
        try:
            with db.connect(user="figures_ordinary") as other:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    other.execute("SET elacsym.log_min_duration = 0")
                other.execute("SET elacsym.price_gb_month = 1")
        finally:
            conn.execute("DROP ROLE figures_ordinary")
