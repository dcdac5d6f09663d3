"""The statements of clients that are not run here (Rails' neighbor, Supabase's functions, Kysely, hand-written SQL), as they send them.

Each must use the index, which its own count of scans tells, and give the answer of a sequential scan, at most one row missed.
"""

import pytest

from harness import pg_major

import contract
from contract import QUERY
from test_psycopg import Psycopg

pytestmark = pytest.mark.every_pg

Q = str(QUERY)
MATCH = """CREATE FUNCTION match_documents(query_embedding vector, match_threshold float, match_count int)
    RETURNS TABLE (id int, similarity float) LANGUAGE {language} STABLE AS $${begin}
    SELECT items.id, 1 - (items.embedding <=> query_embedding) FROM items
    WHERE 1 - (items.embedding <=> query_embedding) > match_threshold
    ORDER BY items.embedding <=> query_embedding LIMIT match_count; {end}$$"""

# what it is → (statement, its values); the first column is the id, in the order that counts
STATEMENTS = {
    "neighbor": (
        f"""SELECT "items"."id", "items"."embedding" <=> '{Q}' AS neighbor_distance FROM "items" WHERE "items"."embedding" IS NOT NULL
            ORDER BY "items"."embedding" <=> '{Q}' LIMIT 5""",
        [],
    ),
    "cast": ("SELECT id, embedding::text FROM items ORDER BY embedding <=> %s::vector LIMIT 5", [Q]),
    "schema of the operator": ("SELECT id FROM items ORDER BY embedding OPERATOR(public.<=>) %s LIMIT 5", [Q]),
    "operands the other way round": ("SELECT id FROM items ORDER BY %s <=> embedding LIMIT 5", [Q]),
    "array": ("SELECT id FROM items ORDER BY embedding <=> %s::real[]::vector LIMIT 5", [QUERY]),
    "query from a CTE": ("WITH q AS (SELECT %s::vector AS v) SELECT id FROM items ORDER BY embedding <=> (SELECT v FROM q) LIMIT 5", [Q]),
    "like this row": ("SELECT id FROM items WHERE id <> 7 ORDER BY embedding <=> (SELECT embedding FROM items WHERE id = 7) LIMIT 5", []),
    "ties by id": ("SELECT id FROM items ORDER BY embedding <=> %s, id LIMIT 5", [Q]),
    "second page": ("SELECT id FROM items ORDER BY embedding <=> %s LIMIT 5 OFFSET 5", [Q]),
    "subquery": ("SELECT id FROM (SELECT * FROM items ORDER BY embedding <=> %s LIMIT 20) near WHERE year > 2000 LIMIT 5", [Q]),
    "lateral": (
        """SELECT near.id FROM (VALUES (1), (2), (3)) AS q (id) JOIN items AS asked USING (id)
            CROSS JOIN LATERAL (SELECT items.id FROM items ORDER BY items.embedding <=> asked.embedding LIMIT 3) AS near""",
        [],
    ),
    "function in SQL": ("SELECT id, similarity FROM match_sql(%s, 0.1, 5)", [Q]),
    "function in PL/pgSQL": ("SELECT id, similarity FROM match_plpgsql(%s, 0.1, 5)", [Q]),
}

# PostgreSQL 18 takes the distance from the index and sorts ties; 16 and older cannot, and sort all rows.
SINCE = {"ties by id": 17}


@pytest.fixture
def conn(app):
    client = Psycopg(app)
    with client.conn as conn:
        client.create()
        client.insert(contract.DATA)
        # as many again, on the other side
        conn.execute("INSERT INTO items SELECT id + 10000, body, category, year, embedding - embedding - embedding FROM items")
        conn.execute(MATCH.format(language="sql", begin="", end="").replace("match_documents", "match_sql"))
        conn.execute(MATCH.format(language="plpgsql", begin="BEGIN RETURN QUERY", end="END ").replace("match_documents", "match_plpgsql"))
        app.analyze()
        yield conn


def scans(conn):
    """How often the index was scanned, as far as this transaction knows."""
    return conn.execute("SELECT pg_stat_get_xact_numscans('items_search'::regclass)").fetchone()[0]


def test_statements_of_other_clients(app, conn):
    wrong = {}
    for what, (statement, values) in STATEMENTS.items():
        with conn.transaction():
            conn.execute("SET LOCAL enable_indexscan = off")
            exact = [row[0] for row in conn.execute(statement, values)]
        assert len(exact) in (5, 9), what
        for attempt in range(7):  # from the sixth execution on, PL/pgSQL may plan generically
            with conn.transaction():
                before = scans(conn)
                answer = [row[0] for row in conn.execute(statement, values)]
                missed = len(answer) != len(exact) or len(set(exact) - set(answer)) > 1
                if missed or (scans(conn) == before and pg_major() >= SINCE.get(what, 0)):
                    wrong[what, attempt] = answer, exact, scans(conn) - before
    assert wrong == {}
    app.check_integrity("items_search")


def test_cursor_goes_on_where_it_stopped(app, conn):
    rows = [(r.id, r.embedding) for r in contract.DATA if r.embedding]
    rows += [(id + 10000, [-x for x in embedding]) for id, embedding in rows]
    exact = sorted((contract.distance("cosine", embedding, QUERY), id) for id, embedding in rows)[:60]
    with conn.transaction():
        before = scans(conn)
        cursor = conn.cursor(name="near")  # DECLARE … CURSOR, without a LIMIT
        cursor.itersize = 7
        cursor.execute("SELECT id, embedding <=> %s FROM items WHERE embedding IS NOT NULL ORDER BY embedding <=> %s", [Q, Q])
        rows = [cursor.fetchone() for _ in range(60)]
        cursor.close()
        assert scans(conn) > before
    assert [d for _, d in rows] == sorted(d for _, d in rows)
    assert len({id for id, _ in rows} & {id for _, id in exact}) >= (57 if contract.OURS else 20)


def test_the_primary_key_is_still_used(app, conn):
    for statement in ("SELECT * FROM items WHERE id = 1", "SELECT embedding <=> '%s' FROM items WHERE id = 1 ORDER BY 1 LIMIT 1" % Q):
        plan = conn.execute("EXPLAIN (FORMAT JSON) " + statement).fetchone()[0]
        assert contract.indexes_of(plan) == {"items_pkey"}
