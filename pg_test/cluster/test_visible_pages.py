"""search() believes the visibility map: a row in a page that everybody sees is not looked at before it is part of the page of results. Whatever
changes the table, the answer is what the table's own rows give."""

import psycopg
import pytest

from harness.index_answers import fill, make

QUERY = "[0.1,0.2,0.3,0.4]"
# Ranks are those among visible rows, and each ctid is that of the version which the statement sees.
SEARCHED = f"""SELECT d.id, d.body, s.vector_rank FROM elacsym.search('docs_idx', '{QUERY}'::vector, k => 30, candidates => 40, effort => 'infinity') s
                 LEFT JOIN docs d ON d.ctid = s.ctid ORDER BY s.vector_rank"""
SORTED = f"""SELECT id, body, row_number() OVER (ORDER BY v <-> '{QUERY}', ctid)::int FROM docs WHERE v IS NOT NULL ORDER BY 3 LIMIT 30"""
# As VACUUM left it.
ALL_VISIBLE = "SELECT relallvisible, relpages FROM pg_class WHERE oid = 'docs'::regclass"


@pytest.fixture
def conn(new_cluster):
    cluster = new_cluster(config={"autovacuum": "off"})
    cluster.create_database("d")
    with cluster.connect("d") as conn:
        make(conn, rows=1000)
        conn.execute("ALTER TABLE docs ADD COLUMN note text; ALTER TABLE docs SET (fillfactor = 60)")
        conn.execute("VACUUM FULL docs")
        conn.execute("VACUUM docs")
        yield conn


def same(conn):
    """Sorted by the table itself: the tables' scans are left to it."""
    with conn.transaction():
        conn.execute("SET LOCAL enable_indexscan = off")
        assert conn.execute(SEARCHED).fetchall() == conn.execute(SORTED).fetchall()


def visible_pages(conn):
    return conn.execute(ALL_VISIBLE).fetchone()


def test_answers_are_those_of_the_table_whatever_its_pages_say(conn):
    visible, pages = visible_pages(conn)
    assert visible == pages > 5
    same(conn)
    near = f"(SELECT id FROM docs WHERE v IS NOT NULL ORDER BY v <-> '{QUERY}' LIMIT 20)"
    # a row that moved within its page, whose old place now leads to the new one
    with conn.transaction():
        assert conn.execute(f"UPDATE docs SET note = 'new' WHERE id IN {near}").rowcount == 20
        assert conn.execute("SELECT pg_stat_get_xact_tuples_hot_updated('docs'::regclass)").fetchone() == (20,)
    same(conn)
    conn.execute("VACUUM docs")
    assert visible_pages(conn)[0] == visible_pages(conn)[1]
    same(conn)
    # deleted: not vacuumed, vacuumed, and the places used again
    conn.execute(f"DELETE FROM docs WHERE id IN {near} AND id % 2 = 0")
    same(conn)
    conn.execute("VACUUM docs")
    same(conn)
    fill(conn, first=5000, rows=300)
    same(conn)
    conn.execute("VACUUM docs")
    assert visible_pages(conn)[0] == visible_pages(conn)[1]
    same(conn)


def test_each_transaction_sees_its_own_rows_of_pages_that_were_visible_to_all(conn):
    near = f"(SELECT id FROM docs WHERE v IS NOT NULL ORDER BY v <-> '{QUERY}' LIMIT 15)"
    info = conn.info

    def connect():
        return psycopg.connect(host=info.host, port=info.port, user=info.user, dbname=info.dbname)

    with connect() as old, connect() as writer:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        before = old.execute(SORTED).fetchall()
        writer.execute(f"DELETE FROM docs WHERE id IN {near}")
        # its own deletes, before and after the commit; others see them after it
        assert writer.execute(SEARCHED).fetchall() == writer.execute(SORTED).fetchall() != before
        same(conn)
        assert conn.execute(SEARCHED).fetchall() == before
        writer.commit()
        same(conn)
        assert conn.execute(SEARCHED).fetchall() != before
        conn.execute("VACUUM docs")
        fill(conn, first=7000, rows=100)
        conn.execute("VACUUM docs")
        same(conn)
        # the old snapshot keeps its rows, whatever VACUUM and the others did
        assert old.execute(SEARCHED).fetchall() == before
        old.commit()
        conn.execute("VACUUM docs")
        same(conn)
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        with connect() as other:
            other.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            assert other.execute(SEARCHED).fetchall() == conn.execute(SORTED).fetchall()
