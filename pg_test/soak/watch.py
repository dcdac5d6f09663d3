"""What is looked at while the soak goes on: compactions, segments, bytes in storage, memory of the engine."""

import bisect
import math
import os
import re
import threading
import time
from pathlib import Path

PROGRESS = "SELECT count(*) FROM elacsym.compaction_progress()"
SEGMENTS = "SELECT namespace, segments, rows - dead_rows, buffered_rows, bytes * (rows - dead_rows) / greatest(rows, 1) FROM elacsym.stat_namespaces ORDER BY 1"
# Seconds between two looks at what changes quickly, and at the rest.
OFTEN, SELDOM = 0.02, 1.0


def bound(rows: int, flush_rows: int) -> int:
    """Most segments of a namespace with so many live rows, in the steady state."""
    return 2 + int(math.log2(max(rows / flush_rows, 1)))


def stored(objects: Path) -> int:
    """Bytes below a directory, whatever vanishes meanwhile."""
    total = 0
    for directory, _, names in os.walk(objects):
        for name in names:
            try:
                total += os.stat(os.path.join(directory, name)).st_size
            except OSError:
                continue
    return total


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10


class Watch:
    """A thread that looks, until the block ends."""

    def __init__(self, cluster, database: str, objects: Path):
        self.cluster, self.database, self.objects = cluster, database, objects
        self.engine = cluster.engine_pids()[0]
        # moments at which a compaction was under way
        self.compacting: list[float] = []
        self.looks = 0
        # of each second: {namespace: (segments, live rows, buffered rows, live bytes)}, bytes in storage, memory
        self.samples: list[tuple[dict, int, int]] = []
        self.problem: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)

    def _loop(self) -> None:
        seldom = 0.0
        try:
            with self.cluster.connect(self.database) as conn:
                while not self._stop.wait(OFTEN):
                    if conn.execute(PROGRESS).fetchone()[0]:
                        self.compacting.append(time.monotonic())
                    self.looks += 1
                    if time.monotonic() >= seldom:
                        self.samples.append(self.look(conn))
                        seldom = time.monotonic() + SELDOM
        except BaseException as e:  # noqa: BLE001: the test raises it
            self.problem = e

    def look(self, conn) -> tuple[dict, int, int]:
        """One sample."""
        namespaces = {name: rest for name, *rest in conn.execute(SEGMENTS).fetchall()}
        return namespaces, stored(self.objects), resident(self.engine)

    def during_compaction(self, began: float, seconds: float) -> bool:
        """Whether a compaction was seen while that went on."""
        after = bisect.bisect_left(self.compacting, began - OFTEN)
        return after < len(self.compacting) and self.compacting[after] <= began + seconds + OFTEN


def percentile(values: list[float], percent: float) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
