"""Many clients at once: throughput and latencies of each contender at one effort, with more and more sessions."""

import statistics
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from . import copying, processes
from .contenders import VectorContender
from .contenders.base import Effort
from .filters import NONE
from .load import ITEMS
from .measure import percentile
from .runner import Runner
from .server import Server

CLIENTS = (1, 2, 8, 32)
# Each contender has this many turns with each number of clients.
TURNS = 3
RECALL = 0.95


def effort_for(contender: VectorContender, rows: int, points: Sequence[dict]) -> Effort:
    """The cheapest measured effort that reaches RECALL, or the one with most recall."""
    efforts = {effort.label: effort for effort in contender.efforts(rows)}
    own = [p for p in points if p["key"] == contender.key and p["effort"] in efforts]
    enough = [p for p in own if p["recall"] >= RECALL]
    best = max(enough, key=lambda p: p["qps"]) if enough else max(own, key=lambda p: p["recall"])
    return efforts[best["effort"]]


def at_once(runs: Sequence[Callable[[int], object]], seconds: float) -> tuple[list[float], float]:
    """Calls each in a thread of its own, with 0, 1, 2, … until the time is up; all latencies, and the seconds it took."""
    latencies: list[list[float]] = [[] for _ in runs]
    errors: list[Exception] = []
    together = threading.Barrier(len(runs) + 1)

    def work(which: int) -> None:
        together.wait()
        started = last = time.perf_counter()
        count = 0
        try:
            while count == 0 or last - started < seconds:
                runs[which](count)
                now = time.perf_counter()
                latencies[which].append(now - last)
                last = now
                count += 1
        except Exception as error:  # the caller's thread raises it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(runs))]
    for thread in threads:
        thread.start()
    together.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [latency for of_one in latencies for latency in of_one], time.perf_counter() - started


def measure(
    server: Server, contenders: Sequence[VectorContender], queries: np.ndarray, points: Sequence[dict], metric: str, k: int, seconds: float, rows: int, say
) -> list[dict]:
    """One entry for each number of clients and contender; contenders take turns."""
    arguments = [[copying.vector(query)] for query in queries]
    found = []
    for clients in CLIENTS:
        say(f"{clients} client(s) at once")
        sessions: list[list[Runner]] = []
        turns: list[list[tuple[list[float], float, float]]] = [[] for _ in contenders]
        try:
            for contender in contenders:
                effort = effort_for(contender, rows, points)
                indexes = [contender.index(ITEMS)] if contender.has_index else []
                statement = contender.statement(ITEMS, metric, k, NONE)
                own: list[Runner] = []
                sessions.append(own)
                for _ in range(clients):
                    own.append(Runner(server, contender.title, statement, ["vector"], arguments, effort, indexes, contender.uses_engine))
                    own[-1].run(0)
            for turn in range(TURNS):
                order = list(range(len(contenders)))[:: 1 if turn % 2 == 0 else -1]
                for which in order:
                    turns[which].append(_turn(server, sessions[which], seconds / TURNS))
            for contender, own, measured in zip(contenders, sessions, turns):
                found.append({"contender": contender.title, "key": contender.key, "effort": own[0].effort.label, "clients": clients, **_summary(measured), "memory": own[0].memory()})
        finally:
            for runner in (runner for own in sessions for runner in own):
                runner.close()
    return found


def _turn(server: Server, runners: Sequence[Runner], seconds: float) -> tuple[list[float], float, float]:
    def asking(which: int) -> Callable[[int], object]:
        # each client at another place of the queries
        runner, offset = runners[which], which * 7
        return lambda count: runner.run((count + offset) % runner.queries)

    pids = [runner.pid for runner in runners] + (server.engine_pids() if runners[0].engine else [])
    cpu = processes.on_processor(pids)
    latencies, took = at_once([asking(i) for i in range(len(runners))], seconds)
    return latencies, took, processes.on_processor(pids) - cpu


def _summary(turns: Sequence[tuple[list[float], float, float]]) -> dict:
    """Rates are medians over turns."""
    ordered = sorted(latency for latencies, *_ in turns for latency in latencies)
    return {
        "qps": statistics.median(len(latencies) / took for latencies, took, _ in turns),
        "cpu_ms": statistics.median(cpu / len(latencies) for latencies, _, cpu in turns) * 1e3,
        "p50_ms": percentile(ordered, 0.5) * 1e3,
        "p99_ms": percentile(ordered, 0.99) * 1e3,
    }
