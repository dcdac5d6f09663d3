"""What processes of a server use: processor time and memory, from /proc."""

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from harness import Cluster

TICKS = os.sysconf("SC_CLK_TCK")


def on_processor(pids: Iterable[int]) -> float:
    """Seconds that the live threads of these processes have run: exact, where the clock of `all_processes` has ticks of 10 ms."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def all_processes(cluster: Cluster) -> float:
    """Seconds that all processes of the server have run, those that have ended included."""
    ticks = 0
    for process in cluster.processes():
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{process.pid}/stat").read_text()
            # user and system, own and of children that have ended
            ticks += sum(map(int, stat[stat.rindex(")") + 2 :].split()[11:15]))
    return ticks / TICKS


def memory(pid: int) -> dict[str, int]:
    """Bytes resident in memory: `anon`, `file` and `shared`, and `peak` of all together."""
    kinds = {"RssAnon": "anon", "RssFile": "file", "RssShmem": "shared", "VmHWM": "peak"}
    found = dict.fromkeys(kinds.values(), 0)
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in kinds:
                found[kinds[name]] = int(value.split()[0]) * 1024
    return found


def private_memory(cluster: Cluster) -> int:
    """Bytes that the processes of the server hold besides shared buffers: their own, and dynamic shared memory (parallel builds)."""
    total, segments = 0, set()
    for process in cluster.processes():
        total += memory(process.pid)["anon"]
        with contextlib.suppress(OSError):
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            segments |= {line[line.index("/dev/shm/PostgreSQL") :] for line in maps.splitlines() if "/dev/shm/PostgreSQL" in line}
    for segment in segments:
        with contextlib.suppress(OSError):
            total += os.stat(segment).st_blocks * 512
    return total


class PeakMemory:
    """The most that `private_memory` grows by while the block runs, looked at twice a second: `bytes`."""

    def __init__(self, cluster: Cluster, interval: float = 0.5):
        self._cluster, self._interval = cluster, interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, private_memory(self._cluster) - self._before)

    def __enter__(self) -> "PeakMemory":
        self._before = private_memory(self._cluster)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._look()
