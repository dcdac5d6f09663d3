"""psycopg 3 with pgvector's codec: text and binary parameters, COPY, pipeline, server-side prepared statements."""

import contextlib

import psycopg
import pytest
from pgvector.psycopg import register_vector

import contract
from contract import HYBRID, HYBRID_KEYS, K

CONDITIONS = {
    "all": ("", []),
    "category": ("WHERE category = %s", ["db"]),
    "years": ("WHERE year BETWEEN %s AND %s", [2010, 2014]),
    "either": ("WHERE category = ANY(%s)", [["web", "ml"]]),
    "rare": ("WHERE category = %s", ["rare"]),
    "like": ("WHERE body LIKE %s", ["%zebra%"]),
    "moved": ("WHERE category = %s", ["moved"]),
}


class Psycopg:
    """`pooled`: through a pooler that gives every transaction another session, so nothing may be prepared."""

    def __init__(self, app, pooled=False, binary=False):
        self.conn = psycopg.connect(dbname=app.database, autocommit=True, prepare_threshold=None if pooled else 5, **app.parameters())
        self.binary = binary

    def create(self):
        self.conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
        if contract.OURS:
            self.conn.execute("CREATE EXTENSION IF NOT EXISTS elacsym")
        register_vector(self.conn)
        self.conn.execute(f"CREATE TABLE items (id int PRIMARY KEY, body text NOT NULL, category text, year int, embedding vector({contract.DIM}))")

    def insert(self, rows):
        # half before the index exists, half after, in binary COPY
        half = len(rows) // 2
        self._copy(rows[:half])
        self.conn.execute(f"CREATE INDEX items_search ON items USING {contract.AM} ({contract.index_columns('cosine')}) WITH ({contract.index_options()})")
        self._copy(rows[half:])

    def _copy(self, rows):
        with self.conn.cursor().copy("COPY items FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text", "text", "int4", "vector"])
            for r in rows:
                copy.write_row([r.id, r.body, r.category, r.year, None if r.embedding is None else self._vector(r.embedding)])

    @staticmethod
    def _vector(values):
        from pgvector import Vector

        return Vector(values)

    def nearest(self, query, where):
        condition, values = CONDITIONS[where]
        statement = f"SELECT id, embedding <=> %s AS distance FROM items {condition} ORDER BY distance LIMIT {K}"
        return self.conn.execute(statement, [self._vector(query), *values], binary=self.binary).fetchall()

    def generic(self, query):
        with self.conn.transaction():
            self.conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            # a plain string has no type: the server must find that it is a vector
            return self.conn.execute("SELECT id, embedding <=> %s FROM items ORDER BY embedding <=> %s LIMIT %s", [str(query), str(query), K]).fetchall()

    def update(self, id, embedding, category):
        self.conn.execute("UPDATE items SET embedding = %s, category = %s WHERE id = %s", [self._vector(embedding), category, id])

    def delete(self, ids):
        with self.conn.cursor() as cursor:
            cursor.executemany("DELETE FROM items WHERE id = %s", [[id] for id in ids])

    def hybrid(self, query, words):
        return self.conn.execute(HYBRID.format(index="items_search", table="items", q="%s", words="%s"), [self._vector(query), words]).fetchall()

    def hybrid_keys(self, query, words):
        return self.conn.execute(HYBRID_KEYS.format(index="items_search", q="%s", words="%s"), [str(query), words]).fetchall()


def through(app, **kwargs):
    client = Psycopg(app, **kwargs)
    with contextlib.closing(client.conn):
        contract.check(contract.run(client, app))
        assert app.check_plans("items_search") >= 2
        app.check_integrity("items_search")


@pytest.mark.every_pg
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_psycopg(app, binary):
    through(app, binary=binary)


def test_psycopg_through_pgbouncer(pooled_app):
    through(pooled_app, pooled=True)


@pytest.mark.every_pg
def test_prepared_statement_with_a_generic_plan_follows_the_data(app):
    client = Psycopg(app)
    with contextlib.closing(client.conn) as conn:
        client.create()
        client.insert(contract.DATA)
        app.analyze()
        conn.execute("SET plan_cache_mode = force_generic_plan")
        search = f"SELECT id FROM items WHERE category = %s ORDER BY embedding <=> %s LIMIT {K}"
        for category in ("db", "web", "ml", "os", "rare", "none"):
            rows = [id for (id,) in conn.execute(search, [category, str(contract.QUERY)], prepare=True)]
            matching = [r for r in contract.DATA if r.category == category and r.embedding]
            assert len(rows) == min(K, len(matching)) and set(rows) <= {r.id for r in matching}
        conn.execute("INSERT INTO items VALUES (9000, 'new', 'none', 2020, %s)", [str(contract.QUERY)])
        assert conn.execute(search, ["none", str(contract.QUERY)], prepare=True).fetchall() == [(9000,)]
