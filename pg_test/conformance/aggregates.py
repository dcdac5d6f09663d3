"""Counts and facets as docs/aggregates.md defines them, by brute force."""

import collections
import fractions
import math

from .corpus import ATTRIBUTES
from .oracle import Oracle

FACETS = {
    "categories": {"type": "terms", "field": "category"},
    "few": {"type": "terms", "field": "name", "limit": 3},
    "tags": {"type": "terms", "field": "tags", "limit": 4},
    "numbers": {"type": "terms", "field": "numbers"},
    "active": {"type": "terms", "field": "active"},
    "bigs": {"type": "stats", "field": "big"},
    "years": {"type": "stats", "field": "year"},
    "prices": {"type": "stats", "field": "price"},
    "ranges": {"type": "range", "field": "year", "ranges": [{"to": 2000}, {"from": 2000, "to": 2010}, {"from": 2005, "key": "late"}]},
}


def facet(asked: dict, oracle: Oracle, ids: frozenset[int]) -> dict:
    """What one facet must be, without what depends on the form of the answer."""
    values = [oracle.live[id_].get(asked["field"]) for id_ in ids]
    match asked["type"]:
        case "terms":
            return terms(asked, values)
        case "stats":
            return stats(values)
        case "range":
            have = [v for v in values if v is not None]
            inside = lambda r: sum(r.get("from", -math.inf) <= v < r.get("to", math.inf) for v in have)  # noqa: E731
            return {"counts": [inside(r) for r in asked["ranges"]]}
    raise ValueError(asked)


def terms(asked: dict, values: list) -> dict:
    is_array = ATTRIBUTES[asked["field"]][0].startswith("array")
    elements = [set(v) if is_array else {v} for v in values if v is not None and v != []]
    counts = collections.Counter(element for one in elements for element in one)
    order = lambda pair: (-pair[1], pair[0].encode() if isinstance(pair[0], str) else pair[0])  # noqa: E731
    ranked = sorted(counts.items(), key=order)
    limit = asked.get("limit", 10)
    return {
        "buckets": [{"value": value, "count": count} for value, count in ranked[:limit]],
        "other": sum(count for _, count in ranked[limit:]),
        "missing": len(values) - len(elements),
    }


def stats(values: list) -> dict:
    have = [v for v in values if v is not None]
    total = sum(fractions.Fraction(v) for v in have)
    return {"count": len(have), "nulls": len(values) - len(have), "min": min(have, default=None), "max": max(have, default=None), "sum": total}


def check_facet(asked: dict, answer: dict, expected: dict) -> str | None:
    """What is wrong with one facet."""
    if asked["type"] == "range":
        counts = [bucket["count"] for bucket in answer["buckets"]]
        return None if counts == expected["counts"] else f"{counts} instead of {expected['counts']}"
    for name, value in expected.items():
        if name == "sum" and expected["count"]:
            # "Infinity" beyond the range of floats
            if float(answer["sum"]) != rounded(value) or not math.isclose(float(answer["avg"]), rounded(value) / expected["count"], rel_tol=1e-9):
                return f"sum {answer['sum']!r} and avg {answer['avg']!r} instead of {rounded(value)!r}"
        elif name != "sum" and (float(answer[name]) if isinstance(value, float) else answer.get(name)) != value:
            return f"{name} is {answer.get(name)!r} instead of {value!r}"
    return None


def rounded(value: fractions.Fraction) -> float:
    """As a float, infinite where it is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
