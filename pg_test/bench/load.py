"""The data set into two tables, once, in bounded memory: `items` for vectors and filters, `docs` for texts."""

import itertools

from . import copying
from .data import BLOCK, Dataset
from .filters import Attributes
from .server import Server

ITEMS, DOCS = "items", "docs"


def load_items(server: Server, dataset: Dataset) -> None:
    """`items (id, embedding, bucket, region)`."""
    server.conn.execute(f"CREATE TABLE {ITEMS} (id bigint, embedding vector({dataset.dim}), bucket integer, region integer)")
    attributes = None
    with server.conn.cursor() as cursor, cursor.copy(f"COPY {ITEMS} FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(copying.HEADER)
        for block in dataset.blocks():
            attributes = attributes or Attributes(block.vectors)
            copy.write(copying.items(block.ids, block.vectors, attributes.of(block.ids, block.vectors)))
        copy.write(copying.TRAILER)
    _finish(server, ITEMS)


def load_docs(server: Server, dataset: Dataset) -> None:
    """`docs (id, embedding, body)`: the first rows that have texts."""
    server.conn.execute(f"CREATE TABLE {DOCS} (id bigint, embedding vector({dataset.dim}), body text)")
    texts = dataset.texts()
    with server.conn.cursor() as cursor, cursor.copy(f"COPY {DOCS} FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(copying.HEADER)
        for block in itertools.islice(dataset.blocks(), -(-dataset.text_rows // BLOCK)):
            count = min(len(block.vectors), dataset.text_rows - block.first)
            copy.write(b"".join(copying.documents(block.ids[:count].tolist(), block.vectors[:count], itertools.islice(texts, count))))
        copy.write(copying.TRAILER)
    _finish(server, DOCS)


def _finish(server: Server, table: str) -> None:
    server.conn.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
    server.conn.execute(f"VACUUM ANALYZE {table}")
    server.conn.execute("CHECKPOINT")
