"""elacsym: an index on the table, and hybrid search in one call."""

import psycopg

from ..server import Server
from .base import BY_INDEX, CLASSES, Effort, HybridContender, TextContender, VectorContender


class _Index:
    uses_engine = True

    def index_bytes(self, server: Server, source: str) -> dict[str, int]:
        """`index`: search.idx in object storage and the relation; `rows`: the Parquet copy of the columns."""
        index = self.index(source)
        searched, rows = server.conn.execute(
            "SELECT coalesce(sum(index_bytes), 0)::bigint, coalesce(sum(parquet_bytes), 0)::bigint FROM elacsym.segments WHERE namespace = %s", [index]
        ).fetchone()
        return {"index": searched + server.value("SELECT pg_relation_size(%s::regclass)", [index]), "rows": rows}

    def settle(self, conn: psycopg.Connection, source: str) -> None:
        conn.execute("SELECT elacsym.flush(%s)", [self.index(source)])


class Elacsym(_Index, VectorContender):
    """The vector, and the two columns that filters use."""

    key, title = "elacsym", "elacsym"

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return [f"CREATE INDEX {self.index(source)} ON {self.table(source)} USING elacsym (embedding {CLASSES[metric]}, bucket, region)"]

    def efforts(self, rows: int) -> list[Effort]:
        return [Effort(f"effort {e:g}", {"elacsym.effort": str(e), **BY_INDEX}, e == 1) for e in (0.25, 0.5, 1, 2, 4, 8)]

    def filtered_efforts(self, rows: int) -> list[Effort]:
        return [e for e in self.efforts(rows) if e.label in ("effort 0.5", "effort 1", "effort 2", "effort 4")]


class ElacsymText(_Index, TextContender):
    """BM25 by the operators `@@@` and `<@>`. The index has the vector too: hybrid search is on the same one."""

    key, title = "elacsym", "elacsym BM25"

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return [f"CREATE INDEX {self.index(source)} ON {self.table(source)} USING elacsym (embedding {CLASSES[metric]}, body bm25_ops)"]

    def statement(self, source: str, k: int) -> str:
        return f"SELECT id FROM {self.table(source)} WHERE body @@@ $1 ORDER BY body <@> $1 LIMIT {k}"


class ElacsymHybrid(HybridContender):
    """`elacsym.search()` with both arms, or with one of them."""

    needs, uses_engine = "elacsym", True

    def __init__(self, vector: bool, text: bool):
        self.vector, self.text = vector, text
        self.key = {(True, True): "elacsym_hybrid", (True, False): "elacsym_vector_arm", (False, True): "elacsym_text_arm"}[vector, text]
        self.title = {(True, True): "elacsym.search(), both arms", (True, False): "its vector arm alone", (False, True): "its text arm alone"}[vector, text]

    def indexes(self, source: str) -> list[str]:
        # The plan shows a function, not the index.
        return []

    def statement(self, source: str, metric: str, k: int) -> str:
        table = f"{source}_{self.needs}"
        vector, text = ("$1" if self.vector else "NULL"), ("$2" if self.text else "NULL")
        search = f"elacsym.search('{table}_idx'::regclass, {vector}, {text}, k => {k})"
        return f"SELECT d.id FROM {search} s JOIN {table} d ON d.ctid = s.ctid ORDER BY s.score DESC"
