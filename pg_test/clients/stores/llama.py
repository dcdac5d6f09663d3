"""LlamaIndex's PGVectorStore, whose DDL says `USING hnsw` and nothing else: the setting of docs/clients.md answers it."""

import json
import os

import psycopg
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters, VectorStoreQuery
from llama_index.vector_stores.postgres import PGVectorStore
from steps import CONTRACT, GENERIC, K, URL, hybrid, run, sqlalchemy_url

TABLE = "data_items"  # LlamaIndex puts data_ in front
INDEX = "data_items_embedding_idx"

FILTERS = {
    "all": [],
    "category": [MetadataFilter(key="category", value="db")],
    "years": [MetadataFilter(key="year", value=2010, operator=FilterOperator.GTE), MetadataFilter(key="year", value=2015, operator=FilterOperator.LT)],
    "either": [MetadataFilter(key="category", value=["web", "ml"], operator=FilterOperator.IN)],
    "rare": [MetadataFilter(key="category", value="rare")],
    "moved": [MetadataFilter(key="category", value="moved")],
}


def open_store(query=""):
    return PGVectorStore(
        connection_string=sqlalchemy_url("psycopg2", query),
        async_connection_string=sqlalchemy_url("asyncpg"),
        table_name="items",
        schema_name="public",
        embed_dim=CONTRACT["dim"],
        hybrid_search=True,
        use_halfvec=os.environ.get("HALFVEC") == "1",
        hnsw_kwargs={"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 60},
        # without it, an index that could not be created is a line in the log
        initialization_fail_on_error=True,
    )


class LlamaIndex:
    def create(self):
        with psycopg.connect(URL, autocommit=True) as connection:
            if CONTRACT["ours"]:
                connection.execute("CREATE EXTENSION IF NOT EXISTS elacsym CASCADE")
            connection.execute(os.environ["DOCUMENTED"].replace("DATABASE app", f'DATABASE "{connection.info.dbname}"').encode())
        self.store = open_store()

    def insert(self, rows):
        self.store.add([self._node(r) for r in rows])
        with psycopg.connect(URL, autocommit=True) as connection:
            connection.execute("ANALYZE")

    @staticmethod
    def _node(row):
        return TextNode(id_=str(row["id"]), text=row["body"], metadata={"category": row["category"], "year": row["year"]}, embedding=row["embedding"])

    def nearest(self, query, where, store=None):
        filters = MetadataFilters(filters=FILTERS[where]) if FILTERS[where] else None
        found = (store or self.store).query(VectorStoreQuery(query_embedding=query, similarity_top_k=K, filters=filters))
        return [(int(id), 1 - similarity) for id, similarity in zip(found.ids, found.similarities)]

    def generic(self, query):
        return self.nearest(query, "all", open_store(GENERIC))

    def update(self, row):
        self.store.delete_nodes([str(row["id"])])
        self.store.add([self._node(row)])

    def delete(self, ids):
        self.store.delete_nodes([str(id) for id in ids])


seen = run(LlamaIndex())
if CONTRACT["ours"]:
    with psycopg.connect(URL, autocommit=True) as connection:
        # its own index knows no text: hybrid search wants one that does
        connection.execute(os.environ["DOCUMENTED_HYBRID"].encode())
        seen |= hybrid(connection, "items_search", TABLE, "node_id")
        # search_keys() answers with the primary key, which is LlamaIndex's own number
        numbers = {str(id): node for id, node in connection.execute(f"SELECT id, node_id FROM {TABLE}")}
        seen["hybrid keys"] = [(numbers[key], score) for key, score in seen["hybrid keys"]]
print(json.dumps(seen))
