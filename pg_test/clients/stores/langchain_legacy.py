"""LangChain's first PGVector: it makes no index, its users make one by hand on its table."""

import json

import psycopg
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_postgres import PGVector
from steps import CONTRACT, GENERIC, K, URL, hybrid, run, sqlalchemy_url

FILTERS = {
    "all": None,
    "category": {"category": "db"},
    "years": {"$and": [{"year": {"$gte": 2010}}, {"year": {"$lt": 2015}}]},
    "either": {"category": {"$in": ["web", "ml"]}},
    "rare": {"category": {"$eq": "rare"}},
    "moved": {"category": "moved"},
}


def open_store(query=""):
    return PGVector(
        DeterministicFakeEmbedding(size=CONTRACT["dim"]), connection=sqlalchemy_url("psycopg", query), embedding_length=CONTRACT["dim"], use_jsonb=True
    )


class Legacy:
    def create(self):
        self.store = open_store()
        with psycopg.connect(URL, autocommit=True) as connection:
            text = ", document bm25_ops" if CONTRACT["ours"] else ""
            if CONTRACT["ours"]:
                connection.execute("CREATE EXTENSION IF NOT EXISTS elacsym")
            connection.execute(f"CREATE INDEX items_search ON langchain_pg_embedding USING {CONTRACT['am']} (embedding vector_cosine_ops{text})")

    def insert(self, rows):
        self.store.add_embeddings(
            [r["body"] for r in rows],
            [r["embedding"] for r in rows],
            [{"category": r["category"], "year": r["year"]} for r in rows],
            ids=[str(r["id"]) for r in rows],
        )
        with psycopg.connect(URL, autocommit=True) as connection:
            connection.execute("ANALYZE")

    def nearest(self, query, where, store=None):
        found = (store or self.store).similarity_search_with_score_by_vector(query, K, filter=FILTERS[where])
        return [(int(document.id), distance) for document, distance in found]

    def generic(self, query):
        return self.nearest(query, "all", open_store(GENERIC))

    def update(self, row):
        self.insert([row])

    def delete(self, ids):
        self.store.delete([str(id) for id in ids])


seen = run(Legacy())
with psycopg.connect(URL, autocommit=True) as connection:
    seen |= hybrid(connection, "items_search", "langchain_pg_embedding", "id")
print(json.dumps(seen))
