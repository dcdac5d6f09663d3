"""A flush that is rolled back leaves nothing, not even in the engine's memory (its generation is used again)."""


def ids(conn):
    return sorted(row[0] for row in conn.execute("SELECT id FROM elacsym.query('ns', vector => '[1,0]', top_k => 100)"))


def test_the_delete_vector_of_a_rolled_back_flush_is_not_used_again(conn):
    conn.execute("""SELECT elacsym.create_namespace('ns', '{"vector_dim": 2, "vector_metric": "l2"}')""")
    conn.execute("SELECT elacsym.upsert('ns', i, format('[%s,1]', i)::vector) FROM generate_series(1, 10) i")
    conn.execute("SELECT elacsym.flush('ns')")
    conn.execute("BEGIN")
    conn.execute("SELECT elacsym.delete('ns', '{1}')")
    conn.execute("SELECT elacsym.flush('ns')")
    assert ids(conn) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    conn.execute("ROLLBACK")
    assert ids(conn) == list(range(1, 11))
    conn.execute("BEGIN")
    conn.execute("SELECT elacsym.delete('ns', '{2}')")
    conn.execute("SELECT elacsym.flush('ns')")
    assert ids(conn) == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    conn.execute("COMMIT")
    assert ids(conn) == [1, 3, 4, 5, 6, 7, 8, 9, 10]
