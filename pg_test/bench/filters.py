"""Two attribute columns that filters use: `bucket` knows nothing of the vectors, `region` follows them."""

import dataclasses

import numpy as np

# Both columns have this many values, so that `column < n` is n per mille of the rows.
VALUES = 1000


@dataclasses.dataclass(frozen=True)
class Filter:
    """`column < below`; without a column, every row."""

    name: str
    column: str | None = None
    below: int = VALUES

    @property
    def sql(self) -> str:
        return f"WHERE {self.column} < {self.below} " if self.column else ""

    def mask(self, attributes: dict[str, np.ndarray]) -> np.ndarray | None:
        return attributes[self.column] < self.below if self.column else None


NONE = Filter("no filter")
FILTERS = (
    Filter("10 %", "bucket", 100),
    Filter("1 %", "bucket", 10),
    Filter("0.1 %", "bucket", 1),
    Filter("10 %, correlated", "region", 100),
    Filter("1 %, correlated", "region", 10),
    Filter("0.1 %, correlated", "region", 1),
)


class Attributes:
    """Values of both columns. `region` is how near a row is to the first one, in per mille of the first block: the rows that a filter
    on it leaves are neighbours, and far from most queries."""

    def __init__(self, first_block: np.ndarray):
        self._direction = first_block[0] / (np.linalg.norm(first_block[0]) or 1)
        nearness = self._nearness(first_block)
        self._cuts = np.quantile(nearness, np.arange(1, VALUES) / VALUES)

    def _nearness(self, vectors: np.ndarray) -> np.ndarray:
        return -(vectors @ self._direction)

    def of(self, ids: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """The columns of some rows."""
        region = np.searchsorted(self._cuts, self._nearness(vectors), side="right")
        return {"bucket": (scatter(ids) % VALUES).astype(np.int32), "region": region.astype(np.int32)}


def scatter(ids: np.ndarray) -> np.ndarray:
    """Each number to one that looks drawn by chance (splitmix64)."""
    z = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
