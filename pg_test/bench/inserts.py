"""Changing tables that have their index already: inserts in batches, single rows with a commit each, and VACUUM."""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from . import copying
from .contenders import VectorContender
from .data import Dataset
from .load import ITEMS
from .runner import BINARY
from .server import Server

BATCH = 1000
# Rows made ready for each contender; it ends early when they are used up.
MOST_ROWS = 200_000
# Different vectors among them.
VECTORS = 50_000
COLUMNS = ("bigint", "vector", "integer", "integer")
# Ids of inserted rows begin above every loaded one.
FIRST_ID = 1 << 40


class Writer:
    """A session that inserts into the table of one contender, by prepared statements of one row and of a batch."""

    def __init__(self, server: Server, contender: VectorContender, vectors: np.ndarray):
        self.server, self.contender, self.vectors = server, contender, vectors
        self.table = contender.table(ITEMS)
        self.conn = server.connect()
        self.conn.execute("SET synchronous_commit = on")
        for name, rows in (("one", 1), ("batch", BATCH)):
            values = ", ".join("(" + ", ".join(f"${row * len(COLUMNS) + c + 1}" for c in range(len(COLUMNS))) + ")" for row in range(rows))
            self.conn.execute(f"PREPARE {name}({', '.join(COLUMNS * rows)}) AS INSERT INTO {self.table} VALUES {values}".encode())
        self.used = 0

    def _values(self, count: int) -> Iterator[bytes]:
        for row in range(self.used, self.used + count):
            yield (FIRST_ID + row).to_bytes(8, "big")
            yield copying.vector(self.vectors[row % len(self.vectors)])
            yield (row % 1000).to_bytes(4, "big")
            yield (row % 1000).to_bytes(4, "big")

    def ready(self, count: int) -> list[bytes]:
        """The parameters of the next rows; made before the clock runs."""
        values = list(self._values(count))
        self.used += count
        return values

    def insert(self, name: str, values: list[bytes]) -> None:
        """One statement, which commits by itself."""
        result = self.conn.pgconn.exec_prepared(name.encode(), values, [BINARY] * len(values), BINARY)
        if result.error_message:
            raise RuntimeError(f"INSERT INTO {self.table}: {result.error_message.decode(errors='replace')}")

    def close(self) -> None:
        self.conn.close()


def measure(server: Server, contenders: Sequence[VectorContender], dataset: Dataset, seconds: float) -> list[dict]:
    """For each contender: rows a second, processor time and WAL of a row. Turns as in `measure.interleave`, but each one ends with the
    contender's own work done (a flush), which counts; so the costs of all processes belong to the contender whose turn it is."""
    vectors = dataset.inserts(VECTORS)
    for contender in contenders:
        contender.before_inserts(server, ITEMS)
    writers = [Writer(server, contender, vectors) for contender in contenders]
    server.conn.execute("CHECKPOINT")
    found = [{"contender": c.title, "key": c.key} for c in contenders]
    for kind, rows in (("batch", BATCH), ("one", 1)):
        totals = [{"rows": 0, "insert_seconds": 0.0, "seconds": 0.0, "cpu": 0.0, "wal": 0} for _ in writers]
        turns = 2
        for turn in range(turns):
            # forth, and back
            order = list(range(len(writers)))[:: 1 if turn % 2 == 0 else -1]
            for which in order:
                _turn(server, writers[which], kind, rows, seconds / turns, totals[which])
        for entry, total in zip(found, totals):
            entry[kind] = {
                "rows": total["rows"],
                "rows_per_second": total["rows"] / total["insert_seconds"],
                "rows_per_second_settled": total["rows"] / total["seconds"],
                "cpu_ms_per_row": total["cpu"] / total["rows"] * 1e3,
                "wal_bytes_per_row": total["wal"] / total["rows"],
            }
    for writer in writers:
        writer.close()
    return found


def _turn(server: Server, writer: Writer, name: str, rows: int, seconds: float, total: dict) -> None:
    used = 0.0
    with server.cost() as cost:
        while used < seconds and writer.used + rows <= MOST_ROWS:
            values = writer.ready(rows)
            started = time.perf_counter()
            writer.insert(name, values)
            used += time.perf_counter() - started
            total["rows"] += rows
        started = time.perf_counter()
        writer.contender.settle(writer.conn, ITEMS)
        settling = time.perf_counter() - started
    total["insert_seconds"] += used
    total["seconds"] += used + settling
    total["cpu"] += cost.cpu
    total["wal"] += cost.wal


def vacuum(server: Server, contenders: Sequence[VectorContender], say) -> list[dict]:
    """What VACUUM costs after every tenth row has been deleted."""
    found = []
    for contender in contenders:
        table = contender.table(ITEMS)
        server.conn.execute(f"DELETE FROM {table} WHERE id % 10 = 0")
        server.conn.execute("CHECKPOINT")
        say(f"{contender.title}: VACUUM")
        with server.cost() as cost:
            server.conn.execute(f"VACUUM (INDEX_CLEANUP ON) {table}")
        found.append({"contender": contender.title, "key": contender.key, "seconds": cost.seconds, "cpu": cost.cpu, "wal": cost.wal})
    return found
