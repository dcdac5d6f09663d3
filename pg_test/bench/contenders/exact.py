"""No index on the vector: every row is compared."""

from ..filters import Filter
from ..server import Server
from .base import OPERATORS, Effort, VectorContender


class SequentialScan(VectorContender):
    """Reads the loaded table itself; where a filter leaves few rows, the planner may take them by a b-tree and sort them. In the insert
    part it is the table without an index besides its primary key."""

    key, title = "exact", "no index (exact)"
    has_index = False

    def table(self, source: str) -> str:
        return source

    def prepare(self, server: Server, source: str) -> None:
        """The loaded table is ready."""

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return []

    def index_bytes(self, server: Server, source: str) -> dict[str, int]:
        return {"index": 0}

    def efforts(self, rows: int) -> list[Effort]:
        return [Effort("exact", {}, True)]

    def statement(self, source: str, metric: str, k: int, filter_: Filter) -> str:
        return f"SELECT id FROM {self.table(source)} {filter_.sql}ORDER BY embedding {OPERATORS[metric]} $1 LIMIT {k}"

    def before_filters(self, server: Server, source: str) -> None:
        """The b-trees that a filter could use."""
        for column in ("bucket", "region"):
            server.conn.execute(f"CREATE INDEX IF NOT EXISTS {source}_{column} ON {source} ({column})")
        server.conn.execute(f"ANALYZE {source}")

    def before_inserts(self, server: Server, source: str) -> None:
        for column in ("bucket", "region"):
            server.conn.execute(f"DROP INDEX IF EXISTS {source}_{column}")
