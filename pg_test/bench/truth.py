"""What the right answers are: exact search over all rows in blocks, kept in the state directory; and recall against it."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .data import Block, Dataset, digest
from .filters import Attributes, Filter

# Neighbours kept beyond k, so that all rows as near as the k-th are known (there are duplicates in real sets).
SLACK = 10
# Two distances that differ by less are the same: sums of float32 products in another order.
SAME = 1e-6


@dataclasses.dataclass
class Truth:
    """The nearest rows to each query, best first; a score is greater the nearer. -1 where fewer rows match."""

    ids: np.ndarray
    scores: np.ndarray
    k: int
    share: float

    def recall(self, query: int, found: Sequence[int]) -> float:
        """The share of the k nearest among the first k found; a row as near as the k-th is one of them."""
        ids, scores = self.ids[query], self.scores[query]
        wanted = min(self.k, int((ids >= 0).sum()))
        if wanted == 0:
            return 1.0
        least = scores[wanted - 1] - SAME * max(1.0, abs(float(scores[wanted - 1])))
        near = set(ids[(scores >= least) & (ids >= 0)].tolist())
        return min(len(near & set(found[: self.k])), wanted) / wanted


def exact(blocks: Iterable[Block], queries: np.ndarray, metric: str, k: int, filters: Sequence[Filter]) -> list[Truth]:
    """Exact answers under each filter, in one pass over the rows."""
    depth = k + SLACK
    queries = _comparable(queries, metric)
    ids = [np.full((len(queries), depth), -1, dtype=np.int64) for _ in filters]
    scores = [np.full((len(queries), depth), -np.inf, dtype=np.float32) for _ in filters]
    matching, rows, attributes = [0] * len(filters), 0, None
    for block in blocks:
        attributes = attributes or Attributes(block.vectors)
        columns = attributes.of(block.ids, block.vectors)
        all_scores = score(queries, block.vectors, metric)
        rows += len(block.vectors)
        for i, filter_ in enumerate(filters):
            mask = filter_.mask(columns)
            of_block, block_ids = (all_scores, block.ids) if mask is None else (all_scores[:, mask], block.ids[mask])
            matching[i] += len(block_ids)
            if len(block_ids):
                ids[i], scores[i] = _merge(ids[i], scores[i], block_ids, of_block)
    return [Truth(i, s, k, m / rows) for i, s, m in zip(ids, scores, matching)]


def _comparable(vectors: np.ndarray, metric: str) -> np.ndarray:
    if metric != "cosine":
        return vectors
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms == 0, 1, norms)


def score(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Nearness of each row to each query, greater is nearer; queries are `_comparable`."""
    products = queries @ _comparable(rows, metric).T
    if metric == "l2":
        return 2 * products - np.einsum("ij,ij->i", rows, rows)
    return products


def _merge(ids: np.ndarray, scores: np.ndarray, block_ids: np.ndarray, block_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    depth = ids.shape[1]
    if len(block_ids) > depth:
        best = np.argpartition(-block_scores, depth - 1, axis=1)[:, :depth]
        block_scores = np.take_along_axis(block_scores, best, axis=1)
        new_ids = block_ids[best]
    else:
        new_ids = np.broadcast_to(block_ids, block_scores.shape)
    ids, scores = np.concatenate([ids, new_ids], axis=1), np.concatenate([scores, block_scores], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def cached(directory: Path, dataset: Dataset, queries: np.ndarray, metric: str, k: int, filters: Sequence[Filter]) -> list[Truth]:
    """`exact`, or what an earlier run found for the same set, queries and filters."""
    name = digest(dataset.identity(), queries.tobytes(), metric, k, [dataclasses.astuple(f) for f in filters], SLACK)
    path = directory / f"truth-{name}.npz"
    if path.exists():
        with np.load(path) as kept:
            return [Truth(kept[f"ids{i}"], kept[f"scores{i}"], k, float(kept["shares"][i])) for i in range(len(filters))]
    found = exact(dataset.blocks(), queries, metric, k, filters)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {f"ids{i}": t.ids for i, t in enumerate(found)} | {f"scores{i}": t.scores for i, t in enumerate(found)}
    # a name without .npz would get it added
    unfinished = path.with_suffix(".new.npz")
    np.savez(unfinished, shares=np.array([t.share for t in found]), **arrays)
    unfinished.rename(path)
    return found
