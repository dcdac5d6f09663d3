"""Exact answers in blocks are those of one big product; recall counts ties; the cache gives back what it was given."""

import numpy as np
import pytest

from bench import truth
from bench.data import Block, Generated
from bench.filters import FILTERS, NONE, Attributes
from bench.truth import Truth, cached, exact


def blocks(vectors: np.ndarray, size: int):
    return [Block(first, vectors[first : first + size]) for first in range(0, len(vectors), size)]


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("size", [7, 100, 1000])
def test_exact_answers_do_not_depend_on_blocks_and_match_distances(metric, size):
    rng = np.random.default_rng(4)
    vectors, queries = rng.normal(size=(400, 6)).astype(np.float32), rng.normal(size=(9, 6)).astype(np.float32)
    (found,) = exact(blocks(vectors, size), queries, metric, 5, [NONE])
    wide = vectors.astype(float)
    for i, query in enumerate(queries.astype(float)):
        distance = {
            "cosine": 1 - wide @ query / np.linalg.norm(wide, axis=1) / np.linalg.norm(query),
            "l2": np.linalg.norm(wide - query, axis=1),
            "ip": -(wide @ query),
        }[metric]
        assert found.ids[i][:5].tolist() == np.argsort(distance)[:5].tolist()
    assert found.share == 1


def test_exact_answers_under_a_filter_are_those_of_the_rows_it_leaves():
    dataset = Generated(3000, 16, 0)
    queries = dataset.queries(5)
    found = exact(dataset.blocks(), queries, "cosine", 3, FILTERS)
    block = next(dataset.blocks())
    columns = Attributes(block.vectors).of(block.ids, block.vectors)
    for filter_, answers in zip(FILTERS, found):
        left = np.flatnonzero(filter_.mask(columns))
        assert answers.share == len(left) / 3000
        for i, query in enumerate(queries):
            nearest = left[np.argsort(-(block.vectors[left] @ query))[:3]].tolist()
            assert answers.ids[i][: len(nearest)].tolist() == nearest


def test_recall_counts_rows_as_near_as_the_last_one_and_no_row_twice():
    scores = np.array([[0.9, 0.8, 0.8, 0.7]], dtype=np.float32)
    two = Truth(np.array([[1, 2, 3, 4]]), scores, 2, 1.0)
    assert two.recall(0, [1, 2]) == two.recall(0, [3, 1]) == 1.0
    assert two.recall(0, [1, 4]) == two.recall(0, [1, 1]) == two.recall(0, [1]) == 0.5
    assert two.recall(0, [2, 3]) == 1.0  # both as near as the second
    assert two.recall(0, [4, 5, 1, 2]) == 0.0  # only the first two count


def test_recall_where_fewer_rows_match_than_are_asked_for():
    few = Truth(np.array([[7, -1, -1], [-1, -1, -1]]), np.array([[0.5, -np.inf, -np.inf], [-np.inf] * 3], dtype=np.float32), 2, 0.01)
    assert few.recall(0, [7]) == 1.0 and few.recall(0, []) == 0.0 and few.recall(1, []) == 1.0


def test_the_cache_gives_what_was_computed_and_tells_sets_apart(tmp_path, monkeypatch):
    dataset = Generated(500, 8, 0)
    queries = dataset.queries(4)
    first = cached(tmp_path, dataset, queries, "cosine", 3, (NONE, FILTERS[0]))
    monkeypatch.setattr(truth, "exact", lambda *_: pytest.fail("computed again"))
    again = cached(tmp_path, dataset, queries, "cosine", 3, (NONE, FILTERS[0]))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.ids, b.ids) and np.array_equal(a.scores, b.scores) and (a.share, a.k) == (b.share, b.k)
    for other in ((dataset, queries[:3], "cosine", 3), (dataset, queries, "l2", 3), (dataset, queries, "cosine", 4), (Generated(501, 8, 0), queries, "cosine", 3)):
        with pytest.raises(pytest.fail.Exception):
            cached(tmp_path, *other, (NONE, FILTERS[0]))
