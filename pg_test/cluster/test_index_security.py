"""Who may see what through an index: privileges, row-level security, the extension's own tables (pitfalls 7)."""

import psycopg
import pytest

from harness.index_answers import fill, make

DENIED = psycopg.errors.InsufficientPrivilege
SEARCH = "SELECT d.id FROM elacsym.search('docs_idx', '[1,2,3,4]', k => {}, effort => 'infinity') s JOIN docs d ON d.ctid = s.ctid"


@pytest.fixture
def people(conn, db):
    """Roles `…_alice` (owns docs) and `…_bob` (nothing yet); a connection of bob's."""
    alice, bob = f"{db.name}_alice", f"{db.name}_bob"
    conn.execute(f"CREATE ROLE {alice}; CREATE ROLE {bob} LOGIN; GRANT USAGE, CREATE ON SCHEMA public TO {alice}")
    make(conn)
    conn.execute(f"ALTER TABLE docs OWNER TO {alice}")
    with db.cluster.connect(db.name, user=bob) as connection:
        yield alice, bob, connection
    conn.execute(f"DROP OWNED BY {alice}, {bob} CASCADE; DROP ROLE {alice}, {bob}")


def refused(conn, sql):
    with pytest.raises(DENIED) as caught, conn.transaction():
        conn.execute(sql)
    return caught.value.diag.message_primary


def test_search_wants_what_select_wants(conn, people):
    _, bob, his = people
    functions = [f"SELECT * FROM elacsym.{f}('docs_idx', '[1,2,3,4]', 'lake')" for f in ("search", "search_keys")]
    for sql in functions:
        assert 'table "docs"' in refused(his, sql)
        # by oid no name is looked up, so nothing but the function checks the schema
    conn.execute(f"GRANT SELECT ON docs TO {bob}")
    oid = conn.execute("SELECT 'docs_idx'::regclass::oid").fetchone()[0]
    for sql in functions:
        assert len(his.execute(sql).fetchall()) == 10
    conn.execute("CREATE SCHEMA hidden; ALTER TABLE docs SET SCHEMA hidden")
    assert "schema" in refused(his, f"SELECT * FROM elacsym.search({oid}, '[1,2,3,4]')")
    conn.execute(f"GRANT USAGE ON SCHEMA hidden TO {bob}")
    assert len(his.execute(f"SELECT * FROM elacsym.search({oid}, '[1,2,3,4]')").fetchall()) == 10
    conn.execute("ALTER TABLE hidden.docs SET SCHEMA public")
    # single columns: all that are indexed
    conn.execute(f"REVOKE SELECT ON docs FROM {bob}; GRANT SELECT (id, v, body) ON docs TO {bob}")
    refused(his, functions[0])
    conn.execute(f"GRANT SELECT (n) ON docs TO {bob}")
    for sql in functions:
        assert len(his.execute(sql).fetchall()) == 10
    # the primary key is given away by search_keys
    conn.execute(f"REVOKE SELECT (id) ON docs FROM {bob}")
    assert len(his.execute(functions[0]).fetchall()) == 10
    refused(his, functions[1])


def test_a_partial_index_or_one_on_an_expression_wants_its_columns_too(conn, people):
    """Who sees what an index with WHERE secret = 1 finds, knows of every row whether secret is 1."""
    _, bob, his = people
    conn.execute("DROP INDEX docs_idx; CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops) WHERE n < 5")
    conn.execute(f"GRANT SELECT (id, v) ON docs TO {bob}")
    refused(his, "SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')")
    conn.execute(f"GRANT SELECT (n) ON docs TO {bob}")
    assert his.execute("SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')").fetchall()
    conn.execute("DROP INDEX docs_idx; CREATE INDEX docs_idx ON docs USING elacsym (v vector_l2_ops, (lower(body)) bm25_ops)")
    refused(his, "SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')")
    conn.execute(f"GRANT SELECT (body) ON docs TO {bob}")
    assert his.execute("SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')").fetchall()


def test_nobody_else_reads_or_changes_the_extensions_tables(conn, people):
    _, bob, his = people
    conn.execute(f"GRANT SELECT ON docs TO {bob}")
    for table in ("wal", "segment", "namespace", "garbage"):
        for sql in (f"SELECT * FROM elacsym.{table}", f"DELETE FROM elacsym.{table}", f"TRUNCATE elacsym.{table}", f"SELECT count(*) FROM elacsym.{table}"):
            refused(his, sql)
    refused(his, "CREATE TABLE elacsym.mine ()")
    # views show only what is one's own
    assert his.execute("SELECT count(*) FROM elacsym.indexes").fetchone() == (0,)
    assert his.execute("SELECT count(*) FROM elacsym.segments").fetchone() == (0,)
    assert conn.execute("SELECT count(*) FROM elacsym.indexes").fetchone() == (1,)


def test_what_only_owners_may(conn, people):
    alice, bob, his = people
    conn.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON docs TO {bob}")
    fill(his, first=1000, rows=10)
    assert "owner" in refused(his, "SELECT elacsym.flush('docs_idx')")
    assert "owner" in refused(his, "SELECT * FROM elacsym.verify('docs_idx')")
    for sql in ("REINDEX INDEX docs_idx", "DROP INDEX docs_idx", "ALTER INDEX docs_idx SET (effort = 2)"):
        refused(his, sql)
    conn.execute(f"GRANT {alice} TO {bob}")
    assert his.execute("SELECT elacsym.flush('docs_idx')").fetchone()[0] >= 0
    his.execute("REINDEX INDEX docs_idx")


def ids(conn, sql):
    return {row[0] for row in conn.execute(sql)}


def test_row_level_security_holds_for_search_and_for_scans(conn, people):
    alice, bob, his = people
    conn.execute(f"GRANT SELECT ON docs TO {bob}; ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
    assert his.execute("SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]', 'lake')").fetchall() == []
    conn.execute("CREATE POLICY few ON docs USING (n = 3)")
    his.execute("SET enable_seqscan = off; SET elacsym.effort = 'infinity'")
    allowed = ids(conn, "SELECT id FROM docs WHERE n = 3")
    assert 5 < len(allowed) < 100
    ranked = ids(conn, "SELECT id FROM docs WHERE n = 3 AND v IS NOT NULL")
    assert ids(his, "SELECT id FROM docs ORDER BY v <-> '[1,2,3,4]'") == allowed
    assert ids(his, "SELECT id FROM docs WHERE body @@@ 'lake'") == ids(conn, "SELECT id FROM docs WHERE body @@@ 'lake' AND n = 3")
    # always k: as many as there are, however deep they lie (INV-7)
    assert ids(his, SEARCH.format(1000)) == ranked
    assert len(ids(his, SEARCH.format(4))) == 4
    nearest = his.execute("SELECT id FROM docs ORDER BY v <-> '[1,2,3,4]' LIMIT 4").fetchall()
    assert ids(his, SEARCH.format(4)) == {i for (i,) in nearest}
    # ranks count allowed rows only: they tell nothing of the others
    ranks = his.execute("SELECT vector_rank FROM elacsym.search('docs_idx', '[1,2,3,4]', k => 4)").fetchall()
    assert ranks == [(1,), (2,), (3,), (4,)]
    keys = his.execute("SELECT key FROM elacsym.search_keys('docs_idx', '[1,2,3,4]', k => 1000)").fetchall()
    assert {int(k) for (k,) in keys} <= allowed
    filtered = his.execute("SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]', filter => '{\"field\": \"n\", \"op\": \"eq\", \"value\": 4}')").fetchall()
    assert filtered == []
    # row_security = off: an error, never all rows
    his.execute("SET row_security = off")
    refused(his, "SELECT id FROM docs ORDER BY v <-> '[1,2,3,4]' LIMIT 1")
    refused(his, "SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')")
    his.execute("RESET row_security")
    # the owner sees everything, unless the table says otherwise
    with conn.transaction():
        conn.execute(f"SET LOCAL ROLE {alice}")
        everything = len(ids(conn, SEARCH.format(1000)))
        assert everything > len(ranked)
        conn.execute("ALTER TABLE docs FORCE ROW LEVEL SECURITY")
        assert ids(conn, SEARCH.format(1000)) == ranked
    # a superuser always
    assert len(ids(conn, SEARCH.format(1000))) == everything


def test_a_policy_is_not_told_values_of_rows_it_hides(conn, people):
    """A function of the user's that is not leakproof sees no hidden row, neither in a scan nor beside search."""
    _, bob, his = people
    conn.execute(
        f"GRANT SELECT ON docs TO {bob}; GRANT CREATE, USAGE ON SCHEMA public TO {bob};"
        "ALTER TABLE docs ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON docs USING (n = 3)"
    )
    seen = []
    his.add_notice_handler(lambda diag: seen.append(int(diag.message_primary)))
    his.execute("CREATE FUNCTION spy(int) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$")
    his.execute("SET enable_seqscan = off")
    his.execute("SELECT id FROM docs WHERE spy(n) ORDER BY v <-> '[1,2,3,4]'")
    his.execute("SELECT id FROM docs WHERE spy(n) AND body @@@ 'lake'")
    his.execute("SELECT d.id FROM elacsym.search('docs_idx', '[1,2,3,4]', k => 50) s JOIN docs d ON d.ctid = s.ctid WHERE spy(d.n)")
    assert seen and set(seen) == {3}


def test_a_security_definer_function_searches_with_its_owners_rights(conn, people):
    alice, bob, his = people
    conn.execute(
        "CREATE FUNCTION found() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, elacsym AS"
        " $$ SELECT count(*) FROM elacsym.search('docs_idx', '[1,2,3,4]') $$;"
        f"ALTER FUNCTION found() OWNER TO {alice}; GRANT EXECUTE ON FUNCTION found() TO {bob}"
    )
    refused(his, "SELECT * FROM elacsym.search('docs_idx', '[1,2,3,4]')")
    assert his.execute("SELECT found()").fetchone() == (10,)
