"""VectorChord (IVF with RaBitQ codes) and VectorChord-BM25, where they are installed."""

from ..server import Server, installed
from .base import BY_INDEX, CLASSES, Effort, TextContender, VectorContender

ROWS_PER_LIST = 500
# Checks the filter before exact distances; its name has changed.
FILTERING = ("vchordrq.prefilter", "vchordrq.prererank_filtering")
ANALYZER = """
pre_tokenizer = "unicode_segmentation"
[[character_filters]]
to_lowercase = {}
[[token_filters]]
skip_non_alphanumeric = {}
[[token_filters]]
stopwords = "nltk_english"
[[token_filters]]
stemmer = "english_porter2"
"""


class VectorChord(VectorContender):
    """vchordrq with as many lists as its manual recommends for this number of rows."""

    key, title = "vchord", "VectorChord"

    def __init__(self):
        self._filtering: dict[str, str] = {}

    def missing(self, server: Server) -> str | None:
        if not installed("vchord"):
            return "the extension vchord is not installed"
        server.conn.execute("CREATE EXTENSION IF NOT EXISTS vchord")
        known = server.value("SELECT array_agg(name) FROM pg_settings WHERE name LIKE 'vchordrq.%'") or []
        self._filtering = next(({name: "on"} for name in FILTERING if name in known), {})
        return None

    @staticmethod
    def lists(rows: int) -> int:
        return max(10, rows // ROWS_PER_LIST)

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        spherical = "true" if metric == "cosine" else "false"
        options = f"residual_quantization = {'false' if metric == 'cosine' else 'true'}\n[build.internal]\nlists = [{self.lists(rows)}]\nspherical_centroids = {spherical}\n"
        return [f"CREATE INDEX {self.index(source)} ON {self.table(source)} USING vchordrq (embedding {CLASSES[metric]}) WITH (options = $${options}$$)"]

    def _efforts(self, rows: int, settings: dict[str, str]) -> list[Effort]:
        probes = sorted({max(1, round(self.lists(rows) * share)) for share in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)})
        return [Effort(f"probes {p}", {"vchordrq.probes": str(p), **settings, **BY_INDEX}) for p in probes]

    def efforts(self, rows: int) -> list[Effort]:
        return self._efforts(rows, {})

    def filtered_efforts(self, rows: int) -> list[Effort]:
        return self._efforts(rows, self._filtering)[1:5]


class VectorChordBm25(TextContender):
    """BM25 in PostgreSQL's pages, over token numbers that pg_tokenizer makes; stored, as the tsvector is."""

    key, title = "vchord_bm25", "VectorChord-BM25"

    def missing(self, server: Server) -> str | None:
        for extension in ("pg_tokenizer", "vchord_bm25"):
            if not installed(extension):
                return f"the extension {extension} is not installed"
            server.conn.execute(f"CREATE EXTENSION IF NOT EXISTS {extension} CASCADE")
        return None

    def prepare(self, server: Server, source: str) -> None:
        table = self.table(source)
        server.conn.execute(f"CREATE TABLE {table} (LIKE {source})")
        server.conn.execute(f"ALTER TABLE {table} ADD COLUMN tokens bm25_catalog.bm25vector")
        server.conn.execute("SELECT tokenizer_catalog.create_text_analyzer(%s, %s)", [f"{table}_analyzer", ANALYZER])
        server.conn.execute(
            "SELECT tokenizer_catalog.create_custom_model_tokenizer_and_trigger(tokenizer_name => %s, model_name => %s,"
            " text_analyzer_name => %s, table_name => %s, source_column => 'body', target_column => 'tokens')",
            [f"{table}_tokenizer", f"{table}_model", f"{table}_analyzer", table],
        )
        server.conn.execute(f"INSERT INTO {table} (id, embedding, body) SELECT id, embedding, body FROM {source}")
        server.conn.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
        server.conn.execute(f"VACUUM ANALYZE {table}")

    def build_statements(self, source: str, rows: int, metric: str) -> list[str]:
        return [f"CREATE INDEX {self.index(source)} ON {self.table(source)} USING bm25 (tokens bm25_catalog.bm25_ops)"]

    def statement(self, source: str, k: int) -> str:
        tokens = f"tokenizer_catalog.tokenize($1, '{self.table(source)}_tokenizer')::bm25_catalog.bm25vector"
        query = f"bm25_catalog.to_bm25query('{self.index(source)}'::regclass, {tokens})"
        return f"SELECT id FROM {self.table(source)} ORDER BY tokens OPERATOR(bm25_catalog.<&>) {query} LIMIT {k}"
