"""What scans of the index once got wrong, each in its smallest form, and values at the limits."""

import math

import pytest


def plan(conn, query):
    return "\n".join(row[0] for row in conn.execute("EXPLAIN " + query))


def test_a_bitmap_scan_without_conditions_finds_every_row(conn):
    conn.execute("CREATE TABLE t (id int PRIMARY KEY, grp int, v vector(2))")
    conn.execute("INSERT INTO t SELECT i, i % 9, format('[%s,1]', i)::vector FROM generate_series(1, 200) i")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (v vector_l2_ops) WHERE grp < 6")
    conn.execute("ANALYZE t")
    # The planner may take an ordered scan of a partial index for a bitmap, and drops its order.
    conn.execute("SET enable_seqscan = off")
    conn.execute("SET enable_indexscan = off")
    query = "SELECT id FROM t WHERE grp < 6 AND grp = 3 ORDER BY v <-> '[1,1]'"
    assert "Bitmap Index Scan on t_idx" in plan(conn, query) and "Index Cond" not in plan(conn, query)
    assert [row[0] for row in conn.execute(query)] == [i for i in range(1, 201) if i % 9 == 3]


@pytest.mark.every_pg
def test_every_scan_is_counted(conn):
    conn.execute("CREATE TABLE t (id int PRIMARY KEY, v vector(2))")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (v vector_l2_ops)")
    with conn.transaction():
        before = conn.execute("SELECT pg_stat_get_xact_numscans('t_idx'::regclass)").fetchone()[0]
        conn.execute("SET LOCAL enable_seqscan = off")
        for _ in range(3):
            conn.execute("SELECT id FROM t ORDER BY v <-> '[1,1]' LIMIT 1").fetchall()
        assert conn.execute("SELECT pg_stat_get_xact_numscans('t_idx'::regclass)").fetchone()[0] == before + 3
    # A report detaches the counters from the relation, and a plan that is there already does not read the index before the scan.
    conn.execute("SET enable_seqscan = off")
    conn.execute("PREPARE near AS SELECT id FROM t ORDER BY v <-> '[1,1]' LIMIT 1")
    conn.execute("EXECUTE near").fetchall()
    conn.execute("SELECT pg_stat_force_next_flush()")
    with conn.transaction():
        conn.execute("EXECUTE near").fetchall()
        assert conn.execute("SELECT pg_stat_get_xact_numscans('t_idx'::regclass)").fetchone()[0] == 1


@pytest.mark.every_pg
def test_effort_follows_what_clients_of_pgvector_set(conn):
    conn.execute("CREATE TABLE t (id int PRIMARY KEY, v vector(8))")
    conn.execute("""INSERT INTO t SELECT i, (SELECT array_agg(sin(i * 7.3 + d * 1.7 + i * d))::real[]::vector FROM generate_series(1, 8) d)
                    FROM generate_series(1, 20000) i""")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (v vector_l2_ops) WITH (lists = 400)")
    conn.execute("SET enable_seqscan = off")

    def probed(setting):
        with conn.transaction(force_rollback=True):
            conn.execute(setting)
            # another state of the buffer, so that no question was asked before
            conn.execute("INSERT INTO t VALUES (-1, '[9,9,9,9,9,9,9,9]')")
            counts = []
            for query in ("SELECT id FROM t ORDER BY v <-> '[1,0,0,0,0,0,0,1]' LIMIT 10", "SELECT key FROM elacsym.search_keys('t_idx', '[1,0,0,0,0,0,0,1]', k => 10)"):
                assert len(conn.execute(query).fetchall()) == 10
                counts += conn.execute("SELECT lists_probed FROM elacsym.last_query_stats()").fetchone()
            return counts

    usual = probed("SET LOCAL work_mem = '4MB'")
    assert all(0 < n < 200 for n in usual)
    assert probed("SET LOCAL hnsw.ef_search = 40") == usual
    assert probed("SET LOCAL hnsw.ef_search = 10") == usual, "less than pgvector's default means the usual"
    doubled = probed("SET LOCAL hnsw.ef_search = 80")
    assert all(more > n for more, n in zip(doubled, usual, strict=True))
    assert probed("SET LOCAL elacsym.effort = 2") == doubled
    assert probed("SET LOCAL hnsw.ef_search = 80; SET LOCAL elacsym.effort = 0.5") == probed("SET LOCAL elacsym.effort = 0.5"), "our own setting wins"


def test_a_key_deleted_elsewhere_and_inserted_here_is_there_twice_as_in_the_table(conn, db):
    """PostgreSQL's snapshots allow it (a failure is raised at commit, if at all), so a scan of the index must show both rows."""
    conn.execute("CREATE TABLE t (id int PRIMARY KEY, v vector(2))")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (v vector_l2_ops)")
    conn.execute("INSERT INTO t SELECT i, '[1,1]' FROM generate_series(1, 20) i")
    with conn.transaction(force_rollback=True):
        conn.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        conn.execute("SELECT count(*) FROM t").fetchone()
        db.sql("DELETE FROM t WHERE id = 7")
        conn.execute("INSERT INTO t VALUES (7, '[2,2]') ON CONFLICT DO NOTHING")
        query = "SELECT id, v::text FROM t WHERE id < 9 ORDER BY v <-> '[1,1]'"
        conn.execute("SET LOCAL enable_bitmapscan = off")
        for setting, by_index in (("enable_sort", True), ("enable_indexscan", False)):
            conn.execute(f"SET LOCAL {setting} = off")
            assert ("using t_idx" in plan(conn, query)) == by_index
            assert sorted(row for row in conn.execute(query) if row[0] == 7) == [(7, "[1,1]"), (7, "[2,2]")]


def test_the_order_is_computed_only_where_somebody_reads_it(conn):
    conn.execute("CREATE TABLE t (id int PRIMARY KEY, v vector(2), body text)")
    conn.execute("INSERT INTO t SELECT i, format('[%s,1]', i / 2)::vector, repeat('word ', i) FROM generate_series(1, 40) i")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (v vector_l2_ops, body bm25_ops)")
    conn.execute("SET enable_seqscan = off")
    hidden = "NULL::double precision"

    def look(query):
        return "\n".join(row[0] for row in conn.execute("EXPLAIN (VERBOSE, COSTS OFF) " + query)), conn.execute(query).fetchall()

    near, best = "ORDER BY v <-> '[3,1]'", "ORDER BY body <@> 'word'"
    for query, expected in (
        (f"SELECT id FROM t {near} LIMIT 2", [(6,), (7,)]),
        (f"SELECT id FROM t WHERE body @@@ 'word' {best} LIMIT 3", [(40,), (39,), (38,)]),
        (f"SELECT count(*) FROM (SELECT id FROM t {near} LIMIT 2) s WHERE id > 6", [(1,)]),
        (f"(SELECT id FROM t {near} LIMIT 1) UNION ALL (SELECT id FROM t {best} LIMIT 1)", [(6,), (40,)]),
    ):
        shown, rows = look(query)
        assert hidden in shown and "Order By: (" in shown, shown
        assert sorted(rows) == sorted(expected), query
    for query, expected in (
        (f"SELECT id, v <-> '[3,1]' FROM t {near} LIMIT 2", {(6, 0.0), (7, 0.0)}),
        (f"SELECT id FROM t {near} FETCH FIRST 1 ROW WITH TIES", {(6,), (7,)}),
    ):
        shown, rows = look(query)
        assert hidden not in shown and "Order By: (" in shown, shown
        assert set(rows) == expected, query
    with conn.transaction():
        conn.execute(f"DECLARE c CURSOR FOR SELECT id FROM t {near}")
        assert {row[0] for row in conn.execute("FETCH 2 FROM c")} == {6, 7}
        assert len(conn.execute("FETCH ALL FROM c").fetchall()) == 38
        locked = conn.execute(f"SELECT id FROM t {near} LIMIT 2 FOR UPDATE").fetchall()
        assert {row[0] for row in locked} == {6, 7}
    conn.execute("SET plan_cache_mode = force_generic_plan")
    conn.execute("PREPARE p (vector, int) AS SELECT id FROM t ORDER BY v <-> $1 LIMIT $2")
    assert hidden in "\n".join(row[0] for row in conn.execute("EXPLAIN (VERBOSE, COSTS OFF) EXECUTE p ('[3,1]', 2)"))
    for wanted, vector in (({6, 7}, "[3,1]"), ({10, 11}, "[5,1]"), ({6, 7}, "[3,1]")):
        assert {row[0] for row in conn.execute(f"EXECUTE p ('{vector}', 2)")} == wanted
    conn.execute("CREATE TABLE copied (id int)")
    conn.execute(f"INSERT INTO copied SELECT id FROM t {near} LIMIT 2")
    conn.execute(f"UPDATE copied SET id = id + 100 WHERE id IN (SELECT id FROM t {near} LIMIT 1)")
    assert len(conn.execute("SELECT id FROM copied WHERE id > 100").fetchall()) == 1
    conn.execute(f"CREATE TABLE all_of_them AS SELECT id FROM t {near}")
    assert sorted(row[0] for row in conn.execute("SELECT id FROM all_of_them")) == list(range(1, 41))
    # A node between LIMIT and scan reads the column.
    assert conn.execute(f"SELECT DISTINCT ON (v <-> '[3,1]') id FROM t {near}, id DESC LIMIT 3").fetchall() == [(7,), (9,), (11,)]


EXTREMES = ["[0,0]", "[1e-30,1e-30]", "[1e-20,0]", "[1e20,1e20]", "[-1e20,1e20]", "[3e38,3e38]", "[3e38,-3e38]", "[1,2]", "[-1,0.5]", "[1e-38,1]", "[1e10,1]", None]


def answers(conn, query, **settings):
    with conn.transaction():
        for name, value in settings.items():
            conn.execute(f"SET LOCAL {name} = {value}")
        conn.execute("SET LOCAL elacsym.effort = 'infinity'")
        return plan(conn, query), conn.execute(query).fetchall()


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(("opclass", "operator"), [("vector_l2_ops", "<->"), ("vector_ip_ops", "<#>"), ("vector_cosine_ops", "<=>")])
def test_no_vector_at_the_limits_of_floats_is_lost(conn, opclass, operator, flushed):
    conn.execute("CREATE TABLE t (id int PRIMARY KEY, v vector(2))")
    conn.execute(f"CREATE INDEX t_idx ON t USING elacsym (v {opclass})")
    for i, value in enumerate(EXTREMES):
        conn.execute("INSERT INTO t VALUES (%s, %s)", (i, value))
    if flushed:
        conn.execute("SELECT elacsym.flush('t_idx')")
    for query_vector in filter(None, EXTREMES):
        query = f"SELECT v {operator} '{query_vector}', id FROM t ORDER BY v {operator} '{query_vector}'"
        fast_plan, fast = answers(conn, query, enable_seqscan="off", enable_sort="off")
        assert "using t_idx" in fast_plan
        _, slow = answers(conn, query, enable_indexscan="off")
        assert sorted(map(repr, fast)) == sorted(map(repr, slow)), query_vector
        assert fast[-1][0] is None and slow[-1][0] is None
        # Where the operator's single precision overflows, the index orders by the true distance.
        if all(row[0] is None or math.isfinite(row[0]) for row in slow):
            assert [row[0] for row in fast[:-1]] == pytest.approx([row[0] for row in slow[:-1]], rel=1e-5), query_vector


@pytest.mark.parametrize("flushed", [False, True])
def test_a_very_long_word_is_found_or_not_in_both_ways(conn, flushed):
    conn.execute("CREATE TABLE t (id int PRIMARY KEY, body text)")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (body bm25_ops (stemming = false))")
    for i, length in enumerate([1, 39, 40, 41, 255, 256, 65000, 65529, 65530, 65531, 65536, 70000]):
        conn.execute("INSERT INTO t VALUES (%s, %s)", (i, f"{'x' * length} {'lake ' * i}"))
    if flushed:
        conn.execute("SELECT elacsym.flush('t_idx')")
    for words in ["x*", "xxxx*", "x" * 39, "x" * 40, "x" * 41, "x" * 256, "x" * 65000, "x" * 65529, "x" * 65530, "x" * 65531, f'"{"x" * 65000} lake"', "lake"]:
        query = f"SELECT id FROM t WHERE body @@@ '{words}' ORDER BY id"
        fast_plan, fast = answers(conn, query, enable_seqscan="off", enable_indexonlyscan="off")
        _, slow = answers(conn, query, enable_indexscan="off", enable_bitmapscan="off")
        assert "t_idx" in fast_plan, fast_plan
        assert fast == slow, f"{words[:10]} of {len(words)}"
    for words in ["x", "lake", "x" * 65530]:
        query = f"SELECT body <@> '{words}', id FROM t ORDER BY body <@> '{words}'"
        _, fast = answers(conn, query, enable_seqscan="off", enable_sort="off")
        _, slow = answers(conn, query, enable_indexscan="off")
        assert [row[0] for row in fast] == pytest.approx([row[0] for row in slow], rel=1e-4)


@pytest.mark.parametrize("state", ["buffered", "flushed"])
def test_conditions_on_long_strings_lose_no_row(conn, state):
    """An index holds the beginning of a long string, cut between characters: of 8,189 to 8,192 bytes."""
    base = "a" * 8186
    notes = [base + end for end in ("", "aa", "aaa", "aaaa", "aaaaa", "aaaaaz", "aaaaaaaa", "aaaa\u00e9", "aaaaa\u00e9", "aaa\U0001f600", "aa\U0001f600b", "z", "zzzzzzzzz")]
    conn.execute('CREATE TABLE t (id serial PRIMARY KEY, v vector(2), note text COLLATE "C")')
    for note in notes:
        conn.execute("INSERT INTO t (v, note) VALUES ('[1,1]', %s)", [note])
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (v vector_l2_ops, note)")
    if state == "buffered":
        conn.execute("UPDATE t SET v = '[1,2]'")
    for op in ("<", "<=", "=", "<>", ">=", ">"):
        for note in notes:
            found = {}
            for way in ("enable_seqscan", "enable_indexscan"):
                with conn.transaction():
                    conn.execute(f"SET LOCAL {way} = off")
                    # of a partial plan without a limit the order costs nothing
                    conn.execute("SET LOCAL enable_sort = " + ("off" if way == "enable_seqscan" else "on"))
                    conn.execute("SET LOCAL enable_bitmapscan = off")
                    rows = conn.execute(f"SELECT id FROM t WHERE note {op} %s ORDER BY v <-> '[0,1]' LIMIT 100", [note])
                    found[way] = sorted(id for (id,) in rows)
            assert found["enable_seqscan"] == found["enable_indexscan"], f"{op} a string of {len(note.encode())} bytes"
