"""Comparing what an elacsym index answers with what its table says."""

import contextlib
import random

DIM = 4
WORDS = ("postgres", "vector", "search", "index", "lake", "river", "mountain", "cloud")


def fill(conn, table: str = "docs", rows: int = 200, first: int = 1, seed: int = 1, columns: str = "id, v, body, n") -> None:
    """Adds rows to a table with `id int, v vector(4), body text, n int`; some vectors and texts are NULL."""
    rng = random.Random(seed * 7919 + first)
    with conn.cursor() as cur:
        cur.executemany(
            f"INSERT INTO {table} ({columns}) VALUES (%s, %s, %s, %s)",
            [
                (
                    i,
                    str([round(rng.uniform(-1, 1), 3) for _ in range(DIM)]) if i % 23 else None,
                    " ".join(rng.choices(WORDS, k=4)) if i % 17 else None,
                    rng.randint(0, 9),
                )
                for i in range(first, first + rows)
            ],
        )


def make(conn, table: str = "docs", rows: int = 200, index: bool = True, options: str = "") -> None:
    """A table with such rows and, if so wanted, the index `<table>_idx` on all of it."""
    conn.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v vector({DIM}), body text, n int)")
    fill(conn, table, rows)
    conn.execute(f"ANALYZE {table}")
    if index:
        conn.execute(f"CREATE INDEX {table}_idx ON {table} USING elacsym (v vector_l2_ops, body bm25_ops, n) {options}")


@contextlib.contextmanager
def settings(conn, **values):
    """The settings, inside a transaction or savepoint that is rolled back: the caller only reads."""
    with conn.transaction(force_rollback=True):
        for name, value in values.items():
            conn.execute(f"SET LOCAL {name} = '{value}'")
        yield


def by_index(conn, query: str, index: str | None) -> list[tuple]:
    """The rows by the index, exactly; the plan must name it (`None`: any index)."""
    with settings(conn, enable_seqscan="off", enable_sort="off", enable_incremental_sort="off", **{"elacsym.effort": "infinity"}):
        plan = "\n".join(row[0] for row in conn.execute("EXPLAIN " + query))
        assert (f"using {index} " in plan or f"on {index} " in plan) if index else "Index Scan " in plan, plan
        return conn.execute(query).fetchall()


def by_table(conn, query: str) -> list[tuple]:
    """The rows by reading the table."""
    with settings(conn, enable_indexscan="off", enable_bitmapscan="off", enable_indexonlyscan="off"):
        plan = "\n".join(row[0] for row in conn.execute("EXPLAIN " + query))
        assert "Index" not in plan, plan
        return conn.execute(query).fetchall()


def same(conn, query: str, index: str | None = "docs_idx") -> list[tuple]:
    """Both ways give the same rows; with a number first and ORDER BY 1, in the same order of it. Returns the rows."""
    fast, slow = by_index(conn, query, index), by_table(conn, query)
    if "ORDER BY 1" in query:

        def close(a, b):
            return a == b if a is None or b is None else a == b or (a != a and b != b) or abs(a - b) < 1e-4

        assert len(fast) == len(slow) and all(close(a[0], b[0]) for a, b in zip(fast, slow)), difference(fast, slow)
        fast, slow = ([row[1:] for row in rows] for rows in (fast, slow))
    assert sorted(map(repr, fast)) == sorted(map(repr, slow)), difference(fast, slow)
    return fast


def difference(fast, slow) -> str:
    """What each side has alone."""
    a, b = sorted(map(repr, fast)), sorted(map(repr, slow))
    return f"index has {len(a)} rows, table {len(b)}; only index: {[x for x in a if x not in b][:5]}; only table: {[x for x in b if x not in a][:5]}"


def check(conn, table: str = "docs", index: str | None = None, text: bool = True, filters: bool = True, schema: str = "", query: str = "[0.1,0.2,0.3,0.4]") -> int:
    """Everything the table holds is found through its index, once; returns the number of rows. Calls `elacsym.verify()` where
    there is one."""
    index = f"{table}_idx" if index is None else index or None
    rows = same(conn, f"SELECT v <-> '{query}', id, n FROM {table} ORDER BY 1", index)
    if filters:
        same(conn, f"SELECT v <-> '{query}', id FROM {table} WHERE n < 4 ORDER BY 1", index)
        same(conn, f"SELECT id FROM {table} WHERE n = 3", index)
    if text:
        same(conn, f"SELECT id FROM {table} WHERE body @@@ 'postgres lake'", index)
    verify(conn, f"{schema}.{index}" if schema and index else index)
    return len(rows)


def verify(conn, index: str | None) -> None:
    """`elacsym.verify()` finds nothing, where it exists. It may want a transaction that sees the present."""
    exists = conn.execute("SELECT count(*) FROM pg_proc WHERE proname = 'verify' AND pronamespace = 'elacsym'::regnamespace").fetchone()[0]
    if exists and index and conn.execute("SHOW transaction_isolation").fetchone()[0] == "read committed":
        found = conn.execute("SELECT * FROM elacsym.verify(%s)", [index]).fetchall()
        assert found == [], found[:5]


def lives(conn) -> list[str]:
    """The incarnations in the catalog."""
    return [row[0] for row in conn.execute("SELECT id::text FROM elacsym.namespace WHERE kind = 'i' ORDER BY created_at")]


def objects(conn) -> list[tuple]:
    """(root, key) of every object that a segment refers to."""
    return conn.execute(
        "SELECT replace(info ->> 'root', 'pgdata:', 'file://' || current_setting('data_directory') || '/'), (info ->> 'path') || '/search.idx' FROM elacsym.segment"
    ).fetchall()
