"""An answer against the oracle. Equal values may stand in any order; values are equal up to the rounding of single precision."""

import dataclasses
import math

from .oracle import Oracle
from .queries import DEFAULT_RRF_K, Case


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of elacsym.query() or elacsym.search(); `id` is the document's."""

    id: int
    score: float
    vector_rank: int | None
    vector_distance: float | None
    text_rank: int | None
    text_score: float | None


def close(a: float, b: float) -> bool:
    """The same number in single precision, computed in another order."""
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=2e-6)


class Arm:
    """The ranked list of one arm. Costs: smaller is better."""

    def __init__(self, costs: dict[int, float]):
        self.costs = costs
        self.sorted = sorted(costs.values())

    def may_have(self, id_: int, rank: int) -> bool:
        """Whether a document can be at that rank."""
        return id_ in self.costs and rank <= len(self.sorted) and close(self.costs[id_], self.sorted[rank - 1])

    def worst_rank(self, id_: int) -> int:
        """The last rank that ties allow."""
        cost, low, high = self.costs[id_], 0, len(self.sorted)
        while low < high:
            middle = (low + high) // 2
            if self.sorted[middle] <= cost or close(self.sorted[middle], cost):
                low = middle + 1
            else:
                high = middle
        return low


# What documents live, and so every distance, is the same in all layouts.
_vector_arms: dict[tuple, Arm] = {}


def vector_arm(case: Case, oracle: Oracle, ids: frozenset[int]) -> Arm:
    """The vector arm of a case."""
    key = case.metric, case.vector, ids
    if key not in _vector_arms:
        _vector_arms[key] = Arm(oracle.distances(case.metric, case.vector, ids))
    return _vector_arms[key]


def arms(case: Case, oracle: Oracle, ids: frozenset[int]) -> tuple[Arm | None, Arm | None]:
    """The vector and the text arm of a case over the documents that match its filter."""
    vector = None if case.vector is None else vector_arm(case, oracle, ids)
    text = None if case.text is None else Arm({i: -s for i, s in oracle.scores(case.text, case.weights(), ids).items()})
    return vector, text


def check_list(rows: list[tuple[int, float]], arm: Arm, k: int) -> str | None:
    """(id, cost) of a plain ranked list."""
    if len(rows) != min(k, len(arm.costs)):
        return f"{len(rows)} rows instead of {min(k, len(arm.costs))}"
    if len({id_ for id_, _ in rows}) != len(rows):
        return "a document came twice"
    for rank, (id_, cost) in enumerate(rows, 1):
        if id_ not in arm.costs:
            return f"document {id_} does not belong there"
        if not close(cost, arm.costs[id_]):
            return f"document {id_} has {cost!r}, the oracle says {arm.costs[id_]!r}"
        if not arm.may_have(id_, rank):
            return f"document {id_} with {cost!r} is at place {rank}, where the oracle has {arm.sorted[rank - 1]!r}"
    return None


def check(case: Case, rows: list[Row], oracle: Oracle, ids: frozenset[int]) -> str | None:
    """What is wrong with an answer."""
    vector, text = arms(case, oracle, ids)
    if vector is not None and text is not None:
        return check_fused(case, rows, vector, text)
    arm = vector or text
    rank = lambda row: row.vector_rank if vector else row.text_rank  # noqa: E731
    value = lambda row: row.vector_distance if vector else row.text_score  # noqa: E731
    if [rank(row) for row in rows] != list(range(1, len(rows) + 1)):
        return f"ranks are {[rank(row) for row in rows][:20]}"
    if any((row.text_rank if vector else row.vector_rank) is not None or (row.text_score if vector else row.vector_distance) is not None for row in rows):
        return "an arm that was not asked for has values"
    found = check_list([(row.id, value(row) if vector else -value(row)) for row in rows], arm, case.k)
    if found:
        return found
    for row in rows:
        expected = row.text_score if text else 1 - row.vector_distance if case.metric == "cosine" else -row.vector_distance
        if not close(row.score, expected):
            return f"document {row.id} has score {row.score!r} instead of {expected!r}"
    for a, b in zip(rows, rows[1:]):
        if value(a) == value(b) and oracle.same_input(a.id, b.id) and oracle.order[a.id] > oracle.order[b.id]:
            return f"documents {a.id} and {b.id} are the same and out of order"
    return None


def check_fused(case: Case, rows: list[Row], vector: Arm, text: Arm) -> str | None:
    """Reciprocal rank fusion of two arms, each cut at the number of candidates, which are enough for the answer."""
    depth = case.candidates or max(100, 10 * case.k)
    constant = case.rrf_k or DEFAULT_RRF_K
    sides = [
        (vector, 1.0 if case.vector_weight is None else case.vector_weight, lambda r: r.vector_rank, lambda r: r.vector_distance),
        (text, 1.0 if case.text_weight is None else case.text_weight, lambda r: r.text_rank, lambda r: None if r.text_score is None else -r.text_score),
    ]
    if len({row.id for row in rows}) != len(rows):
        return "a document came twice"
    for row in rows:
        score = 0.0
        for arm, weight, rank_of, cost_of in sides:
            rank, cost = rank_of(row), cost_of(row)
            if rank is None:
                if row.id in arm.costs and arm.worst_rank(row.id) <= depth:
                    return f"document {row.id} has no rank in an arm where it is at {arm.worst_rank(row.id)}"
                continue
            if not arm.may_have(row.id, rank) or rank > depth:
                return f"document {row.id} has rank {rank} in an arm where it is at {arm.worst_rank(row.id) if row.id in arm.costs else None}"
            if cost is None or not close(cost, arm.costs[row.id]):
                return f"document {row.id} has {cost!r}, the oracle says {arm.costs[row.id]!r}"
            score += weight / (constant + rank)
        if row.vector_rank is None and row.text_rank is None:
            return f"document {row.id} is in no arm"
        if not close(row.score, score):
            return f"document {row.id} has score {row.score!r}, its ranks say {score!r}"
    for _, _, rank_of, _ in sides:
        ranks = [rank_of(row) for row in rows if rank_of(row) is not None]
        if len(set(ranks)) != len(ranks):
            return "two documents have one rank"
    if any(a.score < b.score for a, b in zip(rows, rows[1:])):
        return "scores do not fall"
    # Whatever is left out must not be better than the last one, however its ties are broken.
    here, least = {row.id for row in rows}, rows[-1].score if len(rows) == case.k else 0.0
    certain = 0
    for id_ in {*vector.costs, *text.costs}:
        ranks = [(arm.worst_rank(id_), weight) for arm, weight, _, _ in sides if id_ in arm.costs]
        score = sum(weight / (constant + rank) for rank, weight in ranks if rank <= depth)
        inside = any(rank <= depth for rank, _ in ranks)
        certain += inside
        if id_ not in here and inside and (len(rows) < case.k or (score > least and not close(score, least))):
            return f"document {id_} is missing: it has {score!r} at least, the last row {least!r}"
    if len(rows) > case.k or len(rows) < min(case.k, certain):
        return f"{len(rows)} rows instead of {min(case.k, certain)}"
    return None
