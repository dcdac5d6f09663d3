"""An index on a partitioned table, named as a whole: BM25 by the statistics of all partitions, privileges and row-level security
of the table that is named (INV-2, INV-7). A plain table with the same rows says what is right."""

import json
import random

import psycopg
import pytest

pytestmark = pytest.mark.every_pg

DENIED = psycopg.errors.InsufficientPrivilege
BY_INDEX = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET enable_indexscan = on"
BY_ROWS = "SET enable_seqscan = on; SET enable_bitmapscan = off; SET enable_sort = on; SET enable_indexscan = off"
ANY = "RESET enable_seqscan; RESET enable_bitmapscan; RESET enable_sort; RESET enable_indexscan"
QUERIES = ["lake", "w0 w5", "river mountain lake lake", "running", "nothing like it", "the of"]
COLUMNS = "id int, title text, n int, body text, v vector(2), PRIMARY KEY (id, n)"
# another order, and a column that is gone: numbers of columns differ from the parent's
OTHER_COLUMNS = "gone text, body text, n int NOT NULL, v vector(2), id int NOT NULL, more int, title text"
INDEX = "USING elacsym (title bm25_ops (weight = 2), body bm25_ops (k1 = 1.4, b = 0.6), n, v vector_l2_ops)"
TABLES = ("whole", "docs")


def rows(first, count, seed=7):
    """Rows whose words and lengths depend on where they are, so that no partition is like the whole."""
    rng = random.Random(seed * 1000 + first)
    for i in range(first, first + count):
        place = i // 100
        words = ["lake", "river", "mountain", "runs"][: 2 + place] + [f"w{j}" for j in range(place * 3, place * 3 + 6)]
        body = " ".join(rng.choices(words, k=2 + 9 * place + rng.randint(0, 6))) if i % 13 else None
        yield i, " ".join(rng.choices(words, k=rng.randint(0, 3))), i % 10, body, str([i % 7, place])


def fill(conn, first, count, tables=TABLES):
    with conn.cursor() as cur:
        for table in tables:
            cur.executemany(f"INSERT INTO {table} (id, title, n, body, v) VALUES (%s, %s, %s, %s, %s)", list(rows(first, count)))


def make(conn):
    """`docs` has leaves on two levels, one of them empty and one with columns in other places; `whole` is one table. Some rows are
    in segments, some in the buffer."""
    conn.execute(f"CREATE TABLE whole ({COLUMNS}); CREATE TABLE docs ({COLUMNS}) PARTITION BY RANGE (id)")
    conn.execute(
        "CREATE TABLE a PARTITION OF docs FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE b PARTITION OF docs FOR VALUES FROM (100) TO (200) PARTITION BY LIST (n);"
        "CREATE TABLE b1 PARTITION OF b FOR VALUES IN (0, 1, 2, 3, 4);"
        f"CREATE TABLE b2 ({OTHER_COLUMNS}); ALTER TABLE b2 DROP gone, DROP more; ALTER TABLE b ATTACH PARTITION b2 DEFAULT;"
        "CREATE TABLE c PARTITION OF docs FOR VALUES FROM (200) TO (300);"
        "CREATE TABLE d PARTITION OF docs DEFAULT"
    )
    for first in (0, 120, 310):
        fill(conn, first, 50)
    for table in TABLES:
        conn.execute(f"CREATE INDEX {table}_idx ON {table} {INDEX}")
    for first in (50, 170, 400):
        fill(conn, first, 20)
    conn.execute("ANALYZE whole, docs")


@pytest.fixture
def docs(conn):
    make(conn)
    return conn


def plan(conn, statement):
    return "\n".join(r[0] for r in conn.execute(f"EXPLAIN (COSTS OFF) {statement}"))


def scores(conn, table, query, column="body", where="true", order=True, limit=""):
    order = f"ORDER BY {column} <@> '{query}' {limit}" if order else ""
    found = conn.execute(f"SELECT id, {column} <@> '{query}' FROM {table} WHERE {where} {order}").fetchall()
    assert len({i for i, _ in found}) == len(found)
    return found


def close(found, expected):
    """The same rows with the same scores."""
    assert {i for i, _ in found} == {i for i, _ in expected}
    expected = dict(expected)
    for i, score in found:
        assert score == expected[i] if expected[i] is None else score == pytest.approx(expected[i], abs=1e-5), i


def rising(found):
    values = [float("inf") if value is None else value for _, value in found]
    assert values == sorted(values)


def agree(conn, table="docs", whole="whole", queries=QUERIES, columns=("body", "title"), where="true", of_whole="true", parts=5):
    """Index scans and rows say what the one table says; `parts`: index scans of the plan."""
    for query in queries:
        for column in columns:
            conn.execute(BY_ROWS)
            # with a filter the statistics stay those of all rows
            expected = scores(conn, whole, query, column, f"({where}) AND {of_whole}", order=False)
            best = [s for _, s in sorted(expected, key=lambda r: float("inf") if r[1] is None else r[1])]
            statement = f"SELECT id FROM {table} WHERE {where} ORDER BY {column} <@> '{query}'"
            assert "Index Scan" not in plan(conn, statement)
            by_rows = scores(conn, table, query, column, where)
            conn.execute(BY_INDEX)
            text = plan(conn, statement)
            assert text.count("Index Scan using") == parts and ("Merge Append" in text) == (parts > 1) and "Sort\n" not in text, text
            for limit in ("LIMIT 3", "LIMIT 40", ""):
                found = scores(conn, table, query, column, where, limit=limit)
                rising(found)
                for (_, value), (_, right) in zip(found, by_rows):
                    assert value == pytest.approx(right, abs=1e-5), query
                if limit == "LIMIT 3":
                    assert [s for _, s in found] == pytest.approx(best[:3], abs=1e-5)
            for found in (by_rows, found):
                rising(found)
                close(found, expected)
            conn.execute(ANY)


def test_scores_are_those_of_one_table_with_all_rows(docs):
    agree(docs)
    docs.execute(BY_ROWS)
    lake = dict(scores(docs, "docs", "lake"))
    assert len(lake) == 210 and min(s for s in lake.values() if s is not None) < -0.1
    # the leaf alone has other statistics
    assert dict(scores(docs, "a", "lake")) != {i: s for i, s in lake.items() if i < 100}
    # everything in segments
    docs.execute("SELECT elacsym.flush('whole_idx')")
    docs.execute("SELECT elacsym.flush('docs_idx')")
    assert docs.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (0,)
    agree(docs)


def test_pruning_does_not_change_scores(docs):
    agree(docs, where="id BETWEEN 0 AND 99", parts=1)
    agree(docs, where="id >= 300", parts=1, columns=["body"])
    agree(docs, where="id BETWEEN 100 AND 199 AND n = 7", parts=1, columns=["body"])
    agree(docs, where="id < 200", parts=4, columns=["body"])
    agree(docs, where="id < 100 OR id > 350", parts=2, columns=["body"])
    # at run time
    docs.execute("SET plan_cache_mode = force_generic_plan; " + BY_INDEX)
    docs.execute("PREPARE p (text, int) AS SELECT id, body <@> $1 FROM docs WHERE id < $2 ORDER BY body <@> $1")
    for query in QUERIES:
        docs.execute(BY_ROWS)
        expected = scores(docs, "whole", query, where="id < 110")
        docs.execute(BY_INDEX)
        text = plan(docs, f"EXECUTE p ('{query}', 110)")
        assert "Merge Append" in text and "Removed" in text, text
        found = docs.execute(f"EXECUTE p ('{query}', 110)").fetchall()
        rising(found)
        close(found, expected)


def test_a_condition_and_an_order_in_one_query(docs):
    for match, query in [("lake -river", "lake w5"), ("+mountain w9", "mountain"), ('"river lake"', "running")]:
        where = f"body @@@ '{match}'"
        agree(docs, queries=[query], where=where, columns=["body", "title"])
        agree(docs, queries=[query], where=where + " AND n < 4", columns=["body"])


def test_a_partition_with_partitions_and_a_leaf_have_their_own_statistics(docs):
    for name, where in (("b", "id BETWEEN 100 AND 199"), ("a", "id < 100"), ("b2", "id BETWEEN 100 AND 199 AND n > 4")):
        docs.execute(f"CREATE TABLE only_{name} ({COLUMNS}); CREATE INDEX ON only_{name} {INDEX}; INSERT INTO only_{name} SELECT * FROM whole WHERE {where}")
        agree(docs, table=name, whole=f"only_{name}", parts=2 if name == "b" else 1)
    # a leaf's index can be named in a query of the whole: its statistics then
    docs.execute(BY_ROWS)
    leaf = docs.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'a'::regclass AND NOT indisprimary").fetchone()[0]
    named = f"elacsym.bm25query('lake', '{leaf}', 2)"
    found = docs.execute(f"SELECT id, body <@> {named} FROM docs WHERE id < 100 ORDER BY body <@> {named}").fetchall()
    close(found, scores(docs, "a", "lake"))


def test_own_uncommitted_rows_count_and_are_found(docs):
    with docs.transaction(force_rollback=True):
        fill(docs, 210, 30)
        docs.execute("DELETE FROM whole WHERE id < 20; DELETE FROM docs WHERE id < 20")
        agree(docs, queries=QUERIES[:3])
        with docs.transaction(force_rollback=True):
            fill(docs, 600, 30)
            agree(docs, queries=QUERIES[:2])
        agree(docs, queries=QUERIES[:2])
    agree(docs, queries=QUERIES[:3])


def test_updates_vacuum_and_other_sessions(docs, db):
    for sql in ("UPDATE {} SET body = 'lake and running w5' WHERE id % 9 = 0", "UPDATE {} SET id = id + 250 WHERE id BETWEEN 20 AND 40", "DELETE FROM {} WHERE id % 11 = 3"):
        for table in TABLES:
            docs.execute(sql.format(table))
    agree(docs, queries=QUERIES[:3], columns=["body"])
    # the same snapshot throughout, while others write
    with docs.transaction():
        docs.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        docs.execute(BY_INDEX)
        before = scores(docs, "docs", "lake")
        with db.connect() as other:
            fill(other, 220, 40)
            fill(other, 700, 5)
        again = scores(docs, "docs", "lake")
        assert {i for i, _ in again} == {i for i, _ in before}
        rising(again)
    agree(docs, queries=QUERIES[:3], columns=["body"])


def test_parameters_and_a_query_for_each_row(docs):
    values = ", ".join(f"('{query}')" for query in QUERIES)
    statement = "SELECT q, s FROM (VALUES {}) AS v (q), LATERAL (SELECT body <@> v.q AS s FROM {} ORDER BY body <@> v.q LIMIT 4) AS d ORDER BY 1, 2"
    docs.execute(BY_ROWS)
    expected = docs.execute(statement.format(values, "whole")).fetchall()
    for how in (BY_ROWS, BY_INDEX):
        docs.execute(how)
        found = docs.execute(statement.format(values, "docs")).fetchall()
        assert [q for q, _ in found] == [q for q, _ in expected]
        assert [s for _, s in found] == pytest.approx([s for _, s in expected], abs=1e-5)
    docs.execute(ANY)
    for binary in (False, True):
        best = "SELECT id FROM {} WHERE body IS NOT NULL ORDER BY body <@> %s LIMIT 1"
        assert docs.execute(best.format("docs"), ["w9 w10"], prepare=True, binary=binary).fetchall() == docs.execute(best.format("whole"), ["w9 w10"]).fetchall()
    # a text that is in no table, by the statistics of the whole
    text = "SELECT 'a lake, a river' <@> elacsym.bm25query('lake', '{}', 2)"
    right = docs.execute(text.format("whole_idx")).fetchone()[0]
    assert right < 0 and docs.execute(text.format("docs_idx")).fetchone()[0] == pytest.approx(right, abs=1e-5)


def test_parallel_workers_and_serializable_transactions(docs):
    docs.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
    statement = "SELECT id, body <@> 'lake river' FROM docs WHERE n <> 4"
    assert "Gather" in plan(docs, statement)
    expected = docs.execute(statement.replace("docs", "whole")).fetchall()
    close(docs.execute(statement).fetchall(), expected)
    docs.execute("SET max_parallel_workers_per_gather = 0; SET default_transaction_isolation = 'serializable'")
    with docs.transaction():
        agree(docs, queries=QUERIES[:2])
        fill(docs, 230, 5)
        agree(docs, queries=QUERIES[:2])


def test_a_cursor_goes_on_while_rows_come(docs, db):
    docs.execute(BY_INDEX)
    with docs.transaction():
        expected = scores(docs, "docs", "lake river")
        docs.execute("DECLARE c CURSOR FOR SELECT id, body <@> 'lake river' FROM docs ORDER BY body <@> 'lake river'")
        found = docs.execute("FETCH 20 FROM c").fetchall()
        with db.connect() as other:
            fill(other, 230, 40)
        found += docs.execute("FETCH ALL FROM c").fetchall()
    rising(found)
    close(found, expected)


def test_partitions_that_come_and_go(docs):
    docs.execute(f"CREATE TABLE e ({OTHER_COLUMNS}); ALTER TABLE e DROP gone")
    docs.execute("ALTER TABLE e DROP more")
    fill(docs, 1000, 60, ["e", "whole"])
    docs.execute("DELETE FROM whole WHERE id = 1000; DELETE FROM e WHERE id = 1000")
    docs.execute("ALTER TABLE docs ATTACH PARTITION e FOR VALUES FROM (1000) TO (2000)")
    # the new part was built of what is alive; without this the other one would still count a dead row
    docs.execute("REINDEX INDEX whole_idx")
    agree(docs, parts=6, columns=["body"])
    for change, gone, parts in (("ALTER TABLE docs DETACH PARTITION a", "id < 100", 5), ("DROP TABLE b", "id BETWEEN 100 AND 199", 3)):
        for sql in (change, f"DELETE FROM whole WHERE {gone}", "REINDEX INDEX whole_idx"):
            docs.execute(sql)
        agree(docs, parts=parts, columns=["body"])
    docs.execute("DROP TABLE c, d, e")
    assert docs.execute("SELECT id FROM docs ORDER BY body <@> 'lake'").fetchall() == []
    assert docs.execute("SELECT 'a lake' <@> elacsym.bm25query('lake', 'docs_idx', 2)").fetchone() == (0,)
    assert docs.execute("SELECT * FROM elacsym.search('docs_idx', NULL, 'lake')").fetchall() == []


def test_a_year_of_daily_partitions(conn):
    conn.execute("CREATE TABLE docs (id int, body text) PARTITION BY RANGE (id); CREATE TABLE whole (id int, body text)")
    conn.execute("DO $$ BEGIN FOR i IN 0..364 LOOP EXECUTE format('CREATE TABLE day_%s PARTITION OF docs FOR VALUES FROM (%s) TO (%s)', i, i * 5, i * 5 + 5); END LOOP; END $$")
    for table in TABLES:
        conn.execute(f"INSERT INTO {table} SELECT i, repeat('lake ', 1 + i % 7) || repeat('river ', i % 11) || 'w' || i / 50 FROM generate_series(0, 1824) i")
        conn.execute(f"CREATE INDEX {table}_idx ON {table} USING elacsym (body bm25_ops)")
    for how in (BY_INDEX, BY_ROWS):
        conn.execute(how)
        for query in ("lake", "river w7"):
            found = scores(conn, "docs", query, limit="LIMIT 4")
            rising(found)
            assert [s for _, s in found] == pytest.approx([s for _, s in scores(conn, "whole", query, limit="LIMIT 4")], abs=1e-5)
    conn.execute(BY_INDEX)
    assert plan(conn, "SELECT id FROM docs ORDER BY body <@> 'lake' LIMIT 4").count("Index Scan using") == 365


def test_an_index_that_some_partitions_lack_is_refused(docs):
    docs.execute("DROP INDEX docs_idx; CREATE INDEX docs_idx ON ONLY docs " + INDEX)
    statements = [
        "SELECT id FROM docs ORDER BY body <@> 'lake' LIMIT 3",
        "SELECT id, body <@> 'lake' FROM docs",
        "SELECT 'lake' <@> elacsym.bm25query('lake', 'docs_idx', 2)",
        "SELECT * FROM elacsym.search('docs_idx', NULL, 'lake')",
    ]

    def refused():
        for statement in statements:
            for how in (BY_INDEX, BY_ROWS):
                docs.execute(how)
                with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='index "docs_idx" is not valid') as caught:
                    docs.execute(statement)
                assert "ALTER INDEX" in caught.value.diag.message_hint
        docs.execute(ANY)

    refused()
    for table in ("a", "c", "d"):
        docs.execute(f"CREATE INDEX {table}_part ON {table} {INDEX}; ALTER INDEX docs_idx ATTACH PARTITION {table}_part")
    refused()
    docs.execute(f"CREATE INDEX b_part ON b {INDEX}; ALTER INDEX docs_idx ATTACH PARTITION b_part")
    agree(docs, queries=QUERIES[:3])
    # one part alone: what a crash in the middle of a concurrent build leaves
    docs.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'd_part'::regclass")
    for statement in statements:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='index "d_part" is not valid'):
            docs.execute(statement)
    docs.execute("REINDEX INDEX d_part")
    agree(docs, queries=QUERIES[:1])


def test_search_refuses_a_table_with_a_foreign_partition(conn):
    conn.execute("CREATE TABLE docs (id int, body text) PARTITION BY RANGE (id); CREATE TABLE near PARTITION OF docs FOR VALUES FROM (0) TO (100)")
    conn.execute("INSERT INTO docs SELECT i, 'a lake' FROM generate_series(1, 20) i")
    conn.execute("CREATE INDEX docs_idx ON docs USING elacsym (body bm25_ops)")
    conn.execute("CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing")
    conn.execute("CREATE FOREIGN TABLE far PARTITION OF docs FOR VALUES FROM (100) TO (200) SERVER nowhere")
    message = 'partition "far" of table "docs" is a foreign table'
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=message) as caught:
        conn.execute("SELECT * FROM elacsym.search('docs_idx', query_text => 'lake')")
    assert caught.value.diag.message_hint
    conn.execute("DROP FOREIGN TABLE far")
    assert conn.execute("SELECT count(*) FROM elacsym.search('docs_idx', query_text => 'lake')").fetchone()[0] == 10


def test_a_part_that_reads_text_otherwise_is_refused_for_scores_and_not_used_for_matches(docs):
    docs.execute("DROP INDEX docs_idx; CREATE INDEX docs_idx ON ONLY docs " + INDEX)
    for table in ("a", "b", "c", "d"):
        options = INDEX.replace("(k1", "(stemming = false, k1") if table == "d" else INDEX
        docs.execute(f"CREATE INDEX {table}_part ON {table} {options}; ALTER INDEX docs_idx ATTACH PARTITION {table}_part")
    expected = docs.execute("SELECT id FROM whole WHERE body @@@ 'running' ORDER BY id").fetchall()
    assert [i for (i,) in expected if i >= 300]
    for how in (BY_ROWS, BY_INDEX + "; SET enable_sort = on"):
        docs.execute(how)
        assert docs.execute("SELECT id FROM docs WHERE body @@@ 'running' ORDER BY id").fetchall() == expected
        for statement in ("SELECT id FROM docs ORDER BY body <@> 'running' LIMIT 3", "SELECT * FROM elacsym.search('docs_idx', NULL, 'running')"):
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='index "d_part" .* "docs_idx"'):
                docs.execute(statement)
    # the other column is the same everywhere; and so is the index by itself
    agree(docs, columns=["title"], queries=QUERIES[:3])
    assert docs.execute("SELECT * FROM elacsym.search('d_part', NULL, 'running', fields => '{\"body\": 1}')").fetchall() == []


def keys(conn, index, query, arguments=""):
    sql = f"SELECT key, score, text_score, text_rank FROM elacsym.search_keys('{index}', NULL, '{query}' {arguments}) ORDER BY text_rank"
    return [(tuple(json.loads(key)), *rest) for key, *rest in conn.execute(sql).fetchall()]


def test_search_scores_by_the_statistics_of_the_whole(docs):
    for query in QUERIES:
        for arguments in ("", ", k => 3", ", fields => '{\"body\": 3, \"title\": 1}', k => 1000", ', filter => \'{"field": "n", "op": "lt", "value": 4}\''):
            found, expected = keys(docs, "docs_idx", query, arguments), keys(docs, "whole_idx", query, arguments)
            assert len(found) == len(expected)
            for (_, score, text, rank), (_, right, right_text, right_rank) in zip(found, expected):
                assert (score, text, rank) == (pytest.approx(right, abs=1e-5), pytest.approx(right_text, abs=1e-5), right_rank)
    found = docs.execute("SELECT key, score FROM elacsym.search_keys('docs_idx', '[3,1]', 'lake', k => 500, candidates => 500, effort => 'infinity')").fetchall()
    assert {k for k, _ in found} == {k for k, _ in docs.execute("SELECT key, score FROM elacsym.search_keys('whole_idx', '[3,1]', 'lake', k => 500, candidates => 500, effort => 'infinity')")}
    # arguments are checked, whatever partitions there are
    with pytest.raises(psycopg.Error, match='full-text column "nope" does not exist'):
        keys(docs, "docs_idx", "lake", ', fields => \'{"nope": 1}\'')


# -- who may see what ----------------------------------------------------------------------------------------------------


@pytest.fixture
def people(docs, db):
    """Roles `…_alice` (owns everything) and `…_bob` (may read `docs`, no partition of it); a connection of bob's."""
    alice, bob = f"{db.name}_alice", f"{db.name}_bob"
    docs.execute(f"CREATE ROLE {alice}; CREATE ROLE {bob} LOGIN; GRANT USAGE, CREATE ON SCHEMA public TO {alice}")
    for table in ("whole", "docs", "a", "b", "b1", "b2", "c", "d"):
        docs.execute(f"ALTER TABLE {table} OWNER TO {alice}")
    docs.execute(f"GRANT SELECT ON docs, whole TO {bob}")
    with db.cluster.connect(db.name, user=bob) as connection:
        connection.execute("SET elacsym.effort = 'infinity'")
        yield alice, bob, connection
    docs.execute(f"DROP OWNED BY {alice}, {bob} CASCADE; DROP ROLE {alice}, {bob}")


def refused(conn, sql, what="permission denied"):
    with pytest.raises(DENIED, match=what), conn.transaction():
        conn.execute(sql)


def searched(conn, index="docs_idx", k=1000, words="lake river"):
    sql = f"SELECT key FROM elacsym.search_keys('{index}', '[3,1]', '{words}', k => {k})"
    found = [json.loads(key)[0] for (key,) in conn.execute(sql).fetchall()]
    assert len(found) == len(set(found))
    return set(map(int, found))


def selected(conn, table="docs", where="true"):
    return {i for (i,) in conn.execute(f"SELECT id FROM {table} WHERE {where}")}


LEAF_OF = "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am m ON m.oid = relam WHERE indrelid = %s::regclass AND amname = 'elacsym'"


def leaf_index(conn, table):
    return conn.execute(LEAF_OF, [table]).fetchone()[0]


def test_privileges_are_those_of_the_table_that_is_named(docs, people):
    _, bob, his = people
    everything = selected(docs)
    assert searched(his) == everything == selected(his)
    for table in ("a", "b", "b2"):
        refused(his, f"SELECT * FROM elacsym.search('{leaf_index(docs, table)}', '[3,1]')", f'table "{table}"')
    # the other way round
    docs.execute(f"REVOKE SELECT ON docs FROM {bob}; GRANT SELECT ON a, b TO {bob}")
    refused(his, "SELECT * FROM elacsym.search('docs_idx', '[3,1]')", 'table "docs"')
    assert searched(his, leaf_index(docs, "a")) == selected(docs, "a")
    assert searched(his, leaf_index(docs, "b")) == selected(docs, "b")
    # single columns: all that are indexed, and for keys those of the primary key
    docs.execute(f"GRANT SELECT (title, n, body, v) ON docs TO {bob}")
    assert len(his.execute("SELECT * FROM elacsym.search('docs_idx', '[3,1]', k => 1000)").fetchall()) == len(everything)
    refused(his, "SELECT * FROM elacsym.search_keys('docs_idx', '[3,1]')", 'table "docs"')
    docs.execute(f"GRANT SELECT (id) ON docs TO {bob}")
    assert searched(his) == everything
    # with policies too
    docs.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON docs USING (n = 3)")
    assert searched(his) == selected(his) == selected(docs, where="n = 3")


def test_a_schema_of_a_partition_needs_no_privilege(docs, people):
    _, _, his = people
    docs.execute("CREATE SCHEMA hidden; ALTER TABLE a SET SCHEMA hidden")
    assert searched(his) == selected(docs)
    docs.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON docs USING (n = 3)")
    assert searched(his) == selected(docs, where="n = 3")


def test_policies_are_those_of_the_table_that_is_named(docs, people):
    alice, bob, his = people
    docs.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
    assert searched(his) == selected(his) == set()
    docs.execute("CREATE POLICY few ON docs USING (n IN (3, 8))")
    # those of partitions do not count, neither more nor less
    docs.execute("ALTER TABLE a ENABLE ROW LEVEL SECURITY; ALTER TABLE b2 ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON a USING (true)")
    allowed = selected(docs, where="n IN (3, 8)")
    assert len(allowed) == 42
    his.execute("SET enable_seqscan = off")
    assert searched(his) == selected(his) == allowed
    assert {i for (i,) in his.execute("SELECT id FROM docs ORDER BY body <@> 'lake'")} == allowed
    # always k: as many as there are, however deep they lie (INV-7)
    assert len(searched(his, k=40)) == 40 and len(searched(his, k=5)) == 5
    nearest = his.execute("SELECT (v <-> '[3,1]')::real AS d FROM docs ORDER BY d LIMIT 5").fetchall()
    found = his.execute("SELECT vector_distance, vector_rank FROM elacsym.search('docs_idx', '[3,1]', k => 5) ORDER BY 2").fetchall()
    assert [(pytest.approx(d), r) for (d,), r in zip(nearest, range(1, 6))] == found
    # a partition by itself: its own policies
    docs.execute(f"GRANT SELECT ON a, b, b1, b2 TO {bob}")
    assert searched(his, leaf_index(docs, "a")) == selected(his, "a") == selected(docs, "a")
    assert searched(his, leaf_index(docs, "b2")) == selected(his, "b2") == set()
    assert searched(his, leaf_index(docs, "b")) == selected(his, "b") == selected(docs, "b")
    # one of the middle
    docs.execute("ALTER TABLE b ENABLE ROW LEVEL SECURITY; CREATE POLICY middle ON b USING (n = 7)")
    assert searched(his, leaf_index(docs, "b")) == selected(his, "b") == selected(docs, "b", "n = 7") != set()
    assert searched(his) == allowed
    # only partitions have policies: the whole has none
    docs.execute("ALTER TABLE docs DISABLE ROW LEVEL SECURITY")
    assert searched(his) == selected(his) == selected(docs)


def test_owners_bypass_force_and_row_security_off(docs, people):
    alice, bob, his = people
    docs.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON docs USING (n = 3)")
    docs.execute("ALTER TABLE a ENABLE ROW LEVEL SECURITY; ALTER TABLE a FORCE ROW LEVEL SECURITY")
    few, everything = selected(docs, where="n = 3"), selected(docs)

    def as_role(role):
        with docs.transaction():
            docs.execute(f"SET LOCAL ROLE {role}; SET LOCAL elacsym.effort = 'infinity'")
            found = searched(docs)
            assert found == selected(docs)
            return found

    assert as_role(alice) == everything
    docs.execute("ALTER TABLE docs FORCE ROW LEVEL SECURITY")
    assert as_role(alice) == few == as_role(bob)
    assert searched(docs) == everything
    docs.execute(f"ALTER ROLE {bob} BYPASSRLS")
    assert as_role(bob) == everything
    docs.execute(f"ALTER ROLE {bob} NOBYPASSRLS")
    his.execute("SET row_security = off")
    for sql in ("SELECT * FROM docs", "SELECT * FROM elacsym.search('docs_idx', '[3,1]')", "SELECT * FROM elacsym.search_keys('docs_idx', '[3,1]')"):
        refused(his, sql, 'query would be affected by row-level security policy for table "docs"')
    # nothing is hidden of the whole: no error because of a partition
    docs.execute("ALTER TABLE docs DISABLE ROW LEVEL SECURITY")
    assert searched(his) == everything


def test_policies_may_look_at_the_row_its_place_and_other_tables(docs, people):
    _, bob, his = people
    docs.execute(
        "CREATE TABLE may_read (who name, id int); INSERT INTO may_read SELECT 'nobody', i FROM generate_series(0, 500) i;"
        f"INSERT INTO may_read SELECT '{bob}', i FROM generate_series(0, 500, 3) i; GRANT SELECT ON may_read TO {bob};"
        "CREATE FUNCTION is_long(docs) RETURNS bool LANGUAGE sql AS $$ SELECT length($1.body) > 40 AND $1.n % 2 = 1 $$;"
        "ALTER TABLE docs ENABLE ROW LEVEL SECURITY"
    )
    cases = {
        "EXISTS (SELECT FROM may_read r WHERE r.who = current_user AND r.id = docs.id)": "id % 3 = 0",
        "is_long(docs)": "length(body) > 40 AND n % 2 = 1",
        "tableoid = 'b2'::regclass": "id BETWEEN 100 AND 199 AND n > 4",
        "docs.title <> '' AND id IN (SELECT r.id FROM may_read r WHERE r.who = current_user)": "title <> '' AND id % 3 = 0",
    }
    for policy, where in cases.items():
        docs.execute(f"CREATE POLICY p ON docs USING ({policy})")
        allowed = selected(docs, where=where)
        assert allowed & selected(docs, "b2") and allowed != selected(docs)
        assert searched(his) == selected(his) == allowed, policy
        assert len(searched(his, k=7)) == 7
        docs.execute("DROP POLICY p ON docs")
    # a restrictive one, and one of another role
    docs.execute(f"CREATE POLICY p ON docs USING (n < 5); CREATE POLICY q ON docs AS RESTRICTIVE USING (id > 100); CREATE POLICY o ON docs TO postgres USING (true)")
    assert searched(his) == selected(his) == selected(docs, where="n < 5 AND id > 100")
    # one that fails: its error, and nothing of it is left behind
    docs.execute("DROP POLICY p ON docs; DROP POLICY q ON docs; CREATE POLICY p ON docs USING (1 / (id - 50) IS NOT NULL)")
    with pytest.raises(psycopg.errors.DivisionByZero):
        searched(his)
    assert his.execute("SELECT count(*) FROM ONLY docs").fetchone() == (0,)
    docs.execute("DROP POLICY p ON docs; CREATE POLICY p ON docs USING (id > 50)")
    assert searched(his) == selected(his) == selected(docs, where="id > 50")
