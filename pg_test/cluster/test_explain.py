"""What index scans did, in EXPLAIN (ANALYZE, VERBOSE): under the node of the scan on PostgreSQL 18, else after the plan."""

import json
import re
import threading
import xml.etree.ElementTree as ET

import psycopg
import pytest
import yaml
from harness import pg_major, wait_until
from harness.env import pg_path
from harness.index_answers import fill, make

PER_NODE = pg_major() >= 18
BUFFERED = 12
# A flush in the middle of a test would change what its figures are.
NO_FLUSH = "WITH (flush_interval = 3600000)"
FIGURES = ["Searches", "Segments", "Lists Probed", "Candidates", "Candidates Reranked", "Buffered Rows", "Rows Fetched", "Object Requests",
           "Object Bytes", "Cache Hits", "Cache Misses", "Estimated Cost", "Engine Time"]  # fmt: skip
NEAREST = "SELECT id FROM docs ORDER BY v <-> '[0.1,0.2,0.3,0.4]' LIMIT 5"
WORDS = "SELECT id FROM docs WHERE body @@@ 'lake'"
# One nearest row for each of five.
REPEATED = "SELECT q.id, n.id FROM (SELECT * FROM queries OFFSET 0) q, LATERAL (SELECT id FROM docs ORDER BY v <-> q.v LIMIT 1) n"


@pytest.fixture
def docs(conn):
    """A connection whose database has `docs`, 200 rows in a segment and 12 buffered, and `queries`, 5 rows without index."""
    make(conn, options=NO_FLUSH)
    fill(conn, rows=BUFFERED, first=1001)
    conn.execute("CREATE TABLE queries AS SELECT id, v FROM docs WHERE v IS NOT NULL ORDER BY id LIMIT 5")
    conn.execute("ANALYZE docs; ANALYZE queries")
    conn.execute("SET enable_seqscan = off; SET enable_sort = off")
    return conn


def explain(conn, query: str, options: str = "ANALYZE, VERBOSE", **kwargs) -> str:
    return "\n".join(row[0] for row in conn.execute(f"EXPLAIN ({options}) {query}", **kwargs))


def explained(conn, query: str, options: str = "ANALYZE, VERBOSE") -> list[dict]:
    return conn.execute(f"EXPLAIN ({options}, FORMAT JSON) {query}").fetchone()[0]


def nodes(plan: dict) -> list[dict]:
    return [plan] + [node for child in plan.get("Plans", []) for node in nodes(child)]


def scans(query: dict) -> list[dict]:
    """The scans of one explained query that have figures: what names them, and the figures without the common prefix."""
    found = [node for node in nodes(query["Plan"]) if "Elacsym Searches" in node] if PER_NODE else query.get("Elacsym Scans", [])
    for scan in found:
        assert [name.removeprefix("Elacsym ") for name in scan if name.startswith("Elacsym ")] == FIGURES
    return [{name.removeprefix("Elacsym "): value for name, value in scan.items()} for scan in found]


def only_scan(conn, query: str) -> dict:
    [one] = explained(conn, query)
    [scan] = scans(one)
    return scan


def last_stats(conn) -> dict:
    cursor = conn.execute("SELECT * FROM elacsym.last_query_stats()")
    return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))


def as_stats(scan: dict) -> dict:
    """The figures of a scan as elacsym.last_query_stats() names them."""
    names = ["segments", "lists_probed", "rows_scanned", "rows_reranked", "buffered", "object_requests", "object_bytes", "cache_hits", "cache_misses"]
    return dict(zip(names, [scan[name] for name in FIGURES if name not in ("Searches", "Rows Fetched", "Estimated Cost", "Engine Time")], strict=True))


# -- what is shown -------------------------------------------------------------------------------------------------------


@pytest.mark.every_pg
def test_an_ordered_scan_shows_what_last_query_stats_says(docs):
    scan = only_scan(docs, NEAREST)
    stats = last_stats(docs)
    assert scan["Engine Time"] == pytest.approx(stats.pop("engine_micros") / 1000)
    assert as_stats(scan) == stats
    assert (scan["Searches"], scan["Segments"], scan["Buffered Rows"]) == (1, 1, BUFFERED)
    assert scan["Engine Time"] > 0
    assert 5 <= scan["Rows Fetched"] <= 212
    assert scan["Cache Hits"] + scan["Cache Misses"] > 0
    assert (scan["Index Name"], scan["Alias"]) == ("docs_idx", "docs")
    if not PER_NODE:
        assert (scan["Schema"], scan["Relation Name"]) == ("public", "docs")


@pytest.mark.every_pg
def test_a_search_by_lists_shows_lists_and_candidates(conn):
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, v vector(4))")
    rows = 4000
    conn.execute("INSERT INTO docs SELECT i, format('[%%s,%%s,%%s,%%s]', sin(i), cos(i * 3), sin(i * 7), cos(i * 11))::vector FROM generate_series(1, %s) i", [rows])
    conn.execute(f"CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops) {NO_FLUSH}")
    scan = only_scan(conn, NEAREST)
    assert as_stats(scan).items() <= last_stats(conn).items()
    # A segment of this size is scanned whole.
    assert scan["Lists Probed"] > 1 and scan["Candidates"] == rows
    assert 5 <= scan["Candidates Reranked"] < rows


@pytest.mark.every_pg
def test_batches_of_one_scan_are_one_search(docs):
    fill(docs, rows=500, first=5001)
    every = "SELECT count(*) FROM (SELECT id FROM docs ORDER BY v <-> '[0.1,0.2,0.3,0.4]' OFFSET 0) s"
    scan = only_scan(docs, every)
    assert (scan["Searches"], scan["Segments"], scan["Buffered Rows"], scan["Rows Fetched"]) == (1, 1, BUFFERED + 500, 712)
    limited = only_scan(docs, "SELECT * FROM (SELECT id, n FROM docs ORDER BY v <-> '[0.1,0.2,0.3,0.4]') s WHERE id + n > 1400 LIMIT 100")
    assert (limited["Searches"], limited["Segments"], limited["Buffered Rows"]) == (1, 1, BUFFERED + 500)
    assert limited["Rows Fetched"] >= 100
    assert as_stats(limited).items() <= last_stats(docs).items()


@pytest.mark.every_pg
def test_the_same_figures_in_every_format(docs):
    explain(docs, NEAREST)
    in_json = only_scan(docs, NEAREST)
    del in_json["Engine Time"]

    [in_yaml] = yaml.safe_load(explain(docs, NEAREST, "ANALYZE, VERBOSE, FORMAT YAML"))
    [scan] = scans(in_yaml)
    assert {name: scan[name] for name in FIGURES[:-1]} == {name: in_json[name] for name in FIGURES[:-1]}
    assert scan["Index Name"] == "docs_idx"

    root = ET.fromstring(docs.execute(f"EXPLAIN (ANALYZE, VERBOSE, FORMAT XML) {NEAREST}").fetchone()[0])
    namespace = root.tag[: root.tag.index("}") + 1]
    [query] = root.findall(f"{namespace}Query")
    holders = [parent for parent in query.iter() if parent.find(f"{namespace}Elacsym-Searches") is not None]
    [holder] = holders
    assert holder.tag == namespace + ("Plan" if PER_NODE else "Elacsym-Scan")
    for name in FIGURES[:-1]:
        assert float(holder.find(f"{namespace}Elacsym-{name.replace(' ', '-')}").text) == in_json[name], name
    assert holder.find(f"{namespace}Index-Name").text == "docs_idx"

    text = explain(docs, NEAREST)
    found = re.search(r"^( *)Elacsym: searches=(\d+) segments=(\d+) lists probed=(\d+) candidates=(\d+) reranked=(\d+) buffered=(\d+) fetched=(\d+)$", text, re.M)
    read = re.search(r"^( *)Elacsym I/O: requests=(\d+) bytes=(\d+) cache hits=(\d+) cache misses=(\d+) cost=(\d+\.\d{8})$", text, re.M)
    time = re.search(r"^( *)Elacsym Engine Time: \d+\.\d{3} ms$", text, re.M)
    assert [float(n) for n in found.groups()[1:] + read.groups()[1:]] == [in_json[name] for name in FIGURES[:-1]]
    assert found[1] == read[1] == time[1] != ""
    lines = text.splitlines()
    place = lines.index(found[0])
    if PER_NODE:
        assert re.match(found[1] + r"(Buffers|Index Searches|Order By): ", lines[place - 1]), text
        assert [line for line in lines[:place] if "->  " in line][-1].strip().startswith("->  Index Scan using docs_idx on public.docs")
    else:
        assert lines[place - 1] == "Elacsym Scan: docs_idx on public.docs"
        assert lines[place + 3].startswith("Execution Time: ")


@pytest.mark.every_pg
def test_a_bitmap_scan_shows_its_figures(docs):
    docs.execute("SET enable_indexscan = off")
    scan = only_scan(docs, WORDS)
    assert (scan["Searches"], scan["Segments"], scan["Buffered Rows"], scan["Lists Probed"]) == (1, 1, BUFFERED, 0)
    assert scan["Rows Fetched"] == docs.execute(f"SELECT count(*) FROM ({WORDS}) s").fetchone()[0] > 0
    assert "Bitmap Index Scan" in explain(docs, WORDS)
    [query] = explained(docs, "SELECT id FROM docs WHERE body @@@ 'lake' OR n = 3")
    assert [scan["Index Name"] for scan in scans(query)] == ["docs_idx"] * 2
    if PER_NODE:
        assert {scan["Node Type"] for scan in scans(query)} == {"Bitmap Index Scan"}


@pytest.mark.every_pg
def test_rescans_add_up(docs):
    scan = only_scan(docs, REPEATED)
    assert (scan["Searches"], scan["Segments"], scan["Buffered Rows"]) == (5, 5, 5 * BUFFERED)
    assert scan["Rows Fetched"] >= 5
    assert last_stats(docs)["segments"] == 1
    if PER_NODE:
        assert scan["Index Searches"] == 5


@pytest.mark.every_pg
def test_each_scan_of_a_plan_has_its_own_figures(docs):
    docs.execute("CREATE TABLE \"Other docs\" (LIKE docs); CREATE INDEX other ON \"Other docs\" USING elacsym (v vector_l2_ops)")
    query = """WITH near AS MATERIALIZED (SELECT c.id FROM docs c ORDER BY c.v <-> '[0,0,0,1]' LIMIT 5)
        SELECT (SELECT o.id FROM "Other docs" o ORDER BY o.v <-> '[0,0,0,1]' LIMIT 1), id FROM near
        UNION ALL SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM docs i ORDER BY i.v <-> q.v LIMIT 1) n
        UNION ALL (SELECT d.n, d.id FROM docs d WHERE d.body @@@ 'lake' ORDER BY d.body <@> 'lake' LIMIT 3)"""
    [one] = explained(docs, query)
    found = {(scan["Index Name"], scan["Alias"]): scan["Searches"] for scan in scans(one)}
    assert found == {("docs_idx", "c"): 1, ("other", "o"): 1, ("docs_idx", "i"): 5, ("docs_idx", "d"): 1}
    assert explain(docs, query).count("Elacsym: ") == 4
    if not PER_NODE:
        assert 'Elacsym Scan: other on public."Other docs" o' in explain(docs, query)


@pytest.mark.every_pg
def test_every_partition_has_its_own_figures(conn):
    conn.execute("CREATE TABLE p (id int, v vector(2)) PARTITION BY RANGE (id)")
    conn.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200)")
    conn.execute("INSERT INTO p SELECT i, format('[%s,1]', i)::vector FROM generate_series(1, 199) i")
    conn.execute("CREATE INDEX p_idx ON p USING elacsym (v vector_l2_ops)")
    conn.execute("SET enable_seqscan = off; SET enable_sort = off")
    [query] = explained(conn, "SELECT id FROM p ORDER BY v <-> '[99,1]' LIMIT 3")
    assert {(scan["Index Name"], scan["Segments"]) for scan in scans(query)} == {("p1_v_idx", 1), ("p2_v_idx", 1)}


@pytest.mark.every_pg
def test_what_is_read_from_storage_is_shown(new_cluster):
    cluster = new_cluster()
    cluster.create_database("reads")
    with cluster.connect("reads") as conn:
        make(conn, options=NO_FLUSH)
        conn.execute("SET enable_seqscan = off; SET enable_sort = off")
        only_scan(conn, NEAREST)
        # A new engine has nothing in memory, and storage in a directory is not cached on disk.
        cluster.kill_engine()
        cold = only_scan(conn, NEAREST)
        warm = only_scan(conn, NEAREST)
    assert cold["Object Requests"] > 0 and cold["Object Bytes"] > 0 and cold["Cache Misses"] > 0
    assert cold["Estimated Cost"] == pytest.approx(cold["Object Requests"] * 0.40 / 1e6, abs=1e-8)
    assert (warm["Object Requests"], warm["Object Bytes"], warm["Cache Misses"], warm["Estimated Cost"]) == (0, 0, 0, 0)
    assert warm["Cache Hits"] > 0


@pytest.mark.every_pg
def test_a_scan_that_outlives_its_engine_shows_both_openings(new_cluster):
    cluster = new_cluster()
    cluster.create_database("restart")
    with cluster.connect("restart") as conn, cluster.connect("restart") as other:
        make(conn, options=NO_FLUSH)
        conn.execute("SET enable_seqscan = off; SET enable_sort = off")
        # The limit sizes the first batch, the condition makes it too small.
        slow = "SELECT id, pg_sleep(0.05) FROM docs WHERE (id + 0) % 4 = 0 ORDER BY v <-> '[0.1,0.2,0.3,0.4]' LIMIT 49"
        undisturbed = only_scan(conn, slow)
        shown = []
        thread = threading.Thread(target=lambda: shown.append(only_scan(conn, slow)))
        thread.start()
        wait_until(lambda: other.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone()[0], "the first rows", 10)
        cluster.kill_engine()
        thread.join()
        [scan] = shown
        stats = last_stats(conn)
    assert (undisturbed["Searches"], undisturbed["Segments"], undisturbed["Rows Fetched"]) == (1, 1, 200)
    assert (scan["Searches"], scan["Segments"]) == (2, 2) and scan["Rows Fetched"] > 200
    assert as_stats(scan).items() <= stats.items()


# -- what is not shown ---------------------------------------------------------------------------------------------------


@pytest.mark.every_pg
@pytest.mark.parametrize("options", ["ANALYZE", "VERBOSE", "COSTS OFF"])
@pytest.mark.parametrize("format", ["TEXT", "JSON"])
def test_nothing_is_shown_without_analyze_and_verbose(docs, options, format):
    for query in (NEAREST, WORDS):
        shown = str(docs.execute(f"EXPLAIN ({options}, FORMAT {format}) {query}").fetchall())
        assert "docs_idx" in shown and "Elacsym" not in shown


@pytest.mark.every_pg
def test_a_node_that_is_never_executed_shows_nothing(docs):
    never = REPEATED.replace("OFFSET 0", "WHERE id < 0 OFFSET 0")
    assert "docs_idx" in explain(docs, never) and "(never executed)" in explain(docs, never)
    [query] = explained(docs, never)
    assert scans(query) == [] and "Elacsym" not in json.dumps(query)
    assert "Elacsym" not in explain(docs, never)


@pytest.mark.every_pg
def test_other_indexes_show_nothing(docs):
    assert "docs_pkey" in explain(docs, "SELECT * FROM docs WHERE id = 3")
    assert "Elacsym" not in explain(docs, "SELECT * FROM docs WHERE id = 3")
    assert "Elacsym" not in explain(docs, "SELECT 1")


@pytest.mark.every_pg
def test_timing_off_leaves_out_the_time_of_the_engine(docs):
    text = explain(docs, NEAREST, "ANALYZE, VERBOSE, TIMING OFF")
    assert "Elacsym: searches=1 " in text and "Engine Time" not in text


@pytest.mark.every_pg
def test_what_ran_in_a_parallel_worker_is_not_counted(docs):
    docs.execute(f"SET {'debug_parallel_query' if pg_major() >= 16 else 'force_parallel_mode'} = on")
    [query] = explained(docs, NEAREST)
    gathers = [node for node in nodes(query["Plan"]) if node["Node Type"] == "Gather"]
    assert [node["Workers Launched"] for node in gathers] == [1]
    assert scans(query) == []
    if PER_NODE:
        assert [node["Index Searches"] for node in nodes(query["Plan"]) if "Index Searches" in node] == [1]


# -- the ways of EXPLAIN -------------------------------------------------------------------------------------------------


@pytest.mark.every_pg
def test_explain_of_a_prepared_statement(docs):
    docs.execute(f"PREPARE nearest (vector) AS {NEAREST.replace(repr('[0.1,0.2,0.3,0.4]'), '$1')}")
    [query] = explained(docs, "EXECUTE nearest('[0,0,0,1]')")
    assert any(node.get("Index Name") == "docs_idx" for node in nodes(query["Plan"]))
    # Before 18, PostgreSQL calls nobody who could add anything.
    assert len(scans(query)) == (1 if PER_NODE else 0)


@pytest.mark.every_pg
def test_explain_with_parameters(docs):
    query = "EXPLAIN (ANALYZE, VERBOSE) SELECT id FROM docs ORDER BY v <-> %s::text::vector LIMIT %s"
    for _ in range(8):
        rows = docs.execute(query, ["[0,0,0,1]", 3], prepare=True).fetchall()
        assert "Elacsym: searches=1 " in str(rows)


@pytest.mark.every_pg
def test_explain_of_create_table_as_and_of_writes(docs):
    for command in (
        f"CREATE TABLE nearest AS {NEAREST}",
        f"CREATE MATERIALIZED VIEW nearest_view AS {NEAREST}",
        f"DECLARE c CURSOR FOR {NEAREST}",
        f"INSERT INTO queries (id) {NEAREST}",
        f"UPDATE queries SET id = id + 1 WHERE id IN ({NEAREST})",
        f"DELETE FROM queries WHERE id = ANY (ARRAY({NEAREST}))",
    ):
        with docs.transaction(force_rollback=True):
            [query] = explained(docs, command)
            assert [scan["Searches"] for scan in scans(query)] == [1], command
            assert "Elacsym: searches=1 " in explain(docs, command.replace("nearest", "nearest2").replace(" c ", " c2 ")), command


@pytest.mark.every_pg
@pytest.mark.parametrize("format", ["JSON", "YAML", "XML", "TEXT"])
def test_a_rule_with_two_queries_shows_each_ones_scans(docs, format):
    docs.execute("CREATE VIEW both_tables AS SELECT id FROM queries")
    docs.execute(f"""CREATE RULE two AS ON UPDATE TO both_tables DO INSTEAD (
        UPDATE queries SET id = id WHERE id IN ({NEAREST}); DELETE FROM queries WHERE id IN ({WORDS}))""")
    with docs.transaction(force_rollback=True):
        shown = docs.execute(f"EXPLAIN (ANALYZE, VERBOSE, FORMAT {format}) UPDATE both_tables SET id = 1").fetchall()
    if format in ("JSON", "YAML"):
        queries = shown[0][0] if format == "JSON" else yaml.safe_load(shown[0][0])
        assert [[scan["Rows Fetched"] > 0 for scan in scans(query)] for query in queries] == [[True], [True]]
    elif format == "XML":
        root = ET.fromstring(shown[0][0])
        namespace = root.tag[: root.tag.index("}") + 1]
        assert [len(list(query.iter(f"{namespace}Elacsym-Searches"))) for query in root] == [1, 1]
    else:
        text = "\n".join(row[0] for row in shown)
        assert text.count("Elacsym: searches=1 ") == 2
        first, second = text.split("\n\n")
        assert first.count("Elacsym: ") == second.count("Elacsym: ") == 1


@pytest.mark.every_pg
def test_an_explain_inside_an_explained_query_keeps_to_itself(docs):
    docs.execute(f"""CREATE FUNCTION inner_explain(query text, fails bool) RETURNS text LANGUAGE plpgsql AS $$
        DECLARE line text; lines text := '';
        BEGIN
            BEGIN
                FOR line IN EXECUTE 'EXPLAIN (ANALYZE, VERBOSE) ' || query LOOP lines := lines || line || E'\\n'; END LOOP;
            EXCEPTION WHEN division_by_zero THEN
                lines := 'failed';
            END;
            PERFORM id FROM docs ORDER BY v <-> '[1,0,0,0]' LIMIT 1;
            RETURN lines;
        END $$""")
    # literals: evaluated once, by the plan's only row
    [[lines]] = docs.execute("SELECT inner_explain(%s, false)", [WORDS]).fetchall()
    assert lines.count("Elacsym: searches=1 ") == 1
    for query in (WORDS, f"SELECT 1 / (id - id) FROM ({NEAREST}) s"):
        outer = f"SELECT length(inner_explain({psycopg.sql.quote(query)}, true)) + id FROM ({NEAREST}) s LIMIT 2"
        [one] = explained(docs, outer)
        assert [scan["Searches"] for scan in scans(one)] == [1]
        assert explain(docs, outer).count("Elacsym: ") == 1


@pytest.mark.every_pg
def test_an_error_while_explaining_leaves_nothing_behind(docs):
    failing = f"SELECT 1 / (id - id) FROM ({NEAREST}) s"
    for _ in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero):
            explain(docs, failing)
        with pytest.raises(psycopg.errors.DivisionByZero):
            explain(docs, "SELECT 1 / 0")
        assert "Elacsym: searches=1 " in explain(docs, NEAREST)
        assert len(scans(explained(docs, NEAREST)[0])) == 1
    with docs.transaction(force_rollback=True):
        for _ in range(3):
            with pytest.raises(psycopg.errors.DivisionByZero), docs.transaction():
                explain(docs, failing)
            # Statements that run the same way, with the memory of the failed one free to be used again.
            assert len(docs.execute(NEAREST).fetchall()) == 5
            docs.execute("DO $$ BEGIN FOR i IN 1..50 LOOP PERFORM id FROM docs ORDER BY v <-> '[1,0,0,0]' LIMIT 1; END LOOP; END $$")
            assert explain(docs, NEAREST).count("Elacsym: ") == 1
    docs.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        explain(docs, f"SELECT pg_sleep(5) FROM ({NEAREST}) s")
    docs.execute("RESET statement_timeout")
    assert explain(docs, NEAREST).count("Elacsym: ") == 1


@pytest.mark.every_pg
def test_an_error_of_the_engine_while_explaining_leaves_nothing_behind(docs):
    with pytest.raises(psycopg.Error, match="different vector dimensions"):
        explain(docs, NEAREST.replace("0.1,", ""))
    assert explain(docs, NEAREST).count("Elacsym: ") == 1


@pytest.mark.every_pg
def test_the_rest_of_explain_is_as_before(new_cluster):
    def shape(value):
        if isinstance(value, dict):
            return {name: shape(inner) for name, inner in value.items()}
        return [shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__

    def shapes(cluster):
        found = []
        with cluster.connect() as conn:
            conn.execute("CREATE TABLE t AS SELECT i FROM generate_series(1, 100) i; CREATE INDEX t_i ON t (i); ANALYZE t")
            for options in ("VERBOSE", "BUFFERS, SUMMARY", "ANALYZE, BUFFERS, WAL", "ANALYZE, VERBOSE, BUFFERS, SETTINGS", "ANALYZE, TIMING OFF, SUMMARY OFF"):
                [query] = explained(conn, "SELECT * FROM t WHERE i = 3", options)
                assert 0 < query.get("Planning Time", 1) < 10_000
                found.append(shape(query))
                first = explain(conn, "SELECT * FROM t WHERE i = 3", f"{options}, COSTS OFF")
                found.append(re.sub(r"\d+\.\d+", "…", re.sub(r"(Buffers|Planning): ?.*", r"\1", first)))
        return found

    assert shapes(new_cluster("with")) == shapes(new_cluster("without", preload=False))


@pytest.mark.skipif(not (pg_path("pkglibdir") / "auto_explain.so").exists(), reason="this PostgreSQL has no auto_explain")
@pytest.mark.parametrize("format", ["text", "json"])
def test_with_auto_explain_both_go_on(docs, format):
    notices = []
    docs.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    docs.execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on; SET auto_explain.log_verbose = on")
    docs.execute(f"SET auto_explain.log_nested_statements = on; SET auto_explain.log_format = {format}; SET auto_explain.log_level = notice")
    assert len(docs.execute(NEAREST).fetchall()) == 5
    [logged] = [notice for notice in notices if "docs_idx" in notice]
    # It prints plans itself: only the hook for nodes is called then.
    assert ("Elacsym" in logged) == PER_NODE
    assert explain(docs, NEAREST).count("Elacsym: ") == 1
    assert len(scans(explained(docs, NEAREST)[0])) == 1
    with pytest.raises(psycopg.errors.DivisionByZero):
        explain(docs, f"SELECT 1 / (id - id) FROM ({NEAREST}) s")
    assert len(scans(explained(docs, REPEATED)[0])) == 1


# -- elacsym.search() ----------------------------------------------------------------------------------------------------


@pytest.mark.every_pg
def test_a_search_function_is_left_to_last_query_stats(docs):
    search = "SELECT * FROM elacsym.search('docs_idx', '[0,0,0,1]', 'lake')"
    assert "Elacsym" not in explain(docs, search)
    assert last_stats(docs)["buffered"] == BUFFERED


@pytest.mark.every_pg
def test_last_query_stats_of_a_search_are_of_all_its_parts(conn):
    conn.execute("CREATE TABLE p (id int, v vector(2)) PARTITION BY RANGE (id)")
    for first in (0, 100, 200):
        conn.execute(f"CREATE TABLE p{first} PARTITION OF p FOR VALUES FROM ({first}) TO ({first + 100})")
    conn.execute("INSERT INTO p SELECT i, format('[%s,1]', i)::vector FROM generate_series(0, 299) i")
    conn.execute("CREATE INDEX p_idx ON p USING elacsym (v vector_l2_ops)")
    assert len(conn.execute("SELECT * FROM elacsym.search('p_idx', '[150,1]')").fetchall()) == 10
    assert last_stats(conn)["segments"] == 3
