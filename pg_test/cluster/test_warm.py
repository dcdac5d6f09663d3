"""elacsym.warm() and elacsym.result_cache: who may, what it answers, that a repeated query is never stale."""

import json

import psycopg
import pytest

from harness import Cluster, wait_until
from harness.index_answers import make

pytestmark = pytest.mark.every_pg
DATABASE = "warm"


@pytest.fixture(scope="module")
def cluster():
    with Cluster("warm", config={"elacsym.flush_interval": "1h"}) as cluster:
        cluster.start()
        cluster.create_database(DATABASE)
        yield cluster


def results(conn) -> dict:
    return conn.execute("SELECT stats -> 'results' FROM elacsym.stat_engine").fetchone()[0]


def test_warm_says_what_is_at_hand_of_namespaces_and_indexes(cluster):
    with cluster.connect(DATABASE) as conn:
        conn.execute("SELECT elacsym.create_namespace('books', %s)", [json.dumps({"vector_dim": 3, "attributes": {"n": "int"}})])
        assert conn.execute("SELECT * FROM elacsym.warm('books')").fetchall() == [(0, 0)], "nothing there yet"
        documents = [{"id": n, "vector": [n, 1, 2], "attributes": {"n": n}} for n in range(200)]
        conn.execute("SELECT elacsym.upsert('books', %s)", [json.dumps(documents)])
        assert conn.execute("SELECT * FROM elacsym.warm('books')").fetchall() == [(0, 0)], "all of it is in the buffer"
        conn.execute("SELECT elacsym.flush('books')")
        (objects, size), = conn.execute("SELECT * FROM elacsym.warm('books')").fetchall()
        stored = conn.execute("SELECT sum(parquet_bytes + index_bytes)::bigint FROM elacsym.segments WHERE namespace = 'books'").fetchone()[0]
        assert objects == 2 and stored * 0.9 < size <= stored
        make(conn, "docs")
        (objects, size), = conn.execute("SELECT * FROM elacsym.warm('docs_idx')").fetchall()
        assert objects == 2 and size > 0


def test_whoever_may_not_read_may_not_warm(cluster):
    with cluster.connect(DATABASE) as conn:
        conn.execute("SELECT elacsym.create_namespace('secret', '{\"vector_dim\": 3}')")
        conn.execute("CREATE TABLE hidden (id int PRIMARY KEY, v vector(3))")
        conn.execute("CREATE INDEX hidden_idx ON hidden USING elacsym (v vector_l2_ops)")
        conn.execute("CREATE ROLE stranger")
        conn.execute("SET ROLE stranger")
        for target in ("secret", "hidden_idx"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("SELECT * FROM elacsym.warm(%s)", [target])
        with pytest.raises(psycopg.errors.Error, match="nowhere"):
            conn.execute("SELECT * FROM elacsym.warm('nowhere')")


def test_a_repeated_query_is_answered_from_memory_and_sees_every_write(cluster):
    with cluster.connect(DATABASE) as conn, cluster.connect(DATABASE) as other:
        conn.execute("SELECT elacsym.create_namespace('fresh', %s)", [json.dumps({"vector_dim": 2, "attributes": {"n": "int"}})])
        query = "SELECT id FROM elacsym.query('fresh', vector => '[1,0]', top_k => 3)"

        def put(session, key, x):
            session.execute("SELECT elacsym.upsert('fresh', %s)", [json.dumps([{"id": key, "vector": [x, 0.5]}])])

        def ids(session):
            return [key for key, in session.execute(query).fetchall()]

        for key in range(5):
            put(conn, key, 1 + key)
        assert ids(conn) == ids(conn)
        before = results(conn)["hits"]
        first = ids(conn)
        assert results(conn)["hits"] == before + 1
        # Own writes that are not committed are seen by nobody else, and are gone after a rollback.
        conn.autocommit = False
        conn.execute("SELECT elacsym.delete('fresh', %s)", [[first[0]]])
        assert first[0] not in ids(conn) and ids(other) == first
        conn.rollback()
        conn.autocommit = True
        assert ids(conn) == first
        other.execute("SELECT elacsym.delete('fresh', %s)", [[first[0]]])
        assert first[0] not in ids(conn)
        other.execute("SELECT elacsym.flush('fresh')")
        assert first[0] not in ids(conn)
        put(other, first[0], 1)
        assert first[0] in [key for key, in conn.execute(query.replace("top_k => 3", "top_k => 5")).fetchall()]


def test_the_result_cache_can_be_switched_off(cluster):
    with cluster.connect(DATABASE) as conn:
        conn.execute("ALTER SYSTEM SET elacsym.result_cache = 0")
        cluster.reload()
        conn.execute("SELECT elacsym.create_namespace('off', '{\"vector_dim\": 2}')")
        conn.execute("SELECT elacsym.upsert('off', '[{\"id\": 1, \"vector\": [1, 2]}]')")

        def off() -> bool:
            conn.execute("SELECT id FROM elacsym.query('off', vector => '[1,0]')").fetchall()
            before = results(conn)["hits"]
            conn.execute("SELECT id FROM elacsym.query('off', vector => '[1,0]')").fetchall()
            return results(conn)["hits"] == before

        wait_until(off)
        conn.execute("ALTER SYSTEM RESET elacsym.result_cache")
        cluster.reload()
