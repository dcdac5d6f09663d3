"""What every contender says of itself. Each works on a table of its own, so that no planner has to choose between two contenders' indexes
and no insert pays for another's."""

import dataclasses

import psycopg

from ..filters import Filter
from ..server import Server

OPERATORS = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
CLASSES = {"cosine": "vector_cosine_ops", "l2": "vector_l2_ops", "ip": "vector_ip_ops"}
# Nothing else than the index is to be used, also where a small table could as well be read.
BY_INDEX = {"enable_seqscan": "off"}


@dataclasses.dataclass(frozen=True)
class Effort:
    """One point of a curve: the settings of a session."""

    label: str
    settings: dict[str, str]
    is_default: bool = False


class Contender:
    """Base of all contenders. `key` is the word in BENCH_CONTENDERS and in names of tables, `title` the name in tables of the report."""

    key: str
    title: str
    uses_engine = False
    # Whether it has an index, which the plan must then use.
    has_index = True

    def missing(self, server: Server) -> str | None:
        """Why it cannot run on this server, or None."""
        return None

    def table(self, source: str) -> str:
        return f"{source}_{self.key}"

    def index(self, source: str) -> str:
        return f"{self.table(source)}_idx"

    def prepare(self, server: Server, source: str) -> None:
        """Makes the contender's table out of the loaded one."""
        table = self.table(source)
        server.conn.execute(f"CREATE TABLE {table} (LIKE {source})")
        server.conn.execute(f"INSERT INTO {table} SELECT * FROM {source}")
        server.conn.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
        server.conn.execute(f"VACUUM ANALYZE {table}")

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        """The statements that are timed as the build."""
        raise NotImplementedError

    def index_bytes(self, server: Server, source: str) -> dict[str, int]:
        """Bytes of the index, by part; `index` is what a search reads besides the table."""
        return {"index": server.value("SELECT pg_relation_size(%s::regclass)", [self.index(source)])}

    def settle(self, conn: psycopg.Connection, source: str) -> None:
        """Finishes what inserts have left to be done."""



class VectorContender(Contender):
    """Finds nearest vectors."""

    def before_filters(self, server: Server, source: str) -> None:
        """Makes what only searches with a filter need."""

    def before_inserts(self, server: Server, source: str) -> None:
        """Removes it again."""

    def efforts(self, rows: int) -> list[Effort]:
        """From least to most."""
        raise NotImplementedError

    def filtered_efforts(self, rows: int) -> list[Effort]:
        """Those for searches with a filter."""
        return self.efforts(rows)

    def statement(self, source: str, metric: str, k: int, filter_: Filter) -> str:
        """`$1` is the vector."""
        return f"SELECT id FROM {self.table(source)} {filter_.sql}ORDER BY embedding {OPERATORS[metric]} $1 LIMIT {k}"


class TextContender(Contender):
    """Finds the best documents for some words, any of which is enough."""

    def efforts(self) -> list[Effort]:
        return [Effort("", BY_INDEX, True)]

    def statement(self, source: str, k: int) -> str:
        """`$1` is the text."""
        raise NotImplementedError

    def question(self, words: list[str]) -> bytes:
        """The parameter of the statement."""
        return " ".join(words).encode()


class HybridContender(Contender):
    """Joins the best by vector and the best by words."""

    # Key of the contender for text whose table it uses.
    needs: str

    def efforts(self) -> list[Effort]:
        return [Effort("", BY_INDEX, True)]

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        """Those for indexes that the contender for text does not have."""
        return []

    def indexes(self, source: str) -> list[str]:
        """The indexes that its plan must use."""
        raise NotImplementedError

    def statement(self, source: str, metric: str, k: int) -> str:
        """`$1` is the vector, `$2` the text."""
        raise NotImplementedError

    def question(self, words: list[str]) -> bytes:
        return " ".join(words).encode()
