"""A prepared statement of one contender at one effort, in a session of its own."""

import itertools
import re
import struct
import time
from collections.abc import Sequence

from psycopg.pq import ExecStatus

from . import processes
from .contenders.base import Effort
from .server import Server

STATEMENT = "bench"
TEXT, BINARY = 0, 1


class WrongPlan(Exception):
    """The planner does not use an index whose speed is to be measured."""


class Runner:
    """Asks queries `0 … len(arguments) - 1` of a statement with an `id` in its first column. `types` names its parameters' types;
    values of `vector` and integers are binary, text is text."""

    def __init__(
        self, server: Server, label: str, statement: str, types: Sequence[str], arguments: Sequence[Sequence[bytes]], effort: Effort, indexes: Sequence[str], engine: bool
    ):
        self.server, self.label, self.effort, self.engine = server, label, effort, engine
        self.arguments, self.queries = arguments, len(arguments)
        self._conn = server.connect()
        for name, value in effort.settings.items():
            self._conn.execute("SELECT set_config(%s, %s, false)", [name, value])
        self._conn.execute(f"PREPARE {STATEMENT}({', '.join(types)}) AS {statement}".encode())
        self._formats = [TEXT if kind == "text" else BINARY for kind in types]
        self.pid = self._conn.info.backend_pid
        self._pgconn = self._conn.pgconn
        self._engines: list[int] | None = None
        if indexes:
            self._check_plan(indexes, types)

    def _check_plan(self, indexes: Sequence[str], types: Sequence[str]) -> None:
        """Both kinds of plan of the prepared statement use the indexes."""
        values = ", ".join(self._literal(kind, value) for kind, value in zip(types, self.arguments[0]))
        for mode in ("force_custom_plan", "force_generic_plan"):
            self._conn.execute(f"SET plan_cache_mode = {mode}")
            plan = "\n".join(line for (line,) in self._conn.execute(f"EXPLAIN (COSTS OFF) EXECUTE {STATEMENT}({values})".encode()))
            for index in indexes:
                if not re.search(rf"\b{re.escape(index)}\b", plan):
                    raise WrongPlan(f"{self.label}: the plan ({mode}) does not use {index}:\n{plan}")
        self._conn.execute("RESET plan_cache_mode")

    @staticmethod
    def _literal(kind: str, value: bytes) -> str:
        if kind == "vector":
            (dim,) = struct.unpack_from(">h", value)
            return "'[" + ",".join(map(repr, struct.unpack_from(f">{dim}f", value, 4))) + "]'"
        return "'" + value.decode().replace("'", "''") + "'"

    def run(self, query: int) -> list[int]:
        """The ids that the statement answers."""
        result = self._pgconn.exec_prepared(STATEMENT.encode(), self.arguments[query], self._formats, BINARY)
        if result.status != ExecStatus.TUPLES_OK:
            raise RuntimeError(f"{self.label}: {result.error_message.decode(errors='replace')}")
        return [int.from_bytes(result.get_value(row, 0), "big", signed=True) for row in range(result.ntuples)]

    def answers(self, seconds: float) -> list[list[int]]:
        """The answer to each query, or to as many as there is time for, at least one; warms everything up."""
        started, found = time.perf_counter(), []
        for query in itertools.count():
            if query == self.queries or (found and time.perf_counter() - started > seconds):
                return found
            found.append(self.run(query))

    def cpu(self) -> float:
        """Seconds that the session's process has run, and the engine where this contender uses it."""
        return processes.on_processor([self.pid, *(self._engine_pids() if self.engine else [])])

    def _engine_pids(self) -> list[int]:
        # Looking through /proc takes milliseconds: the engine is the same as long as it lives.
        if self._engines is None:
            self._engines = self.server.engine_pids()
        return self._engines

    def memory(self) -> dict[str, int]:
        """Bytes of the session's own memory, and of the engine's where it is used."""
        engine = [processes.memory(pid) for pid in self._engine_pids()] if self.engine else []
        return {"backend": processes.memory(self.pid)["anon"], "engine": sum(m["anon"] + m["file"] for m in engine)}

    def close(self) -> None:
        """Ends the session."""
        self._conn.close()
