"""pgvector: HNSW, IVFFlat, and hybrid search written in SQL over HNSW and GIN."""

import math

from ..server import Server
from .base import BY_INDEX, CLASSES, OPERATORS, Effort, HybridContender, VectorContender

# The defaults of pgvector, and of the comparisons that others publish.
M, EF_CONSTRUCTION = 16, 64
# Rows of each arm that are fused, as elacsym does by default; HNSW gives no more than ef_search.
CANDIDATES = 100
RRF_K = 60


class Hnsw(VectorContender):
    """HNSW with its default parameters; filters by an iterative scan in relaxed order, the faster of the two."""

    key, title = "hnsw", "pgvector HNSW"

    def missing(self, server: Server) -> str | None:
        return None if server.has_access_method("hnsw") else "the extension vector has no hnsw"

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return [f"CREATE INDEX {self.index(source)} ON {self.table(source)} USING hnsw (embedding {CLASSES[metric]}) WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"]

    def efforts(self, rows: int) -> list[Effort]:
        return [Effort(f"ef_search {ef}", {"hnsw.ef_search": str(ef), **BY_INDEX}, ef == 40) for ef in (20, 40, 80, 160, 320, 640)]

    def filtered_efforts(self, rows: int) -> list[Effort]:
        scan = {"hnsw.iterative_scan": "relaxed_order", "hnsw.scan_mem_multiplier": "4"}
        steps = ((40, 20_000), (80, 20_000), (160, 40_000), (320, 100_000), (640, 200_000))
        return [
            Effort(f"ef_search {ef}, max_scan_tuples {most:,}", {"hnsw.ef_search": str(ef), "hnsw.max_scan_tuples": str(most), **scan, **BY_INDEX}, ef == 40)
            for ef, most in steps
        ]


class IvfFlat(VectorContender):
    """IVFFlat with the number of lists that pgvector's manual recommends."""

    key, title = "ivfflat", "pgvector IVFFlat"

    def missing(self, server: Server) -> str | None:
        return None if server.has_access_method("ivfflat") else "the extension vector has no ivfflat"

    @staticmethod
    def lists(rows: int) -> int:
        return max(10, rows // 1000 if rows <= 1_000_000 else math.isqrt(rows))

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return [f"CREATE INDEX {self.index(source)} ON {self.table(source)} USING ivfflat (embedding {CLASSES[metric]}) WITH (lists = {self.lists(rows)})"]

    def efforts(self, rows: int) -> list[Effort]:
        return [Effort(f"probes {probes}", {"ivfflat.probes": str(probes), **BY_INDEX}) for probes in self._probes(rows)]

    def filtered_efforts(self, rows: int) -> list[Effort]:
        scan = {"ivfflat.iterative_scan": "relaxed_order"}
        return [Effort(f"probes {probes}", {"ivfflat.probes": str(probes), **scan, **BY_INDEX}) for probes in self._probes(rows)[-5:]]

    def _probes(self, rows: int) -> list[int]:
        lists = self.lists(rows)
        return sorted({max(1, round(lists * share)) for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)})


class HnswGin(HybridContender):
    """Reciprocal rank fusion in SQL, as the manual of pgvector shows it, over HNSW and GIN on one table."""

    key, title, needs = "hnsw_gin", "HNSW + GIN, fused in SQL", "gin"

    def missing(self, server: Server) -> str | None:
        return None if server.has_access_method("hnsw") else "the extension vector has no hnsw"

    def efforts(self) -> list[Effort]:
        return [Effort("", {"hnsw.ef_search": str(CANDIDATES), **BY_INDEX}, True)]

    def indexes(self, source: str) -> list[str]:
        return [f"{source}_gin_idx", f"{source}_gin_hnsw_idx"]

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return [f"CREATE INDEX {source}_gin_hnsw_idx ON {source}_gin USING hnsw (embedding {CLASSES[metric]}) WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"]

    def statement(self, source: str, metric: str, k: int) -> str:
        table = f"{source}_gin"
        return f"""
            WITH near AS (
                SELECT id, row_number() OVER (ORDER BY distance) AS rank
                  FROM (SELECT id, embedding {OPERATORS[metric]} $1 AS distance FROM {table} ORDER BY distance LIMIT {CANDIDATES}) v),
            matching AS (
                SELECT id, row_number() OVER (ORDER BY score DESC) AS rank
                  FROM (SELECT id, ts_rank(tsv, q) AS score FROM {table}, to_tsquery('english', $2) q
                         WHERE tsv @@ q ORDER BY score DESC LIMIT {CANDIDATES}) t)
            SELECT id FROM near FULL JOIN matching USING (id)
             ORDER BY coalesce(1.0 / ({RRF_K} + near.rank), 0) + coalesce(1.0 / ({RRF_K} + matching.rank), 0) DESC LIMIT {k}"""

    def question(self, words: list[str]) -> bytes:
        return " | ".join(words).encode()
