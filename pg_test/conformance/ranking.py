"""Rankings as docs/ranking.md defines them: several arms, fusions, modifiers, groups, pages, orders. A list of (id, score) in its order.

Equal costs and scores are told apart by the order of keys here, so that the list is one; what the rounding of single precision may turn
around, `check_page` lets pass.
"""

import numpy as np

from .checking import Row, close
from .oracle import Oracle, holds
from .queries import DEFAULT_RRF_K, Case

Costs = dict[int, float]


def page(case: Case, found: list[tuple[int, float | None]], oracle: Oracle) -> list[tuple[int, float | None]]:
    """The rows of a case out of its whole list."""
    if case.per:
        found = grouped(found, case.per, oracle)
    return found[case.offset or 0 :][: case.k]


def arms_of(case: Case, oracle: Oracle, ids: frozenset[int]) -> list[tuple[float, Costs]]:
    """(weight, costs) of the plain arms and of `queries`."""
    arms = []
    if case.vector is not None:
        arms.append((1.0 if case.vector_weight is None else case.vector_weight, oracle.distances(case.metric, case.vector, ids)))
    if case.text is not None:
        arms.append((1.0 if case.text_weight is None else case.text_weight, text_costs(oracle, case.text, case.weights(), ids)))
    for query in case.queries or ():
        if "vector" in query:
            costs = oracle.distances(case.metric, query["vector"], ids)
        else:
            costs = text_costs(oracle, query["text"], query["fields"], ids)
        arms.append((query.get("weight", 1.0), costs))
    return arms


def text_costs(oracle: Oracle, text: str, weights: dict[str, float], ids: frozenset[int]) -> Costs:
    return {id_: -float(np.float32(score)) for id_, score in oracle.scores(text, weights, ids).items()}


def ranked(case: Case, oracle: Oracle, ids: frozenset[int]) -> list[tuple[int, float]]:
    """Block after block, each at twice the depth of the one before, of what is not in those before."""
    key = oracle.order.__getitem__
    arms = [(weight, sorted(costs.items(), key=lambda pair: (pair[1], key(pair[0])))) for weight, costs in arms_of(case, oracle, ids)]
    if len(arms) == 1 and not case.modifiers:
        similarity = 1.0 if case.metric == "cosine" and case.text is None and "text" not in (case.queries or [{}])[0] else 0.0
        return [(id_, similarity - cost) for id_, cost in arms[0][1]]
    depth = case.candidates or max(100, 10 * case.k)
    found: list[tuple[int, float]] = []
    while True:
        here = {id_ for id_, _ in found}
        scores = fused(case, [(weight, pairs[:depth]) for weight, pairs in arms])
        block = [(id_, float(np.float32(score * factor(case, oracle, id_)))) for id_, score in scores.items() if id_ not in here]
        found += sorted(block, key=lambda pair: (-pair[1], key(pair[0])))
        if all(len(pairs) <= depth for _, pairs in arms):
            return found
        depth *= 2


def fused(case: Case, arms: list[tuple[float, list[tuple[int, float]]]]) -> dict[int, float]:
    """The fused score of every candidate, before modifiers."""
    scores: dict[int, float] = {}
    for weight, pairs in arms:
        values = np.array([-cost for _, cost in pairs], dtype=np.float64)
        if case.fusion == "minmax":
            width = np.ptp(values) if len(values) else 0.0
            parts = (values - values.min()) / width if width else np.ones(len(values))
        elif case.fusion == "distribution":
            deviation = values.std() if len(values) else 0.0
            parts = np.clip((values - values.mean() + 3 * deviation) / (6 * deviation), 0, 1) if deviation else np.full(len(values), 0.5)
        else:
            parts = 1 / ((case.rrf_k or DEFAULT_RRF_K) + np.arange(1, len(values) + 1))
        for (id_, _), part in zip(pairs, parts):
            scores[id_] = scores.get(id_, 0.0) + weight * float(part)
    return scores


def factor(case: Case, oracle: Oracle, id_: int) -> float:
    """What all modifiers together multiply with."""
    product = 1.0
    for modifier in case.modifiers or ():
        weight = modifier.get("weight", 1.0)
        product *= 1 - weight + weight * one_factor(modifier, oracle, id_)
    return product


def one_factor(modifier: dict, oracle: Oracle, id_: int) -> float:
    document = oracle.live[id_]
    if modifier["type"] == "boost":
        return modifier["factor"] if holds(modifier["filter"], document) else 1.0
    value = document.get(modifier["field"])
    if value is None:
        return modifier.get("missing", 0.0)
    if modifier["type"] == "saturate":
        return value / (value + modifier["k"]) if value > 0 else 0.0
    distance = max(abs(value - modifier["origin"]) - modifier.get("offset", 0), 0) / modifier["scale"]
    decay = modifier.get("decay", 0.5)
    match modifier.get("function", "gauss"):
        case "gauss":
            return decay ** (distance**2)
        case "exp":
            return decay**distance
        case "linear":
            return max(0.0, 1 - distance * (1 - decay))
    raise ValueError(modifier)


def grouped(rows: list[tuple[int, float | None]], per: dict, oracle: Oracle) -> list[tuple[int, float | None]]:
    """At most so many of each value, from the top; rows without one are a group."""
    seen: dict[object, int] = {}
    kept = []
    for row in rows:
        value = oracle.live[row[0]].get(per["field"])
        seen[value] = seen.get(value, 0) + 1
        if seen[value] <= per.get("limit", 1):
            kept.append(row)
    return kept


def ordered(case: Case, oracle: Oracle, ids: frozenset[int]) -> list[tuple[int, None]]:
    """By attributes, then by key."""
    found = sorted(ids, key=oracle.order.__getitem__)
    for by in reversed(case.order_by):
        descending = by.get("direction", "asc") == "desc"
        value = lambda id_: oracle.live[id_].get(by["field"])  # noqa: B023, E731
        have = [id_ for id_ in found if value(id_) is not None]
        missing = [id_ for id_ in found if value(id_) is None]
        # backwards too, sorting keeps the order of equal ones
        have.sort(key=lambda id_: v.encode() if isinstance(v := value(id_), str) else v, reverse=descending)
        first = by.get("nulls", "first" if descending else "last") == "first"
        found = missing + have if first else have + missing
    return [(id_, None) for id_ in found]


def check_page(case: Case, rows: list[Row], oracle: Oracle, ids: frozenset[int]) -> str | None:
    """What is wrong with a page."""
    found = ordered(case, oracle, ids) if case.order_by else ranked(case, oracle, ids)
    expected = page(case, found, oracle)
    if len(rows) != len(expected):
        return f"{len(rows)} rows instead of {len(expected)}"
    scores = dict(found)
    for place, (row, (id_, score)) in enumerate(zip(rows, expected)):
        if score is None:
            if row.id != id_:
                return f"place {place} has document {row.id} instead of {id_}"
            continue
        if row.id not in scores or not close(row.score, scores[row.id]):
            return f"document {row.id} has score {row.score!r}, the oracle says {scores.get(row.id)!r}"
        if row.id != id_ and not close(row.score, score):
            return f"place {place} has document {row.id} with {row.score!r} instead of {id_} with {score!r}"
    return None
