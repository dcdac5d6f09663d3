"""Turns are fair, and figures are medians of them; with a clock that only queries move."""

import random
import statistics
import time

import pytest

from bench.clients import at_once, effort_for
from bench.contenders import VECTOR
from bench.curves import Reading, at_recall
from bench.measure import Timing, interleave, percentile


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake:
    """A contender whose queries take `seconds`, in which it computes for `busy` of them; notes when it was asked what."""

    def __init__(self, clock: Clock, seconds: float, queries: int = 10, busy: float = 0.5, noise=lambda now: 1.0):
        self.clock, self.seconds, self.queries, self.busy, self.noise = clock, seconds, queries, busy, noise
        self.used, self.asked = 0.0, []

    def run(self, query: int) -> None:
        self.asked.append((self.clock.now, query))
        self.clock.now += self.seconds * self.noise(self.clock.now)
        self.used += self.seconds * self.busy

    def cpu(self) -> float:
        return self.used


def test_all_get_the_same_time_in_turns_and_every_round_begins_with_another():
    clock = Clock()
    fast, slow = Fake(clock, 0.001), Fake(clock, 0.007)
    timings = interleave([fast, slow], 2.0, 0.1, clock)
    for timing in timings:
        assert timing.seconds == pytest.approx(2.0, rel=0.1)
    runs = sorted([(at, "fast") for at, _ in fast.asked] + [(at, "slow") for at, _ in slow.asked])
    turns = [name for i, (_, name) in enumerate(runs) if i == 0 or runs[i - 1][1] != name]
    # rounds are fast slow, slow fast, …: neighbours of two rounds melt into one
    assert turns[:3] == ["fast", "slow", "fast"] and len(turns) >= 20
    longest = max(b - a for a, b in zip([at for at, _ in fast.asked], [at for at, _ in fast.asked][1:]))
    assert longest < 0.25


def test_queries_go_round_and_go_on_where_the_last_block_ended():
    clock = Clock()
    fake = Fake(clock, 0.03, queries=4)
    interleave([fake], 1.0, 0.1, clock)
    assert [query for _, query in fake.asked] == [i % 4 for i in range(len(fake.asked))] and len(fake.asked) >= 30


def test_one_whose_queries_are_longer_than_a_block_sits_rounds_out():
    clock = Clock()
    fast, slow = Fake(clock, 0.01), Fake(clock, 0.5)
    fast_timing, slow_timing = interleave([fast, slow], 2.0, 0.1, clock)
    assert slow_timing.seconds <= 2.5 and len(slow.asked) in (4, 5)
    assert fast_timing.seconds == pytest.approx(2.0, rel=0.1)


def test_a_disturbance_hits_all_alike_and_medians_do_not_see_a_short_one():
    clock = Clock()

    def noise(now: float) -> float:
        return 10.0 if 1.0 < now < 2.0 else 1.0

    one, two = Fake(clock, 0.004, noise=noise), Fake(clock, 0.002, noise=noise)
    first, second = (timing.summary() for timing in interleave([one, two], 3.0, 0.1, clock))
    assert first["qps"] == pytest.approx(250, rel=0.02) and second["qps"] / first["qps"] == pytest.approx(2, rel=0.02)
    assert first["cpu_ms"] == pytest.approx(2.0) and first["p50_ms"] == pytest.approx(4.0) and first["p99_ms"] > 30


def test_percentiles_are_measured_values():
    values = sorted(random.Random(1).random() for _ in range(1000))
    assert percentile(values, 0.5) == values[499] and percentile(values, 0.99) == values[989] and percentile(values, 1.0) == values[-1]
    assert percentile([3.0], 0.99) == percentile([3.0], 0.5) == 3.0


def test_a_summary_takes_the_median_block():
    timing = Timing(latencies=[1, 1, 1, 9], block_latencies=[1.0, 1.0, 9.0], block_cpu=[0.5, 0.5, 4.0])
    assert timing.summary() == {"queries": 4, "qps": 1.0, "ms": 1000.0, "p50_ms": 1000, "p99_ms": 9000, "cpu_ms": 500.0}
    assert statistics.median(timing.block_latencies) == 1.0


CURVE = [{"recall": 0.9, "qps": 1000.0}, {"recall": 0.98, "qps": 250.0}, {"recall": 0.94, "qps": 500.0}]


def test_a_curve_is_read_on_the_line_between_its_points():
    assert at_recall(CURVE, 0.96, "qps", True).value == pytest.approx(500 * 0.5**0.5)
    assert at_recall(CURVE, 0.94, "qps", True) == Reading(500.0)
    assert at_recall(CURVE, 0.98, "qps", True) == Reading(250.0)


def test_a_recall_that_is_not_reached_has_no_value_and_one_below_all_points_is_a_bound():
    assert at_recall(CURVE, 0.99, "qps", True) is None and at_recall([], 0.5, "qps", True) is None
    assert at_recall(CURVE, 0.8, "qps", True) == Reading(1000.0, bound=True)
    assert at_recall(CURVE[:1], 0.8, "qps", True) == Reading(1000.0), "one point: there is no less effort"


def test_a_faster_point_of_more_recall_counts_and_less_is_better_for_costs():
    odd = [{"recall": 0.9, "cpu_ms": 5.0}, {"recall": 0.96, "cpu_ms": 8.0}, {"recall": 0.97, "cpu_ms": 4.0}]
    assert at_recall(odd, 0.95, "cpu_ms", False) == Reading(4.0)


def test_clients_at_once_overlap_and_all_their_latencies_count():
    latencies, took = at_once([lambda _: time.sleep(0.02)] * 8, 0.2)
    # one after the other they would take 1.6 s
    assert took < 1.2 and len(latencies) >= 8 * 3 and min(latencies) >= 0.02


def test_an_error_of_one_client_is_raised():
    def broken(count: int) -> None:
        if count == 2:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        at_once([lambda _: time.sleep(0.001), broken], 0.05)


def test_clients_use_the_cheapest_effort_that_is_good_enough():
    elacsym = VECTOR[0]
    points = [{"key": "elacsym", "effort": f"effort {e}", "recall": r, "qps": q} for e, r, q in (("0.5", 0.9, 900), ("1", 0.96, 500), ("2", 0.99, 300))]
    assert effort_for(elacsym, 1000, points).label == "effort 1"
    assert effort_for(elacsym, 1000, points[:1]).label == "effort 0.5"
