"""LangChain's PGVectorStore (langchain-postgres v2) with the index class of docs/clients.md."""

import json
import os
import uuid

import psycopg
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import HNSWQueryOptions
from steps import CONTRACT, GENERIC, K, URL, hybrid, run, sqlalchemy_url

documented: dict = {}
exec(os.environ["DOCUMENTED"], documented)

FILTERS = {
    "all": None,
    "category": {"category": "db"},
    "years": {"$and": [{"year": {"$gte": 2010}}, {"year": {"$lt": 2015}}]},
    "either": {"category": {"$in": ["web", "ml"]}},
    "rare": {"category": {"$eq": "rare"}},
    "moved": {"category": "moved"},
}


class Fake(Embeddings):
    """Knows the vectors of the documents it is asked for; the model is not what is tested."""

    vectors: dict[str, list[float]] = {}

    def embed_documents(self, texts):
        return [self.vectors[t] for t in texts]

    def embed_query(self, text):
        return self.vectors[text]


def open_store(query=""):
    return PGVectorStore.create_sync(
        engine=PGEngine.from_connection_string(sqlalchemy_url("psycopg", query)),
        table_name="items",
        embedding_service=Fake(),
        metadata_columns=["category", "year"],
        # LangChain sends it before every search as SET LOCAL
        index_query_options=HNSWQueryOptions(ef_search=60),
    )


class LangChain:
    def create(self):
        engine = PGEngine.from_connection_string(sqlalchemy_url("psycopg"))
        columns = [Column("category", "TEXT"), Column("year", "INTEGER")]
        engine.init_vectorstore_table("items", CONTRACT["dim"], metadata_columns=columns)
        self.store = open_store()

    def insert(self, rows):
        half = len(rows) // 2
        self._add(rows[:half])
        self.store.apply_vector_index(documented["ElacsymIndex"](name="items_search"), concurrently=True)
        self._add(rows[half:])
        self.store.reindex("items_search")
        assert self.store.is_valid_index("items_search")
        with psycopg.connect(URL, autocommit=True) as connection:
            connection.execute("ANALYZE items")

    def _add(self, rows):
        self.store.add_embeddings(
            [r["body"] for r in rows],
            [r["embedding"] for r in rows],
            [{"category": r["category"], "year": r["year"]} for r in rows],
            ids=[str(uuid.UUID(int=r["id"])) for r in rows],
        )

    def nearest(self, query, where, store=None):
        found = (store or self.store).similarity_search_with_score_by_vector(query, K, filter=FILTERS[where])
        return [(uuid.UUID(str(document.id)).int, score) for document, score in found]

    def generic(self, query):
        return self.nearest(query, "all", open_store(GENERIC))

    def update(self, row):
        # an id that is there is overwritten: INSERT … ON CONFLICT … DO UPDATE
        Fake.vectors[row["body"]] = row["embedding"]
        metadata = {"category": row["category"], "year": row["year"]}
        self.store.add_documents([Document(row["body"], metadata=metadata)], ids=[str(uuid.UUID(int=row["id"]))])

    def delete(self, ids):
        self.store.delete([str(uuid.UUID(int=id)) for id in ids])


seen = run(LangChain())
with psycopg.connect(URL, autocommit=True) as connection:
    found = hybrid(connection, "items_search", "items", "langchain_id")
seen |= {step: [(uuid.UUID(str(id)).int, score) for id, score in rows] for step, rows in found.items()}
print(json.dumps(seen))
