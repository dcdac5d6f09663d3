"""Rows in the binary format of COPY, and values in that of parameters."""

import struct
from collections.abc import Iterable, Iterator

import numpy as np

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)


def vector(values: np.ndarray) -> bytes:
    """A value of type `vector`."""
    return struct.pack(">hh", len(values), 0) + values.astype(">f4").tobytes()


def items(ids: np.ndarray, vectors: np.ndarray, attributes: dict[str, np.ndarray]) -> bytes:
    """Rows `(bigint, vector, integer, integer)`: all have one length, so a block is one array."""
    dim = vectors.shape[1]
    row = [("columns", ">i2"), ("id_length", ">i4"), ("id", ">i8")]
    row += [("vector_length", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("vector", ">f4", (dim,))]
    for name in attributes:
        row += [(f"{name}_length", ">i4"), (name, ">i4")]
    rows = np.zeros(len(ids), dtype=row)
    rows["columns"] = 2 + len(attributes)
    rows["id_length"], rows["id"] = 8, ids
    rows["vector_length"], rows["dim"], rows["vector"] = 4 + 4 * dim, dim, vectors
    for name, values in attributes.items():
        rows[f"{name}_length"], rows[name] = 4, values
    return rows.tobytes()


def documents(ids: Iterable[int], vectors: np.ndarray, texts: Iterable[str]) -> Iterator[bytes]:
    """Rows `(bigint, vector, text)`."""
    for id_, row, text in zip(ids, vectors, texts):
        value, body = vector(row), text.replace("\0", "").encode()
        yield struct.pack(">hiq", 3, 8, id_) + struct.pack(">i", len(value)) + value + struct.pack(">i", len(body)) + body
