"""PostgreSQL's own full-text search: a stored tsvector with GIN and ts_rank, or with RUM."""

from ..server import Server, installed
from .base import TextContender


class _StoredTsvector(TextContender):
    """The tsvector is stored, which is the favourable case: neither a search nor the build has to make it."""

    def prepare(self, server: Server, source: str) -> None:
        table = self.table(source)
        server.conn.execute(f"CREATE TABLE {table} (LIKE {source})")
        server.conn.execute(f"ALTER TABLE {table} ADD COLUMN tsv tsvector")
        server.conn.execute(f"INSERT INTO {table} SELECT id, embedding, body, to_tsvector('english', body) FROM {source}")
        server.conn.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
        server.conn.execute(f"VACUUM ANALYZE {table}")

    def question(self, words: list[str]) -> bytes:
        return " | ".join(words).encode()


class Gin(_StoredTsvector):
    """GIN finds every matching row; all are ranked."""

    key, title = "gin", "tsvector + GIN, ts_rank"

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return [f"CREATE INDEX {self.index(source)} ON {self.table(source)} USING gin (tsv)"]

    def statement(self, source: str, k: int) -> str:
        # In FROM the query is parsed once, not for each row that is ranked.
        return f"SELECT id FROM {self.table(source)}, to_tsquery('english', $1) q WHERE tsv @@ q ORDER BY ts_rank(tsv, q) DESC LIMIT {k}"


class Rum(_StoredTsvector):
    """RUM keeps positions and gives rows in the order of their rank."""

    key, title = "rum", "RUM"

    def missing(self, server: Server) -> str | None:
        if not installed("rum"):
            return "the extension rum is not installed"
        server.conn.execute("CREATE EXTENSION IF NOT EXISTS rum")
        return None

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return [f"CREATE INDEX {self.index(source)} ON {self.table(source)} USING rum (tsv rum_tsvector_ops)"]

    def statement(self, source: str, k: int) -> str:
        query = "to_tsquery('english', $1)"
        return f"SELECT id FROM {self.table(source)} WHERE tsv @@ {query} ORDER BY tsv <=> {query} LIMIT {k}"
