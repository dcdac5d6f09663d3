"""The server that all contenders share: its settings, its connections, and what a statement costs it."""

import contextlib
import dataclasses
import time
from pathlib import Path

import psycopg

from harness import Cluster
from harness.env import pg_path

from . import processes

DATABASE = "bench"
# Extensions that only work preloaded; each is loaded where it is installed.
PRELOADED = ("vchord", "pg_tokenizer", "vchord_bm25")
MIB = 1 << 20
# What HNSW (m = 16) keeps of a row besides its vector while it builds, rounded up.
GRAPH_BYTES = 600


def installed(extension: str) -> bool:
    """Whether the PostgreSQL under test has the extension's files."""
    return (pg_path("sharedir") / "extension" / f"{extension}.control").exists()


def total_memory() -> int:
    """Bytes of memory of this machine."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return int(line.split()[1]) * 1024


def settings(shared_buffers: str, build_memory: str, rows: int, dim: int) -> dict[str, str]:
    """Settings of the server: everything fits into memory where the machine allows it, and durability is as in production."""
    memory = total_memory() // MIB
    # A parallel build of HNSW takes all of maintenance_work_mem at once, so it gets what the graph needs: too little makes it slow.
    graph = rows * (4 * dim + GRAPH_BYTES) * 5 // 4 // MIB
    preload = ["elacsym", *(name for name in PRELOADED if installed(name))]
    return {
        "shared_buffers": shared_buffers or f"{min(memory // 4, 8192)}MB",
        "maintenance_work_mem": f"{max(256, min(memory // 6, graph))}MB",
        "work_mem": "64MB",
        "max_connections": "200",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "1h",
        "fsync": "on",
        "autovacuum": "off",
        "max_parallel_workers_per_gather": "0",
        "shared_preload_libraries": ",".join(preload),
        "elacsym.build_memory": build_memory,
        "elacsym.cache_memory": f"{min(memory // 8, 2048)}MB",
        # The same queries are asked again and again: answers must be computed, not remembered.
        "elacsym.result_cache": "0",
    }


@dataclasses.dataclass
class Cost:
    """What a piece of work cost the server."""

    seconds: float = 0.0
    cpu: float = 0.0
    wal: int = 0
    peak_memory: int = 0


class Server:
    """A running server with a database for the benchmark."""

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        cluster.sql(f"CREATE DATABASE {DATABASE}")
        self.conn = self.connect()
        self.conn.execute("CREATE EXTENSION elacsym CASCADE")
        self.vector_oid = self.value("SELECT 'vector'::regtype::oid")

    def connect(self) -> psycopg.Connection:
        """Another session, with no statement prepared behind its back."""
        return self.cluster.connect(DATABASE, prepare_threshold=None)

    def value(self, query: str, parameters=None):
        """The first column of the first row."""
        return self.conn.execute(query, parameters).fetchone()[0]

    def has_access_method(self, name: str) -> bool:
        """Whether CREATE INDEX … USING this works; an extension that is installed is created first."""
        return bool(self.value("SELECT count(*) FROM pg_am WHERE amname = %s", [name]))

    def wal_position(self) -> int:
        return int(self.value("SELECT pg_current_wal_insert_lsn() - '0/0'"))

    def engine_pids(self) -> list[int]:
        return self.cluster.engine_pids()

    @contextlib.contextmanager
    def cost(self, memory: bool = False):
        """Counts what the block costs all processes of the server: gives a Cost that is complete when the block ends."""
        cost = Cost()
        peak = processes.PeakMemory(self.cluster) if memory else contextlib.nullcontext()
        wal, cpu = self.wal_position(), processes.all_processes(self.cluster)
        with peak:
            started = time.perf_counter()
            yield cost
            cost.seconds = time.perf_counter() - started
        cost.cpu = processes.all_processes(self.cluster) - cpu
        cost.wal = self.wal_position() - wal
        cost.peak_memory = peak.bytes if memory else 0
