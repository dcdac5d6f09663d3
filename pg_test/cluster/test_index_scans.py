"""What scans of the index once got wrong, each in its smallest form."""


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
