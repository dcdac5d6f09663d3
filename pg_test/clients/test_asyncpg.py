"""asyncpg with pgvector's binary codec; inner product."""

import asyncio
import contextlib

import asyncpg
from pgvector.asyncpg import register_vector

import contract
from contract import HYBRID, HYBRID_KEYS, K

CONDITIONS = {
    "all": ("", []),
    "category": ("WHERE category = $2", ["db"]),
    "years": ("WHERE year >= $2 AND year < $3", [2010, 2015]),
    "either": ("WHERE category = ANY($2::text[])", [["web", "ml"]]),
    "rare": ("WHERE category = $2", ["rare"]),
    "like": ("WHERE body LIKE $2", ["%zebra%"]),
    "moved": ("WHERE category = $2", ["moved"]),
}


class Asyncpg:
    """asyncpg prepares everything. `pooled`: it keeps no statement, and what it does runs in transactions, so that what it prepares
    and what it executes meet in one session."""

    def __init__(self, app, pooled=False):
        self.app, self.pooled = app, pooled
        self.runner = asyncio.Runner()
        self.conn = self.runner.run(asyncpg.connect(database=app.database, statement_cache_size=0 if pooled else 100, **app.parameters()))

    def close(self):
        self.runner.run(self.conn.close())
        self.runner.close()

    def _run(self, work):
        async def in_transaction():
            async with self.conn.transaction():
                return await work

        return self.runner.run(in_transaction() if self.pooled else work)

    def create(self):
        self._run(self.conn.execute("CREATE EXTENSION IF NOT EXISTS vector"))
        if contract.OURS:
            self._run(self.conn.execute("CREATE EXTENSION IF NOT EXISTS elacsym"))
        self._run(register_vector(self.conn))
        self._run(self.conn.execute(f"CREATE TABLE items (id int PRIMARY KEY, body text NOT NULL, category text, year int, embedding vector({contract.DIM}))"))
        if not self.pooled:
            self._create_index()

    def _create_index(self):
        self._run(
            self.conn.execute(f"CREATE INDEX items_search ON items USING {contract.AM} ({contract.index_columns('ip')}) WITH ({contract.index_options()})")
        )

    def insert(self, rows):
        records = [(r.id, r.body, r.category, r.year, r.embedding) for r in rows]
        if self.pooled:
            self._run(self.conn.executemany("INSERT INTO items VALUES ($1, $2, $3, $4, $5)", records))
            self._create_index()
        else:
            self._run(self.conn.copy_records_to_table("items", records=records))

    def nearest(self, query, where):
        condition, values = CONDITIONS[where]
        statement = f"SELECT id, embedding <#> $1 AS distance FROM items {condition} ORDER BY embedding <#> $1 LIMIT {K}"
        return [tuple(r) for r in self._run(self.conn.fetch(statement, query, *values))]

    def generic(self, query):
        async def generic():
            async with self.conn.transaction():
                await self.conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
                return await self.conn.fetch("SELECT id, embedding <#> $1 FROM items ORDER BY embedding <#> $1 LIMIT $2", query, K)

        return [tuple(r) for r in self.runner.run(generic())]

    def update(self, id, embedding, category):
        self._run(self.conn.execute("UPDATE items SET embedding = $1, category = $2 WHERE id = $3", embedding, category, id))

    def delete(self, ids):
        self._run(self.conn.execute("DELETE FROM items WHERE id = ANY($1)", ids))

    def hybrid(self, query, words):
        return [tuple(r) for r in self._run(self.conn.fetch(HYBRID.format(index="items_search", table="items", q="$1", words="$2"), query, words))]

    def hybrid_keys(self, query, words):
        return [tuple(r) for r in self._run(self.conn.fetch(HYBRID_KEYS.format(index="items_search", q="$1", words="$2"), query, words))]


def through(app, pooled):
    with contextlib.closing(Asyncpg(app, pooled)) as client:
        contract.check(contract.run(client, app), "ip")
    assert app.check_plans("items_search", metric="ip") >= 2
    app.check_integrity("items_search")


def test_asyncpg(app):
    through(app, pooled=False)


def test_asyncpg_through_pgbouncer(pooled_app):
    through(pooled_app, pooled=True)
