"""Measuring several things at once: they take turns in short blocks, so that noise hits all alike."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Protocol

# Long against the clock, short against whatever else the machine does.
BLOCK_SECONDS = 0.1


class Runnable(Protocol):
    """Something that is measured: `run(i)` asks query i, `cpu()` says the processor time used so far."""

    queries: int

    def run(self, query: int) -> object: ...

    def cpu(self) -> float: ...


@dataclasses.dataclass
class Timing:
    """The blocks of one runnable."""

    latencies: list[float] = dataclasses.field(default_factory=list)
    block_latencies: list[float] = dataclasses.field(default_factory=list)
    block_cpu: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    next_query: int = 0

    def summary(self) -> dict:
        """Medians over blocks, so that a disturbed block counts no more than another; percentiles over queries."""
        ordered = sorted(self.latencies)
        mean = statistics.median(self.block_latencies)
        return {
            "queries": len(ordered),
            "qps": 1 / mean,
            "ms": mean * 1e3,
            "p50_ms": percentile(ordered, 0.5) * 1e3,
            "p99_ms": percentile(ordered, 0.99) * 1e3,
            "cpu_ms": statistics.median(self.block_cpu) * 1e3,
        }


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least of the values, in ascending order, that at least this share of them does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def interleave(
    runnables: Sequence[Runnable], seconds: float, block_seconds: float = BLOCK_SECONDS, clock: Callable[[], float] = time.perf_counter
) -> list[Timing]:
    """Runs each for about `seconds`, a block each in every round; a round begins with another one than the round before.

    All get the same time, not the same number of queries. Whoever has used more than its share (one query can be longer than a
    block) sits rounds out."""
    timings = [Timing() for _ in runnables]
    rounds = max(1, round(seconds / block_seconds))
    for round_ in range(rounds):
        for turn in range(len(runnables)):
            which = (round_ + turn) % len(runnables)
            # half a block: the last query of a block ends a little late
            if timings[which].seconds <= (round_ + 0.5) * block_seconds:
                _block(runnables[which], timings[which], block_seconds, clock)
    return timings


def _block(runnable: Runnable, timing: Timing, block_seconds: float, clock: Callable[[], float]) -> None:
    cpu, count = runnable.cpu(), 0
    started = last = clock()
    while count == 0 or last - started < block_seconds:
        runnable.run(timing.next_query)
        timing.next_query = (timing.next_query + 1) % runnable.queries
        now = clock()
        timing.latencies.append(now - last)
        last = now
        count += 1
    timing.seconds += last - started
    timing.block_latencies.append((last - started) / count)
    timing.block_cpu.append((runnable.cpu() - cpu) / count)
