"""Reading a value off a measured curve: queries a second, or processor time, at a recall."""

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Reading:
    """A value at the wanted recall; `bound` where even the least effort has more recall, so that the true value is better still."""

    value: float
    bound: bool = False


def at_recall(points: Sequence[dict], recall: float, what: str, greater_is_better: bool) -> Reading | None:
    """The value of `what` at this recall: the best measured point that has it, or better, on the line (values on a logarithmic scale)
    between the last point below and the first one not below. None where no point reaches the recall."""
    ordered = sorted(points, key=lambda p: p["recall"])
    above = [p for p in ordered if p["recall"] >= recall]
    if not above:
        return None
    best = max if greater_is_better else min
    value = best(p[what] for p in above)
    below = ordered[: len(ordered) - len(above)]
    if not below:
        return Reading(value, len(points) > 1 and value == above[0][what] and above[0]["recall"] > recall)
    low, high = below[-1], above[0]
    share = (recall - low["recall"]) / (high["recall"] - low["recall"])
    between = math.exp(math.log(low[what]) * (1 - share) + math.log(high[what]) * share)
    return Reading(best(value, between))
