"""The index access method in one go: build, insert, search both ways, filters, vacuum."""

import random
import re

import pytest

from harness import wait_until


def vector(rng, dim=8):
    return [round(rng.uniform(-1, 1), 4) for _ in range(dim)]


def text(v):
    return "[" + ",".join(map(str, v)) + "]"


pytestmark = pytest.mark.every_pg


@pytest.fixture
def docs(conn):
    rng = random.Random(7)
    words = ["postgres", "vector", "search", "index", "lake", "river", "mountain", "cloud", "storage", "query"]
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, embedding vector(8), body text, category text, year int, tags text[])")
    rows = []
    for i in range(2000):
        rows.append((
            i, text(vector(rng)) if i % 50 else None, " ".join(rng.choices(words, k=6)) if i % 31 else None,
            rng.choice(["a", "b", "c", None]), rng.randint(2000, 2025), rng.sample(words, 2),
        ))
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO docs VALUES (%s, %s, %s, %s, %s, %s)", rows)
    conn.execute("ANALYZE docs")
    conn.execute("CREATE INDEX docs_idx ON docs USING elacsym (embedding vector_cosine_ops, body bm25_ops, category, year, tags)")
    return rng


def both_ways(conn, query, ordered=True):
    """The answer through the index and by a sequential scan, both checked for their plan."""
    def run(settings):
        with conn.transaction():
            for name, value in settings.items():
                conn.execute(f"SET LOCAL {name} = {value}")
            plan = "\n".join(row[0] for row in conn.execute("EXPLAIN " + query))
            return plan, conn.execute(query).fetchall()

    plan, fast = run({"enable_seqscan": "off", "enable_sort": "off", "elacsym.effort": "'infinity'"})
    assert "using docs_idx" in plan or "on docs_idx" in plan, plan
    plan, slow = run({"enable_indexscan": "off", "enable_bitmapscan": "off"})
    assert "Index" not in plan, plan
    if ordered:
        assert [row[0] for row in fast] == pytest.approx([row[0] for row in slow], abs=1e-5, nan_ok=True)
        assert sorted(map(repr, (row[1:] for row in fast))) == sorted(map(repr, (row[1:] for row in slow)))
    else:
        assert sorted(map(repr, fast)) == sorted(map(repr, slow))
    return fast


def check_everything(conn, rng):
    q = text(vector(rng))
    for where in ("true", "category = 'a'", "year >= 2020", "year IN (2001, 2002)", "category IS NULL", "year = 2010 AND category = 'b'",
                  "tags @> '{lake}'", "tags && '{lake,cloud}'", "body @@@ 'postgres'", "body @@@ '+lake -cloud'", "category < 'b'",
                  "embedding IS NOT NULL", "category <> 'a'", "id < 100"):
        both_ways(conn, f"SELECT embedding <=> '{q}', id FROM docs WHERE {where} ORDER BY 1")
    for where in ("true", "category = 'a'", "body @@@ 'storage'"):
        both_ways(conn, f"SELECT body <@> 'postgres lake', id FROM docs WHERE {where} ORDER BY 1")
    for where in ("body @@@ 'postgres lake'", "year = 2010", "tags && '{river}' AND year < 2010"):
        both_ways(conn, f"SELECT id FROM docs WHERE {where}", ordered=False)


def test_the_index_answers_as_the_table_does(conn, docs):
    check_everything(conn, docs)
    rng = docs
    conn.execute("DELETE FROM docs WHERE id % 7 = 0")
    conn.execute("UPDATE docs SET embedding = %s WHERE id %% 11 = 0", (text(vector(rng)),))
    conn.execute("INSERT INTO docs SELECT 5000 + i, '[1,2,3,4,5,6,7,8]', 'fresh postgres text', 'a', 2025, '{lake}' FROM generate_series(1, 50) i")
    check_everything(conn, rng)
    conn.execute("VACUUM docs")
    check_everything(conn, rng)
    conn.execute("INSERT INTO docs SELECT 6000 + i, '[8,2,3,4,5,6,7,8]', 'reused slot', 'c', 2001, '{cloud}' FROM generate_series(1, 300) i")
    check_everything(conn, rng)
    conn.execute("SELECT elacsym.flush('docs_idx')")
    check_everything(conn, rng)
    conn.execute("DELETE FROM docs WHERE id % 3 = 0")
    conn.execute("VACUUM docs")
    check_everything(conn, rng)
    conn.execute("REINDEX INDEX docs_idx")
    check_everything(conn, rng)
    conn.execute("REINDEX INDEX CONCURRENTLY docs_idx")
    check_everything(conn, rng)


def test_hybrid_search_returns_visible_rows(conn, docs):
    rows = conn.execute(
        "SELECT d.id, s.score, s.vector_rank, s.text_rank FROM elacsym.search('docs_idx', '[1,0,0,0,0,0,0,0]', 'postgres lake', k => 5) s"
        " JOIN docs d ON d.ctid = s.ctid ORDER BY s.score DESC"
    ).fetchall()
    assert len(rows) == 5
    conn.execute("UPDATE docs SET id = id + 100000 WHERE id = %s", (rows[0][0],))
    again = conn.execute(
        "SELECT d.id FROM elacsym.search('docs_idx', '[1,0,0,0,0,0,0,0]', 'postgres lake', k => 5) s"
        " JOIN docs d ON d.ctid = s.ctid ORDER BY s.score DESC"
    ).fetchall()
    assert again[0][0] == rows[0][0] + 100000
    keys = conn.execute("SELECT key FROM elacsym.search_keys('docs_idx', '[1,0,0,0,0,0,0,0]', 'postgres lake', k => 5)").fetchall()
    assert [int(key) for (key,) in keys] == [row[0] for row in again]


def vacuum(conn):
    """VACUUM until it has removed dead rows: a snapshot beside it, of autovacuum's ANALYZE for example, keeps them for a moment."""
    said = []

    def removed():
        conn.execute("VACUUM (VERBOSE) docs")
        return any(re.search(r"tuples: [1-9]\d* removed", message) for message in said)

    def listen(diag):
        said.append(diag.message_primary)

    conn.add_notice_handler(listen)
    wait_until(removed, "VACUUM to remove rows", timeout=20)
    conn.remove_notice_handler(listen)


def test_tombstones_are_folded_into_delete_vectors(conn, docs):
    conn.execute("DELETE FROM docs WHERE id % 4 = 0")
    vacuum(conn)
    wait_until(lambda: conn.execute("SELECT dead_rows FROM elacsym.indexes").fetchone()[0] == 500, timeout=20)
    check_everything(conn, docs)
    # slots are used again, by rows whose entries are younger than what was folded
    conn.execute("INSERT INTO docs SELECT 8000 + i, '[8,2,3,4,5,6,7,8]', 'reused lake', 'c', 2001, '{cloud}' FROM generate_series(1, 400) i")
    check_everything(conn, docs)
    conn.execute("VACUUM docs")
    conn.execute("DELETE FROM docs WHERE id > 8100")
    vacuum(conn)
    wait_until(lambda: conn.execute("SELECT dead_rows FROM elacsym.indexes").fetchone()[0] >= 800
               or conn.execute("SELECT count(*) FROM elacsym.wal").fetchone()[0] == 0, timeout=20)
    check_everything(conn, docs)


def test_folding_waits_for_an_older_transaction_and_then_happens_by_itself(conn, docs, db):
    conn.execute("CREATE TABLE elsewhere (i int)")
    conn.execute("DELETE FROM docs WHERE id % 4 = 0")
    with db.connect() as other, other.transaction():
        other.execute("INSERT INTO elsewhere VALUES (1)")  # has a transaction id, and nothing to do with the index
        vacuum(conn)
        conn.execute("SELECT pg_sleep(1)")
        assert conn.execute("SELECT dead_rows FROM elacsym.indexes").fetchone() == (0,)
    wait_until(lambda: conn.execute("SELECT dead_rows FROM elacsym.indexes").fetchone()[0] == 500, timeout=20)
    check_everything(conn, docs)


def test_the_old_objects_of_a_rebuilt_index_go(conn, docs):
    (before,) = conn.execute("SELECT incarnation FROM elacsym.indexes").fetchone()
    (old,) = conn.execute("SELECT array_agg(key) FROM elacsym.segments, unnest(objects) key").fetchone()
    with conn.transaction(force_rollback=True):
        conn.execute("REINDEX INDEX docs_idx")
    assert conn.execute("SELECT incarnation FROM elacsym.indexes").fetchone() == (before,)
    check_everything(conn, docs)
    conn.execute("REINDEX INDEX docs_idx")
    wait_until(lambda: conn.execute("SELECT count(*) FROM elacsym.namespace").fetchone()[0] == 1, timeout=20)
    assert conn.execute("SELECT incarnation FROM elacsym.indexes").fetchone() != (before,)
    assert len(old) >= 2
    assert conn.execute("SELECT count(*) FROM elacsym.garbage WHERE key = ANY (%s)", (old,)).fetchone()[0] == len(old)
    check_everything(conn, docs)
    conn.execute("DROP INDEX docs_idx")
    wait_until(lambda: conn.execute("SELECT count(*) FROM elacsym.namespace").fetchone()[0] == 0, timeout=20)


def test_options_of_an_index(conn, docs):
    conn.execute("DROP INDEX docs_idx")
    conn.execute("CREATE INDEX docs_idx ON docs USING elacsym (embedding vector_l2_ops, category)"
                 " WITH (recall_target = 0.99, lists = 40, flush_rows = 100, flush_bytes = 1024, flush_interval = 3600000)")
    assert conn.execute("SELECT (schema #>> '{vector,lists}')::int FROM elacsym.indexes").fetchone() == (40,)
    conn.execute("INSERT INTO docs SELECT 9000 + i, '[1,2,3,4,5,6,7,8]', 'x', 'a', 2025, '{}' FROM generate_series(1, 99) i")
    conn.execute("SELECT pg_sleep(1.5)")
    assert conn.execute("SELECT buffered FROM elacsym.indexes").fetchone() == (99,), "the index's own interval is an hour"
    conn.execute("INSERT INTO docs VALUES (9999, '[1,2,3,4,5,6,7,8]', 'x', 'a', 2025, '{}')")
    wait_until(lambda: conn.execute("SELECT buffered FROM elacsym.indexes").fetchone() == (0,), timeout=20)
    q = text(vector(docs))
    both_ways(conn, f"SELECT embedding <-> '{q}', id FROM docs WHERE category = 'a' ORDER BY 1")


def test_halfvec_columns(conn):
    """With the real pgvector; the stand-in has no halfvec, and then there is no class for it either."""
    rng = random.Random(3)
    has_type = conn.execute("SELECT to_regtype('halfvec') IS NOT NULL").fetchone()[0]
    classes = {name for (name,) in conn.execute(
        "SELECT opcname FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod WHERE amname = 'elacsym' AND opcname LIKE 'halfvec%'")}
    assert classes == ({"halfvec_l2_ops", "halfvec_ip_ops", "halfvec_cosine_ops"} if has_type else set())
    for name, operator in (("l2", "<->"), ("ip", "<#>"), ("cosine", "<=>")) if has_type else ():
        conn.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, embedding halfvec(8))")
        with conn.cursor() as cur:
            cur.executemany(f"INSERT INTO {name} VALUES (%s, %s)", [(i, text(vector(rng))) for i in range(500)])
        conn.execute(f"CREATE INDEX docs_idx_{name} ON {name} USING elacsym (embedding halfvec_{name}_ops)".replace("docs_idx_", "docs_idx_half"))
        conn.execute(f"INSERT INTO {name} VALUES (1000, '[1,2,3,4,5,6,7,8]')")
        q = text(vector(rng))
        with conn.transaction():
            conn.execute("SET LOCAL enable_seqscan = off")
            conn.execute("SET LOCAL enable_sort = off")
            assert "docs_idx_half" in "\n".join(r for (r,) in conn.execute(f"EXPLAIN SELECT id FROM {name} ORDER BY embedding {operator} '{q}'"))
            fast = conn.execute(f"SELECT embedding {operator} '{q}' FROM {name} ORDER BY embedding {operator} '{q}'").fetchall()
        with conn.transaction():
            conn.execute("SET LOCAL enable_indexscan = off")
            slow = conn.execute(f"SELECT embedding {operator} '{q}' FROM {name} ORDER BY embedding {operator} '{q}'").fetchall()
        assert [d for (d,) in fast] == pytest.approx([d for (d,) in slow], abs=1e-5)
        assert len(fast) == 501
