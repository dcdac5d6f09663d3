"""The parts of a run: build, search, filters, text and hybrid. Each gives what report.py prints, as plain dictionaries."""

from collections.abc import Sequence

import numpy as np

from . import copying
from .contenders import Contender, HybridContender, TextContender, VectorContender
from .contenders.base import Effort
from .filters import Filter
from .load import ITEMS
from .measure import interleave
from .runner import Runner
from .server import Server
from .truth import Truth

# A pass over all queries, for recall, may take this many times the time of a point.
RECALL_TIMES = 4


def build(server: Server, contender: Contender, source: str, rows: int, metric: str, say) -> dict | None:
    """Builds the contender's index on its table; what it cost, or None where there is nothing to build."""
    statements = contender.build_statements(source, rows, metric)
    if not statements:
        return None
    server.conn.execute("CHECKPOINT")
    say(f"{contender.title}: CREATE INDEX")
    with server.cost(memory=True) as cost:
        for statement in statements:
            server.conn.execute(statement.encode())
    return {
        "contender": contender.title,
        "key": contender.key,
        "seconds": cost.seconds,
        "cpu": cost.cpu,
        "wal": cost.wal,
        "peak_memory": cost.peak_memory,
        "statements": statements,
    }


def points(
    server: Server, contenders: Sequence[VectorContender], queries: np.ndarray, truth: Truth, filter_: Filter, metric: str, k: int, seconds: float, rows: int, say
) -> list[dict]:
    """One point for each contender and effort: recall, queries a second, processor time."""
    arguments = [[copying.vector(query)] for query in queries]
    runners, found = [], []
    try:
        for contender in contenders:
            efforts = contender.filtered_efforts(rows) if filter_.column else contender.efforts(rows)
            indexes = [contender.index(ITEMS)] if contender.has_index else []
            statement = contender.statement(ITEMS, metric, k, filter_)
            for effort in efforts:
                label = f"{contender.title}, {effort.label}, {filter_.name}"
                runner = Runner(server, label, statement, ["vector"], arguments, effort, indexes, contender.uses_engine)
                runners.append(runner)
                answers = runner.answers(seconds * RECALL_TIMES)
                recalls = [truth.recall(i, answer) for i, answer in enumerate(answers)]
                full = sum(len(answer) >= min(k, int((truth.ids[i] >= 0).sum())) for i, answer in enumerate(answers))
                found.append(
                    {
                        "contender": contender.title,
                        "key": contender.key,
                        "effort": effort.label,
                        "default": effort.is_default,
                        "recall": sum(recalls) / len(recalls),
                        "recall_queries": len(recalls),
                        "full_answers": full / len(answers),
                    }
                )
        say(f"{len(runners)} curve points, {filter_.name}: {seconds * len(runners):.0f} s")
        for point, runner, timing in zip(found, runners, interleave(runners, seconds)):
            point.update(timing.summary(), memory=runner.memory())
    finally:
        for runner in runners:
            runner.close()
    return found


def texts(server: Server, contenders: Sequence[TextContender], questions: dict[str, list[list[str]]], source: str, k: int, seconds: float, say) -> list[dict]:
    """Latency and processor time of each contender for each kind of text query."""
    found = []
    for kind, asked in questions.items():
        entries = []
        for contender in contenders:
            for effort in contender.efforts():
                arguments = [[contender.question(words)] for words in asked]
                entries.append((contender, effort, contender.statement(source, k), ["text"], arguments, [contender.index(source)]))
        say(f"text queries, {kind}")
        found += [{"kind": kind, **entry} for entry in _latencies(server, entries, seconds)]
    return found


def hybrids(
    server: Server, contenders: Sequence[HybridContender], queries: np.ndarray, questions: dict[str, list[list[str]]], source: str, metric: str, k: int, seconds: float, say
) -> list[dict]:
    """The same for hybrid search, and for its arms."""
    found = []
    for kind, asked in questions.items():
        entries = []
        for contender in contenders:
            for effort in contender.efforts():
                arguments = [[copying.vector(query), contender.question(words)] for query, words in zip(queries, asked)]
                entries.append((contender, effort, contender.statement(source, metric, k), ["vector", "text"], arguments, contender.indexes(source)))
        say(f"hybrid queries, {kind}")
        found += [{"kind": kind, **entry} for entry in _latencies(server, entries, seconds)]
    return found


def _latencies(server: Server, entries: Sequence[tuple], seconds: float) -> list[dict]:
    runners: list[Runner] = []
    contenders: list[tuple[Contender, Effort]] = []
    found = []
    try:
        for contender, effort, statement, types, arguments, indexes in entries:
            contenders.append((contender, effort))
            runners.append(Runner(server, contender.title, statement, types, arguments, effort, indexes, contender.uses_engine))
            answers = runners[-1].answers(seconds * RECALL_TIMES)
            found.append({"contender": contender.title, "key": contender.key, "answered": sum(map(len, answers)) / len(answers)})
        for entry, runner, timing in zip(found, runners, interleave(runners, seconds)):
            entry.update(timing.summary(), memory=runner.memory())
    finally:
        for runner in runners:
            runner.close()
    return found
