"""`@@@` and `<@>` say the same with and without the index, whatever the plan: analysis and statistics come from the index that
the planner resolved."""

import threading

import pytest

from harness import wait_until

pytestmark = pytest.mark.every_pg

TEXTS = [
    "Running databases on object storage",
    "The runner ran home",
    "A database of ships; the ship's database ran aground",
    "Der Läufer lief in die Häuser",
    "Das Haus am See",
    "postgres hybrid search",
    "Postgres search, hybrid or not",
    "searching for hybrids",
    "the and of",
    "",
    "ÜBER uber über",
]
QUERIES = ["database", "run", "running", '"hybrid search"', "hybrid -postgres", "+postgres search", "hyb*", "haus", "häuser", "Postgres", "the", "über", "ship database"]

OPTIONS = {
    "default": "",
    "german": "(language = 'german')",
    "no_stemming": "(stemming = false)",
    "stopwords_kept": "(stopwords = false)",
    "case_sensitive": "(case_sensitive = true)",
    "all": "(language = 'german', stemming = false, stopwords = false, case_sensitive = true, k1 = 2, b = 0.1, weight = 3)",
}

BY_INDEX = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_indexscan = on"
BY_BITMAP = "SET enable_seqscan = off; SET enable_bitmapscan = on; SET enable_indexscan = off"
BY_ROWS = "SET enable_seqscan = on; SET enable_bitmapscan = off; SET enable_indexscan = off"


def fill(conn, columns="body text", extra=""):
    """Half of the rows are in a segment of the build, half in the write buffer."""
    conn.execute(f"CREATE TABLE docs (id int PRIMARY KEY, {columns})")
    half = len(TEXTS) // 2
    for i, text in enumerate(TEXTS[:half]):
        conn.execute("INSERT INTO docs (id, body) VALUES (%s, %s)", [i, text])
    if extra:
        conn.execute(extra)
    for i, text in enumerate(TEXTS[half:], half):
        conn.execute("INSERT INTO docs (id, body) VALUES (%s, %s)", [i, text])
    conn.execute("INSERT INTO docs (id, body) VALUES (1000, NULL)")


def plan(conn, query, params=()):
    return "\n".join(r[0] for r in conn.execute(f"EXPLAIN (COSTS OFF, VERBOSE) {query}", params).fetchall())


def ids(conn, how, query, params=()):
    conn.execute(how)
    rows = [r[0] for r in conn.execute(query, params).fetchall()]
    assert len(rows) == len(set(rows)), "a row came twice"
    return rows


def agree_on_matches(conn, operand="body", table="docs", index="docs_search", queries=QUERIES):
    """Index scan, bitmap scan and sequential scan find the same rows; returns them by query."""
    found = {}
    for query in queries:
        statement = f"SELECT id FROM {table} WHERE {operand} @@@ '{query}' ORDER BY id"
        by_rows = ids(conn, BY_ROWS, statement)
        for how in (BY_INDEX, BY_BITMAP):
            assert ids(conn, how, statement) == by_rows, f"{query!r} by {how}"
            assert f" on {index}" in plan(conn, statement) or f"using {index}" in plan(conn, statement)
        found[query] = by_rows
    return found


@pytest.mark.parametrize("options", OPTIONS)
def test_match_is_the_same_by_index_bitmap_and_rows(conn, options):
    fill(conn, extra=f"CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops {OPTIONS[options]})")
    found = agree_on_matches(conn)
    assert found['"hybrid search"'] == [5]
    assert found["running"] == ([] if options in ("case_sensitive", "all") else [0])
    if options == "default":
        assert found["run"] == [0]
        assert found["the"] == []
    if options == "no_stemming":
        assert found["run"] == []
    if options == "stopwords_kept":
        assert 8 in found["the"]
    if options == "case_sensitive":
        assert found["Postgres"] == [6]
    if options == "german":
        assert 3 in found["haus"] and 4 in found["haus"]


def test_alternatives_of_one_column_find_what_either_finds(conn):
    """PostgreSQL 18 makes of them one condition with an array of queries."""
    fill(conn, extra="CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops)")
    queries = "ARRAY[elacsym.bm25query('hybrid', 'docs_search'), elacsym.bm25query('ship', 'docs_search'), NULL]"
    for condition in ("body @@@ 'hybrid' OR body @@@ 'ship'", f"body @@@ ANY ({queries})", "body @@@ ANY (ARRAY['hybrid', 'ship'])"):
        statement = f"SELECT id FROM docs WHERE {condition} ORDER BY id"
        for how in (BY_INDEX, BY_BITMAP, BY_ROWS):
            assert ids(conn, how, statement) == [2, 5, 6, 7], f"{condition} by {how}"


@pytest.mark.parametrize("options", OPTIONS)
def test_distance_is_the_same_by_index_and_rows(conn, options):
    fill(conn, extra=f"CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops {OPTIONS[options]})")
    for query in ["database", "hybrid search", "Postgres", "haus ship", "nothing like it"]:
        statement = f"SELECT id, body <@> '{query}' AS distance FROM docs ORDER BY body <@> '{query}'"
        conn.execute(BY_ROWS)
        by_rows = conn.execute(statement).fetchall()
        conn.execute(BY_INDEX)
        assert "Index Scan using docs_search" in plan(conn, statement)
        by_index = conn.execute(statement).fetchall()
        assert len(by_index) == len(TEXTS) + 1
        assert [r[1] for r in by_index] == [r[1] for r in by_rows], query
        assert sorted(by_index, key=str) == sorted(by_rows, key=str)
        assert by_index[-1] == (1000, None)
    assert all(d == 0 and str(d) == "0.0" for d in [r[1] for r in by_index[:-1]])


def test_generic_plans_look_at_the_parameter_and_use_the_index(conn):
    fill(conn, extra="CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops (language = 'german'))")
    conn.execute("SET plan_cache_mode = force_generic_plan")
    conn.execute("PREPARE matching (text) AS SELECT id FROM docs WHERE body @@@ $1 ORDER BY id")
    conn.execute("PREPARE best (text, int) AS SELECT id FROM docs ORDER BY body <@> $1 LIMIT $2")
    conn.execute(BY_INDEX)
    for query in QUERIES:
        expected = ids(conn, BY_ROWS, f"SELECT id FROM docs WHERE body @@@ '{query}' ORDER BY id")
        conn.execute(BY_INDEX)
        assert [r[0] for r in conn.execute(f"EXECUTE matching ('{query}')")] == expected
    assert "using docs_search" in plan(conn, "EXECUTE matching ('haus')")
    assert "Index Scan using docs_search" in plan(conn, "EXECUTE best ('haus', 2)")
    assert {r[0] for r in conn.execute("EXECUTE best ('haus', 2)")} == {3, 4}
    assert conn.execute("EXECUTE matching (NULL)").fetchall() == []


def test_untyped_parameters_resolve_to_text(conn):
    fill(conn, extra="CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops)")
    for binary in (False, True):
        rows = conn.execute("SELECT id FROM docs WHERE body @@@ %s ORDER BY body <@> %s LIMIT 3", ["hybrid", "hybrid"], prepare=True, binary=binary).fetchall()
        assert {r[0] for r in rows} <= {5, 6, 7} and len(rows) == 3


def test_varchar_expression_and_partial_indexes_are_resolved(conn):
    fill(conn, columns="body varchar(200)", extra="CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops (language = 'german'))")
    agree_on_matches(conn)
    conn.execute("DROP INDEX docs_search")
    conn.execute("CREATE INDEX docs_search ON docs USING elacsym (lower(body) bm25_ops (case_sensitive = true))")
    found = agree_on_matches(conn, operand="lower(body)")
    assert found["Postgres"] == [] and ids(conn, BY_ROWS, "SELECT id FROM docs WHERE lower(body) @@@ 'postgres' ORDER BY id") == [5, 6]
    conn.execute("DROP INDEX docs_search")
    conn.execute("CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops (stemming = false)) WHERE id < 7")
    for query in QUERIES:
        statement = f"SELECT id FROM docs WHERE body @@@ '{query}' AND id < 7 ORDER BY id"
        assert ids(conn, BY_INDEX, statement) == ids(conn, BY_ROWS, statement)
    # rows outside the predicate are analysed the same way
    assert ids(conn, BY_ROWS, "SELECT id FROM docs WHERE body @@@ 'searching' ORDER BY id") == [7]


def test_of_two_indexes_the_older_one_counts_and_another_can_be_named(conn, db):
    fill(conn, extra="CREATE INDEX english ON docs USING elacsym (body bm25_ops)")
    conn.execute("CREATE INDEX german ON docs USING elacsym (body bm25_ops (language = 'german'))")
    statement = "SELECT id FROM docs WHERE body @@@ 'haus' ORDER BY id"
    for how in (BY_INDEX, BY_BITMAP, BY_ROWS):
        assert ids(conn, how, statement) == [4]
    named = "SELECT id FROM docs WHERE body @@@ elacsym.bm25query('haus', 'german') ORDER BY id"
    for how in (BY_INDEX, BY_BITMAP, BY_ROWS):
        assert ids(conn, how, named) == [3, 4]
    literal = named.replace("elacsym.bm25query('haus', 'german')", """'{"query": "haus", "index": "german"}'::elacsym.bm25query""")
    for how in (BY_INDEX, BY_BITMAP, BY_ROWS):
        assert ids(conn, how, literal) == [3, 4]
    conn.execute(BY_INDEX)
    assert "german" in plan(conn, literal) and "english" not in plan(conn, literal)
    assert "english" in plan(conn, statement)
    # prepared before the index went away
    conn.execute("PREPARE p AS " + statement)
    assert [r[0] for r in conn.execute("EXECUTE p")] == [4]
    db.sql("DROP INDEX english")
    assert [r[0] for r in conn.execute("EXECUTE p")] == [3, 4]


def test_the_scorer_survives_an_engine_that_is_killed(new_cluster):
    cluster = new_cluster()
    cluster.create_database("t")
    with cluster.connect("t") as conn:
        fill(conn, extra="CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops)")
        conn.execute(BY_ROWS)
        # one statement, and the engine dies in the middle of it
        statement = """
            SELECT id, body <@> 'database', CASE WHEN id = 3 THEN pg_sleep(2) END FROM docs WHERE body IS NOT NULL AND id < 9"""
        expected = [r[:2] for r in conn.execute(statement).fetchall()]
        killer = threading.Timer(1, cluster.kill_engine)
        killer.start()
        assert [r[:2] for r in conn.execute(statement).fetchall()] == expected
        killer.join()
        wait_until(lambda: cluster.engine_pids(), "the engine to run again", 10)


def test_updates_that_wait_look_at_the_new_row_version(conn, db):
    """EvalPlanQual evaluates the operator on a row that the index never returned."""
    fill(conn, extra="CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops (language = 'german'))")
    conn.execute("ALTER TABLE docs ADD hits int DEFAULT 0")
    with db.connect(autocommit=False) as other:
        other.execute("UPDATE docs SET body = 'Häuser und Türme' WHERE id = 4")
        other.execute("UPDATE docs SET body = 'nichts davon' WHERE id = 3")
        done = []

        def update():
            with db.connect() as third:
                third.execute(BY_INDEX)
                done.append(third.execute("UPDATE docs SET hits = 1 WHERE body @@@ 'haus' RETURNING id").fetchall())

        thread = threading.Thread(target=update)
        thread.start()
        wait_until(lambda: conn.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()[0] > 0, "the update to wait", 10)
        other.commit()
        thread.join()
    assert done == [[(4,)]]


def test_last_query_stats_are_of_the_last_search(conn):
    assert conn.execute("SELECT * FROM elacsym.last_query_stats()").fetchall() == []
    fill(conn, extra="CREATE INDEX docs_search ON docs USING elacsym (body bm25_ops)")
    conn.execute(BY_INDEX)
    conn.execute("SELECT id FROM docs ORDER BY body <@> 'database' LIMIT 1").fetchall()
    segments, buffered, micros = conn.execute("SELECT segments, buffered, engine_micros FROM elacsym.last_query_stats()").fetchone()
    assert segments >= 1 and segments + buffered >= 2 and micros > 0


def test_halfvec_has_operator_classes_where_it_exists(conn):
    expected = 3 if conn.execute("SELECT to_regtype('halfvec') IS NOT NULL").fetchone()[0] else 0
    found = conn.execute("SELECT count(*) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'elacsym' AND opcname ~ '^halfvec_(l2|ip|cosine)_ops$'").fetchone()[0]
    assert found == expected


def test_names_resolve_wherever_vector_is_installed(new_cluster):
    cluster = new_cluster()
    cluster.create_database("t", extension=False)
    with cluster.connect("t") as conn:
        conn.execute("CREATE SCHEMA \"Ext's\"")
        conn.execute("CREATE EXTENSION vector SCHEMA \"Ext's\"")
        conn.execute("CREATE EXTENSION elacsym")
        conn.execute("SET search_path = public, \"Ext's\"")
        fill(conn, columns="body text, v vector(2)", extra="CREATE INDEX docs_search ON docs USING elacsym (v vector_l2_ops, body bm25_ops)")
        agree_on_matches(conn, queries=["database", "hybrid"])
